"""How the bot speaks of itself in rooms: in notices, and not too often.

What a platform answers is no notice; see `handlers.chat`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from adapter.matrix.ledger import Ledger
from adapter.matrix.text import contents
from adapter.matrix.writing import Writer
from adapter.platform.base import Message

HOUR = 60 * 60 * 1000
DAY = 24 * HOUR

LONG = 4_000
"""Characters from which drawing a message is a matter for another thread."""


class Voice:
    """Says each thing once for each event that asked, however often it is said."""

    def __init__(self, writer: Writer, ledger: Ledger, now: Callable[[], int]) -> None:
        self._writer = writer
        self._ledger = ledger
        self._now = now

    async def notice(self, room_id: str, asked: str, *messages: Message) -> None:
        """Say it as m.notice, which no bot answers (spec, m.notice)."""
        await self._say(room_id, asked, messages, "m.notice")

    async def answer(self, room_id: str, asked: str, *messages: Message) -> None:
        """Say what a platform answered."""
        await self._say(room_id, asked, messages, "m.text")

    async def remind(
        self, every: int, kind: str, room_id: str, asked: str, message: Message
    ) -> None:
        """Say it unless something of this kind was said in the room within `every` ms."""
        if await self._ledger.may_say(room_id, kind, self._now(), every):
            await self.notice(room_id, asked, message)
            await self._ledger.note_said(room_id, kind, self._now())

    async def _say(
        self, room_id: str, asked: str, messages: tuple[Message, ...], msgtype: str
    ) -> None:
        drawn = [
            content
            for message in messages
            for content in (
                await asyncio.to_thread(contents, message, msgtype)
                if len(message.text) > LONG
                else contents(message, msgtype)
            )
        ]
        await self._writer.say(room_id, asked, drawn)
