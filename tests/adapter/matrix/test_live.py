"""Whatever a server answers to /sync, it is read event by event, or refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.errors import Unexpected
from adapter.matrix.facts import EventTypes
from adapter.matrix.live import (
    Batch,
    Update,
    after_own_join,
    answered,
    joined_now,
    live_filter,
    read_batch,
    topology_rooms,
)

ME = "@bot:hs.test"
ALICE = "@alice:hs.test"
TYPES = EventTypes()

Json = dict[str, Any]


def event(kind: str, key: str | None = None, **more: Any) -> Json:
    made: Json = {
        "type": kind,
        "sender": ALICE,
        "event_id": f"${kind}-{key}",
        "content": {},
    }
    if key is not None:
        made["state_key"] = key
    return made | more


def message(text: str) -> Json:
    content = {"msgtype": "m.text", "body": text}
    return event("m.room.message", event_id=f"${text}", content=content)


def member(who: str, membership: str, before: str | None = None, **more: Any) -> Json:
    unsigned = {} if before is None else {"prev_content": {"membership": before}}
    content = {"membership": membership}
    made = event("m.room.member", who, content=content, unsigned=unsigned)
    return made | {"event_id": f"${who}-{before}-{membership}"} | more


def batch(**joined: Any) -> Batch:
    """The batch of an answer with these sections of joined rooms."""
    sections = {f"!{name}": section for name, section in joined.items()}
    return read_batch({"next_batch": "s2", "rooms": {"join": sections}}, TYPES)


def room(*timeline: Json, state: tuple[Json, ...] = (), **more: Any) -> Json:
    return {
        "state": {"events": list(state)},
        "timeline": {"events": list(timeline), "limited": False, **more},
    }


# What cannot be read


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"next_batch": ""},
        {"next_batch": 1},
        {"next_batch": "s2", "rooms": []},
        {"next_batch": "s2", "rooms": {"join": []}},
        {"next_batch": "s2", "rooms": {"leave": "!r"}},
        {"next_batch": "s2", "rooms": {"invite": 1}},
    ],
)
def test_an_answer_that_is_none(body: object) -> None:
    """Without a position or a list of rooms, going on would lose what happened."""
    with pytest.raises(Unexpected):
        read_batch(body, TYPES)


@pytest.mark.parametrize(
    "section",
    [
        None,
        [],
        "room",
        {"timeline": []},
        {"timeline": {"events": {}}},
        {"state": 1, "timeline": {"events": [message("hi")]}},
        {"state": {"events": "none"}},
    ],
)
def test_one_room_that_cannot_be_read(section: object) -> None:
    """It is unread, and read again from elsewhere; its neighbour is heard."""
    found = batch(bad=section, good=room(message("hi")))
    assert found.joined["!bad"] == Update(limited=True, unread=True)
    assert found.joined["!good"].timeline == (message("hi"),)
    assert topology_rooms(found, ME, TYPES) == {"!bad"}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        message("x") | {"type": 1},
        message("x") | {"sender": None},
        message("x") | {"event_id": 7},
        message("x") | {"content": []},
    ],
)
def test_one_event_that_cannot_be_read(bad: object) -> None:
    """It is left out, and those around it are not."""
    found = batch(r={"timeline": {"events": [message("one"), bad, message("two")]}})
    assert found.joined["!r"].timeline == (message("one"), message("two"))
    assert not topology_rooms(found, ME, TYPES)


def test_what_nobody_asked_for() -> None:
    """A server that ignores the filter is not listened to the more."""
    noise = event("m.reaction"), event("m.room.topic", "")
    found = batch(r=room(*noise, message("hi"), state=noise))
    assert found.joined == {"!r": Update((), (message("hi"),))}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
EVENTS = st.lists(
    JSON
    | st.fixed_dictionaries(
        {
            "type": JSON | st.sampled_from([*TYPES.state(), "m.room.message"]),
            "sender": JSON | st.just(ALICE),
            "content": JSON | st.just({"membership": "join"}),
        },
        optional={
            "event_id": JSON | st.text(),
            "state_key": JSON | st.just(ME),
            "unsigned": JSON | st.fixed_dictionaries({"prev_content": JSON}),
        },
    ),
    max_size=3,
)
PART = JSON | st.fixed_dictionaries(
    {}, optional={"events": JSON | EVENTS, "limited": JSON, "prev_batch": JSON}
)
SECTION = JSON | st.fixed_dictionaries(
    {}, optional={"timeline": PART, "state": PART, "invite_state": PART}
)
ROOMS = JSON | st.dictionaries(st.sampled_from(["!a", "!b"]), SECTION)
ANSWERS = JSON | st.fixed_dictionaries(
    {"next_batch": JSON | st.just("s2")},
    optional={
        "account_data": PART,
        "rooms": JSON
        | st.fixed_dictionaries(
            {}, optional={"join": ROOMS, "leave": ROOMS, "invite": ROOMS}
        ),
    },
)


@given(ANSWERS)
def test_any_answer(body: object) -> None:
    """Any JSON is a batch whose every event can be handled, or refused as a whole."""
    try:
        found = read_batch(body, TYPES)
    except Unexpected:
        return
    assert found.token
    assert topology_rooms(found, ME, TYPES) <= found.joined.keys() | found.left.keys()
    for update in found.joined.values():
        events = (*update.state, *update.timeline)
        heard = after_own_join(events, ME)
        assert events[len(events) - len(heard) :] == heard
        assert joined_now(heard, ME) is None
        for one in events:
            assert one["type"] in live_filter(TYPES)["room"]["timeline"]["types"]
            assert isinstance(one["sender"] + one["event_id"], str)
            assert isinstance(one["content"], dict)


# What is read


def test_a_whole_answer() -> None:
    """Every part of an answer is in its batch."""
    name = event("m.room.name", "")
    left = member(ME, "leave", "join")
    asked = {"type": "m.room.member", "sender": ALICE, "state_key": ME, "content": {}}
    checkpoints = [
        {"type": TYPES.checkpoint, "content": {"n": 1}},
        {"type": "m.direct", "content": {}},
        {"type": TYPES.checkpoint, "content": {"n": 2}},
        {"type": TYPES.checkpoint, "content": None},
    ]
    found = read_batch(
        {
            "next_batch": "s2",
            "account_data": {"events": checkpoints},
            "rooms": {
                "join": {
                    "!r": room(
                        message("hi"), state=(name,), limited=True, prev_batch="t1"
                    )
                },
                "leave": {"!l": room(left, state=(name,)), "!odd": 1},
                "invite": {"!i": {"invite_state": {"events": [asked, {}]}}, "!odd": []},
            },
        },
        TYPES,
    )
    assert found == Batch(
        "s2",
        {"!r": Update((name,), (message("hi"),), limited=True, prev_batch="t1")},
        {"!l": (name, left), "!odd": ()},
        {"!i": (asked,), "!odd": ()},
        {"n": 2},
    )


@pytest.mark.parametrize("rooms", [{}, {"rooms": None}, {"rooms": {"join": None}}])
def test_nothing_happened(rooms: Json) -> None:
    """An answer without any room is a batch without events."""
    assert read_batch({"next_batch": "s2", **rooms}, TYPES) == Batch("s2")


# Which rooms are read again


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (message("hi"), False),
        (event("m.room.encryption", ""), False),
        (event("m.room.name"), False),  # no state, whatever its type
        (event(TYPES.binding, ALICE), False),  # nobody's but the bot's own decides
        (event(TYPES.binding, ME), True),
        (event("m.room.name", ""), True),
        (event("m.room.create", ""), True),
        (event("m.space.child", "!c"), True),
        (event("m.room.tombstone", ""), True),
        (member(ALICE, "leave"), True),
        (event("m.room.redaction"), True),
    ],
)
@pytest.mark.parametrize("place", ["state", "timeline"])
def test_what_decides(said: Json, place: str, again: bool) -> None:
    """State that decides counts wherever it stands, and so does any redaction."""
    here = room(state=(said,)) if place == "state" else room(said)
    found = batch(r=here, other=room(message("hi")))
    assert topology_rooms(found, ME, TYPES) == ({"!r"} if again else set())


def test_a_gap() -> None:
    """What was redacted in a gap is said nowhere."""
    found = batch(r=room(message("hi"), limited=True, prev_batch="t1"))
    assert topology_rooms(found, ME, TYPES) == {"!r"}


def test_the_end() -> None:
    """A room that the bot is out of is read again, whether or not an event says so."""
    rooms = {"leave": {"!gone": room(member(ME, "ban")), "!odd": None}}
    found = read_batch({"next_batch": "s2", "rooms": rooms}, TYPES)
    assert topology_rooms(found, ME, TYPES) == {"!gone", "!odd"}


# The bot's own join

OLD, NEW = message("old"), message("new")


@pytest.mark.parametrize("before", ["invite", "leave", "ban", "knock", "", None])
def test_nothing_from_before_a_join(before: str | None) -> None:
    """What was said before the bot came is not for it to answer."""
    join = member(ME, "join", before)
    events = (OLD, member(ME, "join", "leave"), OLD, join, NEW)
    assert after_own_join(events, ME) == (NEW,)
    assert joined_now(events, ME) == join


@pytest.mark.parametrize(
    "other",
    [
        member(ME, "join", "join"),  # a new display name
        member(ALICE, "join", "leave"),
        member(ME, "invite"),
        member(ME, "leave", "join"),
        event("m.room.member", content={"membership": "join"}),
    ],
)
def test_what_is_no_join(other: Json) -> None:
    """Only the bot's own coming cuts off what was before."""
    events = (OLD, other, NEW)
    assert after_own_join(events, ME) == events
    assert joined_now(events, ME) is None


@pytest.mark.parametrize("unsigned", [None, [], {"prev_content": "join"}])
def test_a_join_that_says_nothing_of_before(unsigned: object) -> None:
    """An old command left out is better than one obeyed twice."""
    events = (OLD, member(ME, "join", unsigned=unsigned), NEW)
    assert after_own_join(events, ME) == (NEW,)


# The bot's own answers


@pytest.mark.parametrize(
    ("unsigned", "found"),
    [
        ({"transaction_id": "$old/0"}, {"$old"}),
        ({"transaction_id": "$old/1"}, set()),
        ({"transaction_id": "$old/failed/0"}, {"$old/failed"}),
        ({"transaction_id": 5}, set()),
        ({}, set()),
        (None, set()),
    ],
)
def test_what_was_answered(unsigned: object, found: set[str]) -> None:
    """The first message of an answer tells to what it is one; nobody else's does."""
    own = event("m.room.message", sender=ME, unsigned=unsigned)
    assert answered((OLD, own), ME) == found
    assert answered((OLD, own | {"sender": ALICE}), ME) == set()


# What is asked for


def test_the_filter() -> None:
    """State that only the timeline's types lack would be lost; `rooms` hides rooms."""
    asked = live_filter(TYPES)
    state, timeline = asked["room"]["state"], asked["room"]["timeline"]
    assert state["types"] == timeline["types"]
    assert {*TYPES.state(), "m.room.message", "m.room.redaction"} <= set(state["types"])
    assert timeline["limit"] > 0
    assert not state["lazy_load_members"]
    assert "rooms" not in asked["room"]
    assert asked["account_data"]["types"] == [TYPES.checkpoint]
