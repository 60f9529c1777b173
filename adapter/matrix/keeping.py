"""The kept facts in the file: written with the rows that follow from them, and believed
as a whole or not at all.

Whatever else the rows hang on is in the fingerprint, the code that decides too: another
version of it looks at everything anew, and nobody has to remember to say so.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

import orjson

from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.kept import (
    Bookmark,
    KeptFact,
    added,
    digest_of_facts,
    digest_of_rows,
    facts_of,
)
from adapter.matrix.live import changes_filter
from adapter.matrix.rows import Row
from adapter.matrix.store import Store

log = logging.getLogger(__name__)

_DECIDING: Final = ("adapter.matrix", "controller")
"""Packages that make facts of what a server answers, and rows of facts."""


class Rows(NamedTuple):
    """All rows, and what tells whether another connection has written since."""

    rows: Mapping[str, Row]
    version: int


class Kept(NamedTuple):
    """What the file holds of a look at Matrix, as it was committed."""

    mark: Bookmark
    facts: Facts


class Loaded(NamedTuple):
    """What was kept, and the rows that it speaks for."""

    kept: Kept
    have: Rows


class Look(NamedTuple):
    """All facts of a look at everything, as they differ from those that are kept."""

    new: list[KeptFact]
    gone: list[tuple[str]]
    """The rooms that are no more."""
    digest: int
    """Of all of them."""


class Keeper:
    """The tables kept, facts and due of an open cache, for one account of one server."""

    def __init__(self, store: Store, me: str, origin: str, types: EventTypes) -> None:
        self._store = store
        self._db = store.connection
        self._fingerprint = fingerprint(me, origin, types)
        self._version: int | None = None
        self.kept: Kept | None = None
        """What is known to stand. Whoever commits says so here, or that nothing does."""

    async def rows(self) -> Rows:
        """The rows as they are. Whoever writes to them later shows in the version."""
        return Rows(*await self._store.versioned_rows())

    async def token(self) -> str | None:
        """The position of what was kept, if this program kept it; all else is for `load`
        to verify."""
        found = await self._db.fetch("SELECT token, fingerprint FROM kept")
        for token, mark in found:
            if mark == self._fingerprint and isinstance(token, str):
                return token
        return None

    async def load(self) -> Loaded | None:
        """What was kept, if it and all rows are as they were written.

        `None`, and the reason in the log, if anything differs."""
        self.kept = None
        have = await self.rows()
        found = await self._db.fetch(
            "SELECT token, ahead, whole_at, fingerprint, digest FROM kept"
        )
        if not found:
            return None
        token, ahead, whole_at, mark, digest = found[0]
        if mark != self._fingerprint:
            _refuse("another version, account or server made it")
            return None
        facts = await self._facts()
        if digest != await asyncio.to_thread(_digest, have.rows.values(), facts):
            _refuse("somebody else wrote to it")
            return None
        rooms = await self._db.fetch("SELECT room_id FROM due")
        due = frozenset(room for (room,) in rooms)
        self._version = have.version
        self.kept = Kept(Bookmark(token, ahead, whole_at, due), facts_of(facts))
        return Loaded(self.kept, have)

    async def stands(self) -> bool:
        """Whether what was kept is still as this process wrote it.

        It looks at all of it only if somebody else wrote to the file meanwhile."""
        if self.kept is None:
            return False
        if await self._db.version() != self._version:
            return await self.load() is not None
        return bool(await self._db.fetch("SELECT 1 FROM kept"))

    async def forget(self) -> None:
        """Believe nothing of what is kept: the next pass looks at everything."""
        self.kept = None
        async with self._store.transaction():
            await self._db.execute("DELETE FROM kept")

    async def compared(self, facts: Collection[KeptFact]) -> Look:
        """A look at everything, beside what is kept of the last one: to be kept before
        anything else is."""
        # Beside the loop, which answers messages meanwhile; and before the transaction,
        # for which those that write wait.
        old = await self._facts()
        return await asyncio.to_thread(_compared, old, facts)

    async def keep(
        self, look: Look, rows: Rows, due: Iterable[str], *, token: str, at: int
    ) -> Bookmark:
        """Keep a look at everything, made `at`, and the rows that there are after it, of
        which the version is that of before.

        The bookmark holds as soon as it is committed, as those of `renew` and `move`."""
        self._version = rows.version
        mark = Bookmark(token, None, at, frozenset(due))
        async with self._store.transaction():
            of_rows = await asyncio.to_thread(digest_of_rows, rows.rows.values())
            digest = added((of_rows, look.digest))
            await self._write(look.new)
            await self._db.execute_many(
                "DELETE FROM facts WHERE room_id = ?", look.gone
            )
            await self._db.execute(
                "INSERT OR REPLACE INTO kept (only, token, fingerprint, digest, whole_at)"
                " VALUES (1, ?, ?, ?, ?)",
                [token, self._fingerprint, digest, at],
            )
            await self._set_due(mark.due)
        return mark

    async def renew(
        self,
        facts: Collection[KeptFact],
        rows: Collection[tuple[Row | None, Row]],
        due: Iterable[str],
        *,
        token: str | None = None,
        ahead: str | None = None,
    ) -> Bookmark | None:
        """Keep what changed: these facts, and these rows, as they were and are.

        Where nothing is kept any more, nothing is kept of this either. Without `token`
        it goes as far as before."""
        async with self._store.transaction():
            found = await self._db.fetch("SELECT digest FROM kept")
            if not found or self.kept is None:
                return None
            old = await self._facts([one.room_id for one in facts])
            await self._write(facts)
            digest = added(
                (
                    *found[0],
                    digest_of_facts(facts),
                    -digest_of_facts(old),
                    digest_of_rows(new for _, new in rows),
                    -digest_of_rows(row for row, _ in rows if row is not None),
                )
            )
            await self._db.execute("UPDATE kept SET digest = ?", [digest])
            mark = self.kept.mark._replace(due=frozenset(due))
            await self._set_due(mark.due)
            return mark if token is None else await self.move(mark, token, ahead)

    async def move(self, mark: Bookmark, token: str, ahead: str | None) -> Bookmark:
        """Whatever happened before `token` is kept."""
        async with self._store.transaction():
            await self._db.execute(
                "UPDATE kept SET token = ?, ahead = ?", [token, ahead]
            )
        return mark._replace(token=token, ahead=ahead)

    async def _facts(self, rooms: Collection[str] | None = None) -> list[KeptFact]:
        """All facts, or those of `rooms`."""
        sql, given = (
            "SELECT room_id, joined, CAST(fact AS BLOB) FROM facts",
            list[str](),
        )
        if rooms is not None:
            sql += " WHERE room_id IN (SELECT value FROM json_each(?))"
            given.append(json.dumps(list(rooms)))
        found = await self._db.fetch(sql, given)
        return [KeptFact(room, bool(joined), fact) for room, joined, fact in found]

    async def _write(self, facts: Collection[KeptFact]) -> None:
        await self._db.execute_many(
            "INSERT OR REPLACE INTO facts (room_id, joined, fact) VALUES (?, ?, ?)",
            facts,
        )

    async def _set_due(self, rooms: Iterable[str]) -> None:
        await self._db.execute("DELETE FROM due")
        await self._db.execute_many(
            "INSERT INTO due (room_id) VALUES (?)", ((room,) for room in rooms)
        )


def _compared(old: Iterable[KeptFact], facts: Collection[KeptFact]) -> Look:
    known = {one.room_id: one for one in old}
    new = [one for one in facts if known.pop(one.room_id, None) != one]
    return Look(new, [(room_id,) for room_id in known], digest_of_facts(facts))


def _digest(rows: Iterable[Row], facts: Iterable[KeptFact]) -> int:
    return added((digest_of_rows(rows), digest_of_facts(facts)))


def fingerprint(me: str, origin: str, types: EventTypes) -> str:
    """What facts and rows hang on, beside Matrix: of two that differ, one is outdated."""
    about = orjson.dumps((me, origin, types, changes_filter(types)), default=list)
    return hashlib.sha256(_code() + about).hexdigest()


@cache
def _code() -> bytes:
    """A digest of the code that decides."""
    code = hashlib.sha256()
    for package in _DECIDING:
        for source in _sources(files(package)):
            code.update(source.name.encode() + b"\0" + source.read_bytes())
    return code.digest()


def _sources(place: Traversable) -> Iterator[Traversable]:
    for one in sorted(place.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            yield from _sources(one)
        elif one.name.endswith(".py"):
            yield one


def _refuse(why: str) -> None:
    log.info("what was kept is not believed", extra={"why": why})
