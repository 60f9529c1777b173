"""What goes on in the rooms just now: who must wait for whom.

Publishing is the lowest class of write. Synapse takes replies, new rooms, invites and
joins from one bucket with it, so it stands still while any of these is due. Handlers
need no lock against each other, as each room has one lane; against a step of publishing
that is on its way when they begin, there is `published`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Traffic:
    """What is due before publishing, and which rooms are in use."""

    def __init__(self) -> None:
        self._due = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._publishing = asyncio.Lock()
        self._words = 0
        self._last: dict[str, int] = {}

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Something is due that people wait for, as long as the block lasts."""
        self._due += 1
        self._calm.clear()
        try:
            yield
        finally:
            self._due -= 1
            if not self._due:
                self._calm.set()

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Inside `urgent`: for the length of the block, nothing is due on Matrix."""
        self._due -= 1
        if not self._due:
            self._calm.set()
        try:
            yield
        finally:
            self._due += 1
            self._calm.clear()

    async def calm(self) -> None:
        """Return when nobody waits for anything."""
        await self._calm.wait()

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """For one step of publishing: begins when nobody waits for anything."""
        while True:
            await self.calm()
            async with self._publishing:
                if self._calm.is_set():
                    yield
                    return

    async def published(self) -> bool:
        """Inside `urgent`: return when no step of publishing is on its way any more, and
        whether one was. What it wrote may be what the caller is about to write."""
        if not self._publishing.locked():
            return False
        async with self._publishing:
            return True

    def note(self, room_id: str) -> None:
        """Somebody said something in the room."""
        self._words += 1
        self._last[room_id] = self._words

    def rank(self, room_id: str) -> int:
        """Smaller for the rooms used last; 0 for those where nobody said anything."""
        return -self._last.get(room_id, 0)
