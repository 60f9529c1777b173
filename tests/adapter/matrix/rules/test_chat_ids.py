"""Which number a chat has (rule 11)."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.matrix.facts import Fact, Gone
from adapter.matrix.rows import Row
from controller.model import Cause
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BINDING,
    BOB,
    LINKED,
    Rows,
    last,
    seen,
    state,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import GUEST, ME, World


def legacy_chats(world: World, orders: list[str | None]) -> tuple[str, list[str]]:
    space = world.space(ALICE)
    made = [world.chat(ALICE, 1, named=False) for _ in orders]
    for room, order in zip(made, orders, strict=True):
        content = LINKED if order is None else {**LINKED, "order": order}
        world.child(space, room, content, ME)
    return space, made


def numbers(
    world: World, made: list[str], cache: Rows | None = None, **unseen: Any
) -> list[str]:
    found = seen(world, cache, **unseen)
    return [found[room].chat_id or "" for room in made]


def test_legacy_chats_are_numbered_in_child_order(world: World) -> None:
    """By `order`; those without one come last."""
    orders = [None, "b", "a", "~", "x" * 51]
    _, made = legacy_chats(world, orders)
    space = next(iter(world.rooms))
    for at, room in enumerate(made):
        world.rooms[space]["m.space.child", room]["origin_server_ts"] = 100 - at
    assert numbers(world, made) == ["C5", "C2", "C1", "C3", "C4"]


def test_then_by_the_time_of_the_link_and_then_by_room_id(world: World) -> None:
    """As the spec says."""
    space, made = legacy_chats(world, [None, None, None])
    for room, at in zip(made, (9, 5, 9), strict=True):
        world.rooms[space]["m.space.child", room]["origin_server_ts"] = at
    first, last_ = sorted((made[0], made[2]))
    assert numbers(world, [made[1], first, last_]) == ["C1", "C2", "C3"]


def test_numbers_that_are_taken_are_skipped(world: World) -> None:
    """By identities, records, newer versions and rows, detached ones included."""
    space, made = legacy_chats(world, ["a", "b", "c"])
    world.chat(ALICE, 2, space)
    world.chat(BOB, 1)
    unlinked = world.chat(ALICE, 4)
    world.child(space, unlinked, {}, ALICE)
    world.create(identity={"v": 2, "owner": ALICE, "chat_id": "C5"})
    gone = Row(
        "!gone", "chat", "C1", space, ALICE, "p", status="detached", reason="lost"
    )
    hide = {"!gone": ABSENT}
    assert numbers(world, made, {"!gone": gone}, hide=hide) == ["C3", "C6", "C7"]
    assert numbers(world, made) == ["C1", "C3", "C6"]


@pytest.mark.parametrize("shown", [True, False])
def test_numbers_of_rooms_that_are_gone_are_not_given_again(
    world: World, shown: bool
) -> None:
    """Whether their state is still shown or not."""
    space, made = legacy_chats(world, ["a"])
    chat = world.chat(ALICE, 1, space)
    cache = {chat: converge(world, {})[chat]}
    world.member(chat, ME, "ban", GUEST)
    banned = Gone("bot_banned", Cause(GUEST, last(world), 9))
    hide: dict[str, Fact | None] = {} if shown else {chat: banned}
    # The legacy chat has not got its record: the pass that would write it failed.
    del world.rooms[made[0]][BINDING, ME]
    found = seen(world, cache, hide=hide)
    assert state(found[chat]) == ("detached", "bot_banned")
    assert (found[chat].chat_id, found[made[0]].chat_id) == ("C1", "C2")


def test_a_legacy_chat_keeps_its_rows_number_if_valid_and_free(world: World) -> None:
    """The others get what is left."""
    space, made = legacy_chats(world, ["a", "b", "c", "d"])
    world.chat(ALICE, 2, space)
    cache = {
        room: Row(room, "chat", number, space, ALICE, f"p{number}")
        for room, number in zip(made, ("C2", "C07", "C9", "C1"), strict=True)
    }
    assert numbers(world, made, cache) == ["C3", "C4", "C9", "C1"]


def test_of_two_rows_with_one_number_the_first_in_child_order_keeps_it(
    world: World,
) -> None:
    """The other gets a new one."""
    space, made = legacy_chats(world, ["b", "a"])
    cache = {room: Row(room, "chat", "C7", space, ALICE, room) for room in made}
    assert numbers(world, made, cache) == ["C1", "C7"]


def test_a_number_is_a_label_until_it_is_published(world: World) -> None:
    """It may change when a link goes; then it stays."""
    space, made = legacy_chats(world, ["a", "b"])
    assert numbers(world, made) == ["C1", "C2"]
    world.child(space, made[0], {}, ME)
    assert numbers(world, made[1:]) == ["C1"]
    converge(world, {})
    world.child(space, made[0], {**LINKED, "order": "a"}, ME)
    assert numbers(world, made) == ["C2", "C1"]


def test_each_owner_counts_from_one(world: World) -> None:
    """The numbers of others are not taken."""
    for owner in (ALICE, BOB):
        chat = world.chat(owner, 1, world.space(owner), named=False)
        assert seen(world)[chat].chat_id == "C1"
