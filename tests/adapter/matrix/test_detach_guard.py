"""What one pass may give up, on a real server: section 5 of the design."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import (
    City,
    chat_identity,
)
from tests.faults import Answer, Proxy, Seen

JOINED = "GET .*/joined_rooms"
FORBIDDEN = Answer(403, b'{"errcode": "M_FORBIDDEN"}')


async def test_too_many_detachments_are_blocked_and_the_rest_is_applied(
    city: City, caplog: pytest.LogCaptureFixture
) -> None:
    """Of ten rows three may go at once; of four none does, until somebody allows it."""
    alice, space, rooms = await city.home(chats=8, join=False)
    bob, _, (legacy,) = await city.old_home()
    assert len(rooms) + 1 == 9
    await city.startup()
    city.spoil("DELETE FROM room_meta WHERE matrix_user_id = :bob", bob=bob.user_id)
    extra = await city.chat(alice, space, 9)
    await city.once()
    given_up = rooms[:4]
    before = city.rows()
    for room in given_up:
        await city.bot.unlink(space, room)
    await city.bot.put_state(rooms[5], "m.room.name", {"name": "News"})
    new = await city.room(bob, link=city.users()[bob.user_id])
    # Nothing may follow from what is held: no other room of this owner is finished.
    unfinished = await city.room(identity=chat_identity(alice, 20))
    report = await city.once()
    assert report.result == "blocked"
    assert {change.key.name for change in report.decided.cache.blocked} == set(given_up)
    assert {room: city.rows()[room] for room in given_up} == {
        room: before[room] for room in given_up
    }
    assert city.rows()[rooms[5]]["name"] == "News"
    assert city.bound(new)[:2] == ("chat", bob.user_id)
    # It stays due: no row and no event changes, and it is told again.
    table, server = city.dump(), await city.server()
    again = await city.once()
    assert (again.result, len(again.decided.cache.blocked)) == ("blocked", 4)
    assert (city.dump(), await city.server()) == (table, server)
    last = "SELECT result FROM passes ORDER BY id DESC LIMIT 1"
    assert city.query(last) == [("blocked",)]

    assert await city.has(space, "m.space.child", unfinished) is None
    assert await city.membership(unfinished, alice) is None
    assert await city.binding(new) is not None

    assert (await city.once(allow_detach=3)).result == "blocked"
    assert caplog.messages == ["converged"] * 3  # as warnings: a person has to look
    assert (await city.once(allow_detach=4)).result == "converged"
    assert caplog.messages == ["converged"] * 3
    assert {city.status(room) for room in given_up} == {"detached: unlinked"}
    assert city.status(extra) == city.status(legacy) == "active"
    assert await city.membership(unfinished, alice) == "invite"
    await city.settled()


async def test_what_a_guard_holds_keeps_its_place(city: City) -> None:
    """While the wrong rooms stay in use, the right ones wait; the cache stays whole."""
    alice, space, winners = await city.home(chats=4)
    losers = await asyncio.gather(
        *(
            city.chat(alice, space, n, identity=chat_identity(alice, n, f"p{n}"))
            for n in range(1, 5)
        )
    )
    await city.startup()
    say = (
        "UPDATE room_meta SET status = :status, reason = :reason WHERE room_id = :room"
    )
    for room in winners:
        city.spoil(say, status="detached", reason="duplicate", room=room)
    for room in losers:
        city.spoil(say, status="active", reason=None, room=room)
    report = await city.once()
    assert (report.result, report.cache.failed) == ("blocked", ())
    assert {city.status(room) for room in losers} == {"active"}
    assert {city.status(room) for room in winners} == {"detached: duplicate"}
    table = city.dump()
    assert (await city.once()).result == "blocked"
    assert city.dump() == table
    assert (await city.once(allow_detach=4)).result == "converged"
    assert {city.status(room) for room in winners} == {"active"}
    await city.settled()


async def test_three_may_go_and_leaving_and_upgrades_are_not_counted(
    city: City,
) -> None:
    """Three unlinked, three left by their owner, four upgraded: that is three of ten."""
    alice, space, rooms = await city.home(chats=11, version="11", join=False)
    await city.once()
    unlinked, left, replaced = rooms[:3], rooms[3:6], rooms[6:10]
    for room in unlinked:
        await city.bot.unlink(space, room)
    for room in left:
        await alice.leave(room)
    for room in replaced:
        await city.bot.upgrade(room, "12")
    report = await city.once()
    assert not report.decided.cache.blocked
    assert [city.status(room) for room in rooms] == [
        *["detached: unlinked"] * 3,
        *["detached: owner_left"] * 3,
        *["detached: upgraded"] * 4,
        "pending",
    ]
    await city.settled()


async def test_owners_that_are_thrown_out_are_counted(city: City) -> None:
    """A room that its owner was kicked from was not left by them: the guard looks."""
    alice, _, rooms = await city.home(chats=5)
    await city.once()
    for room in rooms[:4]:
        await city.bot.kick(room, alice.user_id)
    assert (await city.once()).result == "blocked"
    assert {city.status(room) for room in rooms} == {"active"}
    await city.bot.invite(rooms[0], alice.user_id)
    assert (await city.once()).result == "converged"
    assert [city.status(room) for room in rooms] == [
        "pending",
        *["detached: owner_left"] * 3,
        "active",
    ]
    await city.settled()


async def test_rooms_that_cannot_be_found_are_counted(city: City) -> None:
    """A cache full of rooms that the bot is not in blocks, and none of it is touched."""
    alice, space, (one,) = await city.home()
    await city.startup()
    for number in range(2, 6):
        city.spoil(
            "INSERT INTO room_meta (room_id, room_type, chat_id, space_id,"
            " matrix_user_id, platform_chat_id) VALUES"
            " (:room, 'chat', :chat, :space, :alice, :chat)",
            room=f"!nowhere-{number}:hs.test",
            chat=f"C{number}",
            space=space,
            alice=alice.user_id,
        )
    table = city.dump()
    for entry in (city.startup, city.once):
        report = await entry()
        assert report.result == "blocked"
        assert len(report.decided.cache.blocked) == 4
        assert city.dump() == table
    await city.once(allow_detach=4)
    assert city.rows()["!nowhere-5:hs.test"]["status"] == "unknown"
    assert city.status(one) == "active"
    await city.settled(cold=False)


async def test_an_empty_cache_has_nothing_to_guard(city: City) -> None:
    """Rooms that are seen for the first time are bound as they are, however many went."""
    _, space, rooms = await city.home(chats=5)
    for room in rooms:
        await city.bot.unlink(space, room)
    assert (await city.once()).result == "converged"
    assert {city.status(room) for room in rooms} == {"detached: unlinked"}
    await city.settled()


@pytest.mark.parametrize("kept", [0, 5], ids=["empty", "half of it"])
async def test_a_list_of_rooms_that_is_too_short_gives_up_nothing(
    city: City, homeserver: Homeserver, kept: int
) -> None:
    """Rooms that /joined_rooms leaves out are asked for their state, and show themselves."""
    _, _, rooms = await city.home(chats=9)
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        await city.once()
        table = city.dump()
        proxy.at(JOINED, joined(rooms[:kept]), times=2)
        assert (await city.once()).result == "in sync"
        assert city.dump() == table
        await city.settled()


@pytest.mark.parametrize("seen", [0, 6], ids=["all", "those of the rest"])
async def test_a_server_that_forgets_its_rooms_is_held_off(
    city: City, homeserver: Homeserver, seen: int
) -> None:
    """No list, no snapshot and no state shows them, and nothing says why: more than a
    fifth of the rows would become unknown, so none does, until the server remembers."""
    _, space, rooms = await city.home(chats=9)
    kept = [space, *rooms][:seen]
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        await city.once()
        table = city.dump()
        shown = {room: await city.bot.state(room) for room in kept}
        proxy.at(JOINED, joined(kept), times=4)
        proxy.at(".*/versions", Answer(200, b'{"versions": ["v1.11"]}'), times=2)
        proxy.at("GET .*/sync", snapshot(shown), times=4)
        refused = proxy.at(lambda seen: asks(seen, kept), FORBIDDEN, times=100)
        for _ in range(2):
            report = await city.once(whole=True)
            assert report.result == "blocked"
            assert len(report.decided.cache.blocked) == 10 - seen
            assert city.dump() == table
        refused.end()
        assert (await city.once()).result == "in sync"
        assert city.dump() == table
        await city.settled()


def joined(rooms: Collection[str]) -> Answer:
    return Answer(200, json.dumps({"joined_rooms": list(rooms)}).encode())


def snapshot(rooms: dict[str, list[dict[str, object]]]) -> Answer:
    """A /sync that knows these rooms and no others."""
    join = {room: {"state": {"events": events}} for room, events in rooms.items()}
    sections = {"rooms": {"join": join}} if join else {}
    return Answer(200, json.dumps({"next_batch": "s1", **sections}).encode())


def asks(request: Seen, kept: Collection[str]) -> bool:
    """Whether it asks for the state of a room that is forgotten."""
    room = request.path.rpartition("/rooms/")[2].removesuffix("/state")
    return (
        request.method == "GET"
        and request.path.endswith("/state")
        and room.replace("%21", "!").replace("%3A", ":") not in kept
    )
