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


async def test_locks_of_rooms() -> None:
    """One room has one lock as long as anybody holds it; another room has another."""
    traffic = Traffic()
    async with traffic.lock("!a"):
        assert traffic.lock("!a").locked()
        assert not traffic.lock("!b").locked()
    assert not traffic.lock("!a").locked()
