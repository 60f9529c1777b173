"""What the running bot must not do twice, and how far it came: its part of the cache.

What a method wrote is committed when it returns, unless it joined a transaction of the
store. Every time is in ms since the epoch and comes in as an argument. What cannot be
read or written raises a `StoreError`; it is never taken for absent.
"""

from __future__ import annotations

from adapter.matrix.memory import Checkpoint, Intent
from adapter.matrix.store import Store

DAY = 24 * 60 * 60 * 1000
COMMANDED_KEPT = 30 * DAY
"""Ms that a command is remembered."""
SAID_KEPT = 2 * DAY
"""Ms that a line is remembered: longer than any line keeps the next one away."""


class Ledger:
    """The tables position, intents, commanded and said of an open cache."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.connection

    # How far it came

    async def checkpoint(self) -> Checkpoint | None:
        found = await self._db.fetch("SELECT n, token, instance FROM position")
        return Checkpoint._make(found[0]) if found else None

    async def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        async with self._store.transaction():
            await self._db.execute(
                "INSERT OR REPLACE INTO position (only, n, token, instance)"
                " VALUES (1, ?, ?, ?)",
                checkpoint,
            )

    # What it began

    async def intent(self, request: str) -> Intent | None:
        return (await self.open_intents()).get(request)

    async def open_intents(self) -> dict[str, Intent]:
        """Everything that was begun and is not bound yet, by request."""
        found = await self._db.fetch(
            "SELECT request, kind, owner, chat_id, platform_chat_id, asked, sent_at,"
            " ended_at FROM intents ORDER BY sent_at, request"
        )
        return {row[0]: Intent._make(row) for row in found}

    async def intend(self, intent: Intent) -> None:
        """Remember that a room is about to be made, in place of its earlier attempt."""
        async with self._store.transaction():
            await self._db.execute(
                "INSERT OR REPLACE INTO intents (request, kind, owner, chat_id,"
                " platform_chat_id, asked, sent_at, ended_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                intent,
            )

    async def ended(self, request: str, at: int) -> None:
        """Remember that createRoom is over, whatever came of it."""
        async with self._store.transaction():
            await self._db.execute(
                "UPDATE intents SET ended_at = ? WHERE request = ?", [at, request]
            )

    async def fulfilled(self, request: str) -> None:
        """Forget an intent: its room is bound, or will never be made."""
        async with self._store.transaction():
            await self._db.execute("DELETE FROM intents WHERE request = ?", [request])

    # What it commanded

    async def commanded(self, since: int) -> frozenset[str]:
        """The state events that commands wrote at `since` or later."""
        found = await self._db.fetch(
            "SELECT event_id FROM commanded WHERE at >= ?", [since]
        )
        return frozenset(event_id for (event_id,) in found)

    async def was_commanded(self, event_id: str) -> bool:
        """Whether this event, a command or what one wrote, was noted within 30 days."""
        found = await self._db.fetch(
            "SELECT 1 FROM commanded WHERE event_id = ?", [event_id]
        )
        return bool(found)

    async def note_command(self, event_id: str, at: int) -> None:
        """Remember a command, or a state event of one, and forget those 30 days older."""
        async with self._store.transaction():
            await self._db.execute(
                "INSERT OR REPLACE INTO commanded (event_id, at) VALUES (?, ?)",
                [event_id, at],
            )
            await self._db.execute(
                "DELETE FROM commanded WHERE at < ?", [at - COMMANDED_KEPT]
            )

    # What it said

    async def may_say(self, room_id: str, kind: str, at: int, every_ms: int) -> bool:
        """Whether nothing of this kind was said in the room within `every_ms`.

        What was said later than that after `at`, by a clock since put right, is no
        hindrance."""
        found = await self._db.fetch(
            "SELECT at FROM said WHERE room_id = ? AND kind = ?", [room_id, kind]
        )
        return all(abs(at - last) >= every_ms for (last,) in found)

    async def note_said(self, room_id: str, kind: str, at: int) -> None:
        """Remember that it was said, and forget what was said two days earlier."""
        async with self._store.transaction():
            await self._db.execute(
                "INSERT OR REPLACE INTO said (room_id, kind, at) VALUES (?, ?, ?)",
                [room_id, kind, at],
            )
            await self._db.execute("DELETE FROM said WHERE at < ?", [at - SAID_KEPT])
