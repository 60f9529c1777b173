"""However much one user sends, it costs bounded work, and holds up nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.config import InviteSettings
from adapter.matrix import dispatcher
from adapter.matrix.handlers import chat as chat_handler
from adapter.matrix.handlers import onboarding
from tests.adapter.matrix.city import City, conversation
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living
from tests.faults import Before, Proxy
from tests.people import Person

JOIN = "POST .*/join"


@pytest.fixture
def platform() -> Backend:
    return Backend()


# --- invitations -----------------------------------------------------------------------


async def test_a_flood_of_invitations(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of each user's are answered, and of all unwelcome ones together; the rest
    stands open, and nobody else waits.

    Later, and after each start, some more are: none is ever lost."""
    monkeypatch.setattr(onboarding, "DECLINED", 3)
    mallory, eve, trudy, alice = [
        Person(await city.person(name)) for name in ("mallory", "eve", "trudy", "alice")
    ]
    invites = InviteSettings(("@alice-*", "@mallory-*"))
    each = onboarding.EACH
    accepted = await flood(mallory, city, each + 3)
    declined = {who: await flood(who, city, 2) for who in (eve, trudy)}
    async with living(city, platform, invites=invites):
        more = await flood(mallory, city, 3)
        direct = await alice.direct(city.bot)
        await alice.hears(direct)
        await alice.accept(2)
        [chat] = (await home_of(city, alice.account)).chats
        await exchange(alice, chat)
    assert len(await joined(city, accepted + more)) == each
    left = [await still_open(who, city, rooms) for who, rooms in declined.items()]
    assert sum(left) == 1
    # Six are left, of which four are answered at once, and the last two a while later.
    monkeypatch.setattr(onboarding, "EACH", 4)
    monkeypatch.setattr(onboarding, "PERIOD", 4.0)
    async with living(city, platform, invites=invites):
        for room in accepted + more:
            await mallory.sees(room, city.bot)
        for who, rooms in declined.items():
            for room in rooms:
                await who.sees(room, city.bot, "leave")
    # Many direct chats, and one home.
    home = await home_of(city, mallory.account)
    assert (len(home.spaces), len(home.chats)) == (1, 1)
    assert await home_of(city, eve.account) == ([], [])


async def test_who_was_declined_may_still_come(city: City, platform: Backend) -> None:
    """As often as they like to invite the bot where it does not go, and where it does
    not even decline any more."""
    alice = Person(await city.person("alice"))
    wrong = [
        await alice.account.create_room(invite=[city.bot.user_id])
        for _ in range(onboarding.EACH + 1)
    ]
    async with living(city, platform):
        async with asyncio.timeout(PATIENCE):
            while await still_open(alice, city, wrong) > 1:
                await alice.look(wait_ms=500)
        direct = await alice.direct(city.bot)
        await alice.hears(direct)
        assert await still_open(alice, city, wrong) == 1
    assert len((await home_of(city, alice.account)).chats) == 1


async def test_more_people_at_once_than_the_bot_can_see_to(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who finds no room to wait is looked at again soon; words wait for none of it."""
    monkeypatch.setattr(onboarding, "WAITING", 1)
    monkeypatch.setattr(onboarding, "SOON", 0.2)
    owner, _, [chat] = await city.home("carol")
    crowd = [Person(await city.person(name)) for name in ("alice", "bob")]
    directs = [await who.direct(city.bot) for who in crowd]
    go_on = asyncio.Event()
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        proxy.at(JOIN, Before(go_on.wait))
        async with living(city, platform):
            await proxy.arrived(JOIN)
            for _ in range(3):
                await exchange(Person(owner), chat)
            assert len(await proxy.arrived(JOIN)) == 1
            go_on.set()
            for who, direct in zip(crowd, directs, strict=True):
                await who.hears(direct)


async def flood(who: Person, city: City, count: int) -> list[str]:
    """Invite the bot to so many direct chats at once."""
    return await asyncio.gather(
        *(
            who.account.create_room(invite=[city.bot.user_id], is_direct=True)
            for _ in range(count)
        )
    )


async def joined(city: City, rooms: Collection[str]) -> set[str]:
    return set(await city.bot.joined_rooms()) & set(rooms)


async def still_open(who: Person, city: City, rooms: Collection[str]) -> int:
    """How many of these rooms of somebody invite the bot, and have no answer yet."""
    events = await asyncio.gather(
        *(
            who.account.state_event(room, "m.room.member", city.bot.user_id)
            for room in rooms
        )
    )
    return [e["content"]["membership"] for e in events].count("invite")


# --- words -----------------------------------------------------------------------------


async def test_somebody_who_speaks_in_many_rooms_at_once(
    city: City, platform: Backend
) -> None:
    """The platform is asked some of it at a time, somebody else's words at once."""
    most = chat_handler.AT_ONCE
    (owner, _, chats), (other, _, [theirs]) = await asyncio.gather(
        city.home("alice", most + 2), city.home("bob")
    )
    alice, bob = Person(owner), Person(other)
    platform.hold("now!")
    async with living(city, platform):
        words = [await alice.say(chat, "now!") for chat in chats]
        await platform.asked("now!")
        await exchange(bob, theirs)
        heard = [platform.heard.get(conversation(owner, n)) for n in range(1, most + 3)]
        assert len([one for one in heard if one]) == most
        platform.release("now!")
        for chat in chats:
            await alice.hears(chat)
    for number, word in enumerate(words, 1):
        assert platform.heard[conversation(owner, number)] == [word]


async def test_more_words_than_anybody_goes_through(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them are answered, in order; that others are left out is a finding."""
    monkeypatch.setattr(dispatcher, "MOST_WAITING", 5)
    (owner, _, [chat]), (other, _, [theirs]) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    alice, bob = Person(owner), Person(other)
    platform.hold("0")
    async with living(city, platform):
        words = [await alice.say(chat, f"{n}") for n in range(8)]
        await exchange(bob, theirs)
        platform.release("0")
        answers = await alice.hears(chat, 5)
        last = await exchange(alice, chat)
        # What changes a room has every finding told.
        guest = await city.person("guest")
        await city.bot.invite(theirs, guest.user_id)
        await exchange(bob, theirs)
    assert [answer["body"] for answer in answers] == [f"{n + 1}: {n}" for n in range(5)]
    assert platform.heard[conversation(owner, 1)] == [*words[:5], last]
    told = json.loads(city.query("SELECT report FROM passes ORDER BY id DESC")[0][0])
    assert [(f["code"], f["room"]) for f in told["findings"]] == [("backlog", chat)]
