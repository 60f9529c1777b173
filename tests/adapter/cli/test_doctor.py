"""`doctor`, on a real server: what it finds, what shows it, and what settles it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from schemas import problems
from tests.adapter.cli.runs import is_one_sentence, run_in
from tests.adapter.matrix.city import CHILD, IDENTITY, City, chat_identity
from tests.faults import Answer, Proxy

Json = dict[str, Any]
LEVELS = "m.room.power_levels"


def found(done: Any) -> list[Json]:
    told = json.loads(done.stdout)
    assert problems("doctor", told) == []
    assert done.stdout.isascii()
    findings: list[Json] = told["findings"]
    return findings


def by_room(findings: list[Json]) -> set[tuple[str, str]]:
    return {(one["code"], one["room"]) for one in findings}


async def test_a_world_in_order(city: City) -> None:
    """Also without a database, and with rooms where the bot's power has to be read."""
    await city.home("alice", 2)
    await city.home("bob", 1, version="11")
    done = await run_in(city, "doctor")
    assert (done.exit_code, done.stdout) == (0, "no findings\n")
    assert not city.path.exists()
    await city.once()
    done = await run_in(city, "doctor", "--output", "json")
    assert (done.exit_code, found(done)) == (0, [])


async def test_a_world_in_disorder(city: City) -> None:
    """Each trouble is found once, with its event and with what settles it; and nothing
    is written anywhere."""
    bot = city.bot
    alice, space, chats = await city.home("alice", 6, version="11")
    weak, left, kicked, moved, banned, nameless = chats
    bob, bobs, _ = await city.home("bob")
    (orphan, whose, twin, foreign), _ = await asyncio.gather(
        asyncio.gather(
            bot.create_room(creation_content={IDENTITY: chat_identity(alice, 7)}),
            city.room(alice, bob),
            city.space(alice),
            bob.create_room(),
        ),
        bot.set_power(weak, {alice.user_id: 100, bot.user_id: 0}),
    )
    await bot.set_power(kicked, {alice.user_id: 100, bot.user_id: 50})
    await city.startup()

    await alice.leave(left)
    await alice.kick(kicked, bot.user_id)
    await bot.put_state(moved, "m.room.tombstone", {"replacement_room": foreign})
    await bot.ban(banned, alice.user_id)
    await bot.link(bobs, foreign)
    await bot.link(bobs, "!x\u202e\x1b[2J")
    await bot.put_state(space, CHILD, {"order": "a"}, nameless)
    await bot.link(bobs, nameless)
    await bot.link(twin, moved)
    await bot.link(twin, weak)
    expected = {
        ("ambiguous_owner", whose),
        ("duplicate", twin),
        ("two_parents", moved),
        ("two_parents", weak),
        ("foreign_link", nameless),
        ("dangling_child", bobs),
        ("missing_via", space),
        ("never_linked", orphan),
        ("never_invited", orphan),
        ("unfollowed_tombstone", moved),
        ("owner_left", left),
        ("owner_banned", banned),
        ("bot_kicked", kicked),
        ("powerless", weak),
    }
    before = city.dump(), await city.position()

    done = await run_in(city, "doctor", "--output", "json")
    assert done.exit_code == 2, done.stderr
    findings = found(done)
    assert by_room(findings) == expected
    assert len(findings) == len(expected) + 1  # two children that lead nowhere

    # The events are those on the server, with who sent them and when.
    raw = {
        event["event_id"]: event
        for account in (bot, alice)
        for room in await account.joined_rooms()
        for event in await account.state(room)
    }
    for one in findings:
        event = raw[one["evidence"]]
        assert one["cause"] == {
            "sender": event["sender"],
            "event_id": event["event_id"],
            "at": event["origin_server_ts"],
        }
    shown = {(one["code"], one["room"]): one for one in findings}
    kinds = {key: raw[one["evidence"]]["type"] for key, one in shown.items()}
    assert kinds["powerless", weak] == LEVELS
    assert kinds["bot_kicked", kicked] == kinds["owner_left", left] == "m.room.member"
    assert kinds["missing_via", space] == CHILD

    remedies = {key: one["remedy"] for key, one in shown.items()}
    assert "`!restore C2`" in remedies["owner_left", left]
    assert "`!restore C6`" in remedies["missing_via", space]
    assert f"spacekeeper adopt '{whose}' --owner" in remedies["ambiguous_owner", whose]
    assert f"bot by {alice.user_id}" in remedies["bot_kicked", kicked]
    message = shown["duplicate", twin]["message"]
    assert message.startswith(f"{space} holds")
    assert "it links 4 of the owner's chats, this one 2" in message
    assert shown["owner_left", left]["subject"] == f"C2 of {alice.user_id}"

    # For people: the same, and what somebody typed moves no cursor.
    done = await run_in(city, "doctor")
    assert done.exit_code == 2
    assert all(line.isprintable() for line in done.stdout.split("\n"))
    assert "!x\\u202e\\x1b[2J" in done.stdout
    assert done.stdout.splitlines()[0] == "Whose room it is"
    assert done.stdout.splitlines()[-1] == f"{len(findings)} findings"
    assert (city.dump(), await city.position()) == before


async def test_what_a_guard_holds_back(city: City) -> None:
    """The number to let through is the one that the guard counts."""
    alice, _, chats = await city.home("alice", 4, version="11")
    await city.startup()
    for chat in chats:
        await city.bot.set_power(chat, {alice.user_id: 100, city.bot.user_id: 50})
        await alice.kick(chat, city.bot.user_id)
    findings = found(await run_in(city, "doctor", "--output", "json"))
    assert by_room(findings) == {("held_back", chat) for chat in chats}
    assert all("reconcile --allow-detach 4" in one["remedy"] for one in findings)
    assert {one["cause"]["sender"] for one in findings} == {alice.user_id}


async def test_a_look_that_is_not_whole(city: City) -> None:
    """What could not be read is told, and nothing is said of it that is not known."""
    _, space, [chat] = await city.home("alice", 1, version="11")
    await city.once()
    async with Proxy(city.bot.url) as proxy:
        proxy.at("GET .*/rooms/.*/state", Answer(403), times=100)
        done = await run_in(city, "doctor", "--output", "json", url=proxy.url)
        assert done.exit_code == 2
        findings = found(done)
        assert by_room(findings) == {("unread", space), ("unread", chat)}
        assert all("403" in one["message"] for one in findings)
        assert [one["cause"] for one in findings] == [None, None]
    done = await run_in(city, "doctor", url="http://127.0.0.1:1")
    assert done.exit_code == 1
    assert is_one_sentence(done.stderr)
    assert done.stdout == ""
