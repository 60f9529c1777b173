"""Row 11: a message on its way to the echo platform and back, beside a bare nio bot.

Both bots are processes. One person talks to them, a few messages to one and a few to the
other; then they say everything at once, in all rooms.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from adapter.cli.account import Account, Json
from benchmarks.harness import (
    Outcome,
    Row,
    at_least,
    at_most,
    figure,
    in_turn,
    ratios,
    seconds,
)
from benchmarks.peers.running import HERE, login_file
from benchmarks.setting import Setting
from benchmarks.world import home
from tests.bots import running, started, write_config

PATIENCE: Final = 120.0
"""Seconds until an answer counts as lost, and the benchmark as failed."""
IN_A_ROW: Final = 10
"""Messages to one bot before it is the other's turn."""
ROOMS, QUICK_ROOMS = 20, 5
AT_ONCE: Final = 5
"""Messages in each room of one burst."""
BURSTS: Final = 7

_FILTER: Final[Json] = {
    "presence": {"types": []},
    "account_data": {"types": []},
    "room": {
        "ephemeral": {"types": []},
        "account_data": {"types": []},
        "state": {"types": []},
        "timeline": {"types": ["m.room.message"], "limit": 100},
    },
}


class Talker:
    """Says words and waits for their answers, by long polls as any client."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._numbers = itertools.count(1)
        self._arrivals: dict[str, asyncio.Future[float]] = {}

    async def listen(self) -> None:
        """Take in answers for ever."""
        mine = {"not_senders": [self.account.user_id]}
        timeline = _FILTER["room"]["timeline"] | mine
        heard = _FILTER | {"room": _FILTER["room"] | {"timeline": timeline}}
        answer = await self.account.sync(sync_filter=heard)
        while True:
            answer = await self.account.sync(
                answer["next_batch"], wait_ms=30_000, sync_filter=heard
            )
            arrived = time.perf_counter()
            for room in answer.get("rooms", {}).get("join", {}).values():
                for event in room["timeline"]["events"]:
                    self._take(event["content"]["body"], arrived)

    def _take(self, body: str, arrived: float) -> None:
        # Ours numbers its answers: "3: word".
        future = self._arrivals.pop(body.rpartition(": ")[2], None)
        if future is not None:
            future.set_result(arrived)

    async def exchange(self, room: str) -> float:
        """Say a word that nobody said before: seconds until it is answered."""
        text = f"word {next(self._numbers)}"
        arrival: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._arrivals[text] = arrival
        began = time.perf_counter()
        await self.account.send(room, text)
        async with asyncio.timeout(PATIENCE):
            return await arrival - began


@dataclass(frozen=True, slots=True)
class Contestant:
    """A bot, as its rooms and who talks there."""

    talker: Talker
    rooms: list[str]

    async def talk(self) -> float:
        """Some messages, one at a time: the median of seconds until the answer."""
        return median(
            [await self.talker.exchange(self.rooms[0]) for _ in range(IN_A_ROW)]
        )

    async def burst(self) -> float:
        """All messages at once, in all rooms: how many a second."""
        rooms = self.rooms * AT_ONCE
        began = time.perf_counter()
        await asyncio.gather(*map(self.talker.exchange, rooms))
        return len(rooms) / (time.perf_counter() - began)


async def measure(setting: Setting) -> Outcome:
    count = QUICK_ROOMS if setting.pace.quick else ROOMS
    person = await setting.account("talker")
    ours, bare = [await setting.account(name) for name in ("echo", "bare-echo")]
    talker = Talker(person)
    our_rooms = await home(ours, person, count)
    bots = {
        "ours": Contestant(talker, our_rooms),
        "bare": Contestant(talker, await plain_rooms(bare, person, count)),
    }
    async with (
        our_bot(ours, setting.folder()),
        bare_bot(bare, setting.folder()),
        listening(talker),
    ):
        ways = await in_turn(
            setting.pace.rounds, {name: bot.talk for name, bot in bots.items()}
        )
        rates = await in_turn(BURSTS, {name: bot.burst for name, bot in bots.items()})
    against = "a bare matrix-nio echo bot"
    return Outcome(
        (
            Row(
                11,
                "a message, answered",
                against,
                at_most(1.2),
                ratios(ways["ours"], ways["bare"]),
                f"{seconds(ways['ours'])} / {seconds(ways['bare'])}",
            ),
            Row(
                11,
                f"{count * AT_ONCE} messages at once, answers a second",
                against,
                at_least(1),
                ratios(rates["ours"], rates["bare"]),
                " / ".join(
                    f"{figure(median(rate))} a second" for rate in rates.values()
                ),
            ),
        )
    )


async def plain_rooms(bot: Account, person: Account, count: int) -> list[str]:
    rooms = [await bot.create_room(invite=[person.user_id]) for _ in range(count)]
    for room in rooms:
        await person.join(room)
    return rooms


@asynccontextmanager
async def our_bot(bot: Account, folder: Path) -> AsyncIterator[None]:
    async with running(write_config(folder, bot, bot.url)) as process:
        await process.ready()
        yield


@asynccontextmanager
async def bare_bot(bot: Account, folder: Path) -> AsyncIterator[None]:
    script = str(HERE / "echo_bot.py")
    login = str(login_file(bot, folder))
    async with started(script, login, folder=folder) as process:
        await process.ready()
        yield


@asynccontextmanager
async def listening(talker: Talker) -> AsyncIterator[None]:
    task = asyncio.create_task(talker.listen())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
