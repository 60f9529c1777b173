"""Every fault while the bot starts and listens: no word is lost, and none heard twice.

Of starts there is one for each fault, so without `FAULTS=all` every fourth has to do."""

from __future__ import annotations

import os
from typing import Final

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix import live, patience, stream
from controller import loop
from tests.adapter.matrix.city import City, conversation
from tests.adapter.matrix.conftest import STRUCK, TRIED
from tests.adapter.matrix.faulty import ANY, is_write
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.faults import FAULTS, FirstTime, Proxy, Request, Seen
from tests.faults.table import LOGGED_OUT, SLOW
from tests.people import Person

ALL: Final = os.environ.get("FAULTS") == "all"
PASSING: Final = [name for name in FAULTS if name not in LOGGED_OUT | SLOW]
"""What may be over the next time. What keeps the bot waiting is tried with passes."""
WHAT_NOBODY_CAN_TELL = "200, no rooms"
"""From a server to which nothing has happened since."""


PAGES = "GET .*/messages"
GAPS = [
    name
    for name in PASSING
    # The last three are answers like others; 403 says that the room is not ours any more.
    if name not in {"403", "200, no rooms", "stale", "filter ignored"}
][:9]
"""As often as one room may fail while the server lives."""


def is_live(seen: Seen) -> bool:
    return "since" in seen.query


def is_read(seen: Seen) -> bool:
    return not is_write(seen) and not is_live(seen)


def by_path(request: Request) -> str:
    return request.target.partition("?")[0]


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loop, patience, stream):
        monkeypatch.setattr(module, "delay", lambda *_, **__: 0.05)


@pytest.fixture
def platform() -> Backend:
    return Backend()


def through(city: City, proxy: Proxy) -> None:
    city.client.homeserver = proxy.url


@pytest.mark.usefixtures("hurry")
async def test_every_fault_at_the_live_stream(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    figures: dict[str, object],
) -> None:
    """What is said while the stream fails is heard when it flows again, once, in order."""
    owner, _, (chat,) = await city.home("alice")
    alice, words, answers = Person(owner), list[str](), list[str]()
    tried: list[str] = []
    async with Proxy(homeserver.url) as proxy:
        through(city, proxy)
        async with living(city, platform):
            for name in PASSING:
                if name == WHAT_NOBODY_CAN_TELL:
                    continue
                # What is stale has to have been said before.
                met = proxy.at(
                    is_live, FAULTS[name](), times=2 if name == "stale" else 1
                )
                tried.append(name)
                while not met.is_struck:
                    words.append(await alice.say(chat, name))
                    [answer] = await alice.hears(chat)
                    answers.append(answer["body"])
    figures |= {TRIED: len(tried), STRUCK: len(tried)}
    assert answers == [
        f"{number}: {answer.partition(': ')[2]}"
        for number, answer in enumerate(answers, 1)
    ]
    assert platform.heard == {conversation(owner, 1): words}
    assert (await said(city, chat)).answers == answers


@pytest.mark.usefixtures("hurry")
async def test_every_fault_at_each_request_of_a_start(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    figures: dict[str, object],
) -> None:
    """The bot waits until it knows where it is, and then answers what waits for it."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        words = [await exchange(alice, chat)]
    struck = 0
    async with Proxy(homeserver.url) as proxy:
        through(city, proxy)
        for name in PASSING if ALL else PASSING[::4]:
            fault = FirstTime(FAULTS[name](), by_path)
            met = proxy.at(is_read, fault, times=ANY)
            word = await alice.say(chat, name)
            async with living(city, platform):
                [answer] = await alice.hears(chat)
            met.end()
            words.append(word)
            struck += len(fault.met)
            assert fault.met
            assert answer["body"] == f"{len(words)}: {name}"
    figures |= {TRIED: struck, STRUCK: struck}
    assert platform.heard == {conversation(owner, 1): words}


@pytest.mark.usefixtures("hurry")
async def test_every_fault_while_a_gap_is_closed(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
    figures: dict[str, object],
) -> None:
    """What a timeline left out is read all the same: each word is answered, in order."""
    monkeypatch.setattr(live, "TIMELINE_LIMIT", 5)
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        words = [await exchange(alice, chat)]
    words += [await alice.say(chat, f"word {n}") for n in range(20)]
    async with Proxy(homeserver.url) as proxy:
        through(city, proxy)
        # One after the other: each meets the first page that is asked for after the last.
        met = [proxy.at(PAGES, FAULTS[name](), n) for n, name in enumerate(GAPS, 1)]
        async with living(city, platform):
            await alice.hears(chat, len(words) - 1)
            for one in met:
                await one.struck()
    figures |= {TRIED: len(met), STRUCK: len(met)}
    assert platform.heard == {conversation(owner, 1): words}
