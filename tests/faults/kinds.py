"""What can become of a request between a bot and its homeserver: see `proxy`.

Another fault is another class with `meet`, and nothing else has to know of it. The usual
ones have names in `table`."""

from __future__ import annotations

import asyncio
import gzip
import inspect
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from multidict import CIMultiDict

# What passes


@dataclass(slots=True)
class Seen:
    """One request. Neither bodies nor tokens are kept."""

    number: int
    """1 for the first request that arrived."""
    method: str
    path: str
    """Percent-encoded as it was sent, without its query."""
    query: Mapping[str, str]
    """Decoded, without `access_token`."""
    reached: bool = False
    """Whether it was passed on to the server."""
    status: int | None = None
    """What the client was told; `None` while it waits, and if it never was."""


class Request(NamedTuple):
    """What the server is asked. It may hold a token: a fault that keeps it, hides it."""

    method: str
    target: str
    """Path and query, percent-encoded as they were sent."""
    body: bytes = b""


class Reply(NamedTuple):
    """An answer, with its headers as the server sent them."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class ConnectionClosed(Exception):  # noqa: N818 - an outcome, not somebody's mistake
    """The client gets no answer: its connection is closed, or `reset` by TCP."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way, as a fault sees it."""

    seen: Seen
    request: Request
    send: Callable[[Request], Awaitable[Reply]]
    """Pass this on and return what the server says; `ConnectionClosed` if the server
    does not answer."""
    client_left: Callable[[], Awaitable[bool]]
    """Tell whether the client has gone; news of its death is given time to arrive."""
    strike: Callable[[], None]
    """Say that the fault has happened; else it has once `meet` is over."""

    async def forward(self) -> Reply:
        """Pass the request on as it is."""
        return await self.send(self.request)

    async def given_up(self) -> None:
        """Return when the client waits no more."""
        self.strike()
        while not await self.client_left():
            pass


# Faults


class Fault(Protocol):
    """What becomes of a request: a reply for the client, or `ConnectionClosed`."""

    async def meet(self, exchange: Exchange, /) -> Reply: ...


Action = Callable[[], object]
"""What a test does at a certain moment; an awaitable result is awaited."""


@dataclass(frozen=True, slots=True)
class Before:
    """Act before the server hears of the request, which then goes on.

    If the action ended the client, as `BotProcess.kill` does, the server never hears."""

    action: Action

    async def meet(self, exchange: Exchange, /) -> Reply:
        await _done(self.action)
        if await exchange.client_left():
            raise ConnectionClosed
        return await exchange.forward()


@dataclass(frozen=True, slots=True)
class After:
    """Act after the server has answered and before the client hears of it."""

    action: Action

    async def meet(self, exchange: Exchange, /) -> Reply:
        reply = await exchange.forward()
        await _done(self.action)
        return reply


@dataclass(frozen=True, slots=True)
class Drop:
    """Lose the answer: the server has done it, and the connection closes.

    aiohttp sends a GET or PUT once more by itself, unless its body can be read once
    only. What such a client has to notice takes `times=2`; so it is with `Refuse`."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        await exchange.forward()
        raise ConnectionClosed


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close the connection, or reset it; the server never hears. To the client it is as
    `Drop`.

    For connections that are refused outright, which says more, see `Proxy.away`."""

    reset: bool = False

    async def meet(self, _exchange: Exchange, /) -> Reply:
        raise ConnectionClosed(reset=self.reset)


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer in the server's place; the server never hears."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    """`Content-Type` is `application/json` unless it is given."""

    async def meet(self, _exchange: Exchange, /) -> Reply:
        headers = CIMultiDict({"Content-Type": "application/json"})
        headers.update(self.headers)
        return Reply(self.status, headers, self.body)


@dataclass(frozen=True, slots=True)
class Alter:
    """Let the server answer, and tell the client something else."""

    alter: Callable[[Reply], Reply]
    """Gets the body decompressed, without `Content-Encoding`."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        return self.alter(_plain(await exchange.forward()))


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Ask the server something else than the client did."""

    instead: Callable[[Request], Request]

    async def meet(self, exchange: Exchange, /) -> Reply:
        return await exchange.send(self.instead(exchange.request))


class Stale:
    """Answer with what an earlier request to the same path was answered.

    What it meets for the first time passes, and is what it repeats from then on."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Reply] = {}

    def knows(self, method: str, path: str) -> bool:
        """Whether a request to this path would not pass."""
        return (method, path) in self._known

    async def meet(self, exchange: Exchange, /) -> Reply:
        asked = exchange.seen.method, exchange.seen.path
        if asked not in self._known:
            self._known[asked] = await exchange.forward()
        return self._known[asked]


def _itself(request: Request) -> Hashable:
    return request


class FirstTime:
    """Let `fault` meet each different request once: asked the same again, it passes.

    `same` tells requests apart, where their bodies have a clock or a counter in them."""

    def __init__(
        self, fault: Fault, same: Callable[[Request], Hashable] = _itself
    ) -> None:
        self.met: list[Seen] = []
        self._fault = fault
        self._same = same
        self._asked: set[Hashable] = set()

    async def meet(self, exchange: Exchange, /) -> Reply:
        asked = self._same(exchange.request)
        if asked in self._asked:
            return await exchange.forward()
        self._asked.add(asked)
        self.met.append(exchange.seen)
        return await self._fault.meet(exchange)


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; the server never hears. It ends with the client, or the proxy."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        await exchange.given_up()
        raise ConnectionClosed


@dataclass(frozen=True, slots=True)
class Overdue:
    """Let the client wait until it gives up; the server hears of it only then."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        await exchange.given_up()
        await exchange.forward()
        raise ConnectionClosed


class Late:
    """Close the connection; the server hears of the request only after `release`."""

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self._task: asyncio.Task[Reply] | None = None

    async def meet(self, exchange: Exchange, /) -> Reply:
        async def later() -> Reply:
            await self._released.wait()
            return await exchange.forward()

        self._task = asyncio.create_task(later())
        raise ConnectionClosed

    async def release(self) -> None:
        """Return when the server has done it."""
        self._released.set()
        assert self._task is not None
        assert (await self._task).status == 200


class Together:
    """Hold `count` requests until all have arrived, let them reach the server, and act
    before the client hears of any."""

    def __init__(self, count: int, action: Action) -> None:
        self._all = asyncio.Barrier(count)
        self._action = action

    async def meet(self, exchange: Exchange, /) -> Reply:
        await self._all.wait()
        reply = await exchange.forward()
        if await self._all.wait() == 0:
            await _done(self._action)
        await self._all.wait()
        return reply


async def _done(action: Action) -> None:
    result = action()
    if inspect.isawaitable(result):
        await result


def _plain(reply: Reply) -> Reply:
    headers = CIMultiDict(reply.headers)
    coding = headers.popall("Content-Encoding", ["identity"])
    body = gzip.decompress(reply.body) if coding == ["gzip"] else reply.body
    return Reply(reply.status, headers, body)
