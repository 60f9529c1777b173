"""Carrying out a plan: the only part of the controller that waits for the world."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from controller.model import Change, Key
from controller.plan import Plan


class Result(StrEnum):
    """How one step ended. `stale` and `waiting` are no faults: the next pass looks again."""

    APPLIED = "applied"
    PUBLISHED = "published"
    STALE = "stale"
    WAITING = "waiting"
    FAILED = "failed"


class Outcome(NamedTuple):
    """What became of a step; `detail` says why when it was not carried out."""

    key: Key
    result: Result
    detail: str = ""


class Target(Protocol):
    """Where steps are carried out: in one transaction, or one by one."""

    async def carry_out(self, steps: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `steps` and say what became of each, in the same order.

        Doing it twice leaves the same world as once. A step that fails is an
        outcome; an exception means that nothing is known of any step."""
        ...


@dataclass(frozen=True)
class Report:
    """The outcomes of one plan, blocked changes not among them."""

    plan: Plan
    outcomes: tuple[Outcome, ...] = ()

    @cached_property
    def counts(self) -> Counter[Result]:
        return Counter([outcome.result for outcome in self.outcomes])

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.result is Result.FAILED)


async def apply(plan: Plan, target: Target) -> Report:
    """Carry out the steps of `plan`; what a guard blocks never reaches the target."""
    if not plan.steps:
        return Report(plan)
    outcomes = tuple(await target.carry_out(plan.steps))
    if len(outcomes) != len(plan.steps):
        msg = (
            f"{len(outcomes)} outcomes of {len(plan.steps)} steps: the target is wrong"
        )
        raise ValueError(msg)
    return Report(plan, outcomes)
