"""Worlds of rooms on the real server, built by raw calls, and passes over them.

Whatever is asserted is read again from the server, or with plain sqlite3 from the
file: nothing here asks the product what it did.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import nio

from adapter.cli.account import Account, CallFailed
from adapter.matrix.reconciliation import (
    PassReport,
    reconcile_once,
    reconcile_startup,
)
from tests.conftest import Accounts

IDENTITY = "io.spacekeeper.identity"
BINDING = "io.spacekeeper.binding"
CHILD = "m.space.child"

Json = dict[str, Any]
State = dict[str, dict[tuple[str, str], str]]
"""Room -> (type, state key) -> event id."""

_asked = count(1)


def derived(room: str) -> str:
    """The platform_chat_id of a legacy room whose upgrade chain begins with `room`."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "matrix:roomid/" + room[1:]))


def space_identity(owner: Account) -> Json:
    return {"v": 1, "kind": "space", "owner": owner.user_id}


def chat_identity(owner: Account, number: int, platform: str | None = None) -> Json:
    return {
        "v": 1,
        "kind": "chat",
        "owner": owner.user_id,
        "chat_id": f"C{number}",
        "platform_chat_id": platform or conversation(owner, number),
    }


def conversation(owner: Account, number: int) -> str:
    """The platform_chat_id that a marked chat has, if nothing else is said."""
    return f"conversation-{owner.user_id[1:].partition(':')[0]}-{number}"


def client_of(account: Account, token: str | None = None) -> nio.AsyncClient:
    """The account as a program that uses matrix-nio has it."""
    client = nio.AsyncClient(account.url)
    login = account.login
    client.restore_login(login.user_id, login.device_id, token or login.access_token)
    return client


def findings(report: PassReport) -> set[tuple[str, str]]:
    """Code and room of every finding."""
    return {(found.code, found.room) for found in report.decided.want.findings}


@dataclass
class City:
    """One bot with its people, their rooms, and its cache."""

    bot: Account
    path: Path
    client: nio.AsyncClient
    _accounts: Accounts
    people: list[Account] = field(default_factory=list)

    # Building

    async def person(self, name: str = "person") -> Account:
        account = await self._accounts(name)
        self.people.append(account)
        return account

    async def room(
        self,
        *owners: Account,
        identity: object = None,
        link: str | None = None,
        join: bool = True,
        **more: Any,
    ) -> str:
        """The bot makes a room, a child of the Space `link`, with `owners` in it."""
        room = await self.bot.create_room(
            creation_content=None if identity is None else {IDENTITY: identity},
            invite=[owner.user_id for owner in owners],
            **more,
        )
        if link:
            await self.bot.link(link, room)
        if join:
            for owner in owners:
                await owner.join(room)
        return room

    async def space(self, owner: Account, *, legacy: bool = False, **more: Any) -> str:
        """A Space of `owner`, who is in it."""
        given: Json = {} if legacy else {"identity": space_identity(owner)}
        return await self.room(owner, **{"room_type": "m.space", **given, **more})

    async def chat(self, owner: Account, link: str, number: int, **more: Any) -> str:
        """A chat that says of itself whose and which it is."""
        given: Json = {"identity": chat_identity(owner, number), "link": link}
        return await self.room(owner, **{**given, **more})

    async def home(
        self, name: str = "alice", chats: int = 1, **more: Any
    ) -> tuple[Account, str, list[str]]:
        """Somebody with a Space and chats, which all say whose they are."""
        owner = await self.person(name)
        space = await self.space(owner, **more)
        rooms = await asyncio.gather(
            *(self.chat(owner, space, n, **more) for n in range(1, chats + 1))
        )
        return owner, space, rooms

    async def old_home(
        self, name: str = "bob", chats: int = 1, **more: Any
    ) -> tuple[Account, str, list[str]]:
        """The same, of rooms that say nothing: made by an older bot."""
        owner = await self.person(name)
        space = await self.space(owner, legacy=True, **more)
        rooms = await asyncio.gather(*(self.room(owner, **more) for _ in range(chats)))
        for room in rooms:  # their order is that of these events
            await self.bot.link(space, room)
        return owner, space, rooms

    # Passes

    async def startup(self, **how: Any) -> PassReport:
        return await reconcile_startup(self.client, self.path, **how)

    async def once(self, **how: Any) -> PassReport:
        return await reconcile_once(self.client, self.path, **how)

    async def settled(
        self, *, cold: bool = True, unlike: Collection[str] = ()
    ) -> PassReport:
        """One more pass writes nothing anywhere; nor would one without the file.

        With `cold`, what is rebuilt from nothing has the same rows, but for `unlike`."""
        before = self.dump(), await self.position()
        report = await self.once()
        assert report.result == "in sync", str(report.decided.cache)
        assert report.decided.in_sync, str(report.decided.publish)
        if cold:
            rebuilt = await self.rebuilt()
            here = {r: row for r, row in self.rows().items() if r not in unlike}
            there = {r: row for r, row in rebuilt.items() if r not in unlike}
            assert _lasting(here) == _lasting(there)
        assert (self.dump(), await self.position()) == before
        return report

    async def rebuilt(self) -> dict[str, Json]:
        """The rows that a start without a database makes."""
        path = self.path.with_name(f"cold-{next(_asked)}.db")
        await reconcile_startup(self.client, path)
        return _rows(path)

    # The cache, with plain sqlite3

    def rows(self) -> dict[str, Json]:
        return _rows(self.path)

    def bound(self, room: str) -> tuple[str | None, ...]:
        """Type, owner, Space, chat_id and platform_chat_id of a room's row."""
        row = self.rows()[room]
        return tuple(
            row[name]
            for name in (
                "room_type",
                "matrix_user_id",
                "space_id",
                "chat_id",
                "platform_chat_id",
            )
        )

    def status(self, room: str) -> str | None:
        """`active`, or `detached: unlinked`; `None` of a room without a row."""
        row = self.rows().get(room)
        if row is None:
            return None
        return f"{row['status']}: {row['reason']}" if row["reason"] else row["status"]

    def evidence(self, room: str) -> str | None:
        found: str | None = self.rows()[room]["evidence"]
        return found

    def chats(self) -> dict[str, tuple[str, str, str]]:
        """The view `chats`: platform_chat_id -> owner, chat_id, room."""
        found = self.query(
            "SELECT platform_chat_id, matrix_user_id, chat_id, room_id FROM chats"
        )
        return {row[0]: row[1:] for row in found}

    def users(self) -> dict[str, str]:
        """The view `user_meta`: owner -> Space."""
        return dict(self.query("SELECT matrix_user_id, space_id FROM user_meta"))

    def dump(self) -> str:
        """The whole table room_meta, revisions and times too."""
        return repr(self.query("SELECT * FROM room_meta ORDER BY room_id"))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(sql, parameters).fetchall()

    def spoil(self, *statements: str, **parameters: Any) -> None:
        """Change the file behind everybody's back; `:name` stands for a parameter."""
        with closing(sqlite3.connect(self.path)) as database, database:
            for statement in statements:
                database.execute(statement, parameters)

    def forget(self) -> None:
        """Lose the database."""
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()

    def forget_look(self) -> None:
        """Lose what was seen, and no row: the next look is at everything."""
        self.spoil("DELETE FROM kept")

    # The server

    async def position(self) -> tuple[str, ...]:
        """Where the server's streams of events and of account data end.

        It moves with whatever is written to any room, by anybody."""
        found = await self.bot.call(
            "GET", "sync", filter='{"room":{"rooms":[]}}', timeout=next(_asked)
        )
        parts = found["next_batch"].split("_")
        return parts[0], parts[4]

    async def server(self) -> State:
        """Every state event of every room that anybody here is in, by its id."""
        seen: State = {}
        for account in (self.bot, *self.people):
            for room in await account.joined_rooms():
                if room not in seen:
                    seen[room] = {
                        (event["type"], event["state_key"]): event["event_id"]
                        for event in await account.state(room)
                    }
        return seen

    async def has(self, room: str, event_type: str, key: str = "") -> Json | None:
        """The content of a state event as the bot reads it; `None` without one."""
        try:
            return await self.bot.state_event(room, event_type, key, format="content")
        except CallFailed as error:
            if error.status != 404:
                raise
            return None

    async def binding(self, room: str) -> Json | None:
        return await self.has(room, BINDING, self.bot.user_id)

    async def membership(self, room: str, who: Account) -> str | None:
        found = await self.has(room, "m.room.member", who.user_id)
        return found["membership"] if found else None

    async def said(self) -> list[Json]:
        """Every message in any room that the bot is in."""
        return [
            event
            for room in await self.bot.joined_rooms()
            for event in await self.bot.messages(room, limit=500)
            if event["type"] == "m.room.message"
        ]


@asynccontextmanager
async def city_of(
    accounts: Accounts, bot: Account, folder: Path
) -> AsyncIterator[City]:
    client = client_of(bot)
    try:
        yield City(bot, folder / "bot.db", client, accounts)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


def _rows(path: Path) -> dict[str, Json]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM room_meta ORDER BY room_id")
        return {row["room_id"]: dict(row) for row in found}


def _lasting(rows: dict[str, Json]) -> dict[str, Json]:
    """The rows without what says when, or how often, they were written."""
    return {
        room: {n: v for n, v in row.items() if n not in {"revision", "updated_at"}}
        for room, row in rows.items()
    }
