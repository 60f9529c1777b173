"""What people tell the bot to do with their chats, and what comes of it, on the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.handlers.commands import conversation_from
from tests.adapter.matrix.city import CHILD, City, conversation
from tests.adapter.matrix.landlord import happened, home_of
from tests.adapter.matrix.live import said
from tests.adapter.matrix.scene import (
    CREATE_ROOM,
    MOMENT,
    Scene,
    leads,
    scene_of,
)
from tests.faults import Answer, Before, Drop, Hang, Refuse, Together
from tests.faults.proxy import PATIENCE
from tests.people import Person

VERSIONS = pytest.mark.parametrize("version", ["11", "12"])

TITLES = {
    "*bold* [a](https://evil.test) <b>x</b>": "*bold* [a](https://evil.test) <b>x</b>",
    "\N{RIGHT-TO-LEFT OVERRIDE}drawkcab\nnext  line": "drawkcab next line",
    "long " * 100: ("long " * 51).strip(),
    "\N{RIGHT-TO-LEFT OVERRIDE}": "Chat 5",
    "": "Chat 6",
}
"""What is typed after `!new`, and the room's name."""


@pytest.fixture
async def scene(
    city: City, homeserver: Homeserver, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with scene_of(city, homeserver.url, tmp_path) as scene:
        yield scene


# --- !new -----------------------------------------------------------------------------------


async def test_titles(scene: Scene) -> None:
    """Each `!new` makes one more chat; what is typed is its name, and nothing besides."""
    city = scene.city
    owner, space, [chat] = await city.home("alice")
    alice = Person(owner)
    async with scene.live():
        for number, (typed, name) in enumerate(TITLES.items(), 2):
            await alice.say(chat, f"!new {typed}")
            [told] = await alice.hears(chat, sender=city.bot)
            [room] = await alice.accept()
            assert await scene.name(room) == name
            assert city.bound(room)[:4] == (
                "chat",
                alice.user_id,
                space,
                f"C{number}",
            )
            assert leads(told["body"], room)
            assert 'evil.test">' not in told.get("formatted_body", "")
            assert "<b>" not in told.get("formatted_body", "")
            assert await scene.answer(alice, room, "hello") == "1: hello"
            assert await happened(city, space, CHILD, room) == [{"via": ["hs.test"]}]
    assert len((await home_of(city, owner)).chats) == 1 + len(TITLES)
    await city.settled()


async def test_new_chats_in_two_rooms_at_once(scene: Scene) -> None:
    """From the chat and from the direct chat: each gets its own, for one user or two."""
    city = scene.city
    (owner, _, [chat]), (bobs, _, [bobs_chat]) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    alice, bob = Person(owner), Person(bobs)
    async with scene.live():
        direct = await alice.direct(city.bot)
        await scene.hear(alice, direct)
        await asyncio.gather(
            alice.say(chat, "!new One"),
            alice.say(direct, "!new Two"),
            bob.say(bobs_chat, "!new Three"),
        )
        await scene.hear(alice, chat)
        await scene.hear(alice, direct)
        await scene.hear(bob, bobs_chat)
        assert len(await alice.invited(2)) == 2
        await bob.invited()
    named = {row["name"]: row["chat_id"] for row in city.rows().values()}
    assert {named["One"], named["Two"]} == {"C2", "C3"}
    assert named["Three"] == "C2"
    await city.settled()


async def test_the_answer_to_a_new_room_is_lost(scene: Scene) -> None:
    """It is found if it was made, and else made after a moment: once each."""
    city = scene.city
    owner, _, [chat] = await city.home("alice")
    alice = Person(owner)
    async with scene.live():
        scene.proxy.at(CREATE_ROOM, Drop())
        assert MOMENT not in await scene.command(alice, chat, "!new Lost")
        scene.proxy.at(CREATE_ROOM, Refuse())
        assert MOMENT in await scene.command(alice, chat, "!new Never heard")
        assert "I have made C3" in await scene.hear(alice, chat)
        assert len(await alice.invited(2)) == 2
    names = {await scene.name(room) for room in (await home_of(city, owner)).chats}
    assert names == {None, "Lost", "Never heard"}
    await city.settled()


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
async def test_all_commands_are_handled_again(scene: Scene, lost: bool) -> None:
    """The position is set back, and the file lost or not: what was done stays as it is.

    What was said after a reset is in the conversation that began there."""
    city = scene.city
    owner, space, rooms = await city.home("alice", 3)
    chat, archived, restored = rooms
    await city.bot.unlink(space, restored)
    alice = Person(owner)
    async with scene.live():
        start = await scene.now()
        assert await scene.answer(alice, chat, "hello") == "1: hello"
        await scene.command(alice, chat, "!new Fourth")
        [fourth] = await alice.accept()
        await scene.command(alice, chat, "!rename Plums")
        await scene.command(alice, chat, "!reset")
        assert await scene.answer(alice, chat, "afresh") == "1: afresh"
        await scene.command(alice, chat, "!restore C3")
        await scene.command(alice, archived, "!archive")
    before, told = await city.server(), [await said(city, room) for room in rooms]
    bound = {room: city.bound(room) for room in (*rooms, fourth)}
    if lost:
        city.forget()
    await scene.set_back(start)
    async with scene.live():
        assert await scene.answer(alice, chat, "then") == "2: then"
    told[0].answers.append("2: then")
    assert [await said(city, room) for room in rooms] == told
    assert {room: city.bound(room) for room in (*rooms, fourth)} == bound
    assert city.status(restored) == city.status(fourth) == "active"
    assert city.status(archived) == "detached: unlinked"
    assert await city.server() == before
    await city.settled()


async def test_a_slow_homeserver(scene: Scene) -> None:
    """What was said after a command waits for it; others, and other rooms, do not."""
    city = scene.city
    (owner, _, (chat, other)), (bobs, _, [bobs_chat]) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    alice, bob = Person(owner), Person(bobs)
    answers = asyncio.Event()
    async with scene.live():
        held = [
            scene.proxy.at(request, Before(answers.wait))
            for request in ("PUT .*/state/io.spacekeeper.binding/.*", CREATE_ROOM)
        ]
        assert await scene.answer(alice, chat, "hello") == "1: hello"
        for text in ("!reset", "anew"):
            await alice.say(chat, text)
        await alice.say(other, "!new Slow")
        await asyncio.gather(
            *(scene.proxy.arrived(r) for r in ("PUT .*binding/.*", CREATE_ROOM))
        )
        assert await scene.answer(bob, bobs_chat, "hello") == "1: hello"
        answers.set()
        assert "A new conversation" in await scene.hear(alice, chat)
        [answer] = await alice.hears(chat, sender=city.bot)
        assert answer["body"] == "1: anew"
        assert "I have made C3" in await scene.hear(alice, other)
        await asyncio.gather(*(each.struck() for each in held))
    await city.settled()


# --- !rename, !chats, !help ------------------------------------------------------------------


@VERSIONS
async def test_a_day_with_all_commands(scene: Scene, version: str) -> None:
    """From the first invitation on, in rooms of either version."""
    city, alice = scene.city, await scene.person()
    async with scene.live(rooms={"version": version, "settle": "1s"}):
        direct, space, first = await scene.arrive(alice)
        assert await scene.answer(alice, first, "hello") == "1: hello"
        told = await scene.command(alice, direct, "!new Second")
        [second] = await alice.accept()
        assert leads(told, second)

        await scene.command(alice, second, "!rename Plums & pears")
        assert await scene.name(second) == "Plums & pears"
        assert city.rows()[second]["name"] == "Plums & pears"
        assert await scene.command(alice, second, "!rename  ") == (
            "Please say which title: `!rename My title`."
        )
        listed = await scene.command(alice, first, "!chats")
        assert "Plums & pears" in listed
        assert leads(listed, first, second)
        assert "this room" in listed.splitlines()[2]
        assert "!restore" in await scene.command(alice, first, "!help")

        await scene.command(alice, second, "!archive")
        assert await city.has(space, CHILD, second) == {}
        assert city.status(second) == "detached: unlinked"
        await alice.account.leave(second)
        assert "archived" in await scene.command(alice, direct, "!chats")
        told = await scene.command(alice, direct, "!restore c2")
        assert leads(told, second)
        assert await alice.accept() == [second]
        assert await city.has(space, CHILD, second) == {"via": ["hs.test"]}
        assert await scene.answer(alice, second, "back") == "1: back"

        reset = await alice.say(first, "!reset")
        await alice.say(first, "anew")
        notice, answer = await alice.hears(first, 2, sender=city.bot)
        assert "A new conversation begins" in notice["body"]
        assert answer["body"] == "1: anew"
        fresh = conversation_from(reset)
        assert city.bound(first)[4] == fresh
    assert await city.binding(first) == {"v": 1, "platform_chat_id": fresh}
    assert city.status(second) == "active"
    city.forget()
    await city.once()
    assert city.bound(first)[4] == fresh
    await city.settled()


async def test_a_name_that_another_client_gave(scene: Scene) -> None:
    """It is the chat's title from then on."""
    city = scene.city
    owner, _, [chat] = await city.home("alice", version="11")
    await city.bot.set_power(chat, {owner.user_id: 50})
    alice = Person(owner)
    async with scene.live():
        await owner.put_state(chat, "m.room.name", {"name": "Mirabelles"})
        assert "Mirabelles" in await scene.command(alice, chat, "!chats")
        assert city.rows()[chat]["name"] == "Mirabelles"
    await city.settled()


async def test_a_title_that_the_room_does_not_show_is_not_claimed(scene: Scene) -> None:
    """Something on the way answered as the server would, and the server never heard."""
    owner, _, [chat] = await scene.city.home("alice")
    alice = Person(owner)
    async with scene.live():
        before = await scene.name(chat)
        scene.proxy.at(
            "PUT .*/state/m.room.name", Answer(200, b'{"event_id": "$other"}')
        )
        told = await scene.command(alice, chat, "!rename Plums")
        assert "does not show it to me yet" in told
        assert await scene.name(chat) == before


# --- a room that nobody can see --------------------------------------------------------------


async def test_a_word_in_a_chat_that_could_not_be_seen_waits_until_it_can(
    scene: Scene,
) -> None:
    """Without its state it looks as if it were anybody's room with the bot."""
    owner, _, [chat] = await scene.city.home("alice")
    alice = Person(owner)
    scene.proxy.at("GET .*/versions", Answer(500), times=1000)
    state = f"GET .*/rooms/{re.escape(chat)}/state"
    failing = scene.proxy.at(state, Answer(500), times=1000)
    async with scene.live():
        tried = len(await scene.proxy.arrived(state))
        await alice.say(chat, "hello")
        await scene.proxy.arrived(state, tried + 1)
        failing.end()
        [heard] = await alice.hears(chat)
        assert heard["body"] == "1: hello"


# --- !archive, !restore ----------------------------------------------------------------------


async def test_most_chats_are_archived_one_after_the_other(scene: Scene) -> None:
    """The guard lets what was commanded through; a word there leads on, once an hour."""
    city = scene.city
    owner, space, chats = await city.home("alice", 8)
    alice = Person(owner)
    async with scene.live():
        for chat in chats[:6]:
            await scene.command(alice, chat, "!archive")
            assert city.status(chat) == "detached: unlinked"
            child = await city.bot.state_event(space, CHILD, chat)
            assert (child["sender"], child["content"]) == (city.bot.user_id, {})
            assert city.evidence(chat) == child["event_id"]
        for _ in range(3):
            await alice.say(chats[0], "anybody?")
        assert "!restore C1" in await scene.hear(alice, chats[0])
        # What means a chat in use is not done in an archived one; bringing it back is.
        assert "for a chat that is in use" in await scene.command(
            alice, chats[0], "!reset"
        )
        assert await city.binding(chats[0]) is None
        await scene.command(alice, chats[0], "!restore C1")
        answered = await scene.answer(alice, chats[0], "here again")
        assert answered == "1: here again"
    assert not is_blocked(city)
    answers, notices = await said(city, chats[0])
    assert answers == ["1: here again"]
    assert len(notices) == 4
    await city.settled()


@pytest.mark.parametrize(
    ("noted", "lost", "blocked"),
    [(False, False, 6), (False, True, 0), (True, False, 0)],
    ids=["nothing noted", "file lost", "noted"],
)
async def test_killed_when_many_chats_were_archived_and_no_pass_has_seen_it(
    scene: Scene, noted: bool, lost: bool, blocked: int
) -> None:
    """The guard lets through what commands did, also where that was not written down.

    Then the first pass is blocked, until the commands have been handled again."""
    city = scene.city
    owner, space, chats = await city.home("alice", 8)
    alice, over = Person(owner), asyncio.Event()
    async with scene.live() as process:
        unlinked = Together(6, (lambda: None) if noted else process.kill)
        scene.proxy.at(f"PUT .*/state/{CHILD}/.*", unlinked, times=6)
        scene.proxy.at(
            lambda seen: seen.path.endswith("/state") and not over.is_set(),
            Hang(),
            times=100,
        )
        await asyncio.gather(*(alice.say(chat, "!archive") for chat in chats[:6]))
        if noted:
            await commanded(city, 6)
            await process.kill()
        await process.ended()
    assert [await city.has(space, CHILD, chat) for chat in chats[:6]] == [{}] * 6
    assert {city.status(chat) for chat in chats} == {"active"}
    if lost:
        city.forget()
    over.set()
    async with scene.live() as process:
        for chat in chats[:6]:
            assert "is archived" in await scene.hear(alice, chat)
        assert (await process.logged("^converged"))["blocked"] == blocked
    assert not is_blocked(city)
    statuses = [city.status(chat) for chat in chats]
    assert statuses == ["detached: unlinked"] * 6 + ["active"] * 2
    await city.settled()


async def commanded(city: City, count: int) -> None:
    """Return when so many state events are noted as the bot's own doing."""
    async with asyncio.timeout(PATIENCE):
        # Another process writes it.
        while len(city.query("SELECT event_id FROM commanded")) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_cannot_be_restored(scene: Scene) -> None:
    """An unknown number, a chat in use, and somebody else's; one that they left can be."""
    city = scene.city
    owner, space, (chat, left) = await city.home("alice", 2)
    _, _, bobs = await city.home("bob", 3)
    await owner.leave(left)
    alice = Person(owner)
    async with scene.live():
        before = await city.server()
        for typed, told in (
            ("!restore", "Please say which chat"),
            ("!restore C3", "You have no chat"),
            (f"!restore {bobs[0]}", "You have no chat"),
            ("!restore [x](https://evil.test)", "You have no chat"),
            ("!restore C1", "is not archived"),
        ):
            assert told in await scene.command(alice, chat, typed)
        again = await city.server()
        assert again[space] == before[space]
        assert all(again[room] == before[room] for room in bobs)
        assert leads(await scene.command(alice, chat, "!restore C2"), left)
        assert await alice.accept() == [left]
        assert await scene.answer(alice, left, "hello") == "1: hello"
    assert city.bound(left)[4] == conversation(owner, 2)
    await city.settled()


# --- who, and where --------------------------------------------------------------------------


async def test_commands_of_guests_and_in_the_wrong_place(scene: Scene) -> None:
    """A guest's command is ignored in a chat; in the direct chat some make no sense.

    In a Space, and in company, nobody is heard."""
    city = scene.city
    owner, space, [chat] = await city.home("alice")
    alice, guest = Person(owner), await scene.person("guest")
    for room in (chat, space):
        await city.bot.invite(room, guest.user_id)
        await guest.account.join(room)
    async with scene.live(routing="members"):
        before = city.rows(), await city.server()
        for name in ("new", "chats", "rename Mine", "archive", "reset", "help"):
            await guest.say(chat, f"!{name}")
            await alice.say(space, f"!{name}")
        assert await scene.answer(alice, chat, "hello") == "1: hello"
        assert await said(city, chat) == (["1: hello"], [])
        assert (city.rows(), await city.server()) == before
        direct = await alice.direct(city.bot)
        await scene.hear(alice, direct)
        for name in ("rename Mine", "archive", "reset"):
            told = await scene.command(alice, direct, f"!{name}")
            assert "say it in the one you mean" in told
        await alice.account.invite(direct, guest.user_id)
        await guest.account.join(direct)
        heard = len((await said(city, direct)).notices)
        await alice.say(direct, "!new Not here")
        await guest.say(direct, "!new Nor here")
    assert len((await said(city, direct)).notices) == heard
    assert await said(city, space) == ([], [])
    assert (await home_of(city, owner)).chats == [chat]
    assert await home_of(city, guest.account) == ([], [])
    await city.settled()


async def test_without_power(scene: Scene) -> None:
    """The bot says what the server refuses, and nothing has changed."""
    city = scene.city
    owner, space, [chat] = await city.home("alice", version="11")
    alice = Person(owner)
    for room in (space, chat):
        await city.bot.set_power(room, {owner.user_id: 100, city.bot.user_id: 0})
    async with scene.live():
        before = city.rows()
        for name in ("rename Mine", "archive", "reset"):
            told = await scene.command(alice, chat, f"!{name}")
            assert "does not let me" in told
        assert await scene.answer(alice, chat, "hello") == "1: hello"
    assert city.rows() == before
    assert await scene.name(chat) is None
    await city.settled()


def is_blocked(city: City) -> bool:
    """Whether the newest pass had to hold rooms back."""
    found = city.query("SELECT reason FROM conditions WHERE type = 'Converged'")
    return found == [("Blocked",)]
