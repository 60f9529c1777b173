"""How much of something each name may have within a while (pure: it is told the time)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class _Taken(NamedTuple):
    at: float
    what: str


class Quota:
    """At most `most` for each name within `period` seconds.

    The same thing is counted once, however often it is taken. Names that took nothing
    for a `period` are forgotten, so there are never more than were busy in one."""

    def __init__(self, most: int, period: float) -> None:
        self._most = most
        self._period = period
        # In the order of the last take: the oldest are the first to be forgotten.
        self._taken: dict[str, deque[_Taken]] = {}

    def wait(self, name: str, what: str, at: float) -> float:
        """Seconds from `at` until the name may take this; 0 if it may now, or has."""
        self._forget(at)
        taken = [one for one in self._taken.get(name, ()) if self._counts(one, at)]
        if len(taken) < self._most or any(one.what == what for one in taken):
            return 0.0
        return taken[-self._most].at + self._period - at

    def take(self, name: str, what: str, at: float) -> None:
        """Count it, whether it may be taken or not."""
        taken = self._taken.pop(name, None) or deque(maxlen=self._most)
        if not any(one.what == what and self._counts(one, at) for one in taken):
            taken.append(_Taken(at, what))
        self._taken[name] = taken

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._taken)

    def _counts(self, one: _Taken, at: float) -> bool:
        return at - one.at < self._period

    def _forget(self, at: float) -> None:
        while self._taken:
            name = next(iter(self._taken))
            if self._counts(self._taken[name][-1], at):
                return
            del self._taken[name]
