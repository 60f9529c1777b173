"""Rooms that were upgraded, on a real server: rule 8 of docs/how-it-decides.md."""

from __future__ import annotations

import pytest

from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    City,
    chat_identity,
    conversation,
    derived,
    findings,
    space_identity,
)

TOMBSTONE = "m.room.tombstone"


@pytest.mark.parametrize("cache", ["warm", "cold"])
async def test_a_chat_that_was_upgraded_is_the_same_chat(
    city: City, cache: str
) -> None:
    """Identity, ids and order move along; child, record and invite are written anew."""
    alice, space, (one,) = await city.home(version="11")
    await city.bot.link(space, one, order="m")
    if cache == "warm":
        await city.once()
    new = await city.bot.upgrade(one, "12")
    await city.once()
    same = ("chat", alice.user_id, space, "C1", conversation(alice, 1))
    assert city.bound(new) == city.bound(one) == same
    assert city.status(one) == "detached: upgraded"
    assert city.status(new) == "pending"
    tombstone = await city.bot.state_event(one, TOMBSTONE)
    assert city.evidence(one) == tombstone["event_id"]
    assert city.chats() == {conversation(alice, 1): (alice.user_id, "C1", new)}
    assert await city.has(space, CHILD, new) == {"via": ["hs.test"], "order": "m"}
    assert await city.binding(new) == chat_identity(alice, 1)
    assert await city.binding(one) is None
    assert await city.membership(new, alice) == "invite"
    await city.settled()
    await alice.join(new)
    await city.once()
    assert city.status(new) == "active"
    await city.settled()


async def test_rows_of_an_upgraded_chat_are_mended(
    city: City, subtests: pytest.Subtests
) -> None:
    """Whichever of its rooms the cache knows, and whatever it says of them."""
    _, space, (one,) = await city.home(version="11")
    await city.once()
    new = await city.bot.upgrade(one, "12")
    await city.once()
    fields = (
        "room_type",
        "chat_id",
        "space_id",
        "platform_chat_id",
        "status",
        "reason",
    )

    def rows() -> dict[str, list[object]]:
        return {r: [row[name] for name in fields] for r, row in city.rows().items()}

    expected, server = rows(), await city.server()
    for damage in (
        "DELETE FROM room_meta WHERE room_id = :one",
        "DELETE FROM room_meta WHERE room_id = :new",
        "UPDATE room_meta SET platform_chat_id = 'p-' || room_id, chat_id = 'C4'",
        "UPDATE room_meta SET chat_id = NULL, space_id = :one WHERE room_id = :new",
        "UPDATE room_meta SET status = 'active', reason = NULL, chat_id = 'C7',"
        " platform_chat_id = 'p7' WHERE room_id = :one",
        "UPDATE room_meta SET status = 'detached', reason = 'upgraded'",
    ):
        with subtests.test(damage=damage):
            city.spoil(damage, one=one, new=new, space=space)
            assert rows() != expected
            await city.once()
            assert rows() == expected
            assert await city.server() == server
    await city.settled()


async def test_a_bot_that_is_thrown_out_of_the_new_room_keeps_both_rows(
    city: City,
) -> None:
    """The old room does not come back into the place of one that was followed."""
    alice, space, (one,) = await city.home(version="10")
    await city.bot.set_power(one, {alice.user_id: 100})
    new = await city.bot.upgrade(one, "11")
    await city.once()
    await alice.join(new)
    await city.bot.set_power(new, {city.bot.user_id: 50})
    await alice.kick(new, city.bot.user_id)
    await city.once()
    assert city.status(new) == "detached: bot_kicked"
    assert city.status(one) == "detached: upgraded"
    same = ("chat", alice.user_id, space, "C1", conversation(alice, 1))
    assert city.bound(new) == city.bound(one) == same
    await city.settled()


async def test_the_old_room_may_be_left_and_forgotten(city: City) -> None:
    """Its row stays; from the new room and its record everything is known all the same."""
    alice, space, (one,) = await city.home(version="11")
    new = await city.bot.upgrade(one, "12")
    await city.once()
    await alice.join(new)
    await city.bot.leave(one)
    await city.once()
    await city.settled()
    await city.bot.forget(one)
    await city.once()
    assert city.status(one) == "detached: upgraded"
    same = ("chat", alice.user_id, space, "C1", conversation(alice, 1))
    assert city.bound(new) == city.bound(one) == same
    await city.settled(unlike={one})


async def test_a_legacy_chat_keeps_its_id_over_upgrades(city: City) -> None:
    """Derived from the first room of the chain, also when nothing was recorded before."""
    bob, space, (old,) = await city.old_home(version="10")
    newer = await city.bot.upgrade(old, "11")
    newest = await city.bot.upgrade(newer, "12")
    await city.once()
    assert city.bound(newest) == ("chat", bob.user_id, space, "C1", derived(old))
    assert [city.status(room) for room in (old, newer)] == ["detached: upgraded"] * 2
    assert city.users() == {bob.user_id: space}
    record = await city.binding(newest)
    assert record == chat_identity(bob, 1, derived(old))
    assert await city.membership(newest, bob) == "invite"
    await city.settled()


async def test_a_binding_moves_to_the_new_room(city: City) -> None:
    """What a reset said of the old room holds for the new one."""
    alice, _, (one,) = await city.home(version="11")
    reset = {"v": 1, "platform_chat_id": "reset"}
    await city.bot.put_state(one, BINDING, reset, city.bot.user_id)
    new = await city.bot.upgrade(one, "12")
    await city.once()
    assert city.bound(new)[4] == "reset"
    assert await city.binding(new) == chat_identity(alice, 1, "reset")
    await city.settled()


@pytest.mark.parametrize("legacy", [False, True], ids=["marked", "legacy"])
async def test_a_space_that_was_upgraded_is_the_same_space(
    city: City, legacy: bool
) -> None:
    """Its chats follow; what was emptied in the old one stays unlinked in the new."""
    make = city.old_home if legacy else city.home
    owner, space, (one, two, three) = await make("carol", 3, version="11")
    if legacy:
        await city.startup()
    await city.bot.link(space, one, order="q")
    await city.bot.unlink(space, two)
    new = await city.bot.upgrade(space, "12")
    # Lost on the way, as with servers that copy no children.
    await city.bot.redact(
        new, (await city.bot.state_event(new, CHILD, three))["event_id"]
    )
    await city.once()
    assert city.users() == {owner.user_id: new}
    assert city.status(space) == "detached: upgraded"
    assert city.status(new) == "pending"
    assert [city.bound(room)[2] for room in (one, two, three)] == [new] * 3
    assert [city.status(room) for room in (one, two, three)] == [
        "active",
        *["detached: unlinked"] * 2,
    ]
    assert await city.binding(new) == space_identity(owner)
    assert await city.has(new, CHILD, one) == {"via": ["hs.test"], "order": "q"}
    assert await city.has(new, CHILD, two) is None
    await city.settled()


async def test_space_and_chat_may_both_be_upgraded(city: City) -> None:
    """The old child event in the old Space is found, and written for the newest pair."""
    alice, space, (one, two) = await city.home(chats=2, version="10")
    await city.once()
    await city.bot.link(space, one, order="x")
    new_one = await city.bot.upgrade(one, "12")
    new_space = await city.bot.upgrade(space, "11")
    new_two = await city.bot.upgrade(two, "11")
    await city.bot.unlink(new_space, two)
    newest_space = await city.bot.upgrade(new_space, "12")
    await city.once()
    assert city.users() == {alice.user_id: newest_space}
    assert city.bound(new_one)[1:4] == (alice.user_id, newest_space, "C1")
    assert city.status(new_one) == "pending"
    assert await city.has(newest_space, CHILD, new_one) == {
        "via": ["hs.test"],
        "order": "x",
    }
    assert city.status(new_two) == "detached: unlinked"
    assert await city.has(newest_space, CHILD, new_two) is None
    assert {city.status(r) for r in (space, new_space, one, two)} == {
        "detached: upgraded"
    }
    await city.settled()


async def test_an_owner_who_left_is_not_invited_to_the_new_room(city: City) -> None:
    """A leave or a ban in the older room is a decision about the newer one, too."""
    alice, _, (one, two) = await city.home(chats=2, version="11")
    await alice.leave(one)
    await city.bot.ban(two, alice.user_id)
    news = [await city.bot.upgrade(room, "12") for room in (one, two)]
    await city.once()
    assert [city.status(room) for room in news] == [
        "detached: owner_left",
        "detached: owner_banned",
    ]
    assert [await city.membership(room, alice) for room in news] in (
        [None, None],
        [None, "ban"],
    )
    await city.settled()


@pytest.mark.parametrize("body", [{}, {"body": "moved"}])
async def test_a_tombstone_needs_no_body(city: City, body: dict[str, str]) -> None:
    """A successor counts by its create event; how the tombstone is worded does not."""
    _, _, (one,) = await city.home(version="11")
    new = await city.bot.create_room(
        version="12", creation_content={"predecessor": {"room_id": one}}
    )
    await city.bot.put_state(one, TOMBSTONE, body | {"replacement_room": new})
    await city.once()
    assert city.status(one) == "detached: upgraded"
    assert city.status(new) == "pending"
    await city.settled()


async def test_a_redacted_tombstone_is_none(city: City) -> None:
    """The old room lives on; what was to replace it is a room without a word about it."""
    alice, space, (one,) = await city.home(version="11")
    new = await city.bot.upgrade(one, "12")
    tombstone = await city.bot.state_event(one, TOMBSTONE)
    await city.bot.redact(one, tombstone["event_id"])
    await city.once()
    assert city.bound(one) == (
        "chat",
        alice.user_id,
        space,
        "C1",
        conversation(alice, 1),
    )
    assert city.status(one) == "active"
    assert city.status(new) is None
    await city.settled()


async def test_tombstones_to_other_rooms_are_not_followed(city: City) -> None:
    """Only a room that the bot made for it succeeds a room; else it stays as it is."""
    alice, _, rooms = await city.home(chats=5, version="11")
    await city.once()
    mallory = await city.person("mallory")
    a, b, c, d, e = rooms
    theirs = await mallory.create_room(
        creation_content={"predecessor": {"room_id": a}}, invite=[city.bot.user_id]
    )
    await city.bot.join(theirs)
    unseen = await mallory.create_room(creation_content={"predecessor": {"room_id": b}})
    not_for_it = await city.room(alice)
    other_kind = await city.bot.create_room(
        room_type="m.space", creation_content={"predecessor": {"room_id": d}}
    )
    targets = {a: theirs, b: unseen, c: not_for_it, d: other_kind, e: "nowhere"}
    for room, target in targets.items():
        await city.bot.put_state(room, TOMBSTONE, {"replacement_room": target})
    before = {room: city.rows()[room] for room in rooms}
    report = await city.once()
    assert {room: city.rows()[room] for room in rooms} == before
    assert {
        room for code, room in findings(report) if code == "unfollowed_tombstone"
    } == (set(rooms))
    assert not city.rows().keys() & {theirs, unseen, not_for_it, other_kind}
    assert len(city.chats()) == len(rooms)
    await city.settled()


async def test_a_user_who_upgrades_takes_nothing_over(city: City) -> None:
    """The new room is the user's own: the old one stays the chat, and is routed on."""
    alice, space, (one,) = await city.home(version="11")
    for room in (space, one):
        await city.bot.set_power(room, {alice.user_id: 100})
    await city.once()
    table = city.dump()
    new = [await alice.upgrade(room, "11") for room in (space, one)]
    report = await city.once()
    assert city.dump() == table
    assert {("unfollowed_tombstone", space), ("unfollowed_tombstone", one)} <= findings(
        report
    )
    await city.settled()
    for room in new:
        await alice.invite(room, city.bot.user_id)
        await city.bot.join(room)
    await city.once()
    assert city.dump() == table
    await city.settled()
