"""Scenarios 48 and 49: two bots at once, and a pass while a chat is made.

More people at once, and more passes: `tests/adapter/matrix/test_two_at_once.py`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City
from tests.adapter.matrix.house import built
from tests.adapter.matrix.landlord import assert_made_once, home_of
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living
from tests.adapter.matrix.scene import CREATE_ROOM
from tests.adapter.matrix.test_two_at_once import WITHOUT_A_PAUSE, first_to_end
from tests.conformance.situation import a_chat, a_space, made_for, stays
from tests.faults import After, Proxy
from tests.people import Person


@pytest.mark.scenario(48)
async def test_48_of_two_instances_one_leaves_and_no_word_is_answered_twice(
    city: City, homeserver: Homeserver, tmp_path: Path
) -> None:
    """Of two instances one leaves: on one database the second, on two the older one.

    Of two that start together on one database, it is either."""
    house = await built(city, tmp_path, homeserver.url)
    said: list[str] = []

    async def more(count: int) -> None:
        words = [f"quince-{len(said) + number}" for number in range(count)]
        said.extend(words)
        await house.says(*words)

    # A config file each, and the same database.
    twin = replace(house, folder=tmp_path / "twin")
    twin.folder.mkdir()
    one_file: dict[str, Any] = {
        "database": str(city.path),
        "platform": {"path": str(tmp_path / "echo.db")},
    }
    async with house.process(**one_file) as one, twin.process(**one_file) as other:
        left = await first_to_end([one, other])
        older = other if left is one else one
        await older.ready()
        async with house.process() as second:
            assert await second.ended() == 1
        for refused in (left, second):
            assert await refused.ended() == 1
            [sentence] = refused.stderr.splitlines()
            assert "another process is using" in sentence
        await more(3)
        async with house.bot(database="other/bot.db") as newer:
            await more(10)
            assert await older.ended() == 1
            await more(3)
            await house.alice.hears(house.chat, len(said))
            await house.alice.silence(house.chat, until=newer.terminate())
    assert "has taken over" in older.stderr.splitlines()[-1]
    assert await house.answers() == [f"{n}: {word}" for n, word in enumerate(said, 1)]
    alice = house.alice.account
    [space] = {*await city.bot.joined_rooms()} - {house.chat}
    for file in ("bot.db", "other/bot.db"):
        city.path = tmp_path / file
        await stays(city, {space: a_space(alice), house.chat: a_chat(alice, space, 1)})


@pytest.mark.scenario(49)
async def test_49_a_chat_that_is_being_made_is_left_alone_by_passes(
    city: City, platform: Backend, homeserver: Homeserver
) -> None:
    """Passes all the time while a chat is made: none detached, and no second room."""
    newcomer, (owner, home, [window]) = await asyncio.gather(
        city.person("alice"), city.home("bob")
    )
    alice, bob = Person(newcomer), Person(owner)

    def newest_pass() -> int:
        [(number,)] = city.query("SELECT max(id) FROM passes")
        return int(number)

    async def passes() -> None:
        """One that began before may not see the room; the next one leaves it alone."""
        enough = newest_pass() + 2
        async with asyncio.timeout(PATIENCE):
            while newest_pass() < enough:
                await exchange(bob, window)
        spaces, chats = await home_of(city, newcomer)
        assert len({*spaces, *chats} - city.rows().keys()) == 1

    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        # The room is there, and the bot has not heard so: of the Space and either chat.
        made = proxy.at(CREATE_ROOM, After(passes), times=3)
        async with living(city, platform, reconcile=WITHOUT_A_PAUSE):
            direct = await alice.direct(city.bot)
            await alice.hears(direct)
            await alice.say(direct, "!new")
            await alice.hears(direct)
    assert made.is_struck
    city.client.homeserver = city.bot.url
    await assert_made_once(city, newcomer, 2)
    made_rooms = await made_for(city, newcomer, "pending")
    bobs = {home: a_space(owner), window: a_chat(owner, home, 1)}
    await stays(city, {**made_rooms, **bobs})
