"""Scenarios 48 and 49: two bots at once, and a pass while a chat is made.

More people at once, and more passes: `tests/adapter/matrix/test_two_at_once.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import City
from tests.adapter.matrix.house import built
from tests.adapter.matrix.landlord import assert_made_once
from tests.adapter.matrix.live import Backend, living
from tests.people import Person


@pytest.mark.scenario(48)
async def test_48_of_two_instances_one_leaves_and_no_word_is_answered_twice(
    city: City, homeserver: Homeserver, tmp_path: Path
) -> None:
    """Of two instances one leaves: on one database the second, on two the older one."""
    house = await built(city, tmp_path, homeserver.url)
    said: list[str] = []

    async def more(count: int) -> None:
        words = [f"quince-{len(said) + number}" for number in range(count)]
        said.extend(words)
        await house.says(*words)

    async with house.process() as older:
        await older.ready()
        async with house.process() as second:
            assert await second.ended() == 1
        [sentence] = second.stderr.splitlines()
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


@pytest.mark.scenario(49)
async def test_49_a_chat_that_is_being_made_is_left_alone_by_passes(
    city: City, platform: Backend
) -> None:
    """Passes all the time while a chat is made: none detached, and no second room."""
    alice = Person(await city.person("alice"))
    all_the_time = ReconcileSettings(interval=0.01, jitter=0.0)
    async with living(city, platform, reconcile=all_the_time):
        direct = await alice.direct(city.bot)
        await alice.hears(direct)
        await alice.say(direct, "!new")
        await alice.hears(direct)
    space, chats = await assert_made_once(city, alice.account, 2)
    assert {city.status(room) for room in (*space, *chats)} == {"pending"}
    await city.settled()
