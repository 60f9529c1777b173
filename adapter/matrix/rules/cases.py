"""Chains with their owners: who owns each room, before places are given. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adapter.matrix.facts import Facts, Present
from adapter.matrix.identity import Chain, Lineage, Marker, Newer
from adapter.matrix.rows import SPACE, Row
from adapter.matrix.rules.legacy import Owner, owner_of_chat, owner_of_space
from adapter.matrix.rules.links import names
from adapter.matrix.rules.sight import Mode, Sight


class Case(NamedTuple):
    """A chain with all that is known of it. `owner` is `None` where none can be told."""

    chain: Chain
    mode: Mode
    joined: bool
    """The bot is in the newest room."""
    row: Row | None
    """The newest row along the chain."""
    claim: Marker | Newer | None
    owner: Owner | None
    key: str
    """The newest room's id."""

    @property
    def user_id(self) -> str | None:
        return self.owner.user_id if self.owner else None

    @property
    def legacy(self) -> bool:
        return self.claim is None

    @property
    def keeps_row(self) -> bool:
        """Kind, owner, chat_id and platform_chat_id of the row hold, if it has them."""
        return self.row is not None and _holds(self.mode, self.joined, self.claim)

    @property
    def takes_part(self) -> bool:
        """Its place is decided by this pass (rule 7: all but gone and upgraded rooms)."""
        return self.mode is Mode.OPEN and self.joined and self.owner is not None


def cases(
    facts: Facts, rows: Mapping[str, Row], kin: Lineage, seen: Sight, me: str
) -> list[Case]:
    """Settle the owners of all Spaces, then of all chats; chains that are hidden drop out."""
    unsettled = [_unsettled(chain, facts, rows, kin, seen) for chain in kin.chains]
    visible = [case for case in unsettled if case.mode is not Mode.HIDDEN]
    spaces = [
        case if case.owner else case._replace(owner=_legacy_space(case, me))
        for case in visible
        if case.chain.kind == SPACE
    ]
    chats = [case for case in visible if case.chain.kind != SPACE]
    if all(case.owner for case in chats):
        return spaces + chats
    owners = {case.key: case.owner for case in spaces if case.owner}
    naming = names(case.chain for case in spaces)
    return spaces + [
        case
        if case.owner
        else case._replace(
            owner=_legacy_chat(case, _naming(case.chain, naming), owners, me)
        )
        for case in chats
    ]


def _unsettled(
    chain: Chain, facts: Facts, rows: Mapping[str, Row], kin: Lineage, seen: Sight
) -> Case:
    row = _newest_row(chain, rows)
    joined = isinstance(facts.rooms[chain.key], Present)
    claim = chain.claim
    mode = seen.mode(chain, row, kin, gone=not joined)
    # The owner where none has to be found out: a row that stands, or a claim.
    owner = None
    if row and row.matrix_user_id and _holds(mode, joined, claim):
        owner = Owner(row.matrix_user_id)
    elif isinstance(claim, Marker) and claim.owner:
        owner = Owner(claim.owner, claim.cause)
    return Case(chain, mode, joined, row, claim, owner, chain.ids[0])


def _newest_row(chain: Chain, rows: Mapping[str, Row]) -> Row | None:
    for room_id in chain.ids:
        if room_id in rows:
            return rows[room_id]
    return None


def _holds(mode: Mode, joined: bool, claim: Marker | Newer | None) -> bool:
    """A row says more of its room than this pass can see."""
    return mode is not Mode.OPEN or not joined or isinstance(claim, Newer)


def _legacy_space(case: Case, me: str) -> Owner | None:
    return owner_of_space(case.chain, case.row, me) if case.legacy else None


def _legacy_chat(
    case: Case, spaces: Iterable[Chain], owners: Mapping[str, Owner], me: str
) -> Owner | None:
    if not case.legacy:
        return None
    return owner_of_chat(case.chain, case.row, spaces, owners, me)


def _naming(chat: Chain, naming: Mapping[str, tuple[Chain, ...]]) -> list[Chain]:
    found = {
        space.key: space for room_id in chat.ids for space in naming.get(room_id, ())
    }
    return [found[key] for key in sorted(found)]
