"""The running bot beside its city, started and stopped, with its rows live and cold.

Its rows are read with plain sqlite3. One person, the witness, has a home that nobody
touches: once they are answered, the bot has seen all that was done before they spoke.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adapter.cli.account import CallFailed
from adapter.matrix.bot import MatrixBot
from adapter.matrix.decision import Pass
from adapter.matrix.reconciliation import look
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from tests.adapter.matrix.city import City
from tests.adapter.matrix.likeness import unlike
from tests.adapter.matrix.live import Backend, exchange, living
from tests.faults.machine import Rows
from tests.people import Person

File = Literal["kept", "lost", "old"]

SETTINGS = ReconcileSettings(
    interval=3600.0,
    # The guard has tests of its own; here each move may give up what it gives up.
    max_detach=1000,
    # What is not seen twice in a row is lost, as after an hour.
    full_interval=0.001,
)


@dataclass
class Tenancy:
    """The bot under test: in this process and loop, on the city's file."""

    city: City
    witness: Person
    window: str
    """The witness's chat."""
    platform: Backend = field(default_factory=Backend)
    bot: MatrixBot | None = None
    _life: asyncio.Task[None] | None = None
    _leave: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        ready = asyncio.Event()
        self._leave = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((self._life, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._life.done():
            self._life.result()

    async def _live(self, ready: asyncio.Event) -> None:
        # A task group begins and ends in one task: this one, whatever task asks for it.
        async with living(self.city, self.platform, reconcile=SETTINGS) as self.bot:
            ready.set()
            await self._leave.wait()

    async def stop(self) -> None:
        self._leave.set()
        if self._life is not None:
            await self._life

    async def settle(self) -> None:
        assert self._life is not None
        speaking = asyncio.create_task(exchange(self.witness, self.window))
        await asyncio.wait((self._life, speaking), return_when=asyncio.FIRST_COMPLETED)
        if self._life.done():
            speaking.cancel()
            self._life.result()
        await speaking

    def look_at_everything(self) -> None:
        """What the timer does."""
        assert self.bot is not None
        self.bot._loop.nudge()

    # The file, while the bot does not run

    def keep(self) -> None:
        """Keep a copy of the file as it is now; the bot may run."""
        _copied(self.city.path, self.old)

    def find(self, file: File) -> None:
        """The file is lost, or is again what it was when it was kept."""
        if file == "kept":
            return
        self.city.forget()
        if file == "old":
            _copied(self.old, self.city.path)

    @property
    def old(self) -> Path:
        return self.city.path.with_name("old.db")

    # Rows

    async def live(self) -> Rows:
        return self.city.rows()

    async def cold(self) -> Rows:
        return await self.city.rebuilt()

    async def unlike(self, live: Rows, cold: Rows) -> Mapping[str, object]:
        """Rows that differ; then what a pass over everything still finds to do."""
        found = unlike(live, cold, await self._hidden(live))
        if found:
            return found
        due = await self.plan()
        if due.in_sync:
            return {}
        return {"": f"due: {due.cache} {due.publish} waiting: {due.want.waiting}"}

    async def _hidden(self, live: Rows) -> set[str]:
        """The rooms with a row that show the bot nothing any more."""
        joined = set(await self.city.bot.joined_rooms())
        hidden = set()
        for room in live.keys() - joined:
            try:
                await self.city.bot.state(room)
            except CallFailed:
                hidden.add(room)
        return hidden

    async def plan(self) -> Pass:
        """What a pass over everything would do now; it works on a copy of the file."""
        copy = self.city.path.with_name("copy.db")
        _copied(self.city.path, copy)
        bot = self.city.bot
        async with Store.open(copy, user_id=bot.user_id, homeserver=bot.url) as store:
            return await look(self.city.client, store, settings=SETTINGS)


def _copied(file: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(file)) as here,
        closing(sqlite3.connect(copy)) as there,
    ):
        here.backup(there)
