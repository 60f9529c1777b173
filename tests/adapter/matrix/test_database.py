"""Opening the database file: real files, other processes, and what disks do."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from adapter.matrix import database, migrations
from adapter.matrix.database import is_held, lock
from adapter.matrix.store import (
    DatabaseFull,
    DatabaseLocked,
    DatabaseUnusable,
    NewerDatabase,
    Store,
    StoreError,
    WrongAccount,
    get_room_meta,
    set_room_meta,
)

BOT, SERVER = "@bot:example.org", "https://matrix.example.org"

HOLD = """
import asyncio, sys
from adapter.matrix.store import Store

async def main():
    async with Store.open(sys.argv[1]):
        print("open", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""

COMMIT_ONE = """
import asyncio, sys
from adapter.matrix.store import Store, set_room_meta

async def main():
    async with Store.open(sys.argv[1], user_id="@bot:example.org") as store:
        await set_room_meta(store, "!committed")
        async with store.transaction():
            await set_room_meta(store, "!not committed")
            print("open", flush=True)
            sys.stdin.read()

asyncio.run(main())
"""

ALTERNATE = """
import asyncio, sys
from adapter.matrix.store import Store, set_room_meta

async def main():
    async with Store.open(sys.argv[1]) as store:
        for turn in range(1_000_000):
            async with store.transaction():
                for number in range(50):
                    await set_room_meta(store, f"!{number}", name=str(turn))
                    if number == 25:
                        print(turn, flush=True)

asyncio.run(main())
"""

FILL = """
import asyncio, resource, sys
from adapter.matrix.store import Store, StoreError, set_room_meta

async def main():
    async with Store.open(sys.argv[1]) as store:
        limit = 2_000_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            async with store.transaction():
                for number in range(100):
                    await set_room_meta(store, f"!{number}", name="x" * 100_000)
        except StoreError as exc:
            print(exc)
        print(sorted(await store.rows()))

asyncio.run(main())
"""


@contextmanager
def child(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script on the database in a process of its own, and kill it at the end."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder but the lock, which is nobody's data."""
    return {
        file.name: file.read_bytes()
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix != ".lock"
    }


async def filled(path: Path, rooms: int = 3) -> None:
    async with Store.open(path, user_id=BOT, homeserver=SERVER) as store:
        for number in range(rooms):
            await set_room_meta(store, f"!{number}", name=f"Room {number}" * 200)


async def names(path: Path) -> list[str]:
    async with Store.open(path) as store:
        return list(await store.rows())


async def too_much(store: Store) -> None:
    async with store.transaction():
        for number in range(1000):
            await set_room_meta(store, f"!more{number}", name="x" * 1000)


def garbled(path: Path, seed: int, size: int) -> None:
    """Overwrite `size` bytes somewhere."""
    chance = random.Random(seed)  # noqa: S311
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data) - size)
    data[start : start + size] = chance.randbytes(size)
    path.write_bytes(data)


# Opening


async def test_a_new_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Nobody but the owner may read a database that was made here."""
    path = tmp_path / "a.db"
    async with Store.open(path):
        modes = {
            stat.S_IMODE((tmp_path / name).stat().st_mode)
            for name in contents(tmp_path)
        }
    assert modes == {0o600}


async def test_reopening_changes_nothing(tmp_path: Path) -> None:
    """A database that is opened and closed is, byte for byte, what it was."""
    path = tmp_path / "a.db"
    await filled(path)
    before = contents(tmp_path)
    await names(path)
    async with Store.open(path, user_id=BOT, homeserver=f"{SERVER}/"):
        pass
    assert contents(tmp_path) == before


async def test_odd_names_are_names(tmp_path: Path) -> None:
    """A file name that means something in a URI means itself."""
    path = tmp_path / "a b?mode=memory#%41.db"
    await filled(path)
    assert path.is_file()
    async with Store.read(path) as store:
        assert list(await store.rows()) == ["!0", "!1", "!2"]


async def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    """A file without a byte, as a crash leaves it, is no damage."""
    path = tmp_path / "a.db"
    path.touch()
    await filled(path)
    assert await names(path) == ["!0", "!1", "!2"]
    assert not [name for name in contents(tmp_path) if "corrupt" in name]


async def test_a_log_without_its_database_is_nothing(tmp_path: Path) -> None:
    """A -wal that lost its database is not taken for the log of the new one."""
    path = tmp_path / "a.db"
    with child(HOLD, path) as process:
        assert line(process) == "open"
    path.unlink()
    assert (tmp_path / "a.db-wal").exists()
    assert await names(path) == []


# Refusing


@pytest.mark.parametrize("inside", ["", "file/a.db", "missing/a.db", "x\0y"])
async def test_a_path_that_is_no_place_for_a_file_is_refused(
    tmp_path: Path, inside: str
) -> None:
    """A folder, a path under a file, in no folder, or none at all: nothing is made."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DatabaseUnusable, match="cannot be used as the database"):
        async with Store.open(tmp_path / inside):
            pass
    assert contents(tmp_path) == {"file": b"mine"}


async def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """A path that would block for ever when opened is refused."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatabaseUnusable, match="no regular file"):
        async with Store.open(tmp_path / "pipe"):
            pass


async def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A healthy database that is not ours is neither filled nor moved."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE contacts (name)")
    before = contents(tmp_path)
    with pytest.raises(DatabaseUnusable, match="another program's"):
        async with Store.open(path):
            pass
    assert contents(tmp_path) == before


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    """A schema that we do not know is refused, not guessed at."""
    path = tmp_path / "a.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO migrations (version, name) VALUES (9999, 'later')")
    before = contents(tmp_path)
    with pytest.raises(NewerDatabase, match="newer Spacekeeper: upgrade"):
        async with Store.open(path):
            pass
    with pytest.raises(NewerDatabase):
        async with Store.read(path):
            pass
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "other", [{"user_id": "@other:example.org"}, {"homeserver": "https://example.net"}]
)
async def test_the_database_of_another_bot_is_refused(
    tmp_path: Path, other: dict[str, str]
) -> None:
    """Account and homeserver are recorded at the first opening, and then must match."""
    path = tmp_path / "a.db"
    await filled(path)
    before = contents(tmp_path)
    with pytest.raises(WrongAccount, match=r"belongs to .*, not to"):
        async with Store.open(path, **other):
            pass
    with pytest.raises(WrongAccount):
        async with Store.read(path, **other):
            pass
    assert contents(tmp_path) == before


async def test_the_database_of_another_bot_is_refused_after_its_crash(
    tmp_path: Path,
) -> None:
    """Whose it is may stand in the log alone; that is looked at as well."""
    path = tmp_path / "a.db"
    with child(COMMIT_ONE, path) as process:
        line(process)
    before = contents(tmp_path)
    with pytest.raises(WrongAccount):
        async with Store.open(path, user_id="@other:example.org"):
            pass
    assert contents(tmp_path) == before


async def test_a_database_that_cannot_be_made_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was made for a database that never came to be is removed."""
    broken = migrations.Migration(
        1, "broken", "CREATE TABLE a (b);\nCREATE TABLE a (b);"
    )
    monkeypatch.setattr(migrations, "known", lambda: [broken])
    with pytest.raises(StoreError):
        async with Store.open(tmp_path / "a.db"):
            pass
    assert contents(tmp_path) == {}


# Migrating


def test_migrations_are_numbered_without_gaps() -> None:
    """Two people who add a migration at the same time notice."""
    known = migrations.known()
    assert [migration.version for migration in known] == [*range(1, len(known) + 1)]


async def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """Only what is missing is applied, and what the file holds stays."""
    path = tmp_path / "a.db"
    first = migrations.known()[0]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(first.sql)
        db.execute("INSERT INTO migrations (version, name) VALUES (1, ?)", [first.name])
        db.execute("INSERT INTO room_meta (room_id) VALUES ('!old')")
    before = contents(tmp_path)
    async with Store.read(path) as store:
        assert (list(await store.rows()), await store.unread()) == (["!old"], {})
    assert contents(tmp_path) == before
    assert await names(path) == ["!old"]
    with closing(sqlite3.connect(path)) as db:
        assert migrations.applied(db) == {m.version for m in migrations.known()}


async def test_a_migration_and_its_record_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails half-way leaves nothing of itself, and can come again."""
    path = tmp_path / "a.db"
    await filled(path)
    known = migrations.known()
    broken = migrations.Migration(
        len(known) + 1, "broken", "CREATE TABLE half (a);\nCREATE TABLE half (a);"
    )
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "known", lambda: [*known, broken])
        with pytest.raises(StoreError):
            async with Store.open(path):
                pass
    with closing(sqlite3.connect(path)) as db:
        assert ("table", "half") not in migrations.objects(db)
    assert await names(path) == ["!0", "!1", "!2"]


# Damage


@pytest.mark.parametrize("damage", ["garbage", "cut page", "half", "no table"])
async def test_a_damaged_database_is_moved_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept under a free name with what is beside it, and a new one is made."""
    path = tmp_path / "a.db"
    await filled(path, 200)
    (tmp_path / "a.db.corrupt-1").write_text("an earlier one")
    whole = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"no database at all" * 1000)
            (tmp_path / "a.db-wal").write_bytes(b"nor a log")
        case "cut page":
            path.write_bytes(whole[:-5000])
        case "half":
            path.write_bytes(whole[: len(whole) // 2])
        case _:
            with closing(sqlite3.connect(path)) as db:
                db.execute("DROP TABLE passes")
    broken = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        async with Store.open(path) as store:
            assert await store.rows() == {}
            await set_room_meta(store, "!new")
    assert await names(path) == ["!new"]
    assert (tmp_path / "a.db.corrupt-1").read_text() == "an earlier one"
    assert (tmp_path / "a.db.corrupt-2").read_bytes() == broken
    if damage == "garbage":
        assert (tmp_path / "a.db.corrupt-2-wal").read_bytes() == b"nor a log"
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "a.db.corrupt-2" in record.getMessage()


@given(seed=st.integers(0, 2**32), size=st.sampled_from([1, 20, 500, 5000]))
@settings(max_examples=25)
def test_no_garbage_keeps_the_bot_from_starting(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    """Wherever bytes are garbled, the store opens and can be read and written, unless
    they make it look like somebody else's, which is for people to decide."""
    folder = tmp_path_factory.mktemp("garbled")
    path = folder / "a.db"

    async def story() -> None:
        await filled(path, 60)
        garbled(path, seed, size)
        async with Store.read(path) as copy:
            await copy.rows()
        async with Store.open(path) as store:
            await store.rows()
            await store.unread()
            await set_room_meta(store, "!new")
            assert await get_room_meta(store, "!new")

    try:
        asyncio.run(story())
    except (NewerDatabase, WrongAccount):
        event("refused")


# Other processes


async def test_two_processes_cannot_write_one_database(tmp_path: Path) -> None:
    """The second is told to stop the first, also by another name of the same file."""
    path = tmp_path / "a.db"
    (tmp_path / "link.db").symlink_to(path)
    with child(HOLD, path) as process:
        assert line(process) == "open"
        for name in (path, tmp_path / "link.db"):
            with pytest.raises(
                DatabaseLocked, match=r"another process is using .*stop"
            ):
                async with Store.open(name):
                    pass
    assert await names(path) == []


async def test_two_stores_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    """The lock also holds inside one process, and a failed try does not end it."""
    path = tmp_path / "a.db"
    async with Store.open(path):
        for _ in range(2):
            with pytest.raises(DatabaseLocked):
                async with Store.open(path):
                    pass
    assert await names(path) == []


async def test_a_removed_lock_file_is_made_anew(tmp_path: Path) -> None:
    """Tidying up the lock file between two starts harms nothing."""
    path = tmp_path / "a.db"
    await filled(path)
    (tmp_path / "a.db.lock").unlink()
    async with Store.open(path):
        assert (tmp_path / "a.db.lock").exists()


def test_who_asks_whether_it_is_held_keeps_nobody_out(tmp_path: Path) -> None:
    """Asking shares the lock for a moment; a start that meets it waits that moment."""
    path = tmp_path / "a.db"
    assert not is_held(path)
    assert list(tmp_path.iterdir()) == []
    with lock(path):
        assert is_held(path)
    assert not is_held(path)
    asking = os.open(f"{path}.lock", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    answered = threading.Timer(0.1, os.close, [asking])
    answered.start()
    with lock(path):
        assert is_held(path)
    answered.join()


async def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    """A program that the bot started does not keep the database when the bot ends."""
    path = tmp_path / "a.db"
    async with Store.open(path):
        other = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            close_fds=False,
        )
    with other:
        assert await names(path) == []


async def test_a_killed_transaction_leaves_the_old_rows_or_the_new(
    tmp_path: Path,
) -> None:
    """kill -9 at any moment: every row is of one transaction, never of two."""
    path = tmp_path / "a.db"
    for wanted in (0, 1, 5, 40):
        with child(ALTERNATE, path) as process:
            while int(line(process)) < wanted:
                pass
        async with Store.read(path) as copy:
            assert len({row.name for row in (await copy.rows()).values()}) <= 1
        async with Store.open(path) as store:
            rows = await store.rows()
        assert len({row.name for row in rows.values()}) <= 1
        assert len(rows) in ({0, 50} if wanted == 0 else {50})
    assert not [name for name in contents(tmp_path) if "corrupt" in name]


# Disks


async def test_a_full_database_refuses_the_whole_transaction(tmp_path: Path) -> None:
    """Full in the middle: nothing of it is written, and the store goes on."""
    path = tmp_path / "a.db"
    await filled(path)
    async with Store.open(path) as store:
        await store._db.execute("PRAGMA max_page_count = 60")
        with pytest.raises(DatabaseFull, match="make room"):
            await too_much(store)
        assert list(await store.rows()) == ["!0", "!1", "!2"]
        await set_room_meta(store, "!0", name="")
    assert await names(path) == ["!0", "!1", "!2"]


async def test_a_failing_disk_refuses_the_whole_transaction(tmp_path: Path) -> None:
    """A file that may not grow: one sentence, and the old rows."""
    with child(FILL, tmp_path / "a.db") as process:
        assert "check its disk" in line(process)
        assert line(process) == "[]"


# Reading beside a bot


async def test_reading_sees_the_last_commit_of_a_running_bot(tmp_path: Path) -> None:
    """A reader needs no lock, sees no open transaction, and changes no byte."""
    path = tmp_path / "a.db"
    with child(COMMIT_ONE, path) as process:
        assert line(process) == "open"
        before = contents(tmp_path)
        async with Store.read(path) as copy:
            assert list(await copy.rows()) == ["!committed"]
            assert copy.empty_because is None
            await set_room_meta(copy, "!forgotten")
        assert contents(tmp_path) == before


async def test_reading_beside_the_writer_of_this_process(tmp_path: Path) -> None:
    """A reader in the bot's own process disturbs its transaction as little."""
    path = tmp_path / "a.db"
    async with Store.open(path) as store, store.transaction():
        await set_room_meta(store, "!open")
        async with Store.read(path) as copy:
            assert await copy.rows() == {}
    assert await names(path) == ["!open"]


async def test_reading_while_the_bot_writes_never_sees_a_mixture(
    tmp_path: Path,
) -> None:
    """Fifty reads of a database that changes all the time: each is one commit."""
    path = tmp_path / "a.db"
    with child(ALTERNATE, path) as process:
        while int(line(process)) < 1:
            pass
        assert process.stdout is not None
        for _ in range(50):
            line(process)
            async with Store.read(path) as copy:
                rows = await copy.rows()
            assert copy.empty_because is None
            assert len(rows) == 50
            assert len({row.name for row in rows.values()}) == 1


@pytest.mark.parametrize("index", [None, b"", b"garbage" * 5000])
async def test_a_log_is_brought_in_whatever_its_index(
    tmp_path: Path, index: bytes | None
) -> None:
    """A crash, or a backup of the database and its -wal alone, loses nothing."""
    path = tmp_path / "a.db"
    with child(COMMIT_ONE, path) as process:
        line(process)
    (tmp_path / "a.db-shm").unlink()
    if index is not None:
        (tmp_path / "a.db-shm").write_bytes(index)
    assert await names(path) == ["!committed"]


async def test_reading_after_a_crash_changes_no_byte(tmp_path: Path) -> None:
    """The log that a killed bot left is read, and stays for the bot to bring in."""
    path = tmp_path / "a.db"
    with child(ALTERNATE, path) as process:
        while int(line(process)) < 3:
            pass
    before = contents(tmp_path)
    assert before["a.db-wal"]
    async with Store.read(path) as copy:
        assert len(await copy.rows()) == 50
    assert contents(tmp_path) == before


async def test_reading_an_empty_file_changes_no_byte(tmp_path: Path) -> None:
    """SQLite would throw away the log beside it."""
    path = tmp_path / "a.db"
    with child(COMMIT_ONE, path) as process:
        line(process)
    path.write_bytes(b"")
    before = contents(tmp_path)
    async with Store.read(path) as copy:
        assert await copy.rows() == {}
    assert contents(tmp_path) == before


async def test_reading_a_closed_database_changes_no_byte(tmp_path: Path) -> None:
    """Not even an empty -wal is left behind."""
    path = tmp_path / "a.db"
    await filled(path)
    (tmp_path / "a.db.lock").unlink()
    before = contents(tmp_path)
    async with Store.read(path, user_id=BOT, homeserver=SERVER) as copy:
        assert list(await copy.rows()) == ["!0", "!1", "!2"]
    assert contents(tmp_path) == before
    assert not (tmp_path / "a.db.lock").exists()


@pytest.mark.parametrize(
    "what",
    ["missing", "garbage", "cut"],
)
async def test_what_is_missing_or_damaged_reads_as_empty(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so; nothing is made, moved or repaired."""
    path = tmp_path / "a.db"
    match what:
        case "missing":
            pass
        case "garbage":
            path.write_bytes(b"no database" * 1000)
        case _:
            await filled(path, 100)
            path.write_bytes(path.read_bytes()[:-5000])
    before = contents(tmp_path)
    with caplog.at_level(logging.WARNING):
        async with Store.read(path, user_id=BOT) as copy:
            assert await copy.rows() == {}
            assert await copy.last_pass() is None
            assert copy.empty_because is not None
            assert str(path) in copy.empty_because
    assert contents(tmp_path) == before
    (record,) = caplog.records
    assert record.getMessage().endswith("reading it as empty")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_CANTOPEN, DatabaseUnusable),
        (sqlite3.SQLITE_IOERR, DatabaseUnusable),
        (sqlite3.SQLITE_BUSY, DatabaseLocked),
        (sqlite3.SQLITE_FULL, DatabaseFull),
    ],
)
async def test_what_is_there_and_cannot_be_read_is_not_taken_for_empty(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    error: type[Exception],
) -> None:
    """A failed read is no absence: a plan against nothing would create everything."""
    path = tmp_path / "a.db"
    await filled(path)

    def refused(_uri: str) -> sqlite3.Connection:
        why = sqlite3.OperationalError("the disk says no")
        why.sqlite_errorcode = code
        raise why

    monkeypatch.setattr(database, "_backup", refused)
    with pytest.raises(error):
        async with Store.read(path):
            pass


async def test_a_log_without_its_index_is_read_all_the_same(tmp_path: Path) -> None:
    """So a crash leaves it where somebody tidies up, or copies the two files alone."""
    path = tmp_path / "a.db"
    with child(COMMIT_ONE, path) as process:
        line(process)
    (tmp_path / "a.db-shm").unlink()
    before = contents(tmp_path)
    async with Store.read(path, user_id=BOT) as copy:
        assert list(await copy.rows()) == ["!committed"]
        assert copy.empty_because is None
    assert contents(tmp_path) == before


async def test_a_folder_is_no_database_to_read_either(tmp_path: Path) -> None:
    """It is a mistake in the settings, and not a cache that happens to be empty."""
    with pytest.raises(DatabaseUnusable, match="it is a folder"):
        async with Store.read(tmp_path):
            pass
