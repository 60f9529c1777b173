"""What becomes of a row about whose room nothing can be decided (section 4). Pure."""

from __future__ import annotations

from typing import NamedTuple

from adapter.matrix.facts import Facts, Gone, Present, Unknown
from adapter.matrix.rows import UNKNOWN, Row
from adapter.matrix.rules.sight import Sight
from controller.model import DETACHED, Cause


class Standing(NamedTuple):
    """A status with what shows it."""

    status: str
    reason: str | None = None
    cause: Cause | None = None
    evidence: str | None = None
    """An event id, where the event itself is not seen any more."""


def leftover(facts: Facts, seen: Sight, me: str, row: Row) -> Standing | None:
    """The status that the row gets, or `None`: it stands as it is.

    Its room is foreign, gone or unknown, or the bot's own, but nobody can tell whose
    it is, or its type is foreign."""
    if row.room_id in seen.hold:
        return None
    match facts.rooms.get(row.room_id):
        case Gone(reason, cause):
            return Standing(DETACHED, reason, cause)
        case Present(room) if room.create.cause.sender != me:
            return Standing(DETACHED, "not_ours", room.create.cause)
        case _ if row.status == DETACHED:
            return None
        case Present():
            return Standing(DETACHED, "lost") if seen.whole else None
        case Unknown(overdue=True, absent=True):
            return Standing(DETACHED, "lost")
        case Unknown(why=why, absent=True):
            return Standing(UNKNOWN, why)
        case _:
            return None
