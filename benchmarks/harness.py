"""What a row of the benchmarks is: things measured in turn, and what they come to.

Machines differ, and one machine from minute to minute. So each round measures everyone,
one right after the other, and only what is compared within a round counts.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

LEAST_NOISE: Final = 0.1
"""Of a limit: rounds that agree by chance, or another processor, make no fault of less."""


class Sense(StrEnum):
    """On which side of its limit a value should be."""

    AT_MOST = "<="
    AT_LEAST = ">="


class Goal(NamedTuple):
    limit: float
    unit: str = "x"
    sense: Sense = Sense.AT_MOST
    so_far: float | None = None
    """How near a quick run comes, where its small world cannot reach it or nobody has:
    farther off would be a fault."""

    @property
    def is_count(self) -> bool:
        """The same in every run, on any machine."""
        return self.unit in ("", "B")

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:,g} {self.unit}".rstrip()


def at_most(limit: float, unit: str = "x", *, so_far: float | None = None) -> Goal:
    return Goal(limit, unit, Sense.AT_MOST, so_far)


def at_least(limit: float, unit: str = "x", *, so_far: float | None = None) -> Goal:
    return Goal(limit, unit, Sense.AT_LEAST, so_far)


class Verdict(StrEnum):
    """Whether the goal is reached."""

    REACHED = "reached"
    WITHIN_NOISE = "within noise"
    """Not by the median, but by less than what the rounds differ."""
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    number: int
    what: str
    against: str
    goal: Goal
    values: tuple[float, ...]
    """What is held to the goal, one a round."""
    figures: str
    """What was measured, in absolute terms."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def noise(self) -> float:
        """The width of the middle half of the rounds: one bad round does not count."""
        if len(self.values) < 2:
            return 0.0
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return upper - lower

    @property
    def verdict(self) -> Verdict:
        beyond = self._beyond(self.goal.limit)
        if beyond <= 0:
            return Verdict.REACHED
        return Verdict.WITHIN_NOISE if beyond <= self.noise else Verdict.MISSED

    @property
    def is_worse(self) -> bool:
        """Farther off than it ever was, by more than the noise."""
        known = self.goal.limit if self.goal.so_far is None else self.goal.so_far
        least = 0.0 if self.goal.is_count else LEAST_NOISE * known
        return self._beyond(known) > max(self.noise, least)

    def _beyond(self, limit: float) -> float:
        """By how much the median is on the wrong side of `limit`."""
        beyond = self.median - limit
        return -beyond if self.goal.sense is Sense.AT_LEAST else beyond


class Chart(NamedTuple):
    """Absolute figures that belong side by side."""

    name: str
    """Of its file."""
    title: str
    unit: str
    bars: Mapping[str, Sequence[float]]
    """Who -> what they took, one a round."""


class Outcome(NamedTuple):
    """What a part of the suite found."""

    rows: tuple[Row, ...]
    chart: Chart | None = None


# Rounds


async def in_turn(
    rounds: int, contestants: Mapping[str, Callable[[], Awaitable[T]]]
) -> dict[str, list[T]]:
    """What each contestant returned, one a round.

    Every other round runs backwards, so that nobody is always the first. A round that
    does not count goes before them: in it, everybody and the server get warm."""
    found: dict[str, list[T]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name in found if number % 2 else reversed(found):
            gc.collect()
            result = await contestants[name]()
            if number:
                found[name].append(result)
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """How many times theirs ours is, round by round."""
    return tuple(one / other for one, other in zip(ours, theirs, strict=True))


def differences(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """How much more ours is than theirs, round by round."""
    return tuple(one - other for one, other in zip(ours, theirs, strict=True))


# Words


def figure(value: float, *, like: float | None = None) -> str:
    """Three digits, and all of those before the point; or as many as `like` has."""
    digits = _decimals(value if like is None else like)
    return f"{value:,.{digits}f}"


def _decimals(value: float) -> int:
    if value == int(value):
        return 0
    return max(0, 2 - math.floor(math.log10(abs(value))))


def seconds(values: Sequence[float]) -> str:
    """The median of some seconds, in the unit that suits it."""
    median = statistics.median(values)
    return f"{figure(median)} s" if median >= 1 else f"{figure(median * 1000)} ms"
