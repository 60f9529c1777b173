"""The ledger: what was begun, commanded and said outlives the process."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from adapter.matrix.ledger import Ledger
from adapter.matrix.memory import Checkpoint, Intent
from adapter.matrix.store import (
    BadValue,
    Store,
    StoreError,
)

ALICE = "@alice:example.org"
SPACE = Intent("r1", "space", ALICE, None, None, "$asked", 1_000)
CHAT = Intent("r2", "chat", ALICE, "C1", "p1", "$asked", 2_000)
MINUTE = 60 * 1000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = 1_800_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with Store.open(path) as opened:
        yield opened


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


def spoil(path: Path, sql: str, *, checked: bool = True) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA ignore_check_constraints = {'OFF' if checked else 'ON'}")
        db.execute(sql)
        db.commit()


# What cannot be known


READS: dict[str, Callable[[Ledger], Awaitable[object]]] = {
    "position": lambda ledger: ledger.checkpoint(),
    "intents": lambda ledger: ledger.open_intents(),
    "commanded": lambda ledger: ledger.commanded(0),
    "said": lambda ledger: ledger.may_say("!r", "media", NOW, DAY),
}


@pytest.mark.parametrize("table", READS)
async def test_a_table_that_is_gone_is_not_empty(
    path: Path, ledger: Ledger, table: str
) -> None:
    """What cannot be read is an error: taken for absent, it would be done twice."""
    spoil(path, f"DROP TABLE {table}")
    with pytest.raises(StoreError):
        await READS[table](ledger)


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO position VALUES (1, 'many', 's1', 'a')",
        "INSERT INTO position VALUES (1, 1, '', 'a')",
        "INSERT INTO position VALUES (1, 1, x'00ff', 'a')",
        "INSERT INTO intents VALUES ('r', 'dance', '@a:b', NULL, NULL, '$e', 1, NULL)",
        "INSERT INTO intents VALUES ('r', 'chat', '@a:b', 'C1', 'p', '$e', 'then', NULL)",
        "INSERT INTO commanded VALUES ('$e', 'then')",
        "INSERT INTO said VALUES ('!r', 'media', 'then')",
    ],
)
async def test_a_value_that_cannot_be_is_damage(path: Path, damage: str) -> None:
    """A file with such a value is moved aside at the start, and not believed."""
    async with Store.open(path):
        pass
    spoil(path, damage, checked=False)
    async with Store.open(path) as store:
        ledger = Ledger(store)
        assert await ledger.checkpoint() is None
        assert await ledger.open_intents() == {}
    assert path.with_name("bot.db.corrupt-1").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        Checkpoint(0, "s1", "a"),
        Checkpoint(1, "", "a"),
        Checkpoint(1, "s1", ""),
        Checkpoint(1, None, "a"),  # type: ignore[arg-type]
    ],
)
async def test_no_checkpoint_is_written_over_one(
    ledger: Ledger, wrong: Checkpoint
) -> None:
    """What is none is refused, and the last good one stays."""
    good = Checkpoint(1, "s1", "a")
    await ledger.set_checkpoint(good)
    with pytest.raises(BadValue):
        await ledger.set_checkpoint(wrong)
    assert await ledger.checkpoint() == good


async def test_a_part_of_a_transaction_that_fails_is_not_kept(
    store: Store, ledger: Ledger
) -> None:
    """What is written with something else in one transaction stands or falls with it."""
    with suppress(BadValue):
        async with store.transaction():
            await ledger.intend(SPACE)
            await ledger.set_checkpoint(Checkpoint(0, "", ""))
    assert await ledger.open_intents() == {}


async def test_an_older_database_gets_the_tables(path: Path) -> None:
    """The file of a Spacekeeper that only made passes is used as it is."""
    async with Store.open(path):
        pass
    for table in READS:
        spoil(path, f"DROP TABLE {table}")
    spoil(path, "DELETE FROM migrations WHERE version = 3")
    async with Store.open(path) as store:
        assert await Ledger(store).checkpoint() is None
    assert not path.with_name("bot.db.corrupt-1").exists()


# How far it came


async def test_there_is_one_checkpoint(ledger: Ledger) -> None:
    """The last one written is the one that is read."""
    assert await ledger.checkpoint() is None
    for n in (1, 2, 2, 1):
        new = Checkpoint(n, f"s{n}", "a")
        await ledger.set_checkpoint(new)
        assert await ledger.checkpoint() == new


# What it began


async def test_what_was_begun_is_known_after_a_crash(path: Path) -> None:
    """An intent is on the disk when `intend` returns."""
    async with Store.open(path) as store:
        await Ledger(store).intend(SPACE)
        await Ledger(store).intend(CHAT)
        await Ledger(store).ended("r2", 5_000)
        async with Store.read(path) as copy:
            assert await Ledger(copy).open_intents() == {
                "r1": SPACE,
                "r2": CHAT._replace(ended_at=5_000),
            }


async def test_a_second_attempt_takes_the_place_of_the_first(ledger: Ledger) -> None:
    """The same request made again is not over because the first attempt was."""
    await ledger.intend(CHAT)
    await ledger.ended("r2", 5_000)
    again = CHAT._replace(sent_at=70_000)
    await ledger.intend(again)
    assert await ledger.intent("r2") == again


async def test_a_fulfilled_intent_is_gone_for_good(ledger: Ledger) -> None:
    """That its request ends later does not bring it back; others stay."""
    await ledger.intend(SPACE)
    await ledger.intend(CHAT)
    await ledger.fulfilled("r2")
    await ledger.ended("r2", 5_000)
    assert await ledger.intent("r2") is None
    assert await ledger.open_intents() == {"r1": SPACE}


# What it commanded


async def test_commands_are_known_by_their_events(ledger: Ledger) -> None:
    """Those since a time, which includes it; noted twice is noted once."""
    for at, event_id in enumerate(["$a", "$b", "$c", "$c"]):
        await ledger.note_command(event_id, at)
    assert await ledger.commanded(1) == {"$b", "$c"}


async def test_a_command_is_forgotten_after_thirty_days(ledger: Ledger) -> None:
    """The table does not grow for ever, and nothing is forgotten early."""
    await ledger.note_command("$old", NOW)
    await ledger.note_command("$kept", NOW + 1)
    await ledger.note_command("$new", NOW + 30 * DAY + 1)
    assert await ledger.commanded(0) == {"$kept", "$new"}


# What it said


async def test_a_line_is_said_once_in_its_time(ledger: Ledger) -> None:
    """Not again within the hour, in this room, of this kind; after it, yes."""
    await ledger.note_said("!r", "pointer", NOW)
    assert not await ledger.may_say("!r", "pointer", NOW + HOUR - 1, HOUR)
    assert await ledger.may_say("!r", "pointer", NOW + HOUR, HOUR)
    assert await ledger.may_say("!r", "media", NOW, HOUR)
    assert await ledger.may_say("!q", "pointer", NOW, HOUR)


async def test_a_clock_that_was_put_back_silences_nothing(ledger: Ledger) -> None:
    """What was said next year, by a clock since put right, is no reason to be silent."""
    await ledger.note_said("!r", "media", NOW + 365 * DAY)
    assert await ledger.may_say("!r", "media", NOW, DAY)


async def test_what_counts_is_never_forgotten(ledger: Ledger) -> None:
    """However much is said elsewhere, what was said in the last two days is remembered."""
    ages = [0, MINUTE, HOUR, DAY - 1, DAY, 2 * DAY, 2 * DAY + 1, 9 * DAY]
    for age in reversed(ages):
        await ledger.note_said(f"!{age}", "media", NOW - age)
    remembered = [
        age
        for age in ages
        if not await ledger.may_say(f"!{age}", "media", NOW, 99 * DAY)
    ]
    assert remembered == ages[:6]
