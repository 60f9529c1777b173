"""The cache: the rows as a target of the controller, and the bot's short memory.

One writer, one connection; what belongs together is written in one `transaction`.
Every time is in ms since the epoch and comes in as an argument. `database` opens the
file; its errors are this module's, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections.abc import (
    AsyncIterator,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Self

from adapter.matrix import database
from adapter.matrix.columns import COLUMNS, bad, written
from adapter.matrix.connection import Connection, served
from adapter.matrix.faults import (
    BadValue,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseLocked,
    DatabaseUnusable,
    NewerDatabase,
    PlaceTaken,
    StoreError,
    WrongAccount,
)
from adapter.matrix.rows import ACTIVE, CHAT, SPACE, Publication, Row, Unread, by_room
from controller.apply import Outcome, Result
from controller.conditions import Condition
from controller.model import Change

__all__ = [
    "BadValue",
    "DatabaseDamaged",
    "DatabaseFull",
    "DatabaseLocked",
    "DatabaseUnusable",
    "NewerDatabase",
    "PassRecord",
    "PlaceTaken",
    "Publication",
    "Store",
    "StoreError",
    "WrongAccount",
    "get_room_meta",
    "get_user_meta",
    "next_platform_chat_id",
    "set_room_meta",
    "set_user_meta",
]

log = logging.getLogger(__name__)

ROW = ", ".join(Row._fields)
AT_ONCE = 1000
"""Rooms that are asked for in one statement, so that the loop need not wait for more."""
PASSES_KEPT = 100
PUBLICATIONS_KEPT = 7 * 24 * 60 * 60 * 1000
"""Ms that a publication is remembered."""


class PassRecord(NamedTuple):
    """One run of the loop; `report` is what JSON can hold of it."""

    id: int
    at: int
    result: str
    report: dict[str, Any]


class Written(NamedTuple):
    """What became of each step, and the rows that they left."""

    outcomes: list[Outcome]
    rows: list[Row]


class Store:
    """The open cache. Use `open` to write, and `read` beside a running bot."""

    def __init__(self, connection: Connection, because: str | None = None) -> None:
        self.empty_because = because
        """Why a cache that was opened to be read could not be, and holds nothing."""
        self._db = connection
        self._writes = 0
        self._known: tuple[tuple[int, int], dict[str, Row]] | None = None

    @property
    def connection(self) -> Connection:
        """For the tables of other modules; they write in a `transaction` of the store."""
        return self._db

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        homeserver: str | None = None,
    ) -> AsyncIterator[Self]:
        """Open the cache for the one process that writes it, making it if need be.

        A damaged file is moved aside and a new one begun: Matrix fills it again."""
        location = database.located(path)
        with database.lock(location):
            account = database.Account(user_id, homeserver)
            connection = database.prepared(location, account)
            reading = partial(database.reading, location)
            async with served(location, connection, reading) as db:
                yield cls(db)

    @classmethod
    @asynccontextmanager
    async def read(
        cls,
        path: str | os.PathLike[str],
        *,
        user_id: str | None = None,
        homeserver: str | None = None,
    ) -> AsyncIterator[Self]:
        """Open a copy in memory, as the last commit left it, without any lock.

        Nothing on the disk changes. One that is missing or damaged is an empty cache, with
        one warning. Whatever is written to the copy is forgotten with it."""
        location = database.located(path)
        account = database.Account(user_id, homeserver)
        connection, because = database.snapshot(location, account)
        if because is not None:
            log.warning("%s: reading it as empty", because)
        async with served(location, connection) as db:
            yield cls(db, because)

    @asynccontextmanager
    async def transaction(self, at: int | None = None) -> AsyncIterator[None]:
        """Write all that is written inside, or nothing; rows are marked as changed `at`.

        Inside it, one begun by the same task joins it, and one that failed there fails
        the whole, caught or not. Other tasks wait, so it must never wait for one: not
        even for `asyncio.wait_for`, which makes a task. Cancelled while it commits, it
        may have been written all the same."""
        async with self._db.transaction(at):
            yield

    async def rows(self) -> dict[str, Row]:
        """All rows by room id, in its order; others are given the same ones.

        They are read again only if somebody has written to them."""
        rows, _ = await self.versioned_rows()
        return rows

    async def versioned_rows(self) -> tuple[dict[str, Row], int]:
        """As `rows`, with the number that is another one once another process wrote."""
        version = await self._db.version()
        state = self._writes, version
        if self._known is not None and self._known[0] == state:
            return self._known[1], version
        found = await self._db.fetch(
            f"SELECT {ROW} FROM room_meta ORDER BY room_id"  # noqa: S608 - a constant
        )
        rows = await asyncio.to_thread(by_room, map(Row._make, found))
        # What is not committed may never be.
        self._known = None if self._db.is_inside else (state, rows)
        return rows, version

    def rows_change(self) -> None:
        """Whoever writes to rows says so, inside the transaction and before."""
        self._writes += 1

    async def row(self, room_id: str) -> Row | None:
        """The row of one room, as it is committed, also while somebody writes."""
        found = await self._db.fetch_committed(
            f"SELECT {ROW} FROM room_meta WHERE room_id = ?",  # noqa: S608 - a constant
            [room_id],
        )
        return Row._make(found[0]) if found else None

    async def carry_out(self, steps: Sequence[Change]) -> list[Outcome]:
        """Carry out the steps of a plan of rooms: see `write`."""
        return (await self.write(steps)).outcomes

    async def write(self, steps: Sequence[Change]) -> Written:
        """Carry out the steps of a plan of rooms, in one transaction.

        A step whose row is no longer what the plan saw is stale, one whose place
        another room holds has failed; both leave their row as it is, and the others
        are carried out. A row that nothing wants any more is detached as lost."""
        async with self.transaction():
            self.rows_change()
            revisions = await self._revisions(step.key.name for step in steps)
            # Beside the loop: a plan may be long.
            rows, outcomes = await asyncio.to_thread(written, steps, revisions)
            refused = await self._write(rows)
        if not refused:
            return Written(outcomes, rows)
        return Written(
            [
                Outcome(one.key, Result.FAILED, "another room has its place")
                if one.result is Result.APPLIED and one.key.name in refused
                else one
                for one in outcomes
            ],
            [row for row in rows if row.room_id not in refused],
        )

    async def unread(self) -> dict[str, Unread]:
        """The rooms that could not be read the last time, and since when."""
        found = await self._db.fetch("SELECT room_id, since, absent_since FROM unread")
        return {room_id: Unread(*since) for room_id, *since in found}

    async def remember_unread(self, rooms: Mapping[str, bool], at: int) -> None:
        """Remember exactly `rooms` as unread, and whether the bot is known not to be in.

        Those that already were so keep their time, unless that is still to come: then the
        clock was wrong."""
        async with self.transaction():
            await self._db.execute(
                "DELETE FROM unread WHERE room_id NOT IN (SELECT value FROM json_each(?))",
                [json.dumps(list(rooms))],
            )
            await self._db.execute_many(
                "INSERT INTO unread (room_id, since, absent_since) VALUES (?, ?, ?)"
                " ON CONFLICT (room_id) DO UPDATE SET"
                " since = min(since, excluded.since),"
                " absent_since = CASE"
                "  WHEN excluded.absent_since IS NULL THEN NULL"
                "  ELSE min(coalesce(absent_since, excluded.absent_since),"
                "   excluded.absent_since) END",
                [(room, at, at if absent else None) for room, absent in rooms.items()],
            )

    async def record_pass(self, at: int, result: str, report: Mapping[str, Any]) -> int:
        """Record how a pass went, and return its id; the newest hundred are kept."""
        text = json.dumps(report, sort_keys=True)
        async with self.transaction():
            await self._db.execute(
                "INSERT INTO passes (at, result, report) VALUES (?, ?, ?)",
                [at, result, text],
            )
            ((number,),) = await self._db.fetch("SELECT max(id) FROM passes")
            await self._db.execute(
                "DELETE FROM passes WHERE id <= ?", [number - PASSES_KEPT]
            )
        return int(number)

    async def repeat_pass(self, at: int, over: Collection[str] = ()) -> None:
        """Record that a pass found everything as the last one left it that succeeded, but
        for findings with the codes `over`."""
        found = await self._db.fetch(
            "SELECT report FROM passes WHERE json_extract(report, '$.error') IS NULL"
            " ORDER BY id DESC LIMIT 1"
        )
        for (encoded,) in found:
            report = json.loads(encoded) | {"changes": 0, "to_publish": 0}
            findings = report.get("findings", [])
            report["findings"] = [one for one in findings if one["code"] not in over]
            await self.record_pass(at, "in sync", report)

    async def conclude_pass(self, number: int, result: str) -> None:
        """Say anew how a pass went, once all of it is done."""
        async with self.transaction():
            await self._db.execute(
                "UPDATE passes SET result = ? WHERE id = ?", [result, number]
            )

    async def last_pass(self) -> PassRecord | None:
        found = await self._db.fetch(
            "SELECT id, at, result, report FROM passes ORDER BY id DESC LIMIT 1"
        )
        for number, at, result, report in found:
            return PassRecord(number, at, result, json.loads(report))
        return None

    async def conditions(self) -> list[Condition]:
        """What was last said of each type, in the order of the types."""
        found = await self._db.fetch(
            "SELECT type, status, reason, message, changed_at"
            " FROM conditions ORDER BY type"
        )
        return [Condition._make(row) for row in found]

    async def set_conditions(self, conditions: Iterable[Condition]) -> None:
        """Say these anew. `changed_at` moves only with `status`; other types stay."""
        async with self.transaction():
            await self._db.execute_many(
                "INSERT INTO conditions (type, status, reason, message, changed_at)"
                " VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (type) DO UPDATE SET"
                " changed_at = CASE WHEN status = excluded.status"
                "  THEN changed_at ELSE excluded.changed_at END,"
                " status = excluded.status,"
                " reason = excluded.reason,"
                " message = excluded.message",
                list(conditions),
            )

    async def publications(self, since: int) -> list[Publication]:
        """What was published or refused at `since` or later, oldest first."""
        found = await self._db.fetch(
            "SELECT room_id, field, at, result, detail FROM publications"
            " WHERE at >= ? ORDER BY at, id",
            [since],
        )
        return [Publication._make(row) for row in found]

    async def note_publication(self, publication: Publication) -> None:
        """Remember a publication, and forget those a week older than it."""
        async with self.transaction():
            await self._db.execute(
                "INSERT INTO publications (room_id, field, at, result, detail)"
                " VALUES (?, ?, ?, ?, ?)",
                publication,
            )
            await self._db.execute(
                "DELETE FROM publications WHERE at < ?",
                [publication.at - PUBLICATIONS_KEPT],
            )

    async def _revisions(self, names: Iterable[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        left = iter(names)
        while some := [*islice(left, AT_ONCE)]:
            found |= await self._db.fetch(
                "SELECT room_id, revision FROM room_meta"
                " WHERE room_id IN (SELECT value FROM json_each(?))",
                [json.dumps(some)],
            )
        return found

    async def _write(self, rows: Sequence[Row]) -> set[str]:
        """Write the rows, and return those that the unique indexes refuse.

        SQLite checks a unique index at every row, so all rows give up their places
        before one takes a new one. A refused row keeps its old place; if another row
        was to have that, it is refused in the next round."""
        refused: set[str] = set()
        while rows:
            await self._db.execute("SAVEPOINT places")
            new, old = await asyncio.to_thread(_parted, rows)
            await self._db.execute_many(
                "UPDATE room_meta SET status = 'detached' WHERE room_id = ?",
                ((row.room_id,) for row in old),
            )
            written = await self._db.execute_many(
                "UPDATE OR IGNORE room_meta SET room_type = ?, chat_id = ?,"
                " space_id = ?, matrix_user_id = ?, platform_chat_id = ?, name = ?,"
                " status = ?, reason = ?, evidence = ?, revision = ?,"
                " updated_at = coalesce(?, updated_at) WHERE room_id = ?",
                ((*row[1:], self._db.at, row.room_id) for row in old),
            )
            written += await self._db.execute_many(
                "INSERT OR IGNORE INTO room_meta (room_id, room_type, chat_id,"
                " space_id, matrix_user_id, platform_chat_id, name, status, reason,"
                " evidence, revision, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((*row, self._db.at) for row in new),
            )
            kept = rows
            if written < len(rows):
                revisions = await self._revisions(row.room_id for row in rows)
                kept = [r for r in rows if revisions.get(r.room_id) == r.revision]
            if len(kept) == len(rows):
                await self._db.execute("RELEASE places")
                break
            await self._db.execute("ROLLBACK TO places")
            await self._db.execute("RELEASE places")
            refused |= {row.room_id for row in rows} - {row.room_id for row in kept}
            rows = kept
        return refused


def _parted(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Those that are new, and those that were there."""
    new: list[Row] = []
    old: list[Row] = []
    for row in rows:
        (new if row.revision == 1 else old).append(row)
    return new, old


async def get_room_meta(store: Store, room_id: str) -> dict[str, Any] | None:
    """The room's row by columns, `revision` and `updated_at` too; `None` without one."""
    found = await store._db.fetch(
        "SELECT room_id, room_type, chat_id, space_id, matrix_user_id, platform_chat_id,"
        " name, status, reason, evidence, revision, updated_at"
        " FROM room_meta WHERE room_id = ?",
        [room_id],
    )
    return dict(zip(COLUMNS, found[0], strict=True)) if found else None


async def set_room_meta(
    store: Store, room_id: str, columns: Mapping[str, Any] = {}, /, **more: Any
) -> None:
    """Merge columns into the room's row, or make it; other columns keep their values."""
    given = {**columns, **more}
    if why := bad(given, room_id):
        raise BadValue(why)
    async with store.transaction():
        store.rows_change()
        known = await get_room_meta(store, room_id)
        merged = {**(known or {"status": ACTIVE, "revision": 0}), **given}
        merged.setdefault("updated_at", None)
        if store._db.at is not None and "updated_at" not in given:
            merged["updated_at"] = store._db.at
        merged |= {"room_id": room_id, "revision": merged["revision"] + 1}
        # The row is not what the last look says any more, and the next has to see that.
        await store._db.execute("DELETE FROM kept")
        await store._db.execute(
            "INSERT INTO room_meta (room_id, room_type, chat_id, space_id,"
            " matrix_user_id, platform_chat_id, name, status, reason, evidence,"
            " revision, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (room_id) DO UPDATE SET room_type = excluded.room_type,"
            " chat_id = excluded.chat_id, space_id = excluded.space_id,"
            " matrix_user_id = excluded.matrix_user_id,"
            " platform_chat_id = excluded.platform_chat_id, name = excluded.name,"
            " status = excluded.status, reason = excluded.reason,"
            " evidence = excluded.evidence, revision = excluded.revision,"
            " updated_at = excluded.updated_at",
            [merged.get(column) for column in COLUMNS],
        )


async def get_user_meta(store: Store, user_id: str) -> dict[str, Any] | None:
    """The user's `matrix_user_id` and `space_id`; `None` when no Space has their place."""
    found = await store._db.fetch(
        "SELECT matrix_user_id, space_id FROM user_meta WHERE matrix_user_id = ?",
        [user_id],
    )
    if not found:
        return None
    return dict(zip(("matrix_user_id", "space_id"), found[0], strict=True))


async def set_user_meta(
    store: Store, user_id: str, columns: Mapping[str, Any] = {}, /, **more: Any
) -> None:
    """Make the room `space_id` the user's Space; one that was is detached as duplicate."""
    given = {"matrix_user_id": user_id, **columns, **more}
    space_id = given.get("space_id")
    if set(given) != {"matrix_user_id", "space_id"} or not space_id:
        msg = "a user has a space_id, and no other column: give a room id as space_id"
        raise BadValue(msg)
    if given["matrix_user_id"] != user_id:
        msg = f"matrix_user_id is {given['matrix_user_id']!r}, not {user_id!r}: leave it out"
        raise BadValue(msg)
    async with store.transaction():
        store.rows_change()
        known = await get_room_meta(store, space_id) or {}
        if known.get("room_type") == CHAT or known.get("matrix_user_id") not in (
            None,
            user_id,
        ):
            msg = f"{space_id} is a chat room or another user's: name another Space"
            raise BadValue(msg)
        await store._db.execute(
            "UPDATE room_meta SET status = 'detached', reason = 'duplicate',"
            " evidence = NULL, revision = revision + 1,"
            " updated_at = coalesce(?, updated_at)"
            " WHERE matrix_user_id = ? AND room_type = 'space'"
            " AND status <> 'detached' AND room_id <> ?",
            [store._db.at, user_id, space_id],
        )
        await set_room_meta(
            store,
            space_id,
            room_type=SPACE,
            matrix_user_id=user_id,
            status=ACTIVE,
            reason=None,
            evidence=None,
        )


async def next_platform_chat_id(store: Store) -> str:
    """An id that no conversation has or had: random, so that a lost database, which
    forgets what it issued, cannot issue one twice. It is not remembered here."""
    while True:
        fresh = str(uuid.uuid4())
        if not await store._db.fetch(
            "SELECT 1 FROM room_meta WHERE platform_chat_id = ?", [fresh]
        ):
            return fresh
