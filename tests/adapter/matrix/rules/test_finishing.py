"""Rooms that nobody finished (rule 10)."""

from __future__ import annotations

import pytest

from adapter.matrix.facts import Facts, fact
from adapter.matrix.topology import render
from tests.adapter.matrix.rules.looking import (
    ALICE,
    BOB,
    LINKED,
    RECORD,
    bare,
    bind,
    child_field,
    invite_field,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge, published
from tests.adapter.matrix.worlds import ME, World


def test_a_room_that_was_only_created_is_linked_and_its_owner_invited(
    world: World,
) -> None:
    """One link, one invite, and then nothing."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, joined=False)
    assert state(seen(world)[chat]) == ("pending", None)
    assert seen(world)[chat].space_id == space
    assert to_write(world) == {
        (space, child_field(chat)): LINKED,
        (chat, invite_field(ALICE)): {"membership": "invite"},
    }
    converge(world, {})
    assert to_write(world) == {}


def test_a_space_that_was_only_created_gets_its_owner(world: World) -> None:
    """Nothing links a Space."""
    space = world.space(ALICE, joined=False)
    expected = {(space, invite_field(ALICE)): {"membership": "invite"}}
    assert to_write(world) == expected


@pytest.mark.parametrize("membership", ["invite", "leave", "ban", "knock", ""])
def test_an_owner_of_whom_there_is_any_word_is_not_invited(
    world: World, membership: str
) -> None:
    """A leave, a decline or a ban is a decision."""
    chat = world.chat(ALICE, 1, world.space(ALICE), joined=False)
    world.member(chat, ALICE, membership, ALICE)
    assert to_write(world) == {}
    expected = {"leave": "owner_left", "ban": "owner_banned"}.get(membership)
    status = "detached" if expected else "pending"
    assert state(seen(world)[chat]) == (status, expected)


def test_a_chat_is_linked_into_a_space_that_its_owner_left(world: World) -> None:
    """The Space still holds the place."""
    space = world.space(ALICE)
    world.member(space, ALICE, "leave", ALICE)
    chat = world.chat(ALICE, 1)
    assert to_write(world) == {(space, child_field(chat)): LINKED}
    assert state(seen(world)[space]) == ("detached", "owner_left")
    assert render(world.facts(), {}, ME).users == {ALICE: space}


def test_a_chat_without_any_space_is_in_use(world: World) -> None:
    """Without `space_id`, and with a finding."""
    chat = world.chat(ALICE, 1)
    world.space(BOB)
    found = seen(world)[chat]
    assert (found.status, found.space_id) == ("active", None)
    assert told(world) == {("no_space", chat)}
    assert to_write(world) == {}


def test_nothing_is_linked_into_a_space_that_is_not_the_bots_to_write(
    world: World,
) -> None:
    """One that threw it out, or in which a newer version wrote."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1)
    world.member(space, ME, "leave", ALICE)
    assert to_write(world) == {}
    world.member(space, ME, "join", ME)
    assert to_write(world) == {(space, child_field(chat)): LINKED}
    cache = seen(world)
    bind(world, space, {"v": 2})
    assert to_write(world, cache) == {}
    assert seen(world, cache)[chat].space_id is None


def test_a_link_names_the_bots_server(world: World) -> None:
    """With its port, if it has one."""
    me = "@bot:hs:8448"
    space, chat = world.space(ALICE), world.chat(ALICE, 1)
    for room in (space, chat):
        for event in world.rooms[room].values():
            event["sender"] = me if event["sender"] == ME else event["sender"]
        world.member(room, me, "join", me)
    facts_of = {
        room: fact(room, world.rooms[room].values(), me) for room in world.rooms
    }
    found = published(render(Facts(facts_of, frozenset(facts_of)), {}, me))
    assert found[space, child_field(chat)] == {"via": ["hs:8448"]}


def test_rooms_that_are_not_in_use_are_not_finished(world: World) -> None:
    """A duplicate gets neither link nor invite, an unlinked room no invite."""
    space = world.space(ALICE)
    world.chat(ALICE, 1, space)
    world.chat(ALICE, 1, joined=False)
    unlinked = world.chat(ALICE, 2, joined=False)
    world.child(space, unlinked, {}, ALICE)
    assert to_write(world) == {}


def test_identity_says_enough_and_a_binding_is_written_only_where_it_does_not(
    world: World,
) -> None:
    """A malformed one is replaced by what holds."""
    chat = world.chat(ALICE, 1, world.space(ALICE))
    assert to_write(world) == {}
    for broken in ({}, {"v": "x"}, {"v": 1}, {"v": 1, "kind": "space", "owner": BOB}):
        bind(world, chat, broken)
        # What identity says is enough again: there is nothing to write.
        assert to_write(world) == {}
    bind(world, chat, bare("other"))
    assert to_write(world) == {}
    assert seen(world)[chat].platform_chat_id == "other"


def test_a_broken_identity_is_a_finding_and_the_room_is_as_a_legacy_one(
    world: World,
) -> None:
    """Its record is written."""
    space = world.space(ALICE)
    chat = world.create(identity={"v": 1, "kind": "space", "owner": ALICE})
    world.welcome(chat, ALICE)
    assert told(world) == {("malformed_identity", chat), ("ambiguous_owner", chat)}
    world.child(space, chat, LINKED, ME)
    assert (chat, RECORD) in to_write(world)
    assert told(world) == {("malformed_identity", chat)}


def test_a_space_with_an_identity_needs_no_binding(world: World) -> None:
    """Whatever stands there, it has no conversation."""
    space = world.space(ALICE)
    for said in ({}, {"v": "x"}, bare("p"), {"v": 1, "kind": "space", "owner": ALICE}):
        bind(world, space, said)
        assert to_write(world) == {}, said
