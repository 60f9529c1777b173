"""What was said while the bot was down is answered once, whatever became of its file."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City
from tests.adapter.matrix.house import CHECKPOINT, House, built
from tests.people import Person


@pytest.fixture
async def house(city: City, tmp_path: Path, homeserver: Homeserver) -> House:
    return await built(city, tmp_path, homeserver.url)


def counted(*words: str) -> list[str]:
    """What echo answers to the words of one conversation."""
    return [f"{number}: {word}" for number, word in enumerate(words, 1)]


# --- said while the bot was down ------------------------------------------------------


@pytest.mark.parametrize("file", ["intact", "deleted", "old"])
async def test_what_was_said_while_the_bot_was_down(house: House, file: str) -> None:
    """It is answered once, in order; an edit and a notice are not, nor anything old.

    The old file is from before most of what was answered since."""
    async with house.bot():
        await house.says("apricot")
        await house.hears("1: apricot")
    house.keep_copy()
    async with house.bot():
        await house.says("bilberry", "cloudberry")
        await house.hears("2: bilberry", "3: cloudberry")
    if file == "deleted":
        house.city.forget()
    elif file == "old":
        house.restore_copy()
    [event_id] = await house.says("damson")
    edit = {"rel_type": "m.replace", "event_id": event_id}
    await house.alice.say(house.chat, "* elderberry", relates_to=edit)
    await house.alice.say(house.chat, "fig", msgtype="m.notice")
    await house.says("gooseberry")
    async with house.bot() as process:
        await house.hears("4: damson", "5: gooseberry")
        await house.alice.silence(house.chat, until=process.terminate())
    words = ("apricot", "bilberry", "cloudberry", "damson", "gooseberry")
    assert await house.answers() == counted(*words)


async def test_a_long_absence(house: House) -> None:
    """110 words, more than any timeline holds, are answered in order, each once; and
    somebody else's single one is, too."""
    city = house.city
    owner, _, [other] = await city.home("bob")
    bob = Person(owner)
    async with house.bot():
        await house.says("apricot")
        await house.hears("1: apricot")
    words = [f"quince-{number}" for number in range(110)]
    await house.says(*words)
    await bob.say(other, "medlar")
    async with house.bot():
        assert [one["body"] for one in await bob.hears(other)] == ["1: medlar"]
        await house.alice.hears(house.chat, 110)
    assert await house.answers() == counted("apricot", *words)


async def test_an_invitation_outlives_a_start_that_was_killed(house: House) -> None:
    """It came before the first start, which wrote its position and died: the next one
    answers it, though no stream shows it any more."""
    direct = await house.alice.direct(house.city.bot)
    token = (await house.city.bot.sync())["next_batch"]
    first = {"v": 1, "n": 1, "token": token, "instance": str(uuid4())}
    await house.city.bot.put_account_data(CHECKPOINT, first)
    async with house.bot():
        await house.alice.sees(direct, house.city.bot)
        await house.alice.hears(direct)


# --- the position ---------------------------------------------------------------------


async def test_account_data_that_was_set_back(house: House) -> None:
    """The server is believed: what it says was not handled is handled again, and nobody
    hears an answer twice."""
    async with house.bot():
        before = await house.position()
        await house.says("apricot", "bilberry")
        await house.hears("1: apricot", "2: bilberry")
    async with house.bot():
        await house.says("cloudberry")
        await house.hears("3: cloudberry")
    assert before is not None
    await house.city.bot.put_account_data(CHECKPOINT, before)
    await house.says("damson")
    async with house.bot() as process:
        await house.hears("4: damson")
        await house.alice.silence(house.chat, until=process.terminate())
    words = ("apricot", "bilberry", "cloudberry", "damson")
    assert await house.answers() == counted(*words)


@pytest.mark.parametrize("token", ["nonsense", "1-abcdefgh_12.34"])
async def test_a_position_of_another_server(house: House, token: str) -> None:
    """The stream starts afresh: nothing is replayed, and what is said now is answered."""
    async with house.bot():
        await house.says("apricot")
        await house.hears("1: apricot")
    found = await house.position()
    assert found is not None
    further = {**found, "n": found["n"] + 10, "token": token}
    await house.city.bot.put_account_data(CHECKPOINT, further)
    async with house.bot() as process:
        await process.logged("live stream starts afresh")
        await house.says("bilberry")
        await house.hears("2: bilberry")
    assert await house.answers() == counted("apricot", "bilberry")
    found = await house.position()
    assert found is not None
    assert found["token"] != token


async def test_a_position_ahead_of_the_server(house: House) -> None:
    """A server that lost its newest days takes it without a word: who speaks now is
    answered all the same."""
    async with house.bot():
        await house.says("apricot")
        await house.hears("1: apricot")
    found = await house.position()
    assert found is not None
    number, rest = found["token"][1:].split("_", 1)
    ahead = f"s{int(number) + 1_000_000}_{rest}"
    further = {**found, "n": found["n"] + 10, "token": ahead}
    await house.city.bot.put_account_data(CHECKPOINT, further)
    async with house.bot():
        await house.says("bilberry")
        await house.hears("2: bilberry")
    assert await house.answers() == counted("apricot", "bilberry")


async def test_a_position_of_a_newer_version(house: House) -> None:
    """The bot leaves at once with one sentence, and nothing of it is overwritten."""
    theirs = {"v": 2, "whatever": "it needs"}
    await house.city.bot.put_account_data(CHECKPOINT, theirs)
    async with house.process() as process:
        assert await process.ended() == 1
    assert "upgrade this one" in process.stderr.splitlines()[-1]
    assert await house.position() == theirs
