"""What turns one harbour into another: properties first, then the names of the steps."""

from __future__ import annotations

from collections import deque
from copy import deepcopy
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.diff import action, diff, is_detached
from controller.model import Action, Cause, Change, Key, Resource
from tests.controller.harbours import applied, resource, ship, topologies

Harbour = dict[Key, Resource]

CAUSE = Cause("ann", "x", 1)
BACKWARDS = {
    Action.CREATE: Action.DETACH,
    Action.DETACH: Action.RESTORE,
    Action.RESTORE: Action.DETACH,
    Action.UPDATE: Action.UPDATE,
}


@given(topologies, topologies)
def test_applying_a_diff_gives_what_was_wanted(have: Harbour, want: Harbour) -> None:
    """Whatever there was, afterwards there is what was wanted, and nothing else."""
    assert applied(have, diff(have, want)) == want


@given(topologies, topologies)
def test_a_second_diff_is_empty(have: Harbour, want: Harbour) -> None:
    """Once carried out, nothing is left to do."""
    assert [*diff(applied(have, diff(have, want)), want)] == []


@given(topologies, topologies, st.randoms())
def test_the_order_of_input_does_not_matter(
    have: Harbour, want: Harbour, chance: Random
) -> None:
    """The same resources in another order give the same changes in the same order."""

    def shuffled(topology: Harbour) -> Harbour:
        items = [*topology.items()]
        chance.shuffle(items)
        return dict(items)

    assert [*diff(shuffled(have), shuffled(want))] == [*diff(have, want)]


@given(topologies, topologies)
def test_changes_come_in_key_order(have: Harbour, want: Harbour) -> None:
    """Keys rise from change to change, so that none has two."""
    found = [change.key for change in diff(have, want)]
    assert found == sorted(set(found))


@given(topologies, topologies)
def test_a_change_carries_both_sides(have: Harbour, want: Harbour) -> None:
    """The very resources, revisions and causes with them; exactly where they differ."""
    found = {change.key: change for change in diff(have, want)}
    for key in have.keys() | want.keys():
        old, new = have.get(key), want.get(key)
        if old == new:
            assert key not in found
        else:
            assert found[key].old is old
            assert found[key].new is new


@given(topologies, topologies)
def test_a_diff_leaves_its_arguments_alone(have: Harbour, want: Harbour) -> None:
    """Looking at two harbours changes neither of them."""
    before = deepcopy((have, want))
    deque(diff(have, want), maxlen=0)
    assert (have, want) == before


@given(topologies)
def test_revisions_and_causes_are_no_difference(have: Harbour) -> None:
    """A harbour does not differ from itself, seen anew at later revisions."""
    again = {
        key: Resource(dict(old.fields), old.revision + 1, {"status": CAUSE})
        for key, old in have.items()
    }
    assert [*diff(have, again)] == []


@given(topologies, topologies)
def test_the_way_back(have: Harbour, want: Harbour) -> None:
    """The same keys with the sides exchanged, and each step undoes the other."""

    def back(change: Change) -> Change:
        if change.old is None or change.new is None:
            step = Action.CREATE if change.new is None else Action.DETACH
        else:
            step = BACKWARDS[change.action]
        return Change(change.key, step, change.new, change.old)

    assert [*diff(want, have)] == [back(change) for change in diff(have, want)]


# Names of steps

AFLOAT, ANCHORED = resource(status="active"), resource(status="anchored")
PLAIN = resource(flag="red")
SUNK, SCRAPPED = (resource(status="detached", reason=r) for r in ("sunk", "scrapped"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, AFLOAT, Action.CREATE),
        (None, SUNK, Action.CREATE),
        (AFLOAT, ANCHORED, Action.UPDATE),
        (AFLOAT, PLAIN, Action.UPDATE),
        (AFLOAT, SUNK, Action.DETACH),
        (PLAIN, SUNK, Action.DETACH),
        (AFLOAT, None, Action.DETACH),
        (SUNK, None, Action.DETACH),
        (SUNK, AFLOAT, Action.RESTORE),
        (SUNK, PLAIN, Action.RESTORE),
        (SUNK, SCRAPPED, Action.UPDATE),
    ],
)
def test_a_step_is_named_for_what_it_does(
    old: Resource | None, new: Resource | None, expected: Action
) -> None:
    """Given up and taken back are told from new and changed."""
    assert action(old, new) is expected
    have = {} if old is None else {ship("a"): old}
    want = {} if new is None else {ship("a"): new}
    assert [*diff(have, want)] == [Change(ship("a"), expected, old, new)]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (SUNK, True),
        (AFLOAT, False),
        (PLAIN, False),
        (resource(reason="detached"), False),
        (resource(status=["detached"]), False),
    ],
)
def test_only_the_status_says_detached(held: Resource, *, expected: bool) -> None:
    """A reason, a word in another field or a list of it does not."""
    assert is_detached(held) is expected
