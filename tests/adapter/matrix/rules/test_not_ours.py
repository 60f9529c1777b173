"""Rooms that are not the bot's (rule 6)."""

from __future__ import annotations

import pytest

from tests.adapter.matrix.rules.looking import (
    ALICE,
    HELD,
    LINKED,
    bind,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.worlds import GUEST, ME, World


@pytest.mark.parametrize("room_type", [None, "m.space", "com.example.odd"])
def test_a_room_that_the_bot_did_not_make_is_never_one_of_its_own(
    world: World, room_type: str | None
) -> None:
    """Whatever it claims, and whoever links it; a row of it is given up."""
    space = world.space(ALICE)
    identity = {"v": 1, "kind": "space", "owner": ALICE}
    mallorys = world.create(GUEST, room_type, identity=identity)
    world.welcome(mallorys, ALICE)
    world.child(space, mallorys, LINKED, ME)
    bind(world, mallorys, {"v": 1, "kind": "space", "owner": ALICE})
    assert mallorys not in seen(world)
    assert to_write(world) == {}
    cache = {mallorys: HELD._replace(room_id=mallorys)}
    row = seen(world, cache)[mallorys]
    assert state(row) == ("detached", "not_ours")
    assert row.platform_chat_id == HELD.platform_chat_id
    assert to_write(world, cache) == {}


def test_a_row_of_a_room_of_a_foreign_type_is_lost(world: World) -> None:
    """The bot made it, but it is neither a Space nor a chat."""
    odd = world.create(room_type="com.example.odd")
    assert seen(world) == {}
    cache = {odd: HELD._replace(room_id=odd)}
    assert state(seen(world, cache)[odd]) == ("detached", "lost")


def test_user_ids_are_compared_exactly(world: World) -> None:
    """A Cyrillic letter is somebody else, and so is a capital A."""
    space = world.space(ALICE)
    for other in ("@\u0430lice:hs", "@Alice:hs", "@alice:HS"):
        chat = world.chat(other, 1, joined=False)
        world.child(space, chat, LINKED, ME)
        assert seen(world)[chat].matrix_user_id == other
        assert seen(world)[chat].space_id is None
        assert ("foreign_link", chat) in told(world)
