"""Two rooms for one place (rule 7)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given

from adapter.matrix.facts import EventTypes
from adapter.matrix.topology import render
from tests.adapter.matrix.rules.looking import (
    ALICE,
    BOB,
    LINKED,
    bare,
    bind,
    child_field,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import GUEST, ME, World, platform, worlds


def test_the_space_that_links_more_of_its_owners_chats_wins(world: World) -> None:
    """Two instances each made Alice a Space; one of them holds her chats."""
    older, newer = world.space(ALICE), world.space(ALICE)
    for number in (1, 2):
        world.chat(ALICE, number, newer)
    world.child(older, next(reversed(world.rooms)), LINKED, ME)
    bobs = [world.chat(BOB, number) for number in (1, 2, 3)]
    for room in bobs:
        world.child(older, room, LINKED, ME)
    found = seen(world)
    assert state(found[newer]) == ("active", None)
    assert state(found[older]) == ("detached", "duplicate")
    created = world.rooms[newer]["m.room.create", ""]["event_id"]
    assert found[older].evidence == created
    assert ("duplicate", older) in told(world)
    assert render(world.facts(), {}, ME).users[ALICE] == newer


def test_emptied_links_do_not_make_a_space_win(world: World) -> None:
    """Only valid ones do."""
    older, newer = world.space(ALICE), world.space(ALICE)
    chats = [world.chat(ALICE, number) for number in (1, 2)]
    for chat in chats:
        world.child(newer, chat, {}, ALICE)
    assert render(world.facts(), {}, ME).users[ALICE] == older


def test_else_the_older_space_wins(world: World) -> None:
    """An owner who left does not lose the place, and its upgrade is as old."""
    older, newer = world.space(ALICE), world.space(ALICE)
    assert render(world.facts(), {}, ME).users[ALICE] == older
    world.member(older, ALICE, "leave", ALICE)
    assert render(world.facts(), {}, ME).users[ALICE] == older
    upgraded = world.upgrade(older)
    assert render(world.facts(), {}, ME).users[ALICE] == upgraded
    world.member(upgraded, ME, "leave", GUEST)
    assert render(world.facts(), {}, ME).users[ALICE] == newer


@pytest.mark.parametrize("winner", [0, 1])
def test_of_two_equally_old_rooms_the_lowest_room_id_wins(
    world: World, winner: int
) -> None:
    """Clocks are coarse; there is always one."""
    twins = [world.chat(ALICE, 1), world.chat(ALICE, 1)]
    ids = sorted(twins)
    for room in twins:
        world.rooms[room]["m.room.create", ""]["origin_server_ts"] = 5
    found = seen(world)
    assert [found[room].status for room in ids] == ["active", "detached"]
    later = world.rooms[ids[1 - winner]]["m.room.create", ""]
    later["origin_server_ts"] = 6
    found = seen(world)
    assert found[ids[winner]].status == "active"
    assert state(found[ids[1 - winner]]) == ("detached", "duplicate")


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (None, None, 0),
        (LINKED, LINKED, 0),
        ({}, {}, 0),
        (None, LINKED, 1),
        ({}, LINKED, 1),
        (None, {}, 1),
        (LINKED, {}, 0),
        ({}, None, 0),
    ],
)
def test_the_chat_that_a_valid_link_names_wins_then_an_emptied_one(
    world: World, first: Any, second: Any, winner: int
) -> None:
    """Else the older; the loser is left alone, and nothing is written for it."""
    space = world.space(ALICE)
    twins = [world.chat(ALICE, 1), world.chat(ALICE, 1, joined=False)]
    for chat, content in zip(twins, (first, second), strict=True):
        if content is not None:
            world.child(space, chat, content, ALICE)
    found = seen(world)
    loser = twins[1 - winner]
    assert state(found[loser]) == ("detached", "duplicate")
    assert found[twins[winner]].reason != "duplicate"
    assert ("duplicate", loser) in told(world)
    assert all(room != loser and loser not in name for room, name in to_write(world))


def test_a_link_of_a_losing_space_does_not_make_a_chat_win(world: World) -> None:
    """It is the place's Space that counts."""
    space, losing = world.space(ALICE), world.space(ALICE)
    world.chat(ALICE, 7, space)
    older, newer = world.chat(ALICE, 1), world.chat(ALICE, 1, losing)
    found = seen(world)
    assert state(found[losing]) == ("detached", "duplicate")
    assert state(found[older]) == ("active", None)
    assert state(found[newer]) == ("detached", "duplicate")


def test_one_conversation_belongs_to_one_room(world: World) -> None:
    """Also where owner and chat_id differ."""
    space = world.space(ALICE)
    older, newer = world.chat(ALICE, 1, space), world.chat(ALICE, 2, space)
    bobs = world.chat(BOB, 1, world.space(BOB))
    for room in (newer, bobs):
        bind(world, room, bare(platform(ALICE, 1)))
    found = seen(world)
    assert state(found[older]) == ("active", None)
    for room in (newer, bobs):
        assert state(found[room]) == ("detached", "duplicate")


def test_the_cache_has_no_vote(world: World) -> None:
    """Empty, full and wrong caches choose alike."""
    space = world.space(ALICE)
    older, newer = world.chat(ALICE, 1), world.chat(ALICE, 1, space)
    cold = seen(world)
    wrong = {
        older: cold[older]._replace(status="active", reason=None, evidence=None),
        newer: cold[newer]._replace(status="detached", reason="duplicate"),
    }
    assert seen(world, wrong) == seen(world, cold) == cold
    assert cold[newer].status == "active"


def later_versions(world: World) -> bool:
    """Somewhere a version stands that this one does not know: rows know more there."""
    return any(
        said["v"] > 1
        for events in world.rooms.values()
        for event in events.values()
        for said in (event["content"], event["content"].get(EventTypes().identity))
        if isinstance(said, dict) and isinstance(said.get("v"), int)
    )


@given(worlds())
def test_a_lost_cache_comes_back_as_it_was(world: World) -> None:
    """Once it was published, Matrix alone says all that a cache can know."""
    assume(not later_versions(world))
    cache = converge(world, converge(world, {}))
    assert seen(world) == cache


@pytest.mark.parametrize("how", ["unlinked", "owner left"])
def test_rooms_that_their_owner_gave_up_keep_their_place(
    world: World, how: str
) -> None:
    """A twin does not take over what was a decision."""
    space = world.space(ALICE)
    linked, twin = world.chat(ALICE, 1, space), world.chat(ALICE, 1)
    if how == "unlinked":
        world.child(space, linked, {}, ALICE)
    else:
        world.member(linked, ALICE, "leave", ALICE)
    assert state(seen(world)[twin]) == ("detached", "duplicate")


@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_rooms_that_the_bot_was_thrown_out_of_hold_no_place(
    world: World, membership: str
) -> None:
    """A twin takes it, and is finished."""
    space = world.space(ALICE)
    linked, twin = world.chat(ALICE, 1, space), world.chat(ALICE, 1)
    cache = converge(world, {})
    assert state(cache[twin]) == ("detached", "duplicate")
    world.member(linked, ME, membership, ALICE)
    found = seen(world, cache)
    assert found[linked].status == "detached"
    assert state(found[twin]) == ("active", None)
    assert to_write(world, cache) == {(space, child_field(twin)): LINKED}


def test_a_room_and_its_successor_are_no_duplicates(world: World) -> None:
    """They are one room."""
    space = world.space(ALICE)
    old = world.chat(ALICE, 1, space)
    new = world.upgrade(old)
    found = seen(world)
    assert state(found[old]) == ("detached", "upgraded")
    assert state(found[new]) == ("pending", None)
    assert "duplicate" not in {code for code, _ in told(world)}


def test_a_room_that_loses_two_places_names_one_winner(world: World) -> None:
    """It is the one of its chat_id."""
    space = world.space(ALICE)
    first, second = world.chat(ALICE, 1, space), world.chat(ALICE, 2, space)
    both = world.chat(ALICE, 2)
    bind(world, both, bare(platform(ALICE, 1)))
    row = seen(world)[both]
    created = world.rooms[second]["m.room.create", ""]["event_id"]
    assert (state(row), row.evidence) == (("detached", "duplicate"), created)
    assert {seen(world)[room].status for room in (first, second)} == {"active"}
