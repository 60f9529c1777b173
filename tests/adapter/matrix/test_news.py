"""Which rooms of an answer have to be read again: those that may show something new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.dispatcher import Arrival, due
from adapter.matrix.facts import EventTypes, Facts, Present, Unknown, fact
from adapter.matrix.live import read_batch
from adapter.matrix.renewal import touched

ME, ALICE = "@bot:hs", "@alice:hs"
TYPES = EventTypes()
ROOM = "!room"
Json = dict[str, Any]


def event(kind: str, key: str, number: int, sender: str = ME, **content: Any) -> Json:
    return {
        "type": kind,
        "state_key": key,
        "sender": sender,
        "event_id": f"${number}",
        "content": content,
    }


CREATE = event("m.room.create", "", 1, type="m.space")
JOINED = event("m.room.member", ME, 2, membership="join")
NAME = event("m.room.name", "", 3, name="Alice")
BINDING = event(TYPES.binding, ME, 4, v=1)
CHILD = event("m.space.child", "!chat", 5, via=["hs"])
TOMBSTONE = event("m.room.tombstone", "", 6, replacement_room="!next")
GUEST = event("m.room.member", ALICE, 7, ALICE, membership="join")
STATE = [CREATE, JOINED, NAME, BINDING, CHILD, TOMBSTONE, GUEST]


def seen(events: Iterable[Json]) -> Facts:
    return Facts({ROOM: fact(ROOM, events, ME, TYPES)}, frozenset({ROOM}))


def is_read_again(
    facts: Facts,
    events: Iterable[Json],
    *,
    limited: bool = False,
    looking: bool = False,
) -> bool:
    section = {"timeline": {"events": [*events], "limited": limited}}
    batch = read_batch({"next_batch": "s", "rooms": {"join": {ROOM: section}}}, TYPES)
    return bool(touched(batch, facts, ME, TYPES, looking=looking))


def test_what_the_room_shows_already_is_no_news() -> None:
    """So it is with all that the bot wrote, and read again when it was done."""
    assert not is_read_again(seen(STATE), STATE)


@pytest.mark.parametrize("number", range(len(STATE)))
def test_another_event_in_the_place_of_one_is(number: int) -> None:
    newer = STATE[number] | {"event_id": "$newer"}
    assert is_read_again(seen(STATE), [*STATE, newer])
    assert is_read_again(seen([*STATE, newer]), STATE)


def test_what_nobody_could_see_is() -> None:
    """What was left out, what was redacted, and what happened where nothing was read."""
    assert is_read_again(seen(STATE), [GUEST], limited=True)
    redaction = event("m.room.redaction", "", 8)
    del redaction["state_key"]
    assert is_read_again(seen(STATE), [redaction])
    assert is_read_again(Facts({}), [GUEST])
    assert is_read_again(Facts({ROOM: Unknown("403")}), [GUEST])
    left = event("m.room.member", ME, 9, membership="leave")
    assert is_read_again(seen([*STATE, left]), [GUEST])


def test_what_a_look_may_have_missed_is() -> None:
    """It goes back before what was read meanwhile, if it saw the room earlier."""
    assert is_read_again(seen(STATE), [GUEST], looking=True)


NUMBERS = st.integers(min_value=1, max_value=3)
EVENTS = st.lists(
    st.builds(
        lambda base, number, content: (
            base
            | {"event_id": f"{base['event_id']}-{number}", "content": content or {}}
        ),
        st.sampled_from([*STATE[1:], event("m.room.name", "odd", 9, name="x")]),
        NUMBERS,
        st.sampled_from([None, {"membership": "join"}, {"name": "x", "via": ["hs"]}]),
    ),
    max_size=6,
    # An id is one event, whatever is in it.
    unique_by=lambda made: made["event_id"],
)


@given(EVENTS, st.data())
def test_where_nothing_is_news_nothing_changed(events: list[Json], data: Any) -> None:
    """Whatever an answer tells in addition, the room shows as it was."""
    before = [CREATE, JOINED, *events]
    more = st.sampled_from(before) | EVENTS.filter(bool).map(lambda made: made[0])
    told = data.draw(st.lists(more, max_size=4))
    known = {one["event_id"]: one for one in before}
    told = [known.get(one["event_id"], one) for one in told]
    facts = seen(before)
    if isinstance(facts.rooms[ROOM], Present) and not is_read_again(facts, told):
        assert seen([*before, *told]) == facts


def test_the_bot_does_not_arrive_in_what_it_made() -> None:
    """Elsewhere it does, where somebody may wait for it."""

    def arrives(*events: Json) -> bool:
        rooms = {"join": {ROOM: {"timeline": {"events": [*events]}}}}
        batch = read_batch({"next_batch": "s", "rooms": rooms}, TYPES)
        return any(isinstance(item, Arrival) for item in due(batch, ME))

    assert not arrives(CREATE, JOINED)
    assert arrives(JOINED)
    assert arrives(CREATE | {"sender": ALICE}, JOINED)
