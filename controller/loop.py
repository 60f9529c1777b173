"""The loop: one pass after another, until it is cancelled or there is no hope.

    loop = Loop(reconcile, store.set_conditions, fatal=(TokenRefused,))
    await loop.start()                  # nothing else happens before this has succeeded
    await loop.run()                    # for ever
    loop.nudge("!room")                 # meanwhile, from a live event

A pass is over everything (at the start, and from the timer) or over the keys that were
nudged. There is never one beside another: what is asked for during a pass is the next.
The timer runs from the end of a pass over everything, so long passes do not pile up.
After a failure comes the same again, with what was asked for since; nothing hurries it.
There is no clock here that could jump: the event loop waits, and the time of day only
dates the conditions:

    Reconciling   True    a pass is under way: Everything or Nudged
                  False   none is: Waiting, BackingOff or Stopped
    Healthy       True    the last pass succeeded
                  False   it failed; the reason is what it raised
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from controller.conditions import Condition, following
from controller.current import current_pass

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Handle(Protocol):
    """What may still be called off."""

    def cancel(self) -> object: ...


def _later(seconds: float, callback: Callable[[], object]) -> Handle:
    return asyncio.get_running_loop().call_later(seconds, callback)


@dataclass(eq=False, repr=False, slots=True)
class Loop(Generic[K]):
    """Calls `reconcile` at the start, from a timer and for nudges.

    Whatever that raises is a failed pass, also a cancellation that was not the loop's.
    Cancelling the loop cancels its pass, and waits for that to end."""

    reconcile: Callable[[frozenset[K] | None], Awaitable[object]]
    """One pass over these keys; `None` is everything. It runs in a task of its own."""
    report: Callable[[Sequence[Condition]], Awaitable[object]]
    """Takes what is said anew. A failure of it is only logged, but it is waited for."""
    _: KW_ONLY
    fatal: tuple[type[Exception], ...] = ()
    """When a pass raises one of these, there is no hope: the loop ends by raising it."""
    expected: tuple[type[Exception], ...] = ()
    """These are logged without a traceback."""
    interval: float = 300.0
    """Seconds from the end of a pass over everything to the next one."""
    jitter: float = 0.1
    """Share of `interval` by which that may come earlier or later."""
    debounce: float = 0.5
    """Seconds from the first nudge to its pass. More of them join, and prolong nothing."""
    most: float = 300.0
    """Seconds of the longest wait after a failure, unless that asks for more."""
    later: Callable[[float, Callable[[], object]], Handle] = _later
    """Calls back once, after so many seconds, unless its handle is cancelled."""
    now: Callable[[], float] = time.time
    """Seconds since the epoch."""
    chance: Callable[[], float] = random.random
    """A number from 0 to 1."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Of passes; whoever makes some as well can have theirs from here."""

    _everything: bool = field(default=False, init=False)
    _keys: set[K] = field(default_factory=set, init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _timer: Handle | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _passes: int = field(default=0, init=False)
    _said: dict[str, Condition] = field(default_factory=dict, init=False)

    async def start(self) -> None:
        """Return once a pass over everything has succeeded, however long that takes."""
        async with self._alone():
            self.nudge()
            await self._settle()

    async def run(self) -> None:
        """Pass for ever; the first is over everything, unless `start` made that one."""
        async with self._alone():
            if self._timer is None:
                self.nudge()
            while True:
                await self._wanted.wait()
                await self._rest(self.debounce)
                await self._settle()

    def nudge(self, key: K | None = None) -> None:
        """Ask for a pass over `key`, or over everything; one that begins later has it.

        It only takes note: call it at any time, in the thread of the event loop."""
        if key is None:
            self._everything = True
        else:
            self._keys.add(key)
        self._wanted.set()

    async def _settle(self) -> None:
        """Pass until a pass succeeds."""
        for attempt in itertools.count(1):
            keys = self._take()
            error = await self._pass(keys)
            if error is None:
                if keys is None:
                    wait = period(self.interval, self.jitter, self.chance())
                    self._timer = self.later(wait, self.nudge)
                await self._say(_healthy(), _idle("Waiting", "for timer or nudge"))
                return
            if isinstance(error, self.fatal):
                await self._say(_healthy(error))
                raise error
            self._everything |= keys is None
            self._keys |= keys or set()
            wait = delay(attempt, self.chance(), most=self.most)
            wait = max(wait, asked(error))
            told = {"pass": self._passes, "error": _text(error), "wait": round(wait)}
            trace = None if isinstance(error, self.expected) else error
            log.warning("pass failed", extra=told, exc_info=trace)
            message = f"{wait:.0f} s, after {attempt} failed in a row"
            await self._say(_healthy(error), _idle("BackingOff", message))
            await self._rest(wait)

    async def _pass(self, keys: frozenset[K] | None) -> BaseException | None:
        """Make one pass, and return what it raised."""
        self._passes = next(self.numbers)
        reason, message = "Everything", "looking at everything"
        if keys is not None:
            reason, message = "Nudged", f"looking at what was nudged ({len(keys)})"
        await self._say(("Reconciling", "True", reason, message))
        return await _ending(self.reconcile, keys, self._passes)

    def _take(self) -> frozenset[K] | None:
        keys = None if self._everything else frozenset(self._keys)
        if self._everything:
            self._stop_timer()
        self._everything = False
        self._keys.clear()
        self._wanted.clear()
        return keys

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def _rest(self, seconds: float) -> None:
        rested = asyncio.Event()
        handle = self.later(seconds, rested.set)
        try:
            await rested.wait()
        finally:
            handle.cancel()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        if self._running:
            msg = "this loop is running already"
            raise RuntimeError(msg)
        self._running = True
        try:
            yield
        except (Exception, asyncio.CancelledError):
            self._stop_timer()
            await self._say(_idle("Stopped", "no pass will follow"))
            raise
        finally:
            self._running = False

    async def _say(self, *said: _Statement) -> None:
        at = int(self.now() * 1000)
        news = [following(self._said.get(one[0]), Condition(*one, at)) for one in said]
        self._said.update({one.type: one for one in news})
        error = await _ending(self.report, news)
        if error is not None:
            log.error("conditions not reported", exc_info=error)


# --- pure --------------------------------------------------------------------


def delay(
    attempt: int, jitter: float, *, first: float = 1.0, most: float = 300.0
) -> float:
    """Seconds to wait before attempt number `attempt` (1 is the first retry).

    Doubles up to `most`; `jitter`, from 0 to 1, takes up to a half away, so that no
    wait is shorter than the one before it until `most` is reached."""
    # The exponent stays small: after a few days it would be too much for a float.
    return min(first * 2.0 ** min(attempt - 1, 64), most) * (1 - jitter / 2)


def period(interval: float, jitter: float, chance: float) -> float:
    """Seconds from one pass over everything to the next; `chance` is from 0 to 1."""
    return interval * (1 + jitter * (2 * chance - 1))


def asked(error: BaseException) -> float:
    """Seconds that `error` asks to wait, by its `retry_after`; nonsense asks for none."""
    seconds = getattr(error, "retry_after", None)
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        return max(0.0, seconds)
    return 0.0


_Statement = tuple[str, str, str, str]


def _idle(reason: str, message: str) -> _Statement:
    return "Reconciling", "False", reason, message


def _healthy(error: BaseException | None = None) -> _Statement:
    if error is None:
        return "Healthy", "True", "Succeeded", "the last pass succeeded"
    return "Healthy", "False", type(error).__name__, _text(error)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _ending(
    work: Callable[[Any], Awaitable[object]], given: object, number: int = 0
) -> BaseException | None:
    """What `work` raised, in a task of its own; what cancels the caller is raised.

    `gather` hands a cancellation down, waits for `work` to end, and raises it even
    where `work` swallowed it; that `work` was cancelled from inside is only a value."""

    async def alone() -> None:
        current_pass.set(number)
        await work(given)

    [error] = await asyncio.gather(alone(), return_exceptions=True)
    if error is None or isinstance(error, Exception | asyncio.CancelledError):
        return error
    raise error
