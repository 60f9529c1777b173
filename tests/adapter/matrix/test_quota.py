"""A quota lets through so much of each name in a while, and remembers no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.quota import Quota

MOST, PERIOD = 3, 10.0
STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 8)), max_size=40
)


@given(STEPS)
def test_never_more_than_so_many_in_any_period(
    steps: list[tuple[str, int, int]],
) -> None:
    """And whoever waits as long as they are told, is let through."""
    quota, at = Quota(MOST, PERIOD), 0.0
    taken: list[tuple[str, float]] = []
    for number, (name, pause, patience) in enumerate(steps):
        at += pause
        wait = quota.wait(name, f"{number}", at)
        assert 0 <= wait <= PERIOD
        if wait > patience:
            continue
        at += wait
        assert quota.wait(name, f"{number}", at) == 0
        quota.take(name, f"{number}", at)
        taken.append((name, at))
        counted = [t for other, t in taken if other == name and at - t < PERIOD]
        assert len(counted) <= MOST


def test_the_same_thing_is_counted_once() -> None:
    quota = Quota(1, PERIOD)
    for at in (0.0, 4.0):
        assert quota.wait("a", "this", at) == 0
        quota.take("a", "this", at)
    assert quota.wait("a", "that", 4.0) == 6
    assert quota.wait("b", "that", 4.0) == 0
    assert quota.wait("a", "that", 10.0) == 0


def test_names_are_forgotten() -> None:
    """Whoever makes up new names all the time fills nobody's memory."""
    quota = Quota(MOST, PERIOD)
    for number in range(1000):
        at = float(number)
        assert quota.wait(f"{number}", "this", at) == 0
        quota.take(f"{number}", "this", at)
    assert len(quota) <= PERIOD + 1
