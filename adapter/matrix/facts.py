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
    """The raw value under the identity key; `None` when there is none."""


class Member(NamedTuple):
    cause: Cause
    membership: str


class Child(NamedTuple):
    """m.space.child; `via` is what the spec requires, or empty: then it is no link.

    `order` is `None` unless it is valid (spec: at most 50 characters, \\x20 to \\x7E)."""

    cause: Cause
    via: tuple[str, ...]
    order: str | None


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

    `members` and `children` are kept only of rooms that the bot created, and
    `children` of Spaces, whoever made them."""

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
        case _:
            return Unknown(f"the bot's membership is {own.membership}", absent=True)


def shown(fact: Fact | None) -> Room | None:
    """The state that a fact shows, of a room the bot is in or was in."""
    match fact:
        case Present(room) | Gone(room=room):
            return room
        case _:
            return None


def is_unread(fact: Fact | None) -> bool:
    """Not looked at, or looked at in vain, and not for so long that it stops counting."""
    return fact is None or (isinstance(fact, Unknown) and not fact.overdue)


def _read(
    room_id: str, events: Iterable[Any], me: str, types: EventTypes
) -> tuple[Room | None, Member | None]:
    create: Create | None = None
    members: dict[str, Member] = {}
    children: dict[str, Child] = {}
    tombstone: Tombstone | None = None
    binding: Own | None = None
    name: Name | None = None
    for event in events:
        if not isinstance(event, dict):
            continue
        kind, key = event.get("type"), event.get("state_key")
        sender, content = event.get("sender"), event.get("content")
        if not (isinstance(key, str) and isinstance(sender, str)):
            continue
        if not isinstance(content, dict):
            continue
        if kind == MEMBER:
            members[key] = Member(
                _cause(event, sender), _text(content.get("membership")) or "leave"
            )
        elif kind == CHILD:
            children[key] = _child(_cause(event, sender), content)
        elif kind == types.binding:
            if key == sender == me:
                binding = Own(_cause(event, sender), content)
        elif key:
            continue
        elif kind == CREATE:
            create = _create(_cause(event, sender), content, types)
        elif kind == NAME:
            text = _text(content.get("name"))
            name = Name(_cause(event, sender), text) if text else None
        elif kind == TOMBSTONE:
            target = _text(content.get("replacement_room"))
            tombstone = Tombstone(_cause(event, sender), target) if target else None
    own = members.get(me)
    if create is None:
        return None, own
    ours = create.cause.sender == me
    return (
        Room(
            room_id=room_id,
            create=create,
            members=members if ours else NOTHING,
            children=children if create.type == SPACE_TYPE else NOTHING,
            tombstone=tombstone,
            binding=binding,
            name=name,
        ),
        own,
    )


def _cause(event: dict[str, Any], sender: str) -> Cause:
    at = event.get("origin_server_ts")
    return Cause(
        sender,
        _text(event.get("event_id")) or "",
        at if isinstance(at, int) and not isinstance(at, bool) else 0,
    )


def _create(cause: Cause, content: dict[str, Any], types: EventTypes) -> Create:
    predecessor = content.get("predecessor")
    before = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    room_type = content.get("type")
    return Create(
        cause,
        # A type that is no string is a type nobody knows; it is not "none".
        "" if room_type is None else room_type if isinstance(room_type, str) else "?",
        _text(content.get("room_version")) or "1",
        _text(before),
        content.get(types.identity),
    )


def _child(cause: Cause, content: dict[str, Any]) -> Child:
    via = content.get("via")
    valid = isinstance(via, list) and all(isinstance(server, str) for server in via)
    order = content.get("order")
    return Child(
        cause,
        tuple(via) if valid and via else (),
        order if isinstance(order, str) and _is_order(order) else None,
    )


def _is_order(text: str) -> bool:
    return len(text) <= MAX_ORDER and all("\x20" <= c <= "\x7e" for c in text)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
