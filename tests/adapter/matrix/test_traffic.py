"""Publishing stands still while anybody waits, and goes first where people are."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.traffic import Traffic


@given(st.lists(st.booleans(), max_size=20))
async def test_calm(moves: list[bool]) -> None:
    """It is calm exactly when nothing urgent is going on, however it overlaps."""
    traffic, ends = Traffic(), list[asyncio.Event]()

    async def urgent(end: asyncio.Event) -> None:
        with traffic.urgent():
            await end.wait()

    async with asyncio.TaskGroup() as group:
        for begins in moves:
            if begins:
                ends.append(asyncio.Event())
                group.create_task(urgent(ends[-1]))
            elif ends:
                ends.pop(0).set()
            for _ in range(2):
                await asyncio.sleep(0)
            assert await is_calm(traffic) is not bool(ends)
        for end in ends:
            end.set()
    assert await is_calm(traffic)


async def is_calm(traffic: Traffic) -> bool:
    waiting = asyncio.create_task(traffic.calm())
    for _ in range(2):
        await asyncio.sleep(0)
    calm = waiting.done()
    waiting.cancel()
    return calm


async def test_what_fails_is_over_too() -> None:
    """An error, or somebody's giving up, leaves nothing urgent behind."""
    traffic = Traffic()
    with pytest.raises(LookupError), traffic.urgent():
        raise LookupError
    assert await is_calm(traffic)


@given(st.lists(st.sampled_from("abcd")))
def test_rooms_used_last_come_first(words: list[str]) -> None:
    """In the order of their last word; where nobody said anything comes last."""
    traffic = Traffic()
    for room in words:
        traffic.note(room)
    ranked = sorted("abcde", key=traffic.rank)
    used = list(dict.fromkeys(reversed(words)))
    assert ranked[: len(used)] == used
    assert "e" in ranked[len(used) :]


async def test_a_step_of_publishing_and_what_is_urgent() -> None:
    """What is urgent lets the step on its way end, and no other begins before it ends."""
    traffic, written = Traffic(), list[str]()
    begun, answered = asyncio.Event(), asyncio.Event()

    async def publish() -> None:
        async with traffic.publishing():
            begun.set()
            await answered.wait()
            written.append("first step")
        async with traffic.publishing():
            written.append("second step")

    async def handle() -> None:
        with traffic.urgent():
            assert await traffic.published()
            written.append("urgent")
            await asyncio.sleep(0)
            assert not await traffic.published()
            written.append("urgent still")

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        await begun.wait()
        group.create_task(handle())
        await asyncio.sleep(0)
        answered.set()
    assert written == ["first step", "urgent", "urgent still", "second step"]


async def test_what_waits_for_somebody_else() -> None:
    """While a handler waits for the platform, publishing goes on."""
    traffic = Traffic()
    with traffic.urgent():
        with traffic.elsewhere():
            assert await is_calm(traffic)
            async with traffic.publishing():
                pass
        assert not await is_calm(traffic)
