"""T under faults that a real server cannot show on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.errors import RateLimited, TokenRefused, Unreachable, WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.ledger import Ledger
from adapter.matrix.memory import Checkpoint
from adapter.matrix.position import Position, content
from adapter.matrix.wire import Wire
from tests.adapter.matrix.test_position import Pauses, handle, kept

TYPES = EventTypes()
OLD, OURS, NEW = "instance-old", "instance-ours", "instance-new"

Json = dict[str, Any]


@dataclass
class Faulty:
    """Account data whose writes end as the test says: one after the other."""

    endings: list[str] = field(default_factory=list)
    content: Json | None = None
    writes: list[Json] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    meanwhile: Callable[[], None] = lambda: None

    async def account_data(self, _user: str, _type: str) -> Json | None:
        return self.content

    async def put_account_data(
        self, _user: str, _type: str, content: Mapping[str, Any]
    ) -> None:
        self.writes.append(dict(content))
        ending = self.endings.pop(0) if self.endings else "done"
        with self._counted():
            await asyncio.sleep(0)
            self.meanwhile()
            if ending in ("done", "lost"):
                self.content = dict(content)
            match ending:
                case "lost" | "unreachable":
                    what = "no answer"
                    raise Unreachable(what)
                case "limited":
                    what = "slower"
                    raise RateLimited(what, retry_after=7.5)
                case "refused":
                    what = "no"
                    raise TokenRefused(what, status=401, errcode="M_UNKNOWN_TOKEN")
                case _:
                    assert ending == "done"

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            yield
        finally:
            self.at_once -= 1


class Crash(BaseException):
    """The process is no more."""


@dataclass
class Memory:
    """A cache; a crash after its write cuts it off from the account data."""

    file: Checkpoint | None = None
    crashes: bool = False

    async def checkpoint(self) -> Checkpoint | None:
        return self.file

    async def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.file = checkpoint
        if self.crashes:
            self.crashes = False
            raise Crash


async def on(faulty: Faulty, memory: Memory, instance: str, **more: Any) -> Position:
    wire, ledger = cast(Wire, faulty), cast(Ledger, memory)
    position = await Position.read(wire, ledger, "@bot:hs", TYPES, instance, **more)
    await position.announce("0")
    return position


async def test_a_write_that_fails_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    """After the wait that the server asked for, with what T is then; it is only told."""
    endings = ["done", "limited", "unreachable", "done", "unreachable"]
    faulty, pauses = Faulty(endings), Pauses()
    position = await on(faulty, Memory(), OURS, sleep=pauses, chance=lambda: 0.0)
    async with kept(position):
        handle(position, "1")
        assert await pauses.begun() == 7.5
        handle(position, "2")
        pauses.end()
        assert await pauses.begun() == 2.0
        pauses.end()
        assert await pauses.begun() == 1.0
        assert faulty.content == content(Checkpoint(2, "2", OURS))
        handle(position, "3")
        pauses.end()
        # The failures before count no longer.
        assert await pauses.begun() == 1.0
        pauses.end()
        assert await pauses.begun() == 1.0
    assert faulty.content == content(Checkpoint(3, "3", OURS))
    assert caplog.text.count("position not written") == 3


async def test_nothing_wakes_where_nothing_moves() -> None:
    """After a write it waits for the next batch, not for the next second."""
    pauses = Pauses()
    position = await on(Faulty(), Memory(), OURS, sleep=pauses)
    async with kept(position):
        handle(position, "1")
        await pauses.begun()
        pauses.end()
        for _ in range(20):
            await asyncio.sleep(0)
        assert pauses.nobody


async def test_an_earlier_start_is_answered_once_and_for_certain() -> None:
    """A failure does not make us forget the answer, and one that arrived is enough."""
    faulty, pauses = Faulty(["done", "unreachable"]), Pauses()
    position = await on(faulty, Memory(Checkpoint(1, "0", OLD)), NEW, sleep=pauses)
    async with kept(position):
        faulty.content = content(Checkpoint(9, "x", OLD))
        position.seen(faulty.content)
        await pauses.begun()
        pauses.end()
        await pauses.begun()
    assert faulty.content == content(Checkpoint(10, "0", NEW))
    await position.write()
    assert faulty.content == content(Checkpoint(10, "0", NEW))


async def test_an_old_echo_sets_no_number_back() -> None:
    """The stream may show an earlier write of ours after a later one."""
    faulty = Faulty()
    position = await on(faulty, Memory(), OURS)
    echo = faulty.content
    handle(position, "1")
    await position.write()
    position.seen(echo)
    handle(position, "2")
    await position.write()
    assert faulty.content == content(Checkpoint(3, "2", OURS))


async def test_a_refused_token_ends_it() -> None:
    """Nothing will ever be written with it."""
    faulty = Faulty(["done", "refused"])
    position = await on(faulty, Memory(), OURS)
    async with kept(position) as keeping:
        handle(position, "1")
        with pytest.raises(TokenRefused):
            await keeping


async def test_there_are_never_two_writes_at_once() -> None:
    """The end waits for the write that is under way."""
    faulty = Faulty()
    position = await on(faulty, Memory(), OURS)
    for number in range(1, 5):
        handle(position, str(number))
        await asyncio.gather(position.write(), position.announce("0"))
    assert faulty.most_at_once == 1
    numbers = [written["n"] for written in faulty.writes]
    assert numbers == sorted(set(numbers))


async def test_who_writes_during_our_write_is_answered() -> None:
    """Which of the two came last nobody knows, so it is written again."""
    faulty, pauses = Faulty(), Pauses()
    memory = Memory(Checkpoint(1, "0", OLD))
    position = await on(faulty, memory, NEW, sleep=pauses)
    last = content(Checkpoint(9, "x", OLD))

    def interfere() -> None:
        faulty.meanwhile = lambda: None
        position.seen(last)

    faulty.meanwhile = interfere
    async with kept(position):
        handle(position, "1")
        await pauses.begun()
        faulty.content = last
        pauses.end()
        await pauses.begun()
    assert faulty.content == content(Checkpoint(10, "1", NEW))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["done", "lost", "unreachable", "limited", "crash"]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_however_writes_end_the_next_start_loses_little(
    story: list[tuple[str, bool, bool]],
) -> None:
    """Writes that fail, lose their answer or are cut by a crash: the next start goes on
    from the last one that was done for certain or later, never from what is not settled.
    """

    async def play() -> None:
        faulty, memory = Faulty(), Memory()
        position = await on(faulty, memory, "0")
        settled, certain = 0, 0
        for number, (ending, shown, restart) in enumerate(story, 1):
            settled = number
            handle(position, str(number))
            memory.crashes = ending == "crash"
            faulty.endings = [] if memory.crashes else [ending]
            with suppress(WireError, Crash):
                await position.write()
                certain = number
            if shown:
                position.seen(faulty.content)
            if restart or ending == "crash":
                position = await on(faulty, memory, str(number))
                assert certain <= int(position.token or 0) <= settled
                settled = certain = int(position.token or 0)

    asyncio.run(play())
