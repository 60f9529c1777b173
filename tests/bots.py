"""The bot as a process: started as an operator starts it, and judged from outside.

config = write_config(tmp_path, bot, homeserver.url, rooms={"settle": "1s"})
async with running(config) as process:
    await process.ready()
    ...                                 # people talk to it: tests/people.py
    assert await process.terminate() == 0
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from adapter.cli.account import Account, Json

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 60.0
"""Seconds that a test waits for the process before it fails."""

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
        self._lines: list[str] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

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

    async def ended(self) -> int:
        """Return its exit code at its end; `TimeoutError` if it goes on and on."""
        try:
            async with asyncio.timeout(PATIENCE):
                code = await self._process.wait()
                # Shielded: who has waited in vain may still want to read on.
                await asyncio.shield(self._reading)
        except TimeoutError as exc:
            msg = f"the process goes on after {PATIENCE:g} s; {self._said()}"
            raise TimeoutError(msg) from exc
        return code

    async def _signalled(self, number: signal.Signals) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
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
        assert self._process.stderr is not None
        return self._process.stderr.at_eof()

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
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
async def running(config_file: Path, *arguments: str) -> AsyncIterator[BotProcess]:
    """Run `spacekeeper run` with `arguments`, in the folder of its config file.

    Whatever happens, it has ended when the context has.
    Leaving fails the test if the bot's token stood in its stderr."""
    token = _token(config_file)
    command = ("--config", str(config_file), "--log-format", "json", "run")
    run = ("-m", "adapter.cli.main", *command, *arguments)
    async with started(*run, folder=config_file.parent) as bot:
        yield bot
    assert token not in bot.stderr, "the bot's access token is in its log"


@asynccontextmanager
async def started(
    *arguments: str, folder: Path | None = None
) -> AsyncIterator[BotProcess]:
    """Run our Python with `arguments` in `folder`, without the settings of this process."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("SPACEKEEPER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        limit=_LONGEST_LINE,
        cwd=folder,
        env={**mine, "PYTHONPATH": str(ROOT)},
    )
    bot = BotProcess(process)
    try:
        yield bot
    finally:
        await bot.kill()


def write_config(
    folder: Path, bot: Account, homeserver_url: str, **settings: object
) -> Path:
    """Write a config file for `bot` into `folder`, and return its path.

    `settings` are laid over it, level by level: `rooms={"version": "12"}` leaves
    `rooms.settle` as it is. A second call writes the same file anew."""
    usual = {
        "homeserver": homeserver_url,
        "user_id": bot.user_id,
        "access_token": bot.login.access_token,
        "device_id": bot.login.device_id,
        "database": "spacekeeper.db",
        "rooms": {"settle": "2s"},
        "platform": {"kind": "echo", "path": "echo.db"},
    }
    path = folder / "spacekeeper.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(_laid_over(usual, settings)))
    return path


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _laid_over(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}


def _token(config_file: Path) -> str:
    token: str = yaml.safe_load(config_file.read_text())["access_token"]
    return token


def _message(line: Json) -> str:
    return str(line.get("message", ""))
