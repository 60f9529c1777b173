"""A bot is killed at a point of its own making, in front of a story that goes on.

    clean = await lived(Day(), start, homeserver.url)            # a clean run
    for crash in points(clean):                                  # each in a fresh world
        await lived(Day(), start, homeserver.url, [crash])

Where to kill is enumerated from what the bot sent and committed, not from what it is
known to do. Of the bot nothing has to be known but how to start it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

from adapter.cli.processes import BotEnded, BotProcess
from tests.faults.commits import Kill, When, killed, listed, watched
from tests.faults.kinds import After, Before, Exchange, Fault, Reply, Seen
from tests.faults.proxy import Proxy

What = Literal["request", "commit"]
File = Literal["kept", "lost"]
Way = tuple[When, File]

WAYS: Final[tuple[Way, ...]] = (
    ("before", "kept"),
    ("after", "lost"),
    ("after", "kept"),
    ("before", "lost"),
)

PATIENCE: Final = 600.0
"""Seconds that one life of the bot may take; whoever waits in it has less patience."""

KILLS_IN_A_WORLD: Final = 8
"""At most, in a sample: somebody who waits for one answer must not wait too long."""

_NAMES: Final = re.compile(r"(?:%21|%24|%40|!|\$|@)[^/]+")


class Story(Protocol):
    """What happens around a bot that may die at any moment of it."""

    folder: Path
    """Where the bot has its databases."""

    async def prepare(self, url: str) -> None:
        """Make what there is before the bot runs; it will find its homeserver at `url`."""

    async def act(self) -> None:
        """Do what people do from when the bot is ready for the first time."""

    async def between(self) -> None:
        """The bot was killed, and does not run."""

    async def lose_file(self) -> None:
        """Remove the database."""

    async def conclude(self) -> None:
        """Wait for whatever `act` and `between` did not wait for."""

    async def judge(self) -> None:
        """Raise if anything is not as it has to be; the bot does not run any more."""


Start = Callable[[str, Sequence[str]], AbstractAsyncContextManager[BotProcess]]
"""Runs the bot against a URL; the strings go between `python -m` and its module."""


class Crash(NamedTuple):
    """At the `nth` request or commit of a kind: before it is done, or after that and
    before the bot hears of it."""

    what: What
    kind: str
    nth: int
    when: When
    file: File

    def __str__(self) -> str:
        return f"{self.when} {self.what} #{self.nth} ({self.kind}), file {self.file}"


class Lived(NamedTuple):
    """What is left of a story that was lived through."""

    requests: list[Seen]
    commits: list[str]
    crashes: list[Crash]
    """Those that happened."""
    stderr: str


# Which points there are


def kind(seen: Seen) -> str:
    """Method and path, without whatever is different in each world."""
    path = seen.path.removeprefix("/_matrix/client/")
    path = re.sub(r"(/send/[^/]+/).*", r"\1*", path)
    kinds = f"{seen.method} {_NAMES.sub('*', path)}"
    if path.endswith("/sync") and seen.method == "GET":
        kinds += " live" if "since" in seen.query else " once"
    return kinds


def is_write(seen: Seen) -> bool:
    return seen.method != "GET" and not seen.path.endswith(("/sync", "/typing"))


def points(clean: Lived) -> Iterator[Crash]:
    """After every request, before and after every commit, with the file and without.

    Only what leaves a world of its own: a kill leaves the server and the file as they
    are. So before a write is after whatever came before it, a read is the same with
    either, and takes turns, and a lost file is lost whether it had the commit or not."""
    counts: Counter[str] = Counter()
    files: Iterator[File] = itertools.cycle(("kept", "lost"))
    for seen in clean.requests:
        name = kind(seen)
        counts[name] += 1
        for file in ("kept", "lost") if is_write(seen) else (next(files),):
            yield Crash("request", name, counts[name], "after", file)
    counts.clear()
    for name in clean.commits:
        counts[name] += 1
        for way in WAYS[:3]:
            yield Crash("commit", name, counts[name], *way)


def sample(clean: Lived, about: str = "") -> list[list[Crash]]:
    """The first of each kind in one way, which take turns, dealt out to a few worlds, in
    each of which the bot is killed again and again.

    With `about`, a pattern, the kinds in which it is found: before and after, in a world
    each, where the file is kept."""
    if about:
        kept = [way for way in WAYS if way[1] == "kept"]
        return [list(_first(clean, [way], about)) for way in kept]
    crashes = list(_first(clean, WAYS))
    worlds = math.ceil(len(crashes) / KILLS_IN_A_WORLD)
    return [crashes[number::worlds] for number in range(worlds)]


def _first(clean: Lived, ways: Sequence[Way], about: str = "") -> Iterator[Crash]:
    turns = itertools.cycle(ways)
    for what, kinds in _happened(clean):
        for name in dict.fromkeys(kinds):
            if re.search(about, name):
                yield Crash(what, name, 1, *next(turns))


def _happened(clean: Lived) -> Iterator[tuple[What, list[str]]]:
    yield "request", [kind(seen) for seen in clean.requests]
    yield "commit", clean.commits


# Living through one


async def lived(
    story: Story, start: Start, url: str, crashes: Sequence[Crash] = ()
) -> Lived:
    """Live through the story with a bot that is started again after it was killed.

    It is killed wherever it meets one of the `crashes`, once at each. Their numbers are
    those of one life. In the end the bot is told to stop, and does so in order."""
    async with Proxy(url) as proxy:
        await story.prepare(proxy.url)
        lives = _Lives(story, start, proxy, list(crashes))
        await lives.live()
        await story.judge()
    return Lived(lives.requests, lives.commits, lives.happened, lives.stderr)


class _Lives:
    """The lives of one bot, from its first start to its end in order."""

    def __init__(
        self, story: Story, start: Start, proxy: Proxy, crashes: list[Crash]
    ) -> None:
        self.requests: list[Seen] = []
        self.commits: list[str] = []
        self.happened: list[Crash] = []
        self.stderr = ""
        self._story = story
        self._start = start
        self._proxy = proxy
        self._left = crashes
        self._numbers = itertools.count(1)
        self._ready = asyncio.Event()

    async def live(self) -> None:
        before = len(self._proxy.requests)  # those that prepared the story
        act = asyncio.create_task(self._act())
        try:
            while (crash := await self._one_life(act)) is not None:
                self._left.remove(crash)
                self.happened.append(crash)
                if crash.file == "lost":
                    await self._story.lose_file()
                await self._story.between()
        finally:
            act.cancel()
            await asyncio.wait([act])
        self.requests = self._proxy.requests[before:]

    async def _act(self) -> None:
        await self._ready.wait()
        await self._story.act()

    async def _one_life(self, act: asyncio.Task[None]) -> Crash | None:
        """Return what ended it; `None` if that was its end in order."""
        log = self._story.folder / f"commits-{next(self._numbers)}"
        commits = [crash for crash in self._left if crash.what == "commit"]
        kills = [Kill(crash.kind, crash.nth, crash.when) for crash in commits]
        via = watched(self._story.folder, log, kills)
        async with self._start(self._proxy.url, via) as process:
            gallows = _Gallows(process, self._left)
            every = self._proxy.at(lambda _: True, gallows, times=sys.maxsize)
            code = await self._ended(process, act)
            every.end()
            self.stderr += process.stderr
        self.commits += listed(log)
        if code == 0:
            return None
        number = killed(log)
        crash = gallows.struck if number is None else commits[number]
        assert code == -signal.SIGKILL, process.stderr
        assert crash is not None, process.stderr
        return crash

    async def _ended(self, process: BotProcess, act: asyncio.Task[None]) -> int:
        """Wait until it was killed, or the story is over and it was told to stop."""

        async def go_on() -> None:
            await process.ready()
            self._ready.set()
            await asyncio.shield(act)
            await self._story.conclude()
            await process.terminate()

        going_on = asyncio.create_task(go_on())
        ended = asyncio.create_task(process.ended(PATIENCE))
        try:
            await asyncio.wait({going_on, ended}, return_when=asyncio.FIRST_COMPLETED)
            if going_on.done() and not isinstance(going_on.exception(), BotEnded):
                going_on.result()
            return await ended
        finally:
            going_on.cancel()
            ended.cancel()
            await asyncio.wait([going_on, ended])


class _Gallows:
    """Kills the bot at the first request of this life that one of the crashes names."""

    def __init__(self, process: BotProcess, crashes: Iterable[Crash]) -> None:
        self.struck: Crash | None = None
        self._process = process
        self._crashes = [crash for crash in crashes if crash.what == "request"]
        self._counts: Counter[str] = Counter()

    async def meet(self, exchange: Exchange, /) -> Reply:
        name = kind(exchange.seen)
        self._counts[name] += 1
        here = name, self._counts[name]
        for crash in self._crashes:
            if (crash.kind, crash.nth) == here:
                return await self._fault(crash).meet(exchange)
        return await exchange.forward()

    def _fault(self, crash: Crash) -> Fault:
        async def kill() -> None:
            self.struck = self.struck or crash
            await self._process.kill()

        return Before(kill) if crash.when == "before" else After(kill)


# Living through many


class Tally(NamedTuple):
    """How many points were enumerated, and those at which the bot was never killed."""

    points: int
    missed: list[Crash]

    def __str__(self) -> str:
        met = self.points - len(self.missed)
        return f"{self.points} enumerated, {met} met, all of these survived"


async def side_by_side(
    worlds: Sequence[Sequence[Crash]],
    live_through: Callable[[Sequence[Crash]], Awaitable[Lived]],
    *,
    at_once: int = 4,
) -> Tally:
    """Live through the crashes of each world, a few worlds at once; raises what any raised.

    A point that was missed has one more world, all for itself: in the first, another crash
    may have lost the file that was to be updated. How often some requests come hangs on how
    long everything else took, so that it may be missed again."""
    missed = await _missed(worlds, live_through, at_once)
    again = [[crash] for crash in missed]
    return Tally(sum(map(len, worlds)), await _missed(again, live_through, at_once))


async def _missed(
    worlds: Sequence[Sequence[Crash]],
    live_through: Callable[[Sequence[Crash]], Awaitable[Lived]],
    at_once: int,
) -> list[Crash]:
    """Live through the crashes of each world; returns those that did not happen."""
    waiting, failures, missed = iter(worlds), list[Exception](), list[Crash]()

    async def worker() -> None:
        for crashes in waiting:
            try:
                done = await live_through(crashes)
            except Exception as error:  # noqa: BLE001 - raised when all are through
                error.add_note("killed " + "; ".join(map(str, crashes)))
                failures.append(error)
            else:
                missed.extend(crash for crash in crashes if crash not in done.crashes)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    if failures:
        msg = f"{len(failures)} of {len(worlds)} were noticed"
        raise ExceptionGroup(msg, failures)
    return missed
