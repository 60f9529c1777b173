"""Killed before or after any of its requests, with the file or without: nobody notices.

`CRASH_POINTS=all` kills at every write and at each kind of read, in all ways, which takes
many minutes; without it, at the first and the last write of each kind in one way."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.crashes import Crash, Lived, is_write, lived, points, sample
from tests.adapter.matrix.stories import (
    Arrival,
    Cast,
    Day,
    Story,
    neighbourhood,
)
from tests.conftest import Accounts
from tests.faults import Seen

AT_ONCE = 4
PARTS = 2
"""Of a story's points, each a test of its own: workers share them."""

ALL = os.environ.get("CRASH_POINTS") == "all"

Live = Callable[[type[Story], Crash | None], Awaitable[Lived]]


@pytest.fixture
def live(accounts: Accounts, homeserver: Homeserver, tmp_path: Path) -> Live:
    """Lives through a story in a world of its own, and judges what came of it."""
    numbers = itertools.count(1)

    async def live(kind: type[Story], crash: Crash | None) -> Lived:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        async with neighbourhood(accounts, folder) as city:
            story = kind(Cast(city))
            done = await lived(story, homeserver.url, crash)
        assert [word for word in story.cast.spoken if word in done.stderr] == []
        return done

    return live


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", [Arrival, Day])
async def test_killed_at_any_request_nobody_notices(
    live: Live, kind: type[Story], part: int
) -> None:
    """One Space, one room for each chat, one invite, one answer for each word, and the
    same conversations: on the server, in the file, and in one rebuilt from nothing."""
    clean = await live(kind, None)
    assert not clean.crashed
    assert_nothing_in_vain(clean.requests)
    crashes = points(clean.requests) if ALL else sample(clean.requests)
    mine = [crash for number, crash in enumerate(crashes) if number % PARTS == part]
    await side_by_side(mine, lambda crash: live(kind, crash))


def assert_nothing_in_vain(requests: Iterable[Seen]) -> None:
    """Where nobody is killed, nothing is refused, and nobody invited to a room twice."""
    writes = [seen for seen in requests if is_write(seen)]
    assert [seen for seen in writes if seen.status != 200] == []
    invites = [seen.path for seen in writes if seen.path.endswith("/invite")]
    assert len(invites) == len(set(invites))


async def side_by_side(
    crashes: Iterable[Crash], live_through: Callable[[Crash], Awaitable[Lived]]
) -> None:
    """Live through each of them, a few at once; raises what any of them raised."""
    waiting, failures, missed = iter(crashes), list[Exception](), list[Crash]()

    async def worker() -> None:
        for crash in waiting:
            try:
                done = await live_through(crash)
            except Exception as error:  # noqa: BLE001 - raised when all are through
                error.add_note(str(crash))
                failures.append(error)
            else:
                missed.extend([] if done.crashed else [crash])

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    if failures:
        raise ExceptionGroup("somebody noticed", failures)
    # How often the position is written hangs on how long everything else took.
    assert [crash for crash in missed if "account_data" not in crash.kind] == []
