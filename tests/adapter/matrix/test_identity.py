"""Who a room is: what its identity and binding say, and which rooms are one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.facts import (
    Create,
    Fact,
    Gone,
    Member,
    Own,
    Present,
    Room,
    Tombstone,
    Unknown,
)
from adapter.matrix.identity import (
    Chain,
    Lineage,
    Malformed,
    Marked,
    Marker,
    Marking,
    Newer,
    binding_of,
    chain_of,
    identity_of,
    is_chat_id,
    is_platform_chat_id,
    is_user_id,
    kind_of,
    lineage,
)
from controller.model import Cause
from schemas import problems

ME, ALICE, MALLORY = "@bot:hs", "@alice:hs", "@mallory:hs"
CAUSE, BOUND = Cause(ME, "$create", 1), Cause(ME, "$binding", 2)
TYPES = {"space": "m.space", "chat": "", "odd": "com.example.odd", "broken": "?"}

SPACE = {"v": 1, "kind": "space", "owner": ALICE}
CHAT = {
    "v": 1,
    "kind": "chat",
    "owner": ALICE,
    "chat_id": "C1",
    "platform_chat_id": "p1",
}
BARE = {"v": 1, "platform_chat_id": "p1"}


def room(
    kind: str = "chat", identity: Any = None, binding: Any = None, by: str = ME
) -> Room:
    made = Create(CAUSE._replace(sender=by), TYPES[kind], "11", None, identity)
    return Room("!r", made, binding=None if binding is None else Own(BOUND, binding))


def identity(content: Any, kind: str | None = None) -> Marking:
    """What the identity says in a room of its own kind, or of another one."""
    own = content.get("kind") if isinstance(content, dict) else None
    kind = kind or (own if own in ("space", "chat") else "chat")
    return identity_of(room(kind, content), ME)


def binding(content: Any, kind: str | None = None) -> Marking:
    """The same of a binding."""
    kind = kind or ("space" if content.get("kind") == "space" else "chat")
    return binding_of(room(kind, binding=content), ME)


# --- rules 1 and 2: what can be read ------------------------------------------


def test_what_an_identity_says() -> None:
    """Everything, of a chat; kind, owner and request, of a Space."""
    said = identity({**CHAT, "request": "q"})
    assert said == Marker(CAUSE, "chat", ALICE, "C1", "p1", "q")
    assert identity(SPACE) == Marker(CAUSE, "space", ALICE)
    assert identity({**SPACE, "request": "q"}) == Marker(
        CAUSE, "space", ALICE, request="q"
    )


def test_what_a_binding_says() -> None:
    """A bare one names the conversation, a record everything."""
    assert binding(BARE) == Marker(BOUND, platform_chat_id="p1")
    assert binding(CHAT) == Marker(BOUND, "chat", ALICE, "C1", "p1")
    assert binding(SPACE) == Marker(BOUND, "space", ALICE)
    assert not Marker(BOUND, platform_chat_id="p1").names_owner
    assert Marker(BOUND, "space", ALICE).names_owner


def test_a_room_without_them_says_nothing() -> None:
    """`null` under the identity's key is none, either."""
    assert identity_of(room(), ME) is None
    assert binding_of(room(), ME) is None


@pytest.mark.parametrize("sender", [MALLORY, "@BOT:hs", "@bot:hs.evil", "@bot:hs "])
def test_an_identity_counts_only_from_the_bot(sender: str) -> None:
    """In a room that somebody else made it says nothing, and is no finding."""
    assert identity_of(room(identity=CHAT, by=sender), ME) is None
    assert identity_of(room(identity={"v": 7}, by=sender), ME) is None
    assert identity_of(room(identity="garbage", by=sender), ME) is None


@pytest.mark.parametrize("kind", ["chat", "space"])
def test_a_redacted_binding_is_absent_and_no_finding(kind: str) -> None:
    """There is nothing wrong that a person should look at."""
    assert binding({}, kind) == Malformed(BOUND)
    assert identity({}, kind) != Malformed(CAUSE)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (CHAT, "space"),
        (SPACE, "chat"),
        (CHAT, "odd"),
        (SPACE, "odd"),
        (CHAT, "broken"),
        (CHAT | {"kind": None}, "odd"),
        (CHAT | {"kind": "Chat"}, "chat"),
        (CHAT | {"kind": ["chat"]}, "chat"),
        (CHAT | {"kind": True}, "chat"),
        ({"v": 1, "owner": ALICE}, "chat"),
    ],
)
def test_a_kind_that_is_not_the_rooms_is_malformed(content: Any, kind: str) -> None:
    """The room's type cannot be changed, and is right."""
    why = "its kind is not that of the room"
    assert identity(content, kind) == Malformed(CAUSE, why)
    assert binding(content, kind) == Malformed(BOUND, why)


@pytest.mark.parametrize("content", ["", "text", 0, 1, True, [], [CHAT], 1.5])
def test_an_identity_that_is_no_object_is_malformed(content: Any) -> None:
    """Something was meant to stand there."""
    assert identity(content) == Malformed(CAUSE, "it is no object")


@pytest.mark.parametrize(
    "version",
    [None, True, False, "1", "", [1], {}, 0, -1, -(10**30), 1.0, 1.5, 2.0, 1e300],
)
def test_a_version_that_is_no_whole_number_from_one_on_is_malformed(
    version: Any,
) -> None:
    """Above all `true` is not 1. Matrix has no 1.0: events hold whole numbers only."""
    why = "its version is missing or no number"
    assert identity({**CHAT, "v": version}) == Malformed(CAUSE, why)
    assert binding({**BARE, "v": version}) == Malformed(BOUND, why)
    assert identity({"kind": "chat"}) == Malformed(CAUSE, why)
    assert binding({"platform_chat_id": "p1"}) == Malformed(BOUND, why)


@pytest.mark.parametrize("version", [2, 3, 2**53, 10**300])
def test_a_newer_version_is_not_understood_whatever_it_says(version: int) -> None:
    """What can be read in it is kept, for it counts as taken."""
    everything = Newer(CAUSE, ALICE, "C1", "p1")
    assert identity({**CHAT, "v": version}) == everything
    assert identity({**CHAT, "v": version, "kind": "hologram"}) == everything
    assert identity({"v": version}) == Newer(CAUSE)
    assert identity(
        {"v": version, "owner": 5, "chat_id": "C0", "platform_chat_id": ""}
    ) == Newer(CAUSE)
    assert binding({"v": version, "platform_chat_id": "p1"}) == Newer(
        BOUND, platform_chat_id="p1"
    )


@pytest.mark.parametrize("name", ["owner", "chat_id", "platform_chat_id"])
@pytest.mark.parametrize("value", [None, 0, True, "", [], {}, ["x"], 1.5, 10**30])
def test_a_part_that_is_no_text_is_malformed(name: str, value: Any) -> None:
    """And so is one that is missing."""
    broken = {**CHAT, name: value}
    missing = {key: said for key, said in CHAT.items() if key != name}
    for content in (broken, missing):
        for said in (identity(content), binding(content)):
            assert isinstance(said, Malformed)
            assert name in said.why


@pytest.mark.parametrize("value", [None, 0, True, "", [], {}, "x" * 1025, "x" * 60000])
def test_a_bare_binding_that_names_no_conversation_is_malformed(value: Any) -> None:
    """It says nothing else."""
    why = "platform_chat_id is missing or no id"
    assert binding({"v": 1, "platform_chat_id": value}) == Malformed(BOUND, why)
    assert binding({"v": 1, "other": "x"}) == Malformed(BOUND, why)


@pytest.mark.parametrize("name", ["kind", "owner", "chat_id"])
def test_half_a_record_is_no_bare_binding(name: str) -> None:
    """Somebody meant to say whose it is."""
    content = {"v": 1, "platform_chat_id": "p1", name: CHAT[name]}
    assert isinstance(binding(content), Malformed)
    assert isinstance(binding({**content, name: None}), Malformed)


def test_the_bot_owns_nothing() -> None:
    """A room of its own would be bound to itself."""
    why = "owner is missing or cannot be one"
    assert identity({**SPACE, "owner": ME}) == Malformed(CAUSE, why)
    assert binding({**CHAT, "owner": ME}) == Malformed(BOUND, why)


def test_keys_that_nobody_knows_are_left_alone() -> None:
    """Also when there are many, and they are large."""
    more = {f"x{number}": "y" * 600 for number in range(100)} | {"": None}
    assert identity(CHAT | more) == identity(CHAT)
    assert binding(CHAT | more) == binding(CHAT)
    assert binding(BARE | more) == binding(BARE)


@pytest.mark.parametrize("value", [None, "", 0, 5, True, [], {}, ["q"]])
def test_a_request_that_is_none_costs_nobody_their_room(value: Any) -> None:
    """It decides nothing about the room."""
    for content in (SPACE, CHAT):
        assert identity({**content, "request": value}) == identity(content)
        assert binding({**content, "request": value}) == binding(content)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("@alice:hs", True),
        ("@alice:hs:8448", True),
        ("@:hs", True),
        ("@\u0430lice:hs", True),
        ("@a/b=c+d:[::1]:80", True),
        ("@" + "a" * 251 + ":hs", True),
        ("@" + "a" * 252 + ":hs", False),
        ("@" + "a" * 60000 + ":hs", False),
        ("alice:hs", False),
        ("@alice", False),
        ("@alice:", False),
        ("@al ice:hs", False),
        ("@alice:hs\n", False),
        ("@alice:h\ns", False),
        ("@al\x00ice:hs", False),
        ("@alice:hs\x00", False),
        (" @alice:hs", False),
        ("", False),
        (None, False),
        (["@alice:hs"], False),
    ],
)
def test_what_a_user_id_is(value: Any, expected: bool) -> None:
    """At most 255 characters, no white space, a server."""
    assert is_user_id(value) is expected
    assert isinstance(identity({**SPACE, "owner": value}), Marker) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("C1", True),
        ("C10", True),
        ("C999999999", True),
        ("C1000000000", False),
        ("C" + "9" * 60000, False),
        ("C0", False),
        ("C01", False),
        ("c1", False),
        ("C", False),
        ("C-1", False),
        ("C1.5", False),
        ("C1\n", False),
        (" C1", False),
        ("C\u0661", False),
        ("D1", False),
        (1, False),
        (None, False),
    ],
)
def test_what_a_chat_id_is(value: Any, expected: bool) -> None:
    """C and a number of at most nine digits."""
    assert is_chat_id(value) is expected
    assert isinstance(identity({**CHAT, "chat_id": value}), Marker) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("p", True),
        (" ", True),
        ("x" * 1024, True),
        ("é" * 1024, True),
        ("x" * 1025, False),
        ("", False),
        (5, False),
        (None, False),
    ],
)
def test_what_a_platform_chat_id_is(value: Any, expected: bool) -> None:
    """Any text of at most 1,024 characters: the backend's business."""
    assert is_platform_chat_id(value) is expected
    assert isinstance(binding({**BARE, "platform_chat_id": value}), Marker) is expected


@pytest.mark.parametrize(
    ("room_type", "kind"),
    [("m.space", "space"), ("", "chat"), ("?", None), ("com.example.odd", None)],
)
def test_the_kind_of_a_room_is_its_type(room_type: str, kind: str | None) -> None:
    """Whatever is neither a Space nor plain is neither kind."""
    made = room()
    typed = made._replace(create=made.create._replace(type=room_type))
    assert kind_of(typed) == kind


# --- parser and contract ------------------------------------------------------

Content = dict[str, Any]

TEXTS = st.text(max_size=4)
# No floats: an event holds whole numbers only, and to a schema 1.0 is 1.
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, 2, -1, 10**30, "", "x", [], {}]
)
LONG = st.sampled_from([251, 252, 1024, 1025, 60000]).map(lambda size: "x" * size)
OWNERS = LONG.map(lambda text: f"@{text}:hs") | st.sampled_from(
    [ALICE, "@:hs", "@a b:hs", "@a:h s", "@a:hs\n", "@a\x00:hs", "@a", "a:hs", "@a:"]
)
CHAT_IDS = st.sampled_from(
    [
        "C1",
        "C999999999",
        "C1000000000",
        "C0",
        "C01",
        "c1",
        "C",
        "C1\n",
        "C\u0661",
        " C1",
    ]
)


def contents(*required: str) -> st.SearchStrategy[Content]:
    """Nearly right contents: each part right, wrong or missing, and more besides."""
    parts = {
        "v": st.just(1) | ODD,
        "kind": st.sampled_from(["space", "chat", "chat", "Chat"]) | ODD,
        "owner": OWNERS | ODD | TEXTS,
        "chat_id": CHAT_IDS | ODD | TEXTS,
        "platform_chat_id": TEXTS | LONG | ODD,
        "other": ODD | TEXTS,
    }
    return st.fixed_dictionaries(
        {name: parts[name] for name in required},
        optional={name: parts[name] for name in parts if name not in required},
    )


def one_part_wrong(good: Content) -> st.SearchStrategy[Content]:
    """A good content, with a few parts as `contents` makes them, or without some."""

    def mixed(other: Content, gone: set[str]) -> Content:
        return {key: said for key, said in (good | other).items() if key not in gone}

    few = contents().map(lambda other: dict(list(other.items())[-2:]))
    return st.builds(mixed, few, st.sets(st.sampled_from(sorted(good)), max_size=1))


CONTENTS = (
    contents()
    | contents("v", "kind", "owner")
    | contents("v", "kind", "owner", "chat_id", "platform_chat_id")
    | one_part_wrong(SPACE)
    | one_part_wrong(CHAT)
    | one_part_wrong(BARE)
)


@given(CONTENTS)
def test_the_parser_of_identities_keeps_the_contract(content: Content) -> None:
    """What schemas/identity.v1.json allows is a marker, and nothing else is."""
    told = [str(problem) for problem in problems("identity", content)]
    assert isinstance(identity(content), Marker) is (not told), (content, told)


@given(CONTENTS)
def test_the_parser_of_bindings_keeps_the_contract(content: Content) -> None:
    """What schemas/binding.v1.json allows is a marker, and nothing else is."""
    told = [str(problem) for problem in problems("binding", content)]
    assert isinstance(binding(content), Marker) is (not told), (content, told)


AGREED: dict[str, tuple[str, Content, bool]] = {
    "an identity of a Space": ("identity", SPACE, True),
    "an identity of a chat": ("identity", CHAT, True),
    "a request": ("identity", {**CHAT, "request": "q"}, True),
    "a Space's chat_id": ("identity", {**SPACE, "chat_id": "C1"}, True),
    "a Space's conversation": ("identity", {**SPACE, "platform_chat_id": "p"}, True),
    "white space in an owner": ("identity", {**SPACE, "owner": "@a b:hs"}, False),
    "white space in a server": ("identity", {**SPACE, "owner": "@a:h s"}, False),
    "a line after an owner": ("identity", {**SPACE, "owner": "@a:hs\n"}, False),
    "NUL in an owner": ("identity", {**SPACE, "owner": "@a\x00:hs"}, False),
    "a long owner": ("identity", {**SPACE, "owner": "@" + "a" * 252 + ":hs"}, False),
    "a huge chat_id": ("identity", {**CHAT, "chat_id": "C1000000000"}, False),
    "a line after a chat_id": ("identity", {**CHAT, "chat_id": "C1\n"}, False),
    "a long conversation": (
        "identity",
        {**CHAT, "platform_chat_id": "x" * 1025},
        False,
    ),
    "a bare binding": ("binding", BARE, True),
    "a record of a Space": ("binding", SPACE, True),
    "a record of a chat": ("binding", CHAT, True),
    "an unknown key": ("identity", {**CHAT, "other": 5}, True),
    "an unknown key of a record": ("binding", {**CHAT, "request": 5}, True),
    "a record of a Space with a chat_id": (
        "binding",
        {**SPACE, "chat_id": "C1"},
        True,
    ),
    "a record of a Space with a conversation": (
        "binding",
        {**SPACE, "platform_chat_id": "p"},
        True,
    ),
    "white space in a record's owner": ("binding", {**SPACE, "owner": "@a b:hs"}, False),
    "a long owner of a record": (
        "binding",
        {**SPACE, "owner": "@" + "a" * 252 + ":hs"},
        False,
    ),
    "a huge chat_id of a record": ("binding", {**CHAT, "chat_id": "C1000000000"}, False),
    "a long bare conversation": (
        "binding",
        {**BARE, "platform_chat_id": "x" * 1025},
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "good"), AGREED.values(), ids=AGREED)
def test_parser_and_contract_agree(name: str, content: Content, good: bool) -> None:
    """What one of them takes and the other refuses, nobody can rely on."""
    said = identity(content) if name == "identity" else binding(content)
    assert isinstance(said, Marker) is good, "the parser is wrong"
    assert (problems(name, content) == []) is good, "the schema is wrong"


@given(
    CONTENTS | ODD | st.lists(ODD, max_size=2) | st.dictionaries(TEXTS, ODD),
    st.sampled_from(sorted(TYPES)),
)
def test_anything_may_stand_there(content: Any, kind: str) -> None:
    """No content makes reading raise, and what names an owner names the room's kind."""
    markings = [identity_of(room(kind, content), ME)]
    if isinstance(content, dict):
        markings.append(binding_of(room(kind, binding=content), ME))
    for said in markings:
        if isinstance(said, Marker) and said.names_owner:
            assert said.kind == kind
            assert is_user_id(said.owner)


# --- rule 8: which rooms are one ----------------------------------------------


def link(
    name: str,
    to: str | None = None,
    before: str | None = None,
    *,
    by: str = ME,
    kind: str = "chat",
    at: int = 1,
    **more: Any,
) -> Room:
    """A room whose tombstone names `to` and whose creation names `before`."""
    made = Create(Cause(by, f"${name}", at), TYPES[kind], "11", before, None)
    stone = Tombstone(Cause(MALLORY, f"$t{name}", at), to) if to else None
    return Room(name, made, tombstone=stone, **more)


def kin(*rooms: Room, **others: Fact) -> Lineage:
    """The lineage of rooms that are present, and of `others` as they are."""
    facts: dict[str, Fact] = {one.room_id: Present(one) for one in rooms}
    return lineage(facts | others, ME)


def ids(found: Lineage) -> list[tuple[str, ...]]:
    return sorted(chain.ids for chain in found.chains)


def told(found: Lineage) -> list[tuple[str, str]]:
    return [(finding.code, finding.room) for finding in found.findings]


UNFOLLOWED = [("unfollowed_tombstone", "a")]


def test_a_tombstone_is_followed_to_the_room_that_names_it() -> None:
    """Both are one, the newest first."""
    found = kin(link("a", to="b", at=1), link("b", before="a", at=9))
    assert ids(found) == [("b", "a")]
    (chain,) = found.chains
    assert (chain.key, chain.tip.room_id, chain.root.room_id) == ("b", "b", "a")
    assert (chain.kind, chain.age) == ("chat", (1, "a"))
    assert found.findings == ()


@pytest.mark.parametrize(
    "new",
    [
        link("b"),
        link("b", before="c"),
        link("b", before="a", by=MALLORY),
        link("b", before="a", kind="space"),
        link("b", before="a", kind="odd"),
        link("b", before="a", kind="broken"),
    ],
)
def test_a_tombstone_to_any_other_room_is_not_followed(new: Room) -> None:
    """Not the bot's, not for this room, or of another type: the old one stays."""
    found = kin(link("a", to="b"), new)
    assert ("a",) in ids(found)
    assert all("a" not in chain for chain in ids(found) if chain != ("a",))
    assert told(found) == UNFOLLOWED
    assert found.findings[0].cause == Cause(MALLORY, "$ta", 1)
    assert not found.waiting | found.doubtful | found.refused


def test_a_predecessor_alone_says_nothing() -> None:
    """Without a tombstone the old room was not replaced."""
    found = kin(link("a"), link("b", before="a"))
    assert ids(found) == [("a",), ("b",)]
    assert (found.findings, found.orphaned) == ((), frozenset())


def test_rooms_of_others_and_of_foreign_types_are_no_part_of_it() -> None:
    """Whatever their tombstones say."""
    found = kin(
        link("a", to="b", by=MALLORY),
        link("b", before="a", by=MALLORY),
        link("c", to="d", kind="odd"),
        link("d", before="c", kind="odd"),
    )
    assert found == Lineage(())


@pytest.mark.parametrize(
    ("target", "waiting", "doubtful", "refused"),
    [
        (None, True, True, False),
        (Unknown("503"), True, True, False),
        (Unknown("503", overdue=True), False, False, True),
        (Unknown("403", absent=True), False, True, True),
        (Unknown("403", absent=True, overdue=True), False, False, True),
        (Gone("bot_banned", Cause(MALLORY, "$e", 1)), False, False, True),
    ],
)
def test_a_target_that_nobody_could_read(
    target: Fact | None, waiting: bool, doubtful: bool, refused: bool
) -> None:
    """Unread is waited for; what refuses itself is doubtful until it is overdue."""
    others = {} if target is None else {"b": target}
    found = kin(link("a", to="b"), **others)
    assert ids(found) == [("a",)]
    expected = [{"a"} if one else set() for one in (waiting, doubtful, refused)]
    assert [found.waiting, found.doubtful, found.refused] == expected
    assert told(found) == ([] if waiting else UNFOLLOWED)


def test_a_successor_that_threw_the_bot_out_is_one_all_the_same() -> None:
    """Its state is still shown, and names the old room."""
    gone = Gone("bot_kicked", Cause(MALLORY, "$e", 1), link("b", before="a"))
    assert ids(kin(link("a", to="b"), b=gone)) == [("b", "a")]


@pytest.mark.parametrize(
    ("before", "orphaned"),
    [
        (None, True),
        (Unknown("503"), True),
        (Unknown("403", absent=True), True),
        (Unknown("403", absent=True, overdue=True), False),
        (Gone("bot_left", Cause(ME, "$e", 1)), False),
        (Present(link("a", by=MALLORY)), False),
    ],
)
def test_a_predecessor_that_nobody_could_read(
    before: Fact | None, orphaned: bool
) -> None:
    """It may say whose room this is."""
    others = {} if before is None else {"a": before}
    found = kin(link("b", before="a"), **others)
    assert found.orphaned == ({"b"} if orphaned else set())
    assert ids(found) == [("b",)]


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_circles_stop(length: int) -> None:
    """Each room of one stays by itself, with a finding."""
    names = [f"r{n}" for n in range(length)]
    found = kin(
        *(
            link(name, to=names[(n + 1) % length], before=names[n - 1])
            for n, name in enumerate(names)
        )
    )
    assert ids(found) == [(name,) for name in names]
    assert told(found) == [("upgrade_cycle", name) for name in names]
    assert found.findings[0].cause == Cause(MALLORY, "$tr0", 1)
    assert not found.waiting | found.doubtful | found.refused


def test_a_circle_does_not_stop_others() -> None:
    """A chain beside it is followed."""
    found = kin(
        link("a", to="b", before="b"),
        link("b", to="a", before="a"),
        link("c", to="d"),
        link("d", before="c"),
        link("e", to="e"),
    )
    assert ids(found) == [("a",), ("b",), ("d", "c"), ("e",)]
    assert told(found) == [
        ("unfollowed_tombstone", "e"),
        ("upgrade_cycle", "a"),
        ("upgrade_cycle", "b"),
    ]


def test_of_two_tombstones_into_one_room_only_the_named_one_is_followed() -> None:
    """A room has one predecessor."""
    found = kin(link("a", to="c"), link("b", to="c"), link("c", before="b"))
    assert ids(found) == [("a",), ("c", "b")]
    assert told(found) == UNFOLLOWED


def test_fifty_upgrades_are_one_room() -> None:
    """The first one is the root, the last one the tip, in whatever order they come."""
    names = [f"r{n:02}" for n in range(51)]
    rooms = [
        link(
            name,
            to=names[n + 1] if n < 50 else None,
            before=names[n - 1] if n else None,
            at=100 - n,
        )
        for n, name in enumerate(names)
    ]
    for shuffled in (rooms, rooms[::-1], rooms[::2] + rooms[1::2]):
        found = kin(*shuffled)
        assert ids(found) == [tuple(reversed(names))]
        assert (found.chains[0].root.room_id, found.findings) == ("r00", ())
        assert found.chains[0].age == (100, "r00")


def test_a_chain_breaks_where_a_room_is_missing() -> None:
    """What is before it and what is after it are two, until it is seen."""
    found = kin(link("a", to="b"), link("c", before="b"))
    assert ids(found) == [("a",), ("c",)]
    assert (*found.waiting, *found.orphaned) == ("a", "c")


NAMES = st.sampled_from("abcdef")
GRAPHS = st.dictionaries(
    NAMES,
    st.tuples(
        st.none() | NAMES,
        st.none() | NAMES,
        st.sampled_from([ME, ME, ME, MALLORY]),
        st.sampled_from(["chat", "chat", "space", "odd"]),
    ),
)


@given(GRAPHS)
def test_every_room_of_the_bot_is_in_one_chain(
    graph: Mapping[str, tuple[str | None, str | None, str, str]],
) -> None:
    """However tombstones and predecessors lie; neighbours name each other."""
    rooms = {
        name: link(name, to, before, by=by, kind=kind)
        for name, (to, before, by, kind) in graph.items()
    }
    found = kin(*rooms.values())
    ours = [n for n, one in rooms.items() if one.create.cause.sender == ME]
    seen = [name for chain in found.chains for name in chain.ids]
    assert sorted(seen) == sorted(n for n in ours if kind_of(rooms[n]))
    for chain in found.chains:
        for new, old in zip(chain.ids, chain.ids[1:], strict=False):
            assert (graph[old][0], graph[new][1]) == (new, old)
    unsettled = {name for _, name in told(found)} | found.waiting
    for chain in found.chains:
        tip = chain.tip
        assert (tip.tombstone is not None) is (tip.room_id in unsettled)
    # Whatever was not followed has a reason.
    assert found.doubtful >= found.waiting
    assert not found.refused


# --- what a chain says --------------------------------------------------------

OLD, NEW = Marker(CAUSE, "chat", ALICE, "C1", "p1"), Marker(BOUND, "chat", ALICE, "C2")
ONLY_BOUND = Marker(BOUND, platform_chat_id="p9")
LATER = Newer(BOUND, ALICE)
BROKEN = Malformed(CAUSE, "it is no object")


def chain(*markings: tuple[Marking, Marking]) -> Chain:
    """Rooms with these identities and bindings, the newest first."""
    return chain_of(
        tuple(Marked(link(f"r{n}"), *both) for n, both in enumerate(markings)), "chat"
    )


@pytest.mark.parametrize(
    ("markings", "expected"),
    [
        ([(None, None)], None),
        ([(OLD, None)], OLD),
        ([(None, NEW)], NEW),
        ([(OLD, NEW)], OLD),
        ([(BROKEN, NEW)], NEW),
        ([(BROKEN, None)], None),
        ([(None, ONLY_BOUND)], None),
        ([(OLD, ONLY_BOUND)], OLD),
        ([(OLD, LATER)], LATER),
        ([(LATER, NEW)], LATER),
        ([(None, None), (OLD, None)], OLD),
        ([(None, ONLY_BOUND), (None, NEW)], NEW),
        ([(None, NEW), (OLD, None)], NEW),
        ([(None, NEW), (LATER, None)], NEW),
        ([(None, None), (LATER, NEW)], LATER),
        ([(BROKEN, BROKEN), (OLD, None)], OLD),
    ],
)
def test_the_newest_room_that_says_whose_it_is_decides(
    markings: list[tuple[Marking, Marking]], expected: Marking
) -> None:
    """In one room identity before record, and a newer version before both."""
    assert chain(*markings).claim == expected


def test_a_chain_is_newer_if_its_newest_room_is() -> None:
    """One in an older room counts where the newer ones say nothing."""
    assert chain((LATER, None)).is_newer
    assert chain((OLD, LATER)).is_newer
    assert not chain((None, NEW), (LATER, LATER)).is_newer
    assert not chain((OLD, BROKEN)).is_newer
    assert chain((None, None), (LATER, NEW)).is_newer
    assert chain((BROKEN, ONLY_BOUND), (None, LATER)).is_newer


def test_a_chain_states_all_that_can_be_read() -> None:
    """In the order of the rooms, the identity first."""
    found = chain((None, ONLY_BOUND), (BROKEN, LATER), (OLD, NEW))
    assert list(found.statements()) == [ONLY_BOUND, LATER, OLD, NEW]


def test_everybody_who_was_ever_in_a_room_of_the_chain_is_a_member() -> None:
    """Whatever became of them."""
    there = {ALICE: Member(CAUSE, "leave"), "no user": Member(CAUSE, "join")}
    rooms = [link("b", members=there), link("a", members={ME: Member(CAUSE, "join")})]
    both = chain_of(tuple(Marked(one, None, None) for one in rooms), "chat")
    assert both.members() == {ALICE, ME}
