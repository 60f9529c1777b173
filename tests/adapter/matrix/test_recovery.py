"""The drill: what Matrix alone would give back, what would be lost, and why."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from adapter.matrix.facts import Gone
from adapter.matrix.recovery import Drill, Fate, drill
from adapter.matrix.rows import Row
from adapter.matrix.topology import render
from controller.model import Cause, Fields
from tests.adapter.matrix.rules.conftest import city, world
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BOB,
    LINKED,
    UNREAD,
    City,
    bare,
    bind,
    facts,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import ME, World, rows, worlds

__all__ = ["city", "world"]


def drilled(world: World, cache: dict[str, Row], **unseen: Any) -> Drill:
    seen = facts(world, **unseen)
    return drill(seen, cache, ME, seen)


def fates(done: Drill) -> dict[str, Fate]:
    """What becomes of every binding that is not recoverable."""
    return {
        one.row.room_id: one.fate
        for one in done.recoveries
        if one.fate is not Fate.RECOVERABLE
    }


def test_everything_is_recoverable(city: City) -> None:
    world, cache, _ = city
    done = drilled(world, cache)
    assert (len(done.recoveries), done.count(Fate.RECOVERABLE)) == (6, 6)
    assert fates(done) == {}
    assert done.more == 0


def test_what_people_can_bring_back_counts_and_what_they_cannot_does_not(
    city: City,
) -> None:
    """An archived chat has a conversation to come back to; an upgraded room has none."""
    world, cache, (space, first, second, *_) = city
    world.child(space, first, {}, ALICE)
    world.upgrade(second)
    cache = converge(world, cache)
    done = drilled(world, cache)
    assert cache[first].reason == "unlinked"
    assert cache[second].reason == "upgraded"
    assert (len(done.recoveries), fates(done)) == (6, {})


def test_an_old_room_is_guessed_only_where_another_value_would_come_out(
    world: World,
) -> None:
    """Derived alike is recoverable; so is anything once its record is written."""
    space = world.space(ALICE, named=False)
    first = world.chat(ALICE, 1, space, named=False)
    second = world.chat(ALICE, 2, space, named=False)
    cache = rows(render(world.facts(), {}, ME).rooms)
    assert fates(drilled(world, cache)) == {}
    cache[first] = cache[first]._replace(chat_id="C7")
    cache[second] = cache[second]._replace(platform_chat_id="of old")
    done = drilled(world, cache)
    assert fates(done) == {first: Fate.GUESSED, second: Fate.GUESSED}
    by_room = {one.row.room_id: one for one in done.recoveries}
    assert by_room[first].fields == {"chat_id": Fields("C7", "C1")}
    assert "record" in by_room[first].why
    assert fates(drilled(world, converge(world, cache))) == {}


def test_an_owner_whom_only_the_cache_knows_is_lost(world: World) -> None:
    room = world.create()
    world.welcome(room, ALICE)
    world.welcome(room, BOB)
    cache = {room: Row(room, "chat", "C1", None, ALICE, "p")}
    done = drilled(world, cache)
    assert fates(done) == {room: Fate.LOST}
    assert "nothing tells whose" in done.recoveries[0].why
    assert done.recoveries[0].fields["matrix_user_id"] == Fields(ALICE, None)


def test_a_reset_whose_event_was_redacted_is_lost_until_it_is_written_again(
    city: City,
) -> None:
    world, cache, (_, chat, *_) = city
    bind(world, chat, bare("after the reset"))
    cache = converge(world, cache)
    state = world.rooms[chat]["io.spacekeeper.binding", ME]
    world.rooms[chat]["io.spacekeeper.binding", ME] = {**state, "content": {}}
    done = drilled(world, cache)
    assert fates(done) == {chat: Fate.LOST}
    [one] = [one for one in done.recoveries if one.row.room_id == chat]
    assert one.fields == {
        "platform_chat_id": Fields("after the reset", "alice-1"),
    }
    assert one.cause is not None
    assert fates(drilled(world, converge(world, cache))) == {}


def test_a_chat_archived_in_a_space_that_shut_the_bot_out(city: City) -> None:
    """That it is archived, and where it belongs, only the cache knows then."""
    world, cache, (space, chat, *_) = city
    world.child(space, chat, {}, ALICE)
    world.member(space, ME, "ban", ALICE)
    shut = Gone("bot_banned", Cause(ALICE, "$ban", 9))
    cache = rows(
        render(facts(world, hide={space: shut}), converge(world, cache), ME).rooms
    )
    done = drilled(world, cache, hide={space: shut})
    assert fates(done)[chat] is Fate.LOST


def test_what_matrix_says_otherwise_is_drift_and_no_loss(city: City) -> None:
    world, cache, (_, chat, other, *_) = city
    cache[chat] = cache[chat]._replace(platform_chat_id="wrong")
    world.member(other, ME, "leave", ALICE)
    assert fates(drilled(world, cache)) == {chat: Fate.BEHIND, other: Fate.BEHIND}
    foreign = world.create(ALICE)
    cache[foreign] = Row(foreign, "chat", "C9", None, ALICE, "p")
    assert fates(drilled(world, cache))[foreign] is Fate.BEHIND


def test_a_place_that_only_the_row_keeps(city: City) -> None:
    """Cold, rule 7 gives it to the other room: that is no guess, and it is told."""
    world, cache, (space, chat, *_) = city
    twin = world.chat(ALICE, 1)
    cache[twin] = cache[chat]._replace(room_id=twin)
    cache[chat] = cache[chat]._replace(status="detached", reason="duplicate")
    assert fates(drilled(world, cache)) == {twin: Fate.BEHIND}
    world.child(space, twin, LINKED, ME)
    assert set(fates(drilled(world, cache)).values()) == {Fate.BEHIND}


def test_what_was_not_seen_is_neither_recoverable_nor_lost(city: City) -> None:
    world, cache, (space, chat, *_) = city
    for unseen in (UNREAD, ABSENT):
        done = drilled(world, cache, hide={chat: unseen})
        assert fates(done)[chat] is Fate.UNSEEN
    done = drilled(world, cache, hide={space: UNREAD})
    assert set(fates(done).values()) == {Fate.UNSEEN}


def test_what_the_cache_does_not_have(city: City) -> None:
    world, cache, (_, chat, *_) = city
    del cache[chat]
    done = drilled(world, cache)
    assert (len(done.recoveries), done.more, fates(done)) == (5, 1, {})
    assert drilled(world, {}).recoveries == ()


@given(worlds())
def test_after_a_whole_pass_nothing_is_ever_guessed(world: World) -> None:
    """From an empty cache all of it is what Matrix says, whatever the world."""
    cache = rows(render(world.facts(), {}, ME).rooms)
    assert fates(drilled(world, cache)) == {}
    cache = converge(world, cache)
    cache = converge(world, cache)
    assert drilled(world, cache).count(Fate.GUESSED) == 0
