"""Who owns a room that says nothing of itself (rule 5). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from adapter.matrix.identity import Chain, is_user_id
from adapter.matrix.rows import Row
from adapter.matrix.rules.links import link
from controller.model import Cause


class Owner(NamedTuple):
    """Whose room it is, and the event that says so, where one does."""

    user_id: str
    cause: Cause | None = None


def owner_of_space(space: Chain, row: Row | None, me: str) -> Owner | None:
    """The only user but the bot with any member event in it; of several, the row's."""
    candidates = sorted(space.members() - {me})
    if len(candidates) == 1:
        return Owner(candidates[0], _member(space, candidates[0]))
    return _owner_of_row(row, candidates, me)


def owner_of_chat(
    chat: Chain,
    row: Row | None,
    spaces: Iterable[Chain],
    owners: Mapping[str, Owner],
    me: str,
) -> Owner | None:
    """The one owner of the Spaces that name it, else the row's if ever a member, else none.

    A Space counts if its owner has a member event in the chat, and if the bot sent
    the child event or nobody else was ever in the chat: a guest who links the room
    into a Space of their own does not become its owner."""
    members = chat.members() - {me}
    named: dict[str, Cause] = {}
    for space in spaces:
        owner = owners.get(space.key)
        found = link(chat, space)
        if owner is None or found is None or not found.valid:
            continue
        user_id = owner.user_id
        if user_id in members and (members == {user_id} or _linked_by(me, chat, space)):
            named.setdefault(user_id, found.child.cause)
    if len(named) == 1:
        (user_id,) = named
        return Owner(user_id, named[user_id])
    return _owner_of_row(row, members, me)


def _linked_by(me: str, chat: Chain, space: Chain) -> bool:
    """The bot itself made the link. Upgrading a Space copies links in the bot's name, so
    the oldest event for the room counts, and none of a Space whose past is not seen."""
    if space.root.create.predecessor:
        return False
    found = link(chat, space)
    if found is None:
        return False
    oldest = next(
        marked.room.children[found.room_id]
        for marked in reversed(space.rooms)
        if found.room_id in marked.room.children
    )
    return oldest.cause.sender == me and found.child.cause.sender == me


def _owner_of_row(row: Row | None, members: Collection[str], me: str) -> Owner | None:
    """The row's owner, if they were ever there, or nobody but the bot ever was."""
    owner = row.matrix_user_id if row else None
    if owner is None or owner == me or not is_user_id(owner):
        return None
    return Owner(owner) if owner in members or not members else None


def _member(chain: Chain, user_id: str) -> Cause | None:
    for marked in chain.rooms:
        member = marked.room.members.get(user_id)
        if member is not None:
            return member.cause
    return None
