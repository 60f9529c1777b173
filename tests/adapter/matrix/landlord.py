"""A program that makes rooms, put together as the bot does it, and what came of it.

What is asserted is read from the server as the bot sees it there, not from the program."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from adapter.chat import ChatManager
from adapter.cli.account import Account
from adapter.config import RoomSettings
from adapter.matrix.errors import ServerFault
from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.ledger import Ledger
from adapter.matrix.live import Batch, live_filter, read_batch
from adapter.matrix.provisioning import Provisioner
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.renewal import touched
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from adapter.matrix.writing import Writer
from tests.adapter.matrix.city import CHILD, IDENTITY, City

Json = dict[str, Any]


class Faulty(Wire):
    """The wire, with something that happens around some of its calls.

    `before` and `after` get the name of a call, its number among all, from 1, and what
    it was given."""

    calls = 0

    async def before(self, name: str, number: int, *given: object) -> None: ...

    async def after(self, name: str, number: int, *given: object) -> None: ...

    async def _call(self, name: str, *given: Any) -> Any:
        self.calls += 1
        number = self.calls
        await self.before(name, number, *given)
        found = await getattr(super(), name)(*given)
        await self.after(name, number, *given)
        return found

    async def create_room(self, body: Mapping[str, Any]) -> str:
        found: str = await self._call("create_room", body)
        return found

    async def invite(self, room_id: str, user_id: str) -> None:
        await self._call("invite", room_id, user_id)

    async def put_state(
        self, room_id: str, event_type: str, state_key: str, content: Mapping[str, Any]
    ) -> str:
        found: str = await self._call(
            "put_state", room_id, event_type, state_key, content
        )
        return found

    async def joined_rooms(self) -> frozenset[str]:
        found: frozenset[str] = await self._call("joined_rooms")
        return found

    async def state(self, room_id: str) -> list[Json]:
        found: list[Json] = await self._call("state", room_id)
        return found


class Hiding(Faulty):
    """A server that fails at the state of some rooms, and leaves them out elsewhere."""

    hidden: frozenset[str] = frozenset()

    async def before(self, name: str, number: int, *given: object) -> None:
        if name == "state" and given[0] in self.hidden:
            raise ServerFault("the state cannot be shown", status=500)

    async def supports_sliding_sync(self) -> bool:
        return False

    async def sync_snapshot(self, sync_filter: Mapping[str, Any]) -> Json:
        found = await super().sync_snapshot(sync_filter)
        for room in self.hidden:
            found.get("rooms", {}).get("join", {}).pop(room, None)
        return found


@dataclass
class Landlord:
    """One program: its cache, what it follows, and the door to its rooms."""

    me: str
    wire: Wire
    store: Store
    ledger: Ledger
    follower: Follower
    homes: Provisioner
    chats: ChatManager
    slept: list[float]


@asynccontextmanager
async def landlord(
    city: City,
    *,
    wire: Wire | None = None,
    path: Path | None = None,
    rooms: RoomSettings | None = None,
    settings: ReconcileSettings | None = None,
    look: bool = True,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[Landlord]:
    """A program that has just looked at everything, or will have to. Its waits are
    short, and listed."""
    me, types, slept = city.bot.user_id, EventTypes(), []
    wire = wire or Wire(city.client)

    async def nap(seconds: float) -> None:
        slept.append(seconds)
        await sleep(min(seconds, 0.05))

    async with Store.open(
        path or city.path, user_id=me, homeserver=city.client.homeserver
    ) as store:
        ledger = Ledger(store)
        follower = Follower(
            Reconciler(wire, store, me, settings or ReconcileSettings(), types)
        )
        if look:
            await follower.look_again()
        homes = Provisioner(
            wire,
            Writer(wire, sleep=nap),
            follower,
            store,
            ledger,
            me,
            rooms or RoomSettings(settle=0.02),
            types,
            now=lambda: time.time_ns() // 1_000_000,
            sleep=nap,
        )
        chats = ChatManager(homes)
        yield Landlord(me, wire, store, ledger, follower, homes, chats, slept)


async def told(one: Landlord, since: str) -> Batch:
    """Let the follower hear what happened since; what that was."""
    types = EventTypes()
    answer = await one.wire.live_sync(since, live_filter(types, str(uuid.uuid4())), 0)
    batch = read_batch(answer, types)
    one.follower.touch(touched(batch, one.follower.facts, one.me, types))
    return batch


class Home(NamedTuple):
    """The rooms that say of themselves that they were made for one user."""

    spaces: list[str]
    chats: list[str]


async def home_of(city: City, owner: Account) -> Home:
    """All rooms on the server with the owner's identity, as the bot reads them."""
    home = Home([], [])
    rooms = await city.bot.joined_rooms()
    created = await asyncio.gather(*(city.has(r, "m.room.create") for r in rooms))
    for room, content in zip(rooms, created, strict=True):
        identity = (content or {}).get(IDENTITY, {})
        if identity.get("owner") == owner.user_id:
            kinds = {"space": home.spaces, "chat": home.chats}
            kinds[identity["kind"]].append(room)
    return home


async def happened(city: City, room: str, event_type: str, key: str) -> list[Json]:
    """The contents of all events that ever set this state, newest first."""
    return [
        event["content"]
        for event in await city.bot.messages(room, limit=200)
        if event["type"] == event_type and event.get("state_key") == key
    ]


async def assert_made_once(city: City, owner: Account, number: int = 1) -> Home:
    """One Space, `number` chats, each linked once, and the owner invited once to each.

    The owner was not in them yet."""
    home = await home_of(city, owner)
    assert len(home.spaces) == 1
    assert len(home.chats) == number
    for room in (*home.spaces, *home.chats):
        member = await happened(city, room, "m.room.member", owner.user_id)
        assert [content["membership"] for content in member] == ["invite"]
    for chat in home.chats:
        links = await happened(city, home.spaces[0], CHILD, chat)
        assert links == [{"via": ["hs.test"]}]
    return home
