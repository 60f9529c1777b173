"""What each row should say, once owners and places are settled. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from adapter.matrix.facts import Gone, Present, Room, Unknown, shown
from adapter.matrix.identity import Chain
from adapter.matrix.rows import ACTIVE, CHAT, PENDING, SPACE, UNKNOWN, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.finishing import newest_member
from adapter.matrix.rules.places import chat_places
from adapter.matrix.rules.sight import Mode
from adapter.matrix.rules.view import View
from controller.model import DETACHED, NOTHING, Cause

OF_THE_ROOM = frozenset(
    {"owner_left", "owner_banned", "bot_kicked", "bot_banned", "bot_left"}
)
"""Reasons that a room shows by its own member events."""


class Standing(NamedTuple):
    """A status with what shows it."""

    status: str
    reason: str | None = None
    cause: Cause | None = None
    evidence: str | None = None
    """An event id, where the event itself is not seen any more."""


class Drawn(NamedTuple):
    """A row as it should be, and the events behind its fields."""

    row: Row
    causes: Mapping[str, Cause] = NOTHING


def draw(view: View) -> dict[str, Drawn]:
    """Every row that goes in, and every room that can be bound, as it should be."""
    drawn: dict[str, Drawn] = {}
    for case in view.every:
        for one in _draw_case(view, case):
            drawn[one.row.room_id] = one
    for chain in view.kin.chains:
        if chain.key not in view.cases:
            for one in _draw_replaced(view, chain):
                drawn[one.row.room_id] = one
    for room_id, row in view.rows.items():
        if room_id not in drawn:
            drawn[room_id] = _draw_rest(view, row)
    return drawn


def _draw_case(view: View, case: Case) -> Iterator[Drawn]:
    if case.mode is Mode.HELD:
        for room_id in case.chain.ids():
            if room_id in view.rows:
                yield Drawn(view.rows[room_id])
        return
    tip = _draw_tip(view, case)
    if tip:
        yield tip
    decided = tip if case.mode is Mode.OPEN and case.owner else None
    yield from _draw_replaced(view, case.chain, decided)


def _draw_replaced(
    view: View, chain: Chain, tip: Drawn | None = None
) -> Iterator[Drawn]:
    """The older rooms of a chain; of one that is not decided, those that have rows."""
    for marked in chain.rooms[1:]:
        if tip or marked.room.room_id in view.rows:
            yield _draw_upgraded(view, marked.room, tip)


def _draw_upgraded(view: View, room: Room, tip: Drawn | None) -> Drawn:
    """A replaced room: what belongs to the chain, under its own id and name.

    Where nothing was decided about the chain (no `tip`), its row says what it said."""
    row = view.rows.get(room.room_id)
    values, causes = tip or Drawn(row or Row(room.room_id))
    cause = room.tombstone.cause if room.tombstone else None
    return _with(
        values._replace(
            room_id=room.room_id,
            name=room.name.name if room.name else None,
            revision=row.revision if row else 0,
        ),
        Standing(DETACHED, "upgraded", cause),
        causes,
    )


def _draw_tip(view: View, case: Case) -> Drawn | None:
    row = view.rows.get(case.key)
    match case.mode:
        case Mode.STANDS if row:
            return Drawn(row)
        case Mode.FROZEN | Mode.STANDS if case.row:
            return _draw_frozen(view, case, case.row)
        case _ if row and not (case.joined and case.owner):
            return _draw_rest(view, row)
        case _ if case.owner is None:
            return None
        case _:
            return _draw_open(view, case, row)


def _draw_open(view: View, case: Case, row: Row | None) -> Drawn:
    """Everything as Matrix shows it."""
    given, key_ = view.given, case.key
    standing = _status(view, case)
    chat_id, platform = given.chat_ids.get(key_), given.platform_ids.get(key_)
    space_id, space_cause = (
        _space_of(view, case, standing) if case.chain.kind == CHAT else (None, None)
    )
    name = case.chain.tip.name
    create = case.chain.tip.create.cause
    drawn = Row(
        room_id=key_,
        room_type=case.chain.kind,
        chat_id=chat_id.value if chat_id else None,
        space_id=space_id,
        matrix_user_id=case.user_id,
        platform_chat_id=platform.value if platform else None,
        name=name.name if name else None,
        revision=row.revision if row else 0,
    )
    causes = {
        "room_type": create,
        "chat_id": chat_id and (chat_id.cause or create),
        "space_id": space_cause,
        "matrix_user_id": case.owner and (case.owner.cause or create),
        "platform_chat_id": platform and (platform.cause or create),
        "name": name and name.cause,
    }
    return _with(drawn, standing, {f: c for f, c in causes.items() if c})


def _draw_frozen(view: View, case: Case, row: Row) -> Drawn:
    """The row as it stands, but for what the room's own member events show.

    It does not come back into a place that another row holds meanwhile."""
    moved, causes = _named(
        row._replace(
            room_id=case.key,
            revision=row.revision if row.room_id == case.key else 0,
        ),
        case.chain.tip,
    )
    own = _by_members(case)
    if row.status == DETACHED and not (
        row.reason in OF_THE_ROOM and _keeps_place(view, case, row)
    ):
        return Drawn(moved, causes)
    return _with(moved, own, causes)


def _keeps_place(view: View, case: Case, row: Row) -> bool:
    """No other row that stands or was given a place has what this one had."""
    if row.room_type == SPACE:
        return view.given.holders.get(row.matrix_user_id or "") == case.key
    return all(
        view.rows_in_use.get(place, row.room_id) == row.room_id
        for place in chat_places(row)
    )


def _draw_rest(view: View, row: Row) -> Drawn:
    """A row whose room is no room of the bot's that anything can be decided about."""
    if row.room_id in view.seen.hold:
        return Drawn(row)
    fact = view.facts.rooms.get(row.room_id)
    match fact:
        case Gone():
            return _gone(view, row)
        case Present(room) if room.create.cause.sender != view.me:
            return _with(row, Standing(DETACHED, "not_ours", room.create.cause))
        case Present(room):
            return _undecided(view, _named(row, room))
        case _ if row.status == DETACHED:
            return Drawn(row)
        case Unknown(overdue=True, absent=True):
            return _with(row, Standing(DETACHED, "lost"))
        case Unknown(why=why, absent=True):
            return _with(row, Standing(UNKNOWN, why))
        case _:
            return Drawn(row)


def _undecided(view: View, named: Drawn) -> Drawn:
    """The bot's own room, but whose it is can no longer be told, or its type is foreign."""
    if named.row.status == DETACHED or not view.seen.whole:
        return named
    return _with(named.row, Standing(DETACHED, "lost"), named.causes)


def _named(row: Row, room: Room) -> Drawn:
    """The name always follows m.room.name; it decides nothing."""
    if room.name is None:
        return Drawn(row._replace(name=None))
    return Drawn(row._replace(name=room.name.name), {"name": room.name.cause})


def _gone(view: View, row: Row) -> Drawn:
    fact = view.facts.rooms[row.room_id]
    if not isinstance(fact, Gone):
        return Drawn(row)
    return _with(row, Standing(DETACHED, fact.reason, fact.cause))


def _with(row: Row, standing: Standing, causes: Mapping[str, Cause] = NOTHING) -> Drawn:
    """`row` with a status; only a detached one names its evidence."""
    cause = standing.cause
    evidence = (cause.event_id if cause else standing.evidence) or None
    named = {"status": cause, "reason": cause, "evidence": cause} if cause else {}
    return Drawn(
        row._replace(
            status=standing.status,
            reason=standing.reason,
            evidence=evidence if standing.status == DETACHED else None,
        ),
        {**causes, **named},
    )


# --- status ------------------------------------------------------------------


def _status(view: View, case: Case) -> Standing:
    """Which status the newest room of a chain has: the first reason that holds."""
    fact = view.facts.rooms[case.key]
    if isinstance(fact, Gone):
        return Standing(DETACHED, fact.reason, fact.cause)
    winner = view.given.losers.get(case.key)
    if winner:
        return Standing(DETACHED, "duplicate", winner.create)
    found = view.given.links.get(case.key)
    if found and not found.valid:
        return Standing(DETACHED, "unlinked", found.child.cause)
    row = case.row
    if row and row.reason == "unlinked" and not found and _hidden_space(view, case):
        return Standing(DETACHED, "unlinked", evidence=row.evidence)
    return _by_members(case)


def _by_members(case: Case) -> Standing:
    """What the owner's own member event says, the newest along the upgrade chain."""
    newest = newest_member(case.chain, case.user_id or "")
    if newest is None:
        return Standing(PENDING)
    room, member = newest
    match member.membership:
        case "ban":
            return Standing(DETACHED, "owner_banned", member.cause)
        case "leave":
            return Standing(DETACHED, "owner_left", member.cause)
        case "join" if room is case.chain.tip:
            return Standing(ACTIVE, None, member.cause)
        case _:
            return Standing(PENDING, None, member.cause)


# --- Spaces ------------------------------------------------------------------


def _space_of(
    view: View, case: Case, standing: Standing
) -> tuple[str | None, Cause | None]:
    """Where a chat belongs: by its child event, else its row's hidden Space, else by rule 10."""
    found = view.given.links.get(case.key)
    if found:
        return found.space.key, found.child.cause
    hidden = _hidden_space(view, case)
    if hidden:
        return hidden, None
    if standing.status in {ACTIVE, PENDING} and view.may_finish(case):
        holder = view.holder(case.user_id)
        return (holder.key if holder else None), None
    return None, None


def _hidden_space(view: View, case: Case) -> str | None:
    """The row's Space, if it threw the bot out or is lost, and shows nothing any more."""
    space_id = case.row.space_id if case.row else None
    space = view.rows.get(space_id or "")
    if (
        space
        and space.room_type == SPACE
        and space.matrix_user_id == case.user_id
        and shown(view.facts.rooms.get(space.room_id)) is None
    ):
        return space.room_id
    return None
