"""What a row may hold, and the row that a step of a plan leaves: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapter.matrix.rows import ACTIVE, CHAT, FIELDS, PENDING, SPACE, UNKNOWN, Row
from controller.apply import Outcome, Result
from controller.diff import is_detached
from controller.model import DETACHED, Change

COLUMNS = (*Row._fields, "updated_at")
WRITABLE = {*FIELDS, "updated_at"}
ALLOWED: Mapping[str, tuple[str | None, ...]] = {
    "room_type": (SPACE, CHAT, None),
    "status": (ACTIVE, PENDING, DETACHED, UNKNOWN),
}
_TEXTS = frozenset(FIELDS) - ALLOWED.keys()


def written(
    steps: Sequence[Change], revisions: Mapping[str, int]
) -> tuple[list[Row], list[Outcome]]:
    """The rows that the steps leave, and what becomes of each step if all can be written."""
    rows: dict[str, Row] = {}
    outcomes: list[Outcome] = []
    for step in steps:
        outcome = problem(step, revisions)
        if outcome is None and step.key.name in rows:
            outcome = Outcome(step.key, Result.STALE, "it is planned twice")
        if outcome is None:
            rows[step.key.name] = wanted(step)
            outcome = Outcome(step.key, Result.APPLIED)
        outcomes.append(outcome)
    return list(rows.values()), outcomes


def problem(step: Change, revisions: Mapping[str, int]) -> Outcome | None:
    """What keeps a step from being carried out, before any index is asked."""
    if step.key.kind != "room":
        return Outcome(step.key, Result.FAILED, "the cache holds rooms only")
    known = revisions.get(step.key.name)
    if known != (step.old.revision if step.old else None):
        detail = "its row is not what the plan saw"
        return Outcome(step.key, Result.STALE, detail)
    if step.new is not None and (why := bad(step.new.fields, step.key.name)):
        return Outcome(step.key, Result.FAILED, why)
    return None


def wanted(step: Change) -> Row:
    """The row that a step leaves, under its next revision."""
    revision = step.old.revision + 1 if step.old else 1
    if step.new is not None:
        fields = step.new.fields
    elif step.old is not None and not is_detached(step.old):
        fields = {**step.old.fields, "status": DETACHED, "reason": "lost"}
    else:
        fields = step.old.fields if step.old else {}
    row = Row._make((step.key.name, *[fields.get(one) for one in FIELDS], revision))
    return row if row.status else row._replace(status=ACTIVE)


def bad(columns: Mapping[str, Any], room_id: str) -> str | None:
    """What is wrong with columns for a row of `room_id`, in a sentence."""
    for name, value in columns.items():
        # Nearly all are, and a first pass writes all rows.
        is_plain = name in _TEXTS and isinstance(value, str) and value.isascii()
        if not is_plain and (why := _wrong(name, value)):
            return why
    if not room_id:
        return "a row needs a room id: give one"
    return None if _is_text(room_id) else _half("room_id")


def _wrong(name: str, value: Any) -> str | None:
    if name not in WRITABLE:
        return f"a row has no column to set named {name}: leave it out"
    allowed = ALLOWED.get(name)
    if allowed is not None and value not in allowed:
        return f"{name} cannot be {value!r}: use one of {_list(allowed)}"
    wanted = int if name == "updated_at" else str
    if value is not None and not isinstance(value, wanted):
        return f"{name} cannot be {value!r}: use {wanted.__name__} or None"
    if isinstance(value, str) and not _is_text(value):
        return _half(name)
    return None


def _half(name: str) -> str:
    return f"{name} holds half a character: replace it"


def _list(values: tuple[str | None, ...]) -> str:
    return ", ".join(sorted(value for value in values if value))


def _is_text(value: str) -> bool:
    # JSON can hold half of a surrogate pair, UTF-8 and SQLite cannot.
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)
