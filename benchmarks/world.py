"""Worlds of rooms: bots with a thousand of them, made by raw calls as fast as they go.

A world takes minutes to make, so it is kept, and each run works on a copy: whatever is
measured finds what was made, and nothing that an earlier run left behind.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import aiohttp

from adapter.cli.account import Account, Login, http_session
from adapter.cli.homeserver import Homeserver, homeserver
from adapter.cli.session import logged_in
from adapter.matrix.reconciliation import reconcile_once

VERSION: Final = 1
"""Of what is made below: any change to it makes all kept worlds anew."""
AT_ONCE: Final = 4
"""People whose rooms are made at the same time."""
IDENTITY: Final = "io.spacekeeper.identity"
HOMESERVER: Final = "homeserver"
"""The folder, in that of a run, that the homeserver has."""


@dataclass(frozen=True, slots=True)
class World:
    """A bot and its rooms."""

    bot: Account
    owner: Account
    """Whose chats these are."""
    chats: tuple[str, ...]
    """All chats of the bot, those of `owner` first."""
    rooms: int
    """How many the bot has, Spaces counted."""


async def homes(bot: Account, people: Sequence[Account], chats: int) -> list[str]:
    """Make a home for each of `people`; all chats, in the order of people."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def in_turn(owner: Account) -> list[str]:
        async with turn:
            return await home(bot, owner, chats)

    made = await asyncio.gather(*map(in_turn, people))
    return [room for rooms in made for room in rooms]


async def home(bot: Account, owner: Account, chats: int) -> list[str]:
    """Make a Space with chats as the bot makes them, its owner in all; the chats."""
    space = await make_space(bot, owner.user_id)
    await owner.join(space)
    rooms = []
    for number in range(1, chats + 1):
        room = await make_chat(bot, owner.user_id, space, number)
        await bot.link(space, room)
        await owner.join(room)
        rooms.append(room)
    return rooms


async def make_space(bot: Account, owner: str, *, invite: bool = True) -> str:
    return await bot.create_room(
        version="11",
        name=owner,
        room_type="m.space",
        creation_content={IDENTITY: {"v": 1, "owner": owner, "kind": "space"}},
        invite=[owner] if invite else [],
    )


async def make_chat(
    bot: Account, owner: str, space: str, number: int, *, invite: bool = True
) -> str:
    """A chat that knows its Space; the Space does not know it yet."""
    identity = {
        "v": 1,
        "owner": owner,
        "kind": "chat",
        "chat_id": f"C{number}",
        "platform_chat_id": f"{owner}/{number}",
    }
    parent = {
        "type": "m.space.parent",
        "state_key": space,
        "content": {"via": [bot.user_id.partition(":")[2]], "canonical": True},
    }
    return await bot.create_room(
        version="11",
        name=f"Chat {number}",
        creation_content={IDENTITY: identity},
        initial_state=[parent],
        invite=[owner] if invite else [],
    )


@asynccontextmanager
async def worlds(
    cache: Path, scratch: Path, spaces: tuple[int, ...], chats: int
) -> AsyncIterator[tuple[Homeserver, list[World]]]:
    """Run a homeserver on which there is one world for each number of Spaces.

    It runs in `scratch`, on a copy of what is made once and kept in `cache`."""
    sizes = "+".join(map(str, spaces))
    synapse = importlib.metadata.version("matrix-synapse")
    kept = cache / f"world-{VERSION}-{synapse}-{sizes}x{chats}"
    if not (kept / "worlds.json").exists():
        shutil.rmtree(kept, ignore_errors=True)
        await _make(kept, spaces, chats)
    copy = scratch / HOMESERVER
    shutil.copytree(kept, copy)
    async with homeserver(copy) as server, http_session() as session:
        found = told(copy, server.url, session)
        for world in found:
            await _settle(world.bot, scratch)
        yield server, found


def told(folder: Path, url: str, session: aiohttp.ClientSession) -> list[World]:
    """The worlds of the homeserver in `folder`, which runs at `url`."""

    def account(login: dict[str, str]) -> Account:
        return Account(url, Login(**login), session)

    return [
        World(
            account(one["bot"]),
            account(one["owner"]),
            tuple(one["chats"]),
            one["rooms"],
        )
        for one in json.loads((folder / "worlds.json").read_text())
    ]


async def _make(folder: Path, spaces: tuple[int, ...], chats: int) -> None:
    async with homeserver(folder) as server, http_session() as session:
        made = []
        for number, count in enumerate(spaces):
            names = [f"bot-{number}", *(f"p{n}-{number}" for n in range(count))]
            bot, *people = [
                Account(server.url, await server.register(name), session)
                for name in names
            ]
            made.append(
                {
                    "bot": asdict(bot.login),
                    "owner": asdict(people[0].login),
                    "chats": await homes(bot, people, chats),
                    "rooms": count * (chats + 1),
                }
            )
    path = folder / "worlds.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(made))


async def _settle(bot: Account, scratch: Path) -> None:
    """Publish what the bot would: no start that is measured has anything to do."""
    login = bot.login
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        async with logged_in(
            bot.url, login.user_id, login.device_id, login.access_token
        ) as client:
            await reconcile_once(client, Path(folder) / "settled.db")
            report = await reconcile_once(client, Path(folder) / "settled.db")
    if report.result != "in sync":
        msg = f"the world of {login.user_id} does not come to rest: {report.result}"
        raise RuntimeError(msg)
