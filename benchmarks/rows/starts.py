"""Rows 1, 2 and 3: the bot starts, without its database and with it.

A start ends when a word that was said as soon as the bot was ready has been answered. It
is held against the wire alone, and against clients that know all rooms after their first
sync, and answer nothing yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from adapter.cli.people import Person
from benchmarks import floors
from benchmarks.harness import (
    Chart,
    Outcome,
    Row,
    at_least,
    at_most,
    in_turn,
    ratios,
    seconds,
)
from benchmarks.peers.running import Peer, installed, login_file, time_of
from benchmarks.serving import Start, start
from benchmarks.setting import Setting
from benchmarks.world import World

COLD: Final = "ours, cold start"
RESTART: Final = "ours, restart"
SMALL: Final = "ours, restart, small world"
WINDOW: Final = 500
"""Rooms in one of several bare requests."""
AT_ONCE: Final = "bare request, one answer"
WINDOWS: Final = f"bare requests, {WINDOW} rooms each"

WATCHED, WATCHED_AGAIN = 5, 30
"""Starts in one flame graph, and restarts, which are short."""
MANY, QUICK_MANY = 21, 5
"""Rounds of what is short, and compared with its like."""


class Starts:
    """The bot of one world, started again and again.

    There is one database, so that a restart finds what the bot's last run left."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._person = Person(world.owner)
        self._database = folder / f"{world.rooms}-rooms.db"

    async def cold(self) -> Start:
        for path in self._database.parent.glob(f"{self._database.name}*"):
            path.unlink()
        return await self.again()

    async def again(self) -> Start:
        world = self._world
        return await start(world.bot, self._database, self._person, world.chats[0])

    @property
    def size(self) -> float:
        """MB of the database."""
        return self._database.stat().st_size / 2**20


async def cold_starts(world: World, folder: Path) -> None:
    starts = Starts(world, folder)
    for _ in range(WATCHED):
        await starts.cold()


async def restarts(world: World, folder: Path) -> None:
    starts = Starts(world, folder)
    for _ in range(WATCHED_AGAIN):
        await starts.again()


async def measure(setting: Setting) -> Outcome:
    large, small = setting.large, setting.small
    ours, ours_small = (Starts(world, setting.scratch) for world in (large, small))
    peers = [] if setting.pace.quick else await installed(setting.cache)
    login = login_file(large.bot, setting.scratch)

    def knowing(peer: Peer) -> Contestant:
        return lambda: _known(time_of(peer, login, large.rooms))

    found = await in_turn(
        setting.pace.rounds,
        {
            AT_ONCE: lambda: _bare(large, None),
            WINDOWS: lambda: _bare(large, WINDOW),
            COLD: ours.cold,
            RESTART: ours.again,
            **{peer.name: knowing(peer) for peer in peers},
        },
    )
    await ours_small.cold()
    many = QUICK_MANY if setting.pace.quick else MANY
    again = await in_turn(many, {RESTART: ours.again, SMALL: ours_small.again})
    rows = (
        _cold(found, large),
        *(_peer(found, peer) for peer in peers),
        *_restart(found),
        _growth(again, large, small),
    )
    bars = {name: _answered(starts) for name, starts in (found | again).items()}
    title = f"Until {large.rooms:,} rooms are known (ours: and a word is answered)"
    return Outcome(rows, Chart("starts", title, "s", bars))


Contestant = Callable[[], Awaitable[Start]]
Found = dict[str, list[Start]]


async def _bare(world: World, window: int | None) -> Start:
    return await _known(floors.snapshot(world.bot, world.rooms, window))


async def _known(took: Awaitable[float]) -> Start:
    """A start of somebody who only looks: ready is all they get."""
    return Start(ready=(known := await took), answered=known)


def _cold(found: Found, world: World) -> Row:
    floor = min((AT_ONCE, WINDOWS), key=lambda name: median(_answered(found[name])))
    ours, theirs = _answered(found[COLD]), _answered(found[floor])
    return Row(
        1,
        f"cold start, {world.rooms:,} rooms, first word answered",
        floor,
        at_most(1.2, so_far=2.6),
        ratios(ours, theirs),
        f"{seconds(ours)}, ready after {seconds(_ready(found[COLD]))} "
        f"/ {seconds(theirs)}",
    )


def _peer(found: Found, peer: Peer) -> Row:
    ours, theirs = _answered(found[COLD]), _answered(found[peer.name])
    return Row(
        2,
        f"cold start, times faster than {peer.name}",
        peer.does,
        at_least(4),
        ratios(theirs, ours),
        f"{seconds(ours)} / {seconds(theirs)}",
    )


def _restart(found: Found) -> list[Row]:
    word = seconds([start.word for start in found[RESTART]])
    return [
        Row(
            3,
            f"restart with its database, {until}: times faster",
            "cold start",
            at_least(30, so_far=so_far),
            ratios(take(found[COLD]), take(found[RESTART])),
            f"{seconds(take(found[RESTART]))}{more} / {seconds(take(found[COLD]))}",
        )
        for until, more, take, so_far in (
            ("ready", "", _ready, 3.5),
            ("answered", f" (a word alone: {word})", _answered, 2.0),
        )
    ]


def _growth(found: Found, large: World, small: World) -> Row:
    ours, theirs = _ready(found[RESTART]), _ready(found[SMALL])
    return Row(
        3,
        f"restart with its database, {large.rooms:,} rooms",
        f"the same, {small.rooms:,} rooms",
        at_most(1),
        ratios(ours, theirs),
        f"{seconds(ours)} / {seconds(theirs)}",
    )


def _ready(starts: Sequence[Start]) -> list[float]:
    return [one.ready for one in starts]


def _answered(starts: Sequence[Start]) -> list[float]:
    return [one.answered for one in starts]
