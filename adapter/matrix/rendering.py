"""The topology rendered again and again, and each time only where something changed.

What comes out is what `render` says of everything: a rule looks no farther than a
neighbourhood, and one in which nothing changed says what it said. Where too little is
seen, which may concern anybody, everything is rendered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from threading import Lock
from typing import Final, NamedTuple, TypeVar

from adapter.matrix.desired import Desired, Finding
from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.identity import Marked, marked
from adapter.matrix.neighbourhoods import Neighbourhoods, ties
from adapter.matrix.rows import Row, key, resource
from adapter.matrix.rules.sight import overlooked
from adapter.matrix.topology import desired, render, viewed
from controller.model import Key, Resource, Topology

K = TypeVar("K")
V = TypeVar("V")


class Given(NamedTuple):
    """All that a topology is rendered from."""

    facts: Facts
    rows: Mapping[str, Row]
    hold: frozenset[str]

    @property
    def rooms(self) -> set[str]:
        """Those that anything is said of."""
        return self.facts.rooms.keys() | self.rows.keys() | self.facts.joined

    def part(self, rooms: Iterable[str]) -> Given:
        """What is said of these rooms alone."""
        facts, rows = self.facts, self.rows
        return Given(
            Facts(
                {room: facts.rooms[room] for room in rooms if room in facts.rooms},
                facts.joined.intersection(rooms),
                facts.complete,
            ),
            {room: rows[room] for room in rooms if room in rows},
            self.hold.intersection(rooms),
        )

    def changed(self, before: Given) -> set[str]:
        """The rooms of which something else was said before."""
        return (
            _changed(before.facts.rooms, self.facts.rooms)
            | _changed(before.rows, self.rows)
            | (self.facts.joined ^ before.facts.joined)
            | (self.hold ^ before.hold)
        )


NOTHING: Final = Given(Facts({}), {}, frozenset())


class Renderer:
    """Renders what is known of the account `me`, as often as it is known anew."""

    def __init__(self, me: str, types: EventTypes | None = None) -> None:
        self._me = me
        self._types = types or EventTypes()
        # Whoever decided may have been cancelled, and decides to the end all the same.
        self._turn = Lock()
        self._rows: Mapping[str, Row] = {}
        self._resources: dict[Key, Resource] = {}
        self._begin()

    def _begin(self) -> None:
        self._given = NOTHING
        self._want = Desired({})
        self._near = Neighbourhoods()

    def render(
        self,
        facts: Facts,
        rows: Mapping[str, Row],
        hold: frozenset[str] = frozenset(),
    ) -> Desired:
        """The topology as it should be: see `topology.render`."""
        given = Given(facts, rows, hold)
        with self._turn:
            if (want := self._renewed(given)) is not None:
                self._given, self._want = given, want
                return want
            self._begin()
        return render(facts, rows, self._me, hold=hold, types=self._types)

    def resources(self, rows: Mapping[str, Row]) -> Topology:
        """The rows as a topology; those that are known are not made anew."""
        with self._turn:
            if changed := _changed(self._rows, rows):
                newer = {
                    key(room): resource(rows[room]) for room in changed & rows.keys()
                }
                gone = {key(room) for room in changed - rows.keys()}
                self._resources = _with(self._resources, gone, [newer])
            self._rows = rows
            return self._resources

    def _renewed(self, given: Given) -> Desired | None:
        """`None` where not everything is seen."""
        changed = given.changed(self._given)
        if 2 * len(changed) > len(given.rooms):
            self._begin()
            changed = given.rooms
        facts, rows, hold = given
        there = {room for room in changed if room in rows or room in facts.joined}
        if not overlooked(facts, rows, hold, there).whole:
            return None
        known = self._tied(given, changed)
        parts: list[Desired] = []
        touched: set[str] = set()
        for rooms in self._near.around(changed):
            part = given.part(rooms)
            view = viewed(part.facts, part.rows, self._me, part.hold, known)
            if not view.seen.whole:
                return None
            parts.append(desired(view, self._types))
            touched.update(rooms)
        return _replaced(self._want, touched, parts)

    def _tied(self, given: Given, rooms: Iterable[str]) -> dict[str, Marked]:
        """Tie these rooms, and return what is marked in them, of those that the bot made."""
        known: dict[str, Marked] = {}
        for room_id in rooms:
            fact = given.facts.rooms.get(room_id)
            mark = marked(fact, self._me)
            if mark is not None:
                known[room_id] = mark
            self._near.tie(room_id, ties(fact, given.rows.get(room_id), mark))
        return known


def _changed(before: Mapping[str, V], after: Mapping[str, V]) -> set[str]:
    if before is after:
        return set()
    changed = {room for room, value in after.items() if before.get(room) != value}
    return changed | (before.keys() - after.keys())


def _replaced(
    before: Desired, rooms: Collection[str], parts: Sequence[Desired]
) -> Desired:
    """What it was before, but for these rooms, of which the parts say what they are."""
    keys = [key(room) for room in rooms]
    users = {o: room for o, room in before.users.items() if room not in rooms}
    for part in parts:
        users.update(part.users)
    return Desired(
        _with(before.rooms, keys, [part.rooms for part in parts]),
        users,
        _with(before.own_have, keys, [part.own_have for part in parts]),
        _with(before.own_want, keys, [part.own_want for part in parts]),
        _sorted(
            [one for one in before.findings if one.room not in rooms]
            + [one for part in parts for one in part.findings]
        ),
        _with(before.successors, rooms, [part.successors for part in parts]),
        _with(before.unknown, rooms, [part.unknown for part in parts]),
    )


def _with(
    before: Mapping[K, V], keys: Iterable[K], parts: Iterable[Mapping[K, V]]
) -> dict[K, V]:
    found = dict(before)
    for one in keys:
        found.pop(one, None)
    for part in parts:
        found.update(part)
    return found


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=attrgetter("place")))
