"""Who can read what in the rooms that the bot makes, as SECURITY.md says it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from adapter.cli.account import Account, CallFailed
from tests.adapter.matrix.city import City
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.people import Person


async def test_a_guest(city: City) -> None:
    """Reads whose chat it is, and all that is said there; of other chats what is said of
    them in this one, and in a Space which there are. Nobody else reads anything."""
    owner, guest, stranger = [
        await city.person(name) for name in ("alice", "guest", "stranger")
    ]
    alice = Person(owner)
    async with living(city, Backend()):
        direct = await alice.direct(city.bot)
        await alice.hears(direct)
        await alice.accept(2)
        await alice.say(direct, "!new")
        await alice.accept()
        [space], [one, other] = await home_of(city, owner)
        await exchange(alice, one)
        await join(owner, guest, one)
        bound = city.bound(one)
        seen = await state(guest, one)
        told = (*bound, city.bot.user_id)
        assert [what for what in told if str(what) not in seen] == []
        for hidden in (direct, other, city.bound(other)[-1]):
            assert str(hidden) not in seen
        assert await city.has(one, "m.room.encryption") is None
        await alice.say(one, "!chats")
        await alice.hears(one)
    heard = await said(city, one, seen_by=guest)
    assert heard.answers == ["1: ping"]
    assert [quote(other, safe="") in notice for notice in heard.notices] == [True]

    await join(owner, guest, space)
    seen = await state(guest, space)
    assert [room in seen for room in (one, other, direct)] == [True, True, False]
    for chat in (one, other):
        assert str(city.bound(chat)[-1]) not in seen
    for who, room in ((guest, other), (guest, direct), (stranger, one)):
        with pytest.raises(CallFailed, match="403"):
            await who.state(room)
        with pytest.raises(CallFailed, match="403"):
            await who.messages(room)


async def join(owner: Account, guest: Account, room: str) -> None:
    await owner.invite(room, guest.user_id)
    await guest.join(room)


async def state(who: Account, room: str) -> str:
    """All that the room's state says to somebody."""
    return json.dumps(await who.state(room))
