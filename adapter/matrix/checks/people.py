"""Rooms whose owner is gone, and rooms that the bot is out of. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from adapter.matrix.checks.look import Diagnosis, Look, restore
from adapter.matrix.desired import Finding
from adapter.matrix.rows import SPACE, Row
from controller.model import DETACHED, Cause

GONE = frozenset({"owner_left", "owner_banned"})
OUT = frozenset({"bot_kicked", "bot_banned", "bot_left"})


def people(look: Look) -> Iterator[Diagnosis]:
    """Every room that was given up because somebody is not in it any more."""
    for room_id, row in look.rows.items():
        if row.status != DETACHED:
            continue
        if row.reason in GONE:
            yield _owner_gone(row, look.evidence(room_id))
        elif row.reason in OUT:
            yield _bot_out(row, look.evidence(room_id))


def _owner_gone(row: Row, cause: Cause | None) -> Diagnosis:
    owner, sender = row.matrix_user_id, cause.sender if cause else ""
    banned = row.reason == "owner_banned"
    if banned:
        message = f"{owner} is banned from it"
    elif sender in {"", owner}:
        message = f"{owner} left it, or declined to come"
    else:
        message = f"{owner} was put out of it"
    back = (
        f"a word of {owner} in their direct chat with the bot, which invites them again"
        if row.room_type == SPACE
        else restore(row)
    )
    first = "to be unbanned, and then " if banned else ""
    remedy = f"nothing to do if they want it so; else {first}{back}"
    return Diagnosis(Finding(str(row.reason), row.room_id, message, cause), remedy)


def _bot_out(row: Row, cause: Cause | None) -> Diagnosis:
    message, first = {
        "bot_kicked": ("the bot was put out of it", ""),
        "bot_banned": ("the bot is banned from it", "an end of the ban, and then "),
        "bot_left": ("the bot's account left it", ""),
    }[str(row.reason)]
    remedy = (
        f"{first}an invitation of the bot by {row.matrix_user_id}, which it accepts"
        if row.matrix_user_id
        else "nothing to do: nobody knows whose it was"
    )
    return Diagnosis(Finding(str(row.reason), row.room_id, message, cause), remedy)
