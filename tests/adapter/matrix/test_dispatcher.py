"""Each word reaches exactly its conversation, and where there is none, nobody."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest

from adapter.cli.account import Account
from adapter.config import InviteSettings
from adapter.platform.base import Format, Message
from tests.adapter.matrix.city import (
    BINDING,
    IDENTITY,
    City,
    chat_identity,
    conversation,
)
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.people import Person


@pytest.fixture
def platform() -> Backend:
    return Backend()


def leads_to(notice: str, room: str) -> bool:
    return f"https://matrix.to/#/{quote(room, safe='')}" in notice


# --- no row in use, no call ------------------------------------------------------------


async def test_an_owner_who_has_not_come_yet(city: City, platform: Backend) -> None:
    """A guest is not answered in their place, nor may command; the owner is, once there."""
    alice, space, (chat,) = await city.home("alice")
    guest = Person(await city.person("guest"))
    waiting = await city.chat(alice, space, 2, join=False)
    await city.bot.invite(waiting, guest.user_id)
    await guest.account.join(waiting)
    async with living(city, platform, routing="members"):
        await guest.say(waiting, "hello")
        await guest.say(waiting, "!reset")
        elsewhere = await exchange(Person(alice), chat)
        assert city.status(waiting) == "pending"
        assert await city.binding(waiting) is None
        assert await said(city, waiting) == ([], [])
        await alice.join(waiting)
        word = await exchange(Person(alice), waiting)
    assert platform.heard == {
        conversation(alice, 1): [elsewhere],
        conversation(alice, 2): [word],
    }


async def test_an_owner_whose_row_cannot_follow(city: City, platform: Backend) -> None:
    """They came, into a room of which too little is seen: they hear that nobody knows."""
    alice, space, (chat,) = await city.home("alice")
    before = {"room_id": "!unseen:hs.test", "event_id": "$any"}
    waiting = await city.bot.create_room(
        creation_content={IDENTITY: chat_identity(alice, 2), "predecessor": before},
        invite=[alice.user_id],
    )
    await city.bot.link(space, waiting)
    async with living(city, platform):
        assert city.status(waiting) == "pending"
        await alice.join(waiting)
        await Person(alice).say(waiting, "hello")
        (notice,) = await Person(alice).hears(waiting)
        assert "not certain" in notice["body"]
        word = await exchange(Person(alice), chat)
        assert city.status(waiting) == "pending"
    assert platform.heard == {conversation(alice, 1): [word]}


async def test_an_archived_chat(city: City, platform: Backend) -> None:
    """Its owner is told how to bring it back, once an hour; a guest nothing."""
    owner, space, (chat, other) = await city.home("alice", 2)
    alice, guest = Person(owner), Person(await city.person("guest"))
    await city.bot.invite(chat, guest.user_id)
    await guest.account.join(chat)
    async with living(city, platform, routing="members"):
        await city.bot.unlink(space, chat)
        await guest.say(chat, "hello")
        words = [await exchange(alice, other)]
        assert await said(city, chat) == ([], [])
        await alice.say(chat, "hello")
        await alice.say(chat, "anybody?")
        words.append(await exchange(alice, other))
    answers, notices = await said(city, chat)
    assert answers == []
    assert len(notices) == 1
    assert "!restore C1" in notices[0]
    assert platform.heard == {conversation(owner, 2): words}
    await city.settled()


async def test_a_duplicate(city: City, platform: Backend) -> None:
    """Its owner is led to the room in use, at most once an hour; a guest is not."""
    owner, _, (chat,) = await city.home("alice")
    alice, guest = Person(owner), Person(await city.person("guest"))
    twin = await city.room(owner, guest.account, identity=chat_identity(owner, 1))
    async with living(city, platform, routing="members"):
        await guest.say(twin, "hello")
        words = [await exchange(alice, chat)]
        assert await said(city, twin) == ([], [])
        await alice.say(twin, "hello")
        await alice.say(twin, "anybody?")
        words.append(await exchange(alice, chat))
    answers, notices = await said(city, twin)
    assert answers == []
    assert [leads_to(notice, chat) for notice in notices] == [True]
    assert platform.heard == {conversation(owner, 1): words}


async def test_a_conversation_that_two_people_claim(
    city: City, platform: Backend
) -> None:
    """Nobody is led into somebody else's room, or told its name."""
    (alice, _, (chat,)), (bob, space, _) = await asyncio.gather(
        city.home("alice"), city.home("bob", 0)
    )
    claim = chat_identity(bob, 1, conversation(alice, 1))
    room = await city.chat(bob, space, 1, identity=claim)
    async with living(city, platform):
        await Person(bob).say(room, "hello")
        word = await exchange(Person(alice), chat)
    assert city.status(room) == "detached: duplicate"
    assert await said(city, room) == ([], [])
    assert platform.heard == {conversation(alice, 1): [word]}


async def test_an_upgraded_room(city: City, platform: Backend) -> None:
    """Who still talks in it is led to the newest one, and the conversation goes on there."""
    owner, _, (first,) = await city.home("alice", version="11")
    alice = Person(owner)
    async with living(city, platform):
        before = await exchange(alice, first)
        newest = first
        for version in ("11", "12"):
            await city.bot.set_power(newest, {alice.user_id: 90})
            newest = await city.bot.upgrade(newest, version)
            await city.bot.invite(newest, alice.user_id)
            await owner.join(newest)
        await alice.say(first, "still here")
        after = await exchange(alice, newest)
    answers, notices = await said(city, first)
    assert len(answers) == 1
    assert [leads_to(notice, newest) for notice in notices] == [True]
    assert platform.heard == {conversation(owner, 1): [before, after]}
    assert city.status(first) == "detached: upgraded"
    # Links and records of the new rooms: a stop leaves them to a later pass.
    await city.once()
    await city.settled()


async def test_rooms_that_are_nobodys_chat(city: City, platform: Backend) -> None:
    """The bot says nothing in what it made but could not bind, in Spaces, in company."""
    owner, space, (chat,) = await city.home("alice")
    alice, bob = Person(owner), await city.person("bob")
    silent = {
        "bound to nobody, of two": await city.room(owner),
        "bound to nobody, of three": await city.room(owner, bob),
        "a Space": space,
        "somebody's room of three": await owner.create_room(
            invite=[city.bot.user_id, bob.user_id]
        ),
        "a room that claims to be a chat": await owner.create_room(
            invite=[city.bot.user_id, bob.user_id],
            creation_content={"io.spacekeeper.identity": chat_identity(owner, 1)},
        ),
    }
    for room in list(silent.values())[3:]:
        await city.bot.join(room)
        await bob.join(room)
    async with living(city, platform, routing="members"):
        for room in silent.values():
            for text in ("hello", "!help", "!new", "!reset"):
                await alice.say(room, text)
        word = await exchange(alice, chat)
    for what, room in silent.items():
        assert await said(city, room) == ([], []), what
    assert platform.heard == {conversation(owner, 1): [word]}
    assert city.rows().keys() == {space, chat}


async def test_a_third_person_ends_a_direct_chat(city: City, platform: Backend) -> None:
    """With two the bot says where to go; with three it is silent, and then not again."""
    owner, _, (chat,) = await city.home("alice")
    alice, bob = Person(owner), await city.person("bob")
    room = await alice.direct(city.bot)
    async with living(city, platform):
        (welcome,) = await alice.hears(room)
        assert leads_to(welcome["body"], chat)
        await alice.say(room, "!help")
        await alice.hears(room)
        await owner.invite(room, bob.user_id)
        await bob.join(room)
        await alice.say(room, "!help")
        await bob.leave(room)
        await alice.say(room, "!chats")
        (listed,) = await alice.hears(room)
    assert leads_to(listed["body"], chat)
    assert len((await said(city, room)).notices) == 3
    assert platform.heard == {}


async def test_somebody_who_is_not_allowed(city: City, platform: Backend) -> None:
    """A stranger gets nothing for a word or a command, not even in a direct chat."""
    owner, _, (chat,) = await city.home("alice")
    stranger = Person(await city.person("stranger"))
    room = await stranger.direct(city.bot)
    await city.bot.join(room)
    allow = InviteSettings((owner.user_id,))
    async with living(city, platform, invites=allow):
        for text in ("hello", "!help", "!new"):
            await stranger.say(room, text)
        await exchange(Person(owner), chat)
    assert await said(city, room) == ([], [])
    assert await home_of(city, stranger.account) == ([], [])


# --- rooms that contradict their row ---------------------------------------------------


async def test_a_row_changed_behind_the_bots_back(
    city: City, platform: Backend
) -> None:
    """Its room says otherwise, so nothing is passed on, and that is said once an hour."""
    (owner, _, (chat, other)), (bob, *_) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    alice, guest = Person(owner), Person(bob)
    await city.bot.invite(chat, bob.user_id)
    await bob.join(chat)
    async with living(city, platform, routing="members"):
        wrong = "UPDATE room_meta SET platform_chat_id = 'wrong' WHERE room_id = :room"
        # In a thread: the bot, in the midst of a transaction, must be able to end it.
        await asyncio.to_thread(city.spoil, wrong, room=chat)
        await guest.say(chat, "hello")
        words = [await exchange(alice, other)]
        assert await said(city, chat) == ([], [])
        for text in ("hello", "anybody?", "!reset"):
            await alice.say(chat, text)
        words.append(await exchange(alice, other))
    answers, notices = await said(city, chat)
    assert answers == []
    assert len(notices) == 1
    assert "not certain which conversation" in notices[0]
    assert await city.binding(chat) is None
    async with living(city, platform):
        word = await exchange(alice, chat)
    assert platform.heard == {
        conversation(owner, 2): words,
        conversation(owner, 1): [word],
    }
    await city.settled()


async def test_a_tampered_file_that_a_guard_holds(
    city: City, platform: Backend
) -> None:
    """While rows with each other's conversations are held, neither hears a word."""
    owner, space, rooms = await city.home("alice", 5)
    alice = Person(owner)
    await city.startup()
    for room in rooms[:4]:
        await city.bot.unlink(space, room)
    swap = "UPDATE room_meta SET platform_chat_id = :new WHERE room_id = :room"
    one, two = conversation(owner, 1), conversation(owner, 2)
    for room, new in ((rooms[0], "none"), (rooms[1], one), (rooms[0], two)):
        city.spoil(swap, room=room, new=new)
    async with living(city, platform):
        await alice.say(rooms[0], "hello")
        await alice.say(rooms[1], "hello")
        held = await exchange(alice, rooms[2])
        word = await exchange(alice, rooms[4])
    for room in rooms[:2]:
        assert city.status(room) == "active"
        answers, notices = await said(city, room)
        assert answers == []
        assert len(notices) == 1
    assert platform.heard == {
        conversation(owner, 3): [held],
        conversation(owner, 5): [word],
    }


# --- each word to its conversation -----------------------------------------------------


async def test_people_with_several_rooms(city: City, platform: Backend) -> None:
    """Whatever is said, where and by whom, reaches the conversation of that room."""
    homes = await asyncio.gather(city.home("alice", 2), city.home("bob", 2))
    heard: dict[str, list[str]] = {}

    async def talk(owner: Account, room: str, number: int) -> None:
        person = Person(owner)
        words = [await person.say(room, f"{number} {text}") for text in "abc"]
        answers = [content["body"] for content in await person.hears(room, 3)]
        assert answers == [f"{n}: {number} {text}" for n, text in enumerate("abc", 1)]
        heard[conversation(owner, number)] = words

    async with living(city, platform):
        await asyncio.gather(
            *(
                talk(owner, room, number)
                for owner, _, rooms in homes
                for number, room in enumerate(rooms, 1)
            )
        )
    assert platform.heard == heard
    await city.settled()


async def test_a_reset(city: City, platform: Backend) -> None:
    """What follows begins a new conversation, after the next start too; no guest can."""
    owner, _, (chat, other) = await city.home("alice", 2)
    alice, guest = Person(owner), Person(await city.person("guest"))
    await city.bot.invite(chat, guest.user_id)
    await guest.account.join(chat)
    async with living(city, platform, routing="members"):
        await guest.say(chat, "!reset")
        old = await exchange(alice, chat)
        assert await city.binding(chat) is None
        await alice.say(chat, "!reset")
        # It is said at once, while the bot is at the reset.
        new = await alice.say(chat, "hello")
        await alice.hears(chat, 2)
        same = await exchange(alice, other)
    fresh = city.bound(chat)[-1]
    assert fresh is not None
    assert await city.has(chat, BINDING, city.bot.user_id) == {
        "v": 1,
        "platform_chat_id": fresh,
    }
    await city.settled()
    city.forget()
    async with living(city, platform):
        later = await exchange(alice, chat)
    assert platform.heard == {
        conversation(owner, 1): [old],
        conversation(owner, 2): [same],
        fresh: [new, later],
    }


async def test_a_chat_that_moves_to_its_duplicate(
    city: City, platform: Backend
) -> None:
    """The conversation goes on in the room that the Space names by now."""
    owner, space, (chat,) = await city.home("alice")
    twin = await city.room(owner, identity=chat_identity(owner, 1))
    alice = Person(owner)
    async with living(city, platform):
        first = await exchange(alice, chat)
        await city.bot.link(space, twin)
        await city.bot.unlink(space, chat)
        second = await exchange(alice, twin)
        await alice.say(chat, "and here?")
        third = await exchange(alice, twin)
    assert platform.heard == {conversation(owner, 1): [first, second, third]}
    assert len((await said(city, chat)).answers) == 1
    await city.settled()


@pytest.mark.parametrize("routing", ["owner", "members"])
async def test_whose_words_count(city: City, platform: Backend, routing: str) -> None:
    """A guest's word is passed on with routing `members`, their command never."""
    owner, _, (chat,) = await city.home("alice")
    alice, guest = Person(owner), Person(await city.person("guest"))
    await city.bot.invite(chat, guest.user_id)
    await guest.account.join(chat)
    async with living(city, platform, routing=routing):
        word = await guest.say(chat, "hello")
        for text in ("!reset", "!rename Mine", "!archive", "!new", "!help"):
            await guest.say(chat, text)
        last = await exchange(alice, chat)
    heard = [word, last] if routing == "members" else [last]
    assert platform.heard == {conversation(owner, 1): heard}
    assert (await said(city, chat)).notices == []
    assert city.status(chat) == "active"
    assert await home_of(city, guest.account) == ([], [])


# --- what is a word --------------------------------------------------------------------


async def test_what_is_no_word(city: City, platform: Backend) -> None:
    """Edits, notices, reactions, what was redacted, the bot's own, and blanks."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        word = await exchange(alice, chat)
    edit = {"rel_type": "m.replace", "event_id": word}
    await alice.say(chat, "* better", relates_to=edit)
    await alice.say(chat, "a notice", msgtype="m.notice")
    await alice.say(chat, " \n")
    await city.bot.send(chat, "the bot itself")
    await owner.redact(chat, await alice.say(chat, "never mind"))
    annotation = {"rel_type": "m.annotation", "event_id": word, "key": "+1"}
    path = f"rooms/{quote(chat)}/send/m.reaction/1"
    await owner.call("PUT", path, {"m.relates_to": annotation})
    async with living(city, platform):
        wave = await alice.say(chat, "waves", msgtype="m.emote")
        *_, answer = await alice.hears(chat, 2)
    assert answer["body"] == "2: * waves"
    assert platform.heard == {conversation(owner, 1): [word, wave]}
    assert (await said(city, chat)).notices == []


async def test_what_cannot_be_read(city: City, platform: Backend) -> None:
    """Media and encrypted events get one line each a day, in each room of their own."""
    owner, _, rooms = await city.home("alice", 2)
    alice = Person(owner)

    async def show(room: str) -> None:
        for n in range(2):
            await alice.say(room, "cat.png", msgtype="m.image")
            path = f"rooms/{quote(room)}/send/m.room.encrypted/{n}"
            await owner.call("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"})
        await exchange(alice, room)

    async with living(city, platform):
        await asyncio.gather(*map(show, rooms))
    for room in rooms:
        _, (media, encrypted) = await said(city, room)
        assert "only read text" in media
        assert "cannot read encrypted" in encrypted
    assert [len(events) for events in platform.heard.values()] == [1, 1]


async def test_a_guest_whose_words_cannot_be_read(
    city: City, platform: Backend
) -> None:
    """What is said of other rooms is said to the owner: a guest's are no business here."""
    owner, _, (chat,) = await city.home("alice")
    guest, _, (secret,) = await city.home("bob")
    await city.bot.invite(chat, guest.user_id)
    await guest.join(chat)
    async with living(city, platform, routing="members"):
        path = f"rooms/{quote(chat)}/send/m.room.encrypted/1"
        await guest.call("PUT", path, {"algorithm": "m.megolm.v1.aes-sha2"})
        await exchange(Person(owner), chat)
    (notice,) = (await said(city, chat)).notices
    assert "cannot read encrypted" in notice
    assert not leads_to(notice, secret)


async def test_an_answer_in_markdown(city: City, platform: Backend) -> None:
    """It is formatted where it helps, and nothing in it can do harm."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    text = "**bold** <script>alert(1)</script> [x](javascript:alert(2))"
    platform.answers["show"] = Message(text, Format.MARKDOWN)
    platform.answers["plain"] = Message("**not bold**")
    async with living(city, platform):
        await alice.say(chat, "show")
        await alice.say(chat, "plain")
        drawn, plain = await alice.hears(chat, 2)
    assert drawn["msgtype"] == "m.text"
    assert drawn["body"] == text
    assert "<strong>bold</strong>" in drawn["formatted_body"]
    assert "<script" not in drawn["formatted_body"]
    assert "href" not in drawn["formatted_body"]
    assert "formatted_body" not in plain
