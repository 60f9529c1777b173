"""What each row should say, once owners and places are settled. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from adapter.matrix.facts import Gone, Present, Room, shown
from adapter.matrix.identity import Chain
from adapter.matrix.rows import ACTIVE, CHAT, PENDING, SPACE, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.finishing import newest_member
from adapter.matrix.rules.leftover import Standing, leftover
from adapter.matrix.rules.legacy import Owner
from adapter.matrix.rules.sight import Mode
from adapter.matrix.rules.view import View
from controller.model import DETACHED, NOTHING, Cause

LEFT_BY_OWNER = frozenset({"owner_left", "owner_banned"})
"""Reasons that the owner's own member event shows, and takes back."""


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
        for room_id in case.chain.ids:
            if room_id in view.rows:
                yield Drawn(view.rows[room_id])
        return
    tip = _draw_tip(view, case)
    if tip:
        yield tip
    decided = tip if case.mode is Mode.OPEN and case.owner else None
    if len(case.chain.rooms) > 1:
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
    if case.mode is Mode.STANDS and row:
        return Drawn(row)
    if case.mode in {Mode.FROZEN, Mode.STANDS} and case.row:
        return _draw_frozen(view, case, case.row)
    if row and not (case.joined and case.owner):
        return _draw_rest(view, row)
    return _draw_open(view, case, case.owner, row) if case.owner else None


def _draw_open(view: View, case: Case, owner: Owner, row: Row | None) -> Drawn:
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
        key_,
        case.chain.kind,
        chat_id.value if chat_id else None,
        space_id,
        owner.user_id,
        platform.value if platform else None,
        name.name if name else None,
        standing.status,
        standing.reason,
        _evidence(standing),
        row.revision if row else 0,
    )
    causes = _shown_by(standing)
    causes["room_type"] = create
    causes["matrix_user_id"] = owner.cause or create
    if chat_id:
        causes["chat_id"] = chat_id.cause or create
    if space_cause:
        causes["space_id"] = space_cause
    if platform:
        causes["platform_chat_id"] = platform.cause or create
    if name:
        causes["name"] = name.cause
    return Drawn(drawn, causes)


def _draw_frozen(view: View, case: Case, row: Row) -> Drawn:
    """The row as it stands, but for what the room's own member events show.

    It comes back only into places that were kept for it; a room that the bot was
    thrown out of kept none, and waits for a whole look."""
    moved, causes = _named(
        row._replace(
            room_id=case.key,
            revision=row.revision if row.room_id == case.key else 0,
        ),
        case.chain.tip,
    )
    if row.status == DETACHED and not (
        row.reason in LEFT_BY_OWNER and view.given.keeps(case.key, row)
    ):
        return Drawn(moved, causes)
    return _with(moved, _by_members(case), causes)


def _draw_rest(view: View, row: Row) -> Drawn:
    """A row about whose room nothing can be decided."""
    becomes = leftover(view.facts, view.seen, view.me, row)
    room = shown(view.facts.rooms.get(row.room_id))
    ours = room is not None and room.create.cause.sender == view.me
    joined = isinstance(view.facts.rooms.get(row.room_id), Present)
    held = row.room_id in view.seen.hold
    drawn = _named(row, room) if room and ours and joined and not held else Drawn(row)
    return _with(drawn.row, becomes, drawn.causes) if becomes else drawn


def _named(row: Row, room: Room) -> Drawn:
    """The name always follows m.room.name; it decides nothing."""
    if room.name is None:
        return Drawn(row._replace(name=None))
    return Drawn(row._replace(name=room.name.name), {"name": room.name.cause})


def _with(row: Row, standing: Standing, causes: Mapping[str, Cause] = NOTHING) -> Drawn:
    """`row` with a status; only a detached one names its evidence."""
    return Drawn(
        row._replace(
            status=standing.status,
            reason=standing.reason,
            evidence=_evidence(standing),
        ),
        {**causes, **_shown_by(standing)},
    )


def _evidence(standing: Standing) -> str | None:
    if standing.status != DETACHED:
        return None
    return (standing.cause.event_id if standing.cause else standing.evidence) or None


def _shown_by(standing: Standing) -> dict[str, Cause]:
    cause = standing.cause
    return {"status": cause, "reason": cause, "evidence": cause} if cause else {}


# --- status ------------------------------------------------------------------


def _status(view: View, case: Case) -> Standing:
    """Which status the newest room of a chain has: the first reason that holds."""
    fact = view.facts.rooms[case.key]
    if isinstance(fact, Gone):
        return Standing(DETACHED, fact.reason, fact.cause)
    winner = view.given.losers.get(case.key)
    row = case.row
    if winner:
        known = row.evidence if row and row.reason == "duplicate" else None
        return Standing(DETACHED, "duplicate", winner.create, known)
    found = view.given.links.get(case.key)
    if found and not found.valid:
        return Standing(DETACHED, "unlinked", found.child.cause)
    if row and row.reason == "unlinked" and not found and _hidden_space(view, case):
        return Standing(DETACHED, "unlinked", evidence=row.evidence)
    standing = _by_members(case)
    if found and standing.status != DETACHED:
        # A link that was made anew is why the room is in use again.
        linked, joined = found.child.cause, standing.cause
        if joined is None or (linked.at, linked.event_id) > (
            joined.at,
            joined.event_id,
        ):
            return Standing(standing.status, standing.reason, linked)
    return standing


def _by_members(case: Case) -> Standing:
    """What the owner's own member event says, the newest along the upgrade chain."""
    newest = newest_member(case.chain, case.user_id or "")
    if newest is None:
        return Standing(PENDING)
    room, member = newest
    match member.membership:
        case "join" if room is case.chain.tip:
            return Standing(ACTIVE, None, member.cause)
        case "ban":
            return Standing(DETACHED, "owner_banned", member.cause)
        case "leave":
            return Standing(DETACHED, "owner_left", member.cause)
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
    if not view.may_finish(case):
        return (case.row.space_id if case.row else None), None
    if standing.status in {ACTIVE, PENDING}:
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
