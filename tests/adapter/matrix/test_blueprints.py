"""What is asked of the server for a new room, without one."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from adapter.matrix.blueprints import (
    chat_ids,
    create_body,
    next_chat_id,
    request_of,
    room_name,
)
from adapter.matrix.facts import EventTypes, Room, fact, shown
from adapter.matrix.identity import Marker, identity_of, lineage
from adapter.matrix.memory import Intent
from adapter.matrix.rows import Row
from schemas.validation import problems

ME, ALICE, BOB = "@bot:hs", "@alice:hs", "@bob:hs"
CHAT = Intent("r", "chat", ALICE, "C1", "p", "$asked", 1)
SPACE = Intent("r", "space", ALICE, None, None, "$asked", 1)


def body(intent: Intent, space_id: str | None = None) -> dict[str, Any]:
    return create_body(
        intent,
        "A name",
        version="11",
        types=EventTypes(),
        space_id=space_id,
        via="hs",
    )


def room(identity: object) -> Room:
    """A room of the bot as it would be read, with this under the identity key."""
    create = {
        "type": "m.room.create",
        "sender": ME,
        "state_key": "",
        "content": {EventTypes().identity: identity},
    }
    member = {
        "type": "m.room.member",
        "sender": ME,
        "state_key": ME,
        "content": {"membership": "join"},
    }
    found = shown(fact("!r:hs", [create, member], ME))
    assert found is not None
    return found


def test_nobody_gets_power_and_nobody_is_invited() -> None:
    """Either would be for good, or fail half-way."""
    for intent in (CHAT, SPACE):
        asked = body(intent, "!space:hs")
        assert asked["preset"] == "private_chat"
        assert not {"invite", "power_level_content_override"} & asked.keys()


def test_what_is_written_is_the_identity_that_is_read() -> None:
    """Of a chat and of a Space, as the schema has it."""
    for intent in (CHAT, SPACE):
        creation = body(intent)["creation_content"]
        identity = creation["io.spacekeeper.identity"]
        assert problems("identity", identity) == []
        assert creation.get("type") == ("m.space" if intent is SPACE else None)
    said = identity_of(room(body(CHAT)["creation_content"][EventTypes().identity]), ME)
    assert isinstance(said, Marker)
    assert said[1:] == ("chat", ALICE, "C1", "p", "r")


def test_a_chat_names_its_space_and_a_space_names_nothing() -> None:
    """The parent is a hint for clients; the Space's own event decides."""
    (parent,) = body(CHAT, "!space:hs")["initial_state"]
    assert parent == {
        "type": "m.space.parent",
        "state_key": "!space:hs",
        "content": {"via": ["hs"], "canonical": True},
    }
    assert "initial_state" not in body(SPACE)


@given(st.text(), st.text())
def test_each_event_asks_for_one_room_of_each_kind(one: str, other: str) -> None:
    """The same event for the same, another event or kind for another."""
    assert request_of(one, "chat") == request_of(one, "chat")
    assert request_of(one, "chat") != request_of(one, "space")
    assert (request_of(one, "chat") == request_of(other, "chat")) == (one == other)


def test_a_number_is_given_once() -> None:
    """Whoever has or had it: a room, also a later version's, a row, or what was begun."""
    seen = [room({"v": 2, "owner": ALICE, "chat_id": "C7"})]
    chains = lineage({one.room_id: _present(one) for one in seen}, ME).chains
    rows = [
        Row("!1", "chat", "C4", matrix_user_id=ALICE, status="detached"),
        Row("!2", "chat", "C30", matrix_user_id=BOB),
        Row("!3", "chat", "nonsense", matrix_user_id=ALICE),
        Row("!4", "space", matrix_user_id=ALICE),
    ]
    intents = [CHAT._replace(chat_id="C5"), SPACE]
    assert chat_ids(ALICE, chains, rows, intents) == {"C4", "C5", "C7"}
    assert next_chat_id(chat_ids(ALICE, chains, rows, intents)) == "C8"
    assert next_chat_id(chat_ids(ALICE, (), rows, ())) == "C5"
    assert next_chat_id(()) == "C1"


def _present(found: Room) -> Any:
    from adapter.matrix.facts import Present

    return Present(found)


@given(
    st.sampled_from(["{name}", "{user}'s", "Chat {n}", "{n}{name}{user}", "x"]),
    st.none() | st.text(),
)
@example("{name}", "{user}{n}")
@example("{name}", "\ud800\u202e\n")
@example("{name}", "a" * 999)
def test_a_name_is_one_short_line_whatever_people_call_themselves(
    template: str, display_name: str | None
) -> None:
    """Never empty, and it can be sent: no half characters, no controls."""
    name = room_name(template, ALICE, display_name, "C12")
    assert name
    assert len(name) <= 255
    assert len(name.splitlines()) == 1
    assert name.encode()
    assert name.strip() == name


def test_braces_in_a_display_name_mean_nothing() -> None:
    """Only the template's are filled in, once."""
    assert room_name("{name} {n}", ALICE, "{user} {n}", "C3") == "{user} {n} 3"
    assert room_name("{name}", ALICE, None) == "alice"
