"""What is not finished, what the bot has no power for, what a guard holds. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from adapter.matrix.checks.look import RECONCILE, Diagnosis, Look
from adapter.matrix.desired import Finding
from adapter.matrix.facts import CHILD, MEMBER
from adapter.matrix.power import INVITE
from adapter.matrix.rows import SPACE
from adapter.matrix.rules.sight import OUT_OF_SIGHT
from controller.model import Change

MESSAGE = "m.room.message"


def unfinished(look: Look) -> Iterator[Diagnosis]:
    """Rooms in use that a pass still has to link, or to invite their owner to."""
    for step in look.decided.publish.steps:
        for field in step.fields:
            kind, who = field.split("|", 1)
            if kind == MEMBER:
                room, message = step.key.name, f"{who} was never invited to it"
                found = Finding("never_invited", room, message, look.created(room))
                yield Diagnosis(found, RECONCILE)
            elif kind == CHILD:
                message = f"{step.key.name}, the Space of its owner, does not link it"
                found = Finding("never_linked", who, message, look.created(who))
                yield Diagnosis(found, RECONCILE)


def powerless(look: Look) -> Iterator[Diagnosis]:
    """Rooms where the bot may not write what it has to."""
    for room_id, power in look.powers.items():
        row = look.rows[room_id]
        states = [look.types.binding, INVITE]
        if row.room_type == SPACE:
            lacks = power.lacks([CHILD, *states])
        else:
            lacks = power.lacks(states, [MESSAGE])
        if lacks:
            message = (
                f"the bot has power level {power.mine:g} in it, too little for "
                f"{', '.join(lacks)}"
            )
            yield Diagnosis(
                Finding("powerless", room_id, message, power.cause),
                "somebody with more power in the room gives the bot enough of it",
            )


def held_back(look: Look) -> Iterator[Diagnosis]:
    """Rows that a guard keeps from being given up."""
    blocked = look.decided.cache.blocked
    for change in blocked:
        message = f"a guard keeps it in use: it would be {_becomes(change)}"
        yield Diagnosis(
            Finding("held_back", change.key.name, message, change.cause),
            "if all these are right, `spacekeeper reconcile --allow-detach "
            f"{len(blocked)}`, or start the bot with `spacekeeper run --allow-detach "
            f"{len(blocked)}`",
        )


def unread(look: Look) -> Iterator[Diagnosis]:
    """Rooms that could not be read, and rooms that wait for these."""
    told = {one.room for one in look.decided.want.findings if one.code == "unreadable"}
    expected = {r for r, row in look.rows.items() if row.reason in OUT_OF_SIGHT}
    for room_id, why in {**look.unread, **look.decided.want.unknown}.items():
        if room_id not in told | expected:
            yield Diagnosis(
                Finding("unread", room_id, f"nothing can be said of it now ({why})"),
                "try again; if it stays so, look at the homeserver's log",
            )


def _becomes(change: Change) -> str:
    new = change.new.fields if change.new else {}
    status, reason = new.get("status"), new.get("reason")
    return f"{status}: {reason}" if reason else str(status)
