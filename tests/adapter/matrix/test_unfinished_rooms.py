"""Rooms that were not finished, and owners who decide, on a real server: rule 10."""

from __future__ import annotations

from controller.apply import Result
from tests.adapter.matrix.city import (
    CHILD,
    City,
    chat_identity,
    conversation,
    findings,
    space_identity,
)


async def test_a_room_that_was_only_created_is_linked_and_its_owner_invited(
    city: City,
) -> None:
    """A crash after createRoom, or after the link, ends in one finished room."""
    alice, space, _ = await city.home(chats=0)
    created = await city.room(identity=chat_identity(alice, 1))
    linked = await city.room(identity=chat_identity(alice, 2), link=space)
    await city.once()
    assert city.bound(created) == (
        "chat",
        alice.user_id,
        space,
        "C1",
        conversation(alice, 1),
    )
    assert await city.has(space, CHILD, created) == {"via": ["hs.test"]}
    assert [await city.membership(room, alice) for room in (created, linked)] == [
        "invite"
    ] * 2
    assert city.status(created) == city.status(linked) == "pending"
    await city.settled()
    await alice.join(created)
    await alice.leave(linked)
    await city.once()
    assert city.status(created) == "active"
    assert city.status(linked) == "detached: owner_left"
    await city.settled()


async def test_a_space_that_was_only_created_gets_its_owner(city: City) -> None:
    """Space and chat are both there and nobody was invited: both are finished."""
    alice = await city.person("alice")
    space = await city.room(room_type="m.space", identity=space_identity(alice))
    chat = await city.room(identity=chat_identity(alice, 1))
    await city.once()
    assert await city.has(space, CHILD, chat) == {"via": ["hs.test"]}
    assert await city.membership(space, alice) == "invite"
    assert await city.membership(chat, alice) == "invite"
    assert city.users() == {alice.user_id: space}
    await city.settled()


async def test_a_chat_without_a_space_is_found_and_used(city: City) -> None:
    """Nothing is made by a pass: the chat is bound, without a Space, and reported."""
    alice = await city.person("alice")
    chat = await city.room(alice, identity=chat_identity(alice, 1))
    report = await city.once()
    assert city.bound(chat) == (
        "chat",
        alice.user_id,
        None,
        "C1",
        conversation(alice, 1),
    )
    assert city.status(chat) == "active"
    assert ("no_space", chat) in findings(report)
    assert city.users() == {}
    await city.settled()


async def test_decisions_of_owner_and_bot_are_left_alone(city: City) -> None:
    """Who left, declined or was banned is not asked again; what was emptied stays so."""
    alice, space, (left, banned, kicked) = await city.home(chats=3)
    declined = await city.chat(alice, space, 4, join=False)
    emptied = await city.room(identity=chat_identity(alice, 5), link=space)
    redacted = await city.room(identity=chat_identity(alice, 6), link=space)
    await city.once()
    assert city.status(declined) == "pending"
    before = {room: city.bound(room) for room in (left, banned, kicked, declined)}
    await alice.leave(left)
    await city.bot.ban(banned, alice.user_id)
    await city.bot.kick(kicked, alice.user_id)
    await alice.leave(declined)
    await city.bot.unlink(space, emptied)
    found = await city.bot.state_event(space, CHILD, redacted)
    await city.bot.redact(space, found["event_id"])
    report = await city.once(allow_detach=4)
    assert report.publish.outcomes == ()
    assert [city.status(room) for room in before] == [
        "detached: owner_left",
        "detached: owner_banned",
        "detached: owner_left",
        "detached: owner_left",
    ]
    for room in before:
        own = await city.bot.state_event(room, "m.room.member", alice.user_id)
        assert city.evidence(room) == own["event_id"]
    assert {room: city.bound(room) for room in before} == before
    assert city.status(emptied) == city.status(redacted) == "detached: unlinked"
    await city.settled()
    # Asked by somebody, the owner is back at once.
    await city.bot.invite(left, alice.user_id)
    await alice.join(left)
    await city.bot.unban(banned, alice.user_id)
    await city.once()
    assert city.status(left) == "active"
    assert city.status(banned) == "detached: owner_left"
    await city.settled()


async def test_an_unlinked_room_is_not_finished(city: City) -> None:
    """An emptied child event ends it: nobody is invited, though nobody ever was."""
    alice, space, _ = await city.home(chats=0)
    room = await city.room(identity=chat_identity(alice, 1), link=space)
    await city.bot.unlink(space, room)
    server = await city.server()
    await city.once()
    assert city.status(room) == "detached: unlinked"
    assert await city.server() == server
    await city.settled()


async def test_a_chat_is_linked_into_a_space_that_its_owner_left(city: City) -> None:
    """The Space still has the owner's place; the chat is routed all the same."""
    alice, space, (one,) = await city.home()
    await alice.leave(space)
    new = await city.room(alice, identity=chat_identity(alice, 2))
    await city.once()
    assert city.status(space) == "detached: owner_left"
    assert city.users() == {alice.user_id: space}
    assert city.status(one) == city.status(new) == "active"
    assert await city.has(space, CHILD, new) == {"via": ["hs.test"]}
    assert city.bound(new)[2] == space
    await city.settled()


async def test_an_owner_who_cannot_be_invited_is_a_finding(city: City) -> None:
    """The refusal is stored: no drift, no endless asking; the room is linked though."""
    alice, space, _ = await city.home(chats=0)
    identity = chat_identity(alice, 1) | {"owner": "@ghost:nowhere.example"}
    room = await city.room(identity=identity)
    first = await city.once()
    assert first.publish.counts[Result.FAILED] == 1
    report = await city.settled(cold=False)
    assert ("uninvitable", room) in findings(report)
    assert city.status(room) == "pending"
    assert city.query("SELECT result FROM publications") == [("refused",)]
    assert city.users() == {alice.user_id: space}


async def test_a_chat_that_the_bot_may_not_link_is_bound_and_told(city: City) -> None:
    """Without power in the Space nothing is written there, once and for today."""
    alice, space, _ = await city.home(chats=0, version="11")
    await city.bot.set_power(space, {city.bot.user_id: 0})
    chat = await city.room(alice, identity=chat_identity(alice, 1))
    assert (await city.once()).result == "failed"
    report = await city.settled(cold=False)
    assert ("unpublishable", space) in findings(report)
    assert city.status(chat) == "active"
    assert city.bound(chat)[2] == space
    assert await city.has(space, CHILD, chat) is None


async def test_an_owner_of_whom_a_member_event_is_forged_is_as_invited(
    city: City,
) -> None:
    """A guest who invites the owner first does what the pass would have done."""
    alice, space, _ = await city.home(chats=0)
    guest = await city.person("guest")
    room = await city.room(guest, identity=chat_identity(alice, 1), link=space)
    await guest.invite(room, alice.user_id)
    server = await city.server()
    await city.once()
    assert await city.server() == server
    assert city.status(room) == "pending"
    await alice.join(room)
    await city.once()
    assert city.bound(room)[1] == alice.user_id
    assert city.status(room) == "active"
    await city.settled()
