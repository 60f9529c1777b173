"""Scenarios 1 to 11: which rooms there are, and how they are linked."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapter.cli.account import Account
from adapter.matrix import migrations
from tests.adapter.matrix.city import (
    CHILD,
    IDENTITY,
    City,
    Json,
    chat_identity,
    space_identity,
)
from tests.conformance.situation import (
    Bound,
    a_chat,
    a_space,
    holds,
    link_of,
    stays,
)

PARENT = "m.space.parent"
HERE = {"via": ["hs.test"]}


async def home(
    city: City, chats: int = 3, **more: object
) -> tuple[Account, str, list[str], dict[str, Bound]]:
    """Alice with a Space and chats, linked both ways, and the rows that they make."""
    alice, space, rooms = await city.home("alice", chats, **more)
    for room in rooms:
        await city.bot.put_state(room, PARENT, {**HERE, "canonical": True}, space)
    numbered = enumerate(rooms, 1)
    rows = {space: a_space(alice)} | {r: a_chat(alice, space, n) for n, r in numbered}
    return alice, space, rooms, rows


@pytest.mark.scenario(1)
@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_01_a_space_with_three_chats_comes_back_from_matrix(
    city: City, version: str
) -> None:
    """A Space with three chats: an empty cache gets the very rows that were lost."""
    *_, rows = await home(city, version=version)
    await city.startup()
    lost = city.rows()
    city.spoil("DELETE FROM room_meta")
    await holds(city, rows)
    times = {"updated_at", "revision"}
    for room, row in city.rows().items():
        assert row.items() - lost[room].items() <= {(n, row[n]) for n in times}


@pytest.mark.scenario(2)
async def test_02_a_cache_that_is_right_stays_as_it_is(city: City) -> None:
    """The cache says what Matrix says: nothing changes, not even a time or a revision."""
    *_, rows = await home(city)
    await city.startup()
    await stays(city, rows)


@pytest.mark.scenario(3)
async def test_03_a_file_that_is_absent_empty_or_old_is_made_good(
    city: City, subtests: pytest.Subtests
) -> None:
    """No file, one of zero bytes, one of an older version: it is as if it had been empty."""
    *_, rows = await home(city, chats=1)

    def absent(_path: Path) -> None: ...

    def zero_bytes(path: Path) -> None:
        path.touch()

    def older(path: Path) -> None:
        first = migrations.known()[0]
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.executescript(first.sql)
            file.execute(
                "INSERT INTO migrations (version, name) VALUES (1, ?)", [first.name]
            )

    for make in (absent, zero_bytes, older):
        with subtests.test(make.__name__):
            city.forget()
            make(city.path)
            # The frame reads a cache before the pass, and these are none yet.
            await city.startup()
            await stays(city, rows)
            known = [(one.version,) for one in migrations.known()]
            assert city.query("SELECT version FROM migrations") == known


@pytest.mark.scenario(4)
async def test_04_the_child_event_decides_and_the_parent_event_does_not(
    city: City,
) -> None:
    """A parent event is missing, or names another Space: nothing is written for it."""
    (alice, space, (one, two)), (bob, other, _) = await asyncio.gather(
        city.home("alice", 2), city.home("bob", 0)
    )
    await city.bot.put_state(two, PARENT, {**HERE, "canonical": True}, other)
    await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1),
            two: a_chat(alice, space, 2),
            other: a_space(bob),
        },
    )


@pytest.mark.scenario(4)
async def test_04_a_parent_event_alone_links_nothing(city: City) -> None:
    """With a parent event and no child event the room is unfinished, and is linked."""
    alice, space, _ = await city.home(chats=0)
    room = await city.room(alice, identity=chat_identity(alice, 1))
    await city.bot.put_state(room, PARENT, {**HERE, "canonical": True}, space)
    await holds(
        city,
        {space: a_space(alice), room: a_chat(alice, space, 1)},
        writes=link_of(space, room),
    )


NO_LINK: list[Json] = [
    {},
    {"via": []},
    {"via": None},
    {"via": "hs.test"},
    {"via": {"hs.test": True}},
    {"via": ["hs.test", 1]},
    {"order": "a", "suggested": True},
]


@pytest.mark.scenario(5)
async def test_05_a_child_removed_by_hand_stays_unlinked(city: City) -> None:
    """A child that the bot, or somebody with power, removed is never linked again."""
    alice, space, rooms, rows = await home(city, len(NO_LINK) + 3, join=False)
    rows = {room: bound._replace(status="pending") for room, bound in rows.items()}
    await alice.join(space)
    rows[space] = a_space(alice)
    await city.bot.set_power(space, {alice.user_id: 100})
    await city.once()
    by_alice, redacted, kept = rooms[-3:]

    def unlinked(room: str, evidence: str) -> Bound:
        return rows[room]._replace(status="detached: unlinked", evidence=evidence)

    for room, content in zip(rooms, NO_LINK, strict=False):
        event = await city.bot.put_state(space, CHILD, content, room)
        rows[room] = unlinked(room, event)
    rows[by_alice] = unlinked(by_alice, await alice.unlink(space, by_alice))
    link = (await city.bot.state_event(space, CHILD, redacted))["event_id"]
    await alice.redact(space, link)
    rows[redacted] = unlinked(redacted, link)
    await holds(city, rows, allow_detach=len(rooms))

    # Linked again by either, a room comes back as it was.
    await city.bot.link(space, by_alice)
    await alice.link(space, rooms[0])
    for room in (by_alice, rooms[0]):
        rows[room] = rows[kept]._replace(
            chat_id=rows[room].chat_id, platform_chat_id=rows[room].platform_chat_id
        )
    await holds(city, rows)


CHILDREN: list[Json] = [
    {"order": 5},
    {"order": "a" * 51},
    {"order": "\x7f"},
    {"order": ["a"]},
    {"suggested": "yes"},
    {"order": 5, "suggested": "yes"},
    {"via": ["elsewhere.example", ""]},
]


@pytest.mark.scenario(6)
async def test_06_what_else_a_child_event_says_is_no_matter(city: City) -> None:
    """A child with an `order` or `suggested` that is none is still a child."""
    alice, space, rooms = await city.home(chats=len(CHILDREN), join=False)
    for room, content in zip(rooms, CHILDREN, strict=True):
        await city.bot.put_state(space, CHILD, HERE | content, room)
    await holds(
        city,
        {space: a_space(alice, "pending")}
        | {r: a_chat(alice, space, n, "pending") for n, r in enumerate(rooms, 1)},
    )


@pytest.mark.scenario(7)
async def test_07_circles_and_keys_that_are_no_rooms_end_nowhere(city: City) -> None:
    """A Space in itself, two in each other, children that are no rooms: all ignored."""
    (alice, space, (one,)), (bob, other, _) = await asyncio.gather(
        city.home("alice"), city.home("bob", 0)
    )
    for outer in (space, other):
        for inner in (space, other):
            await city.bot.link(outer, inner)
    for key in ("not-a-room", "!" + "x" * 254, "!", "..", "!nowhere:hs.test"):
        await city.bot.put_state(space, CHILD, HERE, key)
    await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1),
            other: a_space(bob),
        },
    )


@pytest.mark.scenario(8)
async def test_08_a_room_that_a_user_made_never_becomes_a_chat(city: City) -> None:
    """A user's room in a Space is bound to nobody, whether the bot is in it or not."""
    alice, space, (one,) = await city.home()
    await city.bot.set_power(space, {alice.user_id: 100})
    mine = await alice.create_room(invite=[city.bot.user_id])
    nested = await alice.create_room(room_type="m.space", invite=[city.bot.user_id])
    unseen = await alice.create_room()
    for room in (mine, nested):
        await city.bot.join(room)
        await city.bot.link(space, room)
    await alice.link(space, unseen)
    await alice.link(nested, mine)
    await holds(city, {space: a_space(alice), one: a_chat(alice, space, 1)})


@pytest.mark.scenario(9)
async def test_09_of_two_spaces_of_one_owner_the_same_wins_from_every_cache(
    city: City, subtests: pytest.Subtests
) -> None:
    """The Space with more of its owner's chats has the place, whichever the cache knows."""
    alice = await city.person("alice")
    older = await city.space(alice)
    newer = await city.space(alice)
    links = (newer, older, newer, newer, newer)
    rooms = await asyncio.gather(
        *(city.chat(alice, link, n) for n, link in enumerate(links, 1))
    )
    # Both Spaces name it, and the one that has the place decides.
    emptied = await city.bot.unlink(newer, rooms[3])
    await city.bot.link(older, rooms[3])
    winner = (await city.server())[newer]["m.room.create", ""]
    rows = {older: a_space(alice, "detached: duplicate", winner), newer: a_space(alice)}
    for n, (room, link) in enumerate(zip(rooms, links, strict=True), 1):
        rows[room] = a_chat(alice, link, n)
    rows[rooms[3]] = a_chat(alice, newer, 4, "detached: unlinked", emptied)
    for cache, spoilt in {
        "empty": "DELETE FROM room_meta",
        "of the winner": "DELETE FROM room_meta WHERE room_id = :older",
        "of the loser": "DELETE FROM room_meta WHERE room_id = :newer",
    }.items():
        with subtests.test(cache):
            await city.startup()
            city.spoil(spoilt, older=older, newer=newer)
            if cache == "of the loser":
                city.spoil(
                    "UPDATE room_meta SET status = 'active', reason = NULL,"
                    " evidence = NULL WHERE room_id = :older",
                    "UPDATE room_meta SET space_id = :older WHERE room_type = 'chat'",
                    older=older,
                )
            await holds(city, rows, findings={("duplicate", older)})


@pytest.mark.scenario(9)
async def test_09_of_two_empty_spaces_the_older_has_the_place(city: City) -> None:
    """Without any chat the create events decide; the loser is not even finished."""
    alice = await city.person("alice")
    first = await city.space(alice)
    second = await city.bot.create_room(
        room_type="m.space", creation_content={IDENTITY: space_identity(alice)}
    )
    winner = (await city.server())[first]["m.room.create", ""]
    rows = {
        first: a_space(alice),
        second: a_space(alice, "detached: duplicate", winner),
    }
    await holds(city, rows, findings={("duplicate", second)})


@pytest.mark.scenario(10)
async def test_10_a_room_of_an_unknown_type_is_neither_chat_nor_space(
    city: City,
) -> None:
    """A room of a custom type is ignored, also with an identity, and also as a child."""
    alice, space, (one,) = await city.home()
    await asyncio.gather(
        *(
            city.room(alice, room_type=kind, identity=identity, link=space)
            for kind in ("org.example.game", "m.spaceship")
            for identity in (None, space_identity(alice), chat_identity(alice, 2))
        )
    )
    rows = {space: a_space(alice), one: a_chat(alice, space, 1)}
    await holds(city, rows)


@pytest.mark.scenario(11)
async def test_11_a_space_without_chats_gets_none_by_a_pass(city: City) -> None:
    """A Space alone is bound, and no room is made, nor anybody invited anywhere."""
    alice, space, _ = await city.home(chats=0)
    bob, legacy, _ = await city.old_home(chats=0)
    await city.once()
    await holds(city, {space: a_space(alice), legacy: a_space(bob)})
