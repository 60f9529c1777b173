"""The drill: what Matrix alone would give back of the rows in the cache. Pure.

A binding is what a row says of a room that holds a place: whose it is, which chat,
which Space, which conversation, and whether it is in use. It is recoverable if the
topology that is rendered without any row says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from adapter.matrix.desired import Desired
from adapter.matrix.facts import Facts, Gone, Present, Unknown
from adapter.matrix.rows import Row, key, rows_of
from adapter.matrix.rules.places import holds_place
from adapter.matrix.rules.view import View
from adapter.matrix.topology import render, viewed
from controller.model import DETACHED, Cause, Fields

BINDING = ("room_type", "chat_id", "space_id", "matrix_user_id", "platform_chat_id")
DERIVED = frozenset({"chat_id", "matrix_user_id", "platform_chat_id"})
"""What is worked out for a room that does not say it (rules 4, 5 and 11)."""


class Fate(StrEnum):
    """What becomes of a binding if the cache is lost now."""

    RECOVERABLE = "recoverable"
    GUESSED = "guessed"
    """Nothing written says what differs: another value would be worked out."""
    LOST = "lost"
    BEHIND = "behind"
    """Matrix says something else than the cache, and a pass takes that, or a guard holds it."""
    UNSEEN = "unseen"
    """Too little could be read now to tell."""


class Recovery(NamedTuple):
    """One binding: its fate, what would be different (as is, as recovered), and why."""

    row: Row
    fate: Fate
    fields: Mapping[str, Fields]
    why: str = ""
    cause: Cause | None = None


class Drill(NamedTuple):
    recoveries: tuple[Recovery, ...]
    """Every binding of the cache, in the order of the room ids."""
    more: int
    """Rooms that Matrix would give and the cache does not have."""

    def count(self, fate: Fate) -> int:
        return sum(one.fate is fate for one in self.recoveries)


def drill(facts: Facts, rows: Mapping[str, Row], me: str, aged: Facts) -> Drill:
    """Compare the rows with what is rendered from `facts` without any.

    `aged` are the same facts with what only the cache remembers, for what a pass
    with all rows would do."""
    cold, warm = render(facts, {}, me), rows_of(render(aged, rows, me).rooms)
    view, found = viewed(facts, {}, me), rows_of(cold.rooms)
    recoveries = tuple(
        _recovery(row, found.get(room_id), warm[room_id], cold, view)
        for room_id, row in sorted(rows.items())
        if holds_place(row)
    )
    more = sum(holds_place(row) for room, row in found.items() if room not in rows)
    return Drill(recoveries, more)


def _recovery(
    row: Row, found: Row | None, passed: Row, cold: Desired, view: View
) -> Recovery:
    fields = _difference(row, found)
    if not fields:
        return Recovery(row, Fate.RECOVERABLE, fields)
    fate, why = _fate(row, found, passed, cold, view)
    resource = cold.rooms.get(key(row.room_id))
    known = resource.causes if resource else {}
    causes = [known[name] for name in fields if name in known]
    newest = max(causes, key=lambda cause: (cause.at, cause.event_id), default=None)
    return Recovery(row, fate, fields, why, newest)


def _fate(
    row: Row, found: Row | None, passed: Row, cold: Desired, view: View
) -> tuple[Fate, str]:
    fact = view.facts.rooms.get(row.room_id)
    if isinstance(fact, Unknown):
        return Fate.UNSEEN, f"it could not be read now ({fact.why})"
    if not _difference(passed, found) or (found is None and not holds_place(passed)):
        return Fate.BEHIND, "Matrix says so by now: see `spacekeeper plan`"
    if not isinstance(fact, Present | Gone) or not view.seen.whole:
        return Fate.UNSEEN, "not every room could be read now"
    if found is None:
        said = [one.message for one in cold.findings if one.room == row.room_id]
        return Fate.LOST, said[0] if said else "nothing in Matrix says whose it is"
    case = view.cases.get(row.room_id)
    if case and case.legacy and DERIVED & _difference(row, found).keys():
        return Fate.GUESSED, "it has no record yet that says so"
    if not holds_place(found):
        return Fate.LOST, f"it would be {found.status}: {found.reason}"
    return Fate.LOST, "nothing but the cache says so"


def _difference(row: Row, found: Row | None) -> dict[str, Fields]:
    """Which parts of a binding differ, and whether the room is in use."""
    mine, other = _binding(row), _binding(found) if found else {}
    return {
        name: Fields(mine.get(name), other.get(name))
        for name in (*BINDING, "detached")
        if mine.get(name) != other.get(name)
    }


def _binding(row: Row) -> dict[str, str | None]:
    said = {name: getattr(row, name) for name in BINDING}
    return {**said, "detached": row.reason if row.status == DETACHED else None}
