"""Keys, resources and changes: what is equal, what differs, and who made it so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import Action, Cause, Change, Key, Resource
from tests.controller.harbours import FIELDS, change, fields, known, resource

RESOURCES = st.builds(Resource, fields, causes=known)
MAYBE = st.none() | RESOURCES


def test_keys_order_by_kind_then_name() -> None:
    """All berths come before any ship, and a key reads as kind and name."""
    keys = [Key("ship", "a"), Key("berth", "b"), Key("ship", "B"), Key("berth", "a")]
    assert [str(key) for key in sorted(keys)] == [
        "berth a",
        "berth b",
        "ship B",
        "ship a",
    ]


@given(fields, st.integers(), st.integers(), known)
def test_only_fields_decide_equality(
    held: Mapping[str, Any], one: int, other: int, causes: Mapping[str, Cause]
) -> None:
    """Neither the revision, nor the causes, nor the kind of mapping matters."""
    frozen = MappingProxyType(dict(held))
    assert Resource(held, one, causes) == Resource(frozen, other)


@given(fields, fields)
def test_other_fields_are_another_resource(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> None:
    """Two resources are equal exactly when their fields are."""
    assert (Resource(one) == Resource(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Key("ship", "a"), "name"),
        (Cause("ann", "x", 1), "at"),
        (resource(flag="red"), "fields"),
        (change("a", None, resource()), "action"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_stay_as_they_are(value: object, name: str) -> None:
    """No attribute of what is passed around can be set."""
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(value, name, "other")


def test_nothing_is_ever_deleted() -> None:
    """There is no action that would delete: what is given up is detached."""
    assert {action.value for action in Action} == {
        "create",
        "update",
        "detach",
        "restore",
        "publish",
    }


# Which fields differ


@pytest.mark.parametrize(
    ("old", "new", "differing"),
    [
        (None, {"flag": "red"}, {"flag": (None, "red")}),
        ({"flag": "red"}, None, {"flag": ("red", None)}),
        ({"flag": "red"}, {"flag": "red"}, {}),
        ({"flag": "red"}, {"flag": "blue"}, {"flag": ("red", "blue")}),
        ({}, {"cargo": ""}, {"cargo": (None, "")}),
        ({"cargo": 0}, {}, {"cargo": (0, None)}),
        ({"cargo": ["tea"]}, {"cargo": ["tea", 1]}, {"cargo": (["tea"], ["tea", 1])}),
        (
            {"flag": "red", "cargo": "tea", "captain": "ann"},
            {"flag": "red", "cargo": "salt", "berth": "n"},
            {"berth": (None, "n"), "captain": ("ann", None), "cargo": ("tea", "salt")},
        ),
    ],
)
def test_fields_of_a_change(
    old: dict[str, Any] | None, new: dict[str, Any] | None, differing: dict[str, Any]
) -> None:
    """Those that differ, by name, in order; absence is `None`, and not "" or 0."""
    step = change(
        "a",
        None if old is None else Resource(old),
        None if new is None else Resource(new),
    )
    assert list(step.fields.items()) == list(differing.items())


@given(MAYBE, MAYBE)
def test_every_differing_field_is_named(
    old: Resource | None, new: Resource | None
) -> None:
    """A field is named exactly when its two sides are unequal, with both of them."""
    found = change("a", old, new).fields
    for name in FIELDS:
        sides = tuple(side.fields.get(name) if side else None for side in (old, new))
        assert found.pop(name, None) == (sides if sides[0] != sides[1] else None)
    assert not found


# Who made it so

EARLY, LATE, LATEST = (Cause("ann", f"e{at}", at) for at in (1, 2, 3))


@pytest.mark.parametrize(
    ("old", "new", "causes", "cause"),
    [
        pytest.param({}, {"flag": "r"}, {}, None, id="nothing is known"),
        pytest.param({}, {"flag": "r"}, {"flag": EARLY}, EARLY, id="one field"),
        pytest.param(
            {},
            {"flag": "r", "cargo": "tea"},
            {"flag": LATE, "cargo": EARLY},
            LATE,
            id="the newest of two",
        ),
        pytest.param(
            {"cargo": "tea"},
            {"flag": "r", "cargo": "tea"},
            {"flag": EARLY, "cargo": LATEST},
            EARLY,
            id="an unchanged field has no say",
        ),
        pytest.param(
            {"cargo": "tea"},
            {},
            {"cargo": LATE, "flag": LATEST},
            LATE,
            id="a field that went",
        ),
        pytest.param(
            {},
            {"flag": "r", "cargo": "tea"},
            {"cargo": EARLY},
            EARLY,
            id="one of two is known",
        ),
        pytest.param(
            {},
            {"cargo": "tea", "flag": "r"},
            {"cargo": Cause("bob", "x", 1), "flag": Cause("ann", "y", 1)},
            Cause("ann", "y", 1),
            id="at one instant the event id decides",
        ),
    ],
)
def test_cause(
    old: dict[str, Any],
    new: dict[str, Any],
    causes: dict[str, Cause],
    cause: Cause | None,
) -> None:
    """The newest event behind the changed fields, and behind no other field."""
    step = change("a", Resource(old), Resource(new, causes=causes))
    assert step.cause == cause


def test_what_was_known_of_the_old_is_no_cause() -> None:
    """Events behind what there was do not explain what there is to be."""
    old = Resource({"flag": "red"}, causes={"flag": LATEST})
    assert change("a", old, resource(flag="blue")).cause is None
    assert change("a", old, None, Action.DETACH).cause is None


@given(MAYBE, RESOURCES)
def test_cause_is_behind_a_changed_field(old: Resource | None, new: Resource) -> None:
    """It is one of theirs, and none of theirs is newer."""
    step = change("a", old, new)
    behind = [new.causes[name] for name in step.fields if name in new.causes]
    if step.cause is None:
        assert not behind
    else:
        assert step.cause in behind
        assert step.cause.at == max(cause.at for cause in behind)


# Why, in a few words

GIVEN = resource(status="detached", reason="sunk")


@pytest.mark.parametrize(
    ("action", "old", "new", "reason"),
    [
        (Action.CREATE, None, resource(flag="red"), "not known yet"),
        (Action.CREATE, None, GIVEN, "sunk"),
        (Action.DETACH, resource(), GIVEN, "sunk"),
        (Action.DETACH, resource(), resource(status="detached"), "no longer there"),
        (Action.DETACH, resource(reason="old"), None, "no longer there"),
        (Action.RESTORE, GIVEN, resource(status="active"), "there again"),
        (Action.UPDATE, resource(flag="red"), resource(flag="blue"), "flag differs"),
        (Action.UPDATE, resource(flag="red"), resource(cargo=1), "cargo, flag differ"),
        (Action.UPDATE, resource(status="detached"), GIVEN, "reason differs"),
        (Action.PUBLISH, resource(), resource(lamp="lit"), "lamp differs"),
    ],
)
def test_reason(
    action: Action, old: Resource | None, new: Resource | None, reason: str
) -> None:
    """The new resource's own reason where one is given up or new, else what differs."""
    assert Change(Key("ship", "a"), action, old, new).reason == reason
