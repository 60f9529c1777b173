"""Rows 4 and 5: what a timer's pass costs when nothing changed, and when a little did.

Requests and rows are counted, CPU is timed, in a process for each world and round: what
else runs on the machine, and how long the server takes, is not in it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from adapter.cli.account import http_session
from adapter.cli.session import logged_in
from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Json, Wire
from benchmarks.harness import Goal, Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.processes import alone
from benchmarks.setting import Setting
from benchmarks.world import HOMESERVER, World, told

SAME: Final = 1.1
"""So much more in ten times as many rooms is still the same."""
DRIFTED, QUICK_DRIFTED = (1, 10, 50), (1, 10)
"""Rooms that have another name than before. The small world has as many chats."""
STILL: Final = 20
"""Passes in a row that find nothing, of which the middle one counts: one alone costs what
came before it as well, which has pushed the code out of the processor's caches."""
EVENLY: Final = 0.05
"""Seconds after which the next thing is done with an answer that says what changed, in
either world. A process that waits for longer takes more CPU for the same work afterwards,
and the server takes longer to answer an account of more rooms."""
COMPARED: Final = 10
"""As many drifted rooms cost the same in both worlds."""


class Cost(NamedTuple):
    """What one pass took."""

    requests: int
    received: int
    """Bytes of answers, decompressed."""
    cpu: float
    """Seconds."""
    rows: int
    """Written to the cache."""


class EvenWire(Wire):
    """Says what changed as late for a small account as for a large one."""

    async def changes(self, since: str, sync_filter: Mapping[str, Any]) -> Json:
        late = asyncio.sleep(EVENLY)
        found, _ = await asyncio.gather(super().changes(since, sync_filter), late)
        return found


class Passes:
    """Passes over one world, with a cache that is kept in between."""

    def __init__(self, world: World, wire: Wire, store: Store) -> None:
        self._world = world
        self._wire = wire
        self._follower = Follower(
            Reconciler(
                wire, store, world.bot.user_id, ReconcileSettings(), EventTypes()
            )
        )

    async def begin(self) -> None:
        """What the start of a bot does."""
        await self._follower.begin()

    async def after(self, drifted: int) -> Cost:
        """One pass of the timer, after so many rooms got another name."""
        name = uuid.uuid4().hex  # one that is there already would change nothing
        for room in self._world.chats[:drifted]:
            await self._world.bot.put_state(room, "m.room.name", {"name": name})
        wire = self._wire
        requests, received, began = wire.requests, wire.received, time.process_time()
        before = self._follower.newest
        await self._follower.renew()
        cpu = time.process_time() - began
        newest = self._follower.newest
        return Cost(
            wire.requests - requests,
            wire.received - received,
            cpu,
            newest.cache.counts.total() if newest and newest is not before else 0,
        )


@asynccontextmanager
async def passes(
    world: World, folder: Path, speaking: type[Wire] = Wire
) -> AsyncIterator[Passes]:
    login, url = world.bot.login, world.bot.url
    async with (
        logged_in(url, login.user_id, login.device_id, login.access_token) as client,
        Store.open(
            folder / f"passes-{world.rooms}.db", user_id=login.user_id, homeserver=url
        ) as store,
    ):
        found = Passes(world, speaking(client), store)
        await found.begin()
        yield found


async def measure(setting: Setting) -> Outcome:
    drifts = QUICK_DRIFTED if setting.pace.quick else DRIFTED
    place = setting.scratch / HOMESERVER

    def of(number: int) -> Callable[[], Awaitable[Costs]]:
        return lambda: asyncio.to_thread(
            alone, costs, place, setting.server.url, number, setting.scratch, drifts
        )

    found = await in_turn(setting.pace.rounds, {"large": of(0), "small": of(1)})
    sizes = Sizes(setting.large.rooms, setting.small.rooms, **found)
    drifted = [row for k in drifts for row in _drifted(sizes, k)]
    return Outcome((*_still(sizes), *drifted, _compared(sizes)))


Costs = dict[int, Cost]
"""Drifted rooms -> what the pass after that took."""


def costs(
    place: Path, url: str, number: int, folder: Path, drifts: Sequence[int]
) -> Costs:
    """The passes over a world of the homeserver in `place`, in this process."""
    return asyncio.run(_costs(place, url, number, folder, drifts))


async def _costs(
    place: Path, url: str, number: int, folder: Path, drifts: Sequence[int]
) -> Costs:
    async with (
        http_session() as session,
        passes(told(place, url, session)[number], folder, EvenWire) as timer,
    ):
        await timer.after(drifted=1)  # whatever is made once is made by then
        still = [await timer.after(drifted=0) for _ in range(STILL)]
        middle = sorted(still, key=attrgetter("cpu"))[STILL // 2]
        return {
            0: middle,
            **{drifted: await timer.after(drifted) for drifted in drifts},
        }


class Sizes(NamedTuple):
    """The same passes over both worlds."""

    rooms: int
    small_rooms: int
    large: Sequence[Costs]
    small: Sequence[Costs]


def _still(found: Sizes) -> list[Row]:
    what = f"a pass, nothing changed, {found.rooms:,} rooms"
    still = [costs[0] for costs in found.large]
    cpu = [cost.cpu for cost in still]
    small_cpu = [costs[0].cpu for costs in found.small]
    return [
        _counted(4, f"{what}: requests", [c.requests for c in still], at_most(1, "")),
        _counted(
            4,
            f"{what}: bytes of the answer",
            [cost.received for cost in still],
            at_most(1024, "B"),
        ),
        Row(
            4,
            f"{what}: CPU",
            f"the same, {found.small_rooms:,} rooms",
            at_most(SAME),
            ratios(cpu, small_cpu),
            f"{seconds(cpu)} / {seconds(small_cpu)}",
        ),
    ]


def _drifted(found: Sizes, drifted: int) -> list[Row]:
    changed = "1 room" if drifted == 1 else f"{drifted} rooms"
    what = f"a pass, {changed} changed, {found.rooms:,} rooms"
    these = [costs[drifted] for costs in found.large]
    requests, rows = [cost.requests for cost in these], [cost.rows for cost in these]
    return [
        _counted(5, f"{what}: requests", requests, at_most(drifted + 1, "")),
        _counted(5, f"{what}: rows written", rows, at_most(drifted, "")),
    ]


def _compared(found: Sizes) -> Row:
    received, small_received = (
        [costs[COMPARED].received for costs in several]
        for several in (found.large, found.small)
    )
    return Row(
        5,
        f"a pass, {COMPARED} rooms changed, {found.rooms:,} rooms: bytes of the answers",
        f"the same, {found.small_rooms:,} rooms",
        at_most(SAME),
        ratios(received, small_received),
        f"{median(received):,.0f} B / {median(small_received):,.0f} B",
    )


def _counted(number: int, what: str, counts: Sequence[int], goal: Goal) -> Row:
    values = tuple(map(float, counts))
    return Row(number, what, "a count", goal, values, f"{median(values):,.0f}")
