"""Scenarios 61 to 63: the bot is killed in the middle of something.

The bot is a process here, and what kills it is `tests/faults`; every single point of it
is the matter of `tests/adapter/matrix/test_crash_points.py`."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.cli.processes import completed
from tests.adapter.matrix.city import City, derived
from tests.adapter.matrix.scene import CREATE_ROOM, scene_of
from tests.adapter.matrix.stories import (
    Arrival,
    Cast,
    assert_home,
    bot_of,
    neighbourhood,
)
from tests.bots import write_config
from tests.conformance.situation import (
    Bound,
    a_chat,
    a_space,
    holds,
    made_for,
    stays,
)
from tests.conftest import Accounts
from tests.faults import Answer, Drop, Fault, Request, Rewrite
from tests.faults.commits import Kill, When, killed, watched
from tests.faults.crashes import Crash, File, lived

STEPS = (
    "POST v3/createRoom",
    "PUT v3/rooms/*/state/io.spacekeeper.binding/*",
    "PUT v3/rooms/*/state/m.space.child/*",
    "POST v3/rooms/*/invite",
)
WHOLE_PASS = {
    "delete due", "delete passes", "delete unread",
    "insert conditions", "insert facts", "insert kept", "insert passes",
}  # fmt: skip
"""What a pass over everything writes, whatever becomes of the rows."""


def commit_of_pass(*more: str) -> str:
    return "bot.db: " + ", ".join(sorted(WHOLE_PASS | set(more)))


class Settled(Arrival):
    """The same story; in the end everything is as Matrix says, and nothing is due."""

    async def judge(self) -> None:
        await super().judge()
        city, carol = self.cast.city, self.carol.account
        [space] = {*await carol.joined_rooms()} - {self.old}
        old = a_chat(carol, space, 1, platform=derived(self.old))
        hers = await made_for(city, self.alice.account)
        await holds(city, {space: a_space(carol), self.old: old, **hers})


@pytest.mark.scenario(61)
async def test_61_killed_after_any_step_it_ends_with_one_of_each(
    accounts: Accounts, homeserver: Homeserver, tmp_path: Path
) -> None:
    """Killed after createRoom, record, child, invite, commit: one of each in the end."""
    files: Iterator[File] = itertools.cycle(("kept", "lost"))
    crashes = [Crash("request", kind, 1, "after", next(files)) for kind in STEPS]
    written = commit_of_pass("insert due", "insert room_meta")
    crashes.append(Crash("commit", written, 1, "after", "kept"))
    async with neighbourhood(accounts, tmp_path) as city:
        story = Settled(Cast(city))
        done = await lived(story, bot_of(story), homeserver.url, crashes)
    assert set(done.crashes) == set(crashes)


def half(request: Request) -> Request:
    """A room in which its maker may not do all that was asked for: Synapse says 403 then,
    and leaves it without a name and without anybody invited."""
    powerless = {"power_level_content_override": {"state_default": 150}}
    return request._replace(
        body=json.dumps(json.loads(request.body) | powerless).encode()
    )


@pytest.mark.scenario(62)
@pytest.mark.parametrize("file", ["kept", "lost"])
async def test_62_a_room_that_was_refused_or_not_heard_of_is_there_once(
    city: City, homeserver: Homeserver, tmp_path: Path, file: str
) -> None:
    """createRoom refused, also half-way, or its answer lost: one room in the end.

    It is linked and told of. A limit is met before anything is made."""
    faults: list[Fault] = [
        Answer(403, b'{"errcode": "M_FORBIDDEN", "error": "no more rooms"}'),
        Rewrite(half),
        Answer(
            429,
            b'{"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 50}',
        ),
        Drop(),
    ]
    async with scene_of(city, homeserver.url, tmp_path) as scene:
        people = [await scene.person() for _ in faults]
        directs = []
        async with scene.live() as process:
            for fault, alice in zip(faults, people, strict=True):
                # The second room is the chat: then the Space is there, half finished.
                met = scene.proxy.at(CREATE_ROOM, fault, 2)
                directs.append(await alice.direct(city.bot))
                await met.struck()
            await process.kill()
        if file == "lost":
            city.forget()
        async with scene.live():
            for alice, direct in zip(people, directs, strict=True):
                await alice.say(direct, "and now?")
                await alice.accept(2)
        await city.once()
        rows: dict[str, Bound] = {}
        for alice in people:
            rows |= await made_for(city, alice.account)
        await holds(city, rows)
        for alice in people:
            await assert_home(Cast(city), alice.account, [1])
        made = [s for s in scene.proxy.requests if s.path.endswith("/createRoom")]
        assert [s.status for s in made if s.reached].count(403) == 1  # by the server


@pytest.mark.scenario(63)
async def test_63_killed_inside_the_transaction_the_rows_are_old_or_new(
    city: City, tmp_path: Path
) -> None:
    """Before its commit a pass has changed nothing; after it, everything."""
    alice, space, rooms = await city.home(chats=5)
    await city.once()
    emptied = [await city.bot.unlink(space, room) for room in rooms[:3]]
    await city.bot.put_state(rooms[3], "m.room.name", {"name": "Medlar"})
    config = write_config(tmp_path, city.bot, city.bot.url, database=city.path.name)
    kind = commit_of_pass("update room_meta")

    async def killed_pass(when: When) -> str:
        log = tmp_path / f"commits-{when}"
        via = watched(tmp_path, log, [Kill(kind, 1, when)])
        command = ("-m", *via, "adapter.cli.main", "--config", str(config), "reconcile")
        ended = await completed(sys.executable, *command, folder=tmp_path)
        assert (ended.code, killed(log)) == (-signal.SIGKILL, 0), ended.stderr
        return city.dump()

    old = city.dump()
    assert await killed_pass("before") == old
    new = await killed_pass("after")
    assert [city.status(room) for room in rooms] == [
        *["detached: unlinked"] * 3,
        *["active"] * 2,
    ]
    assert city.rows()[rooms[3]]["name"] == "Medlar"
    rows = {space: a_space(alice)}
    rows |= {room: a_chat(alice, space, n) for n, room in enumerate(rooms, 1)}
    for room, event in zip(rooms, emptied, strict=False):
        rows[room] = rows[room]._replace(status="detached: unlinked", evidence=event)
    await stays(city, rows)
    assert city.dump() == new
