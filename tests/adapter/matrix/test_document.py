"""The document: a topology there and back, the same bytes for the same world."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.desired import Desired, Finding
from adapter.matrix.document import (
    DocumentError,
    digest,
    document,
    documents_diff,
    from_text,
    places,
    rows,
    timestamp,
    to_json,
    to_yaml,
    users,
)
from adapter.matrix.rows import Row, topology
from controller.model import Action, Cause, Key
from schemas import problems

AT = 1795341600000

NAME = st.text(max_size=20)
ROOM_ID = st.integers(0, 20).map("!r{}".format) | NAME.map("!{}".format)
ROW = st.builds(
    Row,
    room_id=ROOM_ID,
    room_type=st.sampled_from(["space", "chat"]),
    chat_id=st.none() | st.integers(1, 9).map("C{}".format),
    space_id=st.none() | ROOM_ID,
    matrix_user_id=st.none() | NAME.map("@{}:hs".format),
    platform_chat_id=st.none() | NAME,
    name=st.none() | NAME,
    status=st.sampled_from(["active", "pending", "detached", "unknown"]),
    reason=st.none() | st.sampled_from(["unlinked", "owner_left"]),
    evidence=st.none() | NAME.map("${}".format),
)
ROWS = st.lists(ROW, max_size=8).map(lambda found: {row.room_id: row for row in found})
CLEAN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def made(
    found: Mapping[str, Row],
    owners: Mapping[str, str] | None = None,
    **desired: Any,
) -> dict[str, Any]:
    return document(
        Desired(topology(found), owners or {}, **desired),
        account="@bot:hs",
        homeserver="https://hs",
        complete=True,
        observed_at=AT,
    )


ALICE = Row("!s", "space", matrix_user_id="@alice:hs", name="Alice")
CHAT = Row("!r", "chat", "C1", "!s", "@alice:hs", "p1", "Chat 1")
GONE = CHAT._replace(
    room_id="!q", chat_id="C2", status="detached", reason="unlinked", evidence="$e"
)
WORLD = {row.room_id: row for row in (ALICE, CHAT, GONE)}


def test_the_shape() -> None:
    """Exactly as it is promised: keys sorted, nothing absent, no clock in spec."""
    found = made(
        WORLD,
        {"@alice:hs": "!s"},
        findings=(
            Finding("no_space", "!u", "a chat without any Space"),
            Finding("duplicate", "!t", "a second Space", Cause("@bot:hs", "$t", 1)),
        ),
        unknown={"!x": "state: 503"},
    )
    assert list(found) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert (
        to_yaml(found)
        == f"""\
apiVersion: spacekeeper/v1
kind: Topology
metadata:
  account: '@bot:hs'
  digest: {found["metadata"]["digest"]}
  homeserver: https://hs
spec:
  rooms:
    '!q':
      chat_id: C2
      evidence: $e
      matrix_user_id: '@alice:hs'
      name: Chat 1
      platform_chat_id: p1
      reason: unlinked
      room_type: chat
      space_id: '!s'
      status: detached
    '!r':
      chat_id: C1
      matrix_user_id: '@alice:hs'
      name: Chat 1
      platform_chat_id: p1
      room_type: chat
      space_id: '!s'
      status: active
    '!s':
      matrix_user_id: '@alice:hs'
      name: Alice
      room_type: space
      status: active
  users:
    '@alice:hs':
      space_id: '!s'
status:
  complete: true
  findings:
  - code: duplicate
    evidence: $t
    message: a second Space
    room: '!t'
  - code: no_space
    message: a chat without any Space
    room: '!u'
  observed_at: '2026-11-22T10:00:00Z'
  unknown:
    '!x': 'state: 503'
"""
    )
    assert problems("topology", found) == []


def test_the_digest_is_pinned() -> None:
    """Other programs compute it, too: compact JSON, sorted keys, UTF-8."""
    spec = {"users": {}, "rooms": {"!é": {"b": 1, "a": "x"}}}
    text = '{"rooms":{"!é":{"a":"x","b":1}},"users":{}}'
    import hashlib

    assert digest(spec) == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@given(ROWS)
def test_there_and_back(found: dict[str, Row]) -> None:
    """Rows of a document make the same document again, whatever they hold."""
    first = made(found, places(found))
    assert made(rows(first), users(first)) == first
    assert digest(first["spec"]) == first["metadata"]["digest"]


@given(ROWS)
def test_as_text_and_back(found: dict[str, Row]) -> None:
    """YAML and JSON read back as the same document, whatever people typed."""
    first = made(found, places(found))
    for text in (to_yaml(first), to_json(first)):
        assert from_text(text) == first
        assert all(char.isprintable() or char == "\n" for char in text)


@given(ROWS, st.randoms())
def test_order_of_insertion_does_not_show(found: dict[str, Row], random: Any) -> None:
    items = list(found.items())
    random.shuffle(items)
    first, other = made(found), made(dict(items))
    assert to_yaml(first) == to_yaml(other)
    assert to_json(first) == to_json(other)


@given(ROWS)
def test_how_it_was_seen_is_not_in_the_digest(found: dict[str, Row]) -> None:
    seen = made(found, findings=(Finding("lost", "!x", "m"),), unknown={"!y": "?"})
    later = document(
        Desired(topology(found)),
        account="@bot:hs",
        homeserver="https://hs",
        complete=False,
        observed_at=None,
    )
    assert seen["metadata"]["digest"] == later["metadata"]["digest"]
    assert "observed_at" not in later["status"]


@given(ROWS)
def test_a_document_does_not_differ_from_itself(found: dict[str, Row]) -> None:
    assert documents_diff(made(found), made(found)) == []


def test_what_differs() -> None:
    """Rooms and places; whose document it is and when it was made do not count."""
    old = made(WORLD, {"@alice:hs": "!s"})
    new = made(
        {
            "!r": CHAT._replace(name="News"),
            "!q": GONE,
            "!n": CHAT._replace(room_id="!n"),
        },
        {"@alice:hs": "!n"},
        unknown={"!x": "?"},
    )
    new["metadata"]["account"] = "@other:hs"
    assert [(c.key, c.action) for c in documents_diff(old, new)] == [
        (Key("room", "!n"), Action.CREATE),
        (Key("room", "!r"), Action.UPDATE),
        (Key("room", "!s"), Action.DETACH),
        (Key("user", "@alice:hs"), Action.UPDATE),
    ]


def test_places() -> None:
    """A Space in use, else one that its owner left; of two, the lower id."""
    left = ALICE._replace(status="detached", reason="owner_left")
    found = [
        ALICE._replace(room_id="!b", status="pending"),
        ALICE._replace(room_id="!c"),
        left._replace(room_id="!a"),
        left._replace(room_id="!d", matrix_user_id="@bob:hs"),
        left._replace(room_id="!e", matrix_user_id="@carl:hs", reason="bot_kicked"),
        CHAT,
    ]
    assert places({row.room_id: row for row in found}) == {
        "@alice:hs": "!b",
        "@bob:hs": "!d",
    }


def test_halves_of_surrogate_pairs_crash_nothing() -> None:
    """JSON may hold them, no file can: they become U+FFFD."""
    found = made({"!r": CHAT._replace(name="a\ud800b")}, unknown={"!\udfff": "\ud83d"})
    assert found["spec"]["rooms"]["!r"]["name"] == "a\ufffdb"
    assert from_text(to_yaml(found)) == found
    assert digest({"name": "\ud800"}).startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected apiVersion, kind"),
        ("[1]", "expected apiVersion, kind"),
        ('{"a": 1, "a": 2}', 'it cannot be read: the key "a" is in it twice'),
        ('{"a": NaN}', "it cannot be read: NaN is no number in JSON"),
        ('{"a": "\\ud800"}', "it cannot be read: it holds half of a surrogate pair"),
        ('{"a": [' + "9" * 5000 + "]}", "it cannot be read"),
        ("a: &x [1]\nb: [*x, *x]", "it cannot be read: line 2, column 5: aliases"),
        ("a: 1\na: 2", "it cannot be read: line 2, column 1: a key that is here twice"),
        ("2026-11-22: x\n1: x", "it cannot be read: line 2, column 1: a key must"),
        ('{"a":' * 100_000, "it cannot be read: line 1"),
        ("{" * 100_000, "it cannot be read: line 1"),
        ("a: !!python/object/apply:os.system [x]", "it cannot be read: line 1"),
    ],
)
def test_what_is_no_document(text: str, why: str) -> None:
    with pytest.raises(DocumentError) as caught:
        from_text(text)
    assert str(caught.value).startswith(why)


def test_flow_yaml_is_no_json_and_is_read() -> None:
    assert from_text("{a: 1, at: 2026-11-22}") == {"a": 1, "at": "2026-11-22"}


@pytest.mark.parametrize("found", [{}, {"spec": 1}, {"spec": {"rooms": {"!r": 5}}}])
def test_misshapen_documents_are_told(found: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        _ = [rows(found), rows(json.loads('{"spec": {"rooms": []}}'))]


def test_timestamp() -> None:
    assert timestamp(AT + 999) == "2026-11-22T10:00:00Z"
    assert timestamp(datetime(2026, 11, 22, 10, tzinfo=UTC)) == "2026-11-22T10:00:00Z"
    there = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 11, 22, 12, tzinfo=there)) == "2026-11-22T10:00:00Z"
