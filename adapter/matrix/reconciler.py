"""One pass: rows, a look at Matrix, the decision, the cache. Then what is due in Matrix.

A pass looks at everything, or takes what was kept of the last look and reads what changed
since. The second is the same as the first, but for what no server tells of by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from adapter.matrix.conditions import (
    converged,
    is_observed,
    observed,
    published,
    unchanged,
    unobserved,
)
from adapter.matrix.decision import DAY, Pass, aged, decide, owed, withheld
from adapter.matrix.desired import Finding
from adapter.matrix.document import finding
from adapter.matrix.errors import SERVER_WIDE, WireError
from adapter.matrix.facts import EventTypes, Fact, Facts
from adapter.matrix.keeping import Keeper, Kept, Look, Rows
from adapter.matrix.kept import Bookmark, KeptFact, kept_fact
from adapter.matrix.ledger import Ledger
from adapter.matrix.observation import (
    Touch,
    behind,
    changed,
    check_account,
    observe,
    reread,
)
from adapter.matrix.publishing import Pace, Publisher
from adapter.matrix.rendering import Renderer
from adapter.matrix.renewal import asked, changes, closed
from adapter.matrix.rows import Row, by_room
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from controller.apply import Outcome, Report, Result, Target, apply
from controller.model import Change
from controller.plan import Plan

log = logging.getLogger(__name__)

COMMANDS_COUNT = 30 * DAY
"""Ms for which the guard knows what the bot's own commands wrote."""


class Observation(NamedTuple):
    """What was seen of Matrix."""

    facts: Facts
    whole: bool = False
    """Everything was looked at, and not only what changed."""
    token: str | None = None
    """A position of /sync: whatever happened before it is in the facts."""
    ahead: str | None = None
    """Maybe a later one: see `kept.Bookmark`."""
    behind: frozenset[str] = frozenset()
    """Rooms that are to be read once more: see `observation.behind`."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass decided, and what became of its steps."""

    decided: Pass
    cache: Report
    publish: Report = field(default_factory=lambda: Report(Plan()))
    number: int | None = None
    """The id of its record; `None` of one that had nothing to tell."""

    @property
    def result(self) -> str:
        """`blocked`, `failed`, `waiting`, `converged` or `in sync`: the first that holds."""
        counts = self.cache.counts + self.publish.counts
        if self.decided.cache.blocked:
            return "blocked"
        if counts[Result.FAILED]:
            return "failed"
        if counts[Result.WAITING] or counts[Result.STALE]:
            return "waiting"
        return "converged" if counts else "in sync"


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Passes of one account over one open cache. One pass at a time, please."""

    wire: Wire
    store: Store
    me: str
    settings: ReconcileSettings
    types: EventTypes
    keeper: Keeper = field(init=False)
    """What is kept in the file of a look at Matrix; it is the same for all passes."""

    renderer: Renderer = field(init=False)
    """Renders what one pass after the other decides from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "renderer", Renderer(self.me, self.types))
        keeper = Keeper(self.store, self.me, self.wire.origin, self.types)
        object.__setattr__(self, "keeper", keeper)

    async def look(self, allow_detach: int | None = None) -> Pass:
        """Decide what a pass over everything would do, and write nothing.

        Raises `WireError`. Rows are read before Matrix is: what changes meanwhile is as
        Matrix has it."""
        rows = await self.store.rows()
        return await self.decide(await self.see(rows), rows, allow_detach=allow_detach)

    async def see(self, rows: Collection[str]) -> Facts:
        """Observe everything that there is, and what `rows` names."""
        return await observe(self.wire, self.me, rows=rows, types=self.types)

    async def observed(self, rows: Collection[str]) -> Observation:
        """See everything, with the position that it is to be kept for.

        Without a position nothing is kept, and the next pass looks at everything, too."""
        token = None
        try:
            # Before the look: whatever it may miss, of what happens meanwhile, is after it.
            token = await self.wire.live_token()
        except SERVER_WIDE:
            raise
        except WireError as error:
            log.warning("no position to go on from", extra={"error": str(error)})
        return Observation(await self.see(rows), whole=True, token=token)

    async def renewed(self, facts: Facts, mark: Bookmark) -> Observation | None:
        """See what changed since these facts, and what is due; `None` if nobody can tell."""
        batch = await asked(self.wire, self.types, mark.token)
        if batch is None:
            return None
        found = changes(batch, facts, self.me, self.types)
        rooms = {**dict.fromkeys(mark.due, Touch(happened=False)), **found.rooms}
        seen = await reread(self.wire, self.me, facts, rooms, self.types)
        if closed(facts, seen, rooms, self.me):
            return None
        token, ahead = found.moved(mark)
        late = behind(seen, rooms, self.me, self.types)
        return Observation(seen, token=token, ahead=ahead, behind=late)

    async def decide(
        self,
        facts: Facts,
        rows: Mapping[str, Row],
        *,
        allow_detach: int | None = None,
        hold: frozenset[str] = frozenset(),
        findings: tuple[Finding, ...] = (),
    ) -> Pass:
        """Decide what a pass with these facts would do, with all that is remembered.

        `findings` are reported beside its own."""
        at = now()
        # Beside the loop, which answers messages meanwhile: all that it is given stays
        # as it is.
        decided = await asyncio.to_thread(
            decide,
            await self.aged(facts, at),
            rows,
            self.me,
            self.settings,
            allow_detach=allow_detach,
            hold=hold,
            commanded=await Ledger(self.store).commanded(at - COMMANDS_COUNT),
            withheld=withheld(await self.store.publications(at - DAY), at),
            renderer=self.renderer,
            observed_at=at,
        )
        want = decided.want
        return replace(
            decided, want=want._replace(findings=(*want.findings, *findings))
        )

    async def aged(self, facts: Facts, at: int | None = None) -> Facts:
        """The facts, with what was unread for too long by `at` (now) marked so."""
        unread = await self.store.unread()
        at, limit = now() if at is None else at, self.settings.full_interval
        return await asyncio.to_thread(aged, facts, unread, at, limit)

    async def converge(
        self, allow_detach: int | None = None, *, whole: bool = False
    ) -> PassReport:
        """Look, and bring the cache in line, in one transaction.

        Everything is looked at if it is asked for, or was not for a `full_interval`, or
        if what was kept cannot be trusted. When Matrix cannot be seen, that is recorded,
        no row changes, and it raises."""
        loaded = None if whole else await self.keeper.load()
        have = loaded.have if loaded else await self.keeper.rows()
        async with self.recording():
            seen = None
            if loaded and not self.is_outdated():
                await check_account(self.wire, self.me)
                seen = await self.renewed(loaded.kept.facts, loaded.kept.mark)
            seen = seen or await self.observed(have.rows)
        decided = await self.decide(seen.facts, have.rows, allow_detach=allow_detach)
        return await self.carry_out(decided, have, seen)

    def is_outdated(self) -> bool:
        """Whether what is kept is of so long ago that it is time to look at everything
        again; also after a clock went back."""
        kept = self.keeper.kept
        return kept is not None and not (
            0 <= now() - kept.mark.whole_at < self.settings.full_interval * 1000
        )

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record it as a failed pass when Matrix cannot be seen inside."""
        try:
            yield
        except WireError as error:
            await self._record_failure(error)
            raise

    async def carry_out(
        self,
        decided: Pass,
        have: Rows,
        seen: Observation,
        *,
        after: PassReport | None = None,
    ) -> PassReport:
        """Bring the cache in line with what was decided over the rows that it had, and
        keep what was `seen`, in one transaction.

        With `after`, the pass that this one follows, it is recorded only if it has
        anything to tell."""
        ready = await self._ready(seen)
        async with self.store.transaction(decided.observed_at):
            cache = _Cache(self.store)
            report = await apply(decided.cache, cache)
            await self.store.remember_unread(decided.unread, decided.observed_at)
            mark = await self._keep(seen, ready, decided, have, cache.written)
            del ready  # long lists are given up one by one, and others may run between
            await asyncio.sleep(0)
            done = PassReport(decided, report)
            if after is None or report.plan or _news(after.decided, decided):
                told = _told(decided)
                number = await self.store.record_pass(
                    decided.observed_at, done.result, told
                )
                done = replace(done, number=number)
            said = [] if after else [observed(decided)]
            await self.store.set_conditions([*said, converged(decided, report)])
        self.keeper.kept = mark and Kept(mark, seen.facts)
        level = logging.INFO if report.plan else logging.DEBUG
        if decided.cache.blocked:
            level = logging.WARNING  # it waits for a person
        counts = {str(result): n for result, n in report.counts.items()}
        log.log(level, "converged", extra={"cache": counts, **_sizes(decided)})
        return done

    async def _keep(
        self,
        seen: Observation,
        ready: Look | list[KeptFact],
        decided: Pass,
        have: Rows,
        written: Mapping[str, Row],
    ) -> Bookmark | None:
        """Keep what was seen, with the rows that this pass has just written."""
        # Beside the loop, which answers messages meanwhile.
        due = await asyncio.to_thread(_left, decided, written)
        due |= seen.behind
        if not isinstance(ready, Look):
            pairs = [(have.rows.get(room_id), row) for room_id, row in written.items()]
            return await self.keeper.renew(
                ready, pairs, due, token=seen.token, ahead=seen.ahead
            )
        if seen.token is None:
            return None
        at = decided.observed_at
        rows = have._replace(rows={**have.rows, **written})
        return await self.keeper.keep(ready, rows, due, token=seen.token, at=at)

    async def _ready(self, seen: Observation) -> Look | list[KeptFact]:
        """What of it the file does not hold yet, as it is kept."""
        facts, kept = seen.facts, self.keeper.kept
        if seen.whole:
            # Beside the loop, which answers messages meanwhile.
            every = await asyncio.to_thread(_encoded, facts.rooms, facts.joined)
            return await self.keeper.compared(every)
        newer = await asyncio.to_thread(changed, kept.facts, facts) if kept else {}
        return _encoded(newer, facts.joined)

    async def nothing_changed(
        self, token: str, ahead: str | None, over: Collection[str] = ()
    ) -> None:
        """Record a pass that found nothing to look at; findings with the codes `over` are
        told no more."""
        kept, at = self.keeper.kept, now()
        async with self.store.transaction(at):
            if kept is not None:
                moved = await self.keeper.move(kept.mark, token, ahead)
                kept = kept._replace(mark=moved)
            await self.store.repeat_pass(at, over)
            if not is_observed(await self.store.conditions()):
                await self.store.set_conditions([unchanged(at)])
        self.keeper.kept = kept

    async def publish(self, done: PassReport, *, patience: float | None) -> PassReport:
        """Publish what is due, waiting for the server's limits as long as `patience`."""
        pace = Pace(self.settings.publish_rate, patience)
        target = Publisher(self.wire, self.store, pace, self.types, now)
        return await self.publish_to(target, done)

    async def publish_to(self, target: Target, done: PassReport) -> PassReport:
        """Publish what a pass left due, and record how that went."""
        done = replace(done, publish=await apply(done.decided.publish, target))
        async with self.store.transaction():
            if done.number is not None:
                await self.store.conclude_pass(done.number, done.result)
            await self.store.set_conditions([published(done.publish, now())])
        return done

    async def _record_failure(self, error: WireError) -> None:
        at = now()
        async with self.store.transaction(at):
            await self.store.record_pass(at, "failed", {"error": str(error)})
            await self.store.set_conditions([unobserved(error, at)])


@dataclass
class _Cache:
    """The rows as a target, with those that were written."""

    store: Store
    written: Mapping[str, Row] = field(default_factory=dict)

    async def carry_out(self, steps: Sequence[Change]) -> Sequence[Outcome]:
        done = await self.store.write(steps)
        self.written = await asyncio.to_thread(by_room, done.rows)
        return done.outcomes


def _left(decided: Pass, written: Collection[str]) -> frozenset[str]:
    """The rooms that the next pass has to look at, whether they change or not."""
    undone = {
        step.key.name for step in decided.cache.steps if step.key.name not in written
    }
    return owed(decided) | undone


def _encoded(facts: Mapping[str, Fact], joined: Collection[str]) -> list[KeptFact]:
    return [kept_fact(room_id, found, joined) for room_id, found in facts.items()]


def _news(before: Pass, decided: Pass) -> bool:
    """Whether `status` would show something else than before."""
    old, new = before.want, decided.want
    return (old.findings, old.unknown) != (new.findings, new.unknown)


def _told(decided: Pass) -> dict[str, Any]:
    """What `status` shows of a pass."""
    return {
        "complete": decided.complete,
        "findings": [finding(found) for found in decided.want.findings],
        "unknown": dict(decided.want.unknown),
        **_sizes(decided),
    }


def _sizes(decided: Pass) -> dict[str, int]:
    return {
        "rooms": len(decided.want.rooms),
        "changes": len(decided.cache.steps),
        "blocked": len(decided.cache.blocked),
        "to_publish": len(decided.publish.steps),
    }


def now() -> int:
    """Ms since the epoch."""
    return time.time_ns() // 1_000_000
