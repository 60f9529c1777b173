"""Passes over a town on the real server, through a proxy, and what they leave in a file.

The town has rooms of every kind that a pass decides about. Whatever a pass would write to
Matrix is noted and refused, so that one town does for any number of passes."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from adapter.cli.account import Account
from adapter.matrix.errors import WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import City, chat_identity
from tests.faults import Answer, Exchange, Fault, Proxy, Reply, Request, Seen

Row = dict[str, Any]
Rows = dict[str, Row]

QUICK: Final = 1.5
"""Seconds that a pass waits for an answer which is kept back."""
PATIENT: Final = 10.0
ANY: Final = 10**9
"""So many times: each."""


# --- the town -------------------------------------------------------------------------


class Noted:
    """Refuses whatever it meets, and notes what that was."""

    def __init__(self) -> None:
        self.writes: set[Request] = set()
        self._refused: Fault = Answer(500, b'{"errcode": "M_UNKNOWN", "error": "no"}')

    async def meet(self, exchange: Exchange, /) -> Reply:
        self.writes.add(exchange.request)
        return await self._refused.meet(exchange)


@dataclass
class Town:
    """A city with a cache that has seen it, and what can still change in it."""

    city: City
    proxy: Proxy
    alice: Account
    space: str
    chats: list[str]
    old_space: str
    bob: Account
    lost: frozenset[str]
    """Rooms that the bot was thrown out of."""
    noted: Noted = field(default_factory=Noted)

    async def drift(self) -> None:
        """Rooms are linked, unlinked, renamed, left, made and upgraded by somebody."""
        city, (one, two, three) = self.city, self.chats
        fresh, *_ = await asyncio.gather(
            city.room(self.bob), city.home("greta", 1), city.bot.unlink(self.space, one)
        )
        await asyncio.gather(
            city.bot.put_state(two, "m.room.name", {"name": "Renamed"}),
            self.alice.leave(three),
            city.bot.link(self.old_space, fresh),
            city.bot.upgrade(two, "12"),
        )

    async def passed(
        self, path: Path, *, whole: bool = True, slow: bool = False
    ) -> Left:
        """One pass over the file at `path`, with its publishing.

        If it is not `whole`, it looks only at what changed since the file was written."""
        city, self.noted.writes = self.city, set()
        patience = QUICK if slow else PATIENT
        wire = Wire(
            city.client, patience=0, timeout=patience, snapshot_timeout=patience
        )
        me, error = city.bot.user_id, None
        async with Store.open(
            path, user_id=me, homeserver=city.client.homeserver
        ) as store:
            reconciler = Reconciler(wire, store, me, ReconcileSettings(), EventTypes())
            try:
                done = await reconciler.converge(whole=whole)
            except WireError as failed:
                error = type(failed).__name__
            else:
                await reconciler.publish(done, patience=0)
        return left(path, error, frozenset(self.noted.writes))


@asynccontextmanager
async def town_of(city: City, proxy: Proxy) -> AsyncIterator[Town]:
    """People with Spaces and chats: marked, legacy, upgraded, twice, unlinked, lost."""
    city.client.homeserver = proxy.url  # as the file will remember it
    (
        (alice, space, chats),
        (bob, old_space, _),
        (carol, _, (upgraded,)),
        (dave, _, _),
        (_, erins, (unlinked,)),
        (frank, _, (kicked, banned)),
    ) = await asyncio.gather(
        city.home("alice", 3, version="11"),
        city.old_home("bob", 2),
        city.home("carol", 1, version="11"),
        city.home("dave", 1),
        city.home("erin", 1),
        city.home("frank", 2, version="11"),
    )
    stranger = await city.person("stranger")
    double = {**chat_identity(dave, 1), "platform_chat_id": "another"}
    franks = {frank.user_id: 100, city.bot.user_id: 50}
    successor, _, group, _, _, _ = await asyncio.gather(
        city.bot.upgrade(upgraded, "12"),
        city.room(dave, identity=double),
        stranger.create_room(invite=[city.bot.user_id]),
        stranger.create_room(invite=[city.bot.user_id]),
        city.bot.set_power(kicked, franks),
        city.bot.set_power(banned, franks),
    )
    await asyncio.gather(
        city.bot.join(group),
        city.bot.unlink(erins, unlinked),
        city.bot.invite(successor, carol.user_id),
    )
    await carol.join(successor)
    await city.once()
    await frank.kick(kicked, city.bot.user_id)
    await frank.ban(banned, city.bot.user_id)
    await city.once()
    await city.settled()
    lost = frozenset({kicked, banned})
    town = Town(city, proxy, alice, space, chats, old_space, bob, lost)
    writes = proxy.at(is_write, town.noted, times=ANY)
    yield town
    writes.end()


def is_write(seen: Seen) -> bool:
    return seen.method != "GET" and not seen.path.endswith("/sync")


# --- what a pass leaves ---------------------------------------------------------------


class Left(NamedTuple):
    """What there is after a pass."""

    error: str | None
    """The kind of what it raised."""
    rows: Rows
    """Without what says when, or how often, they were written."""
    dump: str
    """The whole table, byte by byte."""
    conditions: dict[str, tuple[str, str]]
    """Status and reason."""
    writes: frozenset[Request] = frozenset()
    """What it tried to write to Matrix."""


def left(
    path: Path, error: str | None = None, writes: frozenset[Request] = frozenset()
) -> Left:
    """Read the file with plain sqlite3; a missing one is empty."""
    if not path.exists():
        return Left(error, {}, "[]", {}, writes)
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM room_meta ORDER BY room_id").fetchall()
        said = database.execute("SELECT type, status, reason FROM conditions")
        conditions = {kind: (status, reason) for kind, status, reason in said}
    when = {"revision", "updated_at"}
    rows = {
        row["room_id"]: {n: v for n, v in dict(row).items() if n not in when}
        for row in found
    }
    return Left(error, rows, repr([tuple(row) for row in found]), conditions, writes)


def copied(source: Path, name: str) -> Path:
    """A copy of the file beside it, in place of any earlier one of that name."""
    copy = source.with_name(name)
    for old in copy.parent.glob(f"{name}*"):
        old.unlink()
    if source.exists():
        shutil.copy(source, copy)
    return copy


# --- what a pass reads ----------------------------------------------------------------


class Read(NamedTuple):
    """The `nth` request of a pass to this path."""

    method: str
    path: str
    nth: int
    before_write: bool = False
    """It looks at the room once more, which may have changed since it was decided."""

    @property
    def name(self) -> str:
        """The last word of its path; `state` also of a single state event."""
        whole, _, _ = self.path.partition("/state/")
        return "state" if whole != self.path else whole.rpartition("/")[2]

    @property
    def is_event(self) -> bool:
        """It asks for a single state event."""
        return "/state/" in self.path

    @property
    def room(self) -> str | None:
        """Whose state it is."""
        parts = unquote(self.path).split("/")
        return parts[parts.index("rooms") + 1] if self.name == "state" else None

    def matches(self, seen: Seen) -> bool:
        return (seen.method, seen.path) == (self.method, self.path)


def reads(requests: Sequence[Seen]) -> Iterator[Read]:
    """What a pass reads to decide, and before each write."""
    counts: Counter[tuple[str, str]] = Counter()
    for seen, follows in zip_longest(requests, requests[1:]):
        asked = seen.method, seen.path
        counts[asked] += 1
        read = Read(*asked, counts[asked])
        if not is_write(seen):
            yield read._replace(before_write=_is_about_to_write(read, follows))


def _is_about_to_write(read: Read, follows: Seen | None) -> bool:
    return (
        read.room is not None
        and follows is not None
        and is_write(follows)
        and read.room in unquote(follows.path).split("/")
    )
