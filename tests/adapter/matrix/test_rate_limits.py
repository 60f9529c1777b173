"""Under a homeserver's own rate limits nobody waits for what is published beside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from adapter.cli.account import Account, call, http_session
from adapter.cli.homeserver import Homeserver
from adapter.cli.homeserver import homeserver as run_homeserver
from tests.adapter.matrix.city import City, city_of, derived
from tests.adapter.matrix.house import House
from tests.faults.proxy import Proxy
from tests.people import Person

WITHIN: Final = 10.0
"""Seconds in which a word has to be answered, whatever is published meanwhile."""

RECORDED: Final = "PUT .*/state/io.spacekeeper.binding/.*"


@pytest.fixture
async def limited() -> AsyncIterator[Homeserver]:
    """A server with the limits that Synapse has by default."""
    async with run_homeserver(limits="default") as running:
        yield running


@asynccontextmanager
async def old_town(server: Homeserver, folder: Path) -> AsyncIterator[City]:
    """30 rooms that say nothing of themselves, of five people with a Space each.

    They were made without limits; now the bot has those of everybody."""
    numbers = itertools.count(1)
    async with http_session() as session:
        admin = await server.register("admin", admin=True)

        async def limit(account: Account, method: str) -> None:
            url = f"{server.url}/_synapse/admin/v1/users/{account.user_id}/override_ratelimit"
            body = {"messages_per_second": 0, "burst_count": 0}
            await call(session, method, url, token=admin.access_token, body=body)

        async def accounts(name: str = "person", /) -> Account:
            login = await server.register(f"{name}-{next(numbers)}")
            account = Account(server.url, login, session)
            await limit(account, "POST")
            return account

        async with city_of(accounts, await accounts("bot"), folder) as city:
            await asyncio.gather(*(city.old_home(chats=5) for _ in range(5)))
            await limit(city.bot, "DELETE")
            yield city


async def test_a_word_while_30_old_rooms_are_recorded(
    limited: Homeserver, tmp_path: Path
) -> None:
    """It is answered soon; so it is when the bot is killed in the middle of that, and its
    file lost: the conversations are the same, and go on."""
    async with old_town(limited, tmp_path) as city, Proxy(limited.url) as proxy:
        owner = city.people[0]
        chat = await a_chat_of(city, owner)
        house = House(city, Person(owner), chat, tmp_path, proxy.url)
        async with house.process() as process:
            await process.ready()
            await proxy.arrived(RECORDED, 3)
            await answered_soon(house, "apricot", "1: apricot")
            bound = conversations(city)
            await process.kill()
        city.forget()
        async with house.bot():
            await answered_soon(house, "bilberry", "2: bilberry")
            await answered_soon(house, "cloudberry", "3: cloudberry")
        assert len(bound) == 25
        assert conversations(city) == bound
        assert all(bound[room] == derived(room) for room in bound)
        recorded = [room for room in bound if await city.binding(room)]
        assert 0 < len(recorded) < 25  # else nothing was going on


async def answered_soon(house: House, word: str, answer: str) -> None:
    async with asyncio.timeout(WITHIN):
        await house.says(word)
        await house.hears(answer)


async def a_chat_of(city: City, owner: Account) -> str:
    for room in await owner.joined_rooms():
        created = await city.has(room, "m.room.create")
        if created is not None and created.get("type") != "m.space":
            return room
    raise AssertionError("nobody made one")


def conversations(city: City) -> dict[str, str]:
    found = city.query(
        "SELECT room_id, platform_chat_id FROM room_meta WHERE room_type = 'chat'"
    )
    return dict(found)
