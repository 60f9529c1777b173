"""Who owns a room that says nothing of itself (rule 5). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adapter.matrix.identity import Chain
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
    if row and row.matrix_user_id in candidates:
        return Owner(row.matrix_user_id)
    return None


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
        if user_id in members and (
            found.child.cause.sender == me or members == {user_id}
        ):
            named.setdefault(user_id, found.child.cause)
    if len(named) == 1:
        (user_id,) = named
        return Owner(user_id, named[user_id])
    if row and row.matrix_user_id in members:
        return Owner(row.matrix_user_id)
    return None


def _member(chain: Chain, user_id: str) -> Cause | None:
    for marked in chain.rooms:
        member = marked.room.members.get(user_id)
        if member is not None:
            return member.cause
    return None
