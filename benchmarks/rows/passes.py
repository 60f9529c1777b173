"""Rows 4 and 5: what a timer's pass costs when nothing changed, and when a little did.

Requests and rows are counted, CPU is timed: what else runs on the machine, and how long
the server takes, is not in it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from adapter.cli.session import logged_in
from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from benchmarks.harness import Goal, Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.setting import Setting
from benchmarks.world import World

DRIFTED: Final = 10
"""Rooms that have another name than before. The small world has as many chats."""


class Cost(NamedTuple):
    """What one pass took."""

    requests: int
    received: int
    """Bytes of answers, decompressed."""
    cpu: float
    """Seconds."""
    rows: int
    """Written to the cache."""


class Passes:
    """Passes over one world, with a cache that is kept in between."""

    def __init__(self, world: World, wire: Wire, store: Store) -> None:
        self._world = world
        self._names = (f"renamed {number}" for number in count(1))
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
        name = next(self._names)
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
async def passes(world: World, folder: Path) -> AsyncIterator[Passes]:
    login, url = world.bot.login, world.bot.url
    async with (
        logged_in(url, login.user_id, login.device_id, login.access_token) as client,
        Store.open(
            folder / f"passes-{world.rooms}.db", user_id=login.user_id, homeserver=url
        ) as store,
    ):
        found = Passes(world, Wire(client), store)
        await found.begin()
        yield found


async def measure(setting: Setting) -> Outcome:
    large, small = setting.large, setting.small
    async with (
        passes(large, setting.scratch) as of_large,
        passes(small, setting.scratch) as of_small,
    ):
        found = await in_turn(
            setting.pace.rounds,
            {
                "still": lambda: of_large.after(drifted=0),
                "still, small": lambda: of_small.after(drifted=0),
                "drifted": lambda: of_large.after(DRIFTED),
                "drifted, small": lambda: of_small.after(DRIFTED),
            },
        )
    still, drifted = (
        Sizes(large, small, found[name], found[f"{name}, small"])
        for name in ("still", "drifted")
    )
    return Outcome((*_still(still), *_drifted(drifted)))


class Sizes(NamedTuple):
    """The same passes over both worlds."""

    large: World
    small: World
    costs: Sequence[Cost]
    small_costs: Sequence[Cost]


def _still(found: Sizes) -> list[Row]:
    what = f"a pass, nothing changed, {found.large.rooms:,} rooms"
    requests = [cost.requests for cost in found.costs]
    received = [cost.received for cost in found.costs]
    cpu, small_cpu = (
        [cost.cpu for cost in costs] for costs in (found.costs, found.small_costs)
    )
    return [
        _counted(4, f"{what}: requests", requests, at_most(1, "")),
        _counted(4, f"{what}: bytes", received, at_most(1024, "B")),
        Row(
            4,
            f"{what}: CPU",
            f"the same, {found.small.rooms:,} rooms",
            at_most(1),
            ratios(cpu, small_cpu),
            f"{seconds(cpu)} / {seconds(small_cpu)}",
        ),
    ]


def _drifted(found: Sizes) -> list[Row]:
    what = f"a pass, {DRIFTED} rooms changed, {found.large.rooms:,} rooms"
    requests = [cost.requests for cost in found.costs]
    rows = [cost.rows for cost in found.costs]
    received, small_received = (
        [cost.received for cost in costs] for costs in (found.costs, found.small_costs)
    )
    return [
        _counted(5, f"{what}: requests", requests, at_most(DRIFTED + 1, "")),
        _counted(5, f"{what}: rows written", rows, at_most(DRIFTED, "")),
        Row(
            5,
            f"{what}: bytes",
            f"the same, {found.small.rooms:,} rooms",
            at_most(1.1),
            ratios(received, small_received),
            f"{median(received):,.0f} B / {median(small_received):,.0f} B",
        ),
    ]


def _counted(number: int, what: str, counts: Sequence[int], goal: Goal) -> Row:
    values = tuple(map(float, counts))
    return Row(number, what, "a count", goal, values, f"{median(values):,.0f}")
