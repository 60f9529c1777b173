"""People hear everything once and in order, and can tell that nothing was said."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cli import people
from adapter.cli.account import Account, Json
from tests.conftest import Accounts
from tests.people import Person


@pytest.fixture
def alice(person: Account) -> Person:
    return Person(person)


@pytest.fixture
async def room(alice: Person, bot: Account) -> str:
    """A direct chat of Alice and the bot, both in it."""
    room = await alice.direct(bot)
    await bot.join(room)
    return room


def bodies(heard: list[Json]) -> list[str]:
    return [content["body"] for content in heard]


# What goes wrong


async def test_hearing_too_little(
    alice: Person, room: str, bot: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits in vain is told what was heard instead; it is not lost by that."""
    await bot.send(room, "one")
    monkeypatch.setattr(people, "PATIENCE", 1)
    with pytest.raises(TimeoutError, match=r"1 of 2 messages(.|\n)*m\.text: one"):
        await alice.hears(room, 2)
    assert bodies(await alice.hears(room)) == ["one"]


async def test_nobody_invites(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure says who has how many invitations."""
    monkeypatch.setattr(people, "PATIENCE", 0.5)
    with pytest.raises(TimeoutError, match="has 0 of 1 invitations"):
        await alice.accept()


async def test_nobody_comes(
    alice: Person, bot: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure says what they are instead."""
    room = await alice.direct(bot)
    monkeypatch.setattr(people, "PATIENCE", 0.5)
    with pytest.raises(TimeoutError, match="is invite and not join"):
        await alice.sees(room, bot)


async def test_no_silence(alice: Person, room: str, bot: Account) -> None:
    """One word too many, said before `until` was over, is found and shown."""
    await alice.say(room, "hello")
    await bot.send(room, "1: hello")
    await alice.hears(room)
    with pytest.raises(AssertionError, match=r"m\.notice: and another thing"):
        await alice.silence(
            room, until=bot.send(room, "and another thing", msgtype="m.notice")
        )


async def test_no_silence_to_somebody_new(
    alice: Person, room: str, bot: Account
) -> None:
    """A client that was just opened sees what stands there, however old its view is."""
    await Person(alice.account).silence(room, until=bot.joined_rooms())
    with pytest.raises(AssertionError, match="too late"):
        await Person(alice.account).silence(room, until=bot.send(room, "too late"))


# Hearing


async def test_a_conversation(alice: Person, room: str, bot: Account) -> None:
    """Word and answer, time and again; a notice is told from a text."""
    for number in (1, 2):
        said = await alice.say(room, "hello")
        assert (await bot.messages(room))[0]["event_id"] == said
        await bot.send(room, f"{number}: hello", msgtype="m.notice")
        [heard] = await alice.hears(room)
        assert (heard["msgtype"], heard["body"]) == ("m.notice", f"{number}: hello")
    await alice.silence(room, until=bot.joined_rooms())


async def test_waiting_for_a_word(alice: Person, room: str, bot: Account) -> None:
    """What is said later is heard as well, without asking again and again."""
    hearing = asyncio.create_task(alice.hears(room, 2))
    await bot.send(room, "one")
    await bot.send(room, "two")
    assert bodies(await hearing) == ["one", "two"]


async def test_more_than_was_asked_for(alice: Person, room: str, bot: Account) -> None:
    """The rest is heard next time."""
    for word in ("one", "two", "three"):
        await bot.send(room, word)
    assert bodies(await alice.hears(room)) == ["one"]
    assert bodies(await alice.hears(room, 2)) == ["two", "three"]


async def test_only_one_of_several(
    accounts: Accounts, alice: Person, room: str, bot: Account
) -> None:
    """What others say is passed over; what this person says is never heard."""
    guest = await accounts("guest")
    await alice.account.invite(room, guest.user_id)
    await guest.join(room)
    await alice.say(room, "hello")
    await guest.send(room, "hi")
    await bot.send(room, "1: hello")
    assert bodies(await alice.hears(room, sender=bot)) == ["1: hello"]
    await alice.silence(room, until=bot.joined_rooms())


async def test_what_was_taken_back(alice: Person, room: str, bot: Account) -> None:
    """A message that was redacted before it was heard is no message."""
    await bot.redact(room, await bot.send(room, "a slip"))
    await alice.silence(room, until=bot.joined_rooms())


async def test_more_than_one_answer_of_the_server_holds(
    alice: Person, room: str, bot: Account
) -> None:
    """Two hundred and fifty words that were said meanwhile arrive whole, in order, once."""
    await bot.send(room, "before")
    assert bodies(await alice.hears(room)) == ["before"]
    words = [str(number) for number in range(250)]
    for word in words:
        await bot.send(room, word)
    assert bodies(await alice.hears(room, 250)) == words
    await alice.silence(room, until=bot.joined_rooms())


async def test_what_was_said_before_one_joined(alice: Person, bot: Account) -> None:
    """It stands in the room, so it is heard."""
    room = await bot.create_room(invite=[alice.user_id])
    await bot.send(room, "welcome")
    assert await alice.accept() == [room]
    assert bodies(await alice.hears(room)) == ["welcome"]


# Rooms


async def test_invitations(alice: Person, bot: Account) -> None:
    """They are waited for, joined once, and those that were withdrawn are gone."""
    withdrawn = await bot.create_room(invite=[alice.user_id])
    assert await alice.invited() == [withdrawn]
    await bot.kick(withdrawn, alice.user_id)
    waiting = asyncio.create_task(alice.accept(2))
    rooms = [await bot.create_room(invite=[alice.user_id]) for _ in range(2)]
    assert sorted(await waiting) == sorted(rooms)
    assert sorted(await alice.account.joined_rooms()) == sorted(rooms)
    last = await bot.create_room(invite=[alice.user_id])
    assert await alice.invited() == [last]


async def test_who_comes_and_goes(alice: Person, bot: Account) -> None:
    """A person sees the other one join, and leave, or be declined."""
    room = await alice.direct(bot)
    await alice.sees(room, bot, "invite")
    await bot.join(room)
    await alice.sees(room, bot)
    await bot.leave(room)
    await alice.sees(room, bot, "leave")


async def test_being_thrown_out(alice: Person, bot: Account) -> None:
    """The last that is seen of a room is one's own end there."""
    room = await bot.create_room(invite=[alice.user_id])
    await alice.accept()
    await bot.send(room, "goodbye")
    await bot.kick(room, alice.user_id)
    assert bodies(await alice.hears(room)) == ["goodbye"]
    await alice.sees(room, alice.account, "leave")
