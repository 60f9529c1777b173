"""The contracts: their examples keep them, and what breaks them is told at its place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import NAMES, problems, schema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def told(name: str, data: object) -> list[str]:
    return [str(problem) for problem in problems(name, data)]


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_one_and_its_examples_are_valid(name: str) -> None:
    """Every schema has a title, a description and examples that it accepts."""
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$id"] == f"urn:spacekeeper:schema:{name}:v1"
    assert found["title"]
    assert found["description"]
    assert found["examples"]
    for example in found["examples"]:
        assert told(name, example) == []


@st.composite
def nearly_valid(draw: st.DrawFn) -> tuple[str, Any]:
    """An example with anything in one of its places."""
    name = draw(st.sampled_from(NAMES))
    data = copy.deepcopy(draw(st.sampled_from(schema(name)["examples"])))
    here = data
    while True:
        steps = list(here) if isinstance(here, dict) else range(len(here))
        step = draw(
            st.sampled_from([*steps, "new"] if isinstance(here, dict) else steps)
        )
        inner = here[step] if step in steps else None
        if not inner or not isinstance(inner, dict | list) or draw(st.booleans()):
            here[step] = draw(JSON | st.sampled_from(["", "@a:hs", "C1", "!r", "5m"]))
            return name, data
        here = inner


@given(nearly_valid())
def test_another_validator_says_the_same(found: tuple[str, Any]) -> None:
    name, data = found
    if "NaN" not in (text := json.dumps(data)) and "Infinity" not in text:
        says = Draft202012Validator(schema(name)).is_valid(data)
        assert (told(name, data) == []) is says


def test_every_problem_is_told_at_once_in_the_order_of_the_data() -> None:
    data = {
        "homeserver": 5,
        "usr_id": "@bot:hs.test",
        "reconcile": {"interval": "5 minutes", "jitter": True, "max_detach": -1},
        "platform": {"kind": "http"},
        "access_token": "syt_secret",
    }
    assert told("config", data) == [
        "$.homeserver: expected the homeserver's URL, such as "
        "https://matrix.your.server, not a number",
        '$.usr_id: unknown key; did you mean "user_id"?',
        "$.reconcile.interval: expected a duration longer than zero, "
        "such as 30s, 5m or 1h",
        "$.reconcile.jitter: expected a number, not true or false",
        "$.reconcile.max_detach: expected at least 0",
        "$.platform.url: missing",
        "$.user_id: missing: expected the bot's user id, such as @bot:your.server",
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"access_token": "two words syt_secret"},
        {"access_token": ["syt_secret"]},
        {"platform": {"token": "two words syt_secret"}},
        {"platform": {"token": {"syt_secret": 1}}},
    ],
)
def test_no_problem_holds_a_value(data: object) -> None:
    """A value may be a secret, so what was found is named by its type alone."""
    assert told("config", data)
    assert "syt_secret" not in "".join(told("config", data))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "$: expected a mapping, not a list"),
        ({1: 2}, "$: expected text as every key, not a number"),
        ({"a": float("nan")}, "$.a: expected a finite number"),
        ({"a": {1, 2}}, "$.a: expected plain data, not a set"),
        ({"a": "\ud800"}, "$.a: expected text, not half a character"),
        ({"\ud800": 1}, "$: expected text as every key, not half a character"),
        (
            {"a\u202e\x7f": object()},
            '$["a\\u202e\\u007f"]: expected plain data, not a object',
        ),
    ],
)
def test_what_is_no_json_is_told(data: object, problem: str) -> None:
    assert told("config", data)[0] == problem


def test_depth_breaks_nothing() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert told("config", {"invites": deep}) == ["$.invites[0][0]: nested too deeply"]
    while isinstance(deep, list):  # taken apart by hand: freeing it recurses, too
        deep = deep.pop()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"v": 1, "kind": "space", "owner": "@a:hs"}, []),
        ({"v": 1, "kind": "space", "owner": "@a:hs", "chat_id": None}, []),
        (
            {"v": 1, "kind": "chat", "owner": "alice"},
            [
                "$.owner: expected a Matrix user id such as @alice:your.server",
                "$.chat_id: missing: expected a chat id such as C1",
                "$.platform_chat_id: missing: expected text",
            ],
        ),
        ({"v": 2, "kind": "space", "owner": "@a:hs"}, ["$.v: expected 1"]),
        (
            {"v": 1, "kind": "room", "owner": "@a:hs"},
            ["$.kind: expected one of space, chat"],
        ),
    ],
)
def test_identity(data: object, found: list[str]) -> None:
    assert told("identity", data) == found


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"v": 1, "platform_chat_id": "p"}, []),
        ({"v": 1, "kind": "space", "owner": "@a:hs"}, []),
        ({"v": 1}, ["$.platform_chat_id: missing: expected text"]),
        (
            {"v": 1, "platform_chat_id": "p", "owner": "@a:hs"},
            ["$.kind: missing: owner needs it"],
        ),
        (
            {"v": 1, "kind": "chat", "owner": "@a:hs", "chat_id": "C01"},
            [
                "$.chat_id: expected a chat id such as C1",
                "$.platform_chat_id: missing: expected text",
            ],
        ),
    ],
)
def test_binding(data: object, found: list[str]) -> None:
    assert told("binding", data) == found


def test_a_detached_room_says_why() -> None:
    room = {"room_type": "space", "status": "detached"}
    spec = {"users": {"alice": {"space_id": "!s"}}, "rooms": {"!s": room, "bad": room}}
    found = told("topology", {"spec": spec})
    assert found[:4] == [
        "$.spec.users.alice: expected a Matrix user id such as @alice:your.server",
        '$.spec.rooms["!s"].reason: missing: expected one of upgraded, bot_kicked, '
        "bot_banned, bot_left, duplicate, unlinked, owner_banned, owner_left, lost, "
        "not_ours",
        "$.spec.rooms.bad: expected a Matrix room id such as !abc:your.server",
        "$.spec.rooms.bad.reason: missing: expected one of upgraded, bot_kicked, "
        "bot_banned, bot_left, duplicate, unlinked, owner_banned, owner_left, lost, "
        "not_ours",
    ]


@given(st.sampled_from(NAMES), JSON)
def test_nothing_makes_it_raise(name: str, data: object) -> None:
    problems(name, data)
