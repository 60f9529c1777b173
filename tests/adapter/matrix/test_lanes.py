"""Work is done in order within a lane, at once across lanes, and all of it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.chat import NotPossible
from adapter.matrix.dispatcher import FAULTS, Dispatcher, Invite, Item
from adapter.matrix.errors import (
    Forbidden,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unreachable,
)
from adapter.matrix.faults import DatabaseDamaged, DatabaseFull, PlaceTaken
from adapter.matrix.lanes import Lanes
from adapter.matrix.traffic import Traffic

ROOMS = st.sampled_from(["!a", "!b", "!c"])
PUTS = st.lists(st.tuples(ROOMS, st.integers(0, 3), st.integers(0, 3)), max_size=20)
"""A room, how many turns of the loop the work takes, and how many pass before the next."""

MAKERS: list[Callable[[], Exception]] = [
    lambda: Unreachable("no answer"),
    lambda: RateLimited("too many", retry_after=61.0),
    lambda: ServerFault("it failed", status=500),
    lambda: DatabaseFull(Path("bot.db")),
    lambda: Forbidden("refused", status=403),
    lambda: NotPossible("never"),
    lambda: PlaceTaken(),
    lambda: LookupError("a bug"),
]
# New ones for each example: what is raised twice drags its old traces along.
ERRORS = st.sampled_from(MAKERS).map(lambda make: make())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@given(PUTS)
async def test_any_interleaving(puts: list[tuple[str, int, int]]) -> None:
    """Within a lane one thing is done at a time, in order; `empty` waits for all."""
    begun: dict[str, list[int]] = {}
    busy: set[str] = set()
    done: list[int] = []

    def work(room: str, number: int, cost: int) -> Callable[[], Awaitable[None]]:
        async def one() -> None:
            assert room not in busy
            busy.add(room)
            begun.setdefault(room, []).append(number)
            await turns(cost)
            busy.remove(room)
            done.append(number)

        return one

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        for number, (room, cost, pause) in enumerate(puts):
            lanes.put(room, work(room, number, cost))
            await turns(pause)
        await lanes.empty()
        assert sorted(done) == list(range(len(puts)))
    for room, numbers in begun.items():
        assert numbers == [n for n, put in enumerate(puts) if put[0] == room]


async def test_a_lane_that_stands_still() -> None:
    """It holds up its own work and no other's, and what is cancelled is not done."""
    done: list[str] = []
    blocked = asyncio.Event()

    def say(what: str) -> Callable[[], Awaitable[None]]:
        async def one() -> None:
            done.append(what)

        return one

    async def stand() -> None:
        await blocked.wait()

    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        lanes.put("!a", stand)
        lanes.put("!a", say("behind"))
        lanes.put("!b", say("beside"))
        await turns(3)
        assert done == ["beside"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await lanes.empty()
        lanes.cancel()
    assert done == ["beside"]


# --- every item is settled -------------------------------------------------------------


class Onboarding:
    """Fails at each invitation with what is due for it, and takes it then."""

    def __init__(self, due: list[list[Exception]]) -> None:
        self.due = [list(errors) for errors in due]
        self.busy: set[str] = set()
        self.begun: dict[str, list[int]] = {}

    async def invited(self, room_id: str, events: Sequence[dict[str, Any]]) -> None:
        number = events[0]["number"]
        numbers = self.begun.setdefault(room_id, [])
        if number not in numbers:
            numbers.append(number)
        assert room_id not in self.busy
        self.busy.add(room_id)
        await turns(1)
        self.busy.remove(room_id)
        if self.due[number]:
            raise self.due[number].pop(0)


class Mark:
    settled = 0

    def settle(self) -> None:
        self.settled += 1


class Server:
    """Answers what else is asked of it, if it `lives`."""

    def __init__(self, *, lives: bool) -> None:
        self.lives = lives

    async def joined_rooms(self) -> frozenset[str]:
        if not self.lives:
            what = "no answer"
            raise Unreachable(what)
        return frozenset()


def dispatcher(
    onboarding: Onboarding, slept: list[float], *, lives: bool = False
) -> Dispatcher:
    nothing: Any = None
    taking: Any = onboarding
    server: Any = Server(lives=lives)

    async def nap(seconds: float) -> None:
        slept.append(seconds)
        await turns(1)

    return Dispatcher(
        me="@bot:hs",
        allow=(),
        routing="owner",
        wire=server,
        store=nothing,
        follower=nothing,
        traffic=Traffic(),
        voice=nothing,
        conversation=nothing,
        commands=nothing,
        onboarding=taking,
        bootstrap=nothing,
        sleep=nap,
    )


def invites(rooms: Iterable[str]) -> list[Item]:
    return [Invite(room, [{"number": n}]) for n, room in enumerate(rooms)]


@given(
    st.lists(st.tuples(ROOMS, st.lists(ERRORS, max_size=6)), max_size=12),
    st.booleans(),
)
async def test_whatever_fails(
    given_: list[tuple[str, list[Exception]]], lives: bool
) -> None:
    """Each item of a batch is settled once, in order within its room, and calm returns."""
    onboarding = Onboarding([errors for _, errors in given_])
    one, mark = dispatcher(onboarding, [], lives=lives), Mark()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        one.dispatch(lanes, invites(room for room, _ in given_), mark)
        await lanes.empty()
    assert mark.settled == len(given_)
    for room, numbers in onboarding.begun.items():
        assert numbers == [n for n, (other, _) in enumerate(given_) if other == room]
    async with asyncio.timeout(1):
        await one.traffic.calm()


async def test_what_passes_is_waited_for() -> None:
    """A server that is away or sets a limit, however often, and as long as it asks."""
    wait = RateLimited("too many", retry_after=61.0)
    away: list[Exception] = [Unreachable("no answer"), ServerFault("no", status=502)]
    onboarding, slept, mark = Onboarding([away * 10 + [wait]]), list[float](), Mark()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        dispatcher(onboarding, slept).dispatch(lanes, invites(["!a"]), mark)
        await lanes.empty()
    assert onboarding.due == [[]]
    assert slept[-1] == 61.0
    assert mark.settled == 1


@pytest.mark.parametrize(
    "fault",
    [Unreachable("no answer"), ServerFault("it failed", status=500)],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_server_that_fails_at_one_item_alone(fault: Exception) -> None:
    """The item is tried a few times and settled as failed, however often it may wait for
    a limit meanwhile; what is behind it goes on."""
    limit = RateLimited("too many", retry_after=0.0)
    due: list[Exception] = [limit, fault, limit, *[fault] * FAULTS]
    onboarding, mark = Onboarding([due, []]), Mark()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        one = dispatcher(onboarding, [], lives=True)
        one.dispatch(lanes, invites(["!a", "!a"]), mark)
        await lanes.empty()
    assert onboarding.due == [due[-1:], []]
    assert mark.settled == 2


@pytest.mark.parametrize(
    "error",
    [Forbidden("refused", status=403), PlaceTaken(), LookupError("a bug")],
    ids=lambda error: type(error).__name__,
)
async def test_what_never_passes_is_not_tried_again(error: Exception) -> None:
    """It is settled as failed, and what is behind it goes on."""
    onboarding, slept, mark = Onboarding([[error] * 2, []]), list[float](), Mark()
    async with asyncio.TaskGroup() as group:
        lanes = Lanes(group)
        dispatcher(onboarding, slept).dispatch(lanes, invites(["!a", "!a"]), mark)
        await lanes.empty()
    assert onboarding.due == [[error], []]
    assert slept == []
    assert mark.settled == 2


@pytest.mark.parametrize(
    "fatal",
    [
        TokenRefused("refused", status=401, errcode="M_UNKNOWN_TOKEN"),
        DatabaseDamaged(Path("bot.db"), "malformed"),
    ],
    ids=lambda fatal: type(fatal).__name__,
)
async def test_what_only_a_person_or_a_restart_mends(fatal: Exception) -> None:
    """It ends everything, and the item is left to the next start."""
    onboarding, mark = Onboarding([[fatal]]), Mark()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            lanes = Lanes(group)
            dispatcher(onboarding, []).dispatch(lanes, invites(["!a", "!a"]), mark)

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.value.exceptions == (fatal,)
    assert mark.settled == 0
    assert onboarding.begun == {"!a": [0]}
