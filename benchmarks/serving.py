"""Our bot in this process: started, timed, talked to, and stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from adapter.cli.account import Account
from adapter.cli.people import Person
from adapter.cli.session import logged_in
from adapter.config import Config, InviteSettings, ReconcileSettings, Secret
from adapter.matrix.bot import MatrixBot
from adapter.matrix.store import Store
from adapter.platform.echo import echo

PATIENCE: Final = 120.0
"""Seconds until a start counts as failed, and the benchmark with it."""
CALM: Final = 0.5
"""Seconds after the first answer until the start is over in every respect."""


class Start(NamedTuple):
    """Seconds from before the database is opened."""

    ready: float
    """Until the bot said that it is ready."""
    answered: float
    """Until the answer to a word that was said then had arrived."""
    word: float = 0.0
    """That another word took, and its answer, when nothing else was left to do."""


async def start(account: Account, database: Path, person: Person, room: str) -> Start:
    """Start the bot on `database`, or on none, have it answer one word, and stop it."""
    await person.look()
    began = time.perf_counter()
    async with serving(account, database) as ready:
        await person.say(room, "ping")
        await person.hears(room)
        answered = time.perf_counter()
        await asyncio.sleep(CALM)
        said = time.perf_counter()
        await person.say(room, "pong")
        await person.hears(room)
        word = time.perf_counter() - said
    return Start(ready - began, answered - began, word)


@asynccontextmanager
async def serving(account: Account, database: Path) -> AsyncIterator[float]:
    """Run the bot until the end of the block, from when it is ready: that moment.

    Its timer stands still: what passes cost is measured by itself."""
    login = account.login
    config = Config(
        account.url,
        login.user_id,
        Secret(login.access_token),
        database=database,
        invites=InviteSettings(("*",)),
        reconcile=ReconcileSettings(interval=3600.0),
    )
    async with (
        logged_in(
            account.url, login.user_id, login.device_id, login.access_token
        ) as client,
        Store.open(database, user_id=login.user_id, homeserver=account.url) as store,
        echo() as platform,
    ):
        bot = MatrixBot(client, store, platform, config)
        with _readiness() as ready:
            async with asyncio.TaskGroup() as group:
                group.create_task(bot.run())
                async with asyncio.timeout(PATIENCE):
                    moment = await ready
                yield moment
                bot.stop()


@contextmanager
def _readiness() -> Iterator[asyncio.Future[float]]:
    """The moment at which the bot logs that it is ready, as an operator sees it."""
    ready = asyncio.get_running_loop().create_future()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "ready" and not ready.done():
                ready.set_result(time.perf_counter())

    log, listener = logging.getLogger("adapter.matrix.bot"), Listener()
    level = log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        yield ready
    finally:
        log.removeHandler(listener)
        log.setLevel(level)
