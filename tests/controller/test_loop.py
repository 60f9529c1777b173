"""The loop, in a harbour whose clock only the test winds."""

# ruff: noqa: N818 - the errors say what happened

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.conditions import Condition, following
from controller.current import current_pass
from controller.loop import Loop, asked, delay, period

Keys = frozenset[str] | None
Deed = Callable[[], Awaitable[object]]

EVERYTHING: Keys = None


def only(*names: str) -> Keys:
    return frozenset(names)


GULL = only("gull")
HOUR = 3600.0


class Busy(Exception):
    """The harbour master is busy, and may say for how long."""

    def __init__(self, retry_after: object = None) -> None:
        super().__init__("come back later")
        if retry_after is not None:
            self.retry_after = retry_after


class Sunk(Exception):
    """There is no harbour any more."""


class Mutiny(BaseException):
    """Nothing that a loop could deal with."""


async def settle() -> None:
    """Let everything run that waits for nothing but its turn."""
    for _ in range(40):
        await asyncio.sleep(0)


class Bell:
    """A timer: it rings once, unless it was called off."""

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback
        self.off = False

    def cancel(self) -> None:
        self.off = True


class Harbour:
    """Everything that a loop meets. Passes succeed at once unless told otherwise."""

    def __init__(self, **settings: Any) -> None:
        self.hour = 0.0
        self.wall = 1_000.0
        self.chance = 0.5
        self.bells: list[Bell] = []
        self.waits: list[float] = []
        self.passes: list[Keys] = []
        self.deeds: deque[Deed] = deque()
        self.at_once = self.most_at_once = 0
        self.reports: list[list[Condition]] = []
        self.tell: Deed | None = None
        self.loop: Loop[str] = Loop(
            self.reconcile,
            self.report,
            later=self.later,
            now=lambda: self.wall,
            chance=lambda: self.chance,
            **settings,
        )

    # What the loop is given

    def later(self, seconds: float, callback: Callable[[], object]) -> Bell:
        self.waits.append(seconds)
        bell = Bell(self.hour + seconds, callback)
        self.bells.append(bell)
        return bell

    async def reconcile(self, keys: Keys) -> None:
        self.passes.append(keys)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.deeds:
                await self.deeds.popleft()()
        finally:
            self.at_once -= 1

    async def report(self, conditions: Sequence[Condition]) -> None:
        if self.tell:
            await self.tell()
        self.reports.append(list(conditions))

    # What a test does

    def fails(self, *errors: BaseException) -> None:
        """The next passes raise these."""
        for error in errors:
            self.does(raising(error))

    def does(self, deed: Deed) -> None:
        """The next pass does this."""
        self.deeds.append(deed)

    def holds(self) -> asyncio.Future[None]:
        """The next pass ends when and how the test says."""
        gate = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await gate

        self.does(wait)
        return gate

    @property
    def due(self) -> list[float]:
        """The seconds until each bell that will ring."""
        return sorted(bell.at - self.hour for bell in self.bells if not bell.off)

    async def elapse(self, seconds: float) -> None:
        """Let so much time go by, and ring what is due meanwhile, in order."""
        await settle()
        until = self.hour + seconds
        while self.due and self.hour + self.due[0] <= until:
            bell = min((b for b in self.bells if not b.off), key=lambda bell: bell.at)
            self.hour = max(self.hour, bell.at)
            self.bells.remove(bell)
            bell.callback()
            await settle()
        self.hour = until

    @contextlib.asynccontextmanager
    async def open(self, *, start: bool = True) -> AsyncIterator[asyncio.Task[None]]:
        """Run the loop meanwhile. In the end it is still there, and can be cancelled."""
        if start:
            await ended(asyncio.create_task(self.loop.start()))
        task = asyncio.create_task(self.loop.run())
        await settle()
        try:
            yield task
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        assert not self.due
        assert self.most_at_once == 1

    def said(self, kind: str) -> list[Condition]:
        """All that was said of one type, in order."""
        return [one for report in self.reports for one in report if one.type == kind]


def raising(error: BaseException) -> Deed:
    async def deed() -> None:
        raise error

    return deed


async def ended(task: asyncio.Task[None]) -> None:
    """Its end, good or bad; a test waits no longer than for things to settle."""
    await settle()
    assert task.done()
    await task


async def nothing_left(before: set[asyncio.Task[Any]]) -> None:
    """No task is there that was not there `before`."""
    await settle()
    assert asyncio.all_tasks() == before


# Waits


shares = st.floats(0, 1)
attempts = st.integers(1, 10) | st.integers(1, 10**9)
caps = st.floats(1, 1e6)


@given(attempts, shares, caps)
def test_no_delay_is_over_the_cap_or_under_its_half(
    attempt: int, jitter: float, most: float
) -> None:
    """However many attempts there were, and however chance falls."""
    whole = delay(attempt, 0, most=most)
    assert whole / 2 <= delay(attempt, jitter, most=most) <= whole <= most


@given(attempts, attempts, shares, caps)
def test_delays_grow(one: int, other: int, jitter: float, most: float) -> None:
    """With equal luck no later attempt comes sooner."""
    early, late = sorted((one, other))
    assert delay(early, jitter, most=most) <= delay(late, jitter, most=most)


@given(st.integers(1, 60), shares, shares)
def test_below_the_cap_luck_does_not_overtake(
    attempt: int, luck: float, bad_luck: float
) -> None:
    """The shortest wait is no shorter than the longest of the attempt before."""
    most = 2.0**80
    early = delay(attempt, bad_luck, most=most)
    assert early <= delay(attempt + 1, luck, most=most)


def test_delays_double_from_the_first() -> None:
    """A second, two, four; 5 minutes at most."""
    waits = [delay(attempt, 0) for attempt in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert delay(3, 0, first=0.5) == 2
    assert delay(3, 1) == 2


@given(st.floats(0, 1e6), shares, shares)
def test_the_timer_comes_earlier_or_later_by_its_jitter(
    interval: float, jitter: float, chance: float
) -> None:
    """By no more than that share, to both sides."""
    least, most = interval * (1 - jitter), interval * (1 + jitter)
    found = period(interval, jitter, chance)
    assert least <= found <= most or math.isclose(found, least) or found == most
    assert period(interval, jitter, 0.5) == interval
    assert period(interval, jitter, 1) == most


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ValueError(), 0),
        (asyncio.CancelledError(), 0),
        (Busy(7), 7),
        (Busy(0.5), 0.5),
        (Busy(-7), 0),
        (Busy("soon"), 0),
        (Busy(math.inf), 0),
        (Busy(math.nan), 0),
    ],
    ids=lambda value: repr(vars(value)) if isinstance(value, Busy) else repr(value),
)
def test_an_error_may_ask_for_time(error: BaseException, seconds: float) -> None:
    """What is no number of seconds asks for nothing: it could mean for ever."""
    assert asked(error) == seconds


def test_defaults() -> None:
    """They are what the documentation says."""
    loop: Loop[str] = Loop(Harbour().reconcile, Harbour().report)
    assert (loop.interval, loop.jitter, loop.debounce, loop.most) == (
        300,
        0.1,
        0.5,
        300,
    )
    assert (loop.fatal, loop.expected) == ((), ())


# The start


async def test_the_start_waits_for_its_pass() -> None:
    """It is over everything, and nothing else goes on before it has succeeded."""
    harbour = Harbour()
    gate = harbour.holds()
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(HOUR)
    assert harbour.passes == [EVERYTHING]
    assert not start.done()
    gate.set_result(None)
    await ended(start)
    assert harbour.passes == [EVERYTHING]


async def test_the_start_tries_until_it_succeeds() -> None:
    """With growing waits in between, and over everything each time."""
    harbour = Harbour()
    harbour.chance = 0
    harbour.fails(*(Busy() for _ in range(11)))
    start = asyncio.create_task(harbour.loop.start())
    await settle()
    for failed, wait in enumerate([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300], 1):
        assert (len(harbour.passes), harbour.due) == (failed, [wait])
        assert not start.done()
        await harbour.elapse(wait)
    await ended(start)
    assert harbour.passes == [EVERYTHING] * 12


async def test_a_hopeless_start_raises() -> None:
    """It tries no more, and leaves nothing behind."""
    harbour = Harbour(fatal=(Sunk,))
    sunk = Sunk("gone")
    harbour.fails(Busy(), sunk)
    before = asyncio.all_tasks()
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(HOUR)
    with pytest.raises(Sunk) as caught:
        await ended(start)
    assert caught.value is sunk
    assert harbour.passes == [EVERYTHING] * 2
    assert not harbour.due
    await nothing_left(before)


async def test_what_was_nudged_before_the_start_is_part_of_it() -> None:
    """It makes no pass of its own."""
    harbour = Harbour()
    harbour.loop.nudge("gull")
    async with harbour.open():
        await harbour.elapse(60)
        assert harbour.passes == [EVERYTHING]


async def test_without_a_start_the_first_pass_is_over_everything() -> None:
    """Though only one key was nudged."""
    harbour = Harbour()
    harbour.loop.nudge("gull")
    async with harbour.open(start=False):
        await harbour.elapse(60)
        assert harbour.passes == [EVERYTHING]


async def test_the_start_can_be_cancelled() -> None:
    """While it waits, too; another start begins anew."""
    harbour = Harbour()
    harbour.fails(Busy())
    start = asyncio.create_task(harbour.loop.start())
    await settle()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended(start)
    assert not harbour.due
    await harbour.loop.start()
    assert harbour.passes == [EVERYTHING] * 2


# The timer


async def test_the_timer_asks_for_everything_again_and_again() -> None:
    """The first time an interval after the start."""
    harbour = Harbour(interval=100, debounce=1)
    async with harbour.open():
        await harbour.elapse(99)
        assert harbour.passes == [EVERYTHING]
        await harbour.elapse(2)
        assert harbour.passes == [EVERYTHING] * 2
        await harbour.elapse(10 * 101)
        assert harbour.passes == [EVERYTHING] * 12


@pytest.mark.parametrize(("chance", "wait"), [(0, 80), (0.5, 100), (1, 120)])
async def test_the_timer_has_jitter(chance: float, wait: float) -> None:
    """Chance moves it to both sides."""
    harbour = Harbour(interval=100, jitter=0.2)
    harbour.chance = chance
    async with harbour.open():
        assert harbour.due == [pytest.approx(wait)]


async def test_passes_over_keys_do_not_put_off_the_timer() -> None:
    """However busy the harbour is, everything is looked at in time."""
    harbour = Harbour(interval=100, debounce=1)
    async with harbour.open():
        for _ in range(102):
            harbour.loop.nudge("gull")
            await harbour.elapse(1)
        assert harbour.passes.count(EVERYTHING) == 2
        assert harbour.passes.count(GULL) > 90


async def test_a_pass_over_everything_starts_the_timer_anew() -> None:
    """Whoever asked for it."""
    harbour = Harbour(interval=100, debounce=1)
    async with harbour.open():
        await harbour.elapse(60)
        harbour.loop.nudge()
        await harbour.elapse(1)
        assert harbour.passes == [EVERYTHING] * 2
        assert harbour.due == [100]


async def test_long_passes_do_not_pile_up() -> None:
    """After one that was longer than the interval, there is a whole interval of rest."""
    harbour = Harbour(interval=100, debounce=1)
    async with harbour.open():
        gate = harbour.holds()
        await harbour.elapse(100 + 1 + 1000)
        assert len(harbour.passes) == 2
        gate.set_result(None)
        await harbour.elapse(99)
        assert len(harbour.passes) == 2
        await harbour.elapse(2)
        assert len(harbour.passes) == 3


async def test_the_timer_may_ring_during_a_pass_over_keys() -> None:
    """Then everything is looked at after it, once."""
    harbour = Harbour(interval=100, debounce=1)
    async with harbour.open():
        gate = harbour.holds()
        harbour.loop.nudge("gull")
        await harbour.elapse(150)
        gate.set_result(None)
        await harbour.elapse(50)
        assert harbour.passes[1:] == [GULL, EVERYTHING]


@pytest.mark.parametrize("jump", [-1e9, -1.0, 1.0, 1e9])
async def test_the_time_of_day_may_jump(jump: float) -> None:
    """Nobody waits longer or shorter for it."""
    harbour, steady = Harbour(), Harbour()
    async with harbour.open(), steady.open():
        for _ in range(3):
            harbour.wall += jump
            for one in (harbour, steady):
                one.fails(Busy())
                one.loop.nudge("gull")
                await one.elapse(HOUR)
        assert harbour.waits == steady.waits
        assert harbour.passes == steady.passes


# Nudges


async def test_nudges_collapse() -> None:
    """All within the window are one pass over their keys."""
    harbour = Harbour(debounce=2)
    async with harbour.open():
        for name in ("gull", "tern", "gull"):
            harbour.loop.nudge(name)
            await harbour.elapse(0.6)
        assert harbour.passes == [EVERYTHING]
        await harbour.elapse(1)
        assert harbour.passes == [EVERYTHING, only("gull", "tern")]
        assert isinstance(harbour.passes[1], frozenset)
        await harbour.elapse(60)
        assert len(harbour.passes) == 2


async def test_a_steady_stream_of_nudges_does_not_put_off_their_pass() -> None:
    """The window begins with the first of them, and its end is fixed."""
    harbour = Harbour(debounce=2)
    async with harbour.open():
        for number in range(8):
            harbour.loop.nudge(str(number))
            await harbour.elapse(0.5)
        assert harbour.passes[1:] == [only(*"0123"), only(*"4567")]


async def test_a_nudge_for_everything_swallows_the_others() -> None:
    """Those before it, and those after it."""
    harbour = Harbour()
    async with harbour.open():
        for key in ("gull", None, "tern"):
            harbour.loop.nudge(key)
        await harbour.elapse(60)
        assert harbour.passes == [EVERYTHING] * 2


async def test_nudges_during_the_start_make_one_pass_after_it() -> None:
    """Only one, and only over what was nudged."""
    harbour = Harbour()
    gate = harbour.holds()
    start = asyncio.create_task(harbour.loop.start())
    await settle()
    harbour.loop.nudge("gull")
    harbour.loop.nudge("tern")
    gate.set_result(None)
    await ended(start)
    async with harbour.open(start=False):
        await harbour.elapse(60)
        assert harbour.passes == [EVERYTHING, only("gull", "tern")]


@pytest.mark.parametrize("key", ["gull", None])
async def test_nudges_during_a_pass_make_one_more_after_it(key: str | None) -> None:
    """Also for a key that the pass is looking at: it may have looked already."""
    harbour = Harbour()
    async with harbour.open():
        gate = harbour.holds()
        harbour.loop.nudge(key)
        await harbour.elapse(1)
        harbour.loop.nudge("gull")
        harbour.loop.nudge("tern")
        await harbour.elapse(60)
        assert len(harbour.passes) == 2
        gate.set_result(None)
        await harbour.elapse(60)
        assert harbour.passes[2:] == [only("gull", "tern")]


async def test_a_pass_may_nudge() -> None:
    """For what it left: the next pass has it."""
    harbour = Harbour()

    async def leaves_something() -> None:
        harbour.loop.nudge("tern")

    async with harbour.open():
        harbour.does(leaves_something)
        harbour.loop.nudge("gull")
        await harbour.elapse(60)
        assert harbour.passes[1:] == [GULL, only("tern")]


async def test_a_failed_pass_comes_again_with_what_was_nudged_since() -> None:
    """During the pass, and while the loop waits: nothing is forgotten or made sooner."""
    harbour = Harbour(debounce=0)
    async with harbour.open():
        gate = harbour.holds()
        harbour.loop.nudge("gull")
        await harbour.elapse(0)
        harbour.loop.nudge("tern")
        gate.set_exception(Busy(30))
        await harbour.elapse(29)
        harbour.loop.nudge("skua")
        await settle()
        assert harbour.passes[1:] == [GULL]
        await harbour.elapse(1)
        assert harbour.passes[1:] == [GULL, only("gull", "tern", "skua")]
        await harbour.elapse(60)
        assert len(harbour.passes) == 3


async def test_a_failed_pass_over_everything_stays_one() -> None:
    """A key nudged since does not narrow it."""
    harbour = Harbour()
    async with harbour.open():
        harbour.fails(Busy())
        harbour.loop.nudge()
        await harbour.elapse(0.5)
        harbour.loop.nudge("gull")
        await harbour.elapse(60)
        assert harbour.passes[1:] == [EVERYTHING] * 2


# Failures


async def test_success_resets_the_waits() -> None:
    """The next failure is waited for as if it were the first."""
    harbour = Harbour(debounce=0)
    harbour.chance = 0
    async with harbour.open():
        for _ in range(2):
            harbour.fails(Busy(), Busy(), Busy())
            harbour.waits.clear()
            harbour.loop.nudge("gull")
            await harbour.elapse(20)
            assert harbour.waits == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("chance", "waits"), [(0, [1, 2, 3, 3, 3]), (1, [0.5, 1, 1.5, 1.5, 1.5])]
)
async def test_the_longest_wait_is_a_setting(chance: float, waits: list[float]) -> None:
    """And chance makes each a little shorter, so that not all come at once."""
    harbour = Harbour(most=3)
    harbour.chance = chance
    harbour.fails(*(Busy() for _ in range(5)))
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(60)
    await ended(start)
    assert harbour.waits[:5] == waits


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(0.1, 1), (20, 20), (1000, 1000), (math.inf, 1)]
)
async def test_what_asks_for_time_gets_it(retry_after: float, wait: float) -> None:
    """More than the longest wait, too; never less than without asking."""
    harbour = Harbour(debounce=0)
    harbour.chance = 0
    async with harbour.open():
        harbour.fails(Busy(retry_after))
        harbour.loop.nudge("gull")
        await harbour.elapse(0)
        assert harbour.waits[-1] == wait
        await harbour.elapse(wait)
        assert harbour.passes[1:3] == [GULL, GULL if wait < 300 else EVERYTHING]


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()


async def cancels_itself_and_waits() -> None:
    await cancels_itself()
    await asyncio.Event().wait()


async def has_a_part_cancelled() -> None:
    part = asyncio.create_task(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(part.cancel)
    await part


async def fails_in_parts() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raising(Busy())())  # type: ignore[arg-type]


DISASTERS: dict[str, Deed] = {
    "an error": raising(RuntimeError("storm")),
    "no time": raising(TimeoutError()),
    "no memory": raising(MemoryError()),
    "no more": raising(StopAsyncIteration()),
    "cancelled": raising(asyncio.CancelledError()),
    "cancels itself": cancels_itself_and_waits,
    "a part cancelled": has_a_part_cancelled,
    "fails in parts": fails_in_parts,
}
disasters = pytest.mark.parametrize("disaster", DISASTERS.values(), ids=DISASTERS)


@disasters
async def test_no_failed_pass_ends_the_loop(disaster: Deed) -> None:
    """At the start, from the timer or nudged: it comes again, and then all is well."""
    harbour = Harbour()
    before = asyncio.all_tasks()
    harbour.does(disaster)
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(10)
    await ended(start)
    async with harbour.open(start=False):
        harbour.does(disaster)
        harbour.loop.nudge("gull")
        await harbour.elapse(10)
        harbour.does(disaster)
        await harbour.elapse(320)
    assert harbour.passes == [EVERYTHING] * 2 + [GULL] * 2 + [EVERYTHING] * 2
    assert [one.status for one in harbour.said("Healthy")] == ["False", "True"] * 3
    await nothing_left(before)


async def test_a_pass_that_cancels_itself_too_late_harms_nobody() -> None:
    """It has ended well, and its cancellation does not reach the loop."""
    harbour = Harbour()
    async with harbour.open():
        harbour.does(cancels_itself)
        harbour.loop.nudge("gull")
        await harbour.elapse(60)
        assert harbour.said("Healthy")[-1].status == "True"


async def test_a_hopeless_pass_ends_the_loop() -> None:
    """At any time: what it raised is raised, and nothing is left."""
    harbour = Harbour(fatal=(ZeroDivisionError, Sunk))
    before = asyncio.all_tasks()
    await harbour.loop.start()
    run = asyncio.create_task(harbour.loop.run())
    harbour.fails(Busy(), Sunk("gone"))
    harbour.loop.nudge("gull")
    await harbour.elapse(HOUR)
    with pytest.raises(Sunk, match="gone"):
        await ended(run)
    assert harbour.passes == [EVERYTHING, GULL, GULL]
    assert not harbour.due
    await nothing_left(before)


async def test_what_is_no_exception_is_nobodys_to_catch() -> None:
    """It ends the loop, and goes on up."""
    harbour = Harbour()
    harbour.fails(Mutiny())
    with pytest.raises(Mutiny):
        await ended(asyncio.create_task(harbour.loop.start()))


# The end


@pytest.mark.parametrize(
    "moment", ["idle", "debounce", "backoff", "pass", "report before", "report after"]
)
async def test_it_ends_when_it_is_cancelled(moment: str) -> None:
    """Whatever it is at: with no task and no timer left."""
    harbour = Harbour(debounce=1)
    before = asyncio.all_tasks()
    await harbour.loop.start()
    run = asyncio.create_task(harbour.loop.run())

    async def stops_talking() -> None:
        harbour.tell = asyncio.Event().wait

    match moment:
        case "backoff":
            harbour.fails(Busy())
        case "pass":
            harbour.holds()
        case "report before":
            await stops_talking()
        case "report after":
            harbour.does(stops_talking)
        case _:
            pass
    if moment != "idle":
        harbour.loop.nudge("gull")
    await harbour.elapse(0 if moment == "debounce" else 1)
    run.cancel()
    await settle()
    if moment.startswith("report"):
        assert not run.done()  # the last report is waited for
        run.cancel()
        await settle()
    assert run.cancelled()
    assert not harbour.due
    assert harbour.at_once == 0
    await nothing_left(before)


async def test_it_waits_for_its_pass_to_end() -> None:
    """A cancelled pass may take its time to tidy up, however often one asks."""
    harbour = Harbour()
    tidy = asyncio.Event()

    async def tidies_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            while not tidy.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await tidy.wait()

    await harbour.loop.start()
    run = asyncio.create_task(harbour.loop.run())
    harbour.does(tidies_up)
    harbour.loop.nudge("gull")
    await harbour.elapse(1)
    try:
        for _ in range(3):
            run.cancel()
            await settle()
            assert not run.done()
            assert harbour.at_once == 1
    finally:
        tidy.set()
    with pytest.raises(asyncio.CancelledError):
        await ended(run)
    assert harbour.at_once == 0


@pytest.mark.parametrize("error", [None, Busy(), Sunk()], ids=repr)
async def test_a_pass_cannot_swallow_the_end(error: Exception | None) -> None:
    """It ended well, or badly, instead of being cancelled: the loop ends all the same."""
    harbour = Harbour(fatal=(Sunk,))

    async def swallows() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if error:
                raise error from None

    await harbour.loop.start()
    run = asyncio.create_task(harbour.loop.run())
    harbour.does(swallows)
    harbour.loop.nudge("gull")
    await harbour.elapse(1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended(run)
    assert not harbour.due


async def test_a_time_limit_may_end_it() -> None:
    """`asyncio.timeout` sees its own cancellation, as around anything else."""
    harbour = Harbour()
    harbour.holds()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await harbour.loop.start()
    harbour.deeds.clear()
    await harbour.loop.start()


async def test_it_can_be_run_again() -> None:
    """It begins with everything: what it was at when it ended is not known."""
    harbour = Harbour()
    async with harbour.open():
        harbour.holds()
        harbour.loop.nudge("gull")
        await harbour.elapse(1)
    async with harbour.open(start=False):
        await harbour.elapse(60)
        assert harbour.passes == [EVERYTHING, GULL, EVERYTHING]


async def test_it_runs_only_once_at_a_time() -> None:
    """A second runner is refused, and the first does not notice."""
    harbour = Harbour()
    async with harbour.open():
        for again in (harbour.loop.run, harbour.loop.start):
            with pytest.raises(RuntimeError, match="running already"):
                await ended(asyncio.create_task(again()))
        harbour.loop.nudge("gull")
        await harbour.elapse(301)
        assert harbour.passes == [EVERYTHING, GULL, EVERYTHING]
        assert "Stopped" not in {one.reason for one in harbour.said("Reconciling")}


# What it says


def short(conditions: Sequence[Condition]) -> list[str]:
    return [f"{one.type} {one.status} {one.reason}" for one in conditions]


async def test_it_says_what_it_is_at() -> None:
    """Before and after each pass, and in the end."""
    harbour = Harbour(debounce=0)
    harbour.fails(Busy(7))
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(7)
    await ended(start)
    async with harbour.open(start=False):
        harbour.loop.nudge("gull")
        await harbour.elapse(0)
    assert [short(report) for report in harbour.reports] == [
        ["Reconciling True Everything"],
        ["Healthy False Busy", "Reconciling False BackingOff"],
        ["Reconciling True Everything"],
        ["Healthy True Succeeded", "Reconciling False Waiting"],
        ["Reconciling True Nudged"],
        ["Healthy True Succeeded", "Reconciling False Waiting"],
        ["Reconciling False Stopped"],
    ]
    health, rest = harbour.reports[1]
    assert health.message == "come back later"
    assert rest.message == "7 s, after 1 failed in a row"
    assert "(1)" in harbour.reports[4][0].message


async def test_it_says_why_there_is_no_hope() -> None:
    """And that it stopped; an error without words is called by its name."""
    harbour = Harbour(fatal=(Sunk,))
    harbour.fails(Sunk())
    with pytest.raises(Sunk):
        await harbour.loop.start()
    assert [short(report) for report in harbour.reports[1:]] == [
        ["Healthy False Sunk"],
        ["Reconciling False Stopped"],
    ]
    assert harbour.said("Healthy")[0].message == "Sunk"


async def test_a_condition_knows_when_its_status_changed() -> None:
    """Another reason or message does not move it."""
    harbour = Harbour()
    errors = [None, None, Busy(), ValueError("storm"), None, Busy()]

    async def next_day() -> None:
        harbour.wall += 1
        if error := errors.pop(0):
            raise error

    harbour.deeds = deque([next_day] * len(errors))
    async with harbour.open():
        for _ in range(4):
            harbour.loop.nudge("gull")
            await harbour.elapse(10)
    said = [(one.reason, one.changed_at) for one in harbour.said("Healthy")]
    assert said[:6] == [
        ("Succeeded", 1_001_000),
        ("Succeeded", 1_001_000),
        ("Busy", 1_003_000),
        ("ValueError", 1_003_000),
        ("Succeeded", 1_005_000),
        ("Busy", 1_006_000),
    ]


@pytest.mark.parametrize(
    ("old", "changed_at"),
    [
        (None, 9),
        (Condition("Healthy", "True", "Fine", "all is well", 1), 1),
        (Condition("Healthy", "False", "Busy", "come back later", 1), 9),
        (Condition("Healthy", "Unknown", "New", "nobody looked", 1), 9),
    ],
)
def test_only_another_status_is_a_change(
    old: Condition | None, changed_at: int
) -> None:
    """All else is as it is said now."""
    new = Condition("Healthy", "True", "Succeeded", "as before", 9)
    assert following(old, new) == new._replace(changed_at=changed_at)


@disasters
async def test_a_report_that_fails_does_not_end_the_loop(
    disaster: Deed, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and once reports work again they say what holds."""
    harbour = Harbour()
    harbour.tell = disaster
    async with harbour.open():
        harbour.wall += 60
        await harbour.elapse(301)
        assert harbour.passes == [EVERYTHING] * 2
        assert not harbour.reports
        assert "conditions not reported" in caplog.messages
        harbour.tell = None
        harbour.loop.nudge("gull")
        await harbour.elapse(1)
        assert harbour.said("Healthy")[-1].changed_at == 1_000_000


async def test_a_report_that_cannot_even_be_called() -> None:
    """That is no better and no worse than one that fails."""
    harbour = Harbour()
    harbour.loop.report = None  # type: ignore[assignment]
    async with harbour.open():
        await harbour.elapse(301)
        assert harbour.passes == [EVERYTHING] * 2


async def test_each_pass_has_a_number() -> None:
    """For whatever it calls, its tasks included; outside there is none."""
    harbour = Harbour()
    numbers: list[int] = []

    async def notes() -> None:
        numbers.append(current_pass.get())

    async def notes_in_a_task() -> None:
        await asyncio.create_task(notes())
        raise Busy

    for deed in (notes, notes_in_a_task, notes):
        harbour.does(deed)
    async with harbour.open():
        harbour.loop.nudge("gull")
        await harbour.elapse(60)
        assert current_pass.get() == 0
    assert numbers == [1, 2, 3]


async def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the pass and the wait; with a traceback unless they were expected."""
    harbour = Harbour(expected=(Busy,))
    harbour.fails(Busy(60), KeyError("gull"))
    start = asyncio.create_task(harbour.loop.start())
    await harbour.elapse(HOUR)
    await ended(start)
    busy, bug = [r for r in caplog.records if r.name == "controller.loop"]
    assert busy.levelno == bug.levelno == logging.WARNING
    assert busy.getMessage() == bug.getMessage() == "pass failed"
    assert vars(busy)["error"] == "come back later"
    assert (vars(busy)["pass"], vars(bug)["pass"]) == (1, 2)
    assert vars(busy)["wait"] == 60
    assert not busy.exc_info
    assert bug.exc_info
    assert "in deed" in "".join(traceback.format_exception(*bug.exc_info))


# Any order


class Story(Harbour):
    """A harbour where each pass lasts until it is ended, and nothing is forgotten."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.nudged: list[tuple[int, str | None]] = []
        self.good: list[int] = []
        self.gate: asyncio.Future[None] | None = None

    async def reconcile(self, keys: Keys) -> None:
        number = len(self.passes)
        self.deeds.clear()
        self.gate = self.holds()
        await super().reconcile(keys)
        self.good.append(number)

    async def nudge(self, key: str | None) -> None:
        """Note which pass is the first that began later."""
        self.nudged.append((len(self.passes), key))
        self.loop.nudge(key)

    async def end(self, error: BaseException | None) -> None:
        if self.gate and not self.gate.done():
            match error:
                case None:
                    self.gate.set_result(None)
                case asyncio.CancelledError():
                    self.gate.cancel()
                case _:
                    self.gate.set_exception(error)
        await settle()

    def served(self, since: int, key: str | None) -> bool:
        """Whether a pass that began `since` then had the key, and succeeded."""
        good = [self.passes[number] for number in self.good if number >= since]
        return any(keys is None or key in keys for keys in good)


endings = st.sampled_from(
    [None, Busy(), Busy(1000), ValueError(), asyncio.CancelledError()]
)
actions = st.one_of(
    st.tuples(st.just(Story.nudge), st.sampled_from(["gull", "tern", "skua", None])),
    st.tuples(st.just(Story.elapse), st.sampled_from([0.0, 0.3, 1.0, 40.0, 400.0])),
    st.tuples(st.just(Story.end), endings),
)


@given(st.lists(actions, max_size=25))
async def test_no_nudge_is_lost_in_any_order(story: list[tuple[Any, Any]]) -> None:
    """Each gets a pass that began later and succeeded; there is never one beside it.

    After all that the timer still runs, and the loop ends only when cancelled."""
    harbour = Story()
    start = asyncio.create_task(harbour.loop.start())
    while not start.done():
        await harbour.elapse(1000)
        action, value = story.pop(0) if story else (Story.end, None)
        await action(harbour, value)
    async with harbour.open(start=False):
        for action, value in story:
            await action(harbour, value)
        for _ in range(4):
            await harbour.elapse(1000)
            await harbour.end(None)
        assert all(harbour.served(since, key) for since, key in harbour.nudged)
        harbour.nudged.append((len(harbour.passes), None))
        await harbour.elapse(331)
        await harbour.end(None)
        assert harbour.served(*harbour.nudged[-1])


@given(st.lists(actions, max_size=15))
async def test_only_hopelessness_ends_it_by_itself(
    story: list[tuple[Any, Any]],
) -> None:
    """Whatever happened before, and at once."""
    harbour = Story(fatal=(Sunk,))
    start = asyncio.create_task(harbour.loop.start())
    await settle()
    await harbour.end(None)
    await ended(start)
    run = asyncio.create_task(harbour.loop.run())
    for action, value in story:
        await action(harbour, value)
        assert not run.done()
    await harbour.elapse(1000)
    await harbour.end(Sunk())
    assert isinstance(run.exception(), Sunk)
    assert not harbour.due
    assert harbour.most_at_once == 1


async def test_with_the_real_clock() -> None:
    """What it waits by, unless told otherwise, works: here without any time to wait."""
    passes: list[Keys] = []
    enough = asyncio.Event()

    async def reconcile(keys: Keys) -> None:
        passes.append(keys)
        if len(passes) == 5:
            enough.set()
        if len(passes) == 2:
            raise Busy

    reported: list[Condition] = []

    async def report(conditions: Sequence[Condition]) -> None:
        reported.extend(conditions)

    loop: Loop[str] = Loop(
        reconcile, report, interval=0, debounce=0, most=0, expected=(Busy,)
    )
    await loop.start()
    run = asyncio.create_task(loop.run())
    await enough.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended(run)
    assert passes[:5] == [EVERYTHING] * 5
    assert min(one.changed_at for one in reported) > 1_700_000_000_000
