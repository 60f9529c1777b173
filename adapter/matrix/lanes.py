"""Work in order within a room, and at once across rooms."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Work = Callable[[], Awaitable[None]]


class Lanes:
    """One lane for each room that something is due in, as tasks of `group`.

    What a piece of work raises ends the group, and with it everything: whoever puts
    work in settles what may go wrong with it."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._due: dict[str, deque[Work]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, name: str, work: Work) -> None:
        """Do `work` after all that was put into the lane `name` before."""
        if name in self._due:
            self._due[name].append(work)
            return
        self._due[name] = deque([work])
        self._empty.clear()
        task = self._group.create_task(self._run(name), name=f"lane {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def waiting(self, name: str) -> int:
        """How much is to be done in the lane, with what is being done."""
        return len(self._due.get(name, ()))

    async def empty(self) -> None:
        """Return when nothing is left to do."""
        await self._empty.wait()

    def cancel(self) -> None:
        """Give up what is left; it was not settled."""
        for task in self._tasks:
            task.cancel()

    async def _run(self, name: str) -> None:
        due = self._due[name]
        try:
            while due:
                await due[0]()
                due.popleft()
        finally:
            del self._due[name]
            if not self._due:
                self._empty.set()
