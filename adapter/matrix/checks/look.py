"""What one look at Matrix shows, as checks see it, and what a check says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from adapter.matrix.decision import Pass
from adapter.matrix.desired import Finding
from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.power import Power
from adapter.matrix.rows import SPACE, Row, key, rows_of
from adapter.matrix.rules.view import View
from adapter.matrix.topology import viewed
from controller.model import Cause

RECONCILE = "the running bot does it, or `spacekeeper reconcile`"


class Diagnosis(NamedTuple):
    """A finding, and what settles it."""

    finding: Finding
    remedy: str
    """A clause for people: a command, who may do what, or that nothing is to be done."""


@dataclass(frozen=True)
class Look:
    """A pass that was decided, with all that it was decided from; nothing changes."""

    facts: Facts
    cache: Mapping[str, Row]
    """The rows as they are."""
    me: str
    decided: Pass
    types: EventTypes
    powers: Mapping[str, Power]
    """What the bot may do in its rooms, those aside where nothing can stop it."""
    unread: Mapping[str, str]
    """Room -> why its power levels could not be read."""

    @cached_property
    def view(self) -> View:
        """What the pass saw and settled; what its guard blocks was held."""
        blocked = frozenset(change.key.name for change in self.decided.cache.blocked)
        return viewed(self.facts, self.cache, self.me, blocked)

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """The rows as they should be."""
        return rows_of(self.decided.want.rooms)

    def owner(self, room_id: str) -> str:
        """The owner for a sentence, also where nobody knows them."""
        row = self.rows.get(room_id)
        return (row and row.matrix_user_id) or "its owner"

    def evidence(self, room_id: str) -> Cause | None:
        """The event behind a room's status; of one not seen any more, its id alone."""
        resource = self.decided.want.rooms[key(room_id)]
        found = resource.causes.get("status")
        said = resource.fields.get("evidence")
        return found or (Cause("", said, 0) if said else None)

    def created(self, room_id: str) -> Cause | None:
        """The event that made a room, if it was seen."""
        case = self.view.cases.get(room_id)
        return case.chain.tip.create.cause if case else None

    def subject(self, room_id: str) -> str:
        """What the room is, for people: "C2 of @alice:hs"; "" where nobody knows."""
        row = self.rows.get(room_id)
        if row is None or row.matrix_user_id is None:
            return ""
        what = "Space" if row.room_type == SPACE else row.chat_id or "chat"
        return f"{what} of {row.matrix_user_id}"


def restore(row: Row) -> str:
    """How the owner gets a chat back that they left, or that was unlinked."""
    return (
        f"`!restore {row.chat_id}`, said by {row.matrix_user_id} in another chat of "
        "theirs, or in their direct chat with the bot"
    )
