"""The topology rendered again and again, and each time only where something changed.

What comes out is what `render` says of everything: a rule looks no farther than a
neighbourhood, and one in which nothing changed says what it said. Where too little is
seen, which may concern anybody, everything is rendered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from threading import Lock
from typing import Final, NamedTuple, TypeVar

from adapter.matrix.desired import Desired
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
        return _all(self.facts.rooms, self.rows, self.facts.joined)

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
        return _all(
            _changed(before.facts.rooms, self.facts.rooms),
            _changed(before.rows, self.rows),
            self.facts.joined ^ before.facts.joined,
            self.hold ^ before.hold,
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
                self._resources = _without(self._resources, map(key, changed))
                for room in changed & rows.keys():
                    self._resources[key(room)] = resource(rows[room])
            self._rows = rows
            return self._resources

    def _renewed(self, given: Given) -> Desired | None:
        """`None` where not everything is seen."""
        facts, rows, hold = given
        changed = given.changed(self._given)
        if 2 * len(changed) > len(facts.rooms):
            self._begin()
            changed = given.rooms
        there = (room for room in changed if room in rows or room in facts.joined)
        if not overlooked(facts, rows, hold, there).whole:
            return None
        known = self._tied(given, changed)
        near = self._near.around(changed)
        want = _Renewed(self._want, {room for rooms in near for room in rooms})
        for rooms in near:
            part = given.part(rooms)
            # Taken out, for the same reason as in `_Renewed`.
            marks = {room: known.pop(room) for room in rooms if room in known}
            view = viewed(part.facts, part.rows, self._me, part.hold, marks)
            if not view.seen.whole:
                return None
            want.add(desired(view, self._types))
        return want.all

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
    changed.update(before.keys() - after.keys())
    return changed


def _all(*several: Iterable[str]) -> set[str]:
    """All of them. One by one: operators let no other thread in between."""
    return {one for some in several for one in some}


class _Renewed:
    """What was wanted before, but for some rooms, and then part by part what they are.

    A part is gone as soon as it is added: to give up all of them at once takes long, and
    nothing else runs meanwhile."""

    def __init__(self, before: Desired, rooms: Collection[str]) -> None:
        keys = [key(room) for room in rooms]
        self._rooms = _without(before.rooms, keys)
        self._users = {o: r for o, r in before.users.items() if r not in rooms}
        self._have = _without(before.own_have, keys)
        self._want = _without(before.own_want, keys)
        self._findings = [one for one in before.findings if one.room not in rooms]
        self._successors = _without(before.successors, rooms)
        self._unknown = _without(before.unknown, rooms)

    def add(self, part: Desired) -> None:
        self._rooms.update(part.rooms)
        self._users.update(part.users)
        self._have.update(part.own_have)
        self._want.update(part.own_want)
        self._findings += part.findings
        self._successors.update(part.successors)
        self._unknown.update(part.unknown)

    @property
    def all(self) -> Desired:
        return Desired(
            self._rooms,
            self._users,
            self._have,
            self._want,
            tuple(sorted(self._findings, key=attrgetter("place"))),
            self._successors,
            self._unknown,
        )


def _without(before: Mapping[K, V], keys: Iterable[K]) -> dict[K, V]:
    found = dict(before)
    if found:
        for one in keys:
            found.pop(one, None)
    return found
