"""The machine with somebody else's bot: what people find in it, and what mends it."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from random import Random

import pytest

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import Homeserver
from tests.faults import machine, naive_bot
from tests.faults.machine import Machine, Rows, walk
from tests.faults.moves import SPACE, Move, World
from tests.people import Person


class Naive:
    """The bot under test: in this process and loop. The witness talks to it in a room that
    nobody touches: who is answered there knows that it has seen all that was before."""

    def __init__(
        self,
        account: Account,
        file: Path,
        witness: Person,
        window: str,
        *,
        careful: bool,
    ) -> None:
        self.login = {
            "homeserver": account.url,
            "user_id": account.user_id,
            "device_id": account.login.device_id,
            "access_token": account.login.access_token,
        }
        self.file, self.careful = file, careful
        self.witness, self.window = witness, window

    async def start(self) -> None:
        ready = asyncio.Event()
        run = naive_bot.run(self.login, self.file, self.careful, ready.set)
        self.life = asyncio.create_task(run)
        await ready.wait()

    async def stop(self) -> None:
        self.life.cancel()
        await asyncio.wait([self.life])

    async def settle(self) -> None:
        await self.witness.say(self.window, "are you there?")
        await self.witness.hears(self.window)

    async def live(self) -> Rows:
        return _rows(self.file)

    async def cold(self) -> Rows:
        fresh = self.file.with_name("fresh.db")
        fresh.unlink(missing_ok=True)
        async with naive_bot.opened(self.login, fresh) as (client, database):
            await naive_bot.begin(client, database, self.careful)
        return _rows(fresh)

    async def unlike(self, live: Rows, cold: Rows) -> Mapping[str, object]:
        return {
            room: f"live {live.get(room)}, cold {cold.get(room)}"
            for room in live.keys() | cold.keys()
            if live.get(room) != cold.get(room)
        }


def _rows(file: Path) -> Rows:
    with closing(sqlite3.connect(file)) as database:
        found = database.execute("SELECT id, name FROM rooms").fetchall()
    return {room: {"name": name} for room, name in found}


class Rooms(Machine):
    """Alice and bob have a Space and two rooms together with the bot."""

    def __init__(self, homeserver: Homeserver, file: Path, *, careful: bool) -> None:
        super().__init__()
        self.homeserver, self.file, self.careful = homeserver, file, careful
        self.stack = AsyncExitStack()

    async def begin(self, chance: Random) -> None:
        session = await self.stack.enter_async_context(http_session())

        async def account(name: str) -> Account:
            login = await self.homeserver.register(f"{name}-of-{self.file.stem}")
            return Account(self.homeserver.url, login, session)

        bot, alice, bob, carol = [
            await account(name) for name in ("bot", "alice", "bob", "carol")
        ]
        witness = Person(carol)
        window = await witness.direct(bot)
        await bot.join(window)
        self.world = World(bot, [alice, bob], beloved={window})
        for kind in (SPACE, None, None):
            people = [alice.user_id, bob.user_id]
            room = await bot.create_room(room_type=kind, version="11", invite=people)
            await alice.join(room)
            await self.world.know(room)
        self.bot = Naive(bot, self.file, witness, window, careful=self.careful)
        await self.bot.start()
        self.runs = True

    async def end(self) -> None:
        async with self.stack:
            await super().end()


def let_people_do_what_they_like(
    homeserver: Homeserver, folder: Path, *, careful: bool
) -> None:
    numbers, kind = itertools.count(1), "careful" if careful else "naive"
    Rooms.taken = Counter()

    def world() -> Rooms:
        file = folder / f"{kind}-{next(numbers)}.db"
        return Rooms(homeserver, file, careful=careful)

    walk(world, worlds=2, steps=12, derandomize=True)


def test_what_people_find_in_an_ordinary_bot(
    homeserver: Homeserver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps what a batch said: rooms that it was thrown out of, names that are gone."""
    monkeypatch.setattr(machine, "PATIENCE", 3.0)
    with pytest.raises(AssertionError, match="live is not cold"):
        let_people_do_what_they_like(homeserver, tmp_path, careful=False)


def test_what_mends_it(homeserver: Homeserver, tmp_path: Path) -> None:
    """If it asks what there is, people may do what they like."""
    let_people_do_what_they_like(homeserver, tmp_path, careful=True)
    assert Rooms.taken.total() >= 12


def test_a_failure_that_comes_but_once_is_told_with_its_moves() -> None:
    numbers = itertools.count(1)

    class Moody(Machine):
        async def begin(self, chance: Random) -> None:
            pass

        async def _move(self, move: Move, chance: Random) -> None:
            self.told.append(move.__name__)
            assert next(numbers) != 5, "live is not cold"

    with pytest.raises(AssertionError, match="live is not cold") as failed:
        walk(Moody, worlds=2, steps=9, derandomize=True)
    (moves,) = failed.value.__notes__
    assert len(moves.split()) == 5


def test_so_is_one_that_comes_in_no_move() -> None:
    numbers = itertools.count(1)

    class Moody(Machine):
        async def begin(self, chance: Random) -> None:
            pass

        async def _move(self, move: Move, chance: Random) -> None:
            self.told.append(move.__name__)

        async def end(self) -> None:
            if next(numbers) == 1:
                msg = "the bot has ended with 1"
                raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="the bot has ended with 1") as failed:
        walk(Moody, worlds=2, steps=9, derandomize=True)
    assert failed.value.__notes__
