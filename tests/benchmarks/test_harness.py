"""What the rounds of a benchmark come to, and when a goal counts as missed."""

from __future__ import annotations

import pytest

from benchmarks.harness import (
    Goal,
    Row,
    Verdict,
    at_least,
    at_most,
    differences,
    figure,
    in_turn,
    ratios,
    seconds,
)


def row(goal: Goal, *values: float) -> Row:
    return Row(1, "ours", "theirs", goal, values, "")


def test_rounds_are_compared_before_they_are_summed_up() -> None:
    """A machine that is slow in one round is slow for both: the ratio does not notice."""
    ours, theirs = [2.0, 20.0, 2.2], [1.0, 10.0, 1.1]
    assert row(at_most(2), *ratios(ours, theirs)).median == pytest.approx(2)
    assert differences(ours, theirs) == pytest.approx((1, 10, 1.1))


def test_a_round_that_lacks_one_side_is_no_round() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_one_bad_round_changes_neither_median_nor_noise() -> None:
    calm = row(at_most(2), 1.0, 1.1, 1.2, 1.3, 1.4)
    upset = row(at_most(2), 1.0, 1.1, 1.2, 1.3, 99.0)
    assert (calm.median, calm.noise) == pytest.approx((1.2, 0.2))
    assert (upset.median, upset.noise) == pytest.approx((1.2, 0.2))


def test_a_single_value_has_no_noise() -> None:
    assert row(at_most(1), 3.0).noise == 0


@pytest.mark.parametrize(
    ("goal", "values", "verdict"),
    [
        (at_most(1.2), (1.0, 1.2, 1.4), Verdict.REACHED),
        (at_most(1.2), (1.1, 1.3, 1.5), Verdict.WITHIN_NOISE),
        (at_most(1.2), (1.4, 1.45, 1.5), Verdict.MISSED),
        (at_least(4), (3.9, 4.0, 4.1), Verdict.REACHED),
        (at_least(4), (3.8, 3.9, 4.0), Verdict.WITHIN_NOISE),
        (at_least(4), (3.7, 3.8, 3.8), Verdict.MISSED),
        (at_most(1, ""), (2.0, 2.0, 2.0), Verdict.MISSED),
    ],
)
def test_a_goal_is_missed_by_more_than_the_noise(
    goal: Goal, values: tuple[float, ...], verdict: Verdict
) -> None:
    assert row(goal, *values).verdict is verdict


async def test_everybody_is_measured_in_each_round_and_first_as_often() -> None:
    """The order turns, and a round that warms up is not counted."""
    called: list[str] = []

    async def one(name: str) -> int:
        called.append(name)
        return len(called)

    found = await in_turn(2, {"ours": lambda: one("ours"), "bare": lambda: one("bare")})
    assert called == ["bare", "ours", "ours", "bare", "bare", "ours"]
    assert found == {"ours": [3, 6], "bare": [4, 5]}


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.01234, "0.0123"), (1.0, "1"), (-12.345, "-12.3"), (2048.4, "2,048")],
)
def test_figures_have_three_digits(value: float, words: str) -> None:
    assert figure(value) == words


def test_noise_has_the_digits_of_what_it_is_the_noise_of() -> None:
    assert figure(0.03456, like=12.345) == "0.0"
    assert figure(3.456, like=1.234) == "3.46"


def test_times_have_the_unit_that_suits_them() -> None:
    assert seconds([2.0, 1.5, 9.0]) == "2 s"
    assert seconds([0.0123]) == "12.3 ms"


def test_a_goal_that_is_not_reached_yet_must_not_get_farther_off() -> None:
    """Missed it stays; to be as near as ever is no fault, to be farther off is one."""
    goal = at_most(3, so_far=5)
    near, far = row(goal, 4.9, 5.0, 5.1), row(goal, 5.9, 6.0, 6.1)
    assert near.verdict is far.verdict is Verdict.MISSED
    assert (near.is_worse, far.is_worse) == (False, True)
    assert row(at_least(30, so_far=20), 14.9, 15.0, 15.1).is_worse


def test_a_goal_that_was_reached_must_stay_so() -> None:
    assert row(at_most(2), 2.9, 3.0, 3.1).is_worse
    assert not row(at_most(2), 1.5, 2.1, 2.7).is_worse
