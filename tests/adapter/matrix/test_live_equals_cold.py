"""What is kept live is what a cold start makes, whatever people do.

`SOAK=all` is the whole size, of thousands of moves that are others each time; without it,
a hundred moves, the same in each run."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import pytest
from hypothesis.stateful import rule

from adapter.cli.account import Account, CallFailed, Json, http_session
from adapter.cli.homeserver import Homeserver
from adapter.matrix.reconciler import Reconciler
from tests.adapter.matrix.city import BINDING, IDENTITY, city_of
from tests.adapter.matrix.hearing import Hearing
from tests.adapter.matrix.tenancy import File, Tenancy
from tests.faults.machine import NUMBER, Machine, walk
from tests.faults.moves import MOVES, SPACE, VERSIONS, World, chosen, name
from tests.people import Person

COMMANDS: Final = (
    "!new", "!new Plum", "!archive", "!restore C1", "!restore C2", "!rename Fig",
    "!reset", "!chats",
)  # fmt: skip


class Size(NamedTuple):
    """How many worlds there are, in parts that run side by side, and how much happens."""

    parts: int
    worlds: int
    moves: int
    """At least, in all worlds of a part."""


SOAK: Final = os.environ.get("SOAK") == "all"
SIZE: Final = Size(2, 32, 1000) if SOAK else Size(1, 3, 100)
STEPS: Final = 40
"""Of each world: more than thirty are moves that somebody could make."""

DIRECTS: Final = 2
"""Direct chats of one person: more invitations in an hour may be left open."""

_numbers = itertools.count(1)


class Tenants(Machine):
    """Alice's rooms say whose they are, bob's do not; carol has none."""

    bot: Tenancy

    def __init__(self, homeserver: Homeserver, folder: Path) -> None:
        super().__init__()
        self._homeserver = homeserver
        self._folder = folder
        self._stack = AsyncExitStack()
        self._conversations: dict[str, str] = {}
        self._directs: Counter[str] = Counter()

    async def begin(self, chance: Random) -> None:
        self._folder.mkdir()
        session = await self._stack.enter_async_context(http_session())

        async def account(localpart: str = "person", /) -> Account:
            login = await self._homeserver.register(
                f"{localpart}-tenant-{next(_numbers)}"
            )
            return Account(self._homeserver.url, login, session)

        city = await self._stack.enter_async_context(
            city_of(account, await account("bot"), self._folder)
        )
        (witness, home, [window]), alices, bobs, carol = await asyncio.gather(
            city.home("witness"),
            city.home("alice", 2, version=chance.choice(VERSIONS)),
            city.old_home("bob", 2, version=chance.choice(VERSIONS)),
            city.person("carol"),
        )
        (alice, *_), (bob, *_) = alices, bobs
        self.city = city
        self.bot = Tenancy(city, Person(witness), window)
        self.hearing = Hearing(city.bot, self.bot.platform, window)
        self.world = World(city.bot, [alice, bob, carol], beloved={home, window})
        for _, space, chats in (alices, bobs):
            for room in (space, *chats):
                await self.world.know(room)
        await self.hearing.look()
        await self.bot.start()
        self.runs = True
        await self.bot.settle()
        self.bot.keep()

    async def end(self) -> None:
        async with self._stack:
            await super().end()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not others, others
            await self.hearing.look()
            self.hearing.conclude()

    # What must hold

    async def follow(self, chance: Random) -> None:
        """Somebody says a word where something was just done, or elsewhere."""
        around = {self.world.touched} if chance.random() < 0.7 else None
        async for view in self.world.views(chance, around):
            if inside := view.people("join"):
                await _maybe(self.hearing.say(chance.choice(inside), view.room))
                return

    async def judge(self) -> None:
        rows = await self.bot.live()
        await self.hearing.judge(rows)
        twice = "SELECT platform_chat_id FROM chats GROUP BY 1 HAVING count(*) > 1"
        assert self.city.query(twice) == []
        owners: dict[str, str] = {}
        for room, row in rows.items():
            conversation = row["platform_chat_id"]
            if conversation is None:
                continue
            owner = owners.setdefault(conversation, row["matrix_user_id"])
            assert owner == row["matrix_user_id"], row
            had = self._conversations.get(room, conversation)
            if conversation != had:
                # Rule 4: a room where the bot may write nothing has what its row says,
                # until one that says so of itself is in use again.
                holders = [r for r in rows.values() if r["platform_chat_id"] == had]
                assert any(one["status"] != "detached" for one in holders), row
            self._conversations[room] = conversation

    # Moves that only this bot knows

    @rule(number=NUMBER)
    def command(self, number: int) -> None:
        """The owner of a chat gives a command there."""

        async def command(world: World, chance: Random) -> str | None:
            chats = await self._chats_of_people()
            if not chats:
                return None
            owner, room = chance.choice(chats)
            text = chance.choice(COMMANDS)
            if text == "!reset":
                self._conversations.clear()
            await self.hearing.asks(owner, room, text)
            world.touched = room
            return f"{name(owner)} says {text} in {world.called(room)}"

        self.move(command, number)

    @rule(number=NUMBER)
    def direct(self, number: int) -> None:
        """Somebody starts a direct chat with the bot."""

        async def direct(world: World, chance: Random) -> str | None:
            who = chance.choice(world.people)
            if self._directs[who.user_id] == DIRECTS:
                return None
            self._directs[who.user_id] += 1
            room = await who.direct(world.bot.user_id)
            self.hearing.asked[room] += 1
            await self.hearing.noticed(room, 1)
            await world.know(room)
            world.touched = room
            return f"{name(who)} starts a direct chat, {world.called(room)}"

        self.move(direct, number)

    @rule(number=NUMBER)
    def twin(self, number: int) -> None:
        """Another instance made a Space or a chat that is there already."""

        async def twin(world: World, chance: Random) -> str | None:
            rooms = [room for room in world.rooms if room in world.spaces]
            twins = [one for one in world.rooms if await self._identity(one)]
            if not twins:
                return None
            twin = chance.choice(twins)
            identity = await self._identity(twin)
            kind = SPACE if twin in world.spaces else None
            link = chance.choice([None, *rooms]) if kind is None else None
            room = await world.bot.create_room(
                room_type=kind, creation_content={IDENTITY: identity}
            )
            if link:
                try_link = world.bot.link(link, room)
                await _maybe(try_link)
            await world.know(room)
            world.touched = room
            return f"{world.called(room)} is a twin of {world.called(twin)}"

        self.move(twin, number)

    @rule(number=NUMBER)
    def old_room(self, number: int) -> None:
        """An older bot made a chat that says nothing, and linked it somewhere."""

        async def old_room(world: World, chance: Random) -> str | None:
            who = chance.choice(world.people)
            spaces = [room for room in world.rooms if room in world.spaces]
            space = chance.choice(spaces)
            room = await self.city.room(who, version=chance.choice(VERSIONS))
            await _maybe(world.bot.link(space, room))
            await world.know(room)
            world.touched = room
            return f"{world.called(room)}, of an older bot, for {name(who)} in {world.called(space)}"

        self.move(old_room, number)

    @rule(number=NUMBER)
    def forge(self, number: int) -> None:
        """Somebody writes what looks like the bot's own markers."""

        async def forge(world: World, chance: Random) -> str | None:
            async for view in world.views(chance):
                who = chance.choice(world.people)
                if view.membership(who) != "join":
                    continue
                content = {"v": 1, "platform_chat_id": "forged", "owner": who.user_id}
                key = chance.choice(("", who.user_id))
                call = who.put_state(view.room, BINDING, content, key)
                if told := await view.do(f"{name(who)} forges a binding", call):
                    return told
            who = chance.choice(world.people)
            identity = {"v": 1, "kind": "space", "owner": who.user_id}
            await who.create_room(
                room_type=SPACE,
                creation_content={IDENTITY: identity},
                invite=[world.bot.user_id],
            )
            return f"{name(who)} forges a Space"

        self.move(forge, number)

    @rule(number=NUMBER)
    def timer(self, number: int) -> None:
        async def timer(world: World, chance: Random) -> str | None:
            self.bot.look_at_everything()
            return "the bot looks at everything"

        self.move(timer, number)

    @rule(number=NUMBER)
    def keep(self, number: int) -> None:
        """The file of this moment is what a backup has."""
        self.bot.keep()

    @rule(number=NUMBER)
    def restart(self, number: int) -> None:
        """The bot is stopped, people go on, and it starts with some file."""
        chance = chosen(number)
        files: tuple[File, ...] = ("kept", "lost", "old")
        file = chance.choice(files)
        self.run(self._sleep())
        for _ in range(chance.randrange(3)):
            self.move(MOVES[chance.choice(sorted(MOVES))], chance.randrange(9999))

        async def restart(world: World, chance: Random) -> str | None:
            self.bot.find(file)
            await self.bot.start()
            self.runs = True
            return f"the bot starts again, its file {file}"

        self.move(restart, number)

    async def _sleep(self) -> None:
        self.told.append("the bot stops")
        self.runs = False
        await self.bot.stop()

    async def _chats_of_people(self) -> list[tuple[Account, str]]:
        """Owners with a chat of theirs in which the bot hears their commands."""
        people = {one.user_id: one for one in self.world.people}
        rows = await self.bot.live()
        return [
            (people[row["matrix_user_id"]], room)
            for room, row in rows.items()
            if row["status"] == "active"
            and row["room_type"] == "chat"
            and row["matrix_user_id"] in people
            and room in self.world.rooms
        ]

    async def _identity(self, room: str) -> Json:
        """What the room says of itself since its first instant, to be said again."""
        content = await _maybe(self.city.has(room, "m.room.create")) or {}
        identity = content.get(IDENTITY) or {}
        return {key: value for key, value in identity.items() if key != "request"}


async def _maybe(call: Awaitable[object]) -> Json | None:
    """What the call gives; nothing if the server refuses."""
    try:
        found = await call
    except CallFailed:
        return None
    return found if isinstance(found, dict) else None


@pytest.fixture(autouse=True)
def _either_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start, or the timer, looks at everything or at what changed: as chance has it."""
    dice = Random(7)  # noqa: S311 - the same in each run
    monkeypatch.setattr(Reconciler, "is_outdated", lambda *_: dice.random() < 0.5)


@pytest.mark.parametrize("part", range(SIZE.parts))
def test_live_equals_cold(
    homeserver: Homeserver, tmp_path: Path, figures: dict[str, object], part: int
) -> None:
    """Whatever people do, a cold start over it makes the rows that the bot has live."""
    numbers = itertools.count(1)
    Tenants.taken = Counter()
    try:
        walk(
            lambda: Tenants(homeserver, tmp_path / str(next(numbers))),
            worlds=SIZE.worlds,
            steps=STEPS,
            derandomize=not SOAK,
        )
    finally:
        figures["moves"] = Tenants.taken.total()
        figures["of these"] = dict(sorted(Tenants.taken.items()))
    assert Tenants.taken.total() >= SIZE.moves
