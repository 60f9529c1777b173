"""What of two positions counts, what account data says, and how T moves (pure)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.memory import Checkpoint
from adapter.matrix.position import (
    HIGHEST,
    MalformedCheckpoint,
    NewerCheckpoint,
    Progress,
    content,
    parse,
    start_from,
)

OLD = "instance-old"

Json = dict[str, Any]


# Which copy counts


def at(n: int, whose: str) -> Checkpoint:
    return Checkpoint(n, f"{whose}{n}", OLD)


@pytest.mark.parametrize(
    ("file", "server", "start"),
    [
        (None, None, None),
        # No position on the server counts as number 0.
        (at(1, "f"), None, "f1"),
        (at(2, "f"), None, None),
        (None, at(7, "s"), "s7"),
        (at(7, "f"), at(7, "s"), "s7"),
        (at(1, "f"), at(7, "s"), "s7"),
        # The write after it was interrupted.
        (at(8, "f"), at(7, "s"), "f8"),
        # The server was set back.
        (at(9, "f"), at(7, "s"), "s7"),
        (at(900, "f"), at(7, "s"), "s7"),
    ],
)
def test_which_copy_counts(
    file: Checkpoint | None, server: Checkpoint | None, start: str | None
) -> None:
    """The higher number, unless the file knows more than one write that is not there."""
    found = start_from(file, server)
    assert (found.token if found else None) == start


# What the account data says

GOOD: Json = {"v": 1, "n": 3, "token": "s3", "instance": OLD}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        "s3",
        7,
        {"n": 3, "token": "s3", "instance": OLD},
        GOOD | {"v": "1"},
        GOOD | {"v": True},
        GOOD | {"v": 0},
        GOOD | {"n": "3"},
        GOOD | {"n": True},
        GOOD | {"n": 3.0},
        GOOD | {"n": 0},
        GOOD | {"n": HIGHEST + 1},
        GOOD | {"token": ""},
        GOOD | {"token": None},
        GOOD | {"instance": ""},
        GOOD | {"instance": 7},
    ],
)
def test_what_says_nothing_is_malformed(wrong: object) -> None:
    """It is neither absent in silence nor half believed."""
    with pytest.raises(MalformedCheckpoint):
        parse(wrong)


@pytest.mark.parametrize("rest", [{}, {"n": "x"}, GOOD])
def test_a_newer_version_is_never_taken_for_malformed(rest: Json) -> None:
    """What it means by its other fields is not ours to judge."""
    with pytest.raises(NewerCheckpoint, match="upgrade"):
        parse({**rest, "v": 2})


@pytest.mark.parametrize("nothing", [None, {}])
def test_deleted_is_absent(nothing: object) -> None:
    """Account data cannot be taken away, only emptied."""
    assert parse(nothing) is None


def test_more_fields_are_no_harm() -> None:
    """A later version may add something without changing what is there."""
    assert parse(GOOD | {"more": [1]}) == Checkpoint(3, "s3", OLD)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    ANYTHING
    | st.fixed_dictionaries(
        {}, optional={name: ANYTHING | st.just(GOOD[name]) for name in GOOD}
    )
)
def test_nothing_breaks_the_parser(anything: Any) -> None:
    """Whatever JSON stands there, it is a position, absent, malformed or newer."""
    try:
        found = parse(anything)
    except (MalformedCheckpoint, NewerCheckpoint):
        return
    assert found is None or content(found).items() <= anything.items()


@given(
    st.builds(
        Checkpoint, st.integers(1, HIGHEST), st.text(min_size=1), st.text(min_size=1)
    )
)
def test_what_is_written_is_read_back(checkpoint: Checkpoint) -> None:
    """The next start reads what this one wrote."""
    assert parse(content(checkpoint)) == checkpoint


# How T moves


@given(st.lists(st.integers(0, 3), max_size=8), st.randoms(use_true_random=False))
def test_t_never_passes_an_unsettled_event(
    dues: list[int], chance: random.Random
) -> None:
    """Settled in any order, between any batches: T is the newest token with nothing
    unsettled before it, and the last one in the end."""
    moved: list[str | None] = []
    progress = Progress(None, lambda: moved.append(progress.token))
    coming = deque(enumerate(dues))
    open_marks: list[Callable[[], None]] = []
    unsettled: dict[int, int] = {}
    began = -1
    while coming or open_marks:
        if coming and (not open_marks or chance.random() < 0.4):
            began, due = coming.popleft()
            unsettled[began] = due
            mark = progress.begin(str(began), due)

            def settle(number: int = began, settled: Any = mark.settle) -> None:
                unsettled[number] -= 1
                settled()

            open_marks += [settle] * due
        else:
            open_marks.pop(chance.randrange(len(open_marks)))()
        waiting = [number for number, due in unsettled.items() if due]
        newest = min(waiting, default=began + 1) - 1
        assert progress.token == (str(newest) if newest >= 0 else None)
    assert progress.token == (str(len(dues) - 1) if dues else None)
    # A batch with nothing in it asks for no write.
    assert len(moved) <= sum(1 for due in dues if due)
    last = max((number for number, due in enumerate(dues) if due), default=None)
    assert bool(moved) == (last is not None)
    if moved and last is not None:
        assert int(moved[-1] or 0) >= last


def test_settling_too_often_is_no_progress() -> None:
    """An event counted twice would let T pass another one, so it is an error."""
    progress = Progress("s0", lambda: None)
    first, second = progress.begin("s1", 1), progress.begin("s2", 1)
    first.settle()
    with pytest.raises(RuntimeError):
        first.settle()
    assert progress.token == "s1"  # noqa: S105 - a position
    second.settle()
    assert progress.token == "s2"  # noqa: S105
