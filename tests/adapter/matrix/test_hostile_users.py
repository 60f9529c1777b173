"""People who mean harm, with all the power that Matrix can give them: nothing comes of it.

What is forged in state is in `test_identity_rules`, `test_legacy_rooms`, `test_upgrades` and
`test_invite_space`, words and names are in `test_hostile_words`, masses in `test_floods`."""

from __future__ import annotations

import asyncio
import json
from itertools import chain
from typing import Any

import pytest

from adapter.cli.account import Account, CallFailed
from adapter.matrix.facts import TOMBSTONE
from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    IDENTITY,
    City,
    chat_identity,
    conversation,
    space_identity,
)
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.people import Person

Json = dict[str, Any]


@pytest.fixture
def platform() -> Backend:
    return Backend()


# --- whose rooms -----------------------------------------------------------------------


async def test_odd_names_are_people_of_their_own(city: City, platform: Backend) -> None:
    """Ids that look alike, or mean something in a URL, belong to different people."""
    names = ("alice", "alice.", "alice=2f", "a/../../bot")
    people = [Person(await city.person(name)) for name in names]
    async with living(city, platform):
        directs = [await who.direct(city.bot) for who in people]
        for who, direct in zip(people, directs, strict=True):
            await who.hears(direct)
            await who.accept(2)
        homes = [await home_of(city, who.account) for who in people]
        assert all((len(h.spaces), len(h.chats)) == (1, 1) for h in homes)
        assert len({room for h in homes for room in (*h.spaces, *h.chats)}) == 8
        heard = [
            await exchange(who, home.chats[0])
            for who, home in zip(people, homes, strict=True)
        ]
    assert sorted(chain(*platform.heard.values())) == sorted(heard)
    assert len(platform.heard) == len(people)
    owners = {row["matrix_user_id"] for row in city.rows().values()}
    assert owners == {who.user_id for who in people}


async def test_a_room_that_names_the_bot_as_its_creator(
    city: City, platform: Backend
) -> None:
    """In version 12 a user can make it one of several: the room is the user's all the same.

    A user whom an older bot made one of its rooms' creators has all power in these, but
    none over what the bot says there, nor over the bot."""
    owner, space, (chat,) = await city.home("alice")
    mallory = Person(await city.person("mallory"))
    guest, _, (theirs,) = await city.home(
        "guest", version="12", preset="trusted_private_chat"
    )
    async with living(city, platform):
        for identity in (space_identity(owner), chat_identity(owner, 1)):
            room = await mallory.direct(
                city.bot, version="12", creation_content={IDENTITY: identity}
            )
            created = await mallory.account.state_event(room, "m.room.create")
            assert created["content"]["additional_creators"] == [city.bot.user_id]
            await mallory.account.put_state(room, BINDING, chat_identity(owner, 1))
            await mallory.account.link(room, chat)
            await mallory.hears(room)
            assert room not in city.rows()
        created = await guest.state_event(theirs, "m.room.create")
        assert created["content"]["additional_creators"] == [guest.user_id]
        with pytest.raises(CallFailed, match="403"):
            await guest.kick(theirs, city.bot.user_id)
        with pytest.raises(CallFailed, match="403"):
            await guest.put_state(
                theirs, BINDING, chat_identity(owner, 1), city.bot.user_id
            )
        await guest.put_state(theirs, TOMBSTONE, {"replacement_room": chat})
        word = await exchange(Person(owner), chat)
        other = await exchange(Person(guest), theirs)
    assert city.status(theirs) == "active"
    assert city.bound(chat)[1:3] == (owner.user_id, space)
    assert platform.heard == {
        conversation(owner, 1): [word],
        conversation(guest, 1): [other],
    }


async def test_tombstones_live(city: City, platform: Backend) -> None:
    """Round in a circle, to nowhere, and to somebody else's chat: each chat goes on."""
    mallory, space, rooms = await city.home("mallory", 3, version="11")
    alice, _, (hers,) = await city.home("alice")
    for room in rooms:
        await city.bot.set_power(room, {mallory.user_id: 100})
    targets = dict(zip(rooms, ("!nowhere", rooms[2], rooms[1]), strict=True))
    async with living(city, platform):
        for room, target in targets.items():
            await mallory.put_state(room, TOMBSTONE, {"replacement_room": target})
        words = {room: [await exchange(Person(mallory), room)] for room in rooms}
        for room in rooms:
            await mallory.put_state(room, TOMBSTONE, {"replacement_room": hers})
            words[room].append(await exchange(Person(mallory), room))
        hers_too = await exchange(Person(alice), hers)
    assert platform.heard == {
        **{conversation(mallory, n): words[room] for n, room in enumerate(rooms, 1)},
        conversation(alice, 1): [hers_too],
    }
    assert {city.status(room) for room in (space, hers, *rooms)} == {"active"}
    assert (await said(city, hers)).notices == []
    await city.settled()


# --- wars ------------------------------------------------------------------------------


async def test_somebody_takes_everything_back(city: City, platform: Backend) -> None:
    """All that stands in their chat is redacted, again and again: it goes on, and nobody
    is fought over it for ever. What the bot said of itself there comes back three times."""
    owner, space, (chat, other) = await city.home("mallory", 2, version="11")
    mallory = Person(owner)
    for room in (space, chat):
        await city.bot.set_power(room, {owner.user_id: 100})
    async with living(city, platform):
        await mallory.say(chat, "!reset")
        await mallory.hears(chat)
        fresh = city.bound(chat)[-1]
        words = [await exchange(mallory, chat)]
        for _ in range(5):
            await redact_all(city, owner, chat)
            words.append(await exchange(mallory, chat))
            await written(city, chat)
        await redact_all(city, owner, space, but=(f"{CHILD}|{chat}",))
        words.append(await exchange(mallory, chat))
        # A link that is taken back is a decision, not a fight.
        await mallory.say(other, "hello?")
        [told] = await mallory.hears(other)
        assert "is archived" in told["body"]
    assert platform.heard == {fresh: words}
    assert city.status(other) == "detached: unlinked"
    assert city.bound(chat)[-1] == fresh
    assert await city.binding(chat) == {}
    # One by the command, and three repairs.
    bindings = [
        event
        for event in await city.bot.messages(chat, limit=500)
        if event["type"] == BINDING
    ]
    assert len(bindings) == 4
    assert ("unpublishable", chat) in found(city)


async def redact_all(
    city: City, who: Any, room: str, *, but: tuple[str, ...] = ()
) -> None:
    """Redact every state event and message that is not somebody's membership or power."""
    kept = {"m.room.create", "m.room.member", "m.room.power_levels"}
    state = {f"{e['type']}|{e['state_key']}": e for e in await who.state(room)}
    events = [e for place, e in state.items() if place not in but]
    events += [e for e in await who.messages(room) if e["type"] == "m.room.message"]
    await asyncio.gather(
        *(
            who.redact(room, event["event_id"])
            for event in events
            if event["type"] not in kept and event["content"]
        )
    )


async def written(city: City, room: str) -> None:
    """Return when the bot has written its binding again, or says that it will not."""
    async with asyncio.timeout(60):
        while not await city.binding(room):
            report = city.query("SELECT report FROM passes ORDER BY id DESC")[0][0]
            if "unpublishable" in report:
                return
            await asyncio.sleep(0.05)


async def test_records_and_links_are_taken_back_again_and_again(city: City) -> None:
    """A record is written three times a day, and a link once: the event that takes it
    back stands where it stood, and is a decision. So it is after a room was upgraded."""
    owner, space, (old, older) = await city.old_home("mallory", 2, version="11")
    made = await city.room(owner, identity=chat_identity(owner, 3))
    for room in (space, old):
        await city.bot.set_power(room, {owner.user_id: 100})
    await city.once()
    moved = await city.bot.upgrade(older, "11")
    await city.once()
    recorded, linked = (space, old), (made, moved)
    rows = {room: city.bound(room) for room in (*recorded, *linked)}
    for take_back in (unlink, redact_link, unlink, redact_link):
        for room in recorded:
            if await city.binding(room):
                await redact(owner, room, BINDING, city.bot.user_id)
        for room in linked:
            await take_back(owner, space, room)
        await city.once()
        assert {city.status(room) for room in recorded} == {"active"}
        assert {city.status(room) for room in linked} == {"detached: unlinked"}
        for room in linked:
            await owner.link(space, room)
        await city.once()
        assert {room: city.bound(room) for room in rows} == rows
    await city.settled(cold=False)
    assert found(city) == {("unpublishable", room) for room in recorded}
    for room in recorded:
        assert await written_by(city, room, BINDING, city.bot.user_id) == 3
    for room in linked:
        assert await written_by(city, space, CHILD, room) == 1


async def unlink(who: Account, space: str, room: str) -> None:
    await who.unlink(space, room)


async def redact_link(who: Account, space: str, room: str) -> None:
    await redact(who, space, CHILD, room)


async def redact(who: Account, room: str, kind: str, key: str) -> None:
    event = await who.state_event(room, kind, key)
    await who.redact(room, event["event_id"])


async def written_by(city: City, room: str, kind: str, key: str) -> int:
    """How often the bot has set this state event."""
    places = [
        (event["type"], event.get("state_key"))
        for event in await city.bot.messages(room, limit=500)
        if event["sender"] == city.bot.user_id
    ]
    return places.count((kind, key))


async def test_the_bot_has_no_power_left(city: City, platform: Backend) -> None:
    """Demoted in their Space and their chat, it says what it cannot do, and answers on."""
    owner, space, (chat,) = await city.home("mallory", version="11")
    mallory = Person(owner)
    async with living(city, platform):
        for room in (space, chat):
            await city.bot.set_power(room, {owner.user_id: 100, city.bot.user_id: 0})
        for command in ("!reset", "!archive", "!rename Mine"):
            await mallory.say(chat, command)
            [told] = await mallory.hears(chat)
            assert "too little power" in told["body"]
        words = [await exchange(mallory, chat)]
        # Not even that: it can say nothing, and nothing else stops.
        levels = await owner.state_event(chat, "m.room.power_levels")
        silent = {**levels["content"], "events_default": 50}
        await owner.put_state(chat, "m.room.power_levels", silent)
        lost = await mallory.say(chat, "and now?")
        other, _, (theirs,) = await city.home("alice")
        word = await exchange(Person(other), theirs)
    assert platform.heard == {
        conversation(owner, 1): [*words, lost],
        conversation(other, 1): [word],
    }
    assert city.status(chat) == "active"


# --- much ------------------------------------------------------------------------------

ROOM = 40 * 50_000
"""Bytes of state in a room that is larger than it needs to be."""


async def test_a_room_that_was_filled_before_the_bot_came(
    city: City, platform: Backend
) -> None:
    """Who made it is all that the bot wants to know of a stranger's room."""
    owner, _, (chat,) = await city.home("alice")
    mallory = Person(await city.person("mallory"))
    hoard = [
        {
            "type": "org.example.hoard",
            "state_key": f"{n}",
            "content": {"x": "x" * 50_000},
        }
        for n in range(20)
    ]
    async with living(city, platform) as bot:
        await exchange(Person(owner), chat)
        before = bot._wire.received
        direct = await mallory.direct(city.bot, initial_state=hoard)
        await mallory.hears(direct)
        await exchange(Person(owner), chat)
        assert bot._wire.received - before < ROOM / 4
    assert direct not in city.rows()


async def test_a_huge_room_is_read_once(city: City, platform: Backend) -> None:
    """What happens in a user's own room makes the bot read no more than that, and of all
    that stands there a look at everything keeps next to nothing."""
    owner, _, (chat,) = await city.home("alice")
    mallory = Person(await city.person("mallory"))
    guests = [Person(await city.person("guest")) for _ in range(3)]
    account = mallory.account
    async with living(city, platform) as bot:
        direct = await mallory.direct(city.bot, version="11")
        await mallory.hears(direct)
        await asyncio.gather(
            *(
                account.put_state(direct, kind, {"x": "x" * 50_000}, f"{n}")
                for n in range(20)
                for kind in ("org.example.hoard", f"{BINDING}.")
            )
        )
        await exchange(Person(owner), chat)
        before = bot._wire.received
        for n in range(10):
            await account.put_state(direct, CHILD, {"via": ["hs.test"]}, f"!{n}")
            await account.put_state(
                direct, TOMBSTONE, {"replacement_room": chat, "n": n}
            )
            await mallory.say(direct, f"word {n}")
        for guest in guests:
            await account.invite(direct, guest.user_id)
            await guest.account.join(direct)
            await mallory.say(direct, "with a guest")
            await guest.say(direct, "!new Mine")
        await exchange(Person(owner), chat)
        assert bot._wire.received - before < ROOM / 4
        await asyncio.gather(
            *(account.invite(direct, f"@{n}{'x' * 200}:hs.test") for n in range(30))
        )
        before = bot._wire.received
        await bot._follower.look_again()
        assert bot._wire.received - before < ROOM / 4
        await exchange(Person(owner), chat)
    assert found(city) == set()
    assert direct not in city.rows()
    kept = dict(city.query("SELECT room_id, length(fact) FROM facts"))
    assert kept[direct] < 2_000


def found(city: City) -> set[tuple[str, str]]:
    """Code and room of every finding of the newest pass."""
    told = json.loads(city.query("SELECT report FROM passes ORDER BY id DESC")[0][0])
    return {(f["code"], f["room"]) for f in told["findings"]}


async def test_events_as_large_as_they_can_be(city: City, platform: Backend) -> None:
    """They are read, kept short where they are said, and never copied."""
    owner, space, (chat,) = await city.home("mallory", version="11")
    mallory = Person(owner)
    for room in (space, chat):
        await city.bot.set_power(room, {owner.user_id: 100})
    via = [f"{n}.{'x' * 90}.test" for n in range(600)]
    async with living(city, platform):
        await owner.link(space, chat, via=["hs.test", *via])
        await owner.put_state(chat, "m.room.topic", {"topic": "\x00\u202e" * 4_000})
        await owner.put_state(chat, BINDING, {"v": 1, "x": "x" * 60_000})
        await mallory.say(chat, "!rename " + "long " * 12_000)
        [told] = await mallory.hears(chat)
        assert len(told["body"]) < 1_000
        word = await mallory.say(chat, "y" * 60_000)
        answer = await mallory.hears(chat, 8)
    assert "".join(part["body"] for part in answer).count("y") == 60_000
    assert platform.heard == {conversation(owner, 1): [word]}
    assert city.status(chat) == "active"
    name = city.rows()[chat]["name"]
    assert len(name) <= 255
    await city.settled()
