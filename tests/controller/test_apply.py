"""Carrying out a plan, on a harbour in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.apply import Outcome, Report, Result, apply
from controller.diff import diff
from controller.model import DETACHED, Action, Change, Key, Resource, Topology
from controller.plan import Guard, Plan, plan
from tests.controller.harbours import (
    change,
    keys,
    resource,
    resources,
    ship,
    topologies,
)


class Harbour:
    """A target in memory: it deletes nothing, and refuses what lies in `fog`."""

    def __init__(self, have: Topology, fog: Collection[Key] = ()) -> None:
        self.have = dict(have)
        self.fog = fog
        self.calls: list[Sequence[Change]] = []

    async def carry_out(self, steps: Sequence[Change]) -> list[Outcome]:
        self.calls.append(steps)
        return [self._carry_out(step) for step in steps]

    def _carry_out(self, step: Change) -> Outcome:
        if step.key in self.fog:
            return Outcome(step.key, Result.FAILED, "lost in fog")
        before = self.have.get(step.key)
        if before != step.old:
            return Outcome(step.key, Result.STALE, "somebody was here")
        after = step.new or resource(status=DETACHED)
        revision = before.revision + 1 if before else 1
        self.have[step.key] = Resource(after.fields, revision)
        return Outcome(step.key, Result.APPLIED)


class Storm:
    """A target that cannot be reached."""

    async def carry_out(self, steps: Sequence[Change]) -> list[Outcome]:
        raise ConnectionError


def every_key(have: Topology, want: Topology) -> dict[Key, Resource]:
    """`want` as a renderer has it: what there was and is not wanted is detached."""
    gone = resource(status=DETACHED, reason="gone")
    return {**dict.fromkeys(have, gone), **want}


@given(topologies, topologies)
async def test_the_world_becomes_what_was_wanted(
    have: dict[Key, Resource], want: dict[Key, Resource]
) -> None:
    """Each step is applied, nothing is lost, and a second plan is empty."""
    want = every_key(have, want)
    harbour = Harbour(have)
    report = await apply(plan(diff(have, want)), harbour)
    assert harbour.have == want
    assert report.counts[Result.APPLIED] == len(report.plan.steps)
    assert not plan(diff(harbour.have, want))


@given(topologies, topologies, st.integers(0, 3))
async def test_what_is_blocked_never_reaches_the_target(
    have: dict[Key, Resource], want: dict[Key, Resource], limit: int
) -> None:
    """It stands as it was, has no outcome, and stays due."""
    want = every_key(have, want)
    guard = Guard(lambda step: step.action is Action.DETACH, limit)
    given_plan = plan(diff(have, want), guard)
    harbour = Harbour(have)
    report = await apply(given_plan, harbour)
    assert harbour.calls == ([given_plan.steps] if given_plan.steps else [])
    for step in given_plan.blocked:
        assert harbour.have[step.key] is have[step.key]
        assert step.key not in {outcome.key for outcome in report.outcomes}
    again = plan(diff(harbour.have, want), guard)
    assert again == Plan((), given_plan.blocked)


@given(topologies, topologies, st.sets(keys))
async def test_a_failing_step_does_not_stop_the_others(
    have: dict[Key, Resource], want: dict[Key, Resource], fog: set[Key]
) -> None:
    """What failed is an outcome, in its place; the rest is as wanted."""
    want = every_key(have, want)
    harbour = Harbour(have, fog)
    steps = plan(diff(have, want)).steps
    report = await apply(Plan(steps), harbour)
    assert [outcome.key for outcome in report.outcomes] == [step.key for step in steps]
    assert {outcome.key for outcome in report.failed} == {
        step.key for step in steps if step.key in fog
    }
    assert {key for key in want if harbour.have.get(key) != want[key]} == {
        outcome.key for outcome in report.failed
    }


@given(topologies, topologies)
async def test_the_same_plan_again_is_stale(
    have: dict[Key, Resource], want: dict[Key, Resource]
) -> None:
    """Old steps meet a world that moved on: outcomes say so, and nothing changes."""
    want = every_key(have, want)
    harbour = Harbour(have)
    old = plan(diff(have, want))
    await apply(old, harbour)
    report = await apply(old, harbour)
    assert report.counts[Result.STALE] == len(old.steps)
    assert not report.failed
    assert harbour.have == want


@pytest.mark.parametrize(
    "given_plan",
    [Plan(), Plan((), (change("a", resource(), None, Action.DETACH),))],
    ids=["nothing differs", "all is blocked"],
)
async def test_a_plan_without_steps_never_calls_the_target(given_plan: Plan) -> None:
    """It is carried out though the target cannot be reached."""
    assert await apply(given_plan, Storm()) == Report(given_plan)


async def test_an_exception_is_no_outcome() -> None:
    """Where nothing is known of any step, there is no report that says otherwise."""
    with pytest.raises(ConnectionError):
        await apply(Plan((change("a", None, resource()),)), Storm())


# Reports


@given(st.lists(st.sampled_from(Result), max_size=12), resources)
def test_a_report_counts_its_outcomes(results: list[Result], new: Resource) -> None:
    """By result; what nobody met is 0, and what is blocked counts for nothing."""
    outcomes = tuple(Outcome(ship(str(n)), one) for n, one in enumerate(results))
    report = Report(Plan((), (change("z", None, new),)), outcomes)
    for result in Result:
        assert report.counts[result] == results.count(result)
    assert report.counts.total() == len(results)
    assert report.failed == tuple(o for o in outcomes if o.result is Result.FAILED)


async def test_a_report_tells_what_became_of_its_plan() -> None:
    """The plan itself, and outcomes in the order of its steps, with their details."""
    have = {ship(name): resource(flag="red") for name in "ab"}
    want = {ship(name): resource(flag="blue") for name in "abc"}
    given_plan = plan(diff(have, want))
    moved = {**have, ship("a"): resource(flag="green")}
    report = await apply(given_plan, Harbour(moved, fog={ship("b")}))
    assert report.plan is given_plan
    assert report.outcomes == (
        Outcome(ship("a"), Result.STALE, "somebody was here"),
        Outcome(ship("b"), Result.FAILED, "lost in fog"),
        Outcome(ship("c"), Result.APPLIED),
    )
