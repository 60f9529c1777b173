"""All that one render looks at, settled, for drawing rows and telling findings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from adapter.matrix.facts import Facts
from adapter.matrix.identity import Lineage
from adapter.matrix.rows import Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.places import Places
from adapter.matrix.rules.sight import Mode, Sight
from controller.model import DETACHED


@dataclass(frozen=True)
class View:
    """Facts and rows, and what was settled from them; nothing in it changes."""

    facts: Facts
    rows: Mapping[str, Row]
    me: str
    kin: Lineage
    seen: Sight
    every: tuple[Case, ...]
    given: Places

    @cached_property
    def cases(self) -> Mapping[str, Case]:
        return {case.key: case for case in self.every}

    @cached_property
    def held_owners(self) -> frozenset[str | None]:
        """Owners of whom something stands undecided: held, or seen too little of."""
        owners = {self.rows[r].matrix_user_id for r in self.seen.hold if r in self.rows}
        for case in self.every:
            replaced = case.row is not None and case.row.reason == "upgraded"
            if case.mode is not Mode.OPEN and not replaced:
                owners.add(case.user_id)
                owners.add(case.claim.owner if case.claim else None)
        return frozenset(owners - {None})

    def is_blocked(self, case: Case) -> bool:
        """Too little is seen, or too much is held, to write anything for this chain."""
        return (
            case.key in self.kin.doubtful
            or case.chain.root.room_id in self.kin.orphaned
            or self.seen.blocks(case.user_id)
            or case.user_id in self.held_owners
            or not (self.seen.whole or self._held_before(case))
        )

    def _held_before(self, case: Case) -> bool:
        """The row in use says the same: no room that was not seen can have its place."""
        row, key = case.row, case.key
        chat_id = self.given.chat_ids.get(key)
        platform = self.given.platform_ids.get(key)
        return (
            row is not None
            and row.room_id == key
            and row.status != DETACHED
            and row.matrix_user_id == case.user_id
            and row.chat_id == (chat_id.value if chat_id else None)
            and row.platform_chat_id == (platform.value if platform else None)
        )

    def may_finish(self, case: Case) -> bool:
        return not (self.is_blocked(case) or case.chain.is_newer)

    def holder(self, owner: str | None) -> Case | None:
        """The Space that holds the owner's place, if the bot is in it and may write there."""
        case = self.cases.get(self.given.holders.get(owner or "", ""))
        return case if case and case.takes_part and not case.chain.is_newer else None
