"""Plans: what a guard blocks, and how a plan reads."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.diff import diff
from controller.model import Action, Change, Key, Resource
from controller.plan import Guard, Plan, line, plan
from tests.controller.harbours import change, keys, resource, resources, topologies

AFLOAT, SUNK = resource(status="active"), resource(status="detached", reason="sunk")


def sinks(step: Change) -> bool:
    return step.action is Action.DETACH


def fleet(sinking: int, sailing: int) -> list[Change]:
    """So many detaches, each followed by a creation while there are any."""
    sunk = [change(f"{n}-", AFLOAT, SUNK, Action.DETACH) for n in range(sinking)]
    made = [change(f"{n}+", None, AFLOAT, Action.CREATE) for n in range(sailing)]
    return sorted(sunk + made, key=lambda step: step.key)


# One key may have several changes, as where each field is carried out by itself.
changes = st.lists(
    st.builds(Change, keys, st.sampled_from(Action), st.none() | resources, resources),
    max_size=8,
)
guards = st.builds(
    lambda actions, limit: Guard(lambda step: step.action in actions, limit),
    st.sets(st.sampled_from(Action)),
    st.integers(0, 5),
)


# Guards


def test_without_a_guard_every_change_is_a_step() -> None:
    """Nothing is blocked unless somebody asks for it."""
    steps = fleet(3, 2)
    assert plan(iter(steps)) == Plan(tuple(steps), ())


@pytest.mark.parametrize(
    ("sinking", "limit", "blocked"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (2, 3, 0),
        (3, 3, 0),
        (4, 3, 4),
        (9, 3, 9),
    ],
)
def test_a_guard_blocks_beyond_its_limit(
    sinking: int, limit: int, blocked: int
) -> None:
    """As many as the limit pass; one more, and all of them are blocked."""
    steps = fleet(sinking, 5)
    found = plan(iter(steps), Guard(sinks, limit))
    assert [step for step in steps if sinks(step)][:blocked] == [*found.blocked]
    assert len(found.steps) == sinking + 5 - blocked


@given(changes, guards)
def test_a_guard_blocks_all_that_it_counts_or_nothing(
    steps: list[Change], guard: Guard
) -> None:
    """And never what it does not count; order stays, and no change is lost."""
    found = plan(steps, guard)
    counted = [step for step in steps if guard.counts(step)]
    if len(counted) > guard.limit:
        assert [*found.blocked] == counted
        assert [*found.steps] == [step for step in steps if not guard.counts(step)]
    else:
        assert found == Plan(tuple(steps))


@given(topologies, topologies, guards)
def test_blocked_and_steps_are_the_whole_difference(
    have: dict[Key, Resource], want: dict[Key, Resource], guard: Guard
) -> None:
    """Put together in key order, both parts are the diff again, each in that order."""
    found = plan(diff(have, want), guard)
    every = sorted(found.steps + found.blocked, key=lambda step: step.key)
    assert every == [*diff(have, want)]
    for part in (found.steps, found.blocked):
        assert [*part] == sorted(part, key=lambda step: step.key)


def test_a_guard_tells_changes_of_one_key_apart() -> None:
    """What is not counted stays a step, though a change beside it is blocked."""
    lamp = change("a", resource(), resource(lamp="lit"), Action.PUBLISH)
    horn = change("a", resource(), resource(horn="loud"), Action.PUBLISH)
    guard = Guard(lambda step: "lamp" in step.fields, 0)
    assert plan([lamp, horn], guard) == Plan((horn,), (lamp,))


@pytest.mark.parametrize(
    ("given_plan", "expected"),
    [
        (Plan(), False),
        (Plan(tuple(fleet(1, 0))), True),
        (Plan((), tuple(fleet(1, 0))), True),
    ],
)
def test_a_plan_is_true_where_the_world_differs(
    given_plan: Plan, *, expected: bool
) -> None:
    """What is blocked differs as well."""
    assert bool(given_plan) is expected


# How a plan reads


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            change("gull", None, resource(flag="red", crew=3), Action.CREATE),
            '+ ship gull  crew=3, flag="red"',
        ),
        (
            change("gull", resource(flag="red", crew=3), resource(flag="", crew=3)),
            '~ ship gull  flag: "red" -> ""',
        ),
        (
            change("gull", resource(flag="red"), resource(cargo=["tea"])),
            '~ ship gull  cargo: nothing -> ["tea"], flag: "red" -> nothing',
        ),
        (
            change("gull", AFLOAT, SUNK, Action.DETACH),
            '- ship gull  reason: nothing -> "sunk", status: "active" -> "detached"',
        ),
        (
            change("gull", AFLOAT, None, Action.DETACH),
            "- ship gull  no longer there",
        ),
        (
            change("gull", SUNK, resource(status="active"), Action.RESTORE),
            '+ ship gull  reason: "sunk" -> nothing, status: "detached" -> "active"',
        ),
        (
            change("gull", resource(), resource(lamp={"lit": True}), Action.PUBLISH),
            '^ ship gull  lamp: nothing -> {"lit": true}',
        ),
        (
            change("gull", None, resource(lamp="lit"), Action.PUBLISH),
            '^ ship gull  lamp: nothing -> "lit"',
        ),
        (
            change("Möwe 🚢", None, resource(flag="שחור"), Action.CREATE),
            '+ ship Möwe 🚢  flag="שחור"',
        ),
    ],
)
def test_a_change_is_one_line(step: Change, expected: str) -> None:
    """Sign, key, and what differs; letters of every script as they are."""
    assert line(step) == expected


def test_a_plan_prints_what_is_blocked_last() -> None:
    """One line a change, without a line end after the last one."""
    sunk, made = fleet(1, 1)[::-1]
    assert str(Plan((made,), (sunk,))).splitlines() == [
        '+ ship 0+  status="active"',
        '- ship 0-  reason: nothing -> "sunk", status: "active" -> "detached"   (blocked)',
    ]
    assert str(Plan((made,))) == line(made)
    assert str(Plan()) == ""


ESCAPES = [
    ("\x1b[2J", r"\x1b[2J", r"\u001b[2J"),
    ("a\nb\r\t", r"a\nb\r\t", r"a\nb\r\t"),
    ("\x7f\x85", r"\x7f\x85", r"\x7f\x85"),
    ("\u202egpj", r"\u202egpj", r"\u202egpj"),
    ("\u2066\u2069\u200f", r"\u2066\u2069\u200f", r"\u2066\u2069\u200f"),
    ("\u2028\ufeff", r"\u2028\ufeff", r"\u2028\ufeff"),
    ("\ud83d", r"\ud83d", r"\ud83d"),
    ("\U000e0041", r"\U000e0041", r"\U000e0041"),
]


@pytest.mark.parametrize(("text", "name", "value"), ESCAPES)
def test_no_name_or_value_rewrites_its_line(text: str, name: str, value: str) -> None:
    """Control, bidi and invisible characters are escaped, wherever they stand."""
    step = Change(Key(text, text), Action.CREATE, None, Resource({text: text}))
    assert line(step) == f'+ {name} {name}  {name}="{value}"'
    other = Change(Key(text, text), Action.UPDATE, Resource({}), Resource({text: text}))
    assert line(other) == f'~ {name} {name}  {name}: nothing -> "{value}"'


# Any character at all, halves of surrogate pairs among them.
names = st.text(
    st.sampled_from("a'\\\n\x1b\x85\u2028\u202e\ud800")
    | st.characters(exclude_categories=()),
    max_size=3,
)


class Signal:
    """A value whose repr has two lines."""

    def __repr__(self) -> str:
        return "dot\ndash"


held = st.builds(
    Resource, st.dictionaries(names, names | st.builds(Signal), max_size=2)
)
printed = st.builds(
    Change, st.builds(Key, names, names), st.sampled_from(Action), held, held
)


@given(st.lists(printed, max_size=2), st.lists(printed, max_size=2))
def test_a_plan_is_one_printable_line_a_change(
    steps: list[Change], blocked: list[Change]
) -> None:
    """Whatever text it holds: a sign at the head of each line, and a glyph for all."""
    ends = ["" for _ in steps] + [r"   \(blocked\)" for _ in blocked]
    text = str(Plan(tuple(steps), tuple(blocked)))
    assert re.fullmatch("\n".join(f"[-+~^] .*{end}" for end in ends), text)
    assert text.replace("\n", "").isprintable()
