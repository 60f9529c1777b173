"""Measure how costs grow with the number of rooms, and write docs/scaling.md.

    python -m benchmarks.scaling [--rooms 1000,10000,100000,1000000]

On the homeserver with the two worlds of the benchmarks; and on generated worlds, each in a
process of its own, where only the bot works.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from adapter.matrix.following import Follower
from adapter.matrix.observation import Touch
from adapter.matrix.store import Store
from benchmarks import floors, plots
from benchmarks.generated import ME, CannedWire, Windows, kept
from benchmarks.harness import figure, in_turn, seconds
from benchmarks.processes import alone, memory, unsearched
from benchmarks.rows.passes import passes
from benchmarks.rows.starts import WINDOW, Starts
from benchmarks.rows.whole_passes import (
    DATABASE,
    Cost,
    Waits,
    a_pass,
    following,
    waits_of_a_pass,
)
from benchmarks.serving import Start
from benchmarks.setting import CACHE, FULL, Setting, setting
from benchmarks.world import World

DOCS: Final = Path("docs")
SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
LONG: Final = 60.0
"""Seconds of a cold start that somebody may still wait for."""
SLOW: Final = 1.0
"""Seconds that a word may wait because something changed."""


class Real(NamedTuple):
    """Medians for one world on the homeserver: seconds, and MB of the file."""

    rooms: int
    wire: float
    cold: float
    restart: float
    still: float
    size: float


class Restart(NamedTuple):
    """A start after a pass over everything, and passes over one room that changed."""

    cpu: float
    """Seconds until the rows count again."""
    first: float
    """Seconds, by the clock, until the rows say what the room shows that changed first."""
    change: float
    """The same, when it changes another time."""
    memory: float
    """MB at its highest."""


class Generated(NamedTuple):
    """What a first pass over a generated world took, and a start after it."""

    rooms: int
    cost: Cost
    waits: Waits
    restart: Restart


# --- on the homeserver -------------------------------------------------------


async def real(found: Setting) -> list[Real]:
    return [await _real(found, world) for world in (found.small, found.large)]


async def _real(found: Setting, world: World) -> Real:
    starts = Starts(world, found.scratch)

    async def ready(start: Callable[[], Awaitable[Start]]) -> float:
        return (await start()).ready

    async with passes(world, found.scratch) as timer:

        async def still() -> float:
            began = time.perf_counter()
            await timer.after(drifted=0)
            return time.perf_counter() - began

        took = await in_turn(
            found.pace.rounds,
            {
                "at once": lambda: floors.snapshot(world.bot, world.rooms),
                "in windows": lambda: floors.snapshot(world.bot, world.rooms, WINDOW),
                "cold": lambda: ready(starts.cold),
                "restart": lambda: ready(starts.again),
                "still": still,
            },
        )
    medians = {name: median(values) for name, values in took.items()}
    wire = min(medians.pop("at once"), medians.pop("in windows"))
    return Real(world.rooms, wire, **medians, size=starts.size)


# --- generated ---------------------------------------------------------------


def generated(rooms: int) -> Generated:
    with TemporaryDirectory() as place:
        folder = Path(place)
        windows = kept(rooms, folder)
        cost = alone(a_pass, windows, folder)
        waits = alone(waits_of_a_pass, windows)
        return Generated(rooms, cost, waits, alone(a_restart, windows, folder))


def a_restart(windows: Windows, folder: Path) -> Restart:
    """A start, where nothing happened meanwhile; and then one room is renamed.

    What was still to be published has been: nobody is there who would take it."""
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        database.execute("DELETE FROM due")
        database.commit()
    with unsearched():
        return asyncio.run(_a_restart(CannedWire(windows), folder / DATABASE))


async def _a_restart(wire: CannedWire, path: Path) -> Restart:
    base, began = memory("VmRSS"), time.process_time()
    async with Store.open(path, user_id=ME, homeserver=wire.origin) as store:
        follower = following(wire, store)
        await follower.begin()
        cpu = time.process_time() - began
        if follower.newest is not None:
            msg = "what was kept is not believed"
            raise AssertionError(msg)
        first, change = [
            await _a_change(wire, store, follower, name) for name in ("one", "another")
        ]
    return Restart(cpu, first, change, memory("VmHWM") - base)


async def _a_change(
    wire: CannedWire, store: Store, follower: Follower, name: str
) -> float:
    room_id = wire.rename(name)
    began = time.perf_counter()
    follower.touch({room_id: Touch()})
    await follower.catch_up()
    took = time.perf_counter() - began
    row = await store.row(room_id)
    if row is None or row.name != name:
        raise AssertionError(row)
    return took


# --- the page ----------------------------------------------------------------


def page(of_real: Sequence[Real], of_generated: Sequence[Generated]) -> str:
    """docs/scaling.md."""
    small, large = of_real
    more = large.rooms - small.rooms
    wire, cold = (large.wire - small.wire) / more, (large.cold - small.cold) / more
    longest = of_generated[-1]
    share = median(one.cost.cpu / one.rooms for one in of_generated)
    change = longest.restart.change / longest.rooms
    first = longest.restart.first / longest.rooms
    enough = _about(min(LONG / cold, SLOW / change))
    return f"""\
# How far one bot goes

Written by `make bench-scaling`; a change made by hand does not last. Times are medians, on
the machine of [the benchmarks](benchmarks.md).

## On a real server

| rooms | the wire alone | cold start, ready | restart, ready | a pass, nothing changed | file |
| ---: | ---: | ---: | ---: | ---: | ---: |
{_lines(map(_real_line, of_real))}

*The wire alone* is the fastest way to ask barely for the same facts, at once or {WINDOW} rooms at
a time. Each room more costs {wire * 1000:.2f} ms there, and {cold * 1000:.2f} ms of a cold start. A restart asks for what changed since, and
reads what it kept: its server's share does not grow.

## Generated, without a server

A first pass over everything, from the answers to a cache in line with them, and a start
after it.

| rooms | CPU | CPU a room | memory, at the highest | file | longest block of the loop | CPU of a restart | its memory | a first change | a change |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{_lines(map(_generated_line, of_generated))}

![Growth with the number of rooms](benchmarks/scaling.svg)

*A change* is what a word waits for that is said while somebody links, renames or leaves a
room of the same owner: a pass reads that room alone, renders what is tied to it, and compares
all ([decision 18](decisions/0018-a-pass-renders-what-changed.md)). The first one after a start
renders everything.

## Where the next limit lies

**The server's snapshot.** At {cold * 1000:.2f} ms a room, a cold start of {LONG / cold:,.0f} rooms takes a
minute. The wire alone would take {wire * LONG / cold:.0f} s for them, and what the bot computes, without
a server, {share * LONG / cold:.1f} s. It is needed where there is no
database, and once every `full_interval`, while messages are answered. Everything in between
asks for what changed.

**The account's stream of events.** One account has one `/sync`, and its answers come one
after the other. How many messages go through it is in row 11 of [the
benchmarks](benchmarks.md); Synapse spends that time, not the bot. More than that needs a
second account.

**A change.** Whatever changes in a room costs {change * 1e6:.0f} µs for each room that there is: {SLOW:g} s with
{_about(SLOW / change):,} rooms. The first one after a start costs {first * 1e6:.0f} µs.

**Memory.** {longest.cost.memory / longest.rooms * 1000:.1f} MB for each thousand rooms while everything is looked at.

So one account is good for about {enough:,} rooms on a server such as this one, with cold starts
below {LONG:g} s and changes below {SLOW:g} s, by what was measured at {small.rooms:,} to {large.rooms:,} rooms and drawn
on from there; what a server does with an account of that many rooms was not tried. Whoever
needs more runs several bots, each with an account, a database and rooms of its own: they
know nothing of each other.
"""


def _about(count: float) -> int:
    """With two digits: it is no more certain."""
    return int(float(f"{count:.2g}"))


def _real_line(one: Real) -> tuple[str, ...]:
    return (
        f"{one.rooms:,}",
        *(seconds([value]) for value in (one.wire, one.cold, one.restart, one.still)),
        f"{figure(one.size)} MB",
    )


def _generated_line(one: Generated) -> tuple[str, ...]:
    cost = one.cost
    return (
        f"{one.rooms:,}",
        seconds([cost.cpu]),
        f"{cost.cpu / one.rooms * 1e6:.0f} µs",
        f"{cost.memory:,.0f} MB",
        f"{cost.size:,.1f} MB",
        f"{one.waits.loop * 1000:,.0f} ms",
        seconds([one.restart.cpu]),
        f"{one.restart.memory:,.0f} MB",
        seconds([one.restart.first]),
        seconds([one.restart.change]),
    )


def _lines(lines: map[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


async def main(sizes: Sequence[int], docs: Path) -> None:
    async with setting(FULL, CACHE) as found:
        of_real = await real(found)
    of_generated = []
    for size in sizes:
        try:
            of_generated.append(await asyncio.to_thread(generated, size))
        except BrokenProcessPool:
            print(f"{size:,} rooms: it was killed; is there memory enough?", flush=True)
            break
    sizes = [one.rooms for one in of_generated]
    curves = {
        "CPU, s": [one.cost.cpu for one in of_generated],
        "memory, MB": [one.cost.memory for one in of_generated],
        "file, MB": [one.cost.size for one in of_generated],
        "a change, s": [one.restart.change for one in of_generated],
    }
    plots.draw_growth(sizes, curves, docs / "benchmarks/scaling.svg")
    (docs / "scaling.md").write_text(page(of_real, of_generated))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rooms", default=",".join(map(str, SIZES)))
    parser.add_argument("--docs", type=Path, default=DOCS)
    args = parser.parse_args()
    asyncio.run(main([int(size) for size in args.rooms.split(",")], args.docs))
