"""Which Space a chat belongs to (rule 3)."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.matrix.facts import Gone
from controller.model import Cause
from tests.adapter.matrix.rules.looking import (
    ALICE,
    BOB,
    CAROL,
    LINKED,
    child_field,
    last,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import ME, World


def test_a_chat_belongs_to_the_space_of_its_owner_that_names_it(world: World) -> None:
    """A valid child event, whoever of those with power there sent it."""
    space = world.space(ALICE)
    ours, alices = world.chat(ALICE, 1, space), world.chat(ALICE, 2)
    world.child(space, alices, {"via": ["other", "hs"]}, ALICE)
    found = seen(world)
    for room in (ours, alices):
        assert (found[room].space_id, found[room].status) == (space, "active")
    assert to_write(world) == {}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": []},
        {"via": "hs"},
        {"via": None},
        {"via": ["hs", 5]},
        {"via": {"hs": 1}},
        {"order": "a"},
    ],
)
def test_an_emptied_link_is_a_decision(world: World, content: Any) -> None:
    """The room is unlinked, with that event as evidence, and no pass links it again."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    cache = converge(world, {})
    world.child(space, chat, content, ALICE)
    for before in ({}, cache):
        row = seen(world, before)[chat]
        assert state(row) == ("detached", "unlinked")
        assert (row.space_id, row.evidence) == (space, last(world))
        assert to_write(world, before) == {}


def test_an_unlinked_room_that_is_linked_again_is_back(world: World) -> None:
    """A person may change their mind."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    before = seen(world)
    world.child(space, chat, {}, ALICE)
    cache = seen(world, before)
    world.child(space, chat, LINKED, ALICE)
    assert seen(world, cache) == before


def test_a_parent_event_is_no_more_than_a_hint(world: World) -> None:
    """Whoever has power in a chat can write one."""
    bobs, chat = world.space(BOB), world.chat(ALICE, 1)
    world.put(chat, ALICE, "m.space.parent", bobs, {"via": ["hs"], "canonical": True})
    assert seen(world)[chat].space_id is None
    assert to_write(world) == {}
    assert told(world) == {("no_space", chat)}


@pytest.mark.parametrize("content", [LINKED, {}])
def test_a_link_from_anybody_elses_space_decides_nothing(
    world: World, content: Any
) -> None:
    """It is a finding, if it is one; emptied, it unlinks nothing."""
    space, bobs = world.space(ALICE), world.space(BOB)
    strangers = world.create(CAROL, "m.space")
    chat = world.chat(ALICE, 1, space)
    before = seen(world)[chat]
    world.child(bobs, chat, content, BOB)
    world.child(strangers, chat, content, CAROL)
    assert seen(world)[chat] == before
    assert told(world) == ({("foreign_link", chat)} if content else set())


def test_the_space_that_holds_the_place_decides(world: World) -> None:
    """What another Space of the same owner says counts only where that one is silent."""
    losing, holder = world.space(ALICE), world.space(ALICE)
    chats = [world.chat(ALICE, number, holder) for number in (1, 2, 3, 5)]
    world.child(losing, chats[0], {}, ALICE)
    world.child(holder, chats[1], {}, ALICE)
    world.child(losing, chats[1], LINKED, ALICE)
    only_there = world.chat(ALICE, 4, losing)
    found = seen(world)
    assert state(found[losing]) == ("detached", "duplicate")
    assert state(found[chats[0]]) == ("active", None)
    assert state(found[chats[1]]) == ("detached", "unlinked")
    assert state(found[only_there]) == ("active", None)
    assert found[only_there].space_id == losing
    assert to_write(world) == {}


def test_a_link_is_looked_up_along_both_upgrade_chains(world: World) -> None:
    """For the newest room first; found elsewhere, it is written anew, with its order."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1)
    world.child(space, chat, {**LINKED, "order": "m"}, ALICE)
    new = world.upgrade(chat)
    world.welcome(new, ALICE)
    cache = converge(world, {})
    assert world.content(space, "m.space.child", new) == {**LINKED, "order": "m"}
    assert (cache[new].space_id, cache[new].status) == (space, "active")
    newer_space = world.upgrade(space)
    world.welcome(newer_space, ALICE)
    del world.rooms[newer_space]["m.space.child", new]
    cache = converge(world, cache)
    assert world.content(newer_space, "m.space.child", new) == {**LINKED, "order": "m"}
    assert seen(world, cache)[new].space_id == newer_space


def test_an_invalid_order_is_not_moved_along(world: World) -> None:
    """Nor is anything else that stands in a link."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1)
    world.child(space, chat, {**LINKED, "order": "x" * 51, "suggested": True}, ALICE)
    new = world.upgrade(chat)
    assert to_write(world)[space, child_field(new)] == LINKED


@pytest.mark.parametrize(
    ("newest", "older", "oldest", "status"),
    [
        (LINKED, {}, {}, "active"),
        ({}, LINKED, LINKED, "detached"),
        (None, LINKED, {}, "active"),
        (None, {}, LINKED, "detached"),
        (None, None, LINKED, "active"),
        (None, None, {}, "detached"),
    ],
)
def test_the_first_child_event_that_is_found_decides(
    world: World, newest: Any, older: Any, oldest: Any, status: str
) -> None:
    """New room in the new Space, new room in the old one, then the old room."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1)
    new_space, new_chat = world.upgrade(space), world.upgrade(chat)
    for room in (new_space, new_chat):
        world.welcome(room, ALICE)
    for holder, room, content in (
        (new_space, new_chat, newest),
        (space, new_chat, older),
        (new_space, chat, oldest),
    ):
        if content is not None:
            world.child(holder, room, content, ALICE)
    found = seen(world)
    assert found[new_chat].status == status
    assert found[new_chat].space_id == new_space
    link = (new_space, child_field(new_chat))
    assert (link in to_write(world)) is (newest is None and status == "active")


@pytest.mark.parametrize("how", ["leave", "ban"])
def test_chats_of_a_space_that_threw_the_bot_out_stay(world: World, how: str) -> None:
    """They keep their Space and are routed; nothing is written."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    cache = converge(world, {})
    world.member(space, ME, how, ALICE)
    found = seen(world, cache)
    reason = {"leave": "bot_kicked", "ban": "bot_banned"}[how]
    assert state(found[space]) == ("detached", reason)
    assert found[space].evidence == last(world)
    assert found[chat] == cache[chat]
    assert to_write(world, cache) == {}
    banned = Gone("bot_banned", Cause(ALICE, "$ban", 9))
    assert seen(world, cache, hide={space: banned})[chat] == cache[chat]
    assert to_write(world, cache, hide={space: banned}) == {}


def test_an_unlinked_room_stays_so_when_its_space_throws_the_bot_out(
    world: World,
) -> None:
    """That nobody shows the decision any more does not undo it."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    world.child(space, chat, {}, ALICE)
    cache = converge(world, {})
    banned = Gone("bot_banned", Cause(ALICE, "$ban", 9))
    assert seen(world, cache, hide={space: banned})[chat] == cache[chat]


def test_spaces_in_a_circle_end_nowhere(world: World) -> None:
    """Spaces may name each other and themselves."""
    first, second = world.space(ALICE), world.space(BOB)
    for space in (first, second):
        for other in (first, second):
            world.child(space, other, LINKED, ME)
    found = seen(world)
    assert {found[space].status for space in (first, second)} == {"active"}
    assert {found[space].space_id for space in (first, second)} == {None}
