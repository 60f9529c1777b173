"""One person at home in one chat, and the bot as a process that may run there.

    await house.says("apricot")                       # while nobody runs
    async with house.bot() as process:                # it has said that it is ready
        await house.hears("1: apricot")
    assert await house.answers() == ["1: apricot"]

What was said is searched for in everything that the bot ever wrote to stderr.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter.cli.account import CallFailed, Json
from tests.adapter.matrix.city import City
from tests.adapter.matrix.stories import whole
from tests.bots import BotProcess, running, write_config
from tests.people import Person

CHECKPOINT = "io.spacekeeper.checkpoint"


@dataclass
class House:
    """Alice, her Space and her chat, and a bot with its files in `folder`."""

    city: City
    alice: Person
    chat: str
    folder: Path
    url: str
    """Where the bot finds its homeserver: the server itself, or a proxy."""
    spoken: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def process(
        self, *, database: str = "bot.db", **settings: Any
    ) -> AsyncIterator[BotProcess]:
        """The bot, from when it was started; whatever it wrote holds no word of anybody."""
        (self.folder / database).parent.mkdir(exist_ok=True)
        config = write_config(
            self.folder, self.city.bot, self.url, database=database, **settings
        )
        async with running(config) as process:
            yield process
        assert [word for word in self.spoken if word in process.stderr] == []
        assert "Traceback" not in process.stderr

    @asynccontextmanager
    async def bot(self, **settings: Any) -> AsyncIterator[BotProcess]:
        """The same from when it is ready, until it has ended in order."""
        async with self.process(**settings) as process:
            await process.ready()
            yield process
            assert await process.terminate() == 0

    async def says(self, *words: str, room: str | None = None) -> list[str]:
        """Alice says them, in her chat if nothing else is said; returns the event ids."""
        self.spoken += words
        return [await self.alice.say(room or self.chat, word) for word in words]

    async def hears(self, *answers: str) -> None:
        """Alice hears these next, in this order."""
        heard = await self.alice.hears(self.chat, len(answers))
        assert [one["body"] for one in heard] == list(answers)

    async def answers(self, room: str | None = None) -> list[str]:
        """All that the bot ever said in the chat, oldest first."""
        return [
            event["content"]["body"]
            for event in reversed(await whole(self.city.bot, room or self.chat))
            if event["type"] == "m.room.message"
            and event["sender"] == self.city.bot.user_id
        ]

    async def position(self) -> Json | None:
        """The checkpoint in the account data."""
        try:
            return await self.city.bot.account_data(CHECKPOINT)
        except CallFailed as error:
            if error.status != 404:
                raise
            return None

    def keep_copy(self) -> None:
        """Copy the file as it is now; the bot does not run."""
        shutil.copy(self.folder / "bot.db", self.folder / "copy.db")

    def restore_copy(self) -> None:
        self.city.forget()
        shutil.copy(self.folder / "copy.db", self.folder / "bot.db")


async def built(city: City, folder: Path, url: str) -> House:
    """A home that was there before: made by raw calls, nobody said a word."""
    owner, _, [chat] = await city.home("alice")
    return House(city, Person(owner), chat, folder, url)
