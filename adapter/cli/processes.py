"""A bot as a process: started as an operator starts it, and judged from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, cast

from adapter.cli.account import Json
from adapter.cli.leash import bare_environment

PATIENCE: Final = 60.0
"""Seconds that is waited for a process to do or say something."""

_TIME_TO_STOP: Final = 15.0  # seconds: the bot takes half of it at most
_LONGEST_LINE: Final = 2**24
_READY: Final = re.compile(r"(?<!not )\bready\b", re.IGNORECASE)


class BotEnded(Exception):  # noqa: N818 - it says what happened
    """The process ended before it did what was waited for; the text has its stderr."""


class BotProcess:
    """A process that logs JSON lines to stderr, which are read all the time."""

    def __init__(self, process: Process) -> None:
        self.log: list[Json] = []
        """The lines that are JSON objects, as they came."""
        self._process = process
        self._stderr = cast("StreamReader", process.stderr)
        self._lines: list[str] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """Everything that it wrote to stderr so far."""
        return "".join(self._lines)

    async def ready(self) -> None:
        """Return when the process has logged, as INFO, that it is ready."""
        await self._until(
            lambda line: line.get("level") == "INFO" and _READY.search(_message(line))
        )

    async def logged(self, pattern: str) -> Json:
        """Return the first log line whose message holds `pattern`, a regular expression.

        As `ready`, raises `BotEnded` if the process ends without it, and `TimeoutError`
        if neither happens."""
        wanted = re.compile(pattern)
        return await self._until(lambda line: wanted.search(_message(line)))

    async def kill(self) -> int:
        """SIGKILL it, and return its exit code once it has gone for good."""
        return await self._signalled(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM it, as a service manager does, and return its exit code at its end."""
        return await self._signalled(signal.SIGTERM)

    async def ended(self, patience: float | None = None) -> int:
        """Return its exit code at its end; `TimeoutError` if it goes on and on."""
        patience = PATIENCE if patience is None else patience
        try:
            async with asyncio.timeout(patience):
                code = await self._process.wait()
                # Shielded: who has waited in vain may still want to read on.
                await asyncio.shield(self._reading)
        except TimeoutError as exc:
            msg = f"the process goes on after {patience:g} s; {self._said()}"
            raise TimeoutError(msg) from exc
        return code

    async def _signalled(self, number: signal.Signals) -> int:
        _signal(self._process, number)
        return await self.ended()

    async def _until(self, wanted: Callable[[Json], object]) -> Json:
        """Return the first log line, of now or later, that is `wanted`."""
        try:
            async with asyncio.timeout(PATIENCE), self._news:
                await self._news.wait_for(
                    lambda: self._at_its_end() or any(map(wanted, self.log))
                )
        except TimeoutError as exc:
            msg = f"it was not logged within {PATIENCE:g} s; {self._said()}"
            raise TimeoutError(msg) from exc
        for line in self.log:
            if wanted(line):
                return line
        msg = f"the process ended with exit code {await self.ended()}; {self._said()}"
        raise BotEnded(msg)

    def _at_its_end(self) -> bool:
        return self._stderr.at_eof()

    async def _read(self) -> None:
        async for line in self._stderr:
            await self._take(line.decode(errors="replace"))
        async with self._news:
            self._news.notify_all()

    async def _take(self, text: str) -> None:
        self._lines.append(text)
        try:
            line = json.loads(text)
        except ValueError:
            return  # a sentence for people, or a traceback: `stderr` has it
        if isinstance(line, dict):
            self.log.append(line)
            async with self._news:
                self._news.notify_all()

    def _said(self) -> str:
        return f"its stderr:\n{self.stderr}" if self._lines else "its stderr is empty"


@asynccontextmanager
async def started(
    *command: str, folder: Path | None = None
) -> AsyncIterator[BotProcess]:
    """Run `command` in `folder`, without the settings of this process.

    Whatever happens, it has ended when the context has."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        limit=_LONGEST_LINE,
        cwd=folder,
        env=bare_environment(),
        # Ctrl-C is for this process, which then ends its child.
        start_new_session=True,
    )
    bot = BotProcess(process)
    try:
        yield bot
    finally:
        await bot.kill()


@asynccontextmanager
async def alongside(
    *command: str, folder: Path | None = None
) -> AsyncIterator[Process]:
    """Run `command` in `folder`; what it says goes where this process's words go.

    At the end of the block it is told to stop, and then waited for."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, cwd=folder, env=bare_environment(), start_new_session=True
    )
    try:
        yield process
    finally:
        await _stopped(process)


async def _stopped(process: Process) -> None:
    try:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIME_TO_STOP):
                await process.wait()
    finally:
        _signal(process, signal.SIGKILL)
        await process.wait()


class Completed(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str


async def completed(*command: str, folder: Path | None = None) -> Completed:
    """Run `command` in `folder` to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env=bare_environment(),
        start_new_session=True,
    )
    pipes = [cast("StreamReader", pipe) for pipe in (process.stdout, process.stderr)]
    try:
        # Not `communicate`, which closes stdin: a leashed process would end.
        said = await asyncio.gather(*(pipe.read() for pipe in pipes))
        return Completed(await process.wait(), *(text.decode() for text in said))
    finally:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    """Signal a process that may just have ended by itself."""
    # Not by its `send_signal`: before Python 3.13 that reaps a process that has ended,
    # and its exit code is lost (python/cpython#87744).
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _message(line: Json) -> str:
    return str(line.get("message", ""))
