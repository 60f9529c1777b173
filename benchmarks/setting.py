"""What every part of the suite finds: a homeserver, two worlds, folders, and the pace."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import Homeserver
from benchmarks.world import World, worlds


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured."""

    spaces: int
    """Of the large world; the small one has a tenth."""
    rounds: int
    generated: int
    """Rooms of the world that no server has."""
    quick: bool
    """Only what a small world can show, and no peer that has to be installed."""


FULL: Final = Pace(spaces=200, rounds=7, generated=100_000, quick=False)
QUICK: Final = Pace(spaces=20, rounds=5, generated=5_000, quick=True)
CHATS: Final = 5
"""Of each Space."""
CACHE: Final = Path(".bench").absolute()
"""Worlds and clients that a later run finds again."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One run."""

    pace: Pace
    server: Homeserver
    session: aiohttp.ClientSession
    large: World
    small: World
    cache: Path
    """What is kept from run to run."""
    scratch: Path
    """What is gone after this one."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def account(self, name: str) -> Account:
        """A new account, in no room."""
        login = await self.server.register(f"{name}-{next(self._numbers)}")
        return Account(self.server.url, login, self.session)

    def folder(self) -> Path:
        """A new one, which is gone after this run, too."""
        return Path(tempfile.mkdtemp(dir=self.scratch))


@asynccontextmanager
async def setting(pace: Pace, cache: Path) -> AsyncIterator[Setting]:
    sizes = (pace.spaces, max(1, pace.spaces // 10))
    with tempfile.TemporaryDirectory(prefix="spacekeeper-bench-") as folder:
        scratch = Path(folder)
        async with (
            worlds(cache, scratch, sizes, CHATS) as (server, (large, small)),
            http_session() as session,
        ):
            yield Setting(pace, server, session, large, small, cache, scratch)
