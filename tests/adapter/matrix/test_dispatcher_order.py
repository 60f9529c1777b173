"""What is said is settled once and in order, whatever else goes on, fails or ends."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from adapter.cli.account import Account
from adapter.matrix import bot
from adapter.matrix.dispatcher import Dispatcher, Message
from adapter.matrix.handlers import chat as chat_handler
from adapter.matrix.wire import Wire
from adapter.platform.base import PlatformBusy, PlatformRefused
from tests.adapter.matrix.city import CHILD, City, conversation
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.people import Person

CHECKPOINT = "io.spacekeeper.checkpoint"


@pytest.fixture
def platform() -> Backend:
    return Backend()


def bodies(heard: list[dict[str, Any]]) -> list[str]:
    return [content["body"] for content in heard]


async def kept(city: City) -> str:
    """The position that the bot keeps, where the next stream begins."""
    token: str = (await city.bot.account_data(CHECKPOINT))["token"]
    return token


async def rewind(city: City, token: str) -> None:
    """Set the position back, in the file and on the server, as if it had been killed."""
    city.spoil("UPDATE position SET token = :token", token=token)
    newest = await city.bot.account_data(CHECKPOINT)
    await city.bot.put_account_data(CHECKPOINT, newest | {"token": token})


# --- what fails ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [PlatformBusy("it is away"), PlatformRefused("it is broken"), RuntimeError("ours")],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_platform_that_does_not_answer(
    city: City, platform: Backend, fault: Exception
) -> None:
    """The room is told, no other room notices, and the next word is answered."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    platform.fault = fault
    async with living(city, platform):
        lost = await alice.say(chat, "hello")
        (notice,) = await alice.hears(chat)
        platform.fault = None
        word = await alice.say(chat, "hello again")
        (answer,) = await alice.hears(chat)
    assert notice["msgtype"] == "m.notice"
    assert str(fault) not in notice["body"]
    assert (answer["msgtype"], answer["body"]) == ("m.text", "2: hello again")
    assert platform.heard == {conversation(owner, 1): [lost, word]}


async def test_an_event_that_breaks_its_handler(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who would have been answered is told; nothing else in the room or beside it stops."""
    (owner, _, (chat, other)), bob = await asyncio.gather(
        city.home("alice", 2), city.person("bob")
    )
    alice, guest = Person(owner), Person(bob)
    await city.bot.invite(chat, guest.user_id)
    await bob.join(chat)
    company = await owner.create_room(invite=[city.bot.user_id, bob.user_id])
    await city.bot.join(company)
    await bob.join(company)
    handled = Dispatcher._heard

    async def breaking(self: Dispatcher, item: Message) -> None:
        if item.event["content"]["body"] == "poison":
            raise LookupError("a bug")
        await handled(self, item)

    monkeypatch.setattr(Dispatcher, "_heard", breaking)
    async with living(city, platform):
        await alice.say(company, "poison")
        await guest.say(chat, "poison")
        await alice.say(chat, "poison")
        words = await exchange(alice, chat), await exchange(alice, other)
    answers, notices = await said(city, chat)
    assert (len(answers), len(notices)) == (1, 1)
    assert "was not done" in notices[0]
    assert await said(city, company) == ([], [])
    assert platform.heard == {
        conversation(owner, n): [word] for n, word in enumerate(words, 1)
    }


async def test_somebody_comes_while_the_bot_asks_who_is_there(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that was overtaken is not kept: with three, the bot is silent."""
    (owner, _, (chat,)), bob = await asyncio.gather(
        city.home("alice"), city.person("bob")
    )
    alice = Person(owner)
    room = await owner.create_room(invite=[bob.user_id, city.bot.user_id])
    await city.bot.join(room)
    asked, overtaken = asyncio.Event(), asyncio.Event()
    members = Wire.joined_members

    async def slow(self: Wire, room_id: str) -> frozenset[str]:
        found = await members(self, room_id)
        asked.set()
        await overtaken.wait()
        return found

    monkeypatch.setattr(Wire, "joined_members", slow)
    async with living(city, platform):
        await alice.say(room, "!help")
        await asked.wait()
        await bob.join(room)
        await exchange(alice, chat)
        overtaken.set()
        await alice.hears(room)
        await alice.say(room, "!help")
        await exchange(alice, chat)
    assert len((await said(city, room)).notices) == 1


# --- in order --------------------------------------------------------------------------


async def test_a_slow_platform(city: City, platform: Backend) -> None:
    """What is said meanwhile in its room waits, and is answered in order; others go on."""
    (owner, _, (chat, other)), (bob, _, (bobs,)) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    alice = Person(owner)
    platform.hold("slow")
    async with living(city, platform):
        await alice.say(chat, "slow")
        await alice.say(chat, "quick")
        await platform.asked("slow")
        await asyncio.gather(exchange(alice, other), exchange(Person(bob), bobs))
        assert (await said(city, chat)).answers == []
        platform.release("slow")
        assert bodies(await alice.hears(chat, 2)) == ["1: slow", "2: quick"]


async def test_typing(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the platform is at work the room sees it, and no longer."""
    # Far longer than the test waits: it has to be taken back.
    monkeypatch.setattr(chat_handler, "LASTS", 600_000)
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    platform.hold("slow")
    async with living(city, platform):
        since = (await owner.sync())["next_batch"]
        await alice.say(chat, "slow")
        since = await _typing(owner, chat, since, [city.bot.user_id])
        platform.release("slow")
        await _typing(owner, chat, since, [])
        assert bodies(await alice.hears(chat)) == ["1: slow"]


async def _typing(account: Account, room: str, since: str, wanted: list[str]) -> str:
    """Return the position at which these are the ones who type in the room."""
    async with asyncio.timeout(60):
        while True:
            news = await account.sync(since, wait_ms=10_000)
            since = news["next_batch"]
            about = news.get("rooms", {}).get("join", {}).get(room, {})
            for event in about.get("ephemeral", {}).get("events", ()):
                typing = event["type"] == "m.typing"
                if typing and event["content"]["user_ids"] == wanted:
                    return since


# --- topology first --------------------------------------------------------------------


async def test_a_word_after_its_room_was_unlinked(
    city: City, platform: Backend
) -> None:
    """Whether live or after a start, the topology counts first, a redaction too."""
    owner, space, (first, second, other) = await city.home("alice", 3)
    alice = Person(owner)
    async with living(city, platform):
        pass
    await alice.say(first, "said before")
    await city.bot.unlink(space, first)
    links = (await city.server())[space]
    async with living(city, platform):
        await city.bot.redact(space, links[CHILD, second])
        await alice.say(second, "hello")
        word = await exchange(alice, other)
    for room in (first, second):
        assert city.status(room) == "detached: unlinked"
        answers, notices = await said(city, room)
        assert answers == []
        assert len(notices) == 1
    assert platform.heard == {conversation(owner, 3): [word]}
    await city.settled()


async def test_the_owner_is_thrown_out(city: City, platform: Backend) -> None:
    """Nobody is answered in the room then, and they are when the owner is back."""
    (owner, _, (chat, other)), bob = await asyncio.gather(
        city.home("alice", 2), city.person("bob")
    )
    alice, guest = Person(owner), Person(bob)
    await city.bot.invite(chat, bob.user_id)
    await bob.join(chat)
    async with living(city, platform, routing="members"):
        await city.bot.kick(chat, alice.user_id)
        await guest.say(chat, "hello")
        elsewhere = await exchange(alice, other)
        assert city.status(chat) == "detached: owner_left"
        assert await said(city, chat) == ([], [])
        await city.bot.invite(chat, alice.user_id)
        await owner.join(chat)
        word = await exchange(guest, chat)
    assert platform.heard == {
        conversation(owner, 2): [elsewhere],
        conversation(owner, 1): [word],
    }
    await city.settled()


# --- again -----------------------------------------------------------------------------


async def test_stopped_in_the_middle(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the platform took too long for is answered after the next start, in order."""
    monkeypatch.setattr(bot, "PATIENCE", 0.1)
    owner, _, (chat, other) = await city.home("alice", 2)
    alice = Person(owner)
    platform.hold("slow")
    async with living(city, platform):
        words = [await alice.say(chat, text) for text in ("slow", "quick")]
        await platform.asked("slow")
        elsewhere = await exchange(alice, other)
    platform.release("slow")
    assert await said(city, chat) == ([], [])
    async with living(city, platform):
        assert bodies(await alice.hears(chat, 2)) == ["1: slow", "2: quick"]
    assert platform.heard == {
        conversation(owner, 1): words,
        conversation(owner, 2): [elsewhere],
    }
    assert (await said(city, other)).answers == ["1: ping"]


async def test_what_was_handled_comes_again(city: City, platform: Backend) -> None:
    """Each word is one turn and one answer, each pointer and command done once."""
    owner, space, (chat, archived) = await city.home("alice", 2)
    alice = Person(owner)
    await city.bot.unlink(space, archived)
    async with living(city, platform):
        pass
    start = await kept(city)
    async with living(city, platform):
        direct = await alice.direct(city.bot)
        await alice.hears(direct)
        await alice.say(direct, "!new Travel")
        await alice.hears(direct)
        await alice.say(archived, "hello")
        words = [await exchange(alice, chat) for _ in range(2)]
    rooms = chat, archived, direct
    before = [await said(city, room) for room in rooms]
    home = await home_of(city, owner)
    assert len(home.chats) == 3
    await rewind(city, start)
    async with living(city, platform):
        words.append(await exchange(alice, chat))
    before[0].answers.append("3: ping")
    assert [await said(city, room) for room in rooms] == before
    assert await home_of(city, owner) == home
    assert platform.heard == {conversation(owner, 1): words}


@pytest.mark.parametrize("lost", [False, True], ids=["file kept", "file lost"])
async def test_a_reset_comes_again(city: City, platform: Backend, lost: bool) -> None:
    """What was said before it stays in the conversation that heard it."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        pass
    start = await kept(city)
    async with living(city, platform):
        for _ in range(2):
            await exchange(alice, chat)
            await alice.say(chat, "!reset")
            await alice.hears(chat)
        await exchange(alice, chat)
    before = {name: list(words) for name, words in platform.heard.items()}
    assert len(before) == 3
    answered = await said(city, chat)
    await rewind(city, start)
    if lost:
        city.forget()
    async with living(city, platform):
        word = await exchange(alice, chat)
    before[city.bound(chat)[-1] or ""].append(word)
    assert platform.heard == before
    answered.answers.append("2: ping")
    assert await said(city, chat) == answered
    await city.settled()


async def test_what_was_said_before_the_bot_came(city: City, platform: Backend) -> None:
    """Old commands are history, when it comes for the first time and when it comes back."""
    alice = Person(await city.person("alice"))
    # Not as in `direct`: who is trusted there, nobody can throw out.
    room = await alice.account.create_room(invite=[city.bot.user_id], is_direct=True)
    await alice.say(room, "!new First")
    async with living(city, platform):
        await alice.hears(room)
        await alice.account.kick(room, city.bot.user_id)
        await alice.say(room, "!new Second")
        invite = {"membership": "invite", "is_direct": True}
        await alice.account.put_state(room, "m.room.member", invite, city.bot.user_id)
        await alice.hears(room)
        await alice.say(room, "!chats")
        (listed,) = await alice.hears(room)
    home = await home_of(city, alice.account)
    assert (len(home.spaces), len(home.chats)) == (1, 1)
    assert quote(home.chats[0], safe="") in listed["body"]
    assert "C2" not in listed["body"]
