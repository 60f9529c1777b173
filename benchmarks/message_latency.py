"""What a message costs on its way to the echo platform and back, beside a bare nio bot.

    .venv/bin/python benchmarks/message_latency.py [--messages 100] [--rooms 20]

Starts its own homeserver and both bots as processes. One person talks to them in turn,
some messages to one and some to the other, so that noise hits both. Then they say
everything at once, in all rooms. Ratios are what counts: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from adapter.cli.account import Account, Json, http_session
from adapter.cli.homeserver import homeserver
from tests.bots import running, started, write_config

BARE_BOT: Final = Path(__file__).with_name("bare_bot.py")
PATIENCE: Final = 120.0
"""Seconds until an answer counts as lost, and the benchmark as failed."""
IN_A_ROW: Final = 5
"""Messages to one bot before it is the other's turn."""
WARM_UP: Final = 10
AT_ONCE: Final = 10
"""Messages in each room of one burst."""
BURSTS: Final = 3

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


class Way(NamedTuple):
    """Seconds until the answer had arrived."""

    from_send: float
    from_sent: float
    """Since the homeserver had confirmed the message: the bot's share, mostly."""


class Person:
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

    async def exchange(self, room: str) -> Way:
        """Say a word that nobody said before, and return when it is answered."""
        text = f"word {next(self._numbers)}"
        arrival = self._arrivals[text] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        await self.account.send(room, text)
        sent = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            arrived = await arrival
        return Way(arrived - began, arrived - sent)


@dataclass
class Contestant:
    """A bot, its rooms, and what was measured."""

    name: str
    account: Account
    rooms: list[str]
    ways: list[Way] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)
    """Messages a second."""

    async def talk(self, person: Person, count: int) -> None:
        """One message at a time."""
        self.ways += [await person.exchange(self.rooms[0]) for _ in range(count)]

    async def burst(self, person: Person) -> None:
        """All messages at once, in all rooms."""
        rooms = self.rooms * AT_ONCE
        began = time.perf_counter()
        await asyncio.gather(*map(person.exchange, rooms))
        self.bursts.append(len(rooms) / (time.perf_counter() - began))

    def forget(self) -> None:
        self.ways.clear()
        self.bursts.clear()


# Rooms


async def our_rooms(bot: Account, owner: Account, count: int) -> list[str]:
    """A Space with `count` chats, as the bot makes them."""
    who = {"v": 1, "owner": owner.user_id}
    space = await bot.create_room(
        room_type="m.space",
        creation_content={"io.spacekeeper.identity": {**who, "kind": "space"}},
        invite=[owner.user_id],
    )
    await owner.join(space)
    rooms = []
    for number in range(1, count + 1):
        chat = {
            **who,
            "kind": "chat",
            "chat_id": f"C{number}",
            "platform_chat_id": f"chat {number}",
        }
        rooms.append(
            await bot.create_room(
                creation_content={"io.spacekeeper.identity": chat},
                invite=[owner.user_id],
            )
        )
        await bot.link(space, rooms[-1])
        await owner.join(rooms[-1])
    return rooms


async def plain_rooms(bot: Account, person: Account, count: int) -> list[str]:
    rooms = [await bot.create_room(invite=[person.user_id]) for _ in range(count)]
    for room in rooms:
        await person.join(room)
    return rooms


# Processes


@asynccontextmanager
async def our_bot(bot: Account, folder: Path) -> AsyncIterator[None]:
    async with running(write_config(folder, bot, bot.url)) as process:
        await process.ready()
        yield


@asynccontextmanager
async def bare_bot(bot: Account, folder: Path) -> AsyncIterator[None]:
    login = {
        "homeserver": bot.url,
        "user_id": bot.user_id,
        "device_id": bot.login.device_id,
        "access_token": bot.login.access_token,
    }
    path = folder / "login.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(login))
    async with started(str(BARE_BOT), str(path), folder=folder) as process:
        await process.ready()
        yield


@asynccontextmanager
async def listening(person: Person) -> AsyncIterator[None]:
    task = asyncio.create_task(person.listen())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# What is measured


async def measure(messages: int, rooms: int) -> None:
    async with homeserver() as server, http_session() as session:

        async def account(name: str) -> Account:
            return Account(server.url, await server.register(name), session)

        person = Person(await account("alice"))
        ours, bare = await account("ours"), await account("bare")
        bots = (
            Contestant("ours", ours, await our_rooms(ours, person.account, rooms)),
            Contestant("bare", bare, await plain_rooms(bare, person.account, rooms)),
        )
        with tempfile.TemporaryDirectory() as folder:
            async with (
                our_bot(ours, Path(folder)),
                bare_bot(bare, Path(folder)),
                listening(person),
            ):
                await contest(person, bots, messages)
    print_table(*bots)


async def contest(
    person: Person, bots: tuple[Contestant, Contestant], messages: int
) -> None:
    for bot in bots:
        await bot.talk(person, WARM_UP)
        await bot.burst(person)
        bot.forget()
    for bot in _in_turn(bots, messages // IN_A_ROW):
        await bot.talk(person, IN_A_ROW)
    for bot in _in_turn(bots, BURSTS):
        await bot.burst(person)


def _in_turn(bots: tuple[Contestant, Contestant], rounds: int) -> Iterator[Contestant]:
    """Both in each round, and each as often the first."""
    for number in range(rounds):
        yield from bots if number % 2 else reversed(bots)


def print_table(ours: Contestant, bare: Contestant) -> None:
    print("| what | bot | bare | ratio |")
    print("|---|---|---|---|")
    for since, name in enumerate(("send", "confirmation")):
        pairs = [[way[since] * 1000 for way in bot.ways] for bot in (ours, bare)]
        _print_row(
            f"answered, ms since its {name}, median", *map(statistics.median, pairs)
        )
        _print_row(f"answered, ms since its {name}, p95", *map(_p95, pairs))
    rates = [statistics.median(bot.bursts) for bot in (ours, bare)]
    count = len(ours.rooms) * AT_ONCE
    _print_row(f"{count} at once in {len(ours.rooms)} rooms, answers a second", *rates)


def _print_row(what: str, ours: float, bare: float) -> None:
    print(f"| {what} | {ours:.1f} | {bare:.1f} | {ours / bare:.2f} |")


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--rooms", type=int, default=20)
    args = parser.parse_args()
    asyncio.run(measure(args.messages, args.rooms))
