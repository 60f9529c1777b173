"""One HTTP exchange with the homeserver: sent, timed, checked, and tried again or not.

What the requests are is the wire's business (`wire`), what an answer means that of
`answers`. Reads are tried again within a patience; writes are sent exactly once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import stamina

from adapter.matrix.answers import answer, reject
from adapter.matrix.errors import (
    NotAHomeserver,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unreachable,
    WireError,
)
from adapter.retry_after import retry_after

if TYPE_CHECKING:
    import aiohttp
    import nio

Json = dict[str, Any]

_ATTEMPTS: Final = 5
_LEAST_WAIT: Final = 0.2  # seconds, also where the server says 0
_PASSING: Final = frozenset({502, 503, 504})  # a proxy's words for "not just now"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class Request(NamedTuple):
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    token: bool = True
    seconds: float | None = None
    """How long the answer may take; `None`: as long as any."""


class Exchange:
    """The way to one homeserver and back, for one account.

    It sends through `client`, and leaves that as it is. `timeout` is for one request,
    `patience` for all attempts of one read together, both in seconds."""

    def __init__(
        self, client: nio.AsyncClient, *, patience: float, timeout: float
    ) -> None:
        self._client = client
        self._patience = patience
        self._timeout = timeout
        self.requests = 0
        """Requests sent so far."""
        self.received = 0
        """Bytes of answers so far, decompressed."""

    def __repr__(self) -> str:
        return f"<Exchange with {self.origin}>"

    @property
    def origin(self) -> str:
        """Scheme, host and port of the homeserver: what may be shown of its address."""
        return _origin(self._client.homeserver)

    async def read(self, request: Request, want: type = dict) -> Any:
        """Call, and again while it is worth it and the patience lasts."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience

        def again(error: Exception) -> bool | float:
            match error:
                case RateLimited():
                    wait = max(error.retry_after, _LEAST_WAIT)
                    return wait if clock() + wait <= deadline else False
                case Unreachable():
                    return clock() < deadline
                case ServerFault():
                    return error.status in _PASSING and clock() < deadline
                case _:
                    return False

        async for attempt in stamina.retry_context(
            on=again, attempts=_ATTEMPTS, timeout=None, wait_jitter=0.1
        ):
            with attempt:
                return await self.once(request, want)
        raise AssertionError  # the last attempt returns or raises

    async def once(self, request: Request, want: type = dict) -> Any:
        """Make one request and return the JSON of its answer, of the type `want`."""
        status, wait, content = await self._exchange(request)
        found = answer(status, content, wait)
        if not isinstance(found, want):
            reject("an answer")
        return found

    async def _exchange(self, request: Request) -> tuple[int, float | None, bytes]:
        """Send one request: the status, what Retry-After says, and the whole body."""
        content = b"" if request.body is None else orjson.dumps(request.body)
        seconds = self._timeout if request.seconds is None else request.seconds
        self.requests += 1
        try:
            async with asyncio.timeout(seconds):
                # Its timeout is HTTP's; the one of the query is a part of the path.
                response = await self._client.send(
                    request.method,
                    request.path,
                    data=_readable_once(content) if content else None,
                    headers=self._headers(content, request.token),
                    timeout=seconds,
                )
                async with response:
                    body = await response.read()
        except WireError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever network, TLS, proxy say
            failure = self._failure(error, seconds)
        else:
            self.received += len(body)
            if not response.history:
                if not response.ok:
                    body = self._without_token(body)
                header = response.headers.get("Retry-After")
                return response.status, retry_after(header, datetime.now(UTC)), body
            # The token does not travel along, and a POST arrives as a GET.
            failure = NotAHomeserver(
                f"the homeserver redirects to {_origin(str(response.url))}", brief="3xx"
            )
        # Out here nothing is chained: see `errors`.
        raise failure

    def _headers(self, content: bytes, token: bool) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if content:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(content))
        if token:
            # No local variable: a traceback may show those.
            if not _TOKEN.fullmatch(self._client.access_token or ""):
                what = "no access token looks like the one given"
                raise TokenRefused(what, status=0, errcode="")
            headers["Authorization"] = f"Bearer {self._client.access_token}"
        return headers

    def _without_token(self, content: bytes) -> bytes:
        """What a server's refusal repeats of the request must not come into an error."""
        token = (self._client.access_token or "").encode()
        return content.replace(token, b"***") if token else content

    def _failure(self, error: Exception, seconds: float) -> WireError:
        """Say what an error of the transport means, by its kind and not its words."""
        # Not at the top: it takes 0.2 s, and is loaded with the client anyway.
        import aiohttp

        where = f"the homeserver at {self.origin}"
        match error:
            case TimeoutError():
                what = f"{where} did not answer within {seconds:g} s"
                return Unreachable(what, brief="timeout")
            case aiohttp.ClientSSLError():
                what = f"{where} has a certificate that cannot be trusted"
                return Unreachable(what, brief="certificate", sent=self._sent(error))
            case aiohttp.ClientConnectorError():
                what = f"{where} cannot be reached"
                return Unreachable(what, brief="unreachable", sent=self._sent(error))
            case aiohttp.ClientPayloadError():
                return Unreachable(f"{where} sent half an answer", brief="cut")
            case (
                aiohttp.ClientResponseError()  # neither answered in HTTP
                | aiohttp.NonHttpUrlClientError()
                | ValueError()  # InvalidURL is one
            ):
                return NotAHomeserver(f"{where} cannot be spoken to in HTTP")
            case _:
                what = f"{where} broke the connection off ({type(error).__name__})"
                return Unreachable(what, brief="reset")

    def _sent(self, error: aiohttp.ClientConnectorError) -> bool:
        """Whether a connection to the homeserver came about before this one failed.

        It did if this one was to somewhere else, where a redirect sent us."""
        from yarl import URL  # as late as aiohttp

        url = URL(self._client.homeserver)
        return (error.host, error.port) != (url.raw_host, url.port)


async def _readable_once(content: bytes) -> AsyncIterator[bytes]:
    """A body that can be read once.

    aiohttp sends a PUT again by itself when the connection breaks, if it still has the
    body."""
    yield content


def _origin(url: str) -> str:
    """Scheme, host and port of a URL: what may be shown of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    return f"{parts.scheme or '?'}://{parts.netloc.rpartition('@')[2] or '?'}"
