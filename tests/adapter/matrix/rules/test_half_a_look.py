"""What half a look leaves as it is, one by one."""

from __future__ import annotations

import pytest

from adapter.matrix.facts import Fact, Facts, Gone
from adapter.matrix.rows import Row
from adapter.matrix.topology import render
from controller.model import Cause
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BOB,
    CAROL,
    HELD,
    LINKED,
    RECORD,
    UNREAD,
    City,
    bare,
    bind,
    child_field,
    facts,
    invite_field,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import GUEST, ME, World, platform, rows


def test_a_later_version_is_written_over_by_nobody(world: World) -> None:
    """Neither a conversation that only the row knows, nor a link or an invite."""
    world.space(ALICE)
    chat = world.chat(ALICE, 1, joined=False)
    bind(world, chat, bare("after a reset"))
    cache = seen(world)
    assert cache[chat].space_id is not None
    bind(world, chat, {"v": 9})
    assert seen(world, cache) == cache
    assert to_write(world, cache) == {}


def test_a_space_of_a_later_version_is_not_linked_around(world: World) -> None:
    """Whoever can read it knows which Space is Alice's."""
    world.create(room_type="m.space", identity={"v": 2, "owner": ALICE})
    world.space(ALICE)
    world.chat(ALICE, 1)
    assert to_write(world) == {}
    world.space(BOB)
    world.chat(BOB, 1)
    assert len(to_write(world)) == 1


def test_chats_of_a_hidden_space_are_not_linked_into_another(city: City) -> None:
    """They belong where they did; of another owner's hidden Space that is no matter."""
    world, cache, names = city
    new = world.space(ALICE)
    banned = Gone("bot_banned", Cause(ALICE, "$ban", 9))
    hide: dict[str, Fact | None] = {names[0]: banned}
    found = seen(world, cache, hide=hide)
    assert found[names[1]] == cache[names[1]]
    assert found[new].status == "active"
    assert to_write(world, cache, hide=hide) == {}
    chat = world.chat(ALICE, 3)
    row = seen(world, cache)[chat]._replace(space_id=names[3])
    hide = {names[3]: banned}
    assert seen(world, {**cache, chat: row}, hide=hide)[chat].space_id == names[0]


@pytest.mark.parametrize("membership", ["knock", ""])
def test_who_only_knocked_at_the_old_room_is_not_invited(
    world: World, membership: str
) -> None:
    """Who was in it, or was invited, is."""
    chat = world.chat(ALICE, 1, world.space(ALICE), joined=False)
    world.member(chat, ALICE, membership, ALICE)
    new = world.upgrade(chat)
    assert (new, invite_field(ALICE)) not in to_write(world)
    world.member(chat, ALICE, "invite", ME)
    assert (new, invite_field(ALICE)) in to_write(world)


def test_a_bare_binding_is_no_record(world: World) -> None:
    """Of a legacy room it is replaced by one that says the same, and more."""
    chat = world.chat(ALICE, 1, world.space(ALICE), named=False)
    bind(world, chat, bare("bound"))
    assert to_write(world)[chat, RECORD] == {
        "v": 1,
        "kind": "chat",
        "owner": ALICE,
        "chat_id": "C1",
        "platform_chat_id": "bound",
    }


def test_a_redacted_binding_is_no_finding(world: World) -> None:
    """A malformed one is."""
    chat = world.chat(ALICE, 1, world.space(ALICE))
    bind(world, chat, {})
    assert told(world) == set()
    bind(world, chat, {"v": 0})
    assert told(world) == {("malformed_binding", chat)}


def test_nothing_is_told_of_a_strangers_room_but_its_row(world: World) -> None:
    """Its name is not followed, and who links it is no finding."""
    space = world.space(ALICE)
    other = world.create(GUEST)
    world.put(other, GUEST, "m.room.name", "", {"name": "Mine"})
    world.child(space, other, LINKED, ALICE)
    cache = {other: HELD._replace(room_id=other, matrix_user_id=BOB, name="Ours")}
    assert seen(world, cache)[other].name == "Ours"
    assert told(world, cache) == set()


def test_that_no_space_is_seen_is_no_finding(city: City) -> None:
    """It may well be there."""
    world, cache, names = city
    world.chat(ALICE, 3)
    assert told(world, cache, hide={names[0]: UNREAD}) == set()


def test_a_lost_room_that_answers_with_a_fault_is_not_as_expected(city: City) -> None:
    """Only a refusal is; else it might come back any time."""
    world, cache, names = city
    row = cache[names[1]]._replace(status="detached", reason="lost")
    world.chat(ALICE, 3)
    before = {**cache, names[1]: row}
    assert to_write(world, before, hide={names[1]: UNREAD}) == {}
    assert to_write(world, before, hide={names[1]: ABSENT}) != {}


def test_while_a_joined_room_is_unread_all_rows_stand(city: City) -> None:
    """It may hold anybody's places."""
    world, cache, names = city
    world.child(names[0], names[1], {}, ALICE)
    whole = facts(world)
    blind = Facts(whole.rooms, whole.joined | {"!j"})
    assert rows(render(blind, cache, ME).rooms) == cache
    assert state(seen(world, cache)[names[1]]) == ("detached", "unlinked")


def test_a_duplicate_stays_while_the_winner_has_neither_row_nor_face(
    city: City,
) -> None:
    """It was not read, and the cache lost it."""
    world, cache, names = city
    twin = world.chat(ALICE, 1)
    cache = seen(world, cache)
    left = {room: row for room, row in cache.items() if room != names[1]}
    assert seen(world, left, hide={names[1]: UNREAD})[twin] == cache[twin]
    overdue = UNREAD._replace(overdue=True)
    assert seen(world, cache, hide={names[1]: overdue})[twin] == cache[twin]


def test_no_duplicate_comes_back_while_anything_is_unread(city: City) -> None:
    """The winner may be the one thing that nobody remembers."""
    world, cache, names = city
    bind(world, names[4], bare(platform(ALICE, 1)))
    cache = seen(world, cache)
    assert state(cache[names[4]]) == ("detached", "duplicate")
    del cache[names[1]], world.rooms[names[1]]
    found = seen(world, cache, hide={names[2]: UNREAD})
    assert found[names[4]] == cache[names[4]]
    assert state(seen(world, cache)[names[4]]) == ("active", None)


def test_a_row_that_is_wrong_about_a_room_that_is_seen_has_no_vote(
    world: World,
) -> None:
    """Whose the room is, nobody can tell; what Carol left is her own affair."""
    chat = world.chat(CAROL, 1, world.space(CAROL))
    old = world.chat(ALICE, 1, named=False)
    for reason in ("owner_left", "unlinked"):
        row = Row(old, "chat", "C1", None, CAROL, "p", None, "detached", reason)
        assert state(seen(world, {old: row})[chat]) == ("active", None)


def test_while_an_old_space_is_not_decided_all_rows_stand(city: City) -> None:
    """A Space that cannot be bound for want of sight counts as unread itself."""
    world, cache, names = city
    world.space(CAROL, named=False)
    world.child(names[0], names[1], {}, ALICE)
    found = seen(world, cache, hide={names[4]: UNREAD})
    assert found[names[1]] == cache[names[1]]


def test_half_a_look_finishes_only_what_a_row_in_use_says_too(city: City) -> None:
    """A room that is new may be the twin of one that was not seen."""
    world, cache, names = city
    chat = world.chat(ALICE, 3)
    bobs: dict[str, Fact | None] = {names[4]: UNREAD}
    alices: dict[str, Fact | None] = {names[1]: UNREAD}
    row = seen(world, cache)[chat]
    link = {(names[0], child_field(chat)): LINKED}
    assert to_write(world, cache, hide=bobs) == {}
    assert to_write(world, {**cache, chat: row}, hide=bobs) == link
    assert to_write(world, {**cache, chat: row}, hide=alices) == {}
    for other in (
        row._replace(status="detached", reason="owner_left"),
        row._replace(platform_chat_id="other"),
        row._replace(chat_id="C9"),
        row._replace(matrix_user_id=CAROL),
    ):
        assert to_write(world, {**cache, chat: other}, hide=bobs) == {}, other


def test_a_room_that_may_have_been_replaced_is_not_finished(city: City) -> None:
    """Until its tombstone's target has refused itself for long."""
    world, cache, names = city
    chat = world.chat(ALICE, 3)
    new = world.upgrade(chat)
    assert to_write(world, cache, hide={new: ABSENT}) == {}
    assert to_write(world, cache, hide={new: ABSENT._replace(overdue=True)}) == {
        (names[0], child_field(chat)): LINKED
    }


def test_a_room_whose_past_is_not_seen_is_not_finished(city: City) -> None:
    """Until that has not been seen for long."""
    world, cache, names = city
    said = {**HELD_IDENTITY, "chat_id": "C3", "platform_chat_id": "p3"}
    chat = world.create(identity=said, predecessor="!before")
    world.welcome(chat, ALICE)
    assert to_write(world, cache) == {}
    overdue = ABSENT._replace(overdue=True)
    assert to_write(world, cache, hide={"!before": overdue}) == {
        (names[0], child_field(chat)): LINKED
    }


HELD_IDENTITY = {"v": 1, "kind": "chat", "owner": ALICE}


@pytest.mark.parametrize(
    ("reason", "back"),
    [("owner_left", True), ("owner_banned", True), ("unlinked", False)],
)
def test_on_half_a_look_an_owner_may_come_back_into_a_place_that_was_kept(
    city: City, reason: str, back: bool
) -> None:
    """Of which no row in use has taken anything."""
    world, cache, names = city
    row = cache[names[1]]._replace(status="detached", reason=reason)
    before = {**cache, names[1]: row}
    hide: dict[str, Fact | None] = {names[2]: UNREAD}
    assert seen(world, before, hide=hide)[names[1]] == (
        cache[names[1]] if back else row
    )
    twin = world.chat(ALICE, 1)
    before[twin] = cache[names[1]]._replace(room_id=twin, platform_chat_id="p")
    assert seen(world, before, hide=hide)[names[1]] == row


def test_on_half_a_look_a_room_that_took_the_bot_back_waits(city: City) -> None:
    """It kept no place."""
    world, cache, names = city
    row = cache[names[1]]._replace(status="detached", reason="bot_kicked")
    before = {**cache, names[1]: row}
    assert seen(world, before, hide={names[2]: UNREAD}) == before
    assert seen(world, before) == cache


def test_names_follow_also_on_half_a_look(city: City) -> None:
    """And go, when they are taken away."""
    world, cache, names = city
    named = {**cache, names[1]: cache[names[1]]._replace(name="Old")}
    for hidden in (names[2], names[4]):
        assert seen(world, named, hide={hidden: UNREAD})[names[1]].name is None


def test_each_row_keeps_the_revision_that_was_read(city: City) -> None:
    """A target compares it before it swaps; a new row has none."""
    world, cache, names = city
    new = world.upgrade(names[1])
    numbered = {
        room: row._replace(revision=at) for at, (room, row) in enumerate(cache.items())
    }
    hides: list[dict[str, Fact | None]] = [{}, {names[2]: UNREAD}, {names[0]: ABSENT}]
    for hide in hides:
        found = render(facts(world, hide=hide), numbered, ME).rooms
        revisions = {key.name: one.revision for key, one in found.items()}
        expected = {room: row.revision for room, row in numbered.items()}
        assert revisions == expected | {new: 0}


def test_a_room_that_may_have_been_replaced_is_not_bound_anew(world: World) -> None:
    """It would take the place of the one that replaced it."""
    chat = world.chat(ALICE, 1, world.space(ALICE))
    new = world.upgrade(chat)
    assert chat not in seen(world, hide={new: UNREAD})
    assert chat in seen(world, hide={new: ABSENT})


def test_a_replaced_room_does_not_come_back_when_the_new_one_hides(city: City) -> None:
    """That it was replaced was seen once."""
    world, cache, names = city
    new = world.upgrade(names[1])
    cache = converge(world, cache)
    hides: list[Fact | None] = [None, UNREAD, ABSENT, ABSENT._replace(overdue=True)]
    for unseen in hides:
        found = seen(world, cache, hide={new: unseen})
        assert found[names[1]] == cache[names[1]]
        assert to_write(world, cache, hide={new: unseen}) == {}


def test_while_a_replacement_is_waited_for_nothing_of_its_owner_is_finished(
    city: City,
) -> None:
    """Neither of the owner that its row names, nor of the one that it says itself."""
    world, cache, names = city
    new = world.upgrade(names[1])
    del world.rooms[new]
    world.chat(ALICE, 3)
    assert to_write(world, cache) == {}
    carols = cache[names[1]]._replace(matrix_user_id=CAROL)
    assert to_write(world, {**cache, names[1]: carols}) == {}
    bobs = world.chat(BOB, 3)
    assert to_write(world, cache) == {(names[3], child_field(bobs)): LINKED}


def test_an_old_room_that_waits_for_its_replacement_says_its_owner_by_its_row(
    city: City,
) -> None:
    """Nothing of that owner is finished, either."""
    world, cache, names = city
    old = world.chat(ALICE, 3, names[0], named=False)
    cache = seen(world, cache)
    del world.rooms[world.upgrade(old)]
    world.chat(ALICE, 4)
    assert to_write(world, cache) == {}
    bobs = world.chat(BOB, 3)
    assert to_write(world, cache) == {(names[3], child_field(bobs)): LINKED}


def test_a_row_that_is_unknown_keeps_its_place(city: City) -> None:
    """A twin does not get it before the row is lost."""
    world, cache, names = city
    twin = world.chat(ALICE, 1)
    found = seen(world, cache, hide={names[1]: ABSENT})
    assert found[names[1]].status == "unknown"
    assert state(found[twin]) == ("detached", "duplicate")
    lost = seen(world, found, hide={names[1]: ABSENT._replace(overdue=True)})
    assert state(lost[twin]) == ("active", None)


def test_a_row_of_a_foreign_type_is_lost_only_by_a_whole_look(city: City) -> None:
    """As is every row about whose room nothing can be decided."""
    world, cache, names = city
    odd = world.create(room_type="com.example.odd")
    before = {**cache, odd: HELD._replace(room_id=odd, matrix_user_id=CAROL)}
    assert seen(world, before, hide={names[4]: UNREAD})[odd] == before[odd]
    assert state(seen(world, before)[odd]) == ("detached", "lost")


def test_held_rows_are_as_unread_as_they_are(city: City) -> None:
    """Holding a row does not make its room seen."""
    world, cache, names = city
    world.child(names[0], names[2], {}, ALICE)
    part = facts(world, hide={names[1]: UNREAD})
    found = rows(render(part, cache, ME, hold=frozenset({names[1]})).rooms)
    assert found == cache


def test_of_spaces_without_the_place_one_that_the_bot_is_in_goes_first(
    world: World,
) -> None:
    """What a Space says that threw it out is old."""
    gone, losing, holder = (world.space(ALICE) for _ in range(3))
    for number in (1, 2):
        world.chat(ALICE, number, holder)
    chat = world.chat(ALICE, 3, losing)
    world.child(gone, chat, {}, ALICE)
    world.member(gone, ME, "leave", ALICE)
    row = seen(world)[chat]
    assert (row.status, row.space_id) == ("active", losing)


def test_a_later_versions_space_that_the_bot_left_holds_nobody_up(world: World) -> None:
    """It has no place, and nothing can be written there by anybody."""
    left = world.create(
        room_type="m.space", identity={"v": 2, "kind": "space", "owner": ALICE}
    )
    world.member(left, ME, "leave", ME)
    space = world.space(ALICE, named=False)
    assert to_write(world) == {
        (space, RECORD): {"v": 1, "kind": "space", "owner": ALICE}
    }
