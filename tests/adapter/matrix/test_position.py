"""T is kept twice, survives what goes wrong with either, and has one writer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapter.cli.account import Account, CallFailed
from adapter.matrix.facts import EventTypes
from adapter.matrix.ledger import Ledger
from adapter.matrix.memory import Checkpoint
from adapter.matrix.position import (
    NewerCheckpoint,
    Position,
    Superseded,
    content,
    parse,
)
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import client_of

TYPES = EventTypes()
TYPE = TYPES.checkpoint
OLD, OURS, NEW = "instance-old", "instance-ours", "instance-new"

Json = dict[str, Any]


@dataclass
class Pauses:
    """Sleep that ends when the test says so."""

    _asked: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    _over: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    async def __call__(self, seconds: float) -> None:
        await self._asked.put(seconds)
        await self._over.get()

    async def begun(self) -> float:
        """Wait until somebody sleeps; for how long."""
        async with asyncio.timeout(30):
            return await self._asked.get()

    def end(self) -> None:
        self._over.put_nowait(None)

    @property
    def nobody(self) -> bool:
        """Whether nobody has begun to sleep since."""
        return self._asked.empty()


@pytest.fixture
async def wire(bot: Account) -> AsyncIterator[Wire]:
    client = client_of(bot)
    yield Wire(client)
    await client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with Store.open(tmp_path / "bot.db") as store:
        yield Ledger(store)


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Ledger]:
    """The cache of the same bot on another machine."""
    async with Store.open(tmp_path / "other.db") as store:
        yield Ledger(store)


@dataclass
class Bots:
    """Starts of the bot of this test, and what both copies say."""

    account: Account
    wire: Wire
    ledger: Ledger

    async def read(
        self, instance: str, ledger: Ledger | None = None, **more: Any
    ) -> Position:
        me = self.account.user_id
        return await Position.read(
            self.wire, ledger or self.ledger, me, TYPES, instance, **more
        )

    async def started(
        self, instance: str, ledger: Ledger | None = None, **more: Any
    ) -> Position:
        """One that runs: from `s0` if nothing is known."""
        position = await self.read(instance, ledger, **more)
        await position.announce("s0")
        return position

    async def server(self) -> Json | None:
        try:
            return await self.account.account_data(TYPE)
        except CallFailed as failed:
            if failed.status != 404:
                raise
            return None

    async def both(self) -> tuple[Checkpoint | None, Checkpoint | None]:
        return await self.ledger.checkpoint(), parse(await self.server())


@pytest.fixture
def bots(bot: Account, wire: Wire, ledger: Ledger) -> Bots:
    return Bots(bot, wire, ledger)


@asynccontextmanager
async def kept(position: Position) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(position.keep())
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def handle(position: Position, token: str, events: int = 1) -> None:
    mark = position.begin(token, events)
    for _ in range(events):
        mark.settle()


async def test_what_a_newer_version_wrote_is_not_overwritten(bots: Bots) -> None:
    """Neither a start nor an announcement touches it, and both say what to do."""
    newer: Json = {"v": 2, "tokens": ["x"]}
    early = await bots.read(OLD)
    await bots.account.put_account_data(TYPE, newer)
    with pytest.raises(NewerCheckpoint, match="upgrade"):
        await bots.read(OURS)
    with pytest.raises(NewerCheckpoint, match="upgrade"):
        await early.announce("s0")
    await early.write()
    assert await bots.server() == newer
    assert await bots.ledger.checkpoint() is None


async def test_a_running_bot_leaves_a_newer_version_alone(bots: Bots) -> None:
    """It ends, and does not write at its end."""
    running = await bots.started(OURS)
    handle(running, "s1")
    newer = {"v": 2}
    await bots.account.put_account_data(TYPE, newer)
    with pytest.raises(NewerCheckpoint):
        running.seen(newer)
    await running.write()
    assert await bots.server() == newer


async def test_what_says_nothing_is_told_and_replaced(
    bots: Bots, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning the bot starts from now on, and writes a position that can be read."""
    await bots.account.put_account_data(TYPE, {"v": 1, "n": "many"})
    with caplog.at_level(logging.WARNING):
        position = await bots.started(OURS)
    assert "says nothing" in caplog.text
    assert position.token == "s0"  # noqa: S105 - a position
    assert await bots.both() == (Checkpoint(1, "s0", OURS),) * 2
    caplog.clear()
    position.seen({"v": 1, "n": "many"})
    assert "says nothing" in caplog.text


async def test_a_first_start_is_from_now_on(bots: Bots) -> None:
    """Nothing is known until the announcement, which writes both copies."""
    position = await bots.read(OURS)
    known = position.token
    assert known is None
    assert await bots.both() == (None, None)
    await position.announce("s0")
    assert position.token == "s0"  # noqa: S105 - a position
    assert await bots.both() == (Checkpoint(1, "s0", OURS),) * 2


async def test_the_next_start_goes_on_where_the_last_ended(
    bots: Bots, other: Ledger
) -> None:
    """With both copies, or without the database; announcing changes nothing of it."""
    first = await bots.started(OLD)
    handle(first, "s1")
    await first.write()
    second = await bots.started(OURS)
    assert second.token == "s1"  # noqa: S105 - a position
    third = await bots.started(NEW, other)
    assert third.token == "s1"  # noqa: S105
    assert await bots.server() == content(Checkpoint(4, "s1", NEW))


async def test_an_interrupted_write_is_not_lost(bots: Bots) -> None:
    """A crash between the two copies leaves the cache one ahead, and that counts."""
    first = await bots.started(OLD)
    handle(first, "s1")
    await bots.ledger.set_checkpoint(Checkpoint(2, "s1", OLD))
    second = await bots.started(OURS)
    assert second.token == "s1"  # noqa: S105 - a position
    # From here on a second interruption is the same again.
    assert await bots.both() == (Checkpoint(2, "s1", OURS),) * 2


async def test_a_server_that_was_set_back_is_believed(
    bots: Bots, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens that it gave out since mean nothing to it; the operator is told."""
    await bots.account.put_account_data(TYPE, content(Checkpoint(3, "s3", OLD)))
    await bots.ledger.set_checkpoint(Checkpoint(57, "s57", OLD))
    position = await bots.started(OURS)
    assert position.token == "s3"  # noqa: S105 - a position
    assert "set back" in caplog.text
    assert await bots.both() == (Checkpoint(4, "s3", OURS),) * 2


async def test_a_database_without_its_account_data_is_from_now_on(bots: Bots) -> None:
    """A server that forgot the position has lost more; history is not answered."""
    await bots.ledger.set_checkpoint(Checkpoint(57, "s57", OLD))
    position = await bots.read(OURS)
    assert position.token is None


# Keeping


async def test_t_is_written_when_a_batch_is_over(bots: Bots) -> None:
    """Not before its last event, and then at once, in both copies."""
    pauses = Pauses()
    position = await bots.started(OURS, sleep=pauses)
    async with kept(position):
        slow = position.begin("s1", 2)
        handle(position, "s2")
        slow.settle()
        assert await bots.both() == (Checkpoint(1, "s0", OURS),) * 2
        slow.settle()
        assert await pauses.begun() == 1.0
        assert await bots.both() == (Checkpoint(2, "s2", OURS),) * 2


async def test_writes_are_a_second_apart(bots: Bots) -> None:
    """What is over meanwhile is one write, of the newest T."""
    pauses = Pauses()
    position = await bots.started(OURS, sleep=pauses)
    async with kept(position):
        handle(position, "s1")
        await pauses.begun()
        for token in ("s2", "s3", "s4"):
            handle(position, token)
        assert (await bots.both())[1] == Checkpoint(2, "s1", OURS)
        pauses.end()
        assert await pauses.begun() == 1.0
        assert await bots.both() == (Checkpoint(3, "s4", OURS),) * 2


async def test_a_batch_with_nothing_in_it_is_not_written_for(bots: Bots) -> None:
    """It moves T all the same; the next write has it, or the one at the end."""
    pauses = Pauses()
    position = await bots.started(OURS, sleep=pauses)
    async with kept(position):
        position.begin("s1", 0)
        assert position.token == "s1"  # noqa: S105 - a position
        handle(position, "s2")
        position.begin("s3", 0)
        await pauses.begun()
        pauses.end()
        position.begin("s4", 0)
    assert (await bots.both())[1] == Checkpoint(2, "s3", OURS)
    await position.write()
    assert await bots.both() == (Checkpoint(3, "s4", OURS),) * 2


async def test_the_end_writes_once_what_is_due(bots: Bots) -> None:
    """And nothing where nothing moved."""
    position = await bots.started(OURS)
    handle(position, "s1")
    for _ in range(3):
        await position.write()
    assert await bots.both() == (Checkpoint(2, "s1", OURS),) * 2


async def test_a_start_that_failed_supersedes_nobody(bots: Bots, other: Ledger) -> None:
    """What ends before its announcement leaves the account to the bot that runs."""
    running = await bots.started(OLD)
    failed = await bots.read(OURS, other)
    handle(failed, "s1")
    await failed.write()
    assert await bots.server() == content(Checkpoint(1, "s0", OLD))
    handle(running, "s2")
    await running.write()
    assert await bots.server() == content(Checkpoint(2, "s2", OLD))


# Two of them


async def test_the_newest_wins(bots: Bots, other: Ledger) -> None:
    """The older one is told to end, by one sentence, and writes nothing any more."""
    older = await bots.started(OLD)
    handle(older, "s1")
    newer = await bots.started(NEW, other)
    shown = await bots.server()
    with pytest.raises(Superseded, match=bots.account.user_id):
        older.seen(shown)
    await older.write()
    assert await bots.server() == shown
    newer.seen(shown)
    handle(newer, "s2")
    await newer.write()
    assert await bots.server() == content(Checkpoint(3, "s2", NEW))


async def test_the_older_ones_last_write_is_overwritten(
    bots: Bots, other: Ledger
) -> None:
    """It is no reason to leave: the newer says again that it is there, and louder."""
    older = await bots.started(OLD)
    pauses = Pauses()
    newer = await bots.started(NEW, other, sleep=pauses)
    for token in ("s1", "s2", "s3"):
        handle(older, token)
        await older.write()
    last = await bots.server()
    async with kept(newer):
        newer.seen(last)
        await pauses.begun()
    assert last is not None
    assert await bots.server() == content(Checkpoint(last["n"] + 1, "s0", NEW))
    with pytest.raises(Superseded):
        older.seen(await bots.server())


async def test_who_came_while_we_started_is_older(bots: Bots, other: Ledger) -> None:
    """A start-up pass takes a while: only the announcement counts, and it counts on."""
    newest = await bots.read(NEW)
    between = await bots.started(OURS, other)
    for token in ("s1", "s2"):
        handle(between, token)
        await between.write()
    await newest.announce("s9")
    # T is from before the start-up pass, whatever was written since.
    assert await bots.server() == content(Checkpoint(4, "s9", NEW))
    newest.seen(content(Checkpoint(5, "s3", OURS)))


async def test_the_live_stream_shows_what_others_write(bots: Bots) -> None:
    """A position that was written is in the next answer to `/sync`, and only there."""
    first = await bots.started(OLD)
    before = (await bots.account.sync())["next_batch"]
    await bots.started(NEW)
    answer = await bots.account.sync(before)
    shown = [
        e["content"] for e in answer["account_data"]["events"] if e["type"] == TYPE
    ]
    assert shown == [await bots.server()]
    with pytest.raises(Superseded):
        first.seen(shown[0])
    quiet = await bots.account.sync(answer["next_batch"])
    assert not quiet.get("account_data")
