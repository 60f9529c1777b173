"""A word in a chat goes to the platform, and what it answers comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from adapter.matrix import phrases
from adapter.matrix.errors import WireError
from adapter.matrix.rows import Row
from adapter.matrix.traffic import Traffic
from adapter.matrix.voice import Voice
from adapter.matrix.wire import Wire
from adapter.platform.base import Platform, PlatformError, Turn

log = logging.getLogger(__name__)

SOON: Final = 0.5
"""Seconds after which the room is told that an answer is on its way."""
AGAIN: Final = 20.0
"""Seconds between two typing notices, of which each lasts somewhat longer."""
LASTS: Final = 30_000  # ms
AT_ONCE: Final = 4
"""Words of one user that the platform is asked at the same time, in as many rooms."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Carries words to the platform. One word at a time in each room, please."""

    platform: Platform
    voice: Voice
    wire: Wire
    me: str
    traffic: Traffic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _turns: WeakValueDictionary[str, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )

    async def answer(self, row: Row, sender: str, asked: str, text: str) -> None:
        """Ask the platform, and say in the room what it answers, or that it did not.

        The event `asked` makes it one turn and one answer, however often this is done.
        The row has to be of a chat in use. Raises `WireError` if nothing may be said."""
        turn = Turn(row.platform_chat_id or "", sender, row.room_id, asked, text)
        try:
            async with self._typing(row.room_id):
                # Meanwhile nothing is due on Matrix, and publishing may go on.
                with self.traffic.elsewhere():
                    async with self._turn_of(sender):
                        messages = await self.platform.answer(turn)
        except PlatformError as error:
            log.warning(
                "not answered",
                extra={"room": row.room_id, "event": asked, "error": str(error)},
            )
            await self.voice.notice(row.room_id, asked, phrases.platform_failure(error))
            return
        await self.voice.answer(row.room_id, asked, *messages)

    def _turn_of(self, sender: str) -> asyncio.Semaphore:
        """Whoever speaks in many rooms at once waits for themselves, and nobody else."""
        turns = self._turns.get(sender)
        if turns is None:
            turns = self._turns[sender] = asyncio.Semaphore(AT_ONCE)
        return turns

    @asynccontextmanager
    async def _typing(self, room_id: str) -> AsyncIterator[None]:
        """Show that somebody is at work, if it takes a moment."""
        shown = asyncio.create_task(self._show_typing(room_id))
        try:
            yield
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)

    async def _show_typing(self, room_id: str) -> None:
        await self.sleep(SOON)
        try:
            while True:
                await self._send_typing(room_id, LASTS)
                await self.sleep(AGAIN)
        finally:
            # The answer does not wait for it: clients drop a notice after a while.
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON):
                    await self._send_typing(room_id, None)

    async def _send_typing(self, room_id: str, milliseconds: int | None) -> None:
        try:
            await self.wire.typing(room_id, self.me, milliseconds)
        except WireError as error:
            # Nobody misses it: the answer itself says that there is one.
            log.debug("no typing notice", extra={"room": room_id, "error": str(error)})
