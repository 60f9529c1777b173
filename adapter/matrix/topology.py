"""render: the topology as it should be, from facts and rows (rules 3 to 11). Pure.

Total over the rows: every row that goes in comes out, changed or not. The steps are
those of docs/how-it-decides.md: which rooms are one (`identity`), what could not be
seen (`sight`), who owns what (`cases`), who gets which place (`places`), what each
row is then (`drawing`), what is left to write (`finishing`), what a person should
look at (`findings`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adapter.matrix.desired import WAITS, Desired
from adapter.matrix.facts import EventTypes, Facts, Present, Unknown
from adapter.matrix.identity import Marked, lineage
from adapter.matrix.rows import Row, key, resource
from adapter.matrix.rules.cases import Case, cases
from adapter.matrix.rules.drawing import Drawn, draw
from adapter.matrix.rules.findings import findings
from adapter.matrix.rules.finishing import Own, grouped, own_events
from adapter.matrix.rules.leftover import leftover
from adapter.matrix.rules.places import places
from adapter.matrix.rules.sight import Mode, Sight, sight
from adapter.matrix.rules.view import View
from controller.model import DETACHED, NOTHING, Resource


def render(
    facts: Facts,
    rows: Mapping[str, Row],
    me: str,
    *,
    hold: frozenset[str] = frozenset(),
    types: EventTypes | None = None,
) -> Desired:
    """Return the topology as it should be; rows named in `hold` stand as they are.

    With `rows` empty this is what Matrix alone says. The order of facts and rows does
    not matter, and rendering what was rendered changes nothing."""
    return desired(viewed(facts, rows, me, hold), types or EventTypes())


def desired(view: View, types: EventTypes) -> Desired:
    """The topology as it should be, by what was settled."""
    holders = view.given.holders
    drawn = draw(view)
    waiting = _waiting(view)
    have, want = grouped(_own_events(view, drawn, types))
    return Desired(
        rooms={key(room): resource(*drawn[room]) for room in sorted(drawn)},
        users={o: room for o, room in sorted(holders.items()) if room in drawn},
        own_have={key(room): Resource(have[room]) for room in sorted(have)},
        own_want={key(room): Resource(want[room]) for room in sorted(want)},
        findings=findings(view, {room: one.row for room, one in drawn.items()}),
        successors={
            room: chain.key for chain in view.kin.chains for room in chain.ids[1:]
        },
        unknown=_unread(view.facts, view.rows) | dict.fromkeys(waiting, WAITS),
    )


def viewed(
    facts: Facts,
    rows: Mapping[str, Row],
    me: str,
    hold: frozenset[str] = frozenset(),
    known: Mapping[str, Marked] = NOTHING,
) -> View:
    """Settle whose the rooms are and which places they get; `desired` draws the rows.

    What is `known` of rooms already is not found out again."""
    kin = lineage(facts.rooms, me, known)
    seen = sight(facts, rows, kin, hold)
    every = tuple(cases(facts, rows, kin, seen, me))
    given = places(every, kin.chains, _standing(facts, rows, every, seen, me), rows)
    return View(facts, rows, me, kin, seen, every, given)


def _waiting(view: View) -> list[str]:
    """The bot's rooms that too little is seen to bind, unless a later version's."""
    return sorted(
        chain.key
        for chain in view.kin.chains
        if chain.key not in view.cases and not chain.is_newer
    )


def _unread(facts: Facts, rows: Mapping[str, Row]) -> dict[str, str]:
    unread = {
        room: fact.why
        for room, fact in facts.rooms.items()
        if isinstance(fact, Unknown) and (room in rows or room in facts.joined)
    }
    return dict(sorted(unread.items()))


def _standing(
    facts: Facts, rows: Mapping[str, Row], every: tuple[Case, ...], seen: Sight, me: str
) -> dict[str, Row]:
    """The rows about which nothing is decided, by the room that keeps their places."""
    standing: dict[str, Row] = {}
    decided: set[str] = set()
    for case in every:
        if case.mode is Mode.HELD:
            standing |= {r: rows[r] for r in case.chain.ids if r in rows}
        elif case.row and case.mode is not Mode.OPEN:
            standing[case.key] = case.row
        if case.mode is not Mode.OPEN or case.owner:
            decided.update(case.chain.ids)
    for room_id, row in rows.items():
        if room_id not in decided and _keeps_places(facts, seen, me, row):
            standing[room_id] = row
    return standing


def _keeps_places(facts: Facts, seen: Sight, me: str, row: Row) -> bool:
    becomes = leftover(facts, seen, me, row)
    if becomes is not None:
        return becomes.status != DETACHED
    # A row that was given up, of a room that is seen and has no place: the cache has
    # no vote in rule 7.
    is_seen = seen.whole and isinstance(facts.rooms.get(row.room_id), Present)
    return row.status != DETACHED or row.room_id in seen.hold or not is_seen


def _own_events(
    view: View, drawn: Mapping[str, Drawn], types: EventTypes
) -> Iterator[Own]:
    links = view.given.links
    for case in view.every:
        one = drawn.get(case.key)
        if one is None or not case.takes_part:
            continue
        found = links.get(case.key)
        holder = None if found and found.newest else view.holder(case.user_id)
        due = own_events(case, one.row, found, holder, view.me, types)
        # Mostly nothing is due, and then nobody need know whether it may be written.
        if due and not view.is_blocked(case):
            yield from due
