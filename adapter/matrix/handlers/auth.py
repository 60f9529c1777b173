"""Who may what, and where the bot may talk. Pure.

A room is judged by its row, that is by what the passes decided, and user ids are compared
exactly, character by character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from adapter.matrix import rows
from adapter.matrix.facts import CREATE, MEMBER, SPACE_TYPE, Room
from adapter.matrix.identity import (
    Malformed,
    Marker,
    Marking,
    Newer,
    binding_of,
    identity_of,
    is_user_id,
)
from adapter.matrix.rows import Row

ENCRYPTION = "m.room.encryption"


class Place(Enum):
    """What a room is to the bot."""

    CHAT = auto()
    """A chat in use. Whether it can be seen just now makes no difference."""
    PENDING = auto()
    """A chat whose owner has not come yet."""
    ARCHIVED = auto()
    """A chat that was unlinked from its Space: it can be restored."""
    OTHER_DETACHED = auto()
    """A chat that was given up for another reason: a duplicate, an upgraded room..."""
    SPACE = auto()
    """Somebody's Space, whatever its status."""
    DIRECT = auto()
    """A room of exactly two that the bot does not manage."""
    ELSEWHERE = auto()
    """Any other room: the bot is silent in it."""


def place(row: Row | None, managed: bool, members: int | None) -> Place:
    """What a room is, by its row, or by how many are joined to it where there is none.

    `managed`: the topology knows the room as one of the bot's own; without a row it could
    not be bound, and nobody guesses whose it is. `members` is `None` if not known."""
    if row is None:
        return Place.DIRECT if members == 2 and not managed else Place.ELSEWHERE
    match row.room_type, row.status, row.reason:
        case rows.SPACE, _, _:
            return Place.SPACE
        case rows.CHAT, rows.ACTIVE | rows.UNKNOWN, _:
            return Place.CHAT
        case rows.CHAT, rows.PENDING, _:
            return Place.PENDING
        case rows.CHAT, _, "unlinked":
            return Place.ARCHIVED
        case rows.CHAT, _, _:
            return Place.OTHER_DETACHED
        case _:
            return Place.ELSEWHERE


def is_allowed(user_id: str, allow: Sequence[str]) -> bool:
    """Whether one of the patterns `allow` is `user_id`; `*` is any run of characters.

    Nothing else is special, and nothing is folded: ids differ by case. It does not know
    the bot's own id: what the bot says or sends itself is sorted out before."""
    return is_user_id(user_id) and any(_matches(user_id, each) for each in allow)


def _matches(user_id: str, pattern: str) -> bool:
    wanted = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(wanted, user_id) is not None


def may_be_answered(row: Row | None, sender: str, routing: str) -> bool:
    """Whether a word of `sender` goes to the conversation of this room.

    With routing `owner` only the owner's, with `members` everybody's; in either case only
    in a chat in use. A row that became unknown is routed as before."""
    if row is None or place(row, managed=True, members=None) is not Place.CHAT:
        return False
    if row.platform_chat_id is None:
        return False
    return routing == "members" or sender == row.matrix_user_id


def may_command(
    place: Place, row: Row | None, sender: str, allow: Sequence[str]
) -> bool:
    """Whether a command of `sender` is heard here.

    In a chat, whatever its status, only its owner's: being allow-listed is not enough. In
    a direct room whoever is allow-listed, elsewhere nobody."""
    match place:
        case Place.CHAT | Place.PENDING | Place.ARCHIVED | Place.OTHER_DETACHED:
            return row is not None and row.matrix_user_id == sender
        case Place.DIRECT:
            return is_allowed(sender, allow)
        case Place.SPACE | Place.ELSEWHERE:
            return False


class Invitation(NamedTuple):
    """What an invitation of the bot says; the inviter's server is to be believed, or not."""

    inviter: str
    is_direct: bool
    is_space: bool
    event_id: str | None
    """Servers may leave it out of the stripped state."""
    encrypted: bool


def invitation(events: Iterable[Any], me: str) -> Invitation | None:
    """Read `invite_state`; `None` if it does not hold somebody's invitation of the bot.

    Other member events stand beside it, so only the bot's own counts (spec, stripped
    state). What is malformed in it is left out; nothing makes this raise."""
    state = {
        (event["type"], event["state_key"]): event
        for event in events
        if _is_stripped(event)
    }
    own = state.get((MEMBER, me))
    if own is None or own["content"].get("membership") != "invite":
        return None
    inviter, event_id = own["sender"], own.get("event_id")
    if not is_user_id(inviter) or inviter == me:
        return None
    create = state.get((CREATE, ""))
    return Invitation(
        inviter,
        own["content"].get("is_direct") is True,
        create is not None and create["content"].get("type") == SPACE_TYPE,
        event_id if isinstance(event_id, str) and event_id else None,
        (ENCRYPTION, "") in state,
    )


def _is_stripped(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and all(isinstance(event.get(k), str) for k in ("type", "state_key", "sender"))
        and isinstance(event.get("content"), dict)
    )


def accepts(invitation: Invitation, allow: Sequence[str]) -> bool:
    """Whether the bot joins: a direct chat, no Space, and an inviter who may."""
    return (
        invitation.is_direct
        and not invitation.is_space
        and is_allowed(invitation.inviter, allow)
    )


def contradicts(row: Row, room: Room, me: str) -> str | None:
    """How what `room` says of itself differs from `row`; `None` if it does not.

    While it does, nothing may be routed: a guard holds the row, or a pass is due. What a
    later version wrote and what is malformed says nothing (rules 2 and 4)."""
    identity, binding = identity_of(room, me), binding_of(room, me)
    if isinstance(identity, Newer) or isinstance(binding, Newer):
        return None
    owner = _owner(identity) or _owner(binding)
    if owner is not None and owner != row.matrix_user_id:
        return "the room names another owner than its row"
    platform_chat_id = _platform_chat_id(identity, binding)
    if row.room_type == rows.CHAT and platform_chat_id not in (
        None,
        row.platform_chat_id,
    ):
        return "the room names another conversation than its row"
    return None


def _owner(marking: Marking) -> str | None:
    return marking.owner if isinstance(marking, Marker) else None


def _platform_chat_id(identity: Marking, binding: Marking) -> str | None:
    """Rule 4, as far as one room can say it."""
    if isinstance(binding, Malformed):
        # It may have said what only the row still knows.
        return None
    for marking in (binding, identity):
        if isinstance(marking, Marker) and marking.platform_chat_id is not None:
            return marking.platform_chat_id
    return None
