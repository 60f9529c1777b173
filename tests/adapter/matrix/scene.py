"""Whole stories: the bot as a process behind a proxy, and people with their clients.

    async with scene.live() as process:                  # it has said that it is ready
        direct = await alice.direct(scene.city.bot)
        assert scene.leads(await scene.hear(alice, direct), chat)

At the end of the block it was told to stop, and all that was said to it is settled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from signal import SIGKILL
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.adapter.matrix.city import City
from tests.adapter.matrix.landlord import home_of
from tests.bots import BotProcess, running, write_config
from tests.faults.proxy import Proxy
from tests.people import Person

# Synapse repeats answers, also those to `City.position`.
_asked = count(1_000)

CHECKPOINT = "io.spacekeeper.checkpoint"
CREATE_ROOM = "POST .*/createRoom"
MOMENT = "this takes a moment"
"""In the notice that it is not certain yet whether a room was made."""


class Home(NamedTuple):
    """What somebody has who came to the bot for the first time."""

    direct: str
    space: str
    chat: str


@dataclass
class Scene:
    """One bot with its city, its config file, and the proxy that it talks through."""

    city: City
    proxy: Proxy
    folder: Path

    async def person(self, name: str = "alice") -> Person:
        return Person(await self.city.person(name))

    # The bot

    @asynccontextmanager
    async def live(self, **settings: object) -> AsyncIterator[BotProcess]:
        """Run the bot, from when it is ready until it has handled everything."""
        usual = {"rooms": {"settle": "1s"}, "database": self.city.path.name}
        config = write_config(
            self.folder, self.city.bot, self.proxy.url, **{**usual, **settings}
        )
        async with running(config) as process:
            await process.ready()
            yield process
            # A story may have killed it.
            assert await process.terminate() in (0, -SIGKILL), process.stderr
            assert "left to the next start" not in process.stderr
            assert "Traceback" not in process.stderr

    async def now(self) -> str:
        """Where the bot's stream is now.

        No start of it began there, so Synapse has no answer from there to repeat."""
        found = await self.city.bot.call(
            "GET", "sync", filter='{"room":{"rooms":[]}}', timeout=next(_asked)
        )
        token: str = found["next_batch"]
        return token

    async def set_back(self, token: str) -> None:
        """Let the next start handle again what came after `token`."""
        found = await self.city.bot.account_data(CHECKPOINT)
        again = {**found, "n": found["n"] + 1, "token": token}
        await self.city.bot.put_account_data(CHECKPOINT, again)

    # People

    async def hear(self, who: Person, room: str) -> str:
        """The next notice of the bot in the room."""
        [heard] = await who.hears(room, sender=self.city.bot)
        assert heard["msgtype"] == "m.notice", heard
        body: str = heard["body"]
        return body

    async def answer(self, who: Person, room: str, word: str) -> str:
        """Say a word, and return what the platform answers."""
        await who.say(room, word)
        [heard] = await who.hears(room, sender=self.city.bot)
        assert heard["msgtype"] == "m.text", heard
        body: str = heard["body"]
        return body

    async def command(self, who: Person, room: str, text: str) -> str:
        """Give a command, and return what the bot says of it."""
        await who.say(room, text)
        return await self.hear(who, room)

    async def arrive(self, who: Person) -> Home:
        """Somebody comes for the first time, and joins what is made for them."""
        direct = await who.direct(self.city.bot)
        await self.hear(who, direct)
        await who.accept(2)
        [space], [chat] = await home_of(self.city, who.account)
        return Home(direct, space, chat)

    # What there is

    async def name(self, room: str) -> Any:
        found = await self.city.has(room, "m.room.name")
        return found and found["name"]


@asynccontextmanager
async def scene_of(city: City, url: str, folder: Path) -> AsyncIterator[Scene]:
    async with Proxy(url) as proxy:
        # A cache knows its homeserver, and so the passes of the city go there, too.
        city.client.homeserver = proxy.url
        yield Scene(city, proxy, folder)


def leads(notice: str, *rooms: str) -> bool:
    """Whether the notice has a link to each of the rooms."""
    return all(f"https://matrix.to/#/{quote(r, safe='')}?" in notice for r in rooms)
