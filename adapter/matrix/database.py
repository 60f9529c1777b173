"""The database file: locked, checked, migrated, and moved aside when it is damaged.

Everything here blocks, and is done before the first await: opening cannot be cancelled
half-way. What the file holds is the business of `store`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from adapter.matrix import migrations
from adapter.matrix.faults import (
    DatabaseDamaged,
    DatabaseLocked,
    DatabaseMissing,
    DatabaseUnusable,
    NewerDatabase,
    WrongAccount,
    reachable,
    translated,
)

log = logging.getLogger(__name__)

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program, say a `sqlite3` shell, that is writing."""

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; nothing without it, and dangerous to another."""

READS = 10
"""How often a reader tries again when a bot starts or stops under its eyes."""

OURS = {("table", "migrations"), ("table", "room_meta")}
MOST_CACHED = 65_536
"""KB of the file that are in memory at most; as many as it has if it is smaller."""


class Account(NamedTuple):
    """Whose database it is; what is `None` is not compared, and not recorded."""

    user_id: str | None = None
    homeserver: str | None = None

    def known(self) -> dict[str, str]:
        values = {"user_id": self.user_id, "homeserver": self.homeserver}
        return {key: value.rstrip("/") for key, value in values.items() if value}


def located(path: str | os.PathLike[str]) -> Path:
    """The file that `path` names, links followed: two names of it share one lock."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as exc:
        raise DatabaseUnusable(Path(path), f"{exc}; set another `database`") from exc


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the database against every other process that writes, or raise at once.

    The lock goes with this process, however it ends; its file stays, as removing it
    would let two others lock two files of one name."""
    with reachable(path):
        _refuse_what_is_no_file(path)
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise DatabaseUnusable(
                path, "it may not be written; correct its permissions"
            )
        descriptor = _locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the database now: the bot, or a pass on its own."""
    with reachable(path):
        try:
            descriptor = os.open(_beside(path), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def prepared(path: Path, account: Account) -> sqlite3.Connection:
    """Open the locked database for writing, checked and up to date.

    One that is damaged is moved aside and made anew. When anything is refused, the
    files are what they were."""
    with reachable(path):
        made = _create(path)
        try:
            try:
                return _opened(path, account)
            except DatabaseDamaged as exc:
                aside = _move_aside(path)
                log.warning(
                    "%s: it was moved to %s, and a new one is built from Matrix",
                    exc.short,
                    aside,
                )
                made = _create(path)
                return _opened(path, account)
        except BaseException:
            if made:
                _remove(path)
            raise


def snapshot(path: Path, account: Account) -> tuple[sqlite3.Connection, str | None]:
    """Copy the database, live or not, into memory, and bring the copy up to date.

    Nothing on the disk changes. One that is missing or damaged is empty, and the reason
    for it; what is there and cannot be read now raises as a `StoreError`."""
    _refuse_what_is_no_file(path)
    because = None
    try:
        copy = _examined(path, _copied)
    except DatabaseDamaged as exc:
        copy, because = _in_memory(), exc.short
    except DatabaseMissing as exc:
        copy, because = _in_memory(), str(exc)
    try:
        _check_account(copy, path, account)
        migrations.migrate(copy)
    except BaseException:
        copy.close()
        raise
    return copy, because


def reading(path: Path) -> sqlite3.Connection:
    """Open a database again that this process has open, to read what is committed."""
    return _connect(f"{path.as_uri()}?mode=ro")


def _refuse_what_is_no_file(path: Path) -> None:
    if path.is_dir():
        raise DatabaseUnusable(path, "it is a folder; set `database` to a file in it")
    if path.exists() and not path.is_file():
        raise DatabaseUnusable(path, "it is no regular file; set another `database`")


def _locked(path: Path) -> int:
    beside = _beside(path)
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            # Somebody may have removed the file between the two calls above: a lock
            # on a file without a name keeps nobody out.
            if os.path.samestat(os.fstat(descriptor), beside.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError as exc:
            os.close(descriptor)
            raise DatabaseLocked(path) from exc
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Take the lock, or raise `BlockingIOError` if another process has it."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Who only asks, in `is_held`, shares the lock for a moment: that keeps
            # nobody out. Who has it does not share it.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        else:
            return


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _create(path: Path) -> bool:
    """Make the file for its owner alone, if there is none; say whether it was made."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _remove(path: Path) -> None:
    for suffix in ("", *COMPANIONS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _move_aside(path: Path) -> Path:
    """Give a damaged database, and what is beside it, the first free name."""
    number = 1
    while any(
        os.path.lexists(f"{path}.corrupt-{number}{suffix}")
        for suffix in ("", *COMPANIONS)
    ):
        number += 1
    aside = path.with_name(f"{path.name}.corrupt-{number}")
    # The database first: what is left behind by a crash in between is worth nothing.
    for suffix in ("", *COMPANIONS):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _opened(path: Path, account: Account) -> sqlite3.Connection:
    # SQLite brings a -wal in, or throws it away, as soon as it opens a database to
    # write. So whether it is fit is seen on a copy, while the files are what they were.
    with closing(_examined(path, _replayed if _has_log(path) else _copied)) as copy:
        _check_account(copy, path, account)
    with translated(path):
        connection = _connect(f"{path.as_uri()}?mode=rw")
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
            # What is committed before a room is made must outlive a power cut after it.
            connection.execute("PRAGMA synchronous = FULL")
            # A first pass over many rooms writes to all places of all indexes.
            connection.execute(f"PRAGMA cache_size = -{MOST_CACHED}")
            migrations.migrate(connection)
            connection.executemany(
                "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)",
                account.known().items(),
            )
        except BaseException:
            connection.close()
            raise
        return connection


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions begin where the code says so
        check_same_thread=False,  # aiosqlite gives it a thread of its own
    )


def _in_memory() -> sqlite3.Connection:
    return _connect("file::memory:")


def _examine(connection: sqlite3.Connection, path: Path) -> None:
    """Raise unless the database is whole, ours or empty, and not too new."""
    (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if problem != "ok":
        raise DatabaseDamaged(path, str(problem).splitlines()[-1])
    found = migrations.objects(connection)
    if found and not found >= OURS:
        raise DatabaseUnusable(
            path, "it is another program's database; set another `database`"
        )
    # The check does not look into text, and a row that cannot be read stays so.
    for kind, name in found:
        if kind == "table":
            quoted = name.replace('"', '""')
            deque(connection.execute(f'SELECT * FROM "{quoted}"'), maxlen=0)  # noqa: S608
    done = migrations.applied(connection)
    if done - {migration.version for migration in migrations.known()}:
        raise NewerDatabase(path)
    with closing(_in_memory()) as new:
        migrations.migrate(new, only=done)
        missing = migrations.objects(new) - found
    if missing:
        lost = ", ".join(sorted(name for _, name in missing))
        raise DatabaseDamaged(path, f"without {lost}")


def _check_account(
    connection: sqlite3.Connection, path: Path, account: Account
) -> None:
    if ("table", "meta") not in migrations.objects(connection):
        return
    recorded: Mapping[str, str] = dict(
        connection.execute("SELECT key, value FROM meta")
    )
    for key, given in account.known().items():
        if recorded.get(key, given) != given:
            raise WrongAccount(path, recorded[key], given)


def _copied(path: Path) -> sqlite3.Connection:
    """Copy a database into memory as its last commit left it, and write nothing."""
    if not path.is_file():
        raise DatabaseMissing(path)
    if not _size(path):
        # SQLite would throw away a -wal that it finds beside it, even to read.
        return _in_memory()
    for _ in range(READS):
        before = _stamps(path)
        try:
            copy, is_alone = _read_once(path)
        except (sqlite3.Error, FileNotFoundError):
            if _stamps(path) == before:
                raise
            continue
        # That it was alone relies on nobody writing meanwhile: look whether it held.
        if not is_alone or _stamps(path) == before:
            return copy
        copy.close()
    raise DatabaseUnusable(path, "it changes while it is read; try again")


def _examined(
    path: Path, copied: Callable[[Path], sqlite3.Connection]
) -> sqlite3.Connection:
    """A copy in memory of a database that is fit to be used."""
    with reachable(path), translated(path):
        copy = copied(path)
        try:
            _examine(copy, path)
        except BaseException:
            copy.close()
            raise
        return copy


def _replayed(path: Path) -> sqlite3.Connection:
    """Copy a database into memory whose -wal was left behind by a crash, and that nobody
    has open. SQLite replays it in copies of the files, where it needs no -shm of theirs."""
    with tempfile.TemporaryDirectory(prefix="spacekeeper-") as folder:
        copy = Path(folder, "copy.db")
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        return _backup(f"{copy.as_uri()}?mode=rw")


def _has_log(path: Path) -> bool:
    return bool(_size(path) and _size(path.with_name(f"{path.name}-wal")))


def _read_once(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Copy the database into memory, and say whether that relies on nobody writing.

    Plain `mode=ro` is not enough: it makes a -wal and a -shm, or changes them."""
    log_size, index = (_size(path.with_name(path.name + end)) for end in COMPANIONS[:2])
    if not log_size:
        return _backup(f"{path.as_uri()}?mode=ro&immutable=1"), True
    if index is None:
        return _replayed(path), True
    return _backup(f"{path.as_uri()}?mode=ro&readonly_shm=1"), False


def _backup(uri: str) -> sqlite3.Connection:
    with closing(_connect(uri)) as source:
        copy = _in_memory()
        try:
            source.backup(copy)
        except BaseException:
            copy.close()
            raise
        return copy


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _stamps(path: Path) -> list[tuple[int, int, int] | None]:
    """What changes when one of the database's files does."""
    stamps: list[tuple[int, int, int] | None] = []
    for suffix in ("", *COMPANIONS):
        try:
            stat = path.with_name(path.name + suffix).stat()
        except FileNotFoundError:
            stamps.append(None)
        else:
            stamps.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return stamps
