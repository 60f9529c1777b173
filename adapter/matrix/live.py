"""What a live /sync asks for, and what one answer says (pure).

The parser takes nothing for granted: a server may ignore the filter, and one broken
event or room must not keep those of all others from being heard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from adapter.matrix.answers import reject
from adapter.matrix.facts import MEMBER, EventTypes

Json = dict[str, Any]

REDACTION: Final = "m.room.redaction"
MESSAGES: Final = ("m.room.message", "m.room.encrypted")
TIMELINE_LIMIT: Final = 100  # Synapse gives no more
BACKLOG_TYPES: Final = (*MESSAGES, MEMBER)
"""What completes a limited timeline: whether something was said after a join counts."""
BACKLOG_FILTER: Final[Json] = {
    "types": list(BACKLOG_TYPES),
    "lazy_load_members": False,
}


class Update(NamedTuple):
    """One joined room in one batch."""

    state: tuple[Json, ...] = ()
    """What changed in the gap before the timeline, in no order."""
    timeline: tuple[Json, ...] = ()
    """The oldest event first."""
    limited: bool = False
    """The server left out events before the timeline, redactions too."""
    prev_batch: str | None = None
    """The position where the timeline begins."""
    unread: bool = False
    """The server's section on the room could not be read: it may have said anything."""


UNREAD: Final = Update(limited=True, unread=True)


class Batch(NamedTuple):
    """All that one answer to /sync says."""

    token: str
    """The position after it."""
    joined: Mapping[str, Update] = {}
    left: Mapping[str, tuple[Json, ...]] = {}
    """Rooms that the bot is not in any more: state, then timeline. Being listed says
    so, the events may not (matrix-spec#2203)."""
    invited: Mapping[str, tuple[Json, ...]] = {}
    """Rooms with an open invitation: stripped state events, which have no id."""
    checkpoint: Json | None = None
    """The content that the bot's checkpoint in the account data now has."""


def live_filter(types: EventTypes, stream: str = "") -> Json:
    """The filter for the live stream of this name, which no other should have.

    Synapse repeats an answer for two minutes to whoever asks the same again, so a bot
    that starts anew would get the past in other portions than it is. State and timeline let the same types through: state that only the timeline lacks
    is lost for good. No `rooms`: it removes the create event of version 12 rooms."""
    none: Json = {"types": []}
    wanted = list(_wanted(types))
    return {
        "presence": {"types": [], "not_types": [stream]},
        "account_data": {"types": [types.checkpoint]},
        "room": {
            "ephemeral": none,
            "account_data": none,
            "state": {"types": wanted, "lazy_load_members": False},
            "timeline": {"types": wanted, "limit": TIMELINE_LIMIT},
        },
    }


def changes_filter(types: EventTypes, name: str = "") -> Json:
    """The filter for whatever may have changed state that decides, and no message.

    A `name` of its own keeps Synapse from repeating an answer. With a limit of 1 the
    server says of more than one change that they are `limited`: more need not be told."""
    wanted = [*types.state(), "m.room.encryption", REDACTION]
    usual = live_filter(types, name)
    return {
        **usual,
        "account_data": {"types": []},
        "room": {
            **usual["room"],
            "state": {"types": wanted, "lazy_load_members": False},
            "timeline": {"types": wanted, "limit": 1},
        },
    }


def read_batch(body: object, types: EventTypes) -> Batch:
    """Read an answer to /sync.

    Raises `Unexpected` if it cannot be read as a whole. Single events without type,
    sender, content or id are left out, and so is what the filter does not ask for. A
    joined room whose section has another shape is `unread`."""
    body = _object(body, "an answer to /sync")
    token = body.get("next_batch")
    if not isinstance(token, str) or not token:
        reject("an answer's next_batch")
    rooms = _object(body.get("rooms"), "the rooms of an answer to /sync")
    joined, left, invited = (
        _object(rooms.get(part), f"the part {part} of an answer to /sync")
        for part in ("join", "leave", "invite")
    )
    wanted = _wanted(types)
    return Batch(
        token,
        {room_id: _update(section, wanted) for room_id, section in joined.items()},
        {room_id: _left(section, wanted) for room_id, section in left.items()},
        {room_id: _invited(section) for room_id, section in invited.items()},
        _checkpoint(body.get("account_data"), types),
    )


def topology_rooms(batch: Batch, me: str, types: EventTypes) -> frozenset[str]:
    """The rooms whose state has to be read again.

    These are the rooms where state that decides has changed, or something was redacted
    (that alone does not say what), or may have been, in a gap or an unread section, and
    the rooms that the bot is not in any more."""
    return frozenset(batch.left) | {
        room_id
        for room_id, update in batch.joined.items()
        if update.limited
        or update.unread
        or any(decides(event, me, types) for event in (*update.state, *update.timeline))
    }


def joined_now(events: Sequence[Json], me: str) -> Json | None:
    """The newest event of `events` by which the bot came into the room, if there is one.

    That is its own member event, unless it was in the room before: a new display name
    is such an event, too. Without `prev_content`, which the specification does not
    promise, it counts: to leave an old command out is better than to obey it again."""
    return next((event for event in reversed(events) if _is_join(event, me)), None)


def after_own_join(events: Sequence[Json], me: str) -> tuple[Json, ...]:
    """The part of `events`, the oldest first, that follows the bot's newest own join.

    After a join the timeline has what was said before it, also what the bot heard then
    and handled; without a join it is all of them."""
    after = itertools.takewhile(lambda event: not _is_join(event, me), reversed(events))
    return tuple(after)[::-1]


def answered(events: Iterable[Json], me: str) -> frozenset[str]:
    """The events that this device of the bot answered, if the answer is among `events`.

    Answers have the transaction id `<event id>/<index>`, which a server tells nobody but
    the device that sent them (spec: client-server API, `UnsignedData`)."""
    sent = [event.get("unsigned") for event in events if event["sender"] == me]
    ids = [said.get("transaction_id") for said in sent if isinstance(said, dict)]
    return frozenset(
        one.removesuffix("/0")
        for one in ids
        if isinstance(one, str) and one[-2:] == "/0"
    )


def well_formed(events: object, wanted: Iterable[str]) -> tuple[Json, ...] | None:
    """The events of a list that can be read and are `wanted`; `None` if it is no list."""
    if not isinstance(events, list):
        return None
    types = frozenset(wanted)
    return tuple(
        event
        for event in events
        if _is_event(event)
        and event["type"] in types
        and isinstance(event.get("event_id"), str)
    )


def _wanted(types: EventTypes) -> tuple[str, ...]:
    return (*types.state(), *MESSAGES, "m.room.encryption", REDACTION)


def _update(section: object, wanted: Iterable[str]) -> Update:
    if not isinstance(section, dict):
        return UNREAD
    state = _events(section.get("state"), wanted)
    timeline = _events(section.get("timeline"), wanted)
    if state is None or timeline is None:
        return UNREAD
    about = section.get("timeline") or {}
    before = about.get("prev_batch")
    return Update(
        state,
        timeline,
        about.get("limited") is True,
        before if isinstance(before, str) and before else None,
    )


def _left(section: object, wanted: Iterable[str]) -> tuple[Json, ...]:
    if not isinstance(section, dict):
        return ()
    state, timeline = (
        _events(section.get(part), wanted) or () for part in ("state", "timeline")
    )
    return (*state, *timeline)


def _invited(section: object) -> tuple[Json, ...]:
    shown = section.get("invite_state") if isinstance(section, dict) else None
    return stripped(shown.get("events") if isinstance(shown, dict) else None)


def stripped(events: object) -> tuple[Json, ...]:
    """The stripped state events of a list that can be read."""
    if not isinstance(events, list):
        return ()
    return tuple(
        event
        for event in events
        if _is_event(event) and isinstance(event.get("state_key"), str)
    )


def _checkpoint(part: object, types: EventTypes) -> Json | None:
    events = part.get("events") if isinstance(part, dict) else None
    newest = None
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict) and event.get("type") == types.checkpoint:
            content = event.get("content")
            newest = content if isinstance(content, dict) else newest
    return newest


def _events(part: object, wanted: Iterable[str]) -> tuple[Json, ...] | None:
    """The events of a room's state or timeline, which may be absent, or `None`."""
    if part is None:
        return ()
    if not isinstance(part, dict):
        return None
    events = part.get("events")
    return () if events is None else well_formed(events, wanted)


def _is_event(event: object) -> bool:
    return (
        isinstance(event, dict)
        and isinstance(event.get("type"), str)
        and isinstance(event.get("sender"), str)
        and isinstance(event.get("content"), dict)
    )


def decides(event: Json, me: str, types: EventTypes) -> bool:
    """Whether the room of this event has to be read again because of it."""
    if event["type"] == REDACTION:
        return True
    key = event.get("state_key")
    if event["type"] == types.binding:
        return bool(key == me)
    return isinstance(key, str) and event["type"] in types.state()


def _is_join(event: Json, me: str) -> bool:
    if (
        event["type"] != MEMBER
        or event.get("state_key") != me
        or event["content"].get("membership") != "join"
    ):
        return False
    unsigned = event.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    return not (isinstance(before, dict) and before.get("membership") == "join")


def _object(value: object, what: str) -> Json:
    """`value` as an object; absent is empty. Raises `Unexpected` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        reject(what)
    return value
