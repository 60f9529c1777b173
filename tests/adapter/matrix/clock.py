"""Time for a bot that waits for something which does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from adapter.matrix import bot
from controller import loop


class Clock:
    """Time that passes as soon as somebody waits for it, until so much has passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, enough: float) -> None:
        self.waits: list[float] = []
        self.over = asyncio.Event()
        self._enough = enough
        self._held: list[Callable[[], object]] = []
        monkeypatch.setattr(bot, "Loop", partial(loop.Loop, later=self.later))

    def later(self, seconds: float, callback: Callable[[], object]) -> loop.Handle:
        if self.over.is_set():
            return asyncio.get_running_loop().call_later(min(seconds, 0.05), callback)
        self.waits.append(seconds)
        if sum(self.waits) < self._enough:
            return asyncio.get_running_loop().call_soon(callback)
        self.over.set()
        self._held.append(callback)
        return asyncio.get_running_loop().call_soon(lambda: None)

    def go_on(self) -> None:
        for callback in self._held:
            callback()
