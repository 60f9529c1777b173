"""What goes on in the rooms just now: who must wait for whom.

Publishing is the lowest class of write. Synapse takes replies, new rooms, invites and
joins from one bucket with it, so it stands still while any of these is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class Traffic:
    """Locks of rooms, what is due before publishing, and which rooms are in use."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._due = 0
        self._calm = asyncio.Event()
        self._calm.set()
        self._words = 0
        self._last: dict[str, int] = {}

    def lock(self, name: str) -> asyncio.Lock:
        """The lock of a room, or of an owner, for whoever writes there."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

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

    async def calm(self) -> None:
        """Return when nobody waits for anything."""
        await self._calm.wait()

    def note(self, room_id: str) -> None:
        """Somebody said something in the room."""
        self._words += 1
        self._last[room_id] = self._words

    def rank(self, room_id: str) -> int:
        """Smaller for the rooms used last; 0 for those where nobody said anything."""
        return -self._last.get(room_id, 0)
