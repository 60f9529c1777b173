"""The bot's own state events as they should be (rules 3, 5, 8 and 10). Pure.

Nothing here can take away: a record or binding is written, a child linked, an owner
invited who never was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from adapter.matrix.facts import CHILD, MEMBER, EventTypes, Member, Room
from adapter.matrix.identity import VERSION, Chain, Marker, server_of
from adapter.matrix.rows import ACTIVE, CHAT, PENDING, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.links import Link


class Own(NamedTuple):
    """One state event of the bot: what stands at `field` of `room_id`, what should."""

    room_id: str
    field: str
    """`<event type>|<state key>`"""
    have: Mapping[str, Any] | None
    want: Mapping[str, Any]


def own_events(  # noqa: PLR0913 - all that one chain's events hang on
    case: Case,
    row: Row,
    found: Link | None,
    holder: Case | None,
    me: str,
    types: EventTypes,
) -> list[Own]:
    """What the bot should write for the chain of `case`, whose newest row is `row`.

    `holder` is the Space that holds the owner's place, if the bot may write there. The
    caller leaves out chains about which too little is seen."""
    if not case.takes_part or case.chain.is_newer:
        return []
    due = [_binding(case, row, me, types)]
    if row.status in {ACTIVE, PENDING}:
        if row.room_type == CHAT and holder and row.space_id == holder.key:
            due.append(_child(case.chain, found, holder.chain, me))
        due.append(_invite(case.chain, row.matrix_user_id))
    return [own for own in due if own is not None]


def _invite(chain: Chain, owner: str | None) -> Own | None:
    if not owner or not never_invited(chain, owner):
        return None
    return Own(chain.key, f"{MEMBER}|{owner}", None, {"membership": "invite"})


def _binding(case: Case, row: Row, me: str, types: EventTypes) -> Own | None:
    """What identity does not say, or no longer says, stands in the binding (rule 2)."""
    newest = case.chain.rooms[0]
    stands = newest.room.binding
    if isinstance(newest.identity, Marker):
        if (
            row.room_type != CHAT
            or _says(newest.binding, newest.identity) == row.platform_chat_id
        ):
            return None
        want: dict[str, Any] = {
            "v": VERSION,
            "platform_chat_id": row.platform_chat_id,
        }
    else:
        if isinstance(newest.binding, Marker) and _is_record(newest.binding, row):
            return None
        want = record(row)
    field = f"{types.binding}|{me}"
    return Own(case.key, field, stands.content if stands else None, want)


def _says(binding: object, identity: Marker) -> str | None:
    """The platform_chat_id that binding and identity give together."""
    if isinstance(binding, Marker) and binding.platform_chat_id:
        return binding.platform_chat_id
    return identity.platform_chat_id


def _is_record(binding: Marker, row: Row) -> bool:
    return (
        binding.kind == row.room_type
        and binding.owner == row.matrix_user_id
        and binding.chat_id == row.chat_id
        and binding.platform_chat_id == row.platform_chat_id
    )


def record(row: Row) -> dict[str, Any]:
    """The content that says of a room without identity what its row says."""
    content = {
        "v": VERSION,
        "kind": row.room_type,
        "owner": row.matrix_user_id,
        "chat_id": row.chat_id,
        "platform_chat_id": row.platform_chat_id,
    }
    return {name: value for name, value in content.items() if value is not None}


def _child(chat: Chain, found: Link | None, space: Chain, me: str) -> Own | None:
    """Link a chat that no child event names, or whose link names older rooms."""
    if found is None:
        order = None
    elif found.valid and not found.newest and found.space.key == space.key:
        order = found.child.order
    else:
        return None
    content: dict[str, Any] = {"via": [server_of(me)]}
    if order is not None:
        content["order"] = order
    return Own(space.key, f"{CHILD}|{chat.key}", None, content)


def newest_member(chain: Chain, user_id: str) -> tuple[Room, Member] | None:
    """The newest member event of a user along the chain, and the room it stands in."""
    for marked in chain.rooms:
        member = marked.room.members.get(user_id)
        if member is not None:
            return marked.room, member
    return None


def never_invited(chain: Chain, user_id: str) -> bool:
    """No member event in the newest room, and none in an older one that says no.

    An upgrade moves nobody: who was in the older room is owed an invite to the new one."""
    if user_id in chain.tip.members:
        return False
    newest = newest_member(chain, user_id)
    return newest is None or newest[1].membership in {"join", "invite"}


def grouped(events: Iterable[Own]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Room -> field -> content, as they are and as they should be."""
    have: dict[str, dict[str, Any]] = {}
    want: dict[str, dict[str, Any]] = {}
    for own in events:
        have.setdefault(own.room_id, {})
        want.setdefault(own.room_id, {})[own.field] = own.want
        if own.have is not None:
            have[own.room_id][own.field] = own.have
    return have, want
