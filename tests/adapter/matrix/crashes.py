"""The bot is killed at a request of its own, in front of a story that goes on.

    requests = await lived(Day(cast), homeserver.url)          # a clean run
    for crash in points(requests):                             # each in a world of its own
        await lived(Day(cast), homeserver.url, crash)

Where to kill is enumerated from what the bot sent, not from what it is known to send.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from adapter.cli.account import CallFailed
from tests.adapter.matrix.stories import Story
from tests.bots import BotEnded, BotProcess, running, write_config
from tests.faults import Action, After, Before, Fault, Seen
from tests.faults.proxy import Proxy

CHECKPOINT: Final = "io.spacekeeper.checkpoint"

When = Literal["before", "after"]
File = Literal["kept", "lost"]
WAYS: Final[tuple[tuple[When, File], ...]] = (
    ("before", "kept"),
    ("after", "lost"),
    ("after", "kept"),
    ("before", "lost"),
)

_NAMES: Final = re.compile(r"(?:%21|%24|%40|!|\$|@)[^/]+")


class Crash(NamedTuple):
    """At the `nth` request of a kind: before the server hears, or after it answered."""

    kind: str
    nth: int
    when: When
    file: File

    def __str__(self) -> str:
        return f"killed {self.when} {self.kind} #{self.nth}, file {self.file}"

    def plan(self, proxy: Proxy, kill: Action) -> None:
        fault: Fault = Before(kill) if self.when == "before" else After(kill)
        proxy.at(lambda seen: kind(seen) == self.kind, fault, self.nth)


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


def points(requests: Iterable[Seen]) -> Iterator[Crash]:
    """Every write and the first read of each kind, each in all four ways."""
    for name, nth, writes in _numbered(requests):
        if writes or nth == 1:
            for way in WAYS:
                yield Crash(name, nth, *way)


def sample(requests: Iterable[Seen]) -> Iterator[Crash]:
    """The first and the last write of each kind, each in one way; all ways take turns."""
    counts = Counter(kind(seen) for seen in requests if is_write(seen))
    ways = itertools.cycle(WAYS)
    for name, count in sorted(counts.items()):
        for nth in sorted({1, count}):
            yield Crash(name, nth, *next(ways))


def _numbered(requests: Iterable[Seen]) -> Iterator[tuple[str, int, bool]]:
    """Kind and number of each request among its kind, and whether it writes."""
    counts: Counter[str] = Counter()
    for seen in requests:
        name = kind(seen)
        counts[name] += 1
        yield name, counts[name], is_write(seen)


class Lived(NamedTuple):
    """What is left of a story that was lived through."""

    requests: list[Seen]
    crashed: bool
    stderr: str


async def lived(story: Story, url: str, crash: Crash | None = None) -> Lived:
    """Live through the story with a bot that is started again after it was killed.

    In the end it is told to stop, and does so in order."""
    cast = story.cast
    await story.prepare()
    stderr = ""
    async with Proxy(url) as proxy:
        config = write_config(
            cast.city.path.parent,
            cast.city.bot,
            proxy.url,
            database=cast.city.path.name,
            rooms={"settle": "500ms"},
        )
        act = asyncio.create_task(_act(story))
        try:
            code, life = -signal.SIGKILL, 0
            while code != 0:
                life += 1
                async with running(config) as process:
                    if crash is not None and life == 1:
                        crash.plan(proxy, process.kill)
                    code = await _life(process, story, act)
                    stderr += process.stderr
                if code != 0:
                    assert (life, code) == (1, -signal.SIGKILL), process.stderr
                    await _between(story, crash)
        finally:
            act.cancel()
            await asyncio.wait([act])
        requests = list(proxy.requests)
        cast.city.client.homeserver = proxy.url  # as the file remembers it
        await cast.city.once()
        await cast.city.settled()
        await story.judge()
    return Lived(requests, life == 2, stderr)


async def _act(story: Story) -> None:
    await story.cast.ready.wait()
    await story.act()


async def _life(process: BotProcess, story: Story, act: asyncio.Task[None]) -> int:
    """One life of the bot: until the story is over, or it is killed; its exit code."""

    async def go_on() -> None:
        await process.ready()
        story.cast.ready.set()
        await asyncio.shield(act)
        await story.conclude()
        await process.terminate()

    going_on = asyncio.create_task(go_on())
    ended = asyncio.create_task(process.ended())
    try:
        await asyncio.wait({going_on, ended}, return_when=asyncio.FIRST_COMPLETED)
        if going_on.done() and not isinstance(going_on.exception(), BotEnded):
            going_on.result()
        return await ended
    finally:
        going_on.cancel()
        ended.cancel()
        await asyncio.wait([going_on, ended])


async def _between(story: Story, crash: Crash | None) -> None:
    """Nobody runs: the file is lost, and somebody speaks who has to be heard later."""
    if crash is not None and crash.file == "lost":
        story.cast.city.forget()
    try:
        await story.cast.city.bot.account_data(CHECKPOINT)
    except CallFailed:
        return  # the bot never came so far as to know what is history
    await story.interrupt()
