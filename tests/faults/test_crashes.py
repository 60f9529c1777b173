"""The crash harness with a bot of thirty lines, which knows nothing of Matrix.

It answers a job that it is given by a PUT, and writes down that it did. One bot looks
whether it has, and one does not: which is found out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from adapter.cli.processes import BotProcess, started
from tests.faults.crashes import (
    Crash,
    Lived,
    Start,
    lived,
    points,
    sample,
    side_by_side,
)

BOT = """
import json, signal, sqlite3, sys, urllib.request

careful = {careful}
db = sqlite3.connect("bot.db")
db.execute("CREATE TABLE IF NOT EXISTS done (job)")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print('{{"level": "INFO", "message": "ready"}}', file=sys.stderr, flush=True)

def ask(method, path):
    request = urllib.request.Request(sys.argv[1] + path, method=method)
    return json.load(urllib.request.urlopen(request))

for job in ask("GET", "/jobs"):
    if careful and db.execute("SELECT 1 FROM done WHERE job = ?", [job]).fetchone():
        continue
    ask("PUT" if careful else "POST", "/jobs/" + job)
    with db:
        db.execute("INSERT INTO done VALUES (?)", [job])
signal.sigwait([signal.SIGTERM])
"""

JOBS = ["one", "two"]


class Jobs:
    """A server, on which a PUT is one result however often it comes, and a POST is not."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self._news = asyncio.Condition()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        job = request.path.rpartition("/")[2]
        if request.method == "GET":
            return web.json_response(JOBS)
        if request.method == "POST" or job not in self.results:
            self.results.append(job)
        async with self._news:
            self._news.notify_all()
        return web.json_response({})

    async def all_done(self) -> None:
        async with self._news:
            await self._news.wait_for(lambda: set(JOBS) == set(self.results))


class Work:
    """A story in which nobody does anything but wait."""

    def __init__(self, folder: Path, jobs: Jobs) -> None:
        self.folder = folder
        self.jobs = jobs
        self.deaths = 0

    async def prepare(self, _url: str) -> None: ...

    async def act(self) -> None: ...

    async def between(self) -> None:
        self.deaths += 1

    async def lose_file(self) -> None:
        for file in self.folder.glob("bot.db*"):
            file.unlink()

    async def conclude(self) -> None:
        await self.jobs.all_done()

    async def judge(self) -> None:
        assert sorted(self.jobs.results) == sorted(JOBS)


def bot_of(story: Work) -> Start:
    def start(url: str, via: Sequence[str]) -> AbstractAsyncContextManager[BotProcess]:
        command = ("-m", *via, "bot", url)
        return started(sys.executable, *command, folder=story.folder)

    return start


def written(folder: Path, *, careful: bool) -> None:
    folder.mkdir()
    (folder / "bot.py").write_text(BOT.format(careful=careful))


@asynccontextmanager
async def world(folder: Path, *, careful: bool) -> AsyncIterator[tuple[Work, str]]:
    written(folder, careful=careful)
    jobs = Jobs()
    server = await asyncio.get_running_loop().create_server(
        web.Server(jobs.handle, access_log=None), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Work(folder, jobs), f"http://127.0.0.1:{port}"


async def test_every_point_is_found_and_a_careful_bot_survives_them(
    tmp_path: Path,
) -> None:
    """Killed at the first of each kind, in one world, it does each job once."""
    async with world(tmp_path / "clean", careful=True) as (story, url):
        clean = await lived(story, bot_of(story), url)
    assert clean.crashes == []
    assert clean.commits == ["bot.db: create", *["bot.db: insert done"] * 2]
    commits = [("create", 1), ("insert done", 1), ("insert done", 2)]
    assert list(points(clean)) == [
        ("request", "GET /jobs", 1, "after", "kept"),
        ("request", "PUT /jobs/one", 1, "after", "kept"),
        ("request", "PUT /jobs/one", 1, "after", "lost"),
        ("request", "PUT /jobs/two", 1, "after", "kept"),
        ("request", "PUT /jobs/two", 1, "after", "lost"),
        *(
            ("commit", f"bot.db: {name}", nth, when, file)
            for name, nth in commits
            for when, file in (("before", "kept"), ("after", "lost"), ("after", "kept"))
        ),
    ]
    [crashes] = sample(clean)
    async with world(tmp_path / "stormy", careful=True) as (story, url):
        stormy = await lived(story, bot_of(story), url, crashes)
    assert set(stormy.crashes) == set(crashes)
    assert story.deaths == len(crashes)


async def test_a_careless_bot_is_found_out(tmp_path: Path) -> None:
    """Killed before it asks for a job it is fine; killed after that, it does it again."""
    async with world(tmp_path / "clean", careful=False) as (story, url):
        clean = await lived(story, bot_of(story), url)
    crashes = [
        crash
        for crash in points(clean)
        if crash.kind in {"GET /jobs", "POST /jobs/one"} and crash.file == "kept"
    ]

    async def live(mine: Sequence[Crash]) -> Lived:
        folder = tmp_path / mine[0].kind.replace("/", "")
        async with world(folder, careful=False) as (story, url):
            return await lived(story, bot_of(story), url, mine)

    with pytest.raises(ExceptionGroup) as noticed:
        await side_by_side([[crash] for crash in crashes], live)
    [error] = noticed.value.exceptions
    assert error.__notes__ == ["killed after request #1 (POST /jobs/one), file kept"]


async def test_a_point_that_was_missed_has_one_more_world_for_itself() -> None:
    """Where it is missed again, it is named, and nothing is tried a third time."""
    one, two, three = (Crash("request", f"PUT /{n}", 1, "after", "kept") for n in "123")
    worlds: list[list[Crash]] = []

    async def live(crashes: Sequence[Crash]) -> Lived:
        """The first is always met, the second only where there is no other."""
        worlds.append([*crashes])
        met = [c for c in crashes if c is one or (c is two and len(crashes) == 1)]
        return Lived([], [], met, "")

    tally = await side_by_side([[one, two, three]], live)
    assert worlds == [[one, two, three], [two], [three]]
    assert tally == (3, [three])
