"""Every HTTP call of the product goes through here, and is checked here.

A method returns what its name says, or raises a `WireError`; it never returns a false
success. Reads are tried again within a patience; writes are sent exactly once, because
what a lost answer meant is for the caller to find out.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import quote, urlsplit

import orjson
import stamina

from adapter.matrix.answers import answer, retry_after
from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    ObservationFailed,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
    WrongToken,
)

if TYPE_CHECKING:
    import nio

__all__ = [
    "Forbidden",
    "NotAHomeserver",
    "NotFound",
    "ObservationFailed",
    "RateLimited",
    "ServerFault",
    "TokenRefused",
    "Unexpected",
    "Unreachable",
    "Whoami",
    "Wire",
    "WireError",
    "WrongToken",
]

Json = dict[str, Any]

_V3: Final = "/_matrix/client/v3"
_SLIDING: Final = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
_ATTEMPTS: Final = 5
_LEAST_WAIT: Final = 0.2  # seconds, also where the server says 0
_PASSING: Final = frozenset({502, 503, 504})  # a proxy's words for "not just now"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_NO_ROOMS: Final[Json] = {"room": {"rooms": []}}


class Whoami(NamedTuple):
    user_id: str
    device_id: str | None
    """`None` for a token without a device, as an application service has."""


class _Request(NamedTuple):
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    token: bool = True
    long: bool = False
    """It answers with everything, and may take its time."""


class Wire:
    """The homeserver, as one account sees it.

    It sends through `client`, which it leaves as it is: no sync position, no room
    model, no callbacks. Closing the client is its owner's business.

    `timeout` is for one request, and `snapshot_timeout` for one that answers with
    everything, both in seconds; `patience` is for all attempts of one read together.
    """

    def __init__(
        self,
        client: nio.AsyncClient,
        *,
        patience: float = 30.0,
        timeout: float = 30.0,
        snapshot_timeout: float = 300.0,
    ) -> None:
        self._client = client
        self._patience = patience
        self._timeout = timeout
        self._snapshot_timeout = snapshot_timeout
        # From a random start: two processes of one device must not count alike.
        self._busters = itertools.count(1 + secrets.randbelow(1_000_000))
        # One for good: Synapse keeps the state of a sliding sync connection, and drops
        # it only after a week or when the same connection starts afresh.
        self._connection = f"spacekeeper-{uuid.uuid4().hex[:12]}"
        self.requests = 0
        """Requests sent so far."""
        self.received = 0
        """Bytes of answers so far, decompressed."""

    def __repr__(self) -> str:
        return f"<Wire to {_origin(self._client.homeserver)}>"

    # Who and what

    async def whoami(self) -> Whoami:
        found = await self._read(_Request("GET", f"{_V3}/account/whoami"))
        device = found.get("device_id")
        return Whoami(
            _text(found, "user_id"), device if isinstance(device, str) else None
        )

    async def supports_sliding_sync(self) -> bool:
        """Whether the server offers simplified sliding sync (MSC4186)."""
        found = await self._read(
            _Request("GET", "/_matrix/client/versions", token=False)
        )
        features = found.get("unstable_features")
        return (
            isinstance(features, dict)
            and features.get("org.matrix.simplified_msc3575") is True
        )

    # Rooms

    async def joined_rooms(self) -> frozenset[str]:
        found = await self._read(_Request("GET", f"{_V3}/joined_rooms"))
        rooms = found.get("joined_rooms")
        if not isinstance(rooms, list) or not all(isinstance(r, str) for r in rooms):
            _reject("the list of joined rooms")
        return frozenset(rooms)

    async def state(self, room_id: str) -> list[Json]:
        """The room's current state events; of a room left or kicked from, its last.

        `Forbidden` is what a banned, a forgotten and a never known room have in common.
        """
        path = _V3 + _path("rooms", room_id, "state")
        events: list[Json] = await self._read(_Request("GET", path), want=list)
        if not all(isinstance(event, dict) for event in events):
            _reject("a room's state")
        return events

    async def put_state(
        self, room_id: str, event_type: str, state_key: str, content: Mapping[str, Any]
    ) -> str:
        """Set a state event, and return its id: the old one if nothing changes."""
        key = (state_key,) if state_key else ()
        path = _V3 + _path("rooms", room_id, "state", event_type, *key)
        return _text(await self._write("PUT", path, content), "event_id")

    async def invite(self, room_id: str, user_id: str) -> None:
        path = _V3 + _path("rooms", room_id, "invite")
        await self._write("POST", path, {"user_id": user_id})

    # Snapshots

    async def sync_snapshot(self, sync_filter: Mapping[str, Any]) -> Json:
        """Everything that the filter lets through, as of now.

        Synapse repeats an answer for two minutes to whoever asks the same again
        (synapse#15500), therefore no two calls ask the same."""
        query = "full_state=true&set_presence=offline"
        return await self._sync(f"{query}&timeout={next(self._busters)}", sync_filter)

    async def live_token(self) -> str:
        """A position from which a live stream misses nothing that happens after now."""
        query = f"set_presence=offline&timeout={next(self._busters)}"
        return _text(await self._sync(query, _NO_ROOMS), "next_batch")

    async def sliding_sync(
        self, body: Mapping[str, Any], pos: str | None = None
    ) -> Json:
        """One window of simplified sliding sync (MSC4186); without `pos` a fresh start.

        The body needs no `conn_id`: a Wire has one connection."""
        query = "set_presence=offline&timeout=0"
        if pos is not None:
            query += f"&pos={quote(pos, safe='')}"
        found: Json = await self._read(
            _Request(
                "POST",
                f"{_SLIDING}?{query}",
                {"conn_id": self._connection, **body},
                long=True,
            )
        )
        return found

    async def _sync(self, query: str, sync_filter: Mapping[str, Any]) -> Json:
        given = quote(orjson.dumps(sync_filter), safe="")
        path = f"{_V3}/sync?filter={given}&{query}"
        found: Json = await self._read(_Request("GET", path, long=True))
        _text(found, "next_batch")  # the one thing that every answer must have
        return found

    # Account data

    async def account_data(self, user_id: str, event_type: str) -> Json | None:
        """The content of the account's global account data, `None` if there is none."""
        path = _V3 + _path("user", user_id, "account_data", event_type)
        try:
            found: Json = await self._read(_Request("GET", path))
        except NotFound:
            return None
        return found

    async def put_account_data(
        self, user_id: str, event_type: str, content: Mapping[str, Any]
    ) -> None:
        path = _V3 + _path("user", user_id, "account_data", event_type)
        await self._write("PUT", path, content)

    # The one place

    async def _read(self, request: _Request, want: type = dict) -> Any:
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
                return await self._call(request, want)
        raise AssertionError  # the last attempt returns or raises

    async def _write(self, method: str, path: str, body: Mapping[str, Any]) -> Json:
        """Call once, whatever happens."""
        done: Json = await self._call(_Request(method, path, body))
        return done

    async def _call(self, request: _Request, want: type = dict) -> Any:
        """Make one request and return the JSON of its answer, of the type `want`."""
        status, wait, content = await self._exchange(request)
        found = answer(status, content, wait)
        if not isinstance(found, want):
            _reject("an answer")
        return found

    async def _exchange(self, request: _Request) -> tuple[int, float | None, bytes]:
        """Send one request: the status, what Retry-After says, and the whole body."""
        content = b"" if request.body is None else orjson.dumps(request.body)
        seconds = self._snapshot_timeout if request.long else self._timeout
        self.requests += 1
        try:
            async with asyncio.timeout(seconds):
                # Its timeout is HTTP's; the one of the query is a part of the path.
                response = await self._client.send(
                    request.method,
                    request.path,
                    data=_once(content) if content else None,
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

        where = f"the homeserver at {_origin(self._client.homeserver)}"
        match error:
            case TimeoutError():
                what = f"{where} did not answer within {seconds:g} s"
                return Unreachable(what, brief="timeout")
            case aiohttp.ClientSSLError():
                what = f"{where} has a certificate that cannot be trusted"
                return Unreachable(what, brief="certificate")
            case aiohttp.ClientConnectorError():
                return Unreachable(f"{where} cannot be reached", brief="unreachable")
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


async def _once(content: bytes) -> AsyncIterator[bytes]:
    """A body that can be read once.

    aiohttp sends a PUT again by itself when the connection breaks, if it still has the
    body."""
    yield content


def _path(*parts: str) -> str:
    """Join `parts` to a path, each percent-encoded as a whole.

    Raises `ValueError` for what no URL can carry: "." and ".." vanish on the way, also
    in their encoded form (RFC 3986, 5.2.4), and address something else."""
    if any(part in ("", ".", "..") for part in parts):
        msg = "an empty part, '.' and '..' cannot be sent in a path"
        raise ValueError(msg)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _origin(url: str) -> str:
    """Scheme, host and port of a URL: what may be shown of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    return f"{parts.scheme or '?'}://{parts.netloc.rpartition('@')[2] or '?'}"


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        _reject(f"an answer's {key}")
    return value


def _reject(what: str) -> NoReturn:
    what = f"{what} has not the shape that Matrix says"
    raise Unexpected(what, brief="misshapen")
