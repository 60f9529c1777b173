"""Reading a snapshot: what a server may send, and what is made of it (pure)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.channels import (
    Part,
    listed,
    read_sync,
    read_window,
    sync_filter,
    window_request,
)
from adapter.matrix.errors import Unexpected
from adapter.matrix.facts import EventTypes, Gone, Present, Unknown, fact

TYPES = EventTypes()
ME = "@bot:hs"


def event(kind: str, key: str | None = "", **content: Any) -> dict[str, Any]:
    made = {"type": kind, "sender": ME, "content": content}
    return made if key is None else made | {"state_key": key}


CREATE = event("m.room.create")
JOIN = event("m.room.member", ME, membership="join")
LEAVE = event("m.room.member", ME, membership="leave")
WORD = event("m.room.message", None, body="for nobody's eyes")


def in_sync(section: str = "join", **parts: list[dict[str, Any]]) -> dict[str, Any]:
    room = {name: {"events": events} for name, events in parts.items()}
    return {"next_batch": "s", "rooms": {section: {"!r": room}}}


def test_the_timeline_is_newer() -> None:
    """State events of the timeline count more than those of `state`."""
    seen = read_sync(in_sync(state=[CREATE, JOIN], timeline=[LEAVE]))
    assert isinstance(fact("!r", seen.rooms["!r"], ME), Gone)
    seen = read_sync(in_sync(state=[CREATE, LEAVE], timeline=[LEAVE, JOIN]))
    assert isinstance(fact("!r", seen.rooms["!r"], ME), Present)


def test_nothing_but_state_is_kept() -> None:
    """A server that ignores the filter sends messages: they end here."""
    topic = event("m.room.topic", topic="private")
    no_state = event("m.room.name", None, name="no state key")
    stream = [WORD, JOIN, topic, no_state, event("m.room.message", "", body="?")]
    bare = fact("!r", [CREATE, JOIN], ME)
    assert isinstance(bare, Present)
    synced = read_sync(in_sync(state=[CREATE, topic], timeline=stream))
    assert fact("!r", synced.rooms["!r"], ME) == bare
    shown = {"required_state": [CREATE, *stream], "timeline": [WORD, LEAVE]}
    body = {"lists": {"all": {"count": 1}}, "rooms": {"!r": shown}}
    assert fact("!r", read_window(body).rooms["!r"], ME) == bare


def test_no_message_is_asked_for() -> None:
    """Neither channel lets a message into the process, if the server obeys."""
    asked = orjson.dumps([sync_filter(TYPES), window_request(TYPES, 0, 100)])
    assert b"m.room.message" not in asked
    assert b"m.room.encrypted" not in asked
    room = sync_filter(TYPES)["room"]
    assert room["state"]["types"] == room["timeline"]["types"] == list(TYPES.state())
    assert "rooms" not in room
    window = window_request(TYPES, 100, 200)["lists"]["all"]
    assert window["ranges"] == [[100, 199]]  # both ends included
    assert ["m.room.member", "*"] in window["required_state"]
    assert [TYPES.binding, "*"] in window["required_state"]
    assert ["m.room.create", ""] in window["required_state"]


def test_left_and_joined() -> None:
    """A room in two sections is the one that the account is in."""
    body = in_sync(state=[CREATE, JOIN])
    body["rooms"]["leave"] = {"!r": {"timeline": {"events": [LEAVE]}}}
    assert read_sync(body).rooms["!r"] == [CREATE, JOIN]
    body["rooms"]["invite"] = {"!r": {}}
    assert read_sync(body) == Part({}, frozenset({"!r"}))


@pytest.mark.parametrize("key", ["invite_state", "stripped_state"])
def test_invitations(key: str) -> None:
    """What an invitation shows is the inviter's word, whatever it is called."""
    body: dict[str, Any] = {"lists": {"all": {"count": 1}}}
    body["rooms"] = {"!r": {key: [CREATE, JOIN]}}
    assert read_window(body) == Part({}, frozenset({"!r"}))


@pytest.mark.parametrize("room", [None, 1, "x", [], {}, {"state": 1}, {"timeline": []}])
def test_a_room_that_cannot_be_read(room: Any) -> None:
    """It costs only itself: it is listed, and unknown."""
    other = {"state": {"events": [CREATE, JOIN, 7, {"type": []}]}}
    body = {"rooms": {"join": {"!r": room, "!other": other}}}
    seen = read_sync(body)
    assert isinstance(fact("!r", seen.rooms["!r"], ME), Unknown)
    assert isinstance(fact("!other", seen.rooms["!other"], ME), Present)


def test_no_rooms() -> None:
    """An account without rooms has no `rooms` in /sync; another shape is a fault."""
    assert read_sync({"next_batch": "s"}) == Part({})
    odd: list[Any] = [[], None, "x"]
    for rooms in odd:
        with pytest.raises(Unexpected):
            read_sync({"rooms": rooms})


@pytest.mark.parametrize("count", [None, "3", 3.0, True, -1, [3]])
def test_a_count_that_is_none(count: Any) -> None:
    """Without a count nothing says that a window is whole."""
    with pytest.raises(Unexpected):
        listed({"lists": {"all": {"count": count}}, "rooms": {}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(["", ME, "@alice:hs", "!r", "#"])


def mostly(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(good, good, good, JSON)


CONTENT = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "membership": mostly(st.sampled_from(["join", "leave", "ban", "invite"])),
            "via": mostly(st.lists(mostly(st.just("hs")), max_size=2)),
            "order": mostly(st.text(max_size=60)),
            "name": mostly(st.text(max_size=5)),
            "type": mostly(st.just("m.space")),
            "predecessor": mostly(st.fixed_dictionaries({"room_id": mostly(KEYS)})),
            "replacement_room": mostly(KEYS),
            "room_version": mostly(st.just("12")),
            TYPES.identity: JSON,
        },
    )
)
EVENT = mostly(
    st.fixed_dictionaries(
        {
            "type": mostly(st.sampled_from([*TYPES.state(), "m.room.message"])),
            "sender": mostly(KEYS),
            "content": CONTENT,
        },
        optional={
            "state_key": mostly(KEYS),
            "event_id": mostly(st.text()),
            "origin_server_ts": mostly(st.integers()),
        },
    )
)
EVENTS = mostly(st.lists(EVENT, max_size=6))
PART = mostly(st.fixed_dictionaries({}, optional={"events": EVENTS}))
ROOM = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "state": PART,
            "timeline": PART,
            "required_state": EVENTS,
            "invite_state": mostly(EVENTS),
        },
    )
)
ROOMS = mostly(st.dictionaries(KEYS, ROOM, max_size=3))
SECTIONS = st.fixed_dictionaries(
    {}, optional={"join": ROOMS, "leave": ROOMS, "invite": ROOMS}
)


@given(st.fixed_dictionaries({}, optional={"rooms": mostly(SECTIONS)}))
def test_any_sync(body: dict[str, Any]) -> None:
    """Whatever is in it, /sync is read or refused, and every room in it is a fact."""
    try:
        part = read_sync(body)
    except Unexpected:
        return
    check(part)


LIST = st.fixed_dictionaries({"count": mostly(st.integers())})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rooms": ROOMS,
            "lists": mostly(st.fixed_dictionaries({"all": mostly(LIST)})),
        },
    )
)
def test_any_window(body: dict[str, Any]) -> None:
    """So is sliding sync."""
    try:
        part = read_window(body)
        assert listed(body) >= 0
    except Unexpected:
        return
    check(part)


def check(part: Part) -> None:
    assert part.invited.isdisjoint(part.rooms)
    for room_id, events in part.rooms.items():
        found = fact(room_id, events, ME)
        if isinstance(found, Present | Gone):
            mine = {"type": "m.room.member", "state_key": ME}
            assert any(
                mine.items() <= event.items()
                for event in events
                if isinstance(event, dict)
            )
