"""Whose room, if it does not say (rule 5)."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.matrix.rows import Row
from adapter.matrix.rules.ids import derived
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BOB,
    CAROL,
    LINKED,
    RECORD,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import GUEST, ME, World


@pytest.mark.parametrize("membership", ["join", "invite", "leave", "ban", ""])
def test_a_legacy_space_belongs_to_the_only_user_in_it(
    world: World, membership: str
) -> None:
    """Whatever became of them; the record says so from then on."""
    space = world.space(ALICE, named=False, joined=False)
    world.member(space, ALICE, membership, ME)
    assert seen(world)[space].matrix_user_id == ALICE
    record = {"v": 1, "kind": "space", "owner": ALICE}
    assert to_write(world)[space, RECORD] == record
    converge(world, {})
    world.welcome(space, BOB)
    assert seen(world)[space].matrix_user_id == ALICE


def test_a_legacy_space_of_nobody_is_a_finding(world: World) -> None:
    """It is not bound, and nothing is written there."""
    space = world.space(ALICE, named=False, joined=False)
    assert seen(world) == {}
    assert told(world) == {("ambiguous_owner", space)}
    assert to_write(world) == {}


def test_of_two_users_in_a_legacy_space_the_rows_is_the_owner(world: World) -> None:
    """If that is one of the two; a guess is none."""
    space = world.space(ALICE, named=False)
    world.welcome(space, GUEST)
    assert told(world) == {("ambiguous_owner", space)}
    for owner, bound in ((ALICE, True), (GUEST, True), (BOB, False), (ME, False)):
        cache = {space: Row(space, "space", matrix_user_id=owner)}
        found = seen(world, cache)[space]
        assert found.matrix_user_id == owner
        assert state(found) == (("active", None) if bound else ("detached", "lost"))
        assert bool(to_write(world, cache)) is bound


def test_a_legacy_chat_belongs_to_the_owner_of_the_space_that_names_it(
    world: World,
) -> None:
    """If they ever were in it."""
    space = world.space(ALICE, named=False)
    chat = world.chat(ALICE, 1, space, named=False)
    world.welcome(chat, GUEST)
    found = seen(world)[chat]
    assert (found.matrix_user_id, found.chat_id, found.space_id) == (ALICE, "C1", space)
    record = {
        "v": 1,
        "kind": "chat",
        "owner": ALICE,
        "chat_id": "C1",
        "platform_chat_id": derived(chat),
    }
    assert to_write(world)[chat, RECORD] == record
    never_there = world.chat(BOB, 2, space, named=False)
    assert never_there not in seen(world)
    assert ("ambiguous_owner", never_there) in told(world)


def test_a_guest_who_links_a_chat_does_not_own_it(world: World) -> None:
    """Bob wrote that link, and Alice was there too: it does not count."""
    space, bobs = world.space(ALICE), world.space(BOB)
    chat = world.chat(ALICE, 1, named=False)
    world.welcome(chat, BOB)
    world.child(bobs, chat, LINKED, BOB)
    assert chat not in seen(world)
    assert ("ambiguous_owner", chat) in told(world)
    world.child(space, chat, LINKED, ME)
    assert seen(world)[chat].matrix_user_id == ALICE
    assert told(world) == {("foreign_link", chat)}


def test_a_link_that_its_owner_wrote_counts_where_nobody_else_was(world: World) -> None:
    """There is nobody to take it from."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, named=False)
    world.child(space, chat, LINKED, ALICE)
    assert seen(world)[chat].matrix_user_id == ALICE
    world.member(chat, BOB, "leave", ME)
    assert chat not in seen(world)


def test_two_owners_of_a_chat_are_none(world: World) -> None:
    """Then the row says whose it is, if they ever were in it; else nobody."""
    for owner in (ALICE, BOB):
        world.space(owner)
    spaces = list(world.rooms)
    chat = world.chat(ALICE, 1, named=False)
    world.welcome(chat, BOB)
    for space in spaces:
        world.child(space, chat, LINKED, ME)
    assert chat not in seen(world)
    for owner, bound in ((ALICE, True), (BOB, True), (CAROL, False)):
        cache = {chat: Row(chat, "chat", "C1", None, owner, "p")}
        row = seen(world, cache)[chat]
        assert (row.matrix_user_id, row.status == "active") == (owner, bound)


def test_a_chat_in_which_nobody_ever_was_is_the_rows(world: World) -> None:
    """Nobody can lose it; but a row that names the bot or nobody says nothing."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space, named=False, joined=False)
    assert told(world) == {("ambiguous_owner", chat)}
    for owner, bound in ((ALICE, True), (BOB, True), (ME, False), ("?", False)):
        row = seen(world, {chat: Row(chat, "chat", "C1", None, owner, "p")})[chat]
        assert (row.status == "pending") is bound
        assert state(row) == (("pending", None) if bound else ("detached", "lost"))


def test_an_upgrade_of_a_guests_space_does_not_make_the_link_the_bots(
    world: World,
) -> None:
    """It copies the links in the bot's name; who wrote the first one counts."""
    world.space(ALICE)
    bobs = world.space(BOB)
    chat = world.chat(ALICE, 1, named=False)
    world.welcome(chat, BOB)
    world.child(bobs, chat, LINKED, BOB)
    new = world.upgrade(bobs)
    world.welcome(new, BOB)
    assert world.rooms[new]["m.space.child", chat]["sender"] == ME
    assert chat not in seen(world)
    # Nor does it where the old Space is not seen any more.
    gone = ABSENT._replace(overdue=True)
    assert chat not in seen(world, hide={bobs: gone})


def test_a_guest_does_not_make_a_link_of_the_bots_their_own(world: World) -> None:
    """Bob writes again, in the new Space, what the bot had written in the old one."""
    world.space(ALICE)
    bobs = world.space(BOB)
    chat = world.chat(ALICE, 1, bobs, named=False)
    world.welcome(chat, BOB)
    assert seen(world)[chat].matrix_user_id == BOB
    new = world.upgrade(bobs)
    world.welcome(new, BOB)
    assert seen(world)[chat].matrix_user_id == BOB
    world.child(new, chat, LINKED, BOB)
    assert chat not in seen(world)


def test_who_was_in_a_room_is_told_by_user_ids(world: World) -> None:
    """A member event may stand under any state key."""
    space = world.space(ALICE, named=False)
    for key in ("alice", "@x", "", "@a b:hs"):
        world.put(space, ALICE, "m.room.member", key, {"membership": "join"})
    assert seen(world)[space].matrix_user_id == ALICE


@pytest.mark.parametrize("content", [{}, {"via": []}])
def test_an_emptied_link_makes_nobody_an_owner(world: World, content: Any) -> None:
    """The row may still know."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, named=False)
    world.child(space, chat, content, ME)
    assert chat not in seen(world)
    cache = {chat: Row(chat, "chat", "C1", space, ALICE, "p")}
    row = seen(world, cache)[chat]
    assert (row.matrix_user_id, *state(row)) == (ALICE, "detached", "unlinked")


def test_what_was_decided_outlives_what_it_was_decided_by(world: World) -> None:
    """The record holds against a later guest, a link that goes, and a lost database."""
    space = world.space(ALICE, named=False)
    chat = world.chat(ALICE, 1, space, named=False)
    before = converge(world, {})
    world.welcome(chat, GUEST)
    world.welcome(space, GUEST)
    world.child(space, chat, {}, GUEST)
    row = seen(world)[chat]
    assert state(row) == ("detached", "unlinked")
    known = ("matrix_user_id", "chat_id", "platform_chat_id")
    assert [getattr(row, name) for name in known] == [
        getattr(before[chat], name) for name in known
    ]


def test_a_room_that_is_not_in_use_gets_its_record_too(world: World) -> None:
    """So that nothing later can decide otherwise."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space, named=False)
    world.member(chat, ALICE, "leave", ALICE)
    assert state(seen(world)[chat]) == ("detached", "owner_left")
    assert to_write(world).keys() == {(chat, RECORD)}
