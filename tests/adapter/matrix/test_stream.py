"""What happens after the position is given out whole, in order and once, come what may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapter.cli.account import Account
from adapter.matrix.backlog import read_back
from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
    WrongToken,
)
from adapter.matrix.facts import EventTypes
from adapter.matrix.live import Batch, after_own_join, joined_now, topology_rooms
from adapter.matrix.stream import Stream
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import client_of

TYPES = EventTypes()

Json = dict[str, Any]


@dataclass
class Heard:
    """What a stream told of itself, and how long it waited."""

    flows: list[str | None] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    resets: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def streaming(self, error: WireError | None) -> None:
        self.flows.append(error.brief if error else None)

    async def backlog(self, room_id: str, why: str) -> None:
        self.left_out[room_id] = why

    async def reset(self, error: WireError) -> None:
        self.resets.append(error.brief)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def wire(bot: Account) -> AsyncIterator[Wire]:
    client = client_of(bot)
    try:
        yield Wire(client)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def heard() -> Heard:
    return Heard()


async def until(stream: Stream, enough: Callable[[list[Batch]], object]) -> list[Batch]:
    """The batches up to the first after which there are enough."""
    found: list[Batch] = []
    async with asyncio.timeout(60), aclosing(stream.batches()) as batches:
        async for batch in batches:
            found.append(batch)
            if enough(found):
                break
    return found


async def take(stream: Stream, number: int = 1) -> list[Batch]:
    return await until(stream, lambda found: len(found) == number)


def texts(batches: list[Batch], room: str, me: str = "") -> list[str]:
    """What was said in a room, as a reader of the stream has it."""
    return [
        event["content"]["body"]
        for batch in batches
        if room in batch.joined
        for event in after_own_join(batch.joined[room].timeline, me)
        if event["type"] == "m.room.message"
    ]


async def say(account: Account, room: str, number: int, word: str = "") -> list[str]:
    said = [f"{word}{n}" for n in range(number)]
    for text in said:
        await account.send(room, text)
    return said


async def room_of(bot: Account, *others: Account) -> str:
    room = await bot.create_room(invite=[other.user_id for other in others])
    for other in others:
        await other.join(room)
    return room


# On a real server


async def test_backlogs(
    bot: Account, person: Account, wire: Wire, heard: Heard
) -> None:
    """Backlogs that no answer holds arrive whole, in order, once; nothing older does."""
    some, more, quiet = [await room_of(bot, person) for _ in range(3)]
    for room in (some, more, quiet):
        await say(person, room, 3, "old ")
    stream = Stream(wire, bot.user_id, TYPES, await wire.live_token(), heard)
    said = await asyncio.gather(say(person, some, 105), say(person, more, 205))
    await bot.put_state(some, "m.room.name", {"name": "New"})
    one = await take(stream)
    assert [texts(one, room) for room in (some, more, quiet)] == [*said, []]
    assert topology_rooms(one[0], bot.user_id, TYPES) == {some, more}
    # The next gap begins exactly where this one ended.
    said = await asyncio.gather(say(person, some, 105, "b"), say(person, quiet, 1))
    two = await take(stream)
    assert [texts(two, room) for room in (some, more, quiet)] == [said[0], [], said[1]]
    assert not heard.left_out


async def test_too_much_to_read(
    bot: Account, person: Account, wire: Wire, heard: Heard
) -> None:
    """Of what is too much the newest is given out, and the rest is told."""
    room = await room_of(bot, person)
    since = await wire.live_token()
    said = await say(person, room, 150)
    for most, left_out in ((150, {}), (149, {room: "more than 149 events"})):
        stream = Stream(wire, bot.user_id, TYPES, since, heard, most_events=most)
        assert texts(await take(stream), room) == said[-most:]
        assert heard.left_out == left_out


async def test_a_join_in_a_gap(
    bot: Account, person: Account, wire: Wire, heard: Heard
) -> None:
    """What was said before the bot came is not heard, however much followed."""
    room = await person.create_room(invite=[bot.user_id])
    short = await person.create_room(invite=[bot.user_id])
    stream = Stream(wire, bot.user_id, TYPES, await wire.live_token(), heard)
    for place, number in ((room, 120), (short, 2)):
        await person.send(place, "!reset, said to somebody else")
        await bot.join(place)
        await say(person, place, number)
    found = await take(stream)
    for place, number in ((room, 120), (short, 2)):
        timeline = found[0].joined[place].timeline
        assert joined_now(timeline, bot.user_id)
        assert texts(found, place, bot.user_id) == [f"{n}" for n in range(number)]


async def test_a_return(
    bot: Account, person: Account, wire: Wire, heard: Heard
) -> None:
    """A room that was left and joined again repeats itself; it is not heard twice."""
    room = await room_of(person, bot)
    await person.send(room, "handled long ago")
    stream = Stream(wire, bot.user_id, TYPES, await wire.live_token(), heard)
    await person.kick(room, bot.user_id)
    await person.invite(room, bot.user_id)
    await bot.join(room)
    path = f"profile/{bot.user_id}/displayname"
    await bot.call("PUT", path, {"displayname": "Robot"})  # an own join event, too
    await person.send(room, "new")
    found = await until(stream, lambda found: "new" in texts(found, room))
    assert texts(found, room, bot.user_id) == ["new"]
    assert room in topology_rooms(found[0], bot.user_id, TYPES)


async def test_live(bot: Account, person: Account, wire: Wire, heard: Heard) -> None:
    """Words, state, redactions, invitations, account data and the end: all are heard."""
    me = bot.user_id
    room, other = await room_of(person, bot), await room_of(person, bot)
    stream = Stream(wire, me, TYPES, await wire.live_token(), heard)

    async with aclosing(stream.batches()) as batches, asyncio.timeout(60):
        assert await anext(batches) == Batch(stream.token)
        assert heard.flows == [None]

        event = await person.send(room, "hi")
        assert texts([await anext(batches)], room) == ["hi"]
        await person.put_state(room, "m.room.name", {"name": "New"})
        assert topology_rooms(await anext(batches), me, TYPES) == {room}
        await person.redact(room, event)
        assert topology_rooms(await anext(batches), me, TYPES) == {room}
        await person.kick(other, me)
        found = await anext(batches)
        assert found.left.keys() == topology_rooms(found, me, TYPES) == {other}
        asked = await person.create_room(invite=[me])
        [*_, last] = (await anext(batches)).invited[asked]
        assert (last["state_key"], last["content"]["membership"]) == (me, "invite")
        path = f"user/{me}/account_data/{TYPES.checkpoint}"
        await bot.call("PUT", path, {"v": 1})
        assert (await anext(batches)).checkpoint == {"v": 1}


async def test_a_position_that_the_server_does_not_know(
    bot: Account, person: Account, wire: Wire, heard: Heard
) -> None:
    """It is told, nothing old is heard, and all that is new is."""
    room = await room_of(bot, person)
    await person.send(room, "old")
    stream = Stream(wire, bot.user_id, TYPES, "garbage", heard, sleep=heard.sleep)
    async with aclosing(stream.batches()) as batches, asyncio.timeout(60):
        assert await anext(batches) == Batch(stream.token)
        assert heard.resets == ["400"]
        await person.send(room, "new")
        assert texts([await anext(batches)], room) == ["new"]
    assert heard.flows == ["400", None]


async def test_both_bounds_are_exact(bot: Account, person: Account, wire: Wire) -> None:
    """Positions of /sync bound what is read back to the event, also from a page on."""
    room = await room_of(bot, person)
    await say(person, room, 3, "before ")
    since = await wire.live_token()
    said = await say(person, room, 7)
    start = await wire.live_token()
    await say(person, room, 3, "after ")
    for most in (7, 6, 0):
        found = await read_back(wire, room, start=start, since=since, most=most)
        bodies = [event["content"]["body"] for event in found.events]
        assert (bodies, found.whole) == (said[7 - most :], most == 7)
    nothing = await read_back(wire, room, start=since, since=since, most=9)
    assert nothing == ((), True)


# Faults, which a real server does not show when asked to

ROOM, BAD = "!r:hs.test", "!bad:hs.test"
ME = "@bot:hs.test"

DOWN = Unreachable("down", brief="down")
BUSY = ServerFault("busy", status=503)
BROKEN = ServerFault("broken", status=500, errcode="M_UNKNOWN")
PROXY = NotAHomeserver("a page", status=403)
REFUSED = Unexpected("unknown position", status=400, errcode="M_UNKNOWN")
FORBIDDEN = Forbidden("no", status=403, errcode="M_FORBIDDEN")


def message(number: int) -> Json:
    return {
        "type": "m.room.message",
        "sender": "@alice:hs.test",
        "event_id": f"${number}",
        "content": {"msgtype": "m.text", "body": f"{number}"},
    }


def limited(*numbers: int) -> Json:
    events = [message(number) for number in numbers]
    return {"timeline": {"events": events, "limited": True, "prev_batch": "p"}}


class Scripted(Wire):
    """Answers /sync with a script, and /messages with a page or a fault for each room.

    The script has joined rooms, whole answers, or faults. Without a script left it says, as a server does, that nothing happens."""

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.pages: dict[str, list[object]] = {}
        self.dead: WireError | None = None
        self.asked: list[tuple[str, int]] = []
        self.read: list[tuple[str, str, str]] = []

    async def live_sync(self, since: str, sync_filter: Any, wait_ms: int) -> Json:
        self.asked.append((since, wait_ms))
        said = self.script.pop(0) if self.script else {}
        if isinstance(said, WireError):
            raise said
        assert isinstance(said, dict)
        if "next_batch" in said:
            return said
        return {"next_batch": f"s{len(self.asked)}", "rooms": {"join": said}}

    async def live_token(self) -> str:
        return "fresh"

    async def joined_rooms(self) -> frozenset[str]:
        if self.dead:
            raise self.dead
        return frozenset()

    async def messages(self, room_id: str, *, start: str, end: str, **_: Any) -> Json:
        self.read.append((room_id, start, end))
        pages = self.pages[room_id]
        said = pages.pop(0) if len(pages) > 1 else pages[0]
        if isinstance(said, WireError):
            raise said
        assert isinstance(said, dict)
        return said


def page(*numbers: int, end: str | None = None) -> Json:
    """A page has the newest first."""
    chunk = [message(number) for number in reversed(numbers)]
    return {"chunk": chunk} | ({"end": end} if end else {})


def stream_of(wire: Wire, heard: Heard, **more: Any) -> Stream:
    return Stream(
        wire, ME, TYPES, "s0", heard, sleep=heard.sleep, chance=lambda: 0.0, **more
    )


@pytest.mark.parametrize(
    "fault", [DOWN, BUSY, BROKEN, PROXY, NotFound("gone", status=404)]
)
async def test_a_failure_is_waited_out(heard: Heard, fault: WireError) -> None:
    """The same position is asked for again, later and later, until there is an answer."""
    wire = Scripted({}, *[fault] * 8, {ROOM: limited(1)}, fault, {})
    wire.pages[ROOM] = [page()]
    found = await take(stream_of(wire, heard), 3)
    assert heard.waits == [1, 2, 4, 8, 16, 32, 60, 60, 1]
    assert [since for since, _ in wire.asked] == ["s0", *["s1"] * 9, "s10", "s10"]
    assert texts(found, ROOM) == ["1"]
    assert heard.flows == [None, fault.brief, None, fault.brief, None]
    assert not heard.resets


async def test_what_piled_up_comes_at_once(heard: Heard) -> None:
    """The server may wait only when the stream is known to flow."""
    wire = Scripted({}, {}, DOWN, DOWN, {}, {})
    await take(stream_of(wire, heard, wait_ms=30_000), 4)
    assert [wait for _, wait in wire.asked] == [0, 30_000, 30_000, 0, 0, 30_000]


async def test_a_limit_is_waited_out(heard: Heard) -> None:
    """The server says how long."""
    await take(stream_of(Scripted(RateLimited("", retry_after=99), {}), heard))
    assert heard.waits == [99]


@pytest.mark.parametrize(
    "error",
    [TokenRefused("no", status=401, errcode="M_UNKNOWN_TOKEN"), WrongToken("no")],
)
async def test_a_token_that_is_no_good(heard: Heard, error: WireError) -> None:
    """Nothing gets better by asking again."""
    with pytest.raises(type(error)):
        await take(stream_of(Scripted(error), heard))
    wire = Scripted({ROOM: limited(1)})
    wire.pages[ROOM] = [error]
    with pytest.raises(type(error)):
        await take(stream_of(wire, heard))
    assert not heard.waits


async def test_an_answer_without_sense(heard: Heard) -> None:
    """An answer that cannot be read is asked for again."""
    wire = Scripted({"next_batch": "x", "rooms": 1}, {ROOM: limited(1)})
    wire.pages[ROOM] = [page()]
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["1"]
    assert heard.waits == [1]


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_slip_is_no_reason_to_give_a_position_up(
    heard: Heard, refusal: WireError, times: int
) -> None:
    """What was said meanwhile is heard, however often the server slips over the years."""
    slip = [refusal] * times
    wire = Scripted(*slip, {ROOM: limited(1)}, *slip, DOWN, {ROOM: limited(2)})
    wire.pages[ROOM] = [page()]
    assert texts(await take(stream_of(wire, heard), 2), ROOM) == ["1", "2"]
    assert heard.resets == []
    assert "fresh" not in [since for since, _ in wire.asked]


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN])
async def test_a_server_that_refused_everything_for_a_while(
    heard: Heard, refusal: WireError
) -> None:
    """When it is itself again, it is asked for the same position: nothing was lost."""
    wire = Scripted(*[refusal] * 3, {ROOM: limited(1)})
    wire.pages[ROOM] = [page()]
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["1"]
    assert heard.resets == []
    assert [since for since, _ in wire.asked] == ["s0"] * 4


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN])
async def test_a_position_is_given_up_once(heard: Heard, refusal: WireError) -> None:
    """Three refusals, and one when the server is known to answer, give it up; what refuses
    a fresh position, too, has another reason, and is waited out."""
    again = [refusal] * 4
    wire = Scripted(*again, refusal, DOWN, refusal, {}, *again, {})
    await take(stream_of(wire, heard), 2)
    assert heard.resets == [refusal.brief] * 2
    asked = [since for since, _ in wire.asked]
    assert asked == ["s0"] * 4 + ["fresh"] * 4 + ["s8"] * 4 + ["fresh"]
    assert heard.waits == [1, 2, 4, 8, 16, 1, 2]


async def test_no_half_batch(heard: Heard) -> None:
    """A batch is given out when its timelines are whole, and then only."""
    wire = Scripted({ROOM: limited(5, 6)})
    wire.pages[ROOM] = [page(3, 4, end="q"), DOWN, DOWN, page(3, 4, end="q"), page(2)]
    found = await take(stream_of(wire, heard))
    assert texts(found, ROOM) == ["2", "3", "4", "5", "6"]
    assert heard.waits == [1, 2]
    assert heard.flows == [None, "down", None]
    assert set(wire.read) == {(ROOM, "p", "s0"), (ROOM, "q", "s0")}


@pytest.mark.parametrize("refusal", [FORBIDDEN, NotFound("gone", status=404)])
async def test_a_backlog_that_is_refused(heard: Heard, refusal: WireError) -> None:
    """It is told, and what is there is given out."""
    wire = Scripted({ROOM: limited(5)})
    wire.pages[ROOM] = [refusal]
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["5"]
    assert heard.left_out == {ROOM: refusal.brief}
    assert not heard.waits


@pytest.mark.parametrize("fault", [BROKEN, DOWN, PROXY])
async def test_one_room_does_not_stop_all(heard: Heard, fault: WireError) -> None:
    """Where the server lives, a room that goes on to fail is left out in the end."""
    good = {f"!{n}:hs.test": limited(2) for n in range(20)}
    wire = Scripted({BAD: limited(2)} | good)
    wire.pages = {BAD: [fault], **{room: [page(1)] for room in good}}
    found = await take(stream_of(wire, heard))
    assert texts(found, BAD) == ["2"]
    assert all(texts(found, room) == ["1", "2"] for room in good)
    assert heard.left_out == {BAD: fault.brief}
    assert 60 < sum(heard.waits) < 600


async def test_a_dead_server_is_no_reason_to_leave_anything_out(heard: Heard) -> None:
    """A backlog is waited for as long as nothing else is answered either."""
    wire = Scripted({ROOM: limited(2)})
    wire.pages[ROOM] = [*[DOWN] * 50, page(1)]
    wire.dead = DOWN
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["1", "2"]
    assert not heard.left_out


async def test_a_section_that_cannot_be_read(heard: Heard) -> None:
    """What it may have said is read from the end of the batch back."""
    wire = Scripted({ROOM: {"timeline": []}})
    wire.pages[ROOM] = [page(1, 2)]
    found = await take(stream_of(wire, heard))
    assert texts(found, ROOM) == ["1", "2"]
    assert wire.read == [(ROOM, "s1", "s0")]
    assert topology_rooms(found[0], ME, TYPES) == {ROOM}


async def test_a_timeline_without_a_beginning(heard: Heard) -> None:
    """What is read back a second time is given out once."""
    section = limited(2, 3)
    del section["timeline"]["prev_batch"]
    wire = Scripted({ROOM: section})
    wire.pages[ROOM] = [page(1, 2, 3)]
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["1", "2", "3"]


async def test_pages_without_end(heard: Heard) -> None:
    """A server that always has another page is left at some time."""
    wire = Scripted({ROOM: limited(2)})
    wire.pages[ROOM] = [page(end=f"q{n}") for n in range(500)]
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["2"]
    assert ROOM in heard.left_out
    wire = Scripted({ROOM: limited(2)})
    wire.pages[ROOM] = [page(1, end="p")]  # the page that was asked for
    assert texts(await take(stream_of(wire, heard)), ROOM) == ["1", "2"]
