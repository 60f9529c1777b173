"""Scenarios 54 to 60, and 65: what the homeserver, or something before it, gets wrong.

Every fault at every request is the matter of `tests/adapter/matrix/test_fault_matrix_*`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from urllib.parse import unquote

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.channels import Channel
from adapter.matrix.errors import RateLimited, TokenRefused, WireError
from tests.adapter.matrix.city import BINDING, City
from tests.adapter.matrix.clock import Clock
from tests.adapter.matrix.faulty import ANY, left
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living
from tests.conformance.situation import Bound, a_chat, a_space, holds, stays
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


@contextmanager
def room_by_room(proxy: Proxy) -> Iterator[None]:
    """No snapshot is to be had."""
    failing = [
        proxy.at(match, FAULTS["500"](), times=ANY) for match in (VERSIONS, SYNC)
    ]
    yield
    for planned in failing:
        planned.end()


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
    alice, space, (one,) = await city.home("alice")
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
    await stays(city, {space: a_space(alice), one: a_chat(alice, space, 1)})


@pytest.mark.scenario(55)
async def test_55_a_server_that_fails_changes_no_row(
    city: City, proxy: Proxy, subtests: pytest.Subtests
) -> None:
    """5xx, HTML, a reset, half an answer, bad gzip: no observation, and no row written."""
    alice, space, (one, two) = await city.home("alice", 2)
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
    await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1, "detached: unlinked", emptied),
            two: a_chat(alice, space, 2),
        },
    )


@pytest.mark.scenario(56)
@pytest.mark.parametrize("channel", [SLIDING, SYNC])
async def test_56_a_success_that_shows_no_room_is_none(
    city: City, proxy: Proxy, channel: str, subtests: pytest.Subtests
) -> None:
    """200 with nothing in it, though the bot has rooms: each is read, and none given up."""
    alice, space, (one, two) = await city.home("alice", 2)
    await city.once()
    versions = proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    if channel == SLIDING:
        versions.end()
    for answer in ({}, {"next_batch": "s1"}, EMPTY):
        with subtests.test(str(answer)):
            empty = proxy.at(
                channel, Answer(200, json.dumps(answer).encode()), times=ANY
            )
            async with unwritten(city):
                assert (await city.once(whole=True)).result == "in sync"
            empty.end()
    versions.end()
    rows = {space: a_space(alice)}
    rows |= {room: a_chat(alice, space, n) for n, room in enumerate((one, two), 1)}
    await stays(city, rows, whole=True)


@pytest.mark.scenario(57)
async def test_57_a_server_that_forgot_all_rooms_loses_none(
    city: City, proxy: Proxy
) -> None:
    """No room is joined, and none can be read: the guard gives up none of them."""
    homes = await asyncio.gather(*(city.home(f"alice{n}", 4) for n in range(10)))
    rows: dict[str, Bound] = {}
    for owner, space, chats in homes:
        rows[space] = a_space(owner)
        rows |= {room: a_chat(owner, space, n) for n, room in enumerate(chats, 1)}
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
    await stays(city, rows)


@pytest.mark.scenario(58)
@pytest.mark.parametrize("name", ["403", "500"])
async def test_58_one_room_that_cannot_be_read_stays_as_it_is(
    city: City, proxy: Proxy, name: str
) -> None:
    """One room's state is refused: its row stays, it is named, all others converge."""
    (alice, home, (one, two)), (bob, space, (other,)) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    await city.once()
    emptied = await city.bot.unlink(space, other)
    failing = proxy.at(about(one), FAULTS[name](), times=ANY)
    before = city.rows()[one]
    with room_by_room(proxy):
        report = await city.once()
    assert city.status(other) == "detached: unlinked"
    assert city.rows()[one] == before
    assert set(report.decided.want.unknown) == {one}
    assert observed(city) == ("True", "RoomsUnknown")
    failing.end()
    await stays(
        city,
        {
            home: a_space(alice),
            one: a_chat(alice, home, 1),
            two: a_chat(alice, home, 2),
            space: a_space(bob),
            other: a_chat(bob, space, 1, "detached: unlinked", emptied),
        },
    )


@pytest.mark.scenario(58)
async def test_58_what_is_gone_is_bound_when_its_space_can_be_read(
    city: City, proxy: Proxy
) -> None:
    """A chat that threw the bot out and has no row: what it is bound with, it keeps."""
    alice, space, (one,) = await city.home("alice", version="11")
    await city.bot.set_power(one, {alice.user_id: 100, city.bot.user_id: 50})
    await alice.kick(one, city.bot.user_id)
    kicked = await alice.state_event(one, "m.room.member", city.bot.user_id)
    versions = proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    failing = proxy.at(about(space), FAULTS["500"](), times=ANY)
    await city.startup()
    assert city.rows() == {}
    failing.end()
    await city.startup()
    assert city.bound(one)[2] == space
    versions.end()
    gone = a_chat(alice, space, 1, "detached: bot_kicked", kicked["event_id"])
    # No snapshot at all shows no room that the bot is out of.
    rows = {space: a_space(alice), one: gone}
    await stays(city, rows, apart=[Channel.STATE])


@pytest.mark.scenario(59)
@pytest.mark.parametrize("name", ["403", "502, HTML", "200, no rooms"])
async def test_59_state_that_is_refused_is_not_empty_state(
    city: City, proxy: Proxy, name: str
) -> None:
    """A repair is due, and the room does not show its state: nothing is written there."""
    alice, space, (one, two) = await city.home("alice", 2)
    reset = {"v": 1, "platform_chat_id": "later"}
    written = await city.bot.put_state(one, BINDING, reset, city.bot.user_id)
    await city.once()
    await city.bot.redact(one, written)
    failing = proxy.at(about(one), FAULTS[name](), times=ANY)
    with room_by_room(proxy):
        async with unwritten(city):
            await city.once()
        failing.end()
        await city.once()
    assert await city.binding(one) == reset
    assert (await city.binding(two), await city.has(space, BINDING)) == (None, None)
    await stays(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1, platform="later"),
            two: a_chat(alice, space, 2),
        },
    )


@pytest.mark.scenario(60)
@pytest.mark.parametrize("name", sorted(LOGGED_OUT))
async def test_60_a_token_that_is_refused_while_the_bot_lives(
    city: City, platform: Backend, homeserver: Homeserver, name: str
) -> None:
    """A refused token ends the bot, which asks for nothing more; no row changes."""
    owner, space, (chat,) = await city.home("alice")
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
    await stays(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})


@pytest.mark.scenario(65)
@pytest.mark.parametrize("channel", [SLIDING, SYNC])
async def test_65_a_server_that_ignores_the_filter_is_read_all_the_same(
    city: City, proxy: Proxy, channel: str
) -> None:
    """All state and a hundred messages come: the same rows, and not a word is kept."""
    alice, space, (one, two) = await city.home("alice", 2)
    await asyncio.gather(*(alice.send(one, f"secret {n}") for n in range(60)))
    emptied = await city.bot.unlink(space, two)
    versions = proxy.at(VERSIONS, FAULTS["500"](), times=ANY)
    if channel == SLIDING:
        versions.end()
    met = proxy.at(channel, FAULTS["filter ignored"](), times=ANY)
    await city.once()
    await met.struck()
    versions.end()
    # It still ignores what it is asked for in this channel, and not in the others.
    await stays(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1),
            two: a_chat(alice, space, 2, "detached: unlinked", emptied),
        },
    )
    assert b"secret" not in city.path.read_bytes()
