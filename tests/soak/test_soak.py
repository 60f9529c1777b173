"""Traffic, drift and faults together for long, and a bot that is killed now and then.

`SOAK=all` is the whole size, of some minutes; without it, the same in small. In the end
everything is counted: what was lost, what was said twice, what the bot still holds."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from signal import SIGKILL, SIGUSR1
from typing import Final, NamedTuple

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.observation import AT_ONCE
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.stories import Neighbourhood, neighbourhood, whole
from tests.bots import BotProcess, started, write_config
from tests.conftest import Accounts
from tests.faults import Answer, Drop, Exchange, Fault, Proxy, Refuse, Reply, Seen
from tests.faults.proxy import PATIENCE
from tests.people import Person


class Size(NamedTuple):
    """How much of everything there is."""

    people: int
    rounds: int
    words: int
    """Of each person in each round."""
    one_in: float
    """Of how many requests one is met by a fault."""
    messages: int
    """At least, in all."""
    faults: int
    """At least: as long as there were not so many, everybody goes on talking."""


SAMPLE: Final = Size(3, rounds=2, words=6, one_in=12, messages=100, faults=20)
WHOLE: Final = Size(20, rounds=6, words=26, one_in=15, messages=5_000, faults=500)
SIZE: Final = WHOLE if os.environ.get("SOAK") == "all" else SAMPLE
FATES: Final = ("kept", "lost", "old")
"""What becomes of the file when the bot is killed, after the quiet rounds."""
TAIL: Final = 8_000
"""Characters of the bot's log that are shown where something went wrong."""
SAID: Final = "PUT .*/send/.*"
UNDONE: Final = ("this was not done", "try again")
"""What somebody is told whose chat was not made: it failed, or too little was to be seen."""
BURST: Final = 3
"""Words that somebody says without waiting for an answer."""


def limited(ms: int) -> Answer:
    body = f'{{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": {ms}}}'
    return Answer(429, body.encode())


KINDS: Final[dict[str, Fault]] = {
    "429": limited(80),
    "500": Answer(500, b'{"errcode": "M_UNKNOWN", "error": "Internal"}'),
    "502 HTML": Answer(502, b"<html>", {"Content-Type": "text/html"}),
    "504": Answer(504, b""),
    "200 {}": Answer(200, b"{}"),
    "200 cut": Answer(200, b'{"next_batch": "s1", "ro'),
    "refused": Refuse(),
    "lost answer": Drop(),
}
"""What nobody may notice. Refusals for good, as 403, would be told to people."""


@dataclass
class Chances:
    """One of `KINDS` for one request in `one_in`; never for the same three times in a row,
    of which people are told."""

    one_in: float
    dice: random.Random
    met: Counter[str] = field(default_factory=Counter)
    in_a_row: Counter[str] = field(default_factory=Counter)

    def meets(self, seen: Seen) -> bool:
        if self.dice.random() < 1 / self.one_in and self.in_a_row[seen.path] < 2:
            self.in_a_row[seen.path] += 1
            return True
        del self.in_a_row[seen.path]
        return False

    async def meet(self, exchange: Exchange, /) -> Reply:
        kind = self.dice.choice(sorted(KINDS))
        self.met[kind] += 1
        return await KINDS[kind].meet(exchange)


@dataclass
class Soul:
    """Somebody with a chat to talk in, and another one with which things are done."""

    person: Person
    space: str
    talk: str
    toy: str
    said: list[str] = field(default_factory=list)
    made: int = 0
    """How often they asked for one more chat."""

    async def talks(self, number: int) -> None:
        """Say words, a few at once, and hear what is answered to each."""
        for start in range(0, number, BURST):
            burst = range(start, min(start + BURST, number))
            for _ in burst:
                self.said.append(f"word {len(self.said)}")
                await self.person.say(self.talk, self.said[-1])
            await self.hears(len(burst))

    async def hears(self, answers: int) -> None:
        while answers:
            [heard] = await self.person.hears(self.talk)
            answers -= heard["msgtype"] == "m.text"

    def right_answers(self) -> list[str]:
        return [f"{number}: {word}" for number, word in enumerate(self.said, 1)]


@dataclass
class Town:
    """Everybody, their bot, and what goes wrong between it and the server."""

    city: Neighbourhood
    config: Path
    proxy: Proxy
    chances: Chances
    dice: random.Random
    souls: list[Soul] = field(default_factory=list)

    async def settle(self, people: int) -> None:
        """Let as many live here, with a Space and two chats each."""

        async def one(number: int) -> Soul:
            owner, space, (talk, toy) = await self.city.home(f"soul{number}", 2)
            return Soul(Person(owner), space, talk, toy)

        self.souls = list(await asyncio.gather(*map(one, range(people))))

    @asynccontextmanager
    async def bot(self) -> AsyncIterator[BotProcess]:
        """A life of the bot, from when it is ready."""
        command = ("adapter.cli.main", "--config", str(self.config))
        counted = ("-m", "tests.faults.census", *command, "--log-format", "json", "run")
        async with started(*counted, folder=self.config.parent) as process:
            try:
                await process.ready()
                yield process
            except Exception as error:
                error.add_note(f"the bot said:\n{process.stderr[-TAIL:]}")
                raise
            assert "Traceback" not in process.stderr

    def lose_file(self, fate: str) -> None:
        """What becomes of the database while nobody runs."""
        old = self.city.path.parent / "copy"
        if fate != "kept":
            self.city.forget()
        if fate == "old":
            shutil.copy(old, self.city.path)

    def keep_copy(self) -> None:
        """Keep what `lose_file("old")` brings back."""
        with (
            closing(sqlite3.connect(self.city.path)) as database,
            closing(sqlite3.connect(self.city.path.parent / "copy")) as copy,
        ):
            database.backup(copy)

    async def round(self, words: int) -> None:
        """Everybody talks, while something is done with the chats of each."""
        async with asyncio.TaskGroup() as group:
            for soul in self.souls:
                group.create_task(soul.talks(words))
                group.create_task(self.drift(soul))

    async def drift(self, soul: Soul) -> None:
        await self.dice.choice(DRIFT)(self, soul)

    # What is done with a chat

    async def rename(self, soul: Soul) -> None:
        name = f"name {self.dice.random()}"
        await self.city.bot.put_state(soul.toy, "m.room.name", {"name": name})

    async def relink(self, soul: Soul) -> None:
        await self.city.bot.unlink(soul.space, soul.toy)
        await self.city.bot.link(soul.space, soul.toy)

    async def leave(self, soul: Soul) -> None:
        await soul.person.account.leave(soul.toy)
        await self.city.bot.invite(soul.toy, soul.person.user_id)
        await soul.person.account.join(soul.toy)

    async def archive(self, soul: Soul) -> None:
        await soul.person.say(soul.talk, "!archive C2")
        await soul.person.say(soul.talk, "!restore C2")

    async def new(self, soul: Soul) -> None:
        soul.made += 1
        await soul.person.say(soul.talk, "!new")

    async def intrude(self, soul: Soul) -> None:
        """The owner links their chat elsewhere, and invites the bot into that."""
        space = await soul.person.account.create_room(
            room_type="m.space", invite=[self.city.bot.user_id]
        )
        await soul.person.account.link(space, soul.toy)

    async def inherit(self, _: Soul) -> None:
        """Rooms of an older bot turn up, which say nothing of themselves."""
        await self.city.old_home("heir")


DRIFT: Final[tuple[Callable[[Town, Soul], Awaitable[None]], ...]] = (
    Town.rename,
    Town.relink,
    Town.leave,
    Town.archive,
    Town.new,
    Town.intrude,
    Town.inherit,
)


class Census(NamedTuple):
    """What the bot holds: see `tests.faults.census`."""

    tasks: list[str]
    objects: int
    files: int
    memory_kb: int


@dataclass
class Clerk:
    """Counts one process again and again."""

    process: BotProcess
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def census(self) -> Census:
        number = next(self._numbers)
        os.kill(self.process.pid, SIGUSR1)
        found = await self.process.logged(f"^census {number}$")
        return Census(*(found[name] for name in Census._fields))

    async def at_rest(self, rest: Census) -> Census:
        """Count when it has come to rest: it has no more to do than `rest` had.

        `TimeoutError` if it never does: then tasks were leaked."""
        async with asyncio.timeout(PATIENCE):
            while Counter((found := await self.census()).tasks) > Counter(rest.tasks):
                await self.process.logged("observed")
        return found


@pytest.fixture
async def town(
    accounts: Accounts, homeserver: Homeserver, tmp_path: Path
) -> AsyncIterator[Town]:
    dice = random.Random(7)  # noqa: S311 - the same in each run
    async with (
        neighbourhood(accounts, tmp_path) as city,
        Proxy(homeserver.url) as proxy,
    ):
        config = write_config(
            tmp_path,
            city.bot,
            proxy.url,
            database=city.path.name,
            rooms={"settle": "500ms"},
            reconcile={"interval": "5s", "publish_rate": 20},
        )
        city.client.homeserver = proxy.url  # as the file remembers it
        chances = Chances(SIZE.one_in, dice)
        town = Town(city, config, proxy, chances, dice)
        await town.settle(SIZE.people)
        proxy.at(chances.meets, chances, times=sys.maxsize)
        yield town


async def test_nothing_is_lost_or_said_twice_and_nothing_piles_up(
    town: Town, figures: dict[str, object]
) -> None:
    """However long: every word is answered once and in order, tasks and memory stay."""
    async with town.bot() as process:
        clerk = Clerk(process)
        rest = await clerk.census()
        counts = []
        for _ in range(SIZE.rounds):
            await town.round(SIZE.words)
            counts.append(await clerk.at_rest(rest))
        town.keep_copy()
        going_on = asyncio.create_task(town.round(SIZE.words))
        await killed_soon(town, process)
    for fate in FATES:
        town.lose_file(fate)
        async with town.bot() as process:
            await going_on
            going_on = asyncio.create_task(town.round(SIZE.words))
            await killed_soon(town, process)
    async with town.bot() as process:
        await going_on
        while town.chances.met.total() < SIZE.faults:
            await town.round(SIZE.words)
        assert await process.terminate() == 0
    town.chances.one_in = sys.maxsize
    figures |= counted(town, rest, counts)
    await assert_nothing_lost_or_said_twice(town)
    assert sum(len(soul.said) for soul in town.souls) >= SIZE.messages
    assert counts[-1].objects < 1.1 * counts[0].objects
    # A tenth is 7 MB. Rooms that are made meanwhile cost a few of these; of the 2,600 words
    # between these two counts, each would cost 2.7 kB if any of it stayed.
    assert counts[-1].memory_kb < 1.1 * counts[0].memory_kb
    # Rooms are read side by side, and each request of these may leave a connection open.
    assert counts[-1].files <= counts[0].files + AT_ONCE


async def killed_soon(town: Town, process: BotProcess) -> None:
    """Kill it when it has begun to answer: each of them once, on average."""
    said = len(await town.proxy.arrived(SAID, 0))
    await town.proxy.arrived(SAID, said + len(town.souls))
    assert await process.kill() == -SIGKILL


async def assert_nothing_lost_or_said_twice(town: Town) -> None:
    await town.city.once()
    await town.city.settled()
    for soul in town.souls:
        said = [
            event["content"]
            for event in reversed(await whole(town.city.bot, soul.talk))
            if event["type"] == "m.room.message"
            and event["sender"] == town.city.bot.user_id
        ]
        answers = [one["body"] for one in said if one["msgtype"] == "m.text"]
        assert answers == soul.right_answers()
        home = await home_of(town.city, soul.person.account)
        assert len(home.spaces) == 1
        # Requests of several people may take turns so that one of them fails too often, or
        # so that nobody can see whether there is a room already.
        notices = [one["body"] for one in said if one["msgtype"] == "m.notice"]
        told = sum(any(words in notice for words in UNDONE) for notice in notices)
        assert soul.made - told <= len(home.chats) - 2 <= soul.made, notices


def counted(town: Town, rest: Census, counts: list[Census]) -> dict[str, object]:
    """What is told of a run: `make soak` prints it."""
    return {
        "people": len(town.souls),
        "messages": sum(len(soul.said) for soul in town.souls),
        "requests": len(town.proxy.requests),
        "faults": dict(sorted(town.chances.met.items())),
        "deaths": 1 + len(FATES),
        "tasks": [len(count.tasks) for count in (rest, *counts)],
        "memory, MB": [count.memory_kb // 1024 for count in (rest, *counts)],
        "objects": [count.objects for count in (rest, *counts)],
        "files": [count.files for count in (rest, *counts)],
    }
