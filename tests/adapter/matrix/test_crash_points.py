"""Killed before or after any of its requests and commits, with the file or without:
nobody notices.

With `CRASH_POINTS=1` (`make crash-matrix`) it is killed at every point, each in a world of
its own, which takes an hour; with 10, at every tenth. Without it, a bot is killed in one world
again and again, at the first of each kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.conftest import ENUMERATED, SURVIVED
from tests.adapter.matrix.recoveries import Backfill, DamagedFile, OldFile
from tests.adapter.matrix.stories import (
    Arrival,
    Cast,
    Day,
    Story,
    bot_of,
    neighbourhood,
)
from tests.conftest import Accounts
from tests.faults import Seen
from tests.faults.crashes import (
    Crash,
    Lived,
    is_write,
    lived,
    points,
    sample,
    side_by_side,
)

EVERY = int(os.environ.get("CRASH_POINTS", "0"))
STORIES = [Arrival, Day, Backfill, OldFile, DamagedFile]
SAMPLED = [Day, Backfill, OldFile]
"""An arrival is a part of a day, and a damaged file is no worse than a lost one."""
PARTS = 4 if EVERY else 1
"""Of a story's points, each a test of its own: workers share them."""
MAY_BE_MISSED = 3
"""Of a part's points that hang on time; of many points, one in twenty."""

Live = Callable[[type[Story], Sequence[Crash]], Awaitable[Lived]]


@pytest.fixture
def live(accounts: Accounts, homeserver: Homeserver, tmp_path: Path) -> Live:
    """Lives through a story in a world of its own, and judges what came of it."""
    numbers = itertools.count(1)

    async def live(kind: type[Story], crashes: Sequence[Crash]) -> Lived:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        async with neighbourhood(accounts, folder) as city:
            story = kind(Cast(city))
            done = await lived(story, bot_of(story), homeserver.url, crashes)
        assert [word for word in story.cast.spoken if word in done.stderr] == []
        return done

    return live


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", STORIES if EVERY else SAMPLED)
async def test_killed_at_any_point_nobody_notices(
    live: Live, kind: type[Story], part: int, figures: dict[str, object]
) -> None:
    """One Space, one room for each chat, one invite, one answer for each word, and the
    same conversations: on the server, in the file, and in one rebuilt from nothing."""
    clean = await live(kind, [])
    assert_nothing_in_vain(clean.requests)
    every = list(points(clean))[::EVERY] if EVERY else []
    worlds = [[crash] for crash in every] or sample(clean, kind.about)
    mine = worlds[part::PARTS]
    tally = await side_by_side(mine, lambda crashes: live(kind, crashes))
    figures[ENUMERATED] = tally.points
    figures[SURVIVED] = tally.points - len(tally.missed)
    figures["missed"] = [str(crash) for crash in tally.missed]
    assert [crash for crash in tally.missed if not hangs_on_time(crash)] == []
    assert len(tally.missed) <= max(MAY_BE_MISSED, tally.points / 20)


def hangs_on_time(crash: Crash) -> bool:
    """Whether its world may have had no such point: it was later in coming than the first
    of its kind, it says that an answer takes long, or it is the commit of a pass, whose
    kind is all that happened to come together in it."""
    is_pass = crash.what == "commit" and ", " in crash.kind
    return is_pass or crash.nth > 1 or "/typing/" in crash.kind


def assert_nothing_in_vain(requests: Iterable[Seen]) -> None:
    """Where nobody is killed, nothing is refused, and nobody invited to a room twice."""
    writes = [seen for seen in requests if is_write(seen)]
    assert [seen for seen in writes if seen.status != 200] == []
    invites = [seen.path for seen in writes if seen.path.endswith("/invite")]
    assert len(invites) == len(set(invites))
