"""Scenarios 54 to 60, and 65: what the homeserver, or something before it, gets wrong.

Every fault at every request is the matter of `tests/adapter/matrix/test_fault_matrix_*`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import unquote

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.errors import RateLimited, TokenRefused, WireError
from tests.adapter.matrix.city import BINDING, City, conversation
from tests.adapter.matrix.clock import Clock
from tests.adapter.matrix.faulty import ANY, left
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living
from tests.faults import FAULTS, Answer, Proxy, Seen
from tests.faults.table import LOGGED_OUT, limit
from tests.people import Person

SLIDING = "POST .*/sync"
VERSIONS = "GET .*/versions"
SYNC = "GET .*/sync"
JOINED = "GET .*/joined_rooms"
STATE = "GET .*/state"

EMPTY = {
    "next_batch": "s1",
    "rooms": {"join": {}},
    "pos": "1",
    "lists": {"all": {"count": 0}},
}
"""An answer to either sync that shows no room."""

BROKEN = [
    "500",
    "502, HTML",
    "504, HTML",
    "reset",
    "closed",
    "cut",
    "bad gzip",
]


@pytest.fixture
async def proxy(city: City, homeserver: Homeserver) -> AsyncIterator[Proxy]:
    """What stands before the homeserver of the city's bot."""
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        yield proxy


@asynccontextmanager
async def unwritten(city: City) -> AsyncIterator[None]:
    """Nothing is written to the rows, or to Matrix."""
    before = city.dump(), await city.position()
    yield
    assert (city.dump(), await city.position()) == before


def room_by_room(proxy: Proxy) -> None:
    """From now on no snapshot is to be had."""
    for match in (VERSIONS, SYNC):
        proxy.at(match, FAULTS["500"](), times=ANY)


def about(room: str) -> Callable[[Seen], bool]:
    return lambda seen: room in unquote(seen.path)


def observed(city: City) -> tuple[str, str]:
    """Status and reason, as the file has them."""
    return left(city.path).conditions["Observed"]


@pytest.mark.scenario(54)
async def test_54_a_limit_is_waited_out_as_the_header_says(
    city: City, proxy: Proxy, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with only a header, of 61 s: no row changes, and nobody asks any earlier."""
    await city.home("alice")
    await city.once()
    city.forget_look()
    limited = proxy.at(SLIDING, limit(header=61)(), times=ANY)
    async with unwritten(city):
        with pytest.raises(RateLimited) as told:
            await city.startup()
    assert told.value.retry_after == 61
    assert observed(city) == ("False", "RateLimited")
    # A file knows its homeserver, and this one is the proxy's.
    city.bot, clock = replace(city.bot, url=proxy.url), Clock(monkeypatch, 120.0)

    async def live() -> None:
        async with living(city, platform):
            pass

    bot = asyncio.create_task(live())
    async with asyncio.timeout(PATIENCE):
        await clock.over.wait()
    assert all(61 <= seconds < 70 for seconds in clock.waits)
    limited.end()
    clock.go_on()
    await bot


@pytest.mark.scenario(55)
async def test_55_a_server_that_fails_changes_no_row(
    city: City, proxy: Proxy, subtests: pytest.Subtests
) -> None:
    """5xx, HTML, a reset, half an answer, bad gzip: no observation, and no row written."""
    _, space, (one, _) = await city.home("alice", 2)
    await city.once()
    emptied = await city.bot.unlink(space, one)
    city.forget_look()
    for name in BROKEN:
        with subtests.test(name):
            failing = proxy.at(JOINED, FAULTS[name](), 2, times=ANY)
            async with unwritten(city):
                with pytest.raises(WireError):
                    await city.once()
            assert observed(city)[0] == "False"
            failing.end()
    await city.once()
    assert city.evidence(one) == emptied
    await city.settled()


@pytest.mark.scenario(56)
@pytest.mark.parametrize("channel", [SLIDING, SYNC])
async def test_56_a_success_that_shows_no_room_is_none(
    city: City, proxy: Proxy, channel: str, subtests: pytest.Subtests
) -> None:
    """200 with nothing in it, though the bot has rooms: each is read, and none given up."""
    await city.home("alice", 2)
    await city.once()
    if channel == SYNC:
        proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    for answer in ({}, {"next_batch": "s1"}, EMPTY):
        with subtests.test(str(answer)):
            empty = proxy.at(
                channel, Answer(200, json.dumps(answer).encode()), times=ANY
            )
            async with unwritten(city):
                assert (await city.once(whole=True)).result == "in sync"
            empty.end()


@pytest.mark.scenario(57)
async def test_57_a_server_that_forgot_all_rooms_loses_none(
    city: City, proxy: Proxy
) -> None:
    """No room is joined, and none can be read: the guard gives up none of them."""
    await asyncio.gather(*(city.home(f"alice{n}", 4) for n in range(10)))
    await city.once()
    assert len(city.rows()) == 50
    none = Answer(200, b'{"joined_rooms": []}')
    forgotten = [proxy.at(JOINED, none, times=ANY)]
    async with unwritten(city):
        assert (await city.once(whole=True)).result == "in sync"
    nothing = Answer(200, json.dumps(EMPTY).encode())
    refused = FAULTS["403"]()
    for match, fault in ((SLIDING, nothing), (SYNC, nothing), (STATE, refused)):
        forgotten.append(proxy.at(match, fault, times=ANY))
    async with unwritten(city):
        for _ in range(2):
            assert (await city.once(whole=True)).result == "blocked"
        assert (await city.once()).result == "blocked"
    for planned in forgotten:
        planned.end()
    await city.settled()


@pytest.mark.scenario(58)
@pytest.mark.parametrize("name", ["403", "500"])
async def test_58_one_room_that_cannot_be_read_stays_as_it_is(
    city: City, proxy: Proxy, name: str
) -> None:
    """One room's state is refused: its row stays, it is named, all others converge."""
    (_, _, (one, _)), (_, space, (other,)) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    await city.once()
    await city.bot.unlink(space, other)
    room_by_room(proxy)
    failing = proxy.at(about(one), FAULTS[name](), times=ANY)
    before = city.rows()[one]
    report = await city.once()
    assert city.status(other) == "detached: unlinked"
    assert city.rows()[one] == before
    assert set(report.decided.want.unknown) == {one}
    assert observed(city) == ("True", "RoomsUnknown")
    failing.end()
    await city.settled()


@pytest.mark.scenario(58)
async def test_58_what_is_gone_is_bound_when_its_space_can_be_read(
    city: City, proxy: Proxy
) -> None:
    """A chat that threw the bot out and has no row: what it is bound with, it keeps."""
    alice, space, (one,) = await city.home("alice", version="11")
    await city.bot.set_power(one, {alice.user_id: 100, city.bot.user_id: 50})
    await alice.kick(one, city.bot.user_id)
    proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    failing = proxy.at(about(space), FAULTS["500"](), times=ANY)
    await city.startup()
    assert city.rows() == {}
    failing.end()
    await city.startup()
    assert city.bound(one)[2] == space
    await city.settled()


@pytest.mark.scenario(59)
@pytest.mark.parametrize("name", ["403", "502, HTML", "200, no rooms"])
async def test_59_state_that_is_refused_is_not_empty_state(
    city: City, proxy: Proxy, name: str
) -> None:
    """A repair is due, and the room does not show its state: nothing is written there."""
    _, space, (one, two) = await city.home("alice", 2)
    reset = {"v": 1, "platform_chat_id": "later"}
    written = await city.bot.put_state(one, BINDING, reset, city.bot.user_id)
    await city.once()
    await city.bot.redact(one, written)
    room_by_room(proxy)
    failing = proxy.at(about(one), FAULTS[name](), times=ANY)
    async with unwritten(city):
        await city.once()
    failing.end()
    await city.once()
    assert await city.binding(one) == reset
    assert (await city.binding(two), await city.has(space, BINDING)) == (None, None)
    await city.settled()


@pytest.mark.scenario(60)
@pytest.mark.parametrize("name", sorted(LOGGED_OUT))
async def test_60_a_token_that_is_refused_while_the_bot_lives(
    city: City, platform: Backend, homeserver: Homeserver, name: str
) -> None:
    """A refused token ends the bot, which asks for nothing more; no row changes."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url

        async def live() -> None:
            async with living(city, platform):
                await exchange(alice, chat)
                refused = proxy.at(lambda _: True, FAULTS[name](), times=ANY)
                await alice.say(chat, "wake")
                await refused.struck()
                await asyncio.Event().wait()

        with pytest.RaisesGroup(TokenRefused):
            async with asyncio.timeout(PATIENCE):
                await live()
        rows = left(city.path).dump
        # The poll, a write of the position that was under way, and the last one.
        assert len([seen for seen in proxy.requests if seen.status == 401]) <= 3
    city.client.homeserver = city.bot.url
    async with living(city, platform):
        assert left(city.path).dump == rows
        [wake] = await alice.hears(chat)
    assert wake["body"] == "2: wake"


@pytest.mark.scenario(65)
@pytest.mark.parametrize("channel", [SLIDING, SYNC])
async def test_65_a_server_that_ignores_the_filter_is_read_all_the_same(
    city: City, proxy: Proxy, channel: str
) -> None:
    """All state and a hundred messages come: the same rows, and not a word is kept."""
    alice, space, (one, two) = await city.home("alice", 2)
    await asyncio.gather(*(alice.send(one, f"secret {n}") for n in range(60)))
    emptied = await city.bot.unlink(space, two)
    if channel == SYNC:
        proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    met = proxy.at(channel, FAULTS["filter ignored"](), times=ANY)
    await city.once()
    await met.struck()
    assert city.evidence(two) == emptied
    assert city.bound(one)[-1] == conversation(alice, 1)
    assert b"secret" not in city.path.read_bytes()
    await city.settled()
