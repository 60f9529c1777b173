"""What goes wrong in one pass, or stops between two, is made good by the next one.

Each test ends in what a start without the file would find, or in what is still due."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapter.matrix.faults import StoreError
from adapter.matrix.observation import Touch
from tests.adapter.matrix.city import IDENTITY, City, chat_identity
from tests.adapter.matrix.landlord import Hiding, landlord, told
from tests.adapter.matrix.live import PATIENCE, Backend, living

REQUEST = "a request"


async def test_a_room_that_took_the_bot_back_and_cannot_be_read_stays_due(
    city: City,
) -> None:
    """That it once showed the bot's end proves nothing any more."""
    alice, _, (chat,) = await city.home(version="11")
    await city.bot.set_power(chat, {alice.user_id: 100, city.bot.user_id: 50})
    wire = Hiding(city.client)
    async with landlord(city, wire=wire) as one:
        token = await one.wire.live_token()
        await alice.kick(chat, city.bot.user_id)
        token = (await told(one, token)).token
        await one.follower.catch_up()
        assert city.status(chat) == "detached: bot_kicked"
        await alice.invite(chat, city.bot.user_id)
        await city.bot.join(chat)
        wire.hidden = frozenset({chat})
        await told(one, token)
        await one.follower.catch_up()
        assert one.follower.is_unread(chat)
        wire.hidden = frozenset()
        await one.follower.catch_up()
        assert city.status(chat) == "active"
    await city.settled()


@pytest.mark.parametrize("before", ["it was decided", "it was heard of", "neither"])
async def test_a_ban_stays_seen_whatever_the_bot_itself_did_there(
    city: City, before: str
) -> None:
    """Nothing else happened, and the room shows nothing any more."""
    alice, _, (chat,) = await city.home(version="11")
    await city.bot.set_power(chat, {alice.user_id: 100, city.bot.user_id: 50})
    async with landlord(city) as one:
        token = await one.wire.live_token()
        await alice.ban(chat, city.bot.user_id)
        if before != "neither":
            await told(one, token)
        if before == "it was decided":
            await one.follower.catch_up()
        one.follower.revisit([chat])
        await one.follower.catch_up([chat])
        await told(one, token)
        await one.follower.catch_up()
        assert city.status(chat) == "detached: bot_banned"
        assert (await one.follower.sight()).whole
        assert not one.follower.is_unread(chat)
    await city.settled()


async def test_a_look_that_could_not_be_kept_leaves_nothing_old_in_the_file(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it saw, and a later pass did not read again, is not what the file holds."""
    _, space, (chat, *_) = await city.home(chats=2)
    async with landlord(city) as one:
        await city.bot.unlink(space, chat)

        async def fails(*_: object) -> Any:
            raise StoreError("not now")

        with monkeypatch.context() as patched:
            patched.setattr(one.store, "publications", fails)
            with pytest.raises(StoreError):
                await one.follower.look_again()
        await one.follower.renew()
        assert city.status(chat) == "detached: unlinked"
    await city.startup()
    await city.once()
    assert city.status(chat) == "detached: unlinked"
    await city.settled()


@pytest.mark.parametrize("ends", ["released", "killed"])
async def test_a_room_that_passes_let_alone_while_it_was_made_is_due(
    city: City, ends: str
) -> None:
    """Whether whoever makes it comes to an end, or is no more."""
    alice, space, _ = await city.home()
    identity = {**chat_identity(alice, 2), "request": REQUEST}
    async with landlord(city) as one:
        one.follower.hold(REQUEST)
        made = await city.bot.create_room(creation_content={IDENTITY: identity})
        await city.bot.link(space, made)
        await one.follower.look_again()
        assert made not in city.rows()
        if ends == "released":
            one.follower.release(REQUEST)
            await one.follower.catch_up()
            assert city.bound(made)[3] == "C2"
    if ends == "killed":
        async with landlord(city, look=False) as one:
            await one.follower.begin()
        assert city.bound(made)[3] == "C2"
    await city.once()
    await city.settled()


async def test_a_stranger_who_takes_the_bot_out_and_asks_again_blinds_it_to_nothing(
    city: City,
) -> None:
    """Both in one answer: an invitation hides the end, and says that it is one."""
    await city.home()
    eve = await city.person("eve")
    theirs = await eve.create_room()
    await eve.invite(theirs, city.bot.user_id)
    await city.bot.join(theirs)
    async with landlord(city) as one:
        token = await one.wire.live_token()
        await eve.kick(theirs, city.bot.user_id)
        await eve.invite(theirs, city.bot.user_id)
        await told(one, token)
        await one.follower.catch_up()
        assert (await one.follower.sight()).whole


async def test_a_look_at_everything_leaves_due_what_it_could_not_read(
    city: City,
) -> None:
    """It changed, and nobody knows how: its row may be outdated."""
    _, _, (chat,) = await city.home()
    wire = Hiding(city.client)
    async with landlord(city, wire=wire) as one:
        await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
        one.follower.touch({chat: Touch()})
        wire.hidden = frozenset({chat})
        await one.follower.look_again()
        assert one.follower.is_unread(chat)
        wire.hidden = frozenset()
        await one.follower.look_again()
        assert not one.follower.is_unread(chat)
    assert city.rows()[chat]["name"] == "Travel"


async def test_after_a_start_that_found_nothing_new_a_replaced_room_has_its_successor(
    city: City,
) -> None:
    """Whoever speaks in it is told where it goes on."""
    _, _, (chat,) = await city.home(version="11")
    new = await city.bot.upgrade(chat, "12")
    for _ in range(3):  # what a pass publishes is a change for the next
        await city.once()
    async with landlord(city, look=False) as one:
        await one.follower.begin()
        assert one.follower.newest is None
        assert one.follower.successor(chat) == new
        assert one.follower.successor(new) is None


async def test_a_row_that_is_edited_while_a_pass_decides_is_seen(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass did not know it, and what it keeps does not speak for it."""
    _, _, (chat, other) = await city.home(chats=2)
    async with landlord(city) as one:
        reconciler = one.follower._reconciler
        decide = type(reconciler).decide

        async def edited(*args: Any, **more: Any) -> Any:
            await asyncio.to_thread(_edit, city.path, chat)
            return await decide(*args, **more)

        await city.bot.put_state(other, "m.room.name", {"name": "Travel"})
        with monkeypatch.context() as patched:
            patched.setattr(type(reconciler), "decide", edited)
            await one.follower.look_again()
        assert city.rows()[chat]["platform_chat_id"] == "edited"
        assert not await reconciler.keeper.stands()
        await one.follower.renew()
    await city.settled()


def _edit(path: Path, chat: str) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as database, database:
        database.execute(
            "UPDATE room_meta SET platform_chat_id = 'edited' WHERE room_id = ?", [chat]
        )


async def test_a_start_that_is_due_for_a_look_at_everything_has_one_soon(
    city: City,
) -> None:
    """After it is ready, and however often it is started anew."""
    await city.home()
    for _ in range(2):
        await city.once()
    city.spoil("UPDATE kept SET whole_at = 1")
    async with living(city, Backend()), asyncio.timeout(PATIENCE):
        while city.query("SELECT whole_at FROM kept") == [(1,)]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
