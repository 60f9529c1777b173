"""What is kept in the file is believed as a whole, or not at all."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from adapter.matrix import keeping
from adapter.matrix.columns import wanted
from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.keeping import Keeper, Kept, Rows, fingerprint
from adapter.matrix.kept import Bookmark, KeptFact, kept_fact
from adapter.matrix.rows import Row, rows_of, topology
from adapter.matrix.store import Store, set_room_meta
from adapter.matrix.topology import render
from controller.diff import diff
from tests.adapter.matrix.worlds import ME, OWNERS, World

HERE = "https://hs"
ONE, TWO, THREE = "s1", "s2", "s3"
"""Positions."""
TYPES = EventTypes()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "bot.db") as store:
        yield store


@pytest.fixture
def keeper(store: Store) -> Keeper:
    return Keeper(store, ME, HERE, TYPES)


def a_world() -> World:
    world = World()
    for owner in OWNERS:
        space = world.space(owner)
        world.chat(owner, 1, space)
    return world


def kept(facts: Facts) -> list[KeptFact]:
    return [kept_fact(r, found, facts.joined) for r, found in facts.rooms.items()]


async def keep(keeper: Keeper, store: Store, facts: Facts) -> dict[str, Row]:
    """Make the rows what these facts say, and keep both; returns the rows."""
    want = render(facts, {}, ME).rooms
    _, version = await keeper.rows()
    look = await keeper.compared(kept(facts))
    async with store.transaction():
        await store.carry_out(list(diff({}, want)))
        rows = {r: row._replace(revision=1) for r, row in rows_of(want).items()}
        mark = await keeper.keep(look, Rows(rows, version), ["!due"], token=ONE, at=7)
    keeper.kept = Kept(mark, facts)
    return rows


async def believed(store: Store, origin: str = HERE) -> Facts | None:
    """What the next start makes of the file."""
    found = await Keeper(store, ME, origin, TYPES).load()
    return found and found.kept.facts


async def test_the_next_start_has_all_that_was_kept(
    store: Store, keeper: Keeper
) -> None:
    """Facts, bookmark and what is due."""
    facts = a_world().facts()
    await keep(keeper, store, facts)
    found = await Keeper(store, ME, HERE, TYPES).load()
    assert found is not None
    assert found.have.rows == await store.rows()
    kept = found.kept
    assert dict(kept.facts.rooms) == facts.rooms
    assert kept.facts.joined == facts.joined
    assert kept.mark == Bookmark(ONE, None, 7, frozenset({"!due"}))


async def test_nothing_kept_is_nothing_believed(store: Store) -> None:
    assert await believed(store) is None


async def test_what_changed_is_kept_with_the_rest(store: Store, keeper: Keeper) -> None:
    """Also a room that is new, and the rows that were written for both."""
    world = a_world()
    rows = await keep(keeper, store, world.facts())
    chat = next(room for room, row in rows.items() if row.room_type == "chat")
    world.put(chat, ME, "m.room.name", "", {"name": "Travel"})
    new = world.chat(OWNERS[0], 2)
    facts = world.facts()
    steps = list(diff(topology(rows), render(facts, rows, ME).rooms))
    assert {step.key.name for step in steps} == {chat, new}
    async with store.transaction():
        await store.carry_out(steps)
        mark = await keeper.renew(
            [kept_fact(room, facts.rooms[room], facts.joined) for room in (chat, new)],
            [(rows.get(step.key.name), wanted(step)) for step in steps],
            [],
            token=TWO,
            ahead=THREE,
        )
    assert mark == Bookmark(TWO, THREE, 7, frozenset())
    found = await believed(store)
    assert found is not None
    assert dict(found.rooms) == facts.rooms
    assert await keeper.stands()


async def test_without_news_only_the_bookmark_moves(
    store: Store, keeper: Keeper
) -> None:
    facts = a_world().facts()
    await keep(keeper, store, facts)
    assert keeper.kept is not None
    await keeper.move(keeper.kept.mark, TWO, None)
    found = await believed(store)
    assert found is not None
    assert dict(found.rooms) == facts.rooms


async def test_a_second_look_leaves_nothing_of_the_first(
    store: Store, keeper: Keeper
) -> None:
    """A room that is in no look any more is not kept."""
    await keep(keeper, store, a_world().facts())
    nothing = await keeper.compared([])
    async with store.transaction():
        await keeper.keep(nothing, await keeper.rows(), [], token=TWO, at=8)
    found = await believed(store)
    assert found is not None
    assert len(found.rooms) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE room_meta SET platform_chat_id = platform_chat_id || '!'",
        "UPDATE room_meta SET name = x'00ff' WHERE chat_id = 'C1'",
        "DELETE FROM room_meta WHERE chat_id = 'C1'",
        "UPDATE facts SET fact = replace(fact, '@alice', '@carol')",
        "UPDATE facts SET joined = 0",
        "DELETE FROM facts WHERE room_id = (SELECT min(room_id) FROM facts)",
        "UPDATE kept SET digest = digest - 1",
        "UPDATE kept SET fingerprint = 'other'",
        "DELETE FROM kept",
    ],
)
async def test_whatever_was_tampered_with_is_not_believed(
    store: Store, keeper: Keeper, statement: str
) -> None:
    """Not by the next start, and not by the process that kept it."""
    await keep(keeper, store, a_world().facts())
    assert await keeper.stands()
    with closing(sqlite3.connect(store.connection.path)) as other, other:
        assert other.execute(statement).rowcount > 0
    assert await believed(store) is None
    assert not await keeper.stands()


async def test_whoever_writes_elsewhere_disturbs_nothing(
    store: Store, keeper: Keeper
) -> None:
    """What somebody else wrote to the file makes it be looked through, and no more."""
    await keep(keeper, store, a_world().facts())
    with closing(sqlite3.connect(store.connection.path)) as other, other:
        other.execute("CREATE TABLE theirs (a)")
    assert await keeper.stands()


async def test_a_row_that_a_program_set_is_looked_at(
    store: Store, keeper: Keeper
) -> None:
    """The fixed functions may set what they like: the next pass sees what Matrix says."""
    rows = await keep(keeper, store, a_world().facts())
    await set_room_meta(store, next(iter(rows)), name="other")
    assert await believed(store) is None
    assert not await keeper.stands()


async def test_another_server_or_account_believes_nothing(
    store: Store, keeper: Keeper
) -> None:
    """Positions and rooms are those of one account on one server."""
    await keep(keeper, store, a_world().facts())
    assert await believed(store) is not None
    assert await believed(store, "https://other") is None
    mark = fingerprint(ME, HERE, TYPES)
    assert fingerprint("@other:hs", HERE, TYPES) != mark
    assert fingerprint(ME, HERE, EventTypes(binding="io.other.binding")) != mark


async def test_another_version_of_the_rules_believes_nothing(
    store: Store, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to say that the rules are others: their code is part of the mark."""
    await keep(keeper, store, a_world().facts())
    monkeypatch.setattr(keeping, "_code", lambda: b"other rules")
    assert await believed(store) is None


def test_all_code_that_decides_is_read() -> None:
    """Whatever a pass needs of ours; what is left out says when to ask a server again."""
    passes = (
        "adapter.matrix.observation, adapter.matrix.renewal, adapter.matrix.decision"
    )
    told = "[m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)]"
    listed = subprocess.run(  # noqa: S603 - our own
        [
            sys.executable,
            "-c",
            f"import json, sys, {passes}; print(json.dumps({told}))",
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    root = Path(keeping.__file__).parents[2]
    packages = {root / name for name in ("adapter", "controller", "schemas")}
    needed = {
        file
        for file in map(Path, json.loads(listed.stdout))
        if packages.intersection(file.parents)
    }
    read = {
        Path(str(source))
        for package in keeping._DECIDING
        for source in keeping._sources(files(package))
    }
    assert len(needed & read) > 20
    assert needed - read == {
        root / "adapter/__init__.py",
        root / "adapter/retry_after.py",
    }
