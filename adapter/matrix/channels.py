"""How a snapshot of all rooms is had: sliding sync, filtered /sync, or none at all.

A channel answers with a fact for every room that it shows; what it does not show is for
`observation`, which reads it room by room. The functions that read an answer are pure,
and raise `Unexpected` on one that cannot be read as a whole; a room that cannot be read
is there, without events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from adapter.matrix.errors import Unexpected, WireError
from adapter.matrix.facts import CHILD, MEMBER, EventTypes, Fact
from adapter.matrix.wire import Wire

T = TypeVar("T")

Events = list[Any]
Reading = Callable[[str, Events], Fact]
"""Makes a fact of the state events of a room."""

WINDOW: Final = 1000
"""Rooms in one answer of sliding sync: few enough for a server to answer within seconds,
and for the event loop to parse in one go (2.5 MB)."""
_SLICE: Final = 50  # rooms that are read in one go


class Channel(StrEnum):
    """Where a snapshot comes from."""

    AUTO = "auto"
    """The first of the others that works."""
    SLIDING_SYNC = "sliding-sync"
    SYNC = "sync"
    STATE = "state"
    """No snapshot: every joined room is read by itself."""


class Seen(NamedTuple):
    """What a snapshot showed."""

    rooms: Mapping[str, Fact]
    invited: frozenset[str] = frozenset()
    """Rooms that the account is invited to. Nobody vouches for what an invite shows."""
    whole: bool = True
    """Whether the state of a room that the account is in is all of its state."""


class Snapshot(Protocol):
    """One channel."""

    async def __call__(self, wire: Wire, types: EventTypes, read: Reading) -> Seen:
        """Everything the server shows now; raise `WireError` if it is not whole."""
        ...


class Part(NamedTuple):
    """What one answer shows."""

    rooms: Mapping[str, Events]
    """State events by room, the newer of two later in the list. Whoever reads them drops
    whatever else a server puts there."""
    invited: frozenset[str] = frozenset()


class Window(NamedTuple):
    """One answer of sliding sync."""

    part: Part
    total: int
    """Of how many rooms it is a part."""
    end: int
    """How many of them were asked for so far."""


async def sliding_sync(wire: Wire, types: EventTypes, read: Reading) -> Seen:
    """A snapshot by simplified sliding sync (MSC4186), window by window.

    Each window is asked for afresh, without a position: Synapse copies what it knows of
    a connection at every step, so that the steps would cost more and more. Rooms move
    between the windows meanwhile, and always to the top: what was missed shows in
    `count`, and is looked for there, then in all of them. It does not list rooms that
    the account left by itself."""
    rooms: dict[str, Fact] = {}
    invited: set[str] = set()

    async def asked(first: int, end: int) -> Window:
        answer = await wire.sliding_sync(window_request(types, first, end))
        return Window(read_window(answer), listed(answer), end)

    async def add(part: Part) -> None:
        # A room may come twice, and the later is the newer.
        rooms.update(await _read(part, read))
        invited.difference_update(part.rooms)
        invited.update(part.invited)

    window = await asked(0, WINDOW)
    while window.end < window.total:
        # The server is at the next while this one is read.
        ahead = asked(window.end, window.end + WINDOW)
        window = await _while(add(window.part), ahead)
    await add(window.part)
    count = window.total
    for end in (WINDOW, count + WINDOW):
        if _count(rooms, invited) >= count:
            break
        window = await asked(0, end)
        await add(window.part)
        count = window.total
    if (got := _count(rooms, invited)) < count:
        what = f"sliding sync showed {got} of {count} rooms"
        raise Unexpected(what, brief="incomplete")
    return Seen(without(rooms, invited), frozenset(invited))


def _count(rooms: Mapping[str, Any], invited: Collection[str]) -> int:
    return len(rooms) + sum(room not in rooms for room in invited)


async def filtered_sync(wire: Wire, types: EventTypes, read: Reading) -> Seen:
    """A snapshot by one /sync without `since`, with a filter.

    It says which rooms there are, and not for certain what is in them: of events that
    crossed each other Synapse shows the state before the newest alone, without the
    others (MSC4222 would mend that, and is off by default)."""
    part = read_sync(await wire.sync_snapshot(sync_filter(types)))
    return Seen(await _read(part, read), part.invited, whole=False)


async def no_snapshot(wire: Wire, types: EventTypes, read: Reading) -> Seen:
    """Nothing: what is not in a snapshot is read room by room."""
    return Seen({})


CHANNELS: Final[Mapping[Channel, Snapshot]] = {
    Channel.SLIDING_SYNC: sliding_sync,
    Channel.SYNC: filtered_sync,
    Channel.STATE: no_snapshot,
}
"""In the order in which AUTO tries them."""


def sync_filter(types: EventTypes) -> dict[str, Any]:
    """A filter for state that decides, and no message.

    The same types in `state` and `timeline`, because servers have mixed them up
    (dendrite#1886). No `rooms`: with it Synapse withholds m.room.create of version 12
    rooms. A limit of 0 is against the specification."""
    wanted = list(types.state())
    nothing: dict[str, Any] = {"types": []}
    return {
        "presence": nothing,
        "account_data": nothing,
        "room": {
            "include_leave": True,
            "ephemeral": nothing,
            "account_data": nothing,
            "state": {"types": wanted, "lazy_load_members": False},
            "timeline": {"types": wanted, "limit": 1},
        },
    }


def window_request(types: EventTypes, first: int, end: int) -> dict[str, Any]:
    """Ask for the rooms from `first` to before `end`, with all members and children."""
    many = (MEMBER, CHILD, types.binding)
    wanted = [[kind, "*" if kind in many else ""] for kind in types.state()]
    window = {
        "ranges": [[first, end - 1]],
        "timeline_limit": 0,
        "required_state": wanted,
    }
    return {"lists": {"all": window}}


def read_sync(body: Mapping[str, Any]) -> Part:
    """Read an answer of /sync. An account without rooms has no key `rooms` in it.

    State events of the timeline are newer than those of `state`."""
    sections = _mapping(body.get("rooms", {}), "rooms")
    rooms: dict[str, Events] = {}
    for name in ("leave", "join"):
        for room_id, room in _mapping(sections.get(name, {}), name).items():
            rooms[room_id] = [*_inner(room, "state"), *_inner(room, "timeline")]
    invited = frozenset(_mapping(sections.get("invite", {}), "invite"))
    return Part(without(rooms, invited), invited)


def read_window(body: Mapping[str, Any]) -> Part:
    """Read an answer of sliding sync that has one list, `all`."""
    rooms: dict[str, Events] = {}
    invited: set[str] = set()
    for room_id, room in listed_rooms(body).items():
        given = room if isinstance(room, dict) else {}
        if invitation(given) is not None:
            invited.add(room_id)
        else:
            rooms[room_id] = _events(given.get("required_state"))
    return Part(rooms, frozenset(invited))


def listed(body: Mapping[str, Any]) -> int:
    """How many rooms the one list, `all`, of an answer of sliding sync has."""
    lists = _mapping(body.get("lists"), "lists")
    count = _mapping(lists.get("all"), "list").get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        what = "sliding sync did not say how many rooms there are"
        raise Unexpected(what, brief="misshapen")
    return count


def listed_rooms(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an answer of sliding sync shows of rooms."""
    return _mapping(body.get("rooms", {}), "rooms")


def invitation(room: Mapping[str, Any]) -> Any:
    """The stripped state of a room that the account is invited to; `None` of others."""
    # The same by two names: MSC4186 renamed it.
    return room.get("invite_state", room.get("stripped_state"))


def without(rooms: Mapping[str, T], invited: Collection[str]) -> Mapping[str, T]:
    """Leave out the invitations: a room that is left and invited to again is both."""
    if not invited:
        return rooms
    return {room_id: rooms[room_id] for room_id in rooms if room_id not in invited}


async def _while(reading: Awaitable[None], asking: Coroutine[Any, Any, T]) -> T:
    """What was asked for while something else was read."""
    try:
        async with asyncio.TaskGroup() as group:
            found = group.create_task(asking)
            await reading
    except* WireError as errors:
        first = errors.exceptions[0]
    else:
        return found.result()
    raise first


async def _read(part: Part, read: Reading) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for number, (room_id, events) in enumerate(part.rooms.items(), 1):
        facts[room_id] = read(room_id, events)
        events.clear()  # what was read is done with, and all at once would take long
        if number % _SLICE == 0:
            await asyncio.sleep(0)  # messages are answered meanwhile
    return facts


def _inner(room: Any, section: str) -> Events:
    """The events of a section of a room in /sync."""
    found = room.get(section) if isinstance(room, dict) else None
    return _events(found.get("events") if isinstance(found, dict) else None)


def _events(found: Any) -> Events:
    return found if isinstance(found, list) else []


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        what = f"the snapshot's {name} cannot be read"
        raise Unexpected(what, brief="misshapen")
    return value
