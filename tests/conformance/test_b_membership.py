"""Scenarios 12 to 22: who is in a room, and who is not any more."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from adapter.config import InviteSettings
from adapter.matrix.channels import Channel
from adapter.matrix.handlers import onboarding
from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import City, conversation, derived
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.conformance.situation import a_chat, a_space, holds, stays
from tests.faults import Before, Proxy
from tests.people import Person

MEMBER = "m.room.member"


async def member(seen_by: Account, room: str, who: Account) -> str:
    """The id of somebody's member event."""
    found: str = (await seen_by.state_event(room, MEMBER, who.user_id))["event_id"]
    return found


@pytest.mark.scenario(12)
async def test_12_an_owner_who_has_not_come_yet_is_waited_for(city: City) -> None:
    """Who is invited and has not joined is pending, and is not invited again."""
    alice, space, (one,) = await city.home(join=False)
    bob, legacy, (old,) = await city.old_home(join=False)
    await city.once()
    city.forget()
    await holds(
        city,
        {
            space: a_space(alice, "pending"),
            one: a_chat(alice, space, 1, "pending"),
            legacy: a_space(bob, "pending"),
            old: a_chat(bob, legacy, 1, "pending", platform=derived(old)),
        },
    )


@pytest.mark.scenario(13)
async def test_13_who_left_a_chat_is_not_asked_back(city: City) -> None:
    """Who left a chat, or was put out, is not asked back; the chat is back when they are."""
    alice, space, (left, kicked) = await city.home(chats=2)
    await city.once()
    await alice.leave(left)
    await city.bot.kick(kicked, alice.user_id)
    rows = {space: a_space(alice)}
    for number, room in enumerate((left, kicked), 1):
        event = await member(city.bot, room, alice)
        rows[room] = a_chat(alice, space, number, "detached: owner_left", event)
    await holds(city, rows)

    # Somebody's invitation is what brings them back, and nothing else.
    for room in (left, kicked):
        await city.bot.invite(room, alice.user_id)
    await alice.join(left)
    rows[left] = a_chat(alice, space, 1)
    rows[kicked] = a_chat(alice, space, 2, "pending")
    await holds(city, rows)


@pytest.mark.scenario(14)
async def test_14_who_left_their_space_is_answered_in_their_chat(
    city: City, platform: Backend
) -> None:
    """Who left their Space keeps it, and is answered in the chat that they did not leave."""
    alice, space, (one,) = await city.home()
    await city.once()
    await alice.leave(space)
    left = await member(city.bot, space, alice)
    await holds(
        city,
        {
            space: a_space(alice, "detached: owner_left", left),
            one: a_chat(alice, space, 1),
        },
    )
    async with living(city, platform):
        word = await exchange(Person(alice), one)
    assert platform.heard == {conversation(alice, 1): [word]}
    assert await city.membership(space, alice) == "leave"


@pytest.mark.scenario(15)
async def test_15_who_declined_is_not_invited_at_each_pass(city: City) -> None:
    """Who declined an invitation is not invited again, however many passes there are."""
    alice, space, (one, withdrawn) = await city.home(chats=2, join=False)
    await city.once()
    await alice.leave(space)
    await alice.leave(one)
    await city.bot.kick(withdrawn, alice.user_id)
    gone = "detached: owner_left"
    rooms = (space, one, withdrawn)
    events = [await member(city.bot, room, alice) for room in rooms]
    rows = {
        space: a_space(alice, gone, events[0]),
        one: a_chat(alice, space, 1, gone, events[1]),
        withdrawn: a_chat(alice, space, 2, gone, events[2]),
    }
    await holds(city, rows)
    for _ in range(2):  # as the timer does
        await stays(city, rows)


@pytest.mark.scenario(16)
async def test_16_where_the_owner_is_banned_nobody_is_answered(
    city: City, platform: Backend
) -> None:
    """Where the owner was banned, by bot or admin, the chat is detached; no guest is heard."""
    alice, space, (one, two, other) = await city.home("alice", 3, version="11")
    guest = await city.person("guest")
    for room in (one, two):
        await city.bot.invite(room, guest.user_id)
        await guest.join(room)
    await city.bot.set_power(two, {guest.user_id: 100})
    await city.once()
    await city.bot.ban(one, alice.user_id)
    await guest.ban(two, alice.user_id)
    rows = {space: a_space(alice), other: a_chat(alice, space, 3)}
    for number, room in enumerate((one, two), 1):
        event = await member(city.bot, room, alice)
        rows[room] = a_chat(alice, space, number, "detached: owner_banned", event)
    await holds(city, rows)

    async with living(city, platform, routing="members"):
        for room in (one, two):
            await guest.send(room, "is anybody there?")
        word = await exchange(Person(alice), other)
    assert platform.heard == {conversation(alice, 3): [word]}
    assert [await said(city, room) for room in (one, two)] == [([], [])] * 2


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        pytest.param("kick", "bot_kicked", marks=pytest.mark.scenario(17)),
        pytest.param("ban", "bot_banned", marks=pytest.mark.scenario(18)),
    ],
)
async def test_17_18_a_bot_that_was_thrown_out_keeps_the_rows(
    city: City, platform: Backend, how: str, reason: str
) -> None:
    """Kicked or banned, the bot keeps the row, with the event that did it; it makes no other."""
    # From version 12 on nobody can throw out a room's creator.
    (alice, space, (one, two)), (bob, other, (old,)) = await asyncio.gather(
        city.home("alice", 2, version="11"), city.old_home("bob", version="10")
    )
    thrown = {space: alice, one: alice, old: bob}
    for room, owner in thrown.items():
        await city.bot.set_power(room, {owner.user_id: 100, city.bot.user_id: 50})
    await city.once()
    before = city.rows()
    events = {}
    for room, owner in thrown.items():
        await getattr(owner, how)(room, city.bot.user_id)
        events[room] = await member(owner, room, city.bot)
    gone = f"detached: {reason}"
    rows = {
        space: a_space(alice, gone, events[space]),
        one: a_chat(alice, space, 1, gone, events[one]),
        two: a_chat(alice, space, 2),
        other: a_space(bob),
        old: a_chat(
            bob, other, 1, gone, events[old], platform=before[old]["platform_chat_id"]
        ),
    }
    # No snapshot at all means that only rooms are seen that the bot is in.
    await holds(city, rows, apart=[Channel.STATE])

    joined = await city.bot.joined_rooms()
    async with living(city, platform):
        await alice.send(one, "can you hear me?")
        word = await exchange(Person(alice), two)
    assert platform.heard == {conversation(alice, 2): [word]}
    assert sorted(await city.bot.joined_rooms()) == sorted(joined)
    assert await said(city, one, seen_by=alice) == ([], [])

    # Asked back, and in again, it finds everything as it was.
    for room, owner in thrown.items():
        if how == "ban":
            await owner.unban(room, city.bot.user_id)
        await owner.invite(room, city.bot.user_id)
        await city.bot.join(room)
    await holds(
        city,
        {
            room: bound._replace(status="active", evidence=None)
            for room, bound in rows.items()
        },
    )


@pytest.mark.scenario(19)
async def test_19_an_invitation_binds_nothing_and_waits_until_the_bot_is_ready(
    city: City, platform: Backend
) -> None:
    """The bot is invited: that binds nothing; once ready it takes those of whom it knows."""
    owner, stranger = await asyncio.gather(
        city.person("alice"), city.person("stranger")
    )
    alice = Person(owner)
    direct = await alice.direct(city.bot)
    theirs = [
        await stranger.direct(city.bot.user_id),
        await stranger.create_room(room_type="m.space", invite=[city.bot.user_id]),
    ]
    await holds(city, {})
    for room in theirs:
        found = await stranger.state_event(room, MEMBER, city.bot.user_id)
        assert found["content"]["membership"] == "invite"

    known = InviteSettings(("@alice-*:hs.test",))
    async with living(city, platform, invites=known):
        await alice.hears(direct)
        rooms = await alice.accept(2)
        for room in theirs:
            found = await stranger.state_event(room, MEMBER, city.bot.user_id)
            assert found["content"]["membership"] == "leave"
    [space], [chat] = await home_of(city, owner)
    assert {space, chat} == set(rooms)
    assert set(await city.bot.joined_rooms()) == {direct, space, chat}
    assert city.rows().keys() == {space, chat}


@pytest.mark.scenario(20)
async def test_20_an_invitation_that_was_taken_back_is_forgotten(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Taken back before the bot runs, or while the bot has it in mind: nothing is joined."""
    (owner, space, (one,)), bob = await asyncio.gather(
        city.home("alice"), city.person("bob")
    )

    async def invited() -> str:
        # In a direct chat as Element makes it the bot has as much power as its maker.
        return await bob.create_room(invite=[city.bot.user_id], is_direct=True)

    await bob.kick(await invited(), city.bot.user_id)
    rows = {space: a_space(owner), one: a_chat(owner, space, 1)}
    await holds(city, rows)
    alice = Person(owner)
    # As if too many were before it: it is left open, and looked at again and again.
    monkeypatch.setattr(onboarding, "WAITING", 0)
    monkeypatch.setattr(onboarding, "SOON", 0.1)

    async def taken_back() -> None:
        await bob.kick(await pending, city.bot.user_id)
        monkeypatch.undo()

    pending = asyncio.create_task(invited())
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        # A start looks at everything and at invitations, and then at what is left open.
        looked = proxy.at("POST .*/sync", Before(taken_back), 4)
        async with living(city, platform):
            await looked.struck()
            assert "invitations left open" in caplog.messages
            # A word goes first in each turn: after it the invitation was seen, or never came.
            await exchange(alice, one)
            await exchange(alice, one)
    city.client.homeserver = city.bot.url
    assert [seen for seen in proxy.requests if "join/" in f"{seen.path}/"] == []
    assert set(await city.bot.joined_rooms()) == {space, one}
    assert await home_of(city, bob) == ([], [])
    await stays(city, rows)


@pytest.mark.scenario(21)
async def test_21_a_child_that_the_bot_is_not_in_is_reported(
    city: City, platform: Backend
) -> None:
    """A child that the bot is not in, nobody knows why: its row is unknown, in time lost."""
    alice, space, (forgotten, invited, here) = await city.home("alice", 3, version="11")
    await city.bot.set_power(invited, {alice.user_id: 100, city.bot.user_id: 50})
    await city.once()
    await city.bot.leave(forgotten)
    await city.bot.forget(forgotten)
    await alice.kick(invited, city.bot.user_id)
    # An invite hides how the bot's stay has ended.
    await alice.invite(invited, city.bot.user_id)
    why = ["unknown: state: 403", "unknown: the bot's membership is invite"]
    rooms = (forgotten, invited)
    alone = {space: a_space(alice), here: a_chat(alice, space, 3)}
    rows = dict(alone)
    for number, (room, reason) in enumerate(zip(rooms, why, strict=True), 1):
        rows[room] = a_chat(alice, space, number, reason)
    # No snapshot at all shows no invite either.
    apart = [Channel.STATE]
    # Nobody tells of a room that the bot has forgotten: a look at everything misses it.
    await holds(city, rows, cold=alone, unknown=rooms, apart=apart, whole=True)

    # Given up after a `full_interval`; what is said in the others is answered on.
    await city.once(settings=ReconcileSettings(full_interval=0))
    lost = {room: rows[room]._replace(status="detached: lost") for room in rooms}
    await stays(
        city,
        rows | lost,
        cold=alone,
        findings={("lost", room) for room in rooms},
        unknown=rooms,
        apart=[Channel.STATE],
    )
    async with living(city, platform):
        word = await exchange(Person(alice), here)
    assert platform.heard == {conversation(alice, 3): [word]}


@pytest.mark.scenario(22)
async def test_22_a_room_of_one_keeps_its_row(city: City) -> None:
    """The bot alone in a room, or the owner: detached with the leave that made it so."""
    alice, space, (left, of_alice, here) = await city.home(chats=3)
    await city.once()
    await alice.leave(left)
    await city.bot.leave(of_alice)
    rows = {
        space: a_space(alice),
        left: a_chat(
            alice,
            space,
            1,
            "detached: owner_left",
            await member(city.bot, left, alice),
        ),
        of_alice: a_chat(
            alice,
            space,
            2,
            "detached: bot_left",
            await member(alice, of_alice, city.bot),
        ),
        here: a_chat(alice, space, 3),
    }
    await holds(city, rows)
