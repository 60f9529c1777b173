"""Facts as they are kept, and the digest that says whether they are whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.facts import Fact, Facts, Gone, Unknown, fact
from adapter.matrix.kept import (
    added,
    decode,
    digest_of_facts,
    digest_of_rows,
    encode,
    facts_of,
    kept_fact,
)
from adapter.matrix.rows import Row
from adapter.matrix.topology import render
from tests.adapter.matrix.worlds import ME, World, worlds

ROWS = st.lists(
    st.builds(
        Row, st.text(max_size=3), status=st.just("active"), revision=st.integers(1, 3)
    ),
    max_size=6,
)
CUT = st.sampled_from([Unknown("state: 503"), Unknown("none", absent=True)])


def kept(facts: Facts) -> Facts:
    """The facts as the next start has them."""
    rooms = facts.rooms.items()
    return facts_of([kept_fact(room, found, facts.joined) for room, found in rooms])


@given(worlds(), st.data())
def test_a_world_comes_back_as_it_was(world: World, data: st.DataObject) -> None:
    """What was seen, also in vain, is kept and read again without any loss."""
    facts = world.facts()
    cut = data.draw(st.dictionaries(st.sampled_from([*facts.rooms, "!no"]), CUT))
    facts = facts._replace(rooms={**facts.rooms, **cut})
    again = kept(facts)
    assert dict(again.rooms) == facts.rooms
    assert again.joined == facts.joined & facts.rooms.keys()
    assert render(again, {}, ME) == render(facts, {}, ME)


def test_the_end_of_the_bots_time_comes_back() -> None:
    """With what the room showed last, and where it showed nothing."""
    event = {
        "type": "m.room.member",
        "state_key": ME,
        "sender": "@admin:hs",
        "content": {"membership": "ban"},
        "event_id": "$ban",
    }
    bare = fact("!r", [event], ME)
    world = World()
    shown = fact("!r", [*world.rooms[world.space("@a:hs")].values(), event], ME)
    for found in (bare, shown):
        assert isinstance(found, Gone)
        assert decode(encode(found)) == found
    assert isinstance(shown, Gone)
    assert shown.room is not None


@given(ROWS, ROWS, ROWS)
def test_a_digest_is_kept_up_by_addition(
    stay: list[Row], go: list[Row], come: list[Row]
) -> None:
    """It is that of what there is, whatever came and went before, in whatever order."""
    before = digest_of_rows([*stay, *go])
    after = added((before, -digest_of_rows(go), digest_of_rows(come)))
    assert after == digest_of_rows([*come, *reversed(stay)])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_a_digest_shows_any_change(numbers: list[int], data: st.DataObject) -> None:
    """Of a row, of a fact, and of which room it is about."""
    rows = [Row(f"!{n}", name=str(n)) for n in numbers]
    which = data.draw(st.sampled_from(range(len(rows))))
    other = [*rows]
    other[which] = rows[which]._replace(status="detached")
    assert digest_of_rows(other) != digest_of_rows(rows)
    found: Fact = Unknown("state: 503")
    one, two = kept_fact("!a", found, {"!a"}), kept_fact("!b", found, {"!a"})
    assert digest_of_facts([one]) != digest_of_facts([two])
    assert digest_of_facts([one]) != digest_of_facts([one._replace(joined=False)])
