"""Who may what, and where the bot may talk."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.facts import Create, Own, Room
from adapter.matrix.handlers.auth import (
    Invitation,
    Place,
    accepts,
    contradicts,
    invitation,
    is_allowed,
    may_be_answered,
    may_command,
    place,
)
from adapter.matrix.rows import Row
from controller.model import Cause

ME, ALICE, MALLORY = "@bot:hs", "@alice:hs", "@mallory:hs"
CHAT = Row("!r", "chat", "C1", "!s", ALICE, "p1", "Chat 1")
SPACE = Row("!s", "space", matrix_user_id=ALICE)
REASONS = [
    *("upgraded", "bot_kicked", "bot_banned", "bot_left", "duplicate"),
    *("owner_banned", "owner_left", "lost", "not_ours", "from a later version"),
]
ARCHIVED = CHAT._replace(status="detached", reason="unlinked")
PENDING = CHAT._replace(status="pending")
UNKNOWN = CHAT._replace(status="unknown", reason="absent")
GIVEN_UP = [CHAT._replace(status="detached", reason=reason) for reason in REASONS]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


# --- the allow-list -----------------------------------------------------------


@pytest.mark.parametrize(
    ("user_id", "pattern"),
    [
        (ALICE, "@bob:hs"),
        (ALICE, "@Alice:hs"),
        (ALICE, "@alice:HS"),
        (ALICE, "alice:hs"),
        (ALICE, "@alice:hs "),
        (ALICE, "@alice"),
        (ALICE, ":hs"),
        (ALICE, ""),
        ("@alice:hs.evil", "*:hs"),
        ("@alice:hs.evil", ALICE),
        ("@alice:evil.hs", "*:hs"),
        ("@alice:xhs", "*:hs"),
        ("@alice:exampleXorg", "*:example.org"),
        ("@alicia:hs", "@alic?:hs"),
        (ALICE, "@alic?:hs"),
        (ALICE, "@[a]lice:hs"),
        (ALICE, "@.*:hs"),
        ("@alice:hs\n", "*:hs"),
        ("alice:hs", "*"),
        ("garbage", "*"),
        ("", "*"),
        ("", ""),
    ],
)
def test_who_is_not_allowed(user_id: str, pattern: str) -> None:
    """A pattern is the whole id, to the letter, and only `*` is special in it."""
    assert not is_allowed(user_id, [pattern])
    assert not is_allowed(user_id, ["@nobody:hs", pattern])


@pytest.mark.parametrize(
    "pattern", [ALICE, "*", "*:hs", "@*:hs", "@al*:hs", "@a*i*e:*", "**", "@alice:hs*"]
)
def test_who_is_allowed(pattern: str) -> None:
    """One pattern is enough, and the others do not matter."""
    assert is_allowed(ALICE, [pattern])
    assert is_allowed(ALICE, ["@nobody:hs", pattern, ""])


def test_an_empty_list_allows_nobody() -> None:
    """It is what the configuration says it is."""
    assert not is_allowed(ALICE, [])


@given(st.from_regex(r"@[!-9;-~]{0,20}:[!-~]{1,20}", fullmatch=True), st.data())
def test_a_pattern_matches_what_it_was_made_from(user_id: str, data: Any) -> None:
    """Put `*` for any part of an id that has none itself, and it still matches."""
    start = data.draw(st.integers(0, len(user_id)))
    end = data.draw(st.integers(start, len(user_id)))
    assert is_allowed(user_id, [f"{user_id[:start]}*{user_id[end:]}"])
    assert "*" in user_id or not is_allowed(user_id + "x", [user_id])


# --- places -------------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 0, 1, 3, 100])
def test_a_room_that_may_not_be_of_two_is_elsewhere(members: int | None) -> None:
    """The bot is silent where it does not know who listens."""
    assert place(None, managed=False, members=members) is Place.ELSEWHERE


def test_a_managed_room_without_a_row_is_no_direct_room() -> None:
    """It could not be bound without guessing: nobody talks in it as if it were new."""
    assert place(None, managed=True, members=2) is Place.ELSEWHERE
    assert place(None, managed=False, members=2) is Place.DIRECT


@pytest.mark.parametrize("members", [None, 1, 2, 3])
@pytest.mark.parametrize("managed", [True, False])
def test_a_row_says_what_a_room_is(managed: bool, members: int | None) -> None:
    """However many are in it, and whether or not it was seen."""
    found = {
        CHAT: Place.CHAT,
        UNKNOWN: Place.CHAT,
        PENDING: Place.PENDING,
        ARCHIVED: Place.ARCHIVED,
        **dict.fromkeys(GIVEN_UP, Place.OTHER_DETACHED),
        CHAT._replace(status="odd"): Place.OTHER_DETACHED,
        SPACE: Place.SPACE,
        SPACE._replace(status="detached", reason="unlinked"): Place.SPACE,
        SPACE._replace(status="unknown"): Place.SPACE,
        Row("!r"): Place.ELSEWHERE,
        Row("!r", "odd"): Place.ELSEWHERE,
    }
    assert {row: place(row, managed, members) for row in found} == found


# --- words and commands -------------------------------------------------------


@pytest.mark.parametrize("routing", ["owner", "members"])
@pytest.mark.parametrize("row", [None, SPACE, Row("!r"), PENDING, ARCHIVED, *GIVEN_UP])
def test_only_a_chat_in_use_is_answered(row: Row | None, routing: str) -> None:
    """Not even its owner is, in any other room."""
    assert not may_be_answered(row, ALICE, routing)


@pytest.mark.parametrize("row", [CHAT, UNKNOWN])
def test_who_is_answered(row: Row) -> None:
    """The owner; with routing `members` whoever is in the room."""
    assert may_be_answered(row, ALICE, "owner")
    assert may_be_answered(row, ALICE, "members")
    assert may_be_answered(row, MALLORY, "members")
    for other in (MALLORY, "@Alice:hs", "@alice:HS", "@alice:hs ", ""):
        assert not may_be_answered(row, other, "owner")
        assert not may_be_answered(row, other, "a later setting")


@pytest.mark.parametrize("routing", ["owner", "members"])
def test_a_chat_without_a_conversation_is_not_answered(routing: str) -> None:
    """There is nowhere for the word to go."""
    row = CHAT._replace(platform_chat_id=None)
    assert not may_be_answered(row, ALICE, routing)


def test_a_row_without_an_owner_hears_no_commands() -> None:
    """Nobody is its owner."""
    row = CHAT._replace(matrix_user_id=None)
    assert not may_command(Place.CHAT, row, ALICE, ["*"])
    assert not may_be_answered(row, ALICE, "owner")


@pytest.mark.parametrize("row", [CHAT, UNKNOWN, PENDING, ARCHIVED, *GIVEN_UP])
def test_only_its_owner_commands_in_a_chat(row: Row) -> None:
    """Whatever its status; the allow-list adds nobody, and takes nobody away."""
    here = place(row, managed=True, members=2)
    assert may_command(here, row, ALICE, [])
    assert not may_command(here, row, MALLORY, ["*"])
    assert not may_command(here, row, "@Alice:hs", ["*"])


def test_who_commands_in_other_rooms() -> None:
    """In a direct room whoever is allow-listed, elsewhere nobody."""
    assert may_command(Place.DIRECT, None, ALICE, ["*:hs"])
    assert not may_command(Place.DIRECT, None, "@alice:elsewhere", ["*:hs"])
    assert not may_command(Place.ELSEWHERE, None, ALICE, ["*"])
    assert not may_command(Place.SPACE, SPACE, ALICE, ["*"])


# --- invitations --------------------------------------------------------------


def stripped(kind: str, key: str = "", by: str = ALICE, **content: Any) -> Any:
    return {"type": kind, "state_key": key, "sender": by, "content": content}


INVITED = stripped("m.room.member", ME, membership="invite", is_direct=True)
INVITER = stripped("m.room.member", ALICE, membership="join")


@pytest.mark.parametrize(
    "events",
    [
        [],
        [INVITER],
        [stripped("m.room.member", MALLORY, membership="invite", is_direct=True)],
        [stripped("m.room.member", ME.upper(), membership="invite")],
        [stripped("m.room.member", ME, membership="join")],
        [stripped("m.room.member", ME, membership="leave")],
        [stripped("m.room.member", ME, membership=["invite"])],
        [stripped("m.room.member", ME)],
        [stripped("m.room.member", ME, by=ME, membership="invite")],
        [stripped("m.room.member", ME, by="garbage", membership="invite")],
        [{**INVITED, "sender": None}],
        [{**INVITED, "content": None}],
        [{**INVITED, "type": "m.room.topic"}],
        [None, "garbage", []],
    ],
)
def test_what_is_no_invitation_of_the_bot(events: list[Any]) -> None:
    """Others' member events stand beside it, and can say what they like."""
    assert invitation(events, ME) is None


def test_what_an_invitation_says() -> None:
    """Who invites, whether to a direct chat, to a Space, to an encrypted room."""
    plain = Invitation(ALICE, True, False, None, False)
    assert invitation([INVITER, INVITED], ME) == plain
    assert invitation([{**INVITED, "event_id": "$i"}], ME) == plain._replace(
        event_id="$i"
    )
    secret = stripped("m.room.encryption", algorithm="m.megolm.v1.aes-sha2")
    assert invitation([secret, INVITED], ME) == plain._replace(encrypted=True)
    space = stripped("m.room.create", type="m.space")
    assert invitation([space, INVITED], ME) == plain._replace(is_space=True)
    odd = stripped("m.room.create", type=["m.space"])
    assert invitation([odd, INVITED, {**INVITED, "type": {}}], ME) == plain


@pytest.mark.parametrize("is_direct", [None, False, 1, "true", {}])
def test_an_invitation_is_direct_only_if_it_says_so(is_direct: Any) -> None:
    """Nothing but `true` is."""
    event = stripped("m.room.member", ME, membership="invite", is_direct=is_direct)
    found = invitation([event], ME)
    assert found is not None
    assert not found.is_direct


@given(st.lists(JSON | st.dictionaries(st.sampled_from(list(INVITED)), JSON)))
def test_no_invitation_is_too_broken(events: list[Any]) -> None:
    """What is malformed is left out, and takes nothing with it."""
    found = invitation([*events, INVITED], ME)
    assert found is not None
    assert found.inviter == ALICE


def test_which_invitations_are_accepted() -> None:
    """A direct chat, no Space, from somebody who may."""
    direct = Invitation(ALICE, True, False, None, False)
    assert accepts(direct, ["*:hs"])
    assert accepts(direct._replace(encrypted=True), ["*:hs"])
    assert not accepts(direct, ["*:elsewhere"])
    assert not accepts(direct._replace(is_direct=False), ["*"])
    assert not accepts(direct._replace(is_space=True), ["*"])


# --- a room against its row ---------------------------------------------------

IDENTITY = {
    "v": 1,
    "kind": "chat",
    "owner": ALICE,
    "chat_id": "C1",
    "platform_chat_id": "p1",
}
BARE = {"v": 1, "platform_chat_id": "p1"}


def room(identity: Any = None, binding: Any = None, kind: str = "") -> Room:
    made = Create(Cause(ME, "$create", 1), kind, "11", None, identity)
    own = None if binding is None else Own(Cause(ME, "$binding", 2), binding)
    return Room("!r", made, binding=own)


@pytest.mark.parametrize(
    "other",
    [
        room(IDENTITY | {"owner": MALLORY}),
        room(IDENTITY | {"owner": "@Alice:hs"}),
        room(IDENTITY | {"owner": MALLORY}, binding=BARE),
        room(IDENTITY | {"owner": MALLORY}, binding={}),
        room(binding=IDENTITY | {"owner": MALLORY}),
        room(IDENTITY | {"platform_chat_id": "p2"}),
        room(IDENTITY, binding=BARE | {"platform_chat_id": "p2"}),
        room(IDENTITY, binding=IDENTITY | {"platform_chat_id": "p2"}),
        room(binding=BARE | {"platform_chat_id": "p2"}),
    ],
)
def test_a_room_that_says_something_else_than_its_row(other: Room) -> None:
    """Another owner, or another conversation; the sentence holds neither."""
    found = contradicts(CHAT, other, ME)
    assert found is not None
    assert not {ALICE, MALLORY, "p1", "p2"} & set(found.split())


@pytest.mark.parametrize(
    "same",
    [
        room(),
        room(IDENTITY),
        room(binding=IDENTITY),
        room(IDENTITY, binding=BARE),
        room(IDENTITY | {"chat_id": "C2"}),
        # The binding is what counts: the identity's conversation ended with a !reset.
        room(IDENTITY | {"platform_chat_id": "p0"}, binding=BARE),
        # What the binding said, only the row still knows (rule 4).
        room(IDENTITY | {"platform_chat_id": "p0"}, binding={}),
        room(IDENTITY | {"platform_chat_id": "p0"}, binding={"v": 1}),
        # Not understood, hence the row's count (rule 2).
        room(IDENTITY | {"v": 2, "owner": MALLORY}),
        room(IDENTITY | {"owner": MALLORY}, binding=BARE | {"v": 2}),
        room(IDENTITY | {"v": 2}, binding=BARE | {"platform_chat_id": "p2"}),
        room({"v": 1, "owner": MALLORY}),
        room("garbage"),
    ],
)
def test_a_room_that_agrees_with_its_row_or_says_nothing(same: Room) -> None:
    """What cannot be read, or was written by a later version, says nothing."""
    assert contradicts(CHAT, same, ME) is None


def test_what_others_write_contradicts_nothing() -> None:
    """Only the bot's own create event is trusted (rule 1)."""
    theirs = room(IDENTITY | {"owner": MALLORY})
    create = theirs.create._replace(cause=Cause(MALLORY, "$create", 1))
    assert contradicts(CHAT, theirs._replace(create=create), ME) is None


def test_a_space_has_no_conversation_to_contradict() -> None:
    """Its owner counts."""
    said = {"v": 1, "kind": "space", "owner": ALICE}
    assert contradicts(SPACE, room(said, BARE, kind="m.space"), ME) is None
    theirs = said | {"owner": MALLORY}
    assert contradicts(SPACE, room(theirs, kind="m.space"), ME) is not None
