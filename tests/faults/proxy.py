"""A proxy between a bot and its homeserver, for what goes wrong between the two.

Requests and answers pass as they are, many at once, for as long as they take. A fault
meets the requests that a test names; it is all that the client ever notices of us.

    async with Proxy(homeserver.url) as proxy:
        lost = proxy.at("POST .*/createRoom", Drop())
        ...                       # a bot that talks to `proxy.url`
        await lost.struck()       # the server made the room; the bot was not told
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.faults.kinds import (
    ConnectionClosed,
    Exchange,
    Fault,
    Reply,
    Request,
    Seen,
)

PATIENCE: Final = 60.0
"""Seconds that a test waits for a request before it fails."""

_HOST: Final = "127.0.0.1"
_LONGEST_LINE: Final = 2**16
_NEWS_OF_A_DEATH: Final = 0.1
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # what is closed so, is reset
_OF_ONE_CONNECTION: Final = (  # RFC 9110, section 7.6.1; the rest is set anew
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "Host",
    "Content-Length",
)


# Which requests are met


Match = str | Callable[[Seen], bool]
"""A regular expression for the whole of `METHOD /path`, the path without its query and
percent-encoded: `"PUT .*/send/.*"`. Or a predicate, which may look at the query too."""


class Planned:
    """A fault that waits for its request."""

    def __init__(
        self, match: Match, fault: Fault, numbers: range, requests: list[Seen]
    ) -> None:
        self.fault = fault
        self._matches = _predicate(match)
        self._left = numbers
        self._count = 0
        self._requests = requests
        self._struck = asyncio.Event()

    def takes(self, seen: Seen) -> bool:
        """Count the request if it matches; tell whether it is one to be met."""
        if not self._matches(seen):
            return False
        self._count += 1
        return self._count in self._left

    def end(self) -> None:
        """Let pass whatever comes from now on."""
        self._left = range(0)

    @property
    def is_struck(self) -> bool:
        """Whether it has happened as often as it was to happen."""
        return self._struck.is_set() and self._count + 1 not in self._left

    def strike(self) -> None:
        self._struck.set()

    async def struck(self) -> None:
        """Return when the fault has happened; `TimeoutError` if it never does."""
        async with _patience(self._requests):
            await self._struck.wait()


def _predicate(match: Match) -> Callable[[Seen], bool]:
    if not isinstance(match, str):
        return match
    pattern = re.compile(match)
    return lambda seen: bool(pattern.fullmatch(f"{seen.method} {seen.path}"))


@asynccontextmanager
async def _patience(requests: list[Seen]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError as exc:
        lines = [f"\n  {s.method} {s.path} {s.status or '...'}" for s in requests[-30:]]
        msg = f"it did not happen within {PATIENCE:g} s; the last requests:{''.join(lines)}"
        raise TimeoutError(msg) from exc


# The proxy


class Proxy:
    """Stands before the homeserver at `target` for as long as its context lasts.

    Leaving raises whatever an action raised. Nothing waits for open long polls."""

    def __init__(self, target: str) -> None:
        self.requests: list[Seen] = []
        """Every request, in the order in which they arrived."""
        self._target = target.rstrip("/")
        self._port = 0
        self._planned: list[Planned] = []
        self._tasks: set[asyncio.Task[object]] = set()
        self._failures: list[Exception] = []
        self._arrivals = asyncio.Condition()

    @property
    def url(self) -> str:
        """What the bot is told to be its homeserver; it stays the same."""
        return f"http://{_HOST}:{self._port}"

    def at(
        self, match: Match, fault: Fault, nth: int = 1, *, times: int = 1
    ) -> Planned:
        """Let `fault` meet the `nth` matching request from now on, and those after it
        until it met `times` of them. Where two are due, the first planned has it."""
        numbers = range(nth, nth + times)
        planned = Planned(match, fault, numbers, self.requests)
        self._planned.append(planned)
        return planned

    async def arrived(self, match: Match, n: int = 1) -> list[Seen]:
        """Return the matching requests so far, as soon as there are `n` of them.

        `TimeoutError` if there never are."""
        matches = _predicate(match)

        def found() -> list[Seen]:
            return [seen for seen in self.requests if matches(seen)]

        async with _patience(self.requests), self._arrivals:
            await self._arrivals.wait_for(lambda: len(found()) >= n)
        return found()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse connections as long as the context lasts, and cut those that are open."""
        await self._close()
        # A port that is bound is nobody else's; only one that listens accepts.
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((_HOST, self._port))
            yield
        await self._listen()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # A connection for each request: an answer is this request's and no other's.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=(
                "Accept",
                "Accept-Encoding",
                "Content-Type",
                "User-Agent",
            ),
            auto_decompress=False,
        )
        await self._listen()
        return self

    async def __aexit__(
        self, _type: object, error: BaseException | None, _traceback: object
    ) -> None:
        await self._close()
        await self._session.close()
        if self._failures and error is None:
            raise self._failures[0]

    async def _listen(self) -> None:
        self._protocols = web.Server(
            self._handle,
            access_log=None,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        self._server = await asyncio.get_running_loop().create_server(
            self._protocols, _HOST, self._port
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for connection in self._protocols.connections:
            connection.force_close()
        open_requests = list(self._tasks)
        for task in open_requests:
            task.cancel()
        await asyncio.gather(*open_requests, return_exceptions=True)
        await self._protocols.shutdown(timeout=1)
        await self._server.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        """Let one request pass, or meet its fault; never raises."""
        task = asyncio.ensure_future(self._exchanged(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            reply = await task
        except ConnectionClosed as closed:
            return _closed(request, reset=closed.reset)
        except Exception as exc:  # noqa: BLE001 - raised where the test can see it
            self._failures.append(exc)
            return _closed(request)
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    async def _exchanged(self, request: web.BaseRequest) -> Reply:
        seen = self._note(request)
        due = [planned for planned in self._planned if planned.takes(seen)]
        async with self._arrivals:
            self._arrivals.notify_all()
        try:
            body = await request.content.read()
        except (aiohttp.ClientError, OSError) as exc:
            raise ConnectionClosed from exc  # by the client, in the middle of it

        async def send(asked: Request) -> Reply:
            seen.reached = True
            return await self._forwarded(asked, request.headers)

        async def client_left() -> bool:
            return await _left(request)

        asked = Request(request.method, request.raw_path, body)
        if not due:
            reply = await send(asked)
        else:
            planned = due[0]
            exchange = Exchange(seen, asked, send, client_left, planned.strike)
            try:
                reply = await planned.fault.meet(exchange)
            finally:
                planned.strike()
        seen.status = reply.status
        return reply

    def _note(self, request: web.BaseRequest) -> Seen:
        path, _, _ = request.raw_path.partition("?")
        query = {k: v for k, v in request.query.items() if k != "access_token"}
        seen = Seen(len(self.requests) + 1, request.method, path, query)
        self.requests.append(seen)
        return seen

    async def _forwarded(self, asked: Request, headers: Mapping[str, str]) -> Reply:
        try:
            async with self._session.request(
                asked.method,
                URL(self._target + asked.target, encoded=True),
                headers=_end_to_end(headers),
                # It warns of long bytes.
                data=io.BytesIO(asked.body) if asked.body else None,
                allow_redirects=False,
            ) as response:
                content = await response.read()
                return Reply(response.status, _end_to_end(response.headers), content)
        except aiohttp.ClientError as exc:
            raise ConnectionClosed from exc


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _OF_ONE_CONNECTION:
        kept.popall(name, None)
    return kept


def _closed(request: web.BaseRequest, *, reset: bool = False) -> web.Response:
    """Close the connection; returns an answer that nobody gets."""
    if request.transport is not None:
        if reset:
            connection = request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        request.transport.abort()
    return web.Response()


async def _left(request: web.BaseRequest) -> bool:
    """Tell whether the client has gone.

    The end of a process closes its connections, but we read of it a little later."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _NEWS_OF_A_DEATH
    while request.transport is not None and not request.transport.is_closing():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True
