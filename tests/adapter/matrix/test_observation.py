"""Every channel shows the same world, and what is not shown is never taken for gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nio
import pytest
import pytest_asyncio

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import Homeserver
from adapter.matrix import channels
from adapter.matrix.channels import Channel
from adapter.matrix.facts import (
    EventTypes,
    Fact,
    Facts,
    Gone,
    Present,
    Unknown,
    fact,
    shown,
)
from adapter.matrix.observation import observe
from adapter.matrix.wire import Wire, WrongToken
from tests.conftest import Accounts

BINDING = EventTypes().binding
SHOWING = [Channel.SLIDING_SYNC, Channel.SYNC]
REAL = [*SHOWING, Channel.STATE]


@asynccontextmanager
async def wire_of(account: Account) -> AsyncIterator[Wire]:
    client = nio.AsyncClient(account.url)
    client.access_token = account.login.access_token
    try:
        yield Wire(client, patience=10.0)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def seen(account: Account, **how: Any) -> Facts:
    async with wire_of(account) as wire:
        return await observe(wire, account.user_id, **how)


@dataclass(frozen=True)
class World:
    """The rooms of one bot by what became of them, and each room's state as it is."""

    bot: Account
    rooms: Mapping[str, str]
    state: Mapping[str, list[dict[str, Any]]]

    def named(self, facts: Facts) -> dict[str, Fact]:
        names = {room_id: name for name, room_id in self.rooms.items()}
        return {names[room_id]: found for room_id, found in facts.rooms.items()}


_worlds = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(homeserver: Homeserver) -> AsyncIterator[World]:
    """Every situation that a room of a bot can be in."""
    # A worker that took tests from another's share may come back, and make one more.
    number = next(_worlds)
    async with http_session() as session:
        bot, alice, bob = [
            Account(
                homeserver.url,
                await homeserver.register(f"world-{number}-{name}"),
                session,
            )
            for name in ("bot", "alice", "bob")
        ]
        rooms = await make_world(bot, alice, bob)
        state = {
            room_id: await bot.state(room_id) for room_id in await bot.joined_rooms()
        }
    # The session is of this loop; tests have their own.
    yield World(bot, rooms, state)


async def make_world(bot: Account, alice: Account, bob: Account) -> dict[str, str]:
    rooms: dict[str, str] = {}

    async def room(
        name: str, by: Account = bot, version: str = "11", **how: Any
    ) -> str:
        other = alice if by is bot else bot
        rooms[name] = await by.create_room(
            version=version, name=name, invite=[other.user_id], **how
        )
        return rooms[name]

    for version in ("10", "11", "12"):
        identity = {"v": 1, "kind": "space", "owner": alice.user_id}
        space = await room(
            f"space {version}",
            version=version,
            room_type="m.space",
            creation_content={EventTypes().identity: identity},
        )
        chat = await room(f"chat {version}", version=version)
        await alice.join(chat)
        await bot.put_state(chat, BINDING, {"v": 1, "x": "é😀"}, bot.user_id)
        await bot.link(space, chat, order="a")
        emptied = await room(f"emptied {version}", version=version)
        await bot.link(space, emptied)
        await bot.unlink(space, emptied)
        redacted = await room(f"redacted {version}", version=version)
        await bot.redact(space, await bot.link(space, redacted))
        await bot.send(chat, "not to be kept")

    for name in ("kicked", "banned"):
        lost = await room(name)
        await alice.join(lost)
        await bot.put_state(lost, BINDING, {"v": 1}, bot.user_id)
        await bot.set_power(lost, {alice.user_id: 100, bot.user_id: 50})
        await (alice.kick if name == "kicked" else alice.ban)(lost, bot.user_id)
        await alice.put_state(lost, "m.room.name", {"name": "after the bot's time"})
    await bot.leave(await room("left"))

    foreign = await room("foreign", by=alice, version="12", room_type="m.space")
    await bot.join(foreign)
    await alice.link(foreign, rooms["chat 12"])
    await room("invited", by=alice)
    await bot.leave(await room("declined", by=alice))
    await alice.kick(await room("retracted", by=alice), bot.user_id)
    thrown_out = await room("thrown out", by=bob, version="12")
    await bot.join(thrown_out)
    await bob.kick(thrown_out, bot.user_id)

    rooms["upgraded to"] = await bot.upgrade(await room("upgraded"), "12")
    old = await room("upgraded by another")
    await alice.join(old)
    await bot.set_power(old, {alice.user_id: 100})
    rooms["another's upgrade"] = await alice.upgrade(old, "11")
    return rooms


KINDS = {
    "kicked": "bot_kicked",
    "banned": "bot_banned",
    "left": "bot_left",
    "declined": "bot_left",
    "retracted": "bot_kicked",
    "thrown out": "bot_kicked",
    "invited": "the bot's membership is invite",
    "another's upgrade": "state: 403",
}
"""What the rooms are that are not present, if everything is seen."""


def kind(found: Fact) -> str:
    match found:
        case Present():
            return "present"
        case Gone(reason=reason):
            return reason
        case Unknown(why=why):
            return why


def kinds(world: World, facts: Facts) -> dict[str, str]:
    return {name: kind(found) for name, found in world.named(facts).items()}


@pytest.mark.parametrize("channel", [*REAL, Channel.AUTO])
async def test_rows_are_covered(world: World, channel: Channel) -> None:
    """With a row for each room, every channel shows all that there is to be shown."""
    facts = await seen(world.bot, rows=world.rooms.values(), channel=channel)
    want = dict.fromkeys(world.rooms, "present") | KINDS
    if channel is Channel.STATE:
        want |= {"banned": "state: 403", "invited": "state: 403"}
    assert kinds(world, facts) == want
    assert facts.complete
    absent = {n for n, f in world.named(facts).items() if f[-2:] == (True, False)}
    assert absent == {
        n for n, k in want.items() if k in ("state: 403", KINDS["invited"])
    }
    present = {n for n, k in want.items() if k == "present"}
    assert facts.joined == {world.rooms[name] for name in present}


@pytest.mark.parametrize(
    ("channel", "hidden"),
    [
        (Channel.SLIDING_SYNC, {"invited", "left", "declined"}),
        (Channel.SYNC, {"invited"}),
        (
            Channel.STATE,
            {
                "invited",
                "left",
                "declined",
                "retracted",
                "kicked",
                "banned",
                "thrown out",
            },
        ),
    ],
)
async def test_without_rows(world: World, channel: Channel, hidden: set[str]) -> None:
    """Without rows, what docs/channels.md says is not looked at, and the rest the same."""
    facts = await seen(world.bot, channel=channel)
    want = dict.fromkeys(world.rooms, "present") | KINDS
    assert kinds(world, facts) == {n: k for n, k in want.items() if n not in hidden}
    everything = await seen(world.bot, rows=world.rooms.values(), channel=Channel.SYNC)
    assert facts.rooms.items() <= everything.rooms.items()


@pytest.mark.parametrize("channel", REAL)
async def test_state_is_what_it_is(world: World, channel: Channel) -> None:
    """A present room's fact is that of its /state, whatever channel it came through."""
    facts = await seen(world.bot, channel=channel)
    me = world.bot.user_id
    for room_id, events in world.state.items():
        assert facts.rooms[room_id] == fact(room_id, events, me)
    room = {name: shown(found) for name, found in world.named(facts).items()}
    for version in ("10", "11", "12"):
        space, chat = room[f"space {version}"], room[f"chat {version}"]
        assert space
        assert chat
        assert (space.create.version, space.create.type) == (version, "m.space")
        assert space.create.identity["kind"] == "space"
        assert chat.binding
        assert chat.binding.content["x"] == "é😀"
        children = {
            name: bool(space.children[world.rooms[f"{name} {version}"]].via)
            for name in ("chat", "emptied", "redacted")
        }
        assert children == {"chat": True, "emptied": False, "redacted": False}
    old, new = room["upgraded"], room["upgraded to"]
    assert old
    assert new
    assert old.tombstone
    assert (old.tombstone.replacement, new.create.predecessor) == (
        new.room_id,
        old.room_id,
    )


@pytest.mark.parametrize("channel", SHOWING)
async def test_what_is_left_is_shown(world: World, channel: Channel) -> None:
    """Rooms that the bot was thrown out of show what they were then, without rows too."""
    named = world.named(await seen(world.bot, channel=channel))
    for name in ("kicked", "banned"):
        room = shown(named[name])
        assert room
        assert room.binding
        assert room.name
        assert (room.name.name, len(room.members)) == (name, 2)


async def test_windows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sliding sync in small windows shows what it shows in one."""
    whole = await seen(world.bot, channel=Channel.SLIDING_SYNC)
    monkeypatch.setattr(channels, "WINDOW", 3)
    assert await seen(world.bot, channel=Channel.SLIDING_SYNC) == whole


@pytest.mark.parametrize("channel", REAL)
async def test_a_change_is_seen_at_once(bot: Account, channel: Channel) -> None:
    """Synapse's memory of two minutes is not in the way, and a second look is none."""
    space = await bot.create_room(room_type="m.space")
    async with wire_of(bot) as wire:
        for number in range(3):
            child = await bot.create_room(name=f"{number}")
            await bot.link(space, child)
            facts = await observe(wire, bot.user_id, channel=channel)
            room = shown(facts.rooms[space])
            assert room
            assert child in room.children
            assert len(room.children) == number + 1
            assert facts == await seen(bot, channel=channel)


@pytest.mark.parametrize("channel", REAL)
async def test_events_that_crossed_each_other(bot: Account, channel: Channel) -> None:
    """Children that were linked and unlinked at the same time are seen, each as it is."""
    space = await bot.create_room(room_type="m.space")
    for via in (["hs.test"], []):
        names = [f"!child-{number}:hs.test" for number in range(6)]
        await asyncio.gather(*(bot.link(space, name, via=via) for name in names))
        room = shown((await seen(bot, channel=channel)).rooms[space])
        assert room
        assert {
            name: list(c.via) for name, c in room.children.items()
        } == dict.fromkeys(names, via)


@pytest.mark.parametrize("channel", [*REAL, Channel.AUTO])
async def test_an_account_without_rooms(bot: Account, channel: Channel) -> None:
    """Nothing is what there is to see: no failure, and complete."""
    assert await seen(bot, channel=channel) == Facts({})


async def test_another_account(bot: Account, person: Account) -> None:
    """A token of another account shows another world: nothing is read with it."""
    async with wire_of(bot) as wire:
        with pytest.raises(WrongToken, match=person.user_id):
            await observe(wire, person.user_id)
        assert wire.requests == 1


@pytest.mark.parametrize("channel", REAL)
async def test_a_chain_of_upgrades(accounts: Accounts, channel: Channel) -> None:
    """A chain is followed in both directions through rooms that nothing else shows."""
    bot, person = await accounts("bot"), await accounts()
    ids = [await bot.create_room(version="11")]
    for _ in range(3):
        ids.append(await bot.upgrade(ids[-1], "11"))
        await bot.invite(ids[-1], person.user_id)
        await person.join(ids[-1])
        await bot.set_power(ids[-1], {person.user_id: 100})
    for room_id in (ids[0], ids[2], ids[3]):
        if room_id != ids[0]:
            await bot.set_power(room_id, {bot.user_id: 50})
            await person.kick(room_id, bot.user_id)
        else:
            await bot.leave(room_id)
    facts = await seen(bot, channel=channel)
    assert [kind(facts.rooms[room_id]) for room_id in ids] == [
        "bot_left",
        "present",
        "bot_kicked",
        "bot_kicked",
    ]


async def test_a_room_that_anybody_may_read(accounts: Accounts) -> None:
    """A whole state without the bot in it says that the bot is not there."""
    bot, person = await accounts("bot"), await accounts()
    visible = {"type": "m.room.history_visibility", "state_key": ""}
    public = await person.create_room(
        initial_state=[{**visible, "content": {"history_visibility": "world_readable"}}]
    )
    facts = await seen(bot, rows=[public, "no room", "!never:hs.test"])
    assert facts.rooms == {
        public: Unknown("the bot has no member event", absent=True),
        "no room": Unknown("not a room id", absent=True),
        "!never:hs.test": Unknown("state: 403", absent=True),
    }


@pytest.mark.parametrize("channel", REAL)
async def test_invited_back(accounts: Accounts, channel: Channel) -> None:
    """A room that threw the bot out and invites it again is out of sight, not gone."""
    bot, person = await accounts("bot"), await accounts()
    room = await bot.create_room(version="11", invite=[person.user_id])
    await person.join(room)
    await bot.set_power(room, {person.user_id: 100, bot.user_id: 50})
    await person.kick(room, bot.user_id)
    await person.invite(room, bot.user_id)
    found = (await seen(bot, rows=[room], channel=channel)).rooms[room]
    assert isinstance(found, Unknown)
    assert found.absent
    await bot.join(room)
    facts = await seen(bot, rows=[room], channel=channel)
    assert isinstance(facts.rooms[room], Present)
