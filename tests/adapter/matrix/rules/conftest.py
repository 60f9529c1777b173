"""Worlds for the tests of the rules: an empty one, and one in order."""

from __future__ import annotations

import pytest

from tests.adapter.matrix.rules.looking import ALICE, BOB, City
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def city(world: World) -> City:
    """Alice's Space and two chats, and Bob's the same, all in order."""
    for owner in (ALICE, BOB):
        space = world.space(owner)
        for number in (1, 2):
            world.chat(owner, number, space)
    return world, converge(world, {}), list(world.rooms)
