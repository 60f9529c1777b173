"""decide: facts and rows -> one plan for the cache and one for Matrix. Pure.

The guard of section 5 stands here, and what is withheld from publishing: what the
server refused lately, and what somebody keeps undoing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from adapter.matrix.desired import Desired, Finding
from adapter.matrix.facts import MEMBER, Facts, Unknown
from adapter.matrix.rendering import Renderer
from adapter.matrix.rows import (
    ACTIVE,
    PENDING,
    REFUSED,
    UNKNOWN,
    Publication,
    Row,
    Unread,
    key,
)
from adapter.matrix.settings import ReconcileSettings
from controller.diff import diff
from controller.model import DETACHED, Action, Change, Resource, Topology
from controller.plan import Guard, Plan, plan

DAY = 24 * 60 * 60 * 1000
"""In ms: how long a refusal is believed, and the span of the budget of repairs."""
REPAIRS = 3
"""How often a day one event is written again that somebody undid."""

IN_USE = frozenset({ACTIVE, PENDING})
_WITHHELD = ("uninvitable", "unpublishable")
"""Codes of findings about what is not published now: an invite, another event."""


Withheld = Mapping[tuple[str, str], str]
"""Room and field -> why it is not published now."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one look at Matrix decided: the topology, and what is to be written where.

    Each step of `publish` is one state event; what is withheld is a finding."""

    want: Desired
    cache: Plan
    publish: Plan
    complete: bool = True
    observed_at: int = 0
    """Ms since the epoch."""
    unread: Mapping[str, bool] = field(default_factory=dict)
    """Every room that was looked at in vain, and whether the bot is known not to be in
    it: to be remembered until it shows itself."""
    hold: frozenset[str] = frozenset()
    """Rooms that were let alone, because somebody is making them."""

    @property
    def in_sync(self) -> bool:
        return not (self.cache or self.publish or self.want.waiting)


def decide(  # noqa: PLR0913 - all that one pass looks at
    facts: Facts,
    rows: Mapping[str, Row],
    me: str,
    settings: ReconcileSettings | None = None,
    *,
    allow_detach: int | None = None,
    hold: frozenset[str] = frozenset(),
    commanded: Collection[str] = (),
    withheld: Withheld | None = None,
    renderer: Renderer | None = None,
    observed_at: int = 0,
) -> Pass:
    """Decide what a pass would do. `allow_detach` raises the guard's limit.

    `hold` are rooms that stand as they are, `commanded` the state events that the
    bot's own commands wrote: what follows from these, the guard does not count. A
    `renderer` may know much of what is asked already."""
    settings = settings or ReconcileSettings()
    renderer = renderer or Renderer(me)

    def look(blocked: frozenset[str]) -> tuple[Desired, Guard]:
        want = renderer.render(facts, rows, hold | blocked)
        return want, detach_guard(rows, want, settings, allow_detach, commanded)

    want, cache = _guarded(look, renderer.resources(rows))
    due, findings = _publish(want, withheld or {})
    return Pass(
        want._replace(findings=(*want.findings, *findings)),
        cache,
        Plan(tuple(due)),
        facts.complete,
        observed_at,
        {r: f.absent for r, f in facts.rooms.items() if isinstance(f, Unknown)},
        hold,
    )


# --- the guard (section 5) ---------------------------------------------------


def _guarded(
    look: Callable[[frozenset[str]], tuple[Desired, Guard]], have: Topology
) -> tuple[Desired, Plan]:
    """Look and guard, until nothing more would follow from what is blocked.

    What is blocked is held. Looked at anew, another room may lose to a held one: it is
    blocked as well, as it is one event that gives up too much."""
    want, guard = look(frozenset())
    cache = plan(diff(have, want.rooms), guard)
    blocked = {change.key: change for change in cache.blocked}
    newly = cache.blocked
    while newly:
        want, guard = look(frozenset(key.name for key in blocked))
        cache = plan(diff(have, want.rooms), Guard(guard.counts, 0))
        newly = tuple(one for one in cache.blocked if one.key not in blocked)
        blocked |= {change.key: change for change in newly}
    return want, Plan(cache.steps, tuple(blocked[key] for key in sorted(blocked)))


def detach_guard(
    rows: Mapping[str, Row],
    want: Desired,
    settings: ReconcileSettings,
    allow_detach: int | None = None,
    commanded: Collection[str] = (),
) -> Guard:
    """Block giving up more than max(3, 20 %) of the rows in use, rounded down.

    Not counted: a room whose successor is in use, an owner's own leaving, and what
    the bot's own commands did, known by the events that they wrote."""
    in_use = sum(row.status in IN_USE for row in rows.values())
    limit = max(
        settings.max_detach,
        int(in_use * settings.max_detach_percent / 100),
        allow_detach or 0,
    )

    def counts(change: Change) -> bool:
        if change.old is None or change.new is None:
            return False
        if change.old.fields.get("status") not in IN_USE:
            return False
        if change.new.fields.get("status") not in {DETACHED, UNKNOWN}:
            return False
        if change.new.fields.get("reason") == "upgraded":
            successor = want.rooms.get(key(want.successors.get(change.key.name, "")))
            return successor is None or successor.fields.get("status") not in IN_USE
        return not (
            _left_by_owner(change.new) or change.new.fields.get("evidence") in commanded
        )

    return Guard(counts, limit)


def _left_by_owner(resource: Resource) -> bool:
    cause = resource.causes.get("status")
    return (
        resource.fields.get("reason") == "owner_left"
        and cause is not None
        and cause.sender == resource.fields.get("matrix_user_id")
    )


# --- publishing --------------------------------------------------------------


def withheld(
    publications: Iterable[Publication], now: int
) -> dict[tuple[str, str], str]:
    """What is not to be published now: refused within a day, or undone too often."""
    found: dict[tuple[str, str], str] = {}
    written: Counter[tuple[str, str]] = Counter()
    for one in publications:
        # One of the future is of a clock that was wrong.
        if not now - DAY < one.at <= now:
            continue
        place = (one.room_id, one.field)
        if one.result == REFUSED:
            found[place] = one.detail
        else:
            written[place] += 1
            found.pop(place, None)
    for place, times in written.items():
        if times >= REPAIRS:
            found[place] = f"it was written {times} times within a day and undone"
    return found


def _publish(want: Desired, held: Withheld) -> tuple[list[Change], list[Finding]]:
    due: list[Change] = []
    findings: list[Finding] = []
    for change in _one_by_one(diff(want.own_have, want.own_want)):
        (field,) = change.fields
        why = held.get((change.key.name, field))
        if why is None:
            due.append(change)
            continue
        invite, event = _WITHHELD
        code = invite if field.startswith(f"{MEMBER}|") else event
        findings.append(Finding(code, change.key.name, f"{field}: {why}"))
    return due, findings


def _one_by_one(changes: Iterable[Change]) -> Iterator[Change]:
    """One change for each state event: they succeed and fail one by one."""
    for change in changes:
        for name, (old, new) in change.fields.items():
            yield Change(
                change.key,
                Action.PUBLISH,
                Resource({} if old is None else {name: old}),
                Resource({name: new}),
            )


# --- what the next pass has to look at again ---------------------------------


def owed(decided: Pass) -> frozenset[str]:
    """The rooms that have to be read again, whether they change or not: those of what is
    blocked, held, unread, or not published, because it has yet to be or was refused."""
    want = decided.want
    hidden = {
        room
        for room in want.unknown
        if not (decided.unread.get(room) and _is_given_up(want.rooms.get(key(room))))
    }
    return frozenset(
        hidden
        | decided.hold
        | {room for room, absent in decided.unread.items() if not absent}
        | {change.key.name for change in decided.cache.blocked}
        | {step.key.name for step in decided.publish.steps}
        | {found.room for found in want.findings if found.code in _WITHHELD}
    )


def _is_given_up(resource: Resource | None) -> bool:
    return resource is not None and resource.fields.get("status") == DETACHED


# --- what stays unseen -------------------------------------------------------


def aged(facts: Facts, unread: Mapping[str, Unread], at: int, limit: float) -> Facts:
    """Mark as overdue what was unread for `limit` seconds or more at `at`.

    Of a room that the bot is not in, only the time counts since that is known: an hour
    of faults and one refusal are not an hour of absence."""

    def age(room_id: str, fact: Unknown) -> Unknown:
        known = unread.get(room_id, Unread(at))
        since = known.absent_since if fact.absent else known.since
        return fact._replace(overdue=since is not None and at - since >= limit * 1000)

    older = {
        room_id: age(room_id, fact)
        for room_id, fact in facts.rooms.items()
        if isinstance(fact, Unknown)
    }
    return facts._replace(rooms={**facts.rooms, **older}) if older else facts
