"""Scenarios 40 to 42: a cache that is wrong, broken, not to be written, or of last week.

Every way in which a row can be wrong: `tests/adapter/matrix/test_damaged_cache.py`; what
a file and its disk can be: `tests/adapter/matrix/test_database.py`."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapter.matrix.city import BINDING, City, conversation, derived
from tests.adapter.matrix.faulty import left
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.bots import running, write_config
from tests.conformance.situation import Bound, a_chat, a_space, holds, stays
from tests.people import Person


@pytest.mark.scenario(40)
async def test_40_wrong_rows_are_corrected_and_the_report_says_what_they_said(
    city: City,
) -> None:
    """Wrong Spaces, owners, kinds, swapped conversations: as in Matrix, after one pass."""
    (alice, space, (one, two, three)), (bob, other, (four,)) = await asyncio.gather(
        city.home("alice", 3), city.old_home("bob")
    )
    await city.once()
    first, second = conversation(alice, 1), conversation(alice, 2)
    # No two rows may say the same at any moment.
    swap = "UPDATE room_meta SET platform_chat_id = :{} WHERE room_id = :{}"
    city.spoil(
        swap.format("elsewhere", "two"),
        swap.format("second", "one"),
        swap.format("first", "two"),
        "UPDATE room_meta SET space_id = :other, matrix_user_id = :bob"
        " WHERE room_id = :three",
        "UPDATE room_meta SET matrix_user_id = :nobody WHERE room_id = :other",
        "UPDATE room_meta SET room_type = 'space', chat_id = NULL WHERE room_id = :four",
        one=one,
        two=two,
        three=three,
        four=four,
        other=other,
        first=first,
        second=second,
        elsewhere="elsewhere",
        bob=bob.user_id,
        nobody="@nobody:hs.test",
    )
    report = await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1),
            two: a_chat(alice, space, 2),
            three: a_chat(alice, space, 3),
            other: a_space(bob),
            four: a_chat(bob, other, 1, platform=derived(four)),
        },
    )
    corrected = {step.key.name: step.fields for step in report.decided.cache.steps}
    assert corrected == {
        one: {"platform_chat_id": (second, first)},
        two: {"platform_chat_id": (first, second)},
        three: {
            "matrix_user_id": (bob.user_id, alice.user_id),
            "space_id": (other, space),
        },
        other: {"matrix_user_id": ("@nobody:hs.test", bob.user_id)},
        four: {"room_type": ("space", "chat"), "chat_id": (None, "C1")},
    }
    told = str(report.decided.cache)
    assert f'platform_chat_id: "{second}" -> "{first}"' in told
    assert f'space_id: "{other}" -> "{space}"' in told


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwritten(file: Path) -> None:
    file.write_bytes(b"no database at all" * 1000)
    file.with_name(f"{file.name}-wal").write_bytes(b"nor a log")


def its_log_alone(file: Path) -> None:
    """Without the file, and with a log of it that says otherwise."""
    log = file.with_name(f"{file.name}-wal")
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        with database:
            database.execute("UPDATE room_meta SET platform_chat_id = NULL")
        written = log.read_bytes()
    assert written
    file.unlink()
    log.write_bytes(written)


@pytest.mark.scenario(41)
async def test_41_a_file_that_is_broken_is_rebuilt(
    city: City, subtests: pytest.Subtests
) -> None:
    """Cut, overwritten, or gone but for its log: it is kept aside, and made anew."""
    alice, space, (one, two) = await city.home("alice", 2)
    rows = {
        space: a_space(alice),
        one: a_chat(alice, space, 1),
        two: a_chat(alice, space, 2),
    }
    await city.once()
    aside = city.path.with_name(f"{city.path.name}.corrupt-1")
    for damage in (cut_in_half, overwritten, its_log_alone):
        with subtests.test(damage.__name__):
            damage(city.path)
            broken = city.path.read_bytes() if city.path.exists() else None
            await city.startup()
            kept = aside.read_bytes() if aside.exists() else None
            assert kept == broken
            await city.settled()
            aside.unlink(missing_ok=True)
    await stays(city, rows)


@pytest.mark.scenario(41)
async def test_41_what_cannot_be_written_is_not_written_in_part(
    city: City, platform: Backend, tmp_path: Path
) -> None:
    """A file that is read-only, a disk without room: not ready, no write, no word heard."""
    alice, space, rooms = await city.home("alice", 4)
    person, chat = Person(alice), rooms[0]
    config = write_config(tmp_path, city.bot, city.bot.url, database=city.path.name)
    async with living(city, platform):
        await exchange(person, chat)
    # More than fits has to be written, in four rows.
    await asyncio.gather(
        *(city.bot.put_state(r, "m.room.name", {"name": "x" * 50_000}) for r in rooms)
    )
    await person.say(chat, "apricot")
    before = left(city.path).dump, await city.position()

    city.path.chmod(0o400)
    async with running(config, via=("tests.faults.disks", "any")) as bot:
        assert await bot.ended() == 1
    [sentence] = bot.stderr.splitlines()
    assert "may not be written" in sentence
    city.path.chmod(0o600)
    assert (left(city.path).dump, await city.position()) == before

    room = str(city.path.stat().st_size + 50_000)
    async with running(config, via=("tests.faults.disks", room)) as bot:
        failed = await bot.logged("pass failed")
        assert "check its disk" in failed["error"]
        assert await bot.terminate() == 0
    assert all(line["message"] != "ready" for line in bot.log)
    assert (left(city.path).dump, await city.position()) == before

    async with running(config) as bot:
        await bot.ready()
        [answer] = await person.hears(chat)
        assert await bot.terminate() == 0
    assert answer["body"] == "1: apricot"
    numbered = enumerate(rooms, 1)
    await stays(
        city,
        {space: a_space(alice)} | {r: a_chat(alice, space, n) for n, r in numbered},
    )


@pytest.mark.scenario(42)
async def test_42_a_file_of_last_week_is_as_good_as_none(
    city: City, platform: Backend
) -> None:
    """Rows of a backup become those of today, and no word of since then is heard again."""
    (alice, space, rooms), (_, old_space, (legacy,)) = await asyncio.gather(
        city.home("alice", 5, version="11"), city.old_home("bob")
    )
    person, (chat, unlinked, deserted, upgraded, reset) = Person(alice), rooms
    async with living(city, platform):
        await exchange(person, chat)
    backup = city.path.read_bytes()

    def restore() -> None:
        city.forget()
        city.path.write_bytes(backup)

    async with living(city, platform):
        for _ in range(3):
            await exchange(person, chat)
    later = {"v": 1, "platform_chat_id": "later"}
    new, *_ = await asyncio.gather(
        city.bot.upgrade(upgraded, "12"),
        city.bot.unlink(space, unlinked),
        alice.leave(deserted),
        city.bot.put_state(reset, BINDING, later, city.bot.user_id),
        city.bot.unlink(old_space, legacy),
        city.chat(alice, space, 9),
    )
    await city.once()
    today = {room: Bound.of(row) for room, row in city.rows().items()}
    restore()
    await holds(city, today)
    assert {room: city.status(room) for room in (*rooms, new)} == {
        chat: "active",
        unlinked: "detached: unlinked",
        deserted: "detached: owner_left",
        upgraded: "detached: upgraded",
        reset: "active",
        new: "pending",
    }
    assert city.chats()["later"] == (alice.user_id, "C5", reset)

    restore()
    meanwhile, since = await person.say(chat, "ping"), Backend()
    async with living(city, since):
        word = await exchange(person, chat)
    assert since.heard == {conversation(alice, 1): [meanwhile, word]}
    assert len((await said(city, chat)).answers) == 6
    await city.settled()
