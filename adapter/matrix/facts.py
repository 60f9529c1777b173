"""Raw Matrix state events -> what is known of a room: present, gone or unknown.

Plain parsing, field by field: whatever a server or a user put into an event, the
result is a fact. Nothing is decided here; see `identity` and `topology`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from controller.model import NOTHING, Cause

CREATE = "m.room.create"
MEMBER = "m.room.member"
NAME = "m.room.name"
TOMBSTONE = "m.room.tombstone"
CHILD = "m.space.child"
SPACE_TYPE = "m.space"


MAX_ORDER = 50


class EventTypes(NamedTuple):
    """The names of the bot's own events; they are settings."""

    identity: str = "io.spacekeeper.identity"
    """Key in the content of m.room.create."""
    binding: str = "io.spacekeeper.binding"
    """State event with the bot's user id as state key."""
    checkpoint: str = "io.spacekeeper.checkpoint"
    """Global account data."""

    def state(self) -> tuple[str, ...]:
        """The state event types that decide anything."""
        return (CREATE, MEMBER, NAME, TOMBSTONE, CHILD, self.binding)


class Create(NamedTuple):
    """m.room.create. `type` is "" for a room without one."""

    cause: Cause
    type: str
    version: str
    predecessor: str | None
    identity: Any
    """The raw value under the identity key; `None` when there is none, or not the bot's."""


class Member(NamedTuple):
    """m.room.member; `membership` is "" where the event does not say."""

    cause: Cause
    membership: str


class Child(NamedTuple):
    """m.space.child; `via` is what the spec requires, or empty: then it is no link.

    `order` is `None` unless it is valid (spec: at most 50 characters, \\x20 to \\x7E)."""

    cause: Cause
    via: tuple[str, ...]
    order: str | None
    broken: bool = False
    """No link, and not emptied either: whoever wrote it may have meant one."""


class Tombstone(NamedTuple):
    cause: Cause
    replacement: str


class Own(NamedTuple):
    """The bot's own binding event, whatever its content."""

    cause: Cause
    content: Mapping[str, Any]


class Name(NamedTuple):
    cause: Cause
    name: str


class Room(NamedTuple):
    """The state of a room that decides anything.

    Of rooms that the bot did not create, that is `create` alone, and of Spaces among
    them `children`, which only Spaces have."""

    room_id: str
    create: Create
    members: Mapping[str, Member] = NOTHING
    children: Mapping[str, Child] = NOTHING
    tombstone: Tombstone | None = None
    binding: Own | None = None
    name: Name | None = None


class Present(NamedTuple):
    """The create event was read and the bot is joined."""

    room: Room


class Gone(NamedTuple):
    """The bot's own leave, kick or ban was read. `room` is the state still shown, if any."""

    reason: str
    """`bot_left`, `bot_kicked` or `bot_banned`."""
    cause: Cause
    room: Room | None = None


class Unknown(NamedTuple):
    """Everything else: absent, refused, failed, cut. Never a reason to give anything up."""

    why: str
    """For people: "state: 503"."""
    absent: bool = False
    """A full observation found the bot not in the room, without seeing why."""
    overdue: bool = False
    """It has been so for a whole `full_interval`."""


Fact = Present | Gone | Unknown


class Facts(NamedTuple):
    """What one observation saw. A room that is in no mapping was not looked at."""

    rooms: Mapping[str, Fact]
    joined: frozenset[str] = frozenset()
    """What /joined_rooms listed, before or after."""
    complete: bool = True
    """Everything is covered: absence in it can be trusted."""


def fact(
    room_id: str, events: Iterable[Any], me: str, types: EventTypes | None = None
) -> Fact:
    """Read the state `events` of one room; of two with one key the later counts.

    Nothing that they hold makes this raise: what cannot be read is absent, and a
    room without its create event is `Unknown`, unless it shows the bot's own end."""
    room, own = _read(room_id, events, me, types or EventTypes())
    if own is None:
        return Unknown("the bot has no member event")
    match own.membership:
        case "join":
            return Present(room) if room else Unknown("no create event")
        case "ban":
            return Gone("bot_banned", own.cause, room)
        case "leave":
            left = "bot_left" if own.cause.sender == me else "bot_kicked"
            return Gone(left, own.cause, room)
        case "invite" | "knock":
            return Unknown(f"the bot's membership is {own.membership}", absent=True)
        case _:
            return Unknown("the bot's member event says nothing")


def shown(fact: Fact | None) -> Room | None:
    """The state that a fact shows, of a room the bot is in or was in."""
    return None if fact is None or isinstance(fact, Unknown) else fact.room


Told = Mapping[tuple[str, str], str]
"""Type and state key -> the id of the newest event of which anybody was told."""


def shows(room: Room, told: Told, me: str, types: EventTypes) -> bool:
    """Whether the room was read after all of this happened, as far as its facts can tell.

    If not, it was read before, or something else has happened since."""
    for (kind, key), event_id in told.items():
        found = _standing(room, kind, key, me, types)
        if found is None or found.cause.event_id != event_id:
            return False
    return True


def _standing(
    room: Room, kind: str, key: str, me: str, types: EventTypes
) -> Create | Name | Tombstone | Own | Member | Child | None:
    if kind == MEMBER:
        return room.members.get(key)
    if kind == CHILD:
        return room.children.get(key)
    if kind == types.binding:
        return room.binding if key == me else None
    single = {CREATE: room.create, NAME: room.name, TOMBSTONE: room.tombstone}
    return single.get(kind) if key == "" else None


def is_unread(fact: Fact | None) -> bool:
    """Not looked at, or looked at in vain, and not for so long that it stops counting."""
    return fact is None or (isinstance(fact, Unknown) and not fact.overdue)


def _read(
    room_id: str, events: Iterable[Any], me: str, types: EventTypes
) -> tuple[Room | None, Member | None]:
    """The room, if its create event is there, and the bot's own member event."""
    state = _current(events, types)
    members = {
        key: _member(one) for (kind, key), one in state.items() if kind == MEMBER
    }
    create = state.get((CREATE, ""))
    if create is None:
        return None, members.get(me)
    read = _create(create, types)
    children: Mapping[str, Child] = NOTHING
    if read.type == SPACE_TYPE:
        children = {k: _child(one) for (kind, k), one in state.items() if kind == CHILD}
    if read.cause.sender != me:
        room = Room(room_id, read._replace(identity=None), children=children)
        return room, members.get(me)
    room = Room(
        room_id,
        read,
        members,
        children,
        _tombstone(state.get((TOMBSTONE, ""))),
        _binding(state.get((types.binding, me)), me),
        _name(state.get((NAME, ""))),
    )
    return room, members.get(me)


def _current(
    events: Iterable[Any], types: EventTypes
) -> dict[tuple[str, str], dict[str, Any]]:
    """Type and state key -> event, of the types that decide and of well-formed events."""
    wanted = types.state()
    state: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        kind, key = event.get("type"), event.get("state_key")
        if (
            isinstance(kind, str)
            and isinstance(key, str)
            and kind in wanted
            and isinstance(event.get("sender"), str)
            and isinstance(event.get("content"), dict)
        ):
            state[kind, key] = event
    return state


def event_cause(event: dict[str, Any]) -> Cause:
    """Who sent it, which it is, and when; an event without a sender was left out before."""
    event_id, at = event.get("event_id"), event.get("origin_server_ts")
    return Cause(
        event["sender"],
        event_id if isinstance(event_id, str) else "",
        at if type(at) is int else 0,  # a bool is an int, and no time
    )


def _create(event: dict[str, Any], types: EventTypes) -> Create:
    content = event["content"]
    predecessor = content.get("predecessor")
    before = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    room_type = content.get("type")
    return Create(
        event_cause(event),
        # A type that is no string is a type nobody knows; it is not "none".
        "" if room_type is None else room_type if isinstance(room_type, str) else "?",
        _text(content.get("room_version")) or "1",
        _text(before),
        content.get(types.identity),
    )


def _member(event: dict[str, Any]) -> Member:
    membership = event["content"].get("membership")
    return Member(event_cause(event), membership if isinstance(membership, str) else "")


def _child(event: dict[str, Any]) -> Child:
    content = event["content"]
    via, order = content.get("via"), content.get("order")
    valid = isinstance(via, list) and all(isinstance(one, str) for one in via)
    return Child(
        event_cause(event),
        tuple(via) if valid else (),
        order if isinstance(order, str) and _is_order(order) else None,
        bool(content) and not (valid and via),
    )


def _is_order(text: str) -> bool:
    return len(text) <= MAX_ORDER and all("\x20" <= c <= "\x7e" for c in text)


def _tombstone(event: dict[str, Any] | None) -> Tombstone | None:
    target = _text(event["content"].get("replacement_room")) if event else None
    return Tombstone(event_cause(event), target) if event and target else None


def _binding(event: dict[str, Any] | None, me: str) -> Own | None:
    if event is None or event["sender"] != me:
        return None
    return Own(event_cause(event), event["content"])


def _name(event: dict[str, Any] | None) -> Name | None:
    text = _text(event["content"].get("name")) if event else None
    return Name(event_cause(event), text) if event and text else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
