"""One connection that one task at a time may use; what belongs together is one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import aiosqlite

from adapter.matrix.faults import StoreError, translated

Opening: TypeAlias = Callable[[], sqlite3.Connection]


class Connection:
    """An open database with a thread of its own. Make one with `served`.

    aiosqlite runs what it is given in order, also when nobody waits for it any more.
    So a cancelled statement is over before the rollback that follows it."""

    def __init__(
        self,
        path: Path,
        connection: aiosqlite.Connection,
        reading: Opening | None = None,
    ) -> None:
        """`reading` opens the database another time, if there is a file to open."""
        self.path = path
        self.at: int | None = None
        """When what the current transaction changes is changed, if it said so."""
        self._connection = connection
        self._turn = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None
        self._failed = False
        self._commits = 0
        self._reading = reading
        self._beside: asyncio.Task[aiosqlite.Connection] | None = None

    @property
    def is_inside(self) -> bool:
        """Whether the task that asks has a transaction under way."""
        return self._owner is asyncio.current_task()

    async def version(self) -> int:
        """A number that changes when another connection has written."""
        ((version,),) = await self.fetch("PRAGMA data_version")
        return int(version)

    @asynccontextmanager
    async def transaction(self, at: int | None = None) -> AsyncIterator[None]:
        """See `Store.transaction`."""
        if self.is_inside:
            try:
                with translated(self.path):
                    yield
            except BaseException:
                self._failed = True
                raise
            return
        async with self._turn:
            self._owner, self._failed, self.at = asyncio.current_task(), False, at
            try:
                with translated(self.path):
                    try:
                        await self._connection.execute("BEGIN IMMEDIATE")
                        yield
                        self._refuse_half()
                        await self._connection.commit()
                        self._commits += 1
                    except BaseException:
                        await self._connection.rollback()
                        raise
            finally:
                self._owner = self.at = None

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Read what is committed; inside a transaction, what it has written as well."""
        async with nullcontext() if self.is_inside else self._turn:
            with translated(self.path):
                return list(await self._connection.execute_fetchall(sql, parameters))

    async def fetch_committed(
        self, sql: str, parameters: Sequence[Any] = ()
    ) -> list[Any]:
        """As `fetch`, but nobody waits here for the transaction of another task.

        Whatever is committed when it returns is in it."""
        if self.is_inside or self._reading is None:
            return await self.fetch(sql, parameters)
        with translated(self.path):
            connection = await self._second(self._reading)
            while True:
                commits = self._commits
                found = list(await connection.execute_fetchall(sql, parameters))
                if commits == self._commits:
                    return found

    async def _second(self, reading: Opening) -> aiosqlite.Connection:
        opening = self._beside
        if opening is None or (opening.done() and opening.exception() is not None):
            opening = self._beside = asyncio.create_task(_threaded(reading))
        return await asyncio.shield(opening)

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Write, inside a transaction."""
        await self._connection.execute(sql, parameters)

    async def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Write, inside a transaction, and return how many rows were written.

        The parameters are taken one by one in the thread of the database."""
        return max(0, (await self._connection.executemany(sql, parameters)).rowcount)

    def _refuse_half(self) -> None:
        if self._failed:
            msg = (
                "a part of the transaction failed, so none of it was written: try again"
            )
            raise StoreError(msg)

    async def close(self) -> None:
        """End it, once nobody uses it any more."""
        # The last one to leave tidies up, and whoever only reads cannot.
        if self._beside is not None:
            for one in await asyncio.gather(self._beside, return_exceptions=True):
                if isinstance(one, aiosqlite.Connection):
                    await one.close()
        await self._connection.close()


@asynccontextmanager
async def served(
    path: Path, connection: sqlite3.Connection, reading: Opening | None = None
) -> AsyncIterator[Connection]:
    """Give an open connection a thread of its own, and end both."""
    try:
        threaded = await _threaded(lambda: connection)
    except BaseException:
        connection.close()
        raise
    served = Connection(path, threaded, reading)
    try:
        yield served
    finally:
        await served.close()


async def _threaded(opening: Opening) -> aiosqlite.Connection:
    return await aiosqlite.Connection(opening, iter_chunk_size=64)
