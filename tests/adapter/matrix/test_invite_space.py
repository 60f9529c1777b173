"""Who invites the bot to a direct chat gets a Space and a chat, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from adapter.cli.account import Account, CallFailed
from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import (
    BINDING,
    IDENTITY,
    City,
    chat_identity,
    space_identity,
)
from tests.adapter.matrix.landlord import assert_made_once, happened, home_of
from tests.adapter.matrix.live import said
from tests.adapter.matrix.scene import (
    CREATE_ROOM,
    MOMENT,
    Home,
    Scene,
    leads,
    scene_of,
)
from tests.faults import Answer, Before, Drop, Late, Refuse
from tests.people import Person

ENCRYPTED = [
    {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
]
CLEAR = "not encrypted"


@pytest.fixture
async def scene(
    city: City, homeserver: Homeserver, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with scene_of(city, homeserver.url, tmp_path) as scene:
        yield scene


# --- who gets nothing ------------------------------------------------------------------


async def test_what_is_no_direct_chat_of_somebody_allowed_is_declined(
    scene: Scene,
) -> None:
    """A stranger's invitation, one to a group, one to a Space: before and after the start.

    Nothing is made, and nothing said."""
    city = scene.city
    bot = city.bot
    alice, stranger = await scene.person("alice"), await scene.person("stranger")

    async def refused() -> list[tuple[Person, str]]:
        return [
            (stranger, await stranger.direct(bot)),
            (alice, await alice.account.create_room(invite=[bot.user_id])),
            (alice, await alice.direct(bot, room_type="m.space")),
        ]

    rooms = await refused()
    async with scene.live(invites={"allow": ["@alice-*:hs.test"]}):
        rooms += await refused()
        for who, room in rooms:
            await who.sees(room, bot, "leave")
    assert await bot.joined_rooms() == []
    assert city.rows() == {}
    for who, room in rooms:
        assert await said(city, room, seen_by=who.account) == ([], [])


async def test_an_invitation_that_is_taken_back(scene: Scene) -> None:
    """Before the bot runs, or when it is about to join: the next one is as any."""
    bot, alice = scene.city.bot, await scene.person()
    rooms: asyncio.Queue[str] = asyncio.Queue()

    async def invite() -> None:
        await rooms.put(
            await alice.account.create_room(invite=[bot.user_id], is_direct=True)
        )

    async def take_back() -> None:
        await alice.account.kick(await rooms.get(), bot.user_id)

    await invite()
    await take_back()
    async with scene.live():
        too_late = scene.proxy.at("POST .*/join", Before(take_back))
        await invite()
        await too_late.struck()
        home = await scene.arrive(alice)
    assert set(await bot.joined_rooms()) == set(home)


async def test_a_room_that_claims_to_be_somebodys(scene: Scene) -> None:
    """Rooms of others count for nothing, whatever they say of themselves.

    Alice's conversation goes on, and who forged it is led to what is theirs."""
    city = scene.city
    bot, mallory = city.bot, await scene.person("mallory")
    owner, _, [chat] = await city.home("alice")
    alice = Person(owner)
    async with scene.live():
        assert await scene.answer(alice, chat, "plum") == "1: plum"
        before = city.rows()
        forged = await mallory.direct(
            bot, creation_content={IDENTITY: chat_identity(owner, 1)}
        )
        await scene.hear(mallory, forged)
        other = await mallory.direct(
            bot, creation_content={IDENTITY: space_identity(owner)}
        )
        await scene.hear(mallory, other)
        binding = chat_identity(owner, 1)
        for room in (forged, other):
            await mallory.account.put_state(room, BINDING, binding)
            await mallory.account.put_state(room, BINDING, binding, mallory.user_id)
            await mallory.account.link(room, chat)
        await mallory.say(forged, "!reset")
        assert "for a chat that is in use" in await scene.hear(mallory, forged)
        await mallory.say(forged, "give me her words")
        assert await scene.answer(alice, chat, "pear") == "2: pear"
    rows = city.rows()
    assert {room: rows[room] for room in before} == before
    assert rows.keys() - before.keys() == {
        room for kind in await home_of(city, mallory.account) for room in kind
    }
    assert (await said(city, forged)).answers == []
    await city.settled()


# --- who comes for the first time --------------------------------------------------------


async def test_two_come_at_once(scene: Scene) -> None:
    """Each gets a Space and a chat of their own, and a notice that leads there.

    What they say in the chat is answered; the direct chat never becomes a working room."""
    city = scene.city
    people = [await scene.person("alice"), await scene.person("bob")]
    rooms = {"settle": "1s", "space_name": "Home of {user}"}
    async with scene.live(rooms=rooms):
        directs = [await who.direct(city.bot) for who in people]
        notices = await asyncio.gather(*map(scene.hear, people, directs))
        for who, direct, notice in zip(people, directs, notices, strict=True):
            [space], [chat] = await assert_made_once(city, who.account)
            assert leads(notice, space, chat)
            assert MOMENT not in notice
            assert CLEAR not in notice
            assert city.status(space) == city.status(chat) == "pending"
            await assert_home(city, who, space, chat)
            await who.accept(2)
            await assert_powerless(who.account, city.bot, space, chat)
            assert await scene.answer(who, chat, "hello") == "1: hello"
            for _ in range(2):
                await who.say(direct, "does nobody answer here?")
            assert leads(await scene.hear(who, direct), chat)
            assert await scene.answer(who, chat, "again") == "2: again"
    for direct in directs:
        assert direct not in city.rows()
        # Where to go is said once an hour.
        assert len((await said(city, direct)).notices) == 2
        assert (await said(city, direct)).answers == []
    await city.settled()


async def test_two_direct_chats_at_once_lead_to_one_home(scene: Scene) -> None:
    """Of one of them, an encrypted one, the bot says in the clear that it cannot read it."""
    city, alice = scene.city, await scene.person()
    async with scene.live():
        plain, encrypted = await asyncio.gather(
            alice.direct(city.bot),
            alice.direct(city.bot, initial_state=ENCRYPTED),
        )
        first, second = (
            await scene.hear(alice, plain),
            await scene.hear(alice, encrypted),
        )
        [space], [chat] = await assert_made_once(city, alice.account)
        assert leads(first, space, chat)
        assert leads(second, space, chat)
        assert (CLEAR in first, CLEAR in second) == (False, True)
        await alice.accept(2)
        await alice.account.call(
            "PUT",
            f"rooms/{encrypted}/send/m.room.encrypted/1",
            {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "..."},
        )
        assert await scene.answer(alice, chat, "hello") == "1: hello"
    await city.settled()


async def test_an_invitation_that_waited_for_the_very_first_start(scene: Scene) -> None:
    """No position is known then: it is answered, and what was said before it is not."""
    city, alice = scene.city, await scene.person()
    direct = await alice.direct(city.bot)
    await alice.say(direct, "!new Never")
    async with scene.live():
        [space], [chat] = await made_for(scene, alice, direct)
    assert city.status(space) == city.status(chat) == "pending"
    await city.settled()


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
async def test_all_that_happened_is_handled_again(scene: Scene, lost: bool) -> None:
    """The position is set back, and the file lost or not: nothing is made or said twice."""
    city, alice = scene.city, await scene.person()
    async with scene.live():
        start = await scene.now()
        home = await scene.arrive(alice)
        assert await scene.answer(alice, home.chat, "hello") == "1: hello"
        await scene.command(alice, home.direct, "!new Second")
        await alice.accept()
    before, rows = await city.server(), city.rows()
    told = await said(city, home.direct)
    if lost:
        city.forget()
    await scene.set_back(start)
    async with scene.live():
        assert await scene.answer(alice, home.chat, "then") == "2: then"
    assert await city.server() == before
    assert await said(city, home.direct) == told
    assert await said(city, home.chat) == (["1: hello", "2: then"], [])
    assert bindings(city.rows()) == bindings(rows)
    await city.settled()


# --- createRoom --------------------------------------------------------------------------

SPACE_AND_CHAT = (1, 2)
"""Of those that are sent for somebody who comes for the first time."""


async def test_the_answer_is_lost_and_the_room_is_there(scene: Scene) -> None:
    """It is found at once: one Space, one chat, and no word of a delay."""
    async with scene.live(rooms={"settle": "1h"}):
        for nth in SPACE_AND_CHAT:
            alice = await scene.person()
            lost = scene.proxy.at(CREATE_ROOM, Drop(), nth)
            await made_for(scene, alice, await alice.direct(scene.city.bot))
            await lost.struck()
    await scene.city.settled()


async def test_the_server_never_heard(scene: Scene) -> None:
    """It is said that this takes a moment; then the room is made, once."""
    async with scene.live():
        for nth in SPACE_AND_CHAT:
            alice = await scene.person()
            scene.proxy.at(CREATE_ROOM, Refuse(), nth)
            direct = await alice.direct(scene.city.bot)
            assert MOMENT in await scene.hear(alice, direct)
            await made_for(scene, alice, direct)
    await scene.city.settled()


async def test_the_room_appears_late(scene: Scene) -> None:
    """After it was looked for, and before it would be made again: it is used."""
    async with scene.live(rooms={"settle": "3s"}):
        for nth in SPACE_AND_CHAT:
            alice, late = await scene.person(), Late()
            scene.proxy.at(CREATE_ROOM, late, nth)
            direct = await alice.direct(scene.city.bot)
            assert MOMENT in await scene.hear(alice, direct)
            await late.release()
            await made_for(scene, alice, direct)
    await scene.city.settled()


async def test_the_server_refuses_to_make_a_room(scene: Scene) -> None:
    """It is said that this went wrong; the next word asks again."""
    refused = Answer(403, b'{"errcode": "M_FORBIDDEN", "error": "no more rooms"}')
    async with scene.live():
        alice = await scene.person()
        scene.proxy.at(CREATE_ROOM, refused)
        direct = await alice.direct(scene.city.bot)
        assert MOMENT in await scene.hear(alice, direct)
        assert "went wrong" in await scene.hear(alice, direct)
        await alice.say(direct, "and now?")
        await made_for(scene, alice, direct)
    await scene.city.settled()


async def test_killed_while_nobody_knows_whether_a_room_was_made(scene: Scene) -> None:
    """The next start finds what the last one asked for, also without its file."""
    alice, late = await scene.person(), Late()
    hour = {"settle": "1h"}
    direct = await alice.direct(scene.city.bot)
    async with scene.live(rooms=hour) as process:
        scene.proxy.at(CREATE_ROOM, late)
        assert MOMENT in await scene.hear(alice, direct)
        await process.kill()
    await late.release()
    scene.city.forget()
    async with scene.live(rooms=hour):
        await made_for(scene, alice, direct)
    await scene.city.settled()


# --- who comes back ------------------------------------------------------------------------


async def test_who_left_everything(scene: Scene) -> None:
    """With a new direct chat they are invited into what they had, and go on there.

    Nobody has to remember it: the file may be lost meanwhile."""
    city, alice = scene.city, await scene.person()
    async with scene.live():
        home = await scene.arrive(alice)
        assert await scene.answer(alice, home.chat, "hello") == "1: hello"
        for room in home:
            await alice.account.leave(room)
        await come_back(scene, alice, home)
        assert await scene.answer(alice, home.chat, "again") == "2: again"
        for room in (home.chat, home.space):
            await alice.account.leave(room)
    city.forget()
    async with scene.live():
        await come_back(scene, alice, home)
        assert await scene.answer(alice, home.chat, "and again") == "3: and again"
    assert await home_of(city, alice.account) == ([home.space], [home.chat])
    for room in (home.space, home.chat):
        member = await happened(city, room, "m.room.member", alice.user_id)
        memberships = [content["membership"] for content in reversed(member)]
        assert memberships == ["invite", "join", "leave"] * 2 + ["invite", "join"]
    assert city.status(home.space) == city.status(home.chat) == "active"
    await city.settled()


async def come_back(scene: Scene, who: Person, home: Home) -> None:
    notice = await scene.hear(who, await who.direct(scene.city.bot))
    assert notice.startswith("Welcome back")
    assert leads(notice, home.space, home.chat)
    assert set(await who.accept(2)) == {home.space, home.chat}


async def test_a_word_in_the_direct_chat_of_who_declined(scene: Scene) -> None:
    """They are invited again, at each word; where to go is said once an hour."""
    city, alice = scene.city, await scene.person()
    async with scene.live():
        direct = await alice.direct(city.bot)
        await scene.hear(alice, direct)
        for _ in range(3):
            for room in await alice.invited(2):
                await alice.account.leave(room)
            await alice.look()
            await alice.say(direct, "where did you say?")
        [chat] = (await home_of(city, alice.account)).chats
        await alice.accept(2)
        assert await scene.answer(alice, chat, "here") == "1: here"
    assert len((await said(city, direct)).notices) == 2
    await city.settled()


async def test_where_somebody_was_banned(scene: Scene) -> None:
    """They are invited to everything else, and not there."""
    city = scene.city
    owner, space, (banned, left) = await city.home("alice", 2)
    alice = Person(owner)
    await city.bot.ban(banned, owner.user_id)
    for room in (space, left):
        await owner.leave(room)
    async with scene.live():
        notice = await scene.hear(alice, await alice.direct(city.bot))
        assert leads(notice, space, left)
        assert not leads(notice, banned)
        assert set(await alice.invited(2)) == {space, left}
    assert city.status(banned) == "detached: owner_banned"
    assert await city.membership(banned, owner) == "ban"
    await city.settled()


async def does(who: Account, membership: str, seen_by: Account, room: str) -> None:
    """Return when it was `who` that joined, or left."""
    since, wanted = None, (who.user_id, membership)
    async with asyncio.timeout(60):
        while True:
            since = (await seen_by.sync(since, wait_ms=1_000))["next_batch"]
            event = await seen_by.state_event(room, "m.room.member", who.user_id)
            if (event["sender"], event["content"]["membership"]) == wanted:
                return


async def test_who_threw_the_bot_out_may_invite_it_back(scene: Scene) -> None:
    """It comes back to the owner's invitation alone, and goes on in the same row. A guest's
    is left as it is: to decline it might be to decline the owner's, or to leave."""
    city = scene.city
    guest = await city.person("guest")
    owner, space, (other,) = await city.home("alice")
    levels = {owner.user_id: 100, guest.user_id: 100, city.bot.user_id: 50}
    # From version 12 on nobody can throw out a room's creator.
    chat = await city.chat(owner, space, 2, version="11")
    await city.bot.set_power(chat, levels)
    alice = Person(owner)
    await owner.invite(chat, guest.user_id)
    await guest.join(chat)
    async with scene.live():
        await scene.answer(alice, chat, "hello")
        await owner.kick(chat, city.bot.user_id)
        await guest.invite(chat, city.bot.user_id)
        await scene.answer(alice, other, "where is it?")
        event = await owner.state_event(chat, "m.room.member", city.bot.user_id)
        assert event["content"]["membership"] == "invite"
        await owner.invite(chat, city.bot.user_id)
        await does(city.bot, "join", owner, chat)
        assert await scene.answer(alice, chat, "are you back?") == "2: are you back?"
    assert city.status(chat) == "active"
    await city.settled()


async def test_who_archived_all_their_chats(scene: Scene) -> None:
    """Coming back, they are told so, and nothing is made until they ask for it."""
    city = scene.city
    owner, space, (first, second) = await city.home("alice", 2)
    alice = Person(owner)
    async with scene.live():
        await scene.command(alice, first, "!archive")
        await scene.command(alice, second, "!archive")
        direct = await alice.direct(city.bot)
        notice = await scene.hear(alice, direct)
        assert leads(notice, space)
        assert not leads(notice, first)
        assert "!new" in notice
        await alice.say(direct, "anybody?")
        assert "!new" in await scene.hear(alice, direct)
        assert set((await home_of(city, owner)).chats) == {first, second}
        await scene.command(alice, direct, "!new")
        [new] = await alice.accept()
        assert await scene.answer(alice, new, "hello") == "1: hello"
    home = await home_of(city, owner)
    assert (home.spaces, set(home.chats)) == ([space], {first, second, new})
    assert city.bound(new)[3] == "C3"
    assert city.status(first) == city.status(second) == "detached: unlinked"
    await city.settled()


async def test_a_home_that_an_older_bot_made(scene: Scene) -> None:
    """Its Space says nothing of itself; its owner gets no second one."""
    city = scene.city
    owner, space, [chat] = await city.old_home("bob")
    bob = Person(owner)
    async with scene.live():
        notice = await scene.hear(bob, await bob.direct(city.bot))
        assert leads(notice, space, chat)
        assert await scene.answer(bob, chat, "hello") == "1: hello"
    assert await home_of(city, owner) == ([], [])
    assert city.users() == {owner.user_id: space}
    assert city.rows().keys() == {space, chat}


# --- what it looks like ----------------------------------------------------------------------


async def made_for(
    scene: Scene, who: Person, direct: str
) -> tuple[list[str], list[str]]:
    """Their one Space and chat, which the next notice leads to and an invitation each."""
    notice = await scene.hear(who, direct)
    home = await assert_made_once(scene.city, who.account)
    assert leads(notice, *home.spaces, *home.chats)
    assert set(await who.invited(2)) == {*home.spaces, *home.chats}
    return home


async def assert_home(city: City, owner: Person, space: str, chat: str) -> None:
    """Both are private, named, linked to each other, and say whose they are."""
    made = {room: await city.has(room, "m.room.create") for room in (space, chat)}
    for room, content in made.items():
        assert content is not None
        assert content[IDENTITY]["owner"] == owner.user_id
        assert await city.has(room, "m.room.join_rules") == {"join_rule": "invite"}
    chats = made[chat] or {}
    platform = chats[IDENTITY]["platform_chat_id"]
    assert city.bound(space) == ("space", owner.user_id, None, None, None)
    assert city.bound(chat) == ("chat", owner.user_id, space, "C1", platform)
    assert city.users()[owner.user_id] == space
    assert city.chats()[platform] == (owner.user_id, "C1", chat)
    assert await city.has(space, "m.room.name") == {"name": f"Home of {owner.user_id}"}
    assert await city.has(chat, "m.room.name") == {"name": "Chat 1"}
    assert await city.has(chat, "m.space.parent", space) is not None


async def assert_powerless(owner: Account, bot: Account, space: str, chat: str) -> None:
    for forbidden in (
        lambda: owner.put_state(chat, BINDING, {"v": 1}, bot.user_id),
        lambda: owner.put_state(chat, "m.room.name", {"name": "Mine"}),
        lambda: owner.unlink(space, chat),
        lambda: owner.kick(chat, bot.user_id),
        lambda: owner.set_power(space, {owner.user_id: 100}),
    ):
        await assert_forbidden(forbidden)


async def assert_forbidden(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(CallFailed) as refused:
        await call()
    assert refused.value.status == 403


def bindings(rows: dict[str, dict[str, object]]) -> dict[str, object]:
    return {room: row["platform_chat_id"] for room, row in rows.items()}
