"""Which record adopt writes, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.matrix.adoption import Adoption, AdoptionRefused, Asked, adoption
from adapter.matrix.memory import Intent
from adapter.matrix.rows import Row
from tests.adapter.matrix.rules.conftest import city, world
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BOB,
    CAROL,
    UNREAD,
    City,
    bare,
    bind,
    child_field,
    facts,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import GUEST, ME, World

__all__ = ["city", "world"]


def adopted(
    world: World,
    cache: dict[str, Row],
    room: str,
    owner: str = ALICE,
    chat_id: str | None = None,
    intents: tuple[Intent, ...] = (),
    **unseen: Any,
) -> Adoption:
    asked = Asked(room, owner, chat_id)
    return adoption(asked, facts(world, **unseen), cache, ME, intents=intents)


def refused(*given: Any, **unseen: Any) -> str:
    with pytest.raises(AdoptionRefused) as error:
        adopted(*given, **unseen)
    return str(error.value)


def nobodys(world: World, *members: str, **more: Any) -> str:
    """A room of which nobody knows whose it is, with `members` in it."""
    room = world.create(**more)
    for user in members or (ALICE, BOB):
        world.welcome(room, user)
    return room


def wrote(world: World, found: Adoption) -> None:
    bind(world, found.room_id, dict(found.content))


def test_a_chat_gets_the_next_number_and_its_derived_conversation(city: City) -> None:
    """And a pass then makes just the row that was promised, and links the room."""
    world, cache, (space, *_) = city
    room = nobodys(world)
    found = adopted(world, cache, room)
    assert found.content["chat_id"] == "C3"
    assert (found.content["kind"], found.content["owner"]) == ("chat", ALICE)
    assert len(found.follows) == 2
    assert f'chat_id="C3", matrix_user_id="{ALICE}"' in found.follows[0]
    assert child_field(room) in found.follows[1]
    # What a pass would do anyway does not follow from this.
    assert adopted(world, {}, room).follows == found.follows
    wrote(world, found)
    cache = converge(world, cache)
    assert cache[room] == found.row
    assert (cache[room].status, cache[room].space_id) == ("active", space)


def test_a_space_has_no_number(city: City) -> None:
    world, cache, _ = city
    room = nobodys(world, CAROL, GUEST, room_type="m.space")
    assert "is a Space" in refused(world, cache, room, CAROL, "C1")
    found = adopted(world, cache, room, CAROL)
    assert found.content == {"v": 1, "kind": "space", "owner": CAROL}
    wrote(world, found)
    assert converge(world, cache)[room].matrix_user_id == CAROL


def test_a_given_number_must_be_free(city: City) -> None:
    """Free of rooms, of rows, of rooms given up, and of rooms that are being made."""
    world, cache, (_, chat, *_) = city
    room = nobodys(world)
    assert adopted(world, cache, room, ALICE, "C9").content["chat_id"] == "C9"
    assert f"{chat} is {ALICE}'s C1" in refused(world, cache, room, ALICE, "C1")
    assert "C1" in refused(world, {}, room, ALICE, "C1")
    assert adopted(world, cache, room, BOB, "C9").content["owner"] == BOB
    given_up = Row("!gone", "chat", "C5", None, ALICE, "p", status="detached")
    had = {**cache, "!gone": given_up._replace(reason="bot_left")}
    assert "!gone" in refused(world, had, room, ALICE, "C5", hide={"!gone": ABSENT})
    assert adopted(world, had, room, hide={"!gone": ABSENT}).content["chat_id"] == "C6"
    making = Intent("q", "chat", ALICE, "C3", "p", "$e", 0)
    assert "another room" in refused(world, cache, room, ALICE, "C3", (making,))
    found = adopted(world, cache, room, intents=(making,))
    assert found.content["chat_id"] == "C4"
    for malformed in ("3", "c3", "C0", "C03", "C\u0663", "", "C1\n"):
        assert "no chat_id" in refused(world, cache, room, ALICE, malformed)


def test_an_old_room_that_a_pass_would_bind_keeps_its_number(world: World) -> None:
    space = world.space(ALICE, named=False)
    first = world.chat(ALICE, 1, space, named=False)
    second = world.chat(ALICE, 2, space, named=False)
    cache = {second: Row(second, "chat", "C7", space, ALICE, "of old")}
    found = adopted(world, cache, second)
    assert found.content["chat_id"] == "C7"
    assert found.content["platform_chat_id"] == "of old"
    assert f"{second} is {ALICE}'s C7" in refused(world, cache, first, ALICE, "C7")
    # Without the cache the other one has a number, too, that nobody has written down.
    assert f"{first} is {ALICE}'s C1" in refused(world, {}, second, ALICE, "C1")


def test_a_conversation_that_was_given_before_goes_on(city: City) -> None:
    world, cache, _ = city
    room = nobodys(world)
    bind(world, room, bare("after a reset"))
    assert adopted(world, cache, room).content["platform_chat_id"] == "after a reset"


def test_what_says_whose_it_is_has_the_last_word(city: City) -> None:
    world, cache, (space, chat, *_) = city
    world.welcome(chat, BOB)
    assert refused(world, cache, chat) == f"{chat} is {ALICE}'s already, as their C1"
    assert "already, as their Space" in refused(world, cache, space)
    assert f"that it is {ALICE}'s" in refused(world, cache, chat, BOB)
    room = nobodys(world)
    wrote(world, adopted(world, cache, room))
    assert "already, as their C3" in refused(world, cache, room)
    assert f"that it is {ALICE}'s" in refused(world, cache, room, BOB)
    new = world.upgrade(room)
    assert f"adopt {new} in its place" in refused(world, cache, room)
    assert "already" in refused(world, cache, new)


def test_an_owner_has_been_there(city: City) -> None:
    world, cache, _ = city
    room = nobodys(world)
    assert "was never in" in refused(world, cache, room, CAROL)
    for nobody in (ME, "alice", "@alice", ""):
        assert "cannot be an owner" in refused(world, cache, room, nobody)
    # A lookalike is somebody else.
    assert "was never in" in refused(world, cache, room, "@\u0430lice:hs")
    # Whoever left was there.
    world.member(room, ALICE, "leave", ALICE)
    found = adopted(world, cache, room)
    assert (found.row.status, found.row.reason) == ("detached", "owner_left")


def test_a_room_that_the_bot_did_not_make(city: City) -> None:
    world, cache, _ = city
    foreign = world.create(ALICE)
    assert "did not make" in refused(world, cache, foreign)
    odd = nobodys(world, room_type="com.example.odd")
    assert "neither a chat nor a Space" in refused(world, cache, odd)


def test_a_room_that_cannot_be_seen(city: City) -> None:
    world, cache, (_, chat, *_) = city
    room = nobodys(world)
    assert "look at the id" in refused(world, cache, "!nowhere")
    assert "could not be read" in refused(world, cache, room, hide={room: UNREAD})
    # What was not read may be Alice's C3.
    why = refused(world, cache, room, hide={chat: UNREAD})
    assert chat in why
    assert "503" in why
    partial = facts(world)._replace(complete=False)
    with pytest.raises(AdoptionRefused, match="not every room could be read"):
        adoption(Asked(room, ALICE), partial, cache, ME)
    world.member(room, ME, "leave", BOB)
    assert "not in" in refused(world, cache, room)


def test_a_newer_version_is_left_alone(city: City) -> None:
    world, cache, _ = city
    room = nobodys(world)
    bind(world, room, {"v": 2})
    assert "upgrade this one" in refused(world, cache, room)


def test_a_room_that_would_be_a_duplicate_is_not_adopted(city: City) -> None:
    """It would be given up by the next pass, and for good."""
    world, cache, (space, *_) = city
    second = nobodys(world, room_type="m.space")
    why = refused(world, cache, second)
    assert "would be a duplicate" in why
    assert space in why
