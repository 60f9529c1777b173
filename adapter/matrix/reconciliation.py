"""Where the parts meet: look at Matrix, decide, write the cache, then publish.

For any program with a logged-in matrix-nio client and a path:

    async with ...:                                     # your client, logged in
        await reconcile_startup(client, "bot.db")       # before the first live event
        ...
        await reconcile_once(client, "bot.db")          # then now and again

Both keep the file's lock while they run. See docs/library.md.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from adapter.matrix.decision import DAY, Pass, aged, decide, withheld
from adapter.matrix.desired import Finding
from adapter.matrix.document import document, finding
from adapter.matrix.errors import WireError
from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.ledger import Ledger
from adapter.matrix.observation import check_account, observe
from adapter.matrix.publishing import Pace, Publisher
from adapter.matrix.rows import Row
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.topology import render
from adapter.matrix.wire import Wire
from controller.apply import Report, Result, Target, apply
from controller.conditions import Condition
from controller.plan import Plan

if TYPE_CHECKING:
    from nio import AsyncClient

log = logging.getLogger(__name__)

COMMANDS_COUNT = 30 * DAY
"""Ms for which the guard knows what the bot's own commands wrote."""

Database = Store | str | os.PathLike[str]


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

    async def look(self, allow_detach: int | None = None) -> Pass:
        """Decide what a pass would do, and write nothing. Raises `WireError`.

        Rows are read before Matrix is: what changes meanwhile is as Matrix has it."""
        rows = await self.store.rows()
        return await self.decide(await self.see(rows), rows, allow_detach=allow_detach)

    async def see(self, rows: Collection[str]) -> Facts:
        """Observe everything that there is, and what `rows` names."""
        return await observe(self.wire, self.me, rows=rows, types=self.types)

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
        decided = decide(
            await self.aged(facts, at),
            rows,
            self.me,
            self.settings,
            allow_detach=allow_detach,
            hold=hold,
            commanded=await Ledger(self.store).commanded(at - COMMANDS_COUNT),
            withheld=withheld(await self.store.publications(at - DAY), at),
            types=self.types,
            observed_at=at,
        )
        want = decided.want
        return replace(
            decided, want=want._replace(findings=(*want.findings, *findings))
        )

    async def aged(self, facts: Facts, at: int | None = None) -> Facts:
        """The facts, with what was unread for too long by `at` (now) marked so."""
        unread = await self.store.unread()
        limit = self.settings.full_interval
        return aged(facts, unread, now() if at is None else at, limit)

    async def converge(self, allow_detach: int | None = None) -> PassReport:
        """Look, and bring the cache in line, in one transaction.

        When Matrix cannot be seen, that is recorded, no row changes, and it raises."""
        async with self.recording():
            decided = await self.look(allow_detach)
        return await self.carry_out(decided)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record it as a failed pass when Matrix cannot be seen inside."""
        try:
            yield
        except WireError as error:
            await self._record_failure(error)
            raise

    async def carry_out(
        self, decided: Pass, before: PassReport | None = None
    ) -> PassReport:
        """Bring the cache in line with what was decided, in one transaction.

        `before` is the pass that this one follows, if it looked only at what was
        touched since: then it is recorded if it has anything to tell."""
        async with self.store.transaction(decided.observed_at):
            report = await apply(decided.cache, self.store)
            await self.store.remember_unread(decided.unread, decided.observed_at)
            done = PassReport(decided, report)
            if before is None or report.plan or _news(before.decided, decided):
                told = _told(decided)
                number = await self.store.record_pass(
                    decided.observed_at, done.result, told
                )
                done = replace(done, number=number)
            seen = [] if before else [observed(decided)]
            await self.store.set_conditions([*seen, converged(decided, report)])
        level = logging.INFO if report.plan else logging.DEBUG
        counts = {str(result): n for result, n in report.counts.items()}
        log.log(level, "converged", extra={"cache": counts, **_sizes(decided)})
        return done

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


async def look(
    client: AsyncClient,
    store: Store,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
) -> Pass:
    """Decide what a pass would do, and write nothing. Raises `WireError`."""
    return await _reconciler(Wire(client), store, client, settings, types).look()


async def reconcile_startup(
    client: AsyncClient,
    database: Database,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
    allow_detach: int | None = None,
) -> PassReport:
    """Bring the cache in line with Matrix, before anything uses it.

    A missing or corrupt file is made anew and filled. On any error the rows are as
    they were, and it raises: `WireError` for Matrix, `StoreError` for the file.
    Nothing is written to Matrix: what is due there is `decided.publish`, left to
    `reconcile_once`."""
    async with _opened(client, database) as (wire, store):
        reconciler = _reconciler(wire, store, client, settings, types)
        return await reconciler.converge(allow_detach)


async def reconcile_once(
    client: AsyncClient,
    database: Database,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
    allow_detach: int | None = None,
) -> PassReport:
    """One pass: as `reconcile_startup`, and then the publishing that is due.

    It publishes until done, or until the server's limits would make it wait longer
    than `settings.publish_patience` in all; the rest is waiting, and stays drift."""
    async with _opened(client, database) as (wire, store):
        reconciler = _reconciler(wire, store, client, settings, types)
        done = await reconciler.converge(allow_detach)
        patience = reconciler.settings.publish_patience
        return await reconciler.publish(done, patience=patience)


async def observed_document(
    client: AsyncClient,
    *,
    types: EventTypes | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """The state document of what Matrix alone shows: rendered without rows."""
    me = client.user_id
    facts = await observe(Wire(client), me, types=types, partial=partial)
    return document(
        render(facts, {}, me, types=types),
        account=me,
        homeserver=client.homeserver,
        complete=facts.complete,
        observed_at=now(),
    )


def _reconciler(
    wire: Wire,
    store: Store,
    client: AsyncClient,
    settings: ReconcileSettings | None,
    types: EventTypes | None,
) -> Reconciler:
    return Reconciler(
        wire,
        store,
        client.user_id,
        settings or ReconcileSettings(),
        types or EventTypes(),
    )


@asynccontextmanager
async def _opened(
    client: AsyncClient, database: Database
) -> AsyncIterator[tuple[Wire, Store]]:
    wire = Wire(client)
    if isinstance(database, Store):
        yield wire, database
        return
    # A refused token must not leave a database behind that nobody asked for.
    await check_account(wire, client.user_id)
    async with Store.open(
        database, user_id=client.user_id, homeserver=client.homeserver
    ) as store:
        yield wire, store


# --- conditions --------------------------------------------------------------


def observed(decided: Pass) -> Condition:
    """Matrix was looked at as a whole; single rooms may have refused to show themselves."""
    at, vain = decided.observed_at, len(decided.want.unknown) - decided.want.waiting
    if vain:
        message = f"all rooms were looked at, {vain} of them in vain"
        return Condition("Observed", "True", "RoomsUnknown", message, at)
    return Condition("Observed", "True", "Complete", "all rooms were looked at", at)


def unobserved(error: WireError, at: int) -> Condition:
    return Condition("Observed", "False", type(error).__name__, str(error), at)


def converged(decided: Pass, report: Report) -> Condition:
    """Whether the cache says what Matrix says."""
    at = decided.observed_at
    if report.plan.blocked:
        message = (
            f"{len(report.plan.blocked)} changes would give up more rooms at once than "
            "the guard lets through; look at `spacekeeper plan`, then let them through "
            "with --allow-detach, of `run` or of `reconcile`"
        )
        return Condition("Converged", "False", "Blocked", message, at)
    if report.failed:
        return Condition("Converged", "False", "Failed", report.failed[0].detail, at)
    if report.counts[Result.STALE]:
        message = "rows changed during the pass; the next one looks again"
        return Condition("Converged", "False", "Stale", message, at)
    if decided.want.waiting:
        message = f"{decided.want.waiting} rooms wait until every room can be read"
        return Condition("Converged", "False", "Waiting", message, at)
    return Condition(
        "Converged", "True", "InSync", "the cache says what Matrix says", at
    )


def published(report: Report, at: int) -> Condition:
    """Whether Matrix says of the bot's rooms all that it should."""
    if report.failed:
        return Condition("Published", "False", "Failed", report.failed[0].detail, at)
    waiting = report.counts[Result.WAITING] + report.counts[Result.STALE]
    if waiting:
        message = f"{waiting} state events are left to later passes"
        return Condition("Published", "False", "Waiting", message, at)
    return Condition("Published", "True", "Done", "nothing is due", at)


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
