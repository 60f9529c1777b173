"""Runs a program that kills itself at a commit of its own, and lists those that it makes.

    python -m tests.faults.commits '{"folder": ..., "log": ..., "kills": [...]}' \\
        package.module its arguments

Every commit to a file in `folder` adds a line to `log`: of what kind it is, the file and
what was written. `kills` are `[kind, nth, "before" | "after"]`. Before a commit means that
the transaction is open and all of its statements are done; after it, that SQLite has said
so, and the program has not heard.

It sees what goes through `sqlite3`, of which aiosqlite is a part; a statement of its own
transaction is a commit, too."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

When = Literal["before", "after"]

KILLED: Final = "killed: "
"""How the last line of a log begins if the program killed itself: then which kill it was."""

_WRITES: Final = re.compile(
    r"\s*(?:(INSERT|REPLACE|UPDATE|DELETE)\b(?:\s+OR\s+\w+)?(?:\s+INTO|\s+FROM)?\s+(\w+)"
    r"|(CREATE|ALTER|DROP)\b)",
    re.IGNORECASE,
)
_COMMITS: Final = re.compile(r"\s*(?:COMMIT|END)\b", re.IGNORECASE)


class Kill(NamedTuple):
    """At the `nth` commit of a kind in this life of the program."""

    kind: str
    nth: int
    when: When


def watched(folder: Path, log: Path, kills: Iterable[Kill] = ()) -> tuple[str, ...]:
    """What stands between `-m` and a module's name to run it here."""
    task = {"folder": str(folder.resolve()), "log": str(log), "kills": list(kills)}
    return __name__, json.dumps(task)


def listed(log: Path) -> list[str]:
    """The kinds of all commits, in their order."""
    return [line for line in _lines(log) if not line.startswith(KILLED)]


def killed(log: Path) -> int | None:
    """Which of its kills ended the program, by its place in `kills`."""
    last = _lines(log)[-1:]
    found = [int(line.removeprefix(KILLED)) for line in last if line.startswith(KILLED)]
    return found[0] if found else None


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


# Inside the program


class Watch:
    """Counts the commits of this process, and ends it where that was asked for."""

    def __init__(self, folder: str, log: str, kills: Sequence[Sequence[Any]]) -> None:
        self.folder = Path(folder)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kills = {
            (kind, nth): (number, when)
            for number, (kind, nth, when) in enumerate(kills)
        }
        self._counts: Counter[str] = Counter()

    def due(self, kind: str) -> Strike | None:
        """Note the commit that comes now; returns what is to end the process at it."""
        self._note(kind)
        self._counts[kind] += 1
        found = self._kills.get((kind, self._counts[kind]))
        return found and Strike(found[1], lambda: self._die(found[0]))

    def _die(self, number: int) -> None:
        self._note(f"{KILLED}{number}")
        os.kill(os.getpid(), signal.SIGKILL)
        while True:  # no statement more, however long the signal takes
            time.sleep(1)

    def _note(self, line: str) -> None:
        os.write(self._log, f"{line}\n".encode())


class Strike(NamedTuple):
    """The end of this process, and when at a commit it comes."""

    when: When
    now: Callable[[], None]


class Connection(sqlite3.Connection):
    """A connection that sees its commits, if they are to a file of the folder."""

    watch: Watch

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._name = self._relative()
        self._written: set[str] = set()
        self._strike: Strike | None = None
        """What is to come after the commit that is under way."""
        if self._name is not None:
            self.set_trace_callback(self._begins)

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or Cursor)

    # These three make their cursors where nobody sees it.

    def execute(self, *statement: Any) -> Any:
        return self.cursor().execute(*statement)

    def executemany(self, *statement: Any) -> Any:
        return self.cursor().executemany(*statement)

    def executescript(self, script: str, /) -> Any:
        return self.cursor().executescript(script)

    def commit(self) -> None:
        super().commit()
        self.went_on()

    def __exit__(self, *raised: Any) -> Literal[False]:
        super().__exit__(*raised)
        self.went_on()
        return False

    def alone(self, sql: str) -> str | None:
        """The kind of commit that this statement makes by itself, if it makes one."""
        written = None if self._name is None or self.in_transaction else _written(sql)
        # With an isolation level, sqlite3 begins a transaction where rows are written.
        if written is None or (self.isolation_level is not None and " " in written):
            return None
        return self._kind({written})

    def went_on(self) -> None:
        """Something is over: the commit is, if it was that."""
        strike, self._strike = self._strike, None
        if strike is not None and not self.in_transaction:
            strike.now()

    def _begins(self, sql: str) -> None:
        """SQLite is about to carry out a statement, of whatever call."""
        self.went_on()
        if _COMMITS.match(sql):
            written, self._written = self._written, set()
            self._strike = self.watch.due(self._kind(written))
            if self._strike is not None and self._strike.when == "before":
                self._strike.now()
        elif not self.in_transaction:
            self._written.clear()
        elif what := _written(sql):
            self._written.add(what)

    def _kind(self, written: set[str]) -> str:
        return f"{self._name}: {', '.join(sorted(written)) or 'nothing'}"

    def _relative(self) -> str | None:
        """Where the database lies in the folder; `None` if it does not."""
        [(_, _, file), *_] = super().execute("PRAGMA database_list").fetchall()
        path, folder = Path(file), self.watch.folder
        inside = bool(file) and path.is_relative_to(folder)
        return str(path.relative_to(folder)) if inside else None


class Cursor(sqlite3.Cursor):
    """A cursor that sees statements which are a transaction each."""

    connection: Connection

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._carry_out(super().execute, sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> Any:
        return self._carry_out(super().executemany, sql, *parameters)

    def executescript(self, script: str, /) -> Any:
        done = super().executescript(script)
        self.connection.went_on()
        return done

    def _carry_out(self, call: Any, sql: str, *parameters: Any) -> Any:
        kind = self.connection.alone(sql)
        strike = self.connection.watch.due(kind) if kind else None
        if strike is not None:
            if strike.when == "before":
                super().execute("BEGIN IMMEDIATE")
            call(sql, *parameters)
            self.fetchall()  # which ends the statement; nobody will miss the rows
            strike.now()
        done = call(sql, *parameters)
        self.connection.went_on()
        return done


def _written(sql: str) -> str | None:
    """`insert table` of a statement that writes."""
    found = _WRITES.match(sql)
    if found is None:
        return None
    verb, table, shape = found.groups()
    return f"{verb} {table}".lower() if verb else str(shape).lower()


def main() -> None:
    task, module = json.loads(sys.argv[1]), sys.argv[2]
    Connection.watch = Watch(**task)
    for where in (sqlite3, sqlite3.dbapi2):
        where.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[attr-defined]
    del sys.argv[:2]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
