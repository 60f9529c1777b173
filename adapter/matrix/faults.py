"""What can be wrong with the cache, each in one sentence that says what to do.

StoreError
+- DatabaseLocked     another process has it
+- DatabaseUnusable   it cannot be opened, read or written where it is
+- DatabaseFull       no room on the disk
+- DatabaseDamaged    found while in use; the next start moves it aside
+- NewerDatabase      made by a newer Spacekeeper
+- WrongAccount       another bot's
+- BadValue           what was to be written is no value for that column
   +- PlaceTaken      another row holds the place
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreError(Exception):
    """What went wrong with the cache, and what to do, in one sentence."""


class DatabaseLocked(StoreError):  # noqa: N818
    def __init__(self, path: Path) -> None:
        super().__init__(f"another process is using {path}: stop it first")


class DatabaseUnusable(StoreError):  # noqa: N818
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used as the database: {why}")


class DatabaseMissing(StoreError):  # noqa: N818
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no database yet at {path}")


class DatabaseFull(StoreError):  # noqa: N818
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the disk of {path} is full and nothing was written: make room on it"
        )


class DatabaseDamaged(StoreError):  # noqa: N818
    def __init__(self, path: Path, why: str) -> None:
        self.short = f"the database {path} is damaged ({why})"
        super().__init__(
            f"{self.short}: restart the bot, which moves it aside and rebuilds it"
            " from Matrix"
        )


class NewerDatabase(StoreError):  # noqa: N818
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was made by a newer Spacekeeper: upgrade this one,"
            " or set another `database`"
        )


class WrongAccount(StoreError):  # noqa: N818
    def __init__(self, path: Path, recorded: str, given: str) -> None:
        super().__init__(
            f"{path} belongs to {recorded}, not to {given}: set another `database`,"
            " or move this one away: it is a cache, and is built again from Matrix"
        )


class BadValue(StoreError, ValueError):  # noqa: N818
    """What was to be written is no value for that column; nothing was written."""


class PlaceTaken(BadValue):
    def __init__(self) -> None:
        super().__init__(
            "another room holds this place (the user's Space, their chat_id, or the"
            " platform_chat_id): detach that one first"
        )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Say what SQLite's errors mean here. A misuse of the library stays what it is."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as exc:
        raise _meaning(exc, path) from exc


@contextmanager
def reachable(path: Path) -> Iterator[None]:
    """Say what the errors of the file system mean here."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DatabaseFull(path) from exc
        why = f"{exc.strerror}; correct that, or set another `database`"
        raise DatabaseUnusable(path, why) from exc


def _meaning(error: sqlite3.Error, path: Path) -> StoreError:
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DatabaseDamaged(path, str(error))
        case sqlite3.SQLITE_FULL:
            return DatabaseFull(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseLocked(path)
        case (
            sqlite3.SQLITE_READONLY
            | sqlite3.SQLITE_CANTOPEN
            | sqlite3.SQLITE_PERM
            | sqlite3.SQLITE_IOERR
            | sqlite3.SQLITE_PROTOCOL
        ):
            why = f"{error}; check its disk and its permissions"
            return DatabaseUnusable(path, why)
        case sqlite3.SQLITE_CONSTRAINT if "UNIQUE" in str(error):
            return PlaceTaken()
        case sqlite3.SQLITE_CONSTRAINT:
            return BadValue(f"this cannot be a row: {error}")
        case _:
            pass
    if not hasattr(error, "sqlite_errorcode"):
        # Python's own: text in the file that is no UTF-8.
        return DatabaseDamaged(path, str(error))
    return StoreError(f"{path} refused a statement ({error}): please report this")
