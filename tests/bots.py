"""The bot as a process: started as an operator starts it, and judged from outside.

config = write_config(tmp_path, bot, homeserver.url, rooms={"settle": "1s"})
async with running(config) as process:
    await process.ready()
    ...                                 # people talk to it: tests/people.py
    assert await process.terminate() == 0
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from adapter.cli import processes
from adapter.cli.account import Account
from adapter.cli.processes import BotEnded, BotProcess

__all__ = ["BotEnded", "BotProcess", "running", "started", "write_config"]


def started(
    *arguments: str, folder: Path | None = None
) -> AbstractAsyncContextManager[BotProcess]:
    """Run our Python with `arguments`; see `processes.started`."""
    return processes.started(sys.executable, *arguments, folder=folder)


@asynccontextmanager
async def running(
    config_file: Path, *arguments: str, via: Sequence[str] = ()
) -> AsyncIterator[BotProcess]:
    """Run `spacekeeper run` with `arguments`, in the folder of its config file.

    `via` is a module that runs modules, with its own arguments: see `tests/faults`.
    Whatever happens, it has ended when the context has.
    Leaving fails the test if the bot's token stood in its stderr."""
    token = _token(config_file)
    command = ("--config", str(config_file), "--log-format", "json", "run")
    run = ("-m", *via, "adapter.cli.main", *command, *arguments)
    async with started(*run, folder=config_file.parent) as bot:
        yield bot
    assert token not in bot.stderr, "the bot's access token is in its log"


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
