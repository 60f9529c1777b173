"""Scenarios 36 to 39: rooms that were replaced, and rooms that only say so."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cli.account import Account
from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    City,
    Json,
    chat_identity,
    derived,
    space_identity,
)
from tests.conformance.situation import (
    a_chat,
    a_space,
    holds,
    invite_of,
    link_of,
    record_of,
    stays,
)

TOMBSTONE = "m.room.tombstone"
UPGRADED = "detached: upgraded"
VERSIONS = pytest.mark.parametrize(
    ("old", "new"), [("10", "11"), ("11", "12"), ("12", "12")]
)


async def upgraded(city: City, room: str, version: str) -> tuple[str, str]:
    """The new room, and the event that says so in the old one."""
    new = await city.bot.upgrade(room, version)
    return new, (await city.bot.state_event(room, TOMBSTONE))["event_id"]


def at(server: dict[str, dict[tuple[str, str], str]], room: str, who: Account) -> str:
    """The id of somebody's member event."""
    return server[room]["m.room.member", who.user_id]


@pytest.mark.scenario(36)
@VERSIONS
async def test_36_a_chat_that_the_bot_upgraded_is_the_same_chat(
    city: City, old: str, new: str
) -> None:
    """A chat that the bot upgraded: ids, record, link and owner move to the new room."""
    (alice, space, (one, reset)), (bob, legacy, (first,)) = await asyncio.gather(
        city.home("alice", 2, version=old), city.old_home("bob", version=old)
    )
    await city.bot.link(space, one, order="m")
    binding = {"v": 1, "platform_chat_id": "reset"}
    await city.bot.put_state(reset, BINDING, binding, city.bot.user_id)
    await city.startup()
    before = {room: city.rows()[room] for room in (one, reset, first)}
    assert len(before) == 3
    bound = {
        one: a_chat(alice, space, 1),
        reset: a_chat(alice, space, 2, platform="reset"),
        first: a_chat(bob, legacy, 1, platform=derived(first)),
    }
    rows = {space: a_space(alice), legacy: a_space(bob)}
    writes = record_of(city, legacy)
    moved = {}
    for room, owner, where in (
        (one, alice, space),
        (reset, alice, space),
        (first, bob, legacy),
    ):
        moved[room], tombstone = await upgraded(city, room, new)
        rows[room] = bound[room]._replace(status=UPGRADED, evidence=tombstone)
        rows[moved[room]] = bound[room]._replace(status="pending")
        writes |= record_of(city, moved[room]) | link_of(where, moved[room])
        writes |= invite_of(owner, moved[room])
    await holds(city, rows, writes=writes)
    assert await city.has(space, CHILD, moved[one]) == {
        "via": ["hs.test"],
        "order": "m",
    }
    assert await city.binding(moved[one]) == chat_identity(alice, 1)
    assert await city.binding(moved[reset]) == chat_identity(alice, 2, "reset")
    assert await city.binding(moved[first]) == chat_identity(bob, 1, derived(first))
    assert await city.binding(one) is None

    await alice.join(moved[one])
    rows[moved[one]] = bound[one]
    await holds(city, rows)


@pytest.mark.scenario(36)
async def test_36_what_an_owner_decided_of_the_old_room_holds_in_the_new_one(
    city: City,
) -> None:
    """Left, banned or unlinked there: it is recorded here, and nobody invited or linked."""
    alice, space, (left, banned, unlinked) = await city.home(chats=3, version="11")
    await city.once()
    await alice.leave(left)
    await city.bot.ban(banned, alice.user_id)
    emptied = await city.bot.unlink(space, unlinked)
    server = await city.server()
    why = {
        left: ("detached: owner_left", at(server, left, alice)),
        banned: ("detached: owner_banned", at(server, banned, alice)),
        unlinked: ("detached: unlinked", emptied),
    }
    rows, writes = {space: a_space(alice)}, set()
    for number, room in enumerate((left, banned, unlinked), 1):
        new, tombstone = await upgraded(city, room, "12")
        rows[room] = a_chat(alice, space, number, UPGRADED, tombstone)
        rows[new] = a_chat(alice, space, number, *why[room])
        writes |= record_of(city, new)
        if room is banned:
            # Synapse takes bans along, under an event of their own.
            event = await city.bot.state_event(new, "m.room.member", alice.user_id)
            rows[new] = rows[new]._replace(evidence=event["event_id"])
    await holds(city, rows, writes=writes)


@pytest.mark.scenario(37)
@VERSIONS
async def test_37_a_space_that_the_bot_upgraded_is_the_same_space(
    city: City, old: str, new: str
) -> None:
    """A Space that the bot upgraded: its chats follow; what was unlinked there stays so."""
    (alice, space, chats), (bob, legacy, (first,)) = await asyncio.gather(
        city.home("alice", 3, version=old), city.old_home("bob", version=old)
    )
    one, two, three = chats
    for room in chats:
        parent = {"via": ["hs.test"], "canonical": True}
        await city.bot.put_state(room, "m.space.parent", parent, space)
    await city.once()
    await city.bot.link(space, one, order="q")
    emptied = await city.bot.unlink(space, two)
    (newer, tombstone), (newest, their_tombstone) = (
        await upgraded(city, space, new),
        await upgraded(city, legacy, new),
    )
    # Lost on the way, as with servers that copy no children.
    link = (await city.bot.state_event(newer, CHILD, three))["event_id"]
    await city.bot.redact(newer, link)
    rows = {
        space: a_space(alice, UPGRADED, tombstone),
        newer: a_space(alice, "pending"),
        one: a_chat(alice, newer, 1),
        two: a_chat(alice, newer, 2, "detached: unlinked", emptied),
        three: a_chat(alice, newer, 3, "detached: unlinked", link),
        legacy: a_space(bob, UPGRADED, their_tombstone),
        newest: a_space(bob, "pending"),
        first: a_chat(bob, newest, 1, platform=derived(first)),
    }
    writes = record_of(city, newer, newest)
    writes |= invite_of(alice, newer) | invite_of(bob, newest)
    await holds(city, rows, writes=writes)
    assert await city.binding(newer) == space_identity(alice)
    assert await city.has(newer, CHILD, one) == {"via": ["hs.test"], "order": "q"}
    # Parent events are hints, and nobody's business.
    assert await city.has(one, "m.space.parent", newer) is None


@pytest.mark.scenario(37)
async def test_37_space_and_chat_may_both_be_upgraded(city: City) -> None:
    """The child event is found along both chains, and is written for the newest pair."""
    alice, space, (one, two) = await city.home(chats=2, version="10")
    await city.once()
    await city.bot.link(space, one, order="x")
    new_one, of_one = await upgraded(city, one, "12")
    new_space, of_space = await upgraded(city, space, "11")
    new_two, of_two = await upgraded(city, two, "11")
    emptied = await city.bot.unlink(new_space, two)
    newest, of_new_space = await upgraded(city, new_space, "12")
    await holds(
        city,
        {
            space: a_space(alice, UPGRADED, of_space),
            new_space: a_space(alice, UPGRADED, of_new_space),
            newest: a_space(alice, "pending"),
            one: a_chat(alice, newest, 1, UPGRADED, of_one),
            new_one: a_chat(alice, newest, 1, "pending"),
            two: a_chat(alice, newest, 2, UPGRADED, of_two),
            new_two: a_chat(alice, newest, 2, "detached: unlinked", emptied),
        },
        writes=record_of(city, newest, new_one, new_two)
        | link_of(newest, new_one)
        | invite_of(alice, newest, new_one),
    )
    assert await city.has(newest, CHILD, new_one) == {"via": ["hs.test"], "order": "x"}


@pytest.mark.scenario(38)
async def test_38_a_tombstone_to_a_room_that_does_not_succeed_is_not_followed(
    city: City,
) -> None:
    """A tombstone to a user's room, one unseen, one of another kind, none: not followed."""
    (alice, space, rooms), mallory = await asyncio.gather(
        city.home("alice", 5, version="11"), city.person("mallory")
    )
    a, b, c, d, e = rooms

    def after(room: str) -> Json:
        return {"predecessor": {"room_id": room}}

    theirs = await mallory.create_room(
        creation_content=after(a), invite=[city.bot.user_id]
    )
    await city.bot.join(theirs)
    unseen = await mallory.create_room(creation_content=after(b))
    not_for_it = await city.room(alice)
    other_kind = await city.bot.create_room(
        room_type="m.space", creation_content=after(d)
    )
    for room, target in (
        (a, theirs),
        (b, unseen),
        (c, not_for_it),
        (d, other_kind),
        (e, "nowhere"),
    ):
        await city.bot.put_state(room, TOMBSTONE, {"replacement_room": target})
    await city.once()
    found = {("unfollowed_tombstone", room) for room in rooms}
    found |= {("ambiguous_owner", room) for room in (not_for_it, other_kind)}
    chats = {r: a_chat(alice, space, n) for n, r in enumerate(rooms, 1)}
    await stays(city, {space: a_space(alice), **chats}, findings=found)


@pytest.mark.scenario(38)
async def test_38_a_user_who_upgrades_takes_nothing_over(city: City) -> None:
    """The new rooms are the user's own, also when the bot is in them: the old go on."""
    alice, space, (one,) = await city.home(version="11")
    for room in (space, one):
        await city.bot.set_power(room, {alice.user_id: 100})
    await city.once()
    rows = {space: a_space(alice), one: a_chat(alice, space, 1)}
    found = {("unfollowed_tombstone", room) for room in rows}
    new = [await alice.upgrade(room, "11") for room in rows]
    await stays(city, rows, findings=found)
    for room in new:
        await alice.invite(room, city.bot.user_id)
        await city.bot.join(room)
    # Upgrading has copied the links, and her Space names the bot's chat now.
    await stays(city, rows, findings=found | {("foreign_link", one)})


@pytest.mark.scenario(39)
async def test_39_a_tombstone_counts_by_its_replacement_until_it_is_redacted(
    city: City,
) -> None:
    """A tombstone without `body`, or with any, is followed; a redacted one is none."""
    alice, space, rooms = await city.home(chats=4, version="11")
    await city.once()
    rows, writes = {space: a_space(alice)}, set()
    bodies: list[Json] = [{}, {"body": "moved"}, {"body": 5}]
    for number, (room, body) in enumerate(zip(rooms, bodies, strict=False), 1):
        new = await city.bot.create_room(
            creation_content={"predecessor": {"room_id": room}}
        )
        content = body | {"replacement_room": new}
        tombstone = await city.bot.put_state(room, TOMBSTONE, content)
        rows[room] = a_chat(alice, space, number, UPGRADED, tombstone)
        rows[new] = a_chat(alice, space, number, "pending")
        writes |= record_of(city, new) | link_of(space, new) | invite_of(alice, new)
    back = rooms[-1]
    idle, tombstone = await upgraded(city, back, "12")
    await city.bot.redact(back, tombstone)
    rows[back] = a_chat(alice, space, 4)
    found = {("ambiguous_owner", idle)}
    await holds(city, rows, writes=writes, findings=found)
