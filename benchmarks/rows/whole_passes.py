"""Rows 6 and 7: the bot's own side of a pass over everything, without a server.

Held against the least that a program could do: read the same answers, compare as many
rows as dicts, write them. What should be in the rows is a gift there. CPU and memory are
measured with each side in a process of its own, and the garbage collector kept out of both.
What a message waits for is measured in another pass, by the clock, with Python set as
the bot sets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, cast

import orjson

from adapter.cli.interpreter import answer_soon
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
"""Seconds between two signs of life of the event loop, and of the cache."""
DATABASE: Final = "pass.db"
WATCHED: Final = 50_000
"""Rooms in a flame graph."""


class Cost(NamedTuple):
    """What one pass took."""

    cpu: float
    """Seconds."""
    memory: float
    """MB, at its highest, beyond what there was before."""
    size: float = 0.0
    """MB of the database afterwards."""


class Waits(NamedTuple):
    """Seconds that a message would wait during a pass, at the longest."""

    loop: float
    """For the event loop."""
    row: float
    """For the row of its room."""


async def measure(setting: Setting) -> Outcome:
    rooms, scratch = setting.pace.generated, setting.scratch
    windows = await asyncio.to_thread(kept, rooms, scratch)
    given = setting.folder()
    await asyncio.to_thread(alone, a_pass, windows, given)
    payload = await asyncio.to_thread(alone, parsed, windows)
    rounds = min(setting.pace.rounds, 5)
    ours: list[Cost] = []

    async def pass_over_all() -> float:
        ours.append(await asyncio.to_thread(alone, a_pass, windows))
        return ours[-1].cpu

    found = await in_turn(
        rounds,
        {
            "ours": pass_over_all,
            "bare": lambda: asyncio.to_thread(alone, bare, windows, given / DATABASE),
        },
    )
    what = f"a pass over everything, {rooms:,} rooms, no server"
    rows = _costs(what, found["ours"], found["bare"], ours[1:], payload)
    if setting.pace.quick:
        return Outcome(rows)
    waits = [
        await asyncio.to_thread(alone, waits_of_a_pass, windows) for _ in range(rounds)
    ]
    return Outcome((*rows, *_waits(what, waits)))


async def watched(world: World, folder: Path) -> None:
    """A pass over a generated world, for a flame graph; nothing is asked of the server."""
    del world
    windows = await asyncio.to_thread(kept, WATCHED, folder)
    await asyncio.to_thread(a_pass, windows)


def _costs(
    what: str,
    cpu: Sequence[float],
    bare_cpu: Sequence[float],
    costs: Sequence[Cost],
    payload: float,
) -> tuple[Row, ...]:
    highest = [cost.memory for cost in costs]
    return (
        Row(
            6,
            f"{what}: CPU",
            "orjson, a comparison of dicts, one executemany",
            at_most(3, so_far=6),
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
    )


def _waits(what: str, waits: Sequence[Waits]) -> list[Row]:
    return [
        Row(
            7,
            f"{what}: longest {whose}",
            "a clock",
            at_most(50, "ms"),
            (times := tuple(1000 * getattr(one, name) for one in waits)),
            f"{median(times):,.0f} ms",
        )
        for name, whose in (
            ("loop", "block of the event loop"),
            ("row", "wait for a row of the cache"),
        )
    ]


def a_pass(windows: Windows, folder: Path | None = None) -> Cost:
    """A first pass over everything, with a database that is kept in `folder`."""
    with contextlib.ExitStack() as stack:
        here = folder or Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(unsearched())
        cost = asyncio.run(_a_pass(CannedWire(windows), here / DATABASE))
        _must_have_all(windows, here / DATABASE)
        return cost._replace(size=(here / DATABASE).stat().st_size / 2**20)


def waits_of_a_pass(windows: Windows) -> Waits:
    """The same, beside which somebody asks again and again."""
    answer_soon()
    with TemporaryDirectory() as folder:
        return asyncio.run(_waits_of_a_pass(CannedWire(windows), Path(folder)))


def following(wire: CannedWire, store: Store) -> Follower:
    """Whoever follows what the wire shows of the generated world."""
    return Follower(
        Reconciler(cast("Wire", wire), store, ME, ReconcileSettings(), EventTypes())
    )


async def _a_pass(wire: CannedWire, path: Path) -> Cost:
    base = memory("VmRSS")
    async with Store.open(path, user_id=ME, homeserver=wire.origin) as store:
        follower = following(wire, store)
        began = time.process_time()
        await follower.look_again()
        cpu = time.process_time() - began
    return Cost(cpu, memory("VmHWM") - base)


async def _waits_of_a_pass(wire: CannedWire, folder: Path) -> Waits:
    path = folder / DATABASE
    async with Store.open(path, user_id=ME, homeserver=wire.origin) as store:
        follower = following(wire, store)

        async def nothing() -> None:
            pass

        async def a_row() -> None:
            await store.row("!any")

        async with _again_and_again(nothing) as loop, _again_and_again(a_row) as row:
            await follower.look_again()
    return Waits(max(loop), max(row))


@contextlib.asynccontextmanager
async def _again_and_again(
    asked: Callable[[], Awaitable[None]],
) -> AsyncIterator[list[float]]:
    """How many seconds each answer took, and the loop to come back before it."""
    took: list[float] = []
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            before = time.perf_counter()
            await asyncio.sleep(BEAT)
            await asked()
            took.append(time.perf_counter() - before - BEAT)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    yield took
    over.set()
    await task  # who is still waiting may have waited longest


def _must_have_all(windows: Windows, path: Path) -> None:
    """Rooms that a stranger made have no row, and those are few."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        ((rows,),) = database.execute("SELECT count(*) FROM room_meta")
    if not 0.98 * windows.rooms < rows <= windows.rooms:
        msg = f"{rows} rows of {windows.rooms} rooms"
        raise AssertionError(msg)


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
