"""A sign of life after a second, on a terminal alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from adapter.cli.progress import progress


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    slept = asyncio.sleep

    async def sleep(_: float) -> None:
        await slept(0.001)

    def begin(tty: bool) -> None:
        monkeypatch.setattr("sys.stderr.isatty", lambda: tty, raising=False)
        monkeypatch.setattr("adapter.cli.progress.asyncio.sleep", sleep)

    return begin


async def test_progress(
    on_a_terminal: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    on_a_terminal(True)
    async with progress("looking"):
        for _ in range(20):
            await asyncio.sleep(1)
    shown = capsys.readouterr().err
    assert "\rlooking ... 1 s\rlooking ... 2 s" in shown
    assert shown.endswith("\r\x1b[K")


async def test_no_progress_in_a_pipe_nor_for_what_is_quick(
    on_a_terminal: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    async with progress("looking"):
        await asyncio.sleep(0)
    on_a_terminal(False)
    async with progress("looking"):
        await asyncio.sleep(1)
    assert capsys.readouterr().err == ""
