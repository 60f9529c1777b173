"""A program that kills itself at a commit, whatever way it commits."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from adapter.cli.processes import Completed, completed
from tests.faults.commits import Kill, When, killed, listed, watched

PROGRAM = """
import asyncio, sqlite3, sys
import aiosqlite

with sqlite3.connect(":memory:") as elsewhere:
    elsewhere.execute("CREATE TABLE t (n)")
elsewhere.close()

db = sqlite3.connect("file.db", isolation_level=None)
db.executescript("BEGIN; CREATE TABLE t (n); COMMIT;")
db.execute("BEGIN")
db.execute("INSERT INTO t VALUES (1)")
db.execute("COMMIT")
with db:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT OR IGNORE INTO t VALUES (?)", [(2,), (3,)])
    db.execute("DELETE FROM t WHERE n = 3")
db.execute("BEGIN")
db.execute("INSERT INTO t VALUES (4)")
db.rollback()
db.execute("INSERT INTO t VALUES (5) RETURNING n").fetchall()
db.close()

async def main():
    async with aiosqlite.connect("file.db") as db:
        await db.execute("CREATE TABLE u (n)")
        await db.execute("UPDATE t SET n = 6 WHERE n = 5")
        await db.commit()

asyncio.run(main())
print("done", *sys.argv[1:])
"""

COMMITS = [
    "file.db: create",
    "file.db: insert t",
    "file.db: delete t, insert t",
    "file.db: insert t",
    "file.db: create",
    "file.db: update t",
]
WRITTEN: list[list[int]] = [[], [1], [1, 2], [1, 2, 5], [1, 2, 5], [1, 2, 6]]
"""What the table holds after each of them."""


async def run(folder: Path, *kills: Kill) -> Completed:
    (folder / "program.py").write_text(PROGRAM)
    via = watched(folder, folder / "log", kills)
    return await completed(
        sys.executable, "-m", *via, "program", "with", "arguments", folder=folder
    )


def held(folder: Path) -> list[int]:
    """What the table holds once the next program has opened the file."""
    with closing(sqlite3.connect(folder / "file.db")) as database:
        found = database.execute("SELECT n FROM t ORDER BY n").fetchall()
    return [n for (n,) in found]


async def test_commits_are_listed_and_the_program_goes_on(tmp_path: Path) -> None:
    """Each once, in order; not what was rolled back, nor another database's."""
    assert await run(tmp_path) == (0, "done with arguments\n", "")
    assert listed(tmp_path / "log") == COMMITS
    assert killed(tmp_path / "log") is None
    assert held(tmp_path) == [1, 2, 6]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_program_is_killed_at_any_of_its_commits(
    tmp_path: Path, when: When
) -> None:
    """Before it everything is written and nothing of it is there later, after it all is;
    and no more of both."""

    async def is_killed(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        kind = COMMITS[number]
        nth = COMMITS[: number + 1].count(kind)
        elsewhere = Kill(kind, nth + 10, when)
        ended = await run(folder, elsewhere, Kill(kind, nth, when))
        assert (ended.code, ended.stdout) == (-signal.SIGKILL, ""), ended.stderr
        assert listed(folder / "log") == COMMITS[: number + 1]
        assert killed(folder / "log") == 1
        # SQLite leaves it behind where a transaction that wrote something did not end.
        assert (folder / "file.db-journal").exists() == (when == "before")
        done = number if when == "after" else number - 1
        assert held(folder) == WRITTEN[done]

    await asyncio.gather(*(is_killed(number) for number in range(1, len(COMMITS))))
