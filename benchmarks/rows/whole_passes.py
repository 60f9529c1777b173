"""Rows 6 and 7: the bot's own side of a pass over everything, without a server.

Held against the least that a program could do: read the same answers, compare as many
rows as dicts, write them. What should be in the rows is a gift there. Times are CPU
seconds, each side in a process of its own, and the garbage collector is kept out of both;
only the block of the event loop is by the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, cast

import orjson

from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.rows import Row as CacheRow
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from benchmarks.generated import ME, CannedWire, Windows, kept
from benchmarks.harness import Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.processes import alone, memory, unsearched
from benchmarks.setting import Setting
from benchmarks.world import World

BEAT: Final = 0.005
"""Seconds between two signs of life of the event loop."""
DATABASE: Final = "pass.db"
WATCHED: Final = 50_000
"""Rooms in a flame graph."""


class Cost(NamedTuple):
    """What one pass took."""

    cpu: float
    """Seconds."""
    wall: float
    """Seconds."""
    block: float
    """Seconds that the event loop answered nobody, at the longest."""
    memory: float
    """MB, at its highest, beyond what there was before."""
    size: float = 0.0
    """MB of the database afterwards."""


async def measure(setting: Setting) -> Outcome:
    rooms, scratch = setting.pace.generated, setting.scratch
    windows = await asyncio.to_thread(kept, rooms, scratch)
    given = scratch / "given"
    given.mkdir()
    await asyncio.to_thread(alone, a_pass, windows, given)
    payload = await asyncio.to_thread(alone, parsed, windows)
    ours: list[Cost] = []

    async def pass_over_all() -> float:
        ours.append(await asyncio.to_thread(alone, a_pass, windows))
        return ours[-1].cpu

    found = await in_turn(
        min(setting.pace.rounds, 5),
        {
            "ours": pass_over_all,
            "bare": lambda: asyncio.to_thread(alone, bare, windows, given / DATABASE),
        },
    )
    rows = _rows(rooms, found["ours"], found["bare"], ours[1:], payload)
    return Outcome(rows[:2] if setting.pace.quick else rows)


async def watched(world: World, folder: Path) -> None:
    """A pass over a generated world, for a flame graph; nothing is asked of the server."""
    del world
    windows = await asyncio.to_thread(kept, WATCHED, folder)
    await asyncio.to_thread(a_pass, windows)


def _rows(
    rooms: int,
    cpu: Sequence[float],
    bare_cpu: Sequence[float],
    costs: Sequence[Cost],
    payload: float,
) -> tuple[Row, ...]:
    what = f"a pass over everything, {rooms:,} rooms, no server"
    highest = [cost.memory for cost in costs]
    blocks = [cost.block * 1000 for cost in costs]
    return (
        Row(
            6,
            f"{what}: CPU",
            "orjson, a comparison of dicts, one executemany",
            at_most(3),
            ratios(cpu, bare_cpu),
            f"{seconds(cpu)} / {seconds(bare_cpu)}",
        ),
        Row(
            6,
            f"{what}: memory",
            "the payload, parsed",
            at_most(2),
            ratios(highest, [payload] * len(highest)),
            f"{median(highest):,.0f} MB / {payload:,.0f} MB",
        ),
        Row(
            7,
            f"{what}: longest block of the event loop",
            "a clock",
            at_most(50, "ms"),
            tuple(blocks),
            f"{median(blocks):,.0f} ms",
        ),
    )


def a_pass(windows: Windows, folder: Path | None = None) -> Cost:
    """A first pass over everything, with a database that is kept in `folder`."""
    wire = CannedWire(windows)
    wire.prepare()
    with contextlib.ExitStack() as stack:
        here = folder or Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(unsearched())
        cost = asyncio.run(_a_pass(wire, here / DATABASE))
        return cost._replace(size=(here / DATABASE).stat().st_size / 2**20)


def following(wire: CannedWire, store: Store) -> Follower:
    """Whoever follows what the wire shows of the generated world."""
    return Follower(
        Reconciler(cast("Wire", wire), store, ME, ReconcileSettings(), EventTypes())
    )


async def _a_pass(wire: CannedWire, path: Path) -> Cost:
    base = memory("VmRSS")
    async with Store.open(path, user_id=ME, homeserver=wire.origin) as store:
        follower = following(wire, store)
        async with _heartbeat() as late:
            worked, began = time.process_time(), time.perf_counter()
            await follower.look_again()
            cpu, wall = time.process_time() - worked, time.perf_counter() - began
    return Cost(cpu, wall, max(late), memory("VmHWM") - base)


@contextlib.asynccontextmanager
async def _heartbeat() -> AsyncIterator[list[float]]:
    """How many seconds late the loop comes back, each time, to a task that only sleeps."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(BEAT)
            late.append(time.perf_counter() - before - BEAT)

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    yield late
    task.cancel()
    await asyncio.wait([task])


def bare(windows: Windows, given: Path) -> float:
    """CPU seconds for reading the answers, comparing the rows that are `given` with as
    many others, and writing them to a database with the same schema."""
    columns = CacheRow._fields
    source = sqlite3.connect(given)
    rows = [
        dict(zip(columns, row, strict=True))
        for row in source.execute(
            f"SELECT {', '.join(columns)} FROM room_meta"  # noqa: S608 - constants
        )
    ]
    source.close()
    want = {row["room_id"]: row for row in rows}
    have = {room_id: {**row, "revision": 0} for room_id, row in want.items()}
    insert = (
        f"INSERT INTO room_meta ({', '.join(columns)})"  # noqa: S608 - constants
        f" VALUES ({', '.join('?' * len(columns))})"
    )
    with TemporaryDirectory() as folder, unsearched():
        path = Path(folder) / DATABASE
        asyncio.run(_made(path))
        database = sqlite3.connect(path)
        began = time.process_time()
        for body in windows.bodies():
            orjson.loads(body)
        changed = [row for room_id, row in want.items() if have[room_id] != row]
        with database:
            database.executemany(insert, [tuple(row.values()) for row in changed])
        took = time.process_time() - began
        database.close()
    return took


async def _made(path: Path) -> None:
    async with Store.open(path, user_id=ME):
        pass


def parsed(windows: Windows) -> float:
    """MB of the whole payload, parsed."""
    before = memory("VmRSS")
    held = [orjson.loads(body) for body in windows.bodies()]
    return memory("VmRSS") - before if held else 0.0
