"""The platform that says what it was told, with the number of the turn before it.

The numbers show that a conversation went on. They stand in a file of their own, which
knows of each conversation how far it is, and of each recent turn its event: never what
was said."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import aiosqlite

from adapter.plain_text import whole
from adapter.platform.base import (
    FileUnusable,
    Message,
    Platform,
    PlatformBusy,
    Turn,
)

REMEMBERED: Final = 1000
"""Turns of a conversation that are known again; an older event would count anew. The
bot looks back no further in a room."""

_OURS: Final = 0x5BACEEC0  # PRAGMA application_id
_VERSION: Final = 1  # PRAGMA user_version
_BUSY_TIMEOUT: Final = 5.0  # seconds to wait for another program that is writing

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS turns (
    platform_chat_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (platform_chat_id, n),
    UNIQUE (platform_chat_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS forget AFTER INSERT ON turns BEGIN
    DELETE FROM turns
    WHERE platform_chat_id = new.platform_chat_id AND n <= new.n - {REMEMBERED};
END;
PRAGMA application_id = {_OURS};
PRAGMA user_version = {_VERSION};
COMMIT;
"""  # noqa: S608 - numbers of our own

# One statement, so that neither a crash nor a cancelled task can come in between.
_COUNT: Final = """
INSERT INTO turns (platform_chat_id, n, event_id)
SELECT ?1, coalesce(max(n), 0) + 1, ?2 FROM turns WHERE platform_chat_id = ?1
ON CONFLICT (platform_chat_id, event_id) DO UPDATE SET n = n
RETURNING n
"""


class Echo:
    """See `echo`, which makes it."""

    def __init__(self, connection: aiosqlite.Connection, path: Path | None) -> None:
        self._connection = connection
        self._path = path

    async def answer(self, turn: Turn) -> tuple[Message, ...]:
        """Answer "3: hello" to the third turn; always the same to the same event."""
        names = (whole(turn.platform_chat_id), whole(turn.event_id))
        with _translated(self._path):
            ((number,),) = await self._connection.execute_fetchall(_COUNT, names)
        return (Message(f"{number}: {turn.text}"),)


@asynccontextmanager
async def echo(path: Path | None = None) -> AsyncIterator[Platform]:
    """Open the counts at `path`, which is made if it is missing; `None`: in memory.

    Raises `FileUnusable` for what is no file of ours, and leaves that as it is."""
    # Opening blocks, for a moment and before the first await: it cannot be half done.
    opened = _opened(path)
    connection = aiosqlite.Connection(lambda: opened, iter_chunk_size=64)
    try:
        await connection
    except BaseException:
        opened.close()
        raise
    try:
        yield Echo(connection, path)
    finally:
        await connection.close()


def _opened(path: Path | None) -> sqlite3.Connection:
    with _translated(path):
        if path is None:
            return _prepared(_connect(":memory:"), None)
        # Made for its owner alone, which SQLite itself would not do.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return _prepared(_connect(f"{path.absolute().as_uri()}?mode=rw"), path)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY_TIMEOUT,
        isolation_level=None,  # each statement is a transaction of its own
        check_same_thread=False,  # aiosqlite gives it a thread of its own
    )


def _prepared(connection: sqlite3.Connection, path: Path | None) -> sqlite3.Connection:
    try:
        if not _is_ours(connection, path):
            connection.executescript(_SCHEMA)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_ours(connection: sqlite3.Connection, path: Path | None) -> bool:
    """True for our file, False for an empty one; raises for any other.

    `platform.path` may name the bot's cache by mistake."""
    made_by = _pragma(connection, "application_id")
    if made_by == _OURS:
        if _pragma(connection, "user_version") > _VERSION:
            msg = f"{path} was made by a newer Spacekeeper"
            raise FileUnusable(msg)
        return True
    if made_by or connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        msg = f"{path} is the database of something else, maybe the bot's cache"
        raise FileUnusable(msg)
    return False


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


@contextmanager
def _translated(path: Path | None) -> Iterator[None]:
    """Say what the errors of SQLite and the file system mean here."""
    where = f"the file {path} of `echo`" if path else "the memory of `echo`"
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            msg = f"{where} is being written by another program"
            raise PlatformBusy(msg) from exc
        msg = f"{where} cannot be used ({exc})"
        raise FileUnusable(msg) from exc
    except OSError as exc:
        msg = f"{where} cannot be used ({exc.strerror})"
        raise FileUnusable(msg) from exc
