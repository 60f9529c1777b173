"""What could not be seen, and which rows stand because of it (section 4). Pure.

Absent is not gone: a room that was not read, or that hides, may hold any of its
owner's places. Until it shows itself, the owner's rows stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple

from adapter.matrix.facts import SPACE_TYPE, Facts, Gone, Present, Unknown, shown
from adapter.matrix.identity import Chain, Lineage, Newer
from adapter.matrix.rows import SPACE, Row
from controller.model import DETACHED

LEFT_BY_BOT = frozenset({"bot_kicked", "bot_banned", "bot_left"})
OUT_OF_SIGHT = LEFT_BY_BOT | {"lost", "not_ours"}
"""Reasons of rows whose rooms nobody expects to be readable."""


class Mode(Enum):
    """How far this pass may decide about a chain."""

    OPEN = auto()
    """Everything is decided by what is seen."""
    FROZEN = auto()
    """The row stands, but for what the room itself shows: its members and its end."""
    STANDS = auto()
    """The row stands whole; the end of the bot's own membership is the one exception."""
    HELD = auto()
    """As `STANDS`, without exception; a room without a row is not bound."""
    HIDDEN = auto()
    """No row, and too little is seen to bind it now."""


class Sight(NamedTuple):
    """Whom this pass could not see well enough to decide everything."""

    blocked: frozenset[str] = frozenset()
    """Owners with a row whose room was not read or is unknown."""
    blind: bool = False
    """A joined room, or one of an unknown owner, was not read: it may be anybody's."""
    hold: frozenset[str] = frozenset()
    left_alone: frozenset[str] = frozenset()
    """Owners with a Space that a later version wrote, and that no row knows."""

    @property
    def whole(self) -> bool:
        return not (self.blocked or self.blind)

    def blocks(self, owner: str | None) -> bool:
        return self.blind or owner in self.blocked or owner in self.left_alone

    def mode(self, chain: Chain, row: Row | None, kin: Lineage, *, gone: bool) -> Mode:
        """Decide how far a chain with this newest `row` may be decided."""
        if self.hold and not self.hold.isdisjoint(chain.ids):
            return Mode.HELD
        waits = chain.key in kin.waiting
        unsettled = waits or chain.root.room_id in kin.orphaned
        claim = chain.claim
        # Rooms that nobody could read may say whose legacy room it is.
        guessed = claim is None and (unsettled or not self.whole)
        if row is None or (row.reason == "upgraded" and row.room_id != chain.key):
            newer = isinstance(claim, Newer)
            # What is gone keeps the values that it is bound with: they have to be whole.
            early = gone and not self.whole
            return Mode.HIDDEN if waits or guessed or newer or early else Mode.OPEN
        if row.reason == "upgraded" and (waits or chain.key in kin.refused):
            return Mode.STANDS
        if gone:
            return Mode.OPEN
        if unsettled or guessed or (row.reason == "duplicate" and not self.whole):
            return Mode.STANDS
        return Mode.FROZEN if self.blocks(row.matrix_user_id) else Mode.OPEN


def sight(
    facts: Facts, rows: Mapping[str, Row], kin: Lineage, hold: frozenset[str]
) -> Sight:
    """Find every room with a row, and every joined one, that nobody could read.

    A Space that cannot be bound for want of sight hides its links too: it counts as
    not read, and may in turn keep others from being bound."""
    seen = overlooked(facts, rows, hold, rows.keys() | facts.joined)
    while (wider := _with_hidden_spaces(seen, facts, rows, kin)) != seen:
        seen = wider
    return seen


def unbound_spaces(facts: Facts, rows: Mapping[str, Row], me: str) -> bool:
    """Whether there is a Space of the bot that no row knows. Of all that can be read, only
    such a one may hide something: `sight` needs no lineage where there is none."""
    return any(
        room_id not in rows
        and (room := shown(found)) is not None
        and room.create.type == SPACE_TYPE
        and room.create.cause.sender == me
        for room_id, found in facts.rooms.items()
    )


def overlooked(
    facts: Facts, rows: Mapping[str, Row], hold: frozenset[str], rooms: Iterable[str]
) -> Sight:
    """Whose of these `rooms`, which have a row or are joined, nobody could read."""
    blocked: set[str] = set()
    blind = False
    for room_id in rooms:
        fact, row = facts.rooms.get(room_id), rows.get(room_id)
        if isinstance(fact, (Present, Gone)) or (room_id in hold and row is None):
            continue
        if isinstance(fact, Unknown) and (fact.overdue or _is_expected(fact, row)):
            continue
        if row and row.matrix_user_id:
            blocked.add(row.matrix_user_id)
        else:
            blind = True
    return Sight(frozenset(blocked), blind, hold)


def _with_hidden_spaces(
    seen: Sight, facts: Facts, rows: Mapping[str, Row], kin: Lineage
) -> Sight:
    blocked, blind, alone = set(seen.blocked), seen.blind, set(seen.left_alone)
    for chain in kin.chains:
        if chain.kind != SPACE or not rows.keys().isdisjoint(chain.ids):
            continue
        if seen.mode(chain, None, kin, gone=False) is Mode.HIDDEN:
            claim = chain.claim
            if isinstance(claim, Newer):
                joined = isinstance(facts.rooms[chain.key], Present)
                alone.update([claim.owner] if claim.owner and joined else [])
            elif claim and claim.owner:
                blocked.add(claim.owner)
            else:
                blind = True
    return Sight(frozenset(blocked), blind, seen.hold, frozenset(alone))


def _is_expected(fact: Unknown, row: Row | None) -> bool:
    """The bot is out of the room, as the row says; it will not be readable again."""
    return (
        fact.absent
        and row is not None
        and row.status == DETACHED
        and row.reason in OUT_OF_SIGHT
    )
