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

    @property
    def key(self) -> str:
        return self.chain.key

    @property
    def user_id(self) -> str | None:
        return self.owner.user_id if self.owner else None

    @property
    def legacy(self) -> bool:
        return self.claim is None

    @property
    def keeps_row(self) -> bool:
        """Kind, owner, chat_id and platform_chat_id of the row hold, if it has them."""
        return self.row is not None and (
            self.mode is not Mode.OPEN
            or not self.joined
            or isinstance(self.claim, Newer)
        )

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
        case._replace(owner=_owner(case) or _legacy_space(case, me))
        for case in visible
        if case.chain.kind == SPACE
    ]
    owners = {case.key: case.owner for case in spaces if case.owner}
    naming = names(case.chain for case in spaces)
    chats = [
        case._replace(
            owner=_owner(case)
            or _legacy_chat(case, _naming(case.chain, naming), owners, me)
        )
        for case in visible
        if case.chain.kind != SPACE
    ]
    return spaces + chats


def _unsettled(
    chain: Chain, facts: Facts, rows: Mapping[str, Row], kin: Lineage, seen: Sight
) -> Case:
    row = next((rows[room_id] for room_id in chain.ids() if room_id in rows), None)
    joined = isinstance(facts.rooms[chain.key], Present)
    claim = chain.claim()
    mode = seen.mode(chain, row, kin, gone=not joined)
    return Case(chain, mode, joined, row, claim, None)


def _owner(case: Case) -> Owner | None:
    """The owner where none has to be found out: a row that stands, or a claim."""
    if case.row and case.row.matrix_user_id and case.keeps_row:
        return Owner(case.row.matrix_user_id)
    if isinstance(case.claim, Marker) and case.claim.owner:
        return Owner(case.claim.owner, case.claim.cause)
    return None


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
        space.key: space for room_id in chat.ids() for space in naming.get(room_id, ())
    }
    return [found[key] for key in sorted(found)]
