"""Rooms in which anybody wrote anything: a pass over them decides, and decides once."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.decision import decide
from adapter.matrix.document import document, from_text, to_json, to_yaml
from adapter.matrix.facts import EventTypes, Facts, fact, shown
from adapter.matrix.rows import FIELDS, Row
from controller.model import DETACHED, Resource
from schemas import problems

ME, ALICE, BOB = "@bot:hs", "@alice:hs", "@bob:hs"
PEOPLE = [
    ME,
    ALICE,
    BOB,
    "@BOT:hs",
    "@bot:hs.evil",
    "@\u0430lice:hs",
    "@bot",
    "nobody",
    "",
]
TYPES = EventTypes()
ROOMS = [f"!{letter}" for letter in string.ascii_lowercase[:6]]

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([*ROOMS, *PEOPLE, "C1", "C2", "p", "hs", "m.space", "join"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def mostly(*usual: Any) -> st.SearchStrategy[Any]:
    """One of these, or now and then anything at all."""
    return st.integers(0, 9).flatmap(
        lambda n: ANYTHING if n == 0 else st.sampled_from(usual)
    )


def content(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


MARKINGS = content(
    v=mostly(1, 1, 1, 2),
    kind=mostly("space", "chat"),
    owner=mostly(*PEOPLE[:4]),
    chat_id=mostly("C1", "C2", "C0"),
    platform_chat_id=mostly("p", "q", "x" * 1024),
    request=mostly("r"),
)
CREATIONS = content(
    type=mostly("m.space", "m.space", None),
    room_version=mostly("11", "12"),
    predecessor=st.fixed_dictionaries({"room_id": mostly(*ROOMS)}) | ANYTHING,
    **{TYPES.identity: MARKINGS | ANYTHING},
)
LINKS = content(via=mostly(["hs"], ["hs"], []), order=mostly("a", "b"))
MEMBERSHIPS = content(membership=mostly("join", "invite", "leave", "ban", "knock"))


def event(
    kind: str, keys: list[str], contents: st.SearchStrategy[Any], by: list[str]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "state_key": mostly(*keys),
            "sender": mostly(*by),
            "content": contents,
            "event_id": mostly("$1", "$2", "$3"),
            "origin_server_ts": mostly(1, 2, 3),
        }
    )


EVENTS = st.one_of(
    event("m.room.member", PEOPLE[:4], MEMBERSHIPS, PEOPLE[:3]),
    event("m.space.child", ROOMS, LINKS, PEOPLE[:3]),
    event("m.room.tombstone", [""], content(replacement_room=mostly(*ROOMS)), PEOPLE),
    event(TYPES.binding, [ME, ME, "", ALICE], MARKINGS, [ME, ME, ALICE]),
    event("m.room.name", [""], content(name=mostly("n", "\u202e\x1b")), PEOPLE),
    ANYTHING,
)


@st.composite
def states(draw: st.DrawFn) -> list[Any]:
    """What one room holds: mostly made by the bot, and with it in there."""
    made = draw(event("m.room.create", [""], CREATIONS, [ME, ME, ME, ALICE]))
    joined = {
        "type": "m.room.member",
        "state_key": ME,
        "sender": ME,
        "content": {"membership": "join"},
        "event_id": "$0",
        "origin_server_ts": 0,
    }
    return [made, joined, *draw(st.lists(EVENTS, max_size=6))]


WORLDS = st.dictionaries(st.sampled_from(ROOMS), states(), min_size=1, max_size=5)


@given(WORLDS)
def test_any_world(world: dict[str, list[Any]]) -> None:
    """A second pass finds nothing, no place is held twice, and the document is valid."""
    facts = Facts(
        {room: fact(room, events, ME) for room, events in world.items()},
        frozenset(world),
    )
    first = decide(facts, {}, ME)
    rows = {key.name: row_of(key.name, one) for key, one in first.want.rooms.items()}
    assert decide(facts, rows, ME).cache.steps == ()
    in_use = [row for row in rows.values() if row.status != DETACHED]
    for place in (
        [row.matrix_user_id for row in in_use if row.room_type == "space"],
        [row.platform_chat_id for row in in_use if row.room_type == "chat"],
        [(r.matrix_user_id, r.chat_id) for r in in_use if r.room_type == "chat"],
    ):
        assert len(place) == len(set(place))
    for room in rows:
        found = shown(facts.rooms[room])
        assert found is not None
        assert found.create.cause.sender == ME
    written = document(
        first.want, account=ME, homeserver="http://hs", complete=True, observed_at=0
    )
    for text in (to_yaml(written), to_json(written)):
        assert problems("topology", from_text(text)) == []
        assert all(line.isprintable() for line in text.split("\n"))


def row_of(room_id: str, one: Resource) -> Row:
    fields = {name: one.fields[name] for name in FIELDS if name in one.fields}
    return Row(room_id, **fields)
