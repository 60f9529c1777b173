"""Rooms that were upgraded (rule 8)."""

from __future__ import annotations

import pytest

from tests.adapter.matrix.rules.looking import (
    ALICE,
    LINKED,
    RECORD,
    bare,
    bind,
    child_field,
    invite_field,
    last,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import ME, World


def test_an_upgraded_chat_is_the_same_chat(world: World) -> None:
    """Identity, chat_id and conversation move along, and are written for the new room."""
    space = world.space(ALICE)
    old = world.chat(ALICE, 1, space)
    bind(world, old, bare("after a reset"))
    converge(world, {})
    new = world.upgrade(old)
    tombstone = last(world)
    found = seen(world)
    row = found[new]
    assert row[1:6] == ("chat", "C1", space, ALICE, "after a reset")
    assert state(row) == ("pending", None)
    assert state(found[old]) == ("detached", "upgraded")
    assert found[old].evidence == tombstone
    assert to_write(world) == {
        (new, RECORD): {
            "v": 1,
            "kind": "chat",
            "owner": ALICE,
            "chat_id": "C1",
            "platform_chat_id": "after a reset",
        },
        (space, child_field(new)): LINKED,
        (new, invite_field(ALICE)): {"membership": "invite"},
    }


def test_a_person_who_upgrades_takes_nothing_over(world: World) -> None:
    """The bot did not make the new room: the old one stays as it is."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    before = seen(world)
    new = world.upgrade(chat, ALICE)
    assert seen(world) == before
    assert new not in seen(world)
    assert told(world) == {("unfollowed_tombstone", chat)}
    assert to_write(world) == {}


def test_a_circle_of_upgrades_stays_as_it_is(world: World) -> None:
    """Both rooms are what they say, with a finding each."""
    space = world.space(ALICE)
    first = world.chat(ALICE, 1, space)
    second = world.upgrade(first)
    world.put(second, ME, "m.room.tombstone", "", {"replacement_room": first})
    creation = world.content(first, "m.room.create")
    creation["predecessor"] = {"room_id": second}
    assert state(seen(world)[first]) == ("active", None)
    assert told(world) >= {("upgrade_cycle", first), ("upgrade_cycle", second)}


@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_who_left_the_old_room_is_not_invited_to_the_new_one(
    world: World, membership: str
) -> None:
    """It was a decision."""
    chat = world.chat(ALICE, 1, world.space(ALICE))
    world.member(chat, ALICE, membership, ALICE)
    new = world.upgrade(chat)
    reason = {"leave": "owner_left", "ban": "owner_banned"}[membership]
    assert state(seen(world)[new]) == ("detached", reason)
    assert (new, invite_field(ALICE)) not in to_write(world)
