"""Two of whatever there should be one of: two bots, two passes, a pass and a handler.

Two processes on one database, and the words of one chat while two bots overlap, are
scenario 48; what one program makes while another does is in `test_provisioning`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from adapter.cli.processes import completed
from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import City
from tests.adapter.matrix.house import House, built
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, living, said
from tests.bots import BotProcess
from tests.people import Person

WITHOUT_A_PAUSE = ReconcileSettings(interval=0.01, jitter=0.0)


@pytest.fixture
async def house(city: City, tmp_path: Path, homeserver: Homeserver) -> House:
    return await built(city, tmp_path, homeserver.url)


# --- two processes ----------------------------------------------------------------------


async def test_a_pass_by_hand_beside_a_bot(house: House) -> None:
    """It is refused with a sentence, and the bot goes on."""
    async with house.bot():
        config = str(house.folder / "spacekeeper.yaml")
        command = ("-m", "adapter.cli.main", "--config", config, "reconcile")
        ended = await completed(sys.executable, *command, folder=house.folder)
        await house.says("apricot")
        await house.hears("1: apricot")
    assert (ended.code, ended.stdout) == (1, "")
    [sentence] = ended.stderr.splitlines()
    assert "another process is using" in sentence


@dataclass
class Crowd:
    """Who talks to the bots: alice in her chat, bob who has nothing yet, and carol, who
    wants a second chat."""

    house: House
    bob: Person
    carol: Person
    carols: str
    words: list[str] = field(default_factory=list)

    async def speak(self, count: int) -> None:
        said = len(self.words)
        fresh = [f"quince-{number}" for number in range(said, said + count)]
        self.words += fresh
        await self.house.says(*fresh)

    async def act(self) -> None:
        """Everybody at once, and until they have what they wanted."""
        bot = self.house.city.bot
        await asyncio.gather(self.speak(5), self._comes(bot), self._wants_more(bot))

    async def _comes(self, bot: Account) -> None:
        self.direct = await self.bob.direct(bot)
        await self.bob.hears(self.direct, sender=bot)
        await self.bob.accept(2)

    async def _wants_more(self, bot: Account) -> None:
        await self.carol.say(self.carols, "!new Medlar")
        await self.carol.hears(self.carols, sender=bot)
        await self.carol.accept(1)


async def gathered(house: House) -> Crowd:
    """They have all their rooms from before, and the bot knows what is history."""
    bob, (carol, _, [carols]) = await asyncio.gather(
        house.city.person("bob"), house.city.home("carol")
    )
    async with house.bot():
        pass
    return Crowd(house, Person(bob), Person(carol), carols)


Start = Callable[[House], AbstractAsyncContextManager[list[BotProcess]]]


@asynccontextmanager
async def staggered(house: House) -> AsyncIterator[list[BotProcess]]:
    async with house.process() as older:
        await older.ready()
        async with house.process(database="other/bot.db") as newer:
            yield [older, newer]


@asynccontextmanager
async def together(house: House) -> AsyncIterator[list[BotProcess]]:
    # A config file each, and one platform: it knows what it has answered.
    other = replace(house, folder=house.folder / "other")
    other.folder.mkdir()
    platform = {"path": str(house.folder / "echo.db")}
    async with house.process() as one, other.process(platform=platform) as two:
        yield [one, two]


@pytest.mark.parametrize("start", [staggered, together])
async def test_two_databases_of_one_account(house: House, start: Start) -> None:
    """People come, talk and get chats while two bots overlap, started one after the other
    or both at once: one leaves, and nobody is given or told anything twice."""
    crowd, city = await gathered(house), house.city
    async with start(house) as bots:
        left, _ = await asyncio.gather(first_to_end(bots), crowd.act())
        [stays] = [bot for bot in bots if bot is not left]
        await crowd.speak(2)
        await house.alice.hears(house.chat, len(crowd.words))
        await house.alice.silence(house.chat, until=stays.terminate())
    assert (await left.ended(), await stays.ended()) == (1, 0)
    assert "has taken over" in left.stderr.splitlines()[-1]
    assert start is together or left is bots[0]

    counted = [f"{n}: {word}" for n, word in enumerate(crowd.words, 1)]
    assert await house.answers() == counted
    told = [await said(city, room) for room in (crowd.direct, crowd.carols)]
    assert [(answers, len(notices)) for answers, notices in told] == [([], 1)] * 2
    await assert_in_use(city, crowd.bob.account, chats=1)
    await assert_in_use(city, crowd.carol.account, chats=2)


async def first_to_end(bots: Sequence[BotProcess]) -> BotProcess:
    ends = {asyncio.create_task(bot.ended()): bot for bot in bots}
    over, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    [ended] = over
    return ends[ended]


async def assert_in_use(city: City, owner: Account, chats: int) -> None:
    """By what Matrix says, the owner has one Space and its chats, and was never shown
    another: whatever two bots both made, one of the two stayed empty."""
    rows = (await city.rebuilt()).items()
    theirs = {room: row for room, row in rows if row["matrix_user_id"] == owner.user_id}
    used = {room: row for room, row in theirs.items() if row["status"] == "active"}
    numbers = [row["chat_id"] for row in used.values() if row["room_type"] == "chat"]
    assert sorted(numbers) == [f"C{number}" for number in range(1, chats + 1)]
    [space] = (room for room, row in used.items() if row["room_type"] == "space")
    assert {row["space_id"] for row in used.values()} == {None, space}
    assert [row["reason"] for row in theirs.values() if row["status"] != "active"] == (
        ["duplicate"] * (len(theirs) - len(used))
    )
    for room in theirs:
        there = await city.membership(room, owner)
        assert there == ("join" if room in used else None)


# --- a pass, and whoever is at work -----------------------------------------------------


async def test_passes_without_a_pause(city: City) -> None:
    """While the timer fires all the time, somebody comes, and somebody makes, names,
    resets and archives chats and talks in all of them: everything is done once."""
    platform = Backend()
    (owner, space, [chat]), stranger = await asyncio.gather(
        city.home("alice"), city.person("bob")
    )
    alice, bob = Person(owner), Person(stranger)

    async def comes() -> None:
        direct = await bob.direct(city.bot)
        await bob.hears(direct, sender=city.bot)
        await bob.accept(2)
        [own] = (await home_of(city, stranger)).chats
        await bob.say(own, "plum")
        await bob.hears(own, sender=city.bot)

    async def makes_and_archives() -> None:
        for number in (2, 3):
            await alice.say(chat, "!new")
            [new] = await alice.accept(1)
            made.append(new)
            await alice.say(new, f"fig {number}")
        await alice.say(made[0], "!archive")
        await alice.say(chat, "!rename Medlar")
        await alice.say(chat, "quince")
        await alice.say(chat, "!reset")
        await alice.say(chat, "damson")
        await alice.hears(chat, 6, sender=city.bot)
        await alice.hears(made[0], 2, sender=city.bot)
        await alice.hears(made[1], sender=city.bot)

    made: list[str] = []
    async with living(city, platform, reconcile=WITHOUT_A_PAUSE):
        await asyncio.gather(comes(), makes_and_archives())
    assert [len(events) for events in platform.heard.values()] == [1] * 5
    assert (await said(city, chat)).answers == ["1: quince", "1: damson"]
    assert [(await said(city, room)).answers for room in made] == [
        ["1: fig 2"],
        ["1: fig 3"],
    ]
    assert city.status(made[0]) == "detached: unlinked"
    home = await home_of(city, owner)
    assert (home.spaces, set(home.chats)) == ([space], {chat, *made})
    theirs = await home_of(city, stranger)
    assert [len(rooms) for rooms in theirs] == [1, 1]
    assert (await said(city, *theirs.chats)).answers == ["1: plum"]
    passes = city.query("SELECT count(*) FROM passes")
    assert passes > [(10,)]
    await city.settled()
