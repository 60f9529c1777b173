"""Every HTTP call of the product goes through here, and is checked here.

A method returns what its name says, or raises a `WireError`; it never returns a false
success. Reads are tried again within a patience; writes are sent exactly once, because
what a lost answer meant is for the caller to find out.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from adapter.matrix.answers import reject
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
from adapter.matrix.exchange import Exchange, Request
from adapter.matrix.facts import CREATE

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
_NO_ROOMS: Final[Json] = {"room": {"rooms": []}}
_NONE: Final[Json] = {"types": []}
_NO_EVENTS: Final[Json] = {
    "presence": _NONE,
    "account_data": _NONE,
    "room": {
        "ephemeral": _NONE,
        "account_data": _NONE,
        "state": _NONE,
        "timeline": {"limit": 1, **_NONE},
    },
}
"""What leaves nothing to say of a room but an invitation to it."""


class Whoami(NamedTuple):
    user_id: str
    device_id: str | None
    """`None` for a token without a device, as an application service has."""


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
        self._exchange = Exchange(client, patience=patience, timeout=timeout)
        self._timeout = timeout
        self._snapshot_timeout = snapshot_timeout
        # From a random start: two processes of one device must not count alike.
        self._busters = itertools.count(1 + secrets.randbelow(1_000_000))
        # One for good: Synapse keeps the state of a sliding sync connection, and drops
        # it only after a week or when the same connection starts afresh.
        self._connection = f"spacekeeper-{uuid.uuid4().hex[:12]}"

    def __repr__(self) -> str:
        return f"<Wire to {self._exchange.origin}>"

    @property
    def origin(self) -> str:
        """The homeserver's address, as it was given."""
        return self._exchange.origin

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._exchange.requests

    @property
    def received(self) -> int:
        """Bytes of answers so far, decompressed."""
        return self._exchange.received

    # Who and what

    async def whoami(self) -> Whoami:
        found = await self._exchange.read(Request("GET", f"{_V3}/account/whoami"))
        device = found.get("device_id")
        return Whoami(
            _text(found, "user_id"), device if isinstance(device, str) else None
        )

    async def supports_sliding_sync(self) -> bool:
        """Whether the server offers simplified sliding sync (MSC4186)."""
        found = await self._exchange.read(
            Request("GET", "/_matrix/client/versions", token=False)
        )
        features = found.get("unstable_features")
        return (
            isinstance(features, dict)
            and features.get("org.matrix.simplified_msc3575") is True
        )

    async def display_name(self, user_id: str) -> str | None:
        """The name of the user's profile, `None` if there is none or it is not shown."""
        path = _V3 + _path("profile", user_id, "displayname")
        try:
            found: Json = await self._exchange.read(Request("GET", path))
        except (NotFound, Forbidden):
            return None
        name = found.get("displayname")
        return name if isinstance(name, str) and name else None

    # Rooms

    async def joined_rooms(self) -> frozenset[str]:
        found = await self._exchange.read(Request("GET", f"{_V3}/joined_rooms"))
        # Beside the loop, which answers messages meanwhile: they may be 100,000.
        return await asyncio.to_thread(joined, found)

    async def joined_members(self, room_id: str) -> frozenset[str]:
        """The members of a room that the account is in; else `Forbidden`."""
        path = _V3 + _path("rooms", room_id, "joined_members")
        members = (await self._exchange.read(Request("GET", path))).get("joined")
        if not isinstance(members, dict):
            reject("the list of a room's members")
        return frozenset(members)

    async def invited_members(self, room_id: str) -> frozenset[str]:
        """Who is invited to a room that the account is in, and did not answer yet."""
        path = _V3 + _path("rooms", room_id, "members")
        request = Request("GET", f"{path}?membership=invite")
        events = (await self._exchange.read(request)).get("chunk")
        if not isinstance(events, list):
            reject("the list of a room's invited members")
        return frozenset(filter(None, map(_invited, events)))

    async def state(self, room_id: str) -> list[Json]:
        """The room's current state events; of a room left or kicked from, its last.

        `Forbidden` is what a banned, a forgotten and a never known room have in common.
        """
        path = _V3 + _path("rooms", room_id, "state")
        events: list[Json] = await self._exchange.read(Request("GET", path), want=list)
        sound = all(isinstance(event, dict) for event in events)
        # No room is without its first event: it would seem as if nothing stood there.
        if not (sound and any(event.get("type") == CREATE for event in events)):
            reject("a room's state")
        return events

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> Json | None:
        """One state event of the room, whole, else `NotFound`.

        `None` is an answer without its sender, as of a server that does not know
        `format=event` (spec: GET /rooms/{roomId}/state/{eventType}/{stateKey})."""
        key = (state_key,) if state_key else ()
        path = _V3 + _path("rooms", room_id, "state", event_type, *key)
        event: Json = await self._exchange.read(Request("GET", f"{path}?format=event"))
        about = (event.get("type"), event.get("state_key"))
        is_it = about == (event_type, state_key) and isinstance(
            event.get("sender"), str
        )
        return event if is_it else None

    async def messages(
        self,
        room_id: str,
        *,
        start: str,
        end: str,
        limit: int,
        event_filter: Mapping[str, Any],
    ) -> Json:
        """A page of the room's events from the position `start` back to `end`.

        It has a list `chunk`, the newest event first, and the position `end` where the
        next page starts unless this is the last."""
        query = (
            f"dir=b&from={_encoded(start)}&to={_encoded(end)}&limit={limit}"
            f"&filter={_encoded(orjson.dumps(event_filter))}"
        )
        path = _V3 + _path("rooms", room_id, "messages")
        found: Json = await self._exchange.read(Request("GET", f"{path}?{query}"))
        if not isinstance(found.get("chunk"), list):
            reject("a page of messages")
        return found

    async def put_state(
        self, room_id: str, event_type: str, state_key: str, content: Mapping[str, Any]
    ) -> str:
        """Set a state event, and return its id: the old one if nothing changes."""
        key = (state_key,) if state_key else ()
        path = _V3 + _path("rooms", room_id, "state", event_type, *key)
        return _text(await self._write("PUT", path, content), "event_id")

    async def send(
        self, room_id: str, event_type: str, txn: str, content: Mapping[str, Any]
    ) -> str:
        """Send an event, and return its id.

        The same `txn` sends it once: later calls return the first one's id, as long as
        the server remembers it (Synapse: 24 h, for one device)."""
        path = _V3 + _path("rooms", room_id, "send", event_type, txn)
        return _text(await self._write("PUT", path, content), "event_id")

    async def typing(
        self, room_id: str, user_id: str, milliseconds: int | None
    ) -> None:
        """Show for so long that the account itself is typing; `None` stops it."""
        path = _V3 + _path("rooms", room_id, "typing", user_id)
        content: Json = {"typing": milliseconds is not None}
        if milliseconds is not None:
            content["timeout"] = milliseconds
        await self._write("PUT", path, content)

    # Making and joining rooms

    async def create_room(self, body: Mapping[str, Any]) -> str:
        """Make a room, and return its id. Sent again, it makes another one.

        Only a `RateLimited` and an `Unreachable` that was not `sent` say for certain
        that there is no room; a refusal can leave one behind (matrix-spec#222)."""
        return _text(await self._write("POST", f"{_V3}/createRoom", body), "room_id")

    async def join(self, room_id: str) -> None:
        """Join the room, or accept the invitation to it; joined already is a success."""
        path = _V3 + _path("rooms", room_id, "join")
        _text(await self._write("POST", path, {}), "room_id")

    async def leave(self, room_id: str) -> None:
        """Leave the room, or decline the invitation to it."""
        path = _V3 + _path("rooms", room_id, "leave")
        await self._write("POST", path, {})

    async def invite(self, room_id: str, user_id: str) -> None:
        path = _V3 + _path("rooms", room_id, "invite")
        await self._write("POST", path, {"user_id": user_id})

    # Live

    async def live_token(self) -> str:
        """A position from which a live stream misses nothing that happens after now."""
        query = f"set_presence=offline&timeout={next(self._busters)}"
        return _text(await self._sync(query, _NO_ROOMS), "next_batch")

    async def live_sync(
        self, since: str, sync_filter: Mapping[str, Any], wait_ms: int
    ) -> Json:
        """What happened after `since`; waits up to `wait_ms` for something to happen.

        With 0 it answers at once, but may take as long as a snapshot: it could be a
        lot. Sent once, because a stream has its own backoff. A server that does not
        take `since` any more answers 400 or 403."""
        query = f"since={_encoded(since)}&set_presence=offline&timeout={wait_ms}"
        seconds = wait_ms / 1000 + self._timeout if wait_ms else self._snapshot_timeout
        request = Request("GET", _sync_path(query, sync_filter), seconds=seconds)
        found: Json = await self._exchange.once(request)
        _text(found, "next_batch")
        return found

    # Snapshots

    async def changes(self, since: str, sync_filter: Mapping[str, Any]) -> Json:
        """What happened after `since`, at once. Another filter each time, please: Synapse
        repeats an answer for two minutes. A `since` that it does not take any more is
        answered with 400 or 403."""
        query = f"since={_encoded(since)}&set_presence=offline&timeout=0"
        return await self._sync(query, sync_filter)

    async def sync_snapshot(self, sync_filter: Mapping[str, Any]) -> Json:
        """Everything that the filter lets through, as of now.

        Synapse repeats an answer for two minutes to whoever asks the same again
        (synapse#15500), therefore no two calls ask the same."""
        query = "full_state=true&set_presence=offline"
        return await self._sync(f"{query}&timeout={next(self._busters)}", sync_filter)

    async def invitations(self) -> Json:
        """The answer to a /sync whose `rooms.invite` has all invitations, of whatever age.

        Joined rooms are not in it."""
        query = f"set_presence=offline&timeout={next(self._busters)}"
        return await self._sync(query, _NO_EVENTS)

    async def sliding_sync(self, body: Mapping[str, Any]) -> Json:
        """One window of simplified sliding sync (MSC4186), always as a fresh start.

        The body needs no `conn_id`: a Wire has one connection."""
        query = "set_presence=offline&timeout=0"
        found: Json = await self._exchange.read(
            Request(
                "POST",
                f"{_SLIDING}?{query}",
                {"conn_id": self._connection, **body},
                seconds=self._snapshot_timeout,
            )
        )
        return found

    async def _sync(self, query: str, sync_filter: Mapping[str, Any]) -> Json:
        request = Request(
            "GET", _sync_path(query, sync_filter), seconds=self._snapshot_timeout
        )
        found: Json = await self._exchange.read(request)
        _text(found, "next_batch")  # the one thing that every answer must have
        return found

    # Account data

    async def account_data(self, user_id: str, event_type: str) -> Json | None:
        """The content of the account's global account data, `None` if there is none.

        `{}` stands for none, too, and is believed when it comes twice: what is broken on
        the way says it of everything."""
        path = _V3 + _path("user", user_id, "account_data", event_type)
        try:
            for _ in range(2):
                found: Json = await self._exchange.read(Request("GET", path))
                if found:
                    return found
        except NotFound:
            pass
        return None

    async def put_account_data(
        self, user_id: str, event_type: str, content: Mapping[str, Any]
    ) -> None:
        path = _V3 + _path("user", user_id, "account_data", event_type)
        await self._write("PUT", path, content)

    async def _write(self, method: str, path: str, body: Mapping[str, Any]) -> Json:
        """Call once, whatever happens."""
        done: Json = await self._exchange.once(Request(method, path, body))
        return done


def _sync_path(query: str, sync_filter: Mapping[str, Any]) -> str:
    return f"{_V3}/sync?filter={_encoded(orjson.dumps(sync_filter))}&{query}"


def _encoded(value: str | bytes) -> str:
    """For a query, percent-encoded as a whole."""
    return quote(value, safe="")


def _path(*parts: str) -> str:
    """Join `parts` to a path, each percent-encoded as a whole.

    Raises `ValueError` for what no URL can carry: "." and ".." vanish on the way, also
    in their encoded form (RFC 3986, 5.2.4), and address something else."""
    if any(part in ("", ".", "..") for part in parts):
        msg = "an empty part, '.' and '..' cannot be sent in a path"
        raise ValueError(msg)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def joined(found: Mapping[str, Any]) -> frozenset[str]:
    """Read an answer of /joined_rooms."""
    rooms = found.get("joined_rooms")
    if not isinstance(rooms, list) or not all(isinstance(r, str) for r in rooms):
        reject("the list of joined rooms")
    return frozenset(rooms)


def _invited(event: Any) -> str | None:
    """Whom a member event invites; servers may not know what they were asked for."""
    match event:
        case {"state_key": str(user_id), "content": {"membership": "invite"}}:
            return user_id
        case _:
            return None


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        reject(f"an answer's {key}")
    return value
