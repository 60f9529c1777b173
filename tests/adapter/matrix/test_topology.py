"""Properties of render over thousands of random worlds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapter.matrix.decision import decide, detach_guard
from adapter.matrix.desired import Desired
from adapter.matrix.facts import Facts, Unknown
from adapter.matrix.rows import FIELDS, Row
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.topology import render
from controller.diff import diff
from tests.adapter.matrix.worlds import (
    ME,
    STEP,
    World,
    resources,
    rows,
    take,
    worlds,
)

MANY = settings(max_examples=5 * settings().max_examples)
"""Five hundred worlds; HYPOTHESIS_PROFILE=soak makes it five thousand."""


@st.composite
def stale(draw: st.DrawFn, world: World) -> dict[str, Row]:
    """Rows of some rooms, right ones and wrong ones, as an old or damaged file has them."""
    right = rows(render(world.facts(), {}, ME).rooms)
    wrong = st.sampled_from(("C1", "C2", "p1", "@alice:hs", None, *world.rooms))
    found: dict[str, Row] = {}
    for room_id in sorted(world.rooms):
        row = right.get(room_id, Row(room_id, room_type="chat"))
        match draw(st.sampled_from(("none", "bare", "wrong", "right", "right"))):
            case "bare":
                found[room_id] = Row(room_id, draw(st.sampled_from((None, "chat"))))
            case "wrong":
                found[room_id] = draw(st.sampled_from(WRONGED))(row, draw(wrong))
            case "right" if room_id in right:
                found[room_id] = row
            case _:
                pass
    return _only_once(found)


WRONGED: tuple[Callable[[Row, str | None], Row], ...] = (
    lambda row, value: row._replace(chat_id=value),
    lambda row, value: row._replace(matrix_user_id=value),
    lambda row, value: row._replace(space_id=value),
    lambda row, value: row._replace(platform_chat_id=value),
)


def _only_once(found: dict[str, Row]) -> dict[str, Row]:
    """What the unique indexes of the cache would have let in."""
    taken: set[object] = set()
    kept: dict[str, Row] = {}
    for room_id, row in found.items():
        places = _places(row)
        if taken.isdisjoint(places):
            taken |= places
            kept[room_id] = row
    return kept


def _places(row: Row) -> set[object]:
    if row.status == "detached":
        return set()
    if row.room_type == "space":
        return {("space", row.matrix_user_id)} if row.matrix_user_id else set()
    places: set[object] = set()
    if row.matrix_user_id and row.chat_id:
        places.add((row.matrix_user_id, row.chat_id))
    if row.platform_chat_id:
        places.add(("platform", row.platform_chat_id))
    return places if row.room_type == "chat" else set()


@st.composite
def situations(draw: st.DrawFn) -> tuple[World, dict[str, Row]]:
    world = draw(worlds())
    return world, draw(st.one_of(st.just({}), stale(world)))


def converge(world: World, cache: dict[str, Row]) -> dict[str, Row]:
    """One whole pass: the cache is written, then Matrix."""
    desired = render(world.facts(), cache, ME)
    world.publish(desired)
    return rows(desired.rooms)


def cache_changes(cache: dict[str, Row], desired: Desired) -> list[str]:
    return [
        f"{change.key.name}: {change.fields}"
        for change in diff(resources(cache), desired.rooms)
    ]


def published(desired: Desired) -> dict[tuple[str, str], object]:
    return {
        (change.key.name, name): pair.new
        for change in diff(desired.own_have, desired.own_want)
        for name, pair in change.fields.items()
    }


@MANY
@given(situations())
def test_a_second_pass_finds_nothing(situation: tuple[World, dict[str, Row]]) -> None:
    """After the cache and Matrix were written, neither needs a change."""
    world, cache = situation
    after = converge(world, cache)
    again = render(world.facts(), after, ME)
    assert cache_changes(after, again) == []
    assert published(again) == {}


@MANY
@given(situations())
def test_no_place_is_held_twice(situation: tuple[World, dict[str, Row]]) -> None:
    """One Space per owner, one room per owner and chat_id, one per platform_chat_id."""
    world, cache = situation
    after = rows(render(world.facts(), cache, ME).rooms)
    held = Counter(place for row in after.values() for place in _places(row))
    assert [place for place, times in held.items() if times > 1] == []


@MANY
@given(situations(), st.randoms())
def test_the_order_of_facts_and_rows_does_not_matter(
    situation: tuple[World, dict[str, Row]], random: Random
) -> None:
    """Any order of rooms, members and children gives the same topology."""
    world, cache = situation
    facts = world.facts()
    names = list(facts.rooms)
    random.shuffle(names)
    shuffled = Facts({name: facts.rooms[name] for name in names}, facts.joined)
    turned = {name: cache[name] for name in reversed(cache)}
    assert render(shuffled, turned, ME) == render(facts, cache, ME)


@MANY
@given(situations())
def test_every_row_that_goes_in_comes_out(
    situation: tuple[World, dict[str, Row]],
) -> None:
    """Rows are never deleted."""
    world, cache = situation
    assert cache.keys() <= rows(render(world.facts(), cache, ME).rooms).keys()


def drop(world: World, room_id: str, how: int) -> Facts:
    """What an observation says that did not get to see one room."""
    facts = world.facts()
    left = {name: fact for name, fact in facts.rooms.items() if name != room_id}
    if how == 0:
        return Facts(left, facts.joined)
    if how == 1:
        return Facts({**left, room_id: Unknown("state: 503")}, facts.joined)
    return Facts(
        {**left, room_id: Unknown("state: 403", absent=True)}, facts.joined - {room_id}
    )


@MANY
@given(situations(), st.integers(0, 40), st.integers(0, 2))
def test_a_room_that_was_not_seen_changes_nothing_but_its_own_status(
    situation: tuple[World, dict[str, Row]], which: int, how: int
) -> None:
    """Nothing is published, and only status and reason of the dropped room move."""
    world, cache = situation
    after = converge(world, cache)
    dropped = sorted(world.rooms)[which % len(world.rooms)] if world.rooms else ""
    # What is neither joined nor in the cache, nobody can miss; who was thrown out is
    # refused, and that this hides what the room said is no news.
    assume(dropped in after or dropped in world.facts().joined)
    expected = dropped in after and after[dropped].status != "detached"
    how = how if expected else min(how, 1)
    desired = render(drop(world, dropped, how), after, ME)
    assert published(desired) == {}
    for change in diff(resources(after), desired.rooms):
        assert change.key.name == dropped
        assert change.fields.keys() <= {"status", "reason"}
        assert change.new
        assert change.new.fields["status"] == "unknown"


@MANY
@given(situations(), st.integers(0, 40), st.integers(0, 2))
def test_nothing_is_published_on_half_the_sight_that_would_not_be_on_the_whole(
    situation: tuple[World, dict[str, Row]], which: int, how: int
) -> None:
    """A dropped room can only make the bot write less."""
    world, cache = situation
    dropped = sorted(world.rooms)[which % len(world.rooms)] if world.rooms else ""
    # What is neither joined nor in the cache, nobody can miss.
    assume(dropped in cache or dropped in world.facts().joined)
    # Who was thrown out is refused; that this hides what the room said is no news.
    expected = dropped in cache and cache[dropped].status != "detached"
    how = how if expected else min(how, 1)
    whole = published(render(world.facts(), cache, ME))
    part = published(render(drop(world, dropped, how), cache, ME))
    assert part.items() <= whole.items()


@MANY
@given(situations(), st.sets(st.integers(0, 20)))
def test_held_rows_stand_as_they_are(
    situation: tuple[World, dict[str, Row]], which: set[int]
) -> None:
    """A held room's row does not move, and nothing is written for its owner."""
    world, cache = situation
    names = sorted(world.rooms)
    hold = frozenset(names[index] for index in which if index < len(names))
    desired = render(world.facts(), cache, ME, hold=hold)
    after = rows(desired.rooms)
    for room_id in hold:
        assert after.get(room_id) == (
            cache[room_id]._replace(revision=0) if room_id in cache else None
        )
    held = Counter(place for row in after.values() for place in _places(row))
    assert [place for place, times in held.items() if times > 1] == []
    owners = {cache[room_id].matrix_user_id for room_id in hold if room_id in cache}
    for room_id, _ in published(desired):
        assert after[room_id].matrix_user_id not in owners


def test_fields_of_a_row_are_the_columns_that_take_part_in_a_diff() -> None:
    """The room id is the key, the revision is the target's."""
    assert set(FIELDS) == set(Row._fields) - {"room_id", "revision"}


# Histories: the world changes, and passes see more or less of it.

LOOK = st.tuples(st.just("pass"), st.integers(0, 2), st.integers(0, 30), st.booleans())
HISTORY = st.lists(STEP | STEP | STEP | LOOK, min_size=2, max_size=26)
STRICT = ReconcileSettings(max_detach=1, max_detach_percent=5)


def half_seen(world: World, cache: dict[str, Row], which: int, how: int) -> Facts:
    """What a look says that may have missed a room that it could know of."""
    facts = world.facts()
    known = sorted(cache.keys() | facts.joined)
    if not known or which >= len(known):
        return facts
    missed = known[which]
    expected = missed in cache and cache[missed].status != "detached"
    return drop(world, missed, how if expected else min(how, 1))


@MANY
@given(HISTORY, st.booleans())
def test_any_history_ends_converged(
    history: list[tuple[str, int, int, int]], guarded: bool
) -> None:
    """Whatever passes saw on the way, the file is sound, and a whole look settles it."""
    world, cache = World(), dict[str, Row]()
    for name, a, b, c in history:
        if name != "pass":
            take(world, (name, a, b, c))
            continue
        whole = published(render(world.facts(), cache, ME))
        seen = half_seen(world, cache, b, a)
        done = decide(
            seen, cache, ME, STRICT if guarded else ReconcileSettings(max_detach=99)
        )
        assert published(done.want).items() <= whole.items()
        if done.cache.blocked:
            counts = detach_guard(cache, done.want, STRICT).counts
            assert [step for step in done.cache.steps if counts(step)] == []
        cache = rows(done.want.rooms)
        held = Counter(place for row in cache.values() for place in _places(row))
        assert [place for place, times in held.items() if times > 1] == []
        if c:
            world.publish(done.want)
    cache = converge(world, cache)
    again = render(world.facts(), cache, ME)
    assert cache_changes(cache, again) == []
    assert published(again) == {}
