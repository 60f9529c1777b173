"""Which conversation a chat carries on (rule 4)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from adapter.matrix.rules.ids import derived
from tests.adapter.matrix.rules.looking import (
    ALICE,
    HELD,
    RECORD,
    bare,
    bind,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import World, platform


@pytest.mark.parametrize(
    ("named", "binding", "cached", "expected"),
    [
        (True, None, False, platform(ALICE, 1)),
        (True, None, True, platform(ALICE, 1)),
        (True, bare("bound"), False, "bound"),
        (True, bare("bound"), True, "bound"),
        (True, {}, False, platform(ALICE, 1)),
        (True, {}, True, "from the row"),
        (True, {"v": "x"}, True, "from the row"),
        (True, {"v": 1, "platform_chat_id": 5}, True, "from the row"),
        (True, {"v": 1, "platform_chat_id": "x" * 1025}, True, "from the row"),
        (False, None, False, "derived"),
        (False, None, True, "from the row"),
        (False, bare("bound"), True, "bound"),
        (False, {}, True, "from the row"),
        (False, {}, False, "derived"),
    ],
)
def test_a_conversation_is_bound_named_remembered_or_derived(
    world: World, named: bool, binding: Any, cached: bool, expected: str
) -> None:
    """The row goes before the identity only where a binding stands that is unreadable."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space, named=named)
    if binding is not None:
        bind(world, chat, binding)
    cache = {chat: HELD._replace(room_id=chat)} if cached else {}
    expected = derived(chat) if expected == "derived" else expected
    assert seen(world, cache)[chat].platform_chat_id == expected
    after = converge(world, cache)
    assert after[chat].platform_chat_id == expected
    # From now on Matrix alone says so.
    assert seen(world)[chat].platform_chat_id == expected


def test_what_a_derived_conversation_is_called(world: World) -> None:
    """A uuid5 of the first room's id, without its sigil: it outlives every database."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space, named=False)
    expected = str(uuid.uuid5(uuid.NAMESPACE_URL, f"matrix:roomid/{chat[1:]}"))
    new = world.upgrade(world.upgrade(chat))
    world.welcome(new, ALICE)
    assert seen(world)[new].platform_chat_id == expected
    assert derived("!a:hs") == "12ca5132-57c0-56a7-9737-eaad210871f8"


def test_a_moderator_who_redacts_a_binding_changes_nothing(world: World) -> None:
    """The conversation goes on, and the binding is written again."""
    chat = world.chat(ALICE, 1, world.space(ALICE))
    bind(world, chat, bare("after a reset"))
    cache = converge(world, {})
    bind(world, chat, {})
    assert seen(world, cache) == cache
    assert to_write(world, cache) == {(chat, RECORD): bare("after a reset")}


def test_a_row_counts_only_if_no_other_room_claims_its_conversation(
    world: World,
) -> None:
    """A wrong row would lead one room's words into another's conversation."""
    space = world.space(ALICE)
    legacy = world.chat(ALICE, 1, space, named=False)
    other = world.chat(ALICE, 2, space)
    wrong = HELD._replace(room_id=legacy, platform_chat_id=platform(ALICE, 2))
    found = seen(world, {legacy: wrong})
    assert found[legacy].platform_chat_id == derived(legacy)
    assert found[other].status == found[legacy].status == "active"


def test_a_legacy_room_claims_what_is_derived_from_it(world: World) -> None:
    """Though nothing is written there yet."""
    space = world.space(ALICE)
    first, other = (world.chat(ALICE, n, space, named=False) for n in (1, 2))
    wrong = HELD._replace(room_id=first, platform_chat_id=derived(other))
    found = seen(world, {first: wrong})
    assert found[first].platform_chat_id == derived(first)
    assert found[other].platform_chat_id == derived(other)


@pytest.mark.parametrize("value", ["", "x" * 1025])
def test_a_row_without_a_conversation_says_none(world: World, value: str) -> None:
    """Nor does one that no record could hold."""
    legacy = world.chat(ALICE, 1, world.space(ALICE), named=False)
    wrong = HELD._replace(room_id=legacy, platform_chat_id=value)
    assert seen(world, {legacy: wrong})[legacy].platform_chat_id == derived(legacy)


def test_a_legacy_rooms_own_row_is_claimed_by_nobody_else(world: World) -> None:
    """The older rooms of its upgrade chain are the same room."""
    space = world.space(ALICE)
    old = world.chat(ALICE, 1, space)
    bind(world, old, bare("bound"))
    cache = converge(world, {})
    new = world.upgrade(old)
    bind(world, new, {})
    assert seen(world, cache)[new].platform_chat_id == "bound"


def test_what_a_newer_version_claims_is_taken(world: World) -> None:
    """A row that says the same gives way; the newer room is left as it is."""
    space = world.space(ALICE)
    legacy = world.chat(ALICE, 1, space, named=False)
    newer = world.create()
    bind(
        world, newer, {"v": 2, "owner": ALICE, "chat_id": "C1", **bare("p")} | {"v": 2}
    )
    wrong = HELD._replace(room_id=legacy, platform_chat_id="p")
    found = seen(world, {legacy: wrong})
    assert found[legacy].platform_chat_id == derived(legacy)
    assert found[legacy].chat_id == "C2"
    assert newer not in found
    assert told(world, {legacy: wrong}) == {("newer_version", newer)}


def test_a_newer_version_keeps_what_the_row_says(world: World) -> None:
    """Its status and name go on; nothing is written."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    cache = converge(world, {})
    bind(world, chat, {"v": 9, "platform_chat_id": "theirs"})
    world.put(chat, ALICE, "m.room.name", "", {"name": "News"})
    world.member(chat, ALICE, "leave", ALICE)
    row = seen(world, cache)[chat]
    assert row.platform_chat_id == platform(ALICE, 1)
    assert (row.name, *state(row)) == ("News", "detached", "owner_left")
    assert to_write(world, cache) == {}
