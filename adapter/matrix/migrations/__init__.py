"""Numbered SQL files, and what brings a database up to the newest of them.

To change the schema, add the next number; a file that was released never changes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator
from importlib import resources
from typing import NamedTuple

FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


def known() -> list[Migration]:
    """The migrations of this Spacekeeper, oldest first."""
    found = []
    for file in resources.files(__name__).iterdir():
        if match := FILE_NAME.fullmatch(file.name):
            sql = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), match[2], sql))
    return sorted(found)


def applied(connection: sqlite3.Connection) -> set[int]:
    """The versions that a database of ours has been through; of an empty one, none."""
    if not objects(connection):
        return set()
    return {row[0] for row in connection.execute("SELECT version FROM migrations")}


def migrate(
    connection: sqlite3.Connection, only: Collection[int] | None = None
) -> None:
    """Bring the database up to date, or to what `only` these versions make of it.

    Each migration and its record are one transaction."""
    done = applied(connection)
    for migration in known():
        if migration.version not in done and (
            only is None or migration.version in only
        ):
            _apply(connection, migration)


def objects(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Every table, index and view as (type, name), SQLite's own left out."""
    return set(
        connection.execute(
            r"SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\'"
        )
    )


def statements(sql: str) -> Iterator[str]:
    """Divide `sql` into its statements. A semicolon that ends one ends its line, too."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    # Not executescript: it commits what is open before it begins.
    try:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migrations (version, name) VALUES (?, ?)",
            (migration.version, migration.name),
        )
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
