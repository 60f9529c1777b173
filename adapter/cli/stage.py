"""Where the demo plays: a homeserver, the bot's folder, and people in front of clients.

What it tells, it knows from the homeserver or from a process's end, never from the bot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from adapter.cli import config_file
from adapter.cli.account import Account, CallFailed, Json, call, http_session
from adapter.cli.homeserver import Homeserver, homeserver
from adapter.cli.leash import spacekeeper
from adapter.cli.people import Person
from adapter.cli.processes import BotProcess, Completed, completed, started

State = dict[str, dict[tuple[str, str], str]]
"""Room -> (type, state key) -> event id."""

_CONFIG = "spacekeeper.yaml"
_TAIL = 15  # lines of the bot's log that an error quotes


@dataclass
class Talk:
    """What one person says to the bot in one chat room."""

    person: Person
    space: str
    room: str
    title: str
    said: list[str] = field(default_factory=list)

    @property
    def who(self) -> str:
        return self.person.user_id[1:].partition(":")[0].capitalize()

    async def say(self, text: str) -> None:
        self.said.append(text)
        await self.person.say(self.room, text)

    async def answer(self) -> tuple[str, str]:
        """Return what the bot says next, notices aside, and what it should say."""
        while True:
            [heard] = await self.person.hears(self.room)
            if heard["msgtype"] != "m.notice":
                return heard["body"], self.right_answers()[-1]

    def right_answers(self) -> list[str]:
        """What the bot has to have said here by now, in order."""
        return [f"{n}: {text}" for n, text in enumerate(self.said, 1)]


@dataclass(frozen=True)
class Stage:
    """One homeserver with a bot's account, two people and an administrator."""

    server: Homeserver
    folder: Path
    bot: Account
    alice: Person
    bob: Person
    admin: Account

    # The program

    @asynccontextmanager
    async def running_bot(self) -> AsyncIterator[BotProcess]:
        """Run the bot as a process that is ready; at the end of the block it is gone."""
        command = spacekeeper("--config", _CONFIG, "--log-format", "json", "run")
        async with started(*command, folder=self.folder) as process:
            try:
                await process.ready()
                yield process
            except (TimeoutError, CallFailed) as error:
                log = "".join(process.stderr.splitlines(keepends=True)[-_TAIL:])
                error.add_note(f"the end of the bot's log:\n{log}")
                raise

    async def run(self, *arguments: str) -> Completed:
        """Run another command of the program to its end."""
        command = spacekeeper("--config", _CONFIG, *arguments)
        return await completed(*command, folder=self.folder)

    async def exported(self) -> tuple[str, str]:
        """The `spec` of the cache's document, and of that which Matrix alone gives."""
        cache, matrix = await asyncio.gather(
            self.run("export", "--from", "cache"), self.run("export")
        )
        return _spec(cache.stdout), _spec(matrix.stdout)

    def database(self) -> list[Path]:
        """The files of the bot's cache; the backend's file is none of them."""
        return sorted(self.folder.glob("spacekeeper.db*"))

    # The server

    async def rooms(self) -> int:
        """How many rooms there are on the server, whoever is in them."""
        answer = await call(
            self.admin.session,
            "GET",
            f"{self.server.url}/_synapse/admin/v1/rooms",
            token=self.admin.login.access_token,
            query={"limit": 1},
        )
        total: int = answer["total_rooms"]
        return total

    async def state(self) -> State:
        """Every state event of every room that the bot is in, by its id."""
        return {
            room: {
                (event["type"], event["state_key"]): event["event_id"]
                for event in await self.bot.state(room)
            }
            for room in sorted(await self.bot.joined_rooms())
        }

    async def words(self) -> list[Json]:
        """Every message that the bot ever sent to a room it is in, oldest first."""
        return [
            event
            for room in sorted(await self.bot.joined_rooms())
            for event in reversed(await self.bot.messages(room, limit=500))
            if event["type"] == "m.room.message" and event["sender"] == self.bot.user_id
        ]

    async def is_in_order(self, talk: Talk) -> bool:
        """Whether its room is in its Space, and the bot made both."""
        space, room = [
            await self.bot.state_event(made, "m.room.create")
            for made in (talk.space, talk.room)
        ]
        child = await self.bot.state_event(
            talk.space, "m.space.child", talk.room, format="content"
        )
        return (
            space["sender"] == room["sender"] == self.bot.user_id
            and space["content"].get("type") == "m.space"
            and "type" not in room["content"]
            and bool(child.get("via"))
        )

    async def is_space(self, room: str) -> bool:
        create = await self.bot.state_event(room, "m.room.create", format="content")
        return create.get("type") == "m.space"


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Set it up in `folder`; with the block, all of it ends."""
    async with homeserver() as server, http_session() as session:

        async def account(name: str, *, admin: bool = False) -> Account:
            login = await server.register(name, admin=admin)
            return Account(server.url, login, session)

        bot = await account("bot")
        config_file.save(
            folder / _CONFIG,
            {
                "homeserver": server.url,
                "user_id": bot.user_id,
                "access_token": bot.login.access_token,
                "device_id": bot.login.device_id,
            },
        )
        yield Stage(
            server,
            folder,
            bot,
            Person(await account("alice")),
            Person(await account("bob")),
            await account("admin", admin=True),
        )


def leads_to(notice: Json, room: str) -> bool:
    """Whether the bot's notice has a link to the room."""
    return notice["msgtype"] == "m.notice" and quote(room, safe="") in notice["body"]


def without_links(markdown: str) -> str:
    """The text as a client shows it, more or less."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")


def _spec(document: str) -> str:
    """The bytes of `spec` as they stand in an exported document."""
    return document.partition("\nspec:\n")[2].partition("\nstatus:\n")[0]
