"""Facts: whatever stands in an event, the result is a fact, and never too sure a one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.facts import (
    Child,
    Create,
    EventTypes,
    Fact,
    Gone,
    Member,
    Name,
    Own,
    Present,
    Room,
    Tombstone,
    Unknown,
    fact,
    is_unread,
    shown,
)
from controller.model import Cause

ME, ALICE, MALLORY = "@bot:hs", "@alice:hs", "@mallory:hs"
TYPES = EventTypes()

Event = dict[str, Any]

NO_TEXT: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 10**30, "", [], ["x"], {}, {"a": "b"},
)  # fmt: skip
"""Every kind of JSON but a text that says something."""


def event(
    kind: str, key: str = "", content: Any = None, sender: str = ME, **more: Any
) -> Event:
    return {
        "type": kind,
        "state_key": key,
        "sender": sender,
        "content": {} if content is None else content,
        "event_id": f"${kind}|{key}",
        "origin_server_ts": 7,
    } | more


def cause(kind: str, key: str = "", sender: str = ME) -> Cause:
    return Cause(sender, f"${kind}|{key}", 7)


def create(sender: str = ME, **content: Any) -> Event:
    return event("m.room.create", content=content, sender=sender)


def member(user: str, membership: Any, sender: str | None = None) -> Event:
    content = {"membership": membership}
    return event("m.room.member", user, content, sender or user)


def child(content: Any, room: str = "!c") -> Event:
    return event("m.space.child", room, content)


JOINED = member(ME, "join")
SPACE = create(type="m.space")


def read(*events: Any) -> Room:
    """The room that these events show, with a create event and the bot in it."""
    found = fact("!r", [create(), JOINED, *events], ME)
    assert isinstance(found, Present)
    return found.room


# --- present, gone, unknown ---------------------------------------------------


@pytest.mark.parametrize(
    ("membership", "sender", "expected"),
    [
        ("join", ME, "present"),
        ("join", MALLORY, "present"),
        ("leave", ME, "bot_left"),
        ("leave", MALLORY, "bot_kicked"),
        ("ban", MALLORY, "bot_banned"),
        ("ban", ME, "bot_banned"),
        ("invite", MALLORY, "the bot's membership is invite"),
        ("knock", ME, "the bot's membership is knock"),
        ("JOIN", ME, "the bot's member event says nothing"),
        ("joined", ME, "the bot's member event says nothing"),
    ],
)
def test_the_bots_own_member_event_says_which(
    membership: str, sender: str, expected: str
) -> None:
    """Joined is present, thrown out or left is gone, all else is unknown."""
    own = member(ME, membership, sender)
    match fact("!r", [create(), own], ME):
        case Present(room):
            assert (expected, room.room_id) == ("present", "!r")
        case Gone(reason, why, room):
            assert reason == expected
            assert why == cause("m.room.member", ME, sender)
            assert room is not None
        case Unknown(why):
            assert why == expected


def test_only_an_invite_or_a_knock_says_that_the_bot_is_not_in_the_room() -> None:
    """A member event that cannot be read is no absence."""
    for membership, absent in (("invite", True), ("knock", True), ("?", False)):
        found = fact("!r", [create(), member(ME, membership, MALLORY)], ME)
        assert isinstance(found, Unknown)
        assert (found.absent, found.overdue) == (absent, False)


@pytest.mark.parametrize("membership", NO_TEXT)
def test_an_own_member_event_that_says_nothing_is_unknown(membership: Any) -> None:
    """As is a redacted one, which has no membership at all."""
    nothing = Unknown("the bot's member event says nothing")
    assert fact("!r", [create(), member(ME, membership)], ME) == nothing
    assert fact("!r", [create(), event("m.room.member", ME)], ME) == nothing


def test_without_an_own_member_event_a_room_is_unknown() -> None:
    """That others are in it, or that the bot made it, is no sign."""
    events = [create(), member(ALICE, "join"), member("@BOT:hs", "join")]
    assert fact("!r", events, ME) == Unknown("the bot has no member event")
    assert fact("!r", [], ME) == Unknown("the bot has no member event")


def test_without_a_create_event_a_room_is_not_present() -> None:
    """But the bot's own end is evidence by itself."""
    assert fact("!r", [JOINED], ME) == Unknown("no create event")
    why = cause("m.room.member", ME, MALLORY)
    kicked = fact("!r", [member(ME, "leave", MALLORY)], ME)
    assert kicked == Gone("bot_kicked", why, None)
    banned = fact("!r", [member(ME, "ban", MALLORY)], ME)
    assert banned == Gone("bot_banned", why, None)


def test_a_gone_room_shows_what_it_still_shows() -> None:
    """Its state at the time stays readable."""
    found = fact("!r", [create(), member(ME, "leave"), member(ALICE, "join")], ME)
    room = shown(found)
    assert room
    assert room.members.keys() == {ME, ALICE}
    assert shown(Present(room)) is room
    for nothing in (Gone("bot_left", room.create.cause), Unknown("503"), None):
        assert shown(nothing) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, True),
        (Unknown("503"), True),
        (Unknown("403", absent=True), True),
        (Unknown("503", overdue=True), False),
        (Unknown("403", absent=True, overdue=True), False),
        (Gone("bot_left", Cause(ME, "$e", 1)), False),
        (Present(Room("!r", Create(Cause(ME, "$e", 1), "", "1", None, None))), False),
    ],
)
def test_unread_is_what_may_still_show_itself(
    found: Fact | None, expected: bool
) -> None:
    """Not looked at or in vain; after a whole interval it stops counting."""
    assert is_unread(found) is expected


# --- the envelope -------------------------------------------------------------


@pytest.mark.parametrize("part", ["type", "state_key", "sender", "content"])
@pytest.mark.parametrize("value", [None, 0, True, 1.5, 10**30, [], ["m.room.name"]])
def test_an_event_with_a_broken_envelope_is_no_event(part: str, value: Any) -> None:
    """It does not even take the place of the one before it."""
    good = event("m.room.name", content={"name": "A"})
    broken = event("m.room.name", content={"name": "B"}) | {part: value}
    assert read(good, broken).name == Name(cause("m.room.name"), "A")
    del broken[part]
    assert read(good, broken).name == Name(cause("m.room.name"), "A")


@pytest.mark.parametrize("content", ["", "text", 5, [], [{}], None, False])
def test_content_that_is_no_object_is_no_event(content: Any) -> None:
    """An own member event like that leaves the room unknown."""
    own = {**JOINED, "content": content}
    assert fact("!r", [create(), own], ME) == Unknown("the bot has no member event")


@pytest.mark.parametrize("thing", [*NO_TEXT, "event", [[]], (1, 2)])
def test_what_is_no_object_is_no_event(thing: Any) -> None:
    """Anything may stand in a list of events."""
    assert fact("!r", [thing, create(), thing, JOINED], ME) == Present(read())


@pytest.mark.parametrize("value", NO_TEXT)
def test_an_event_id_that_is_none_is_empty(value: Any) -> None:
    """The event counts all the same."""
    own = {**member(ME, "ban", MALLORY), "event_id": value}
    assert fact("!r", [own], ME) == Gone("bot_banned", Cause(MALLORY, "", 7))
    del own["event_id"]
    assert fact("!r", [own], ME) == Gone("bot_banned", Cause(MALLORY, "", 7))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (-5, -5), (2**62, 2**62), (True, 0), (1.5, 0), ("7", 0), (None, 0)],
)
def test_a_time_that_is_no_whole_number_is_zero(value: Any, expected: int) -> None:
    """The event counts all the same."""
    own = {**member(ME, "ban", MALLORY), "origin_server_ts": value}
    found = fact("!r", [own], ME)
    assert isinstance(found, Gone)
    assert (found.cause.at, type(found.cause.at)) == (expected, int)


@pytest.mark.parametrize(
    "kind", ["m.room.create", "m.room.name", "m.room.tombstone", TYPES.binding]
)
def test_only_its_own_state_key_counts(kind: str) -> None:
    """Creation, name and tombstone have an empty one, the binding the bot's id."""
    content = {"name": "x", "replacement_room": "!x", "type": "m.space"}
    others = [event(kind, key, content) for key in (" ", "!r", ALICE, "@bot:hs ")]
    assert read(*others) == read()


LATER = {
    "creation": (create(), SPACE),
    "the bot": (JOINED, member(ME, "ban", MALLORY)),
    "a member": (member(ALICE, "join"), member(ALICE, "leave", ME)),
    "emptied child": (child({"via": ["hs"]}), child({})),
    "filled child": (child({}), child({"via": ["hs"]})),
    "redacted tombstone": (
        event("m.room.tombstone", content={"replacement_room": "!a"}),
        event("m.room.tombstone"),
    ),
    "redacted name": (
        event("m.room.name", content={"name": "A"}),
        event("m.room.name"),
    ),
    "redacted binding": (
        event(TYPES.binding, ME, {"v": 1}),
        event(TYPES.binding, ME),
    ),
}


@pytest.mark.parametrize(("first", "later"), LATER.values(), ids=LATER)
def test_the_later_of_two_events_with_one_key_counts(
    first: Event, later: Event
) -> None:
    """Also where the later one says less: it was redacted, or emptied."""
    base = [SPACE, JOINED]
    assert fact("!r", [*base, first, later], ME) == fact("!r", [*base, later], ME)
    assert fact("!r", [*base, first], ME) != fact("!r", [*base, later], ME)


# --- m.room.create ------------------------------------------------------------


def test_a_create_event_of_which_everything_is_read() -> None:
    """Type, version, predecessor, and the raw identity of a room that is the bot's."""
    content = {
        "type": "m.space",
        "room_version": "12",
        "predecessor": {"room_id": "!old", "event_id": "$x"},
        TYPES.identity: {"v": 1},
    }
    for creator, identity in ((ME, {"v": 1}), (MALLORY, None)):
        found = shown(fact("!r", [create(creator, **content), JOINED], ME))
        assert found is not None
        made = cause("m.room.create", sender=creator)
        assert found.create == Create(made, "m.space", "12", "!old", identity)


@pytest.mark.parametrize(
    ("room_type", "expected"),
    [
        ("m.space", "m.space"),
        ("com.example.odd", "com.example.odd"),
        ("", ""),
        (None, ""),
        (0, "?"),
        (False, "?"),
        (["m.space"], "?"),
        ({}, "?"),
        (1.5, "?"),
    ],
)
def test_a_type_that_is_no_string_is_one_that_nobody_knows(
    room_type: Any, expected: str
) -> None:
    """It is not none: the room is no chat."""
    assert read(create(type=room_type)).create.type == expected
    assert read(create()).create.type == ""


@pytest.mark.parametrize("value", NO_TEXT)
def test_versions_and_predecessors_that_are_none(value: Any) -> None:
    """A room that does not say its version is of version 1."""
    found = read(create(room_version=value, predecessor=value)).create
    assert (found.version, found.predecessor) == ("1", None)
    assert read(create(predecessor={"room_id": value})).create.predecessor is None


@pytest.mark.parametrize("value", [*NO_TEXT, "x", {"v": 1}])
def test_the_identity_is_kept_as_it_stands(value: Any) -> None:
    """Reading it is not the parser's business."""
    assert read(create(**{TYPES.identity: value})).create.identity == value


# --- members ------------------------------------------------------------------


@pytest.mark.parametrize("membership", ["join", "leave", "ban", "invite", "odd"])
def test_a_member_event_of_any_kind_is_kept(membership: str) -> None:
    """Somebody who was ever in the room may be its owner."""
    found = read(member(ALICE, membership, MALLORY)).members[ALICE]
    assert found == Member(cause("m.room.member", ALICE, MALLORY), membership)


@pytest.mark.parametrize("membership", NO_TEXT)
def test_a_member_event_that_says_nothing_is_kept(membership: Any) -> None:
    """A redacted one still names a user."""
    assert read(member(ALICE, membership)).members[ALICE].membership == ""
    assert read(event("m.room.member", ALICE)).members[ALICE].membership == ""


def test_members_are_kept_only_of_rooms_that_the_bot_made() -> None:
    """Of a stranger's room nothing depends on them."""
    assert read(member(ALICE, "join")).members.keys() == {ME, ALICE}
    assert read(create(MALLORY), member(ALICE, "join")).members == {}


# --- children -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        (["hs"], ("hs",)),
        (["hs", "other"], ("hs", "other")),
        ([], ()),
        (None, ()),
        ("hs", ()),
        (["hs", 1], ()),
        ([None], ()),
        ([["hs"]], ()),
        ({"hs": 1}, ()),
        (True, ()),
        (1, ()),
    ],
)
def test_via_is_a_list_of_strings_or_no_link(
    via: Any, expected: tuple[str, ...]
) -> None:
    """One server that is none spoils the list; that is not the same as to empty it."""
    found = read(SPACE, child({"via": via})).children["!c"]
    assert found == Child(cause("m.space.child", "!c"), expected, None, not expected)


def test_a_redacted_child_event_is_kept() -> None:
    """It is a decision, and not the same as none."""
    found = read(SPACE, child({})).children["!c"]
    assert (found.via, found.broken) == ((), False)
    assert "!c" not in read(SPACE).children


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("a", "a"),
        ("", ""),
        (" ", " "),
        ("~", "~"),
        ("x" * 50, "x" * 50),
        ("x" * 51, None),
        ("\x1f", None),
        ("a\x7f", None),
        ("é", None),
        ("a\n", None),
        (1, None),
        (None, None),
        (["a"], None),
        (True, None),
    ],
)
def test_an_order_is_what_the_spec_says(order: Any, expected: str | None) -> None:
    """At most 50 characters of printable ASCII; else the link stays, without order."""
    found = read(SPACE, child({"via": ["hs"], "order": order})).children["!c"]
    assert (found.via, found.order) == (("hs",), expected)


def test_children_are_kept_of_spaces_whoever_made_them() -> None:
    """A link from a stranger's Space is a finding; one from a chat room is nothing."""
    link = child({"via": ["hs"]})
    assert read(create(MALLORY, type="m.space"), link).children.keys() == {"!c"}
    for other in (None, "", "com.example.odd", 5):
        assert read(create(type=other), link).children == {}


@pytest.mark.parametrize("key", ["", "not-a-room", "@alice:hs", "!r"])
def test_any_state_key_may_stand_on_a_child(key: str) -> None:
    """Servers accept all of them, the Space itself included."""
    assert read(SPACE, child({"via": ["hs"]}, key)).children.keys() == {key}


# --- tombstone, binding, name -------------------------------------------------


@pytest.mark.parametrize("target", NO_TEXT)
def test_a_tombstone_that_names_no_room_is_none(target: Any) -> None:
    """A redacted one is none, either."""
    assert read(event("m.room.tombstone")).tombstone is None
    stone = event("m.room.tombstone", content={"replacement_room": target})
    assert read(stone).tombstone is None


def test_a_tombstone_needs_no_body() -> None:
    """Where it leads is all that counts."""
    content = {"replacement_room": "!new"}
    stone = event("m.room.tombstone", content=content, sender=MALLORY)
    expected = Tombstone(cause("m.room.tombstone", sender=MALLORY), "!new")
    assert read(stone).tombstone == expected


@pytest.mark.parametrize("content", [{}, {"v": 1}, {"v": "x", "y": [None]}])
def test_a_binding_is_kept_as_it_stands(content: Event) -> None:
    """An empty one, too: there was something."""
    found = read(event(TYPES.binding, ME, content)).binding
    assert found == Own(cause(TYPES.binding, ME), content)


def test_a_binding_that_somebody_else_sent_is_none() -> None:
    """Nor one under another key; a server would allow neither."""
    assert read(event(TYPES.binding, ME, {"v": 1}, MALLORY)).binding is None
    assert read(event(TYPES.binding, MALLORY, {"v": 1}, MALLORY)).binding is None
    assert read(event(TYPES.binding, MALLORY, {"v": 1}, ME)).binding is None


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_name_that_is_no_text_is_none(name: Any) -> None:
    """A room without one has none."""
    assert read(event("m.room.name", content={"name": name})).name is None
    assert read(event("m.room.name")).name is None
    assert read(event("m.room.name", content={"name": "A"})).name == Name(
        cause("m.room.name"), "A"
    )


def test_the_names_of_the_bots_events_are_settings() -> None:
    """With other ones, the usual ones say nothing."""
    types = EventTypes("io.x.identity", "io.x.binding")
    events = [
        event("m.room.create", content={"io.x.identity": 1, TYPES.identity: 2}),
        JOINED,
        event("io.x.binding", ME, {"a": 1}),
        event(TYPES.binding, ME, {"a": 2}),
    ]
    found = fact("!r", events, ME, types)
    assert isinstance(found, Present)
    assert found.room.create.identity == 1
    assert found.room.binding == Own(cause("io.x.binding", ME), {"a": 1})
    assert types.binding in types.state()
    assert TYPES.binding not in types.state()


# --- anything at all ----------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from([*TYPES.state(), "m.space.parent"])
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "membership": st.sampled_from(["join", "leave", "ban", "invite"]) | JSON,
        "type": st.sampled_from(["m.space"]) | JSON,
        "room_version": JSON,
        "predecessor": st.fixed_dictionaries({"room_id": JSON}) | JSON,
        "replacement_room": JSON,
        "name": JSON,
        "via": st.lists(st.text(max_size=3) | JSON, max_size=3) | JSON,
        "order": st.text(max_size=60) | JSON,
        TYPES.identity: JSON,
    },
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "type": KINDS | JSON,
        "state_key": st.sampled_from(["", ME, ALICE]) | JSON,
        "sender": st.sampled_from([ME, ALICE]) | JSON,
        "content": CONTENTS | JSON,
        "event_id": JSON,
        "origin_server_ts": JSON,
    },
)
WHOLE = st.builds(
    event,
    KINDS,
    st.sampled_from(["", ME, ALICE]),
    CONTENTS,
    st.sampled_from([ME, ALICE]),
)
EVENTS = st.lists(WHOLE | WHOLE | NEARLY | JSON, max_size=8)


def readable(events: list[Any], kind: str, key: str) -> list[Event]:
    """The contents of the events of one type and key that are whole, in order."""
    return [
        one["content"]
        for one in events
        if isinstance(one, dict)
        and (one.get("type"), one.get("state_key")) == (kind, key)
        and isinstance(one.get("sender"), str)
        and isinstance(one.get("content"), dict)
    ]


@given(EVENTS)
def test_any_json_is_a_fact_and_never_too_sure_a_one(events: list[Any]) -> None:
    """Present needs the bot's join and a creation, gone its leave or ban."""
    own = readable(events, "m.room.member", ME)
    said = own[-1].get("membership") if own else None
    made = bool(readable(events, "m.room.create", ""))
    match fact("!r", events, ME):
        case Present(room):
            assert (said, made) == ("join", True)
            assert room.room_id == "!r"
        case Gone(reason=reason, room=room):
            assert said == {"bot_banned": "ban"}.get(reason, "leave")
            assert (room is not None) is made
        case Unknown(overdue=overdue):
            assert said not in ("leave", "ban")
            assert not (said == "join" and made)
            assert not overdue


@given(EVENTS)
def test_whatever_stands_in_a_room_what_is_read_has_its_shape(
    events: list[Any],
) -> None:
    """Texts are texts and not empty, times are whole numbers, links name servers."""
    room = shown(fact("!r", [*events, SPACE, JOINED], ME))
    assert room
    assert (room.create.type, room.members.keys() >= {ME}) == ("m.space", True)
    causes = [room.create.cause]
    causes += [one.cause for one in room.members.values()]
    causes += [one.cause for one in room.children.values()]
    causes += [one.cause for one in (room.tombstone, room.binding, room.name) if one]
    for why in causes:
        assert [type(value) for value in why] == [str, str, int]
    for one in room.children.values():
        assert all(isinstance(server, str) for server in one.via)
        assert one.order is None or len(one.order) <= 50
    assert room.tombstone is None or room.tombstone.replacement
    assert room.name is None or room.name.name
    assert room.binding is None or room.binding.cause.sender == ME


@given(EVENTS, st.lists(JSON, max_size=3), st.integers(0, 8))
def test_garbage_in_between_changes_nothing(
    events: list[Any], garbage: list[Any], where: int
) -> None:
    """What is no event might as well not be there."""
    mixed = [*events[:where], *garbage, {"type": ["m.room.member"]}, *events[where:]]
    with_it, without = fact("!r", mixed, ME), fact("!r", events, ME)
    assert repr(with_it) == repr(without)  # in which nan is as good as nan
