"""What is rendered again, only where something changed, is what render says of it all."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st

from adapter.matrix.desired import Desired
from adapter.matrix.facts import Facts, Unknown
from adapter.matrix.identity import marked
from adapter.matrix.neighbourhoods import Neighbourhoods, ties
from adapter.matrix.rendering import Renderer
from adapter.matrix.rows import Row, key
from adapter.matrix.rules.ids import derived
from adapter.matrix.topology import render
from tests.adapter.matrix.test_topology import MANY, situations, stale
from tests.adapter.matrix.worlds import (
    ME,
    OWNERS,
    STEP,
    World,
    platform,
    rows,
    take,
)

Rows = dict[str, Row]


def neighbourhoods(facts: Facts, cache: Rows) -> list[set[str]]:
    near = Neighbourhoods()
    rooms = facts.rooms.keys() | cache.keys()
    for room in rooms:
        found = facts.rooms.get(room)
        near.tie(room, ties(found, cache.get(room), marked(found, ME)))
    return [set(one) for one in near.around(rooms)]


def told(found: Desired) -> dict[str, object]:
    """All of it: resources are equal that have the same fields, whatever caused them."""
    topologies = ("rooms", "own_have", "own_want")
    whole = {
        name: {key: tuple(one) for key, one in getattr(found, name).items()}
        for name in topologies
    }
    return {**found._asdict(), **whole, "waiting": found.waiting}


def holds(world: World) -> st.SearchStrategy[frozenset[str]]:
    """Mostly nothing is held."""
    some = st.frozensets(st.sampled_from(sorted(world.rooms) or ["!none"]), max_size=2)
    return st.one_of(st.just(frozenset()), some)


@MANY
@given(situations(), st.data())
def test_by_neighbourhoods_it_is_the_same_as_all_at_once(
    situation: tuple[World, Rows], data: st.DataObject
) -> None:
    world, cache = situation
    facts, hold = world.facts(), data.draw(holds(world))
    event(f"neighbourhoods: {len(neighbourhoods(facts, cache))}")
    found = Renderer(ME).render(facts, cache, hold)
    assert told(found) == told(render(facts, cache, ME, hold=hold))


@MANY
@given(situations(), st.lists(STEP, min_size=1, max_size=4), st.data())
def test_what_changed_is_rendered_anew_and_the_rest_stands(
    situation: tuple[World, Rows],
    steps: list[tuple[str, int, int, int]],
    data: st.DataObject,
) -> None:
    """Whatever happens, to the rows as well, and whatever is held meanwhile."""
    world, cache = situation
    renderer = Renderer(ME)
    for step in (None, *steps):
        if step is not None:
            take(world, step)
            cache = data.draw(
                st.one_of(
                    st.just(cache),
                    st.just(rows(render(world.facts(), cache, ME).rooms)),
                    stale(world),
                )
            )
        facts, hold = world.facts(), data.draw(holds(world))
        if world.rooms and data.draw(st.integers(0, 5)) == 0:
            facts = unread(facts, data.draw(st.sampled_from(sorted(world.rooms))))
        found = renderer.render(facts, cache, hold)
        assert told(found) == told(render(facts, cache, ME, hold=hold))


def unread(facts: Facts, room: str) -> Facts:
    return facts._replace(rooms={**facts.rooms, room: Unknown("state: 503")})


def test_owners_who_share_nothing_are_apart() -> None:
    """Else everything would be rendered, whatever changed."""
    world = World()
    for owner in OWNERS:
        space = world.space(owner)
        for number in (1, 2):
            world.chat(owner, number, space)
    found = neighbourhoods(world.facts(), {})
    assert sorted(map(len, found)) == [3, 3, 3]


def test_a_conversation_that_only_a_row_knows_is_one_tie() -> None:
    """Bob's room says nothing, and its row names Alice's conversation: it is not his."""
    world = World()
    alices = world.chat(OWNERS[0], 1, world.space(OWNERS[0]))
    bobs = world.chat(OWNERS[1], 1, world.space(OWNERS[1], named=False), named=False)
    cache = {bobs: Row(bobs, "chat", platform_chat_id=platform(OWNERS[0], 1))}
    found = Renderer(ME).render(world.facts(), cache)
    assert found.rooms[key(alices)].fields["platform_chat_id"] == "alice-1"
    assert found.rooms[key(bobs)].fields["platform_chat_id"] == derived(bobs)


def test_so_is_one_that_no_room_says_and_that_follows_from_its_id() -> None:
    """Alice's room says nothing, so its conversation follows from its id; Bob's row
    cannot claim it."""
    world = World()
    alices = world.chat(OWNERS[0], 1, world.space(OWNERS[0]), named=False)
    bobs = world.chat(OWNERS[1], 1, world.space(OWNERS[1]), named=False)
    cache = {bobs: Row(bobs, "chat", platform_chat_id=derived(alices))}
    found = Renderer(ME).render(world.facts(), cache)
    assert found.rooms[key(alices)].fields["platform_chat_id"] == derived(alices)
    assert found.rooms[key(bobs)].fields["platform_chat_id"] == derived(bobs)


def test_so_is_an_owner_whom_only_a_row_knows() -> None:
    """The chat says nothing, and its row whose it is: it is counted among theirs."""
    world = World()
    world.chat(OWNERS[0], 1, world.space(OWNERS[0]))
    other = world.chat(OWNERS[0], 2, named=False)
    cache = {other: Row(other, "chat", matrix_user_id=OWNERS[0])}
    found = Renderer(ME).render(world.facts(), cache)
    assert found.rooms[key(other)].fields["chat_id"] == "C2"
