"""What follows from rooms that were not seen, and what does not."""

from __future__ import annotations

import pytest

from adapter.matrix.decision import decide
from adapter.matrix.facts import Fact, Facts
from adapter.matrix.rows import Row
from adapter.matrix.topology import render
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BINDING,
    BOB,
    CAROL,
    LINKED,
    UNREAD,
    City,
    child_field,
    facts,
    invite_field,
    last,
    seen,
    state,
    to_write,
    told,
)
from tests.adapter.matrix.test_topology import converge, published
from tests.adapter.matrix.worlds import GUEST, ME, World, rows


@pytest.mark.parametrize("unread", [None, UNREAD], ids=["not looked at", "503"])
@pytest.mark.parametrize("which", [0, 1])
def test_absent_is_not_gone(city: City, unread: Fact | None, which: int) -> None:
    """A room that could not be read keeps its row, status and all."""
    world, cache, names = city
    assert seen(world, cache, hide={names[which]: unread}) == cache
    assert to_write(world, cache, hide={names[which]: unread}) == {}


def test_what_could_not_be_read_is_listed(city: City) -> None:
    """With why, if it has a row or the bot is in it."""
    world, cache, names = city
    hide: dict[str, Fact | None] = {names[1]: UNREAD, "!elsewhere": ABSENT}
    found = render(facts(world, hide=hide), cache, ME)
    assert found.unknown == {names[1]: "state: 503"}
    alone = render(Facts({"!j": UNREAD}, frozenset({"!j"})), {}, ME)
    assert alone.unknown == {"!j": "state: 503"}


def test_the_rows_of_its_owner_stand_and_others_converge(city: City) -> None:
    """`!r` may hold any of Alice's places; Bob's rooms go on."""
    world, cache, names = city
    hide: dict[str, Fact | None] = {names[1]: UNREAD}
    for owner, space in ((ALICE, names[0]), (BOB, names[3])):
        world.child(space, world.chat(owner, 3), {}, owner)
        world.put(space, owner, "m.room.name", "", {"name": "News"})
    world.child(names[0], names[2], {}, ALICE)
    world.child(names[3], names[5], {}, BOB)
    found = seen(world, cache, hide=hide)
    assert found[names[2]] == cache[names[2]]
    assert state(found[names[5]]) == ("detached", "unlinked")
    assert found[names[0]].name == found[names[3]].name == "News"


def test_what_a_room_shows_itself_is_seen_all_the_same(city: City) -> None:
    """Alice leaves one chat, and the bot is thrown out of her Space."""
    world, cache, names = city
    hide: dict[str, Fact | None] = {names[1]: UNREAD}
    world.member(names[2], ALICE, "leave", ALICE)
    world.member(names[0], ME, "leave", ALICE)
    found = seen(world, cache, hide=hide)
    assert state(found[names[2]]) == ("detached", "owner_left")
    assert state(found[names[0]]) == ("detached", "bot_kicked")
    assert found[names[1]] == cache[names[1]]


def test_while_anything_is_unread_nothing_new_is_finished_for_its_owner(
    city: City,
) -> None:
    """Nothing is linked and nobody invited; a new room is bound."""
    world, cache, names = city
    new = world.chat(ALICE, 3, joined=False)
    hide: dict[str, Fact | None] = {names[1]: UNREAD}
    assert to_write(world, cache, hide=hide) == {}
    assert state(seen(world, cache, hide=hide)[new]) == ("pending", None)
    assert to_write(world, cache).keys() == {
        (names[0], child_field(new)),
        (new, invite_field(ALICE)),
    }


def test_a_joined_room_that_nobody_could_read_may_be_anybodys(city: City) -> None:
    """Then nothing at all is finished, until it is overdue."""
    world, cache, _ = city
    for owner in (ALICE, BOB):
        world.chat(owner, 3)
    whole = facts(world)
    for unread, writes in ((UNREAD, 0), (UNREAD._replace(overdue=True), 2)):
        blind = Facts({**whole.rooms, "!j": unread}, whole.joined | {"!j"})
        assert len(published(render(blind, cache, ME))) == writes


def test_a_legacy_room_without_a_row_is_not_decided_on_half_a_look(
    city: City,
) -> None:
    """The room that was not read may say whose it is."""
    world, cache, names = city
    legacy = world.chat(ALICE, 3, names[0], named=False)
    assert legacy not in seen(world, cache, hide={names[4]: UNREAD})
    assert seen(world, cache)[legacy].chat_id == "C3"


def test_a_duplicate_does_not_come_back_on_half_a_look(city: City) -> None:
    """The room that it lost to may just not be seen."""
    world, cache, names = city
    twin = world.chat(ALICE, 1)
    cache = seen(world, cache)
    assert state(cache[twin]) == ("detached", "duplicate")
    for hidden in (names[1], names[5]):
        found = seen(world, cache, hide={hidden: UNREAD})
        assert state(found[twin]) == ("detached", "duplicate")
    assert ("duplicate", twin) in told(world, cache, hide={names[1]: UNREAD})


def test_a_row_is_unknown_only_when_a_whole_look_misses_its_room(city: City) -> None:
    """Status and reason change, nothing else; then it is lost; seen, it is back."""
    world, cache, names = city
    chat = names[1]
    found = seen(world, cache, hide={chat: ABSENT})
    unknown = cache[chat]._replace(status="unknown", reason="state: 403")
    assert found == cache | {chat: unknown}
    overdue = ABSENT._replace(overdue=True)
    late = seen(world, found, hide={chat: overdue})
    lost = cache[chat]._replace(status="detached", reason="lost")
    assert late == cache | {chat: lost}
    assert told(world, found, hide={chat: overdue}) == {("lost", chat)}
    for before in (found, late):
        assert seen(world, before) == cache


def test_a_lost_row_blocks_nothing(city: City) -> None:
    """Nor does one that the bot was thrown out of; a detached row never is unknown."""
    world, cache, names = city
    for reason in ("lost", "bot_kicked", "bot_banned", "bot_left", "not_ours"):
        row = cache[names[1]]._replace(status="detached", reason=reason)
        before = {**cache, names[1]: row}
        new = world.chat(ALICE, 3)
        hide: dict[str, Fact | None] = {names[1]: ABSENT}
        assert seen(world, before, hide=hide)[names[1]] == row
        assert to_write(world, before, hide=hide).keys() == {
            (names[0], child_field(new))
        }
        del world.rooms[new]


@pytest.mark.parametrize(
    ("reason", "keeps"),
    [
        ("unlinked", True),
        ("owner_left", True),
        ("owner_banned", True),
        ("duplicate", False),
        ("upgraded", False),
    ],
)
def test_another_detached_row_whose_room_is_not_seen_stands(
    city: City, reason: str, keeps: bool
) -> None:
    """Its owner's other rooms wait, for it was expected to be readable.

    What was a decision keeps its place; what had none has none."""
    world, cache, names = city
    row = cache[names[1]]._replace(status="detached", reason=reason)
    before = {**cache, names[1]: row}
    twin = world.chat(ALICE, 1)
    hide: dict[str, Fact | None] = {names[1]: ABSENT}
    found = seen(world, before, hide=hide)
    assert found[names[1]] == row
    assert found[twin].reason == ("duplicate" if keeps else None)
    assert to_write(world, before, hide=hide) == {}


def test_a_room_that_was_unread_for_long_blocks_nothing_and_is_a_finding(
    city: City,
) -> None:
    """Its own row stands."""
    world, cache, names = city
    new = world.chat(ALICE, 3)
    hide: dict[str, Fact | None] = {names[1]: UNREAD._replace(overdue=True)}
    found = seen(world, cache, hide=hide)
    assert found[names[1]] == cache[names[1]]
    assert to_write(world, cache, hide=hide).keys() == {(names[0], child_field(new))}
    assert told(world, cache, hide=hide) == {("unreadable", names[1])}


def test_what_is_unread_keeps_its_place(city: City) -> None:
    """A twin of it does not get it, overdue or not, nor does another Space."""
    world, cache, names = city
    twin, space = world.chat(ALICE, 1), world.space(ALICE)
    for unread in (UNREAD, UNREAD._replace(overdue=True)):
        hide: dict[str, Fact | None] = {names[1]: unread, names[0]: unread}
        found = render(facts(world, hide=hide), cache, ME)
        after = rows(found.rooms)
        assert state(after[twin]) == ("detached", "duplicate")
        assert state(after[space]) == ("detached", "duplicate")
        assert found.users[ALICE] == names[0]


def test_of_rows_that_stand_one_in_use_has_the_place(city: City) -> None:
    """Not one that was given up, whatever their room ids."""
    world, cache, names = city
    for other in ("!0", "!z"):
        left = Row(other, "space", matrix_user_id=ALICE, status="detached")
        before = {**cache, other: left._replace(reason="owner_left")}
        hide: dict[str, Fact | None] = {names[0]: UNREAD, other: UNREAD}
        found = render(facts(world, hide=hide), before, ME)
        assert found.users[ALICE] == names[0]


def test_a_row_that_was_given_up_takes_no_place_from_one_in_use(city: City) -> None:
    """Bob's room goes on, though Alice's, unseen, had the conversation before."""
    world, cache, names = city
    conversation = cache[names[4]].platform_chat_id
    row = cache[names[1]]._replace(
        status="detached", reason="unlinked", platform_chat_id=conversation
    )
    found = seen(world, {**cache, names[1]: row}, hide={names[1]: UNREAD})
    assert found[names[4]] == cache[names[4]]


def test_a_row_whose_room_is_anybodys_is_lost_only_by_a_whole_look(
    city: City,
) -> None:
    """What was not read may say whose it is."""
    world, cache, names = city
    chat = world.chat(ALICE, 3, named=False)
    row = Row(chat, "chat", "C3", None, CAROL, "p")
    before = {**cache, chat: row}
    assert seen(world, before, hide={names[4]: UNREAD})[chat] == row
    assert state(seen(world, before)[chat]) == ("detached", "lost")


@pytest.mark.parametrize(
    ("membership", "by", "reason"),
    [
        ("leave", ME, "bot_left"),
        ("leave", ALICE, "bot_kicked"),
        ("ban", ALICE, "bot_banned"),
    ],
)
def test_a_gone_room_keeps_its_rows_values(
    city: City, membership: str, by: str, reason: str
) -> None:
    """Only status, reason and evidence change; without a row it is bound all the same."""
    world, cache, names = city
    world.member(names[1], ME, membership, by)
    gone = cache[names[1]]._replace(
        status="detached", reason=reason, evidence=last(world)
    )
    assert seen(world, cache) == cache | {names[1]: gone}
    assert seen(world)[names[1]] == gone
    assert to_write(world, cache) == {}
    world.member(names[1], ME, "join", ME)
    assert seen(world, cache | {names[1]: gone}) == cache


def test_a_gone_room_that_changed_meanwhile_keeps_what_its_row_says(
    city: City,
) -> None:
    """What it shows is old, or somebody else's."""
    world, cache, names = city
    world.member(names[1], ME, "leave", ALICE)
    row = cache[names[1]]._replace(chat_id="C8", platform_chat_id="other")
    found = seen(world, {**cache, names[1]: row})[names[1]]
    assert (found.chat_id, found.platform_chat_id) == ("C8", "other")
    assert state(found) == ("detached", "bot_kicked")


@pytest.mark.parametrize("unread", [None, UNREAD])
def test_a_tombstone_whose_target_cannot_be_read_is_waited_for(
    city: City, unread: Fact | None
) -> None:
    """The old row stands, nothing is told, and nothing is written."""
    world, cache, names = city
    new = world.upgrade(names[1])
    world.put(names[1], ALICE, "m.room.name", "", {"name": "News"})
    found = seen(world, cache, hide={new: unread})
    assert found == cache
    assert told(world, cache, hide={new: unread}) == set()
    assert to_write(world, cache, hide={new: unread}) == {}


def test_a_tombstone_whose_target_refuses_itself_is_a_finding(city: City) -> None:
    """The old room stays in use."""
    world, cache, names = city
    new = world.upgrade(names[1])
    assert seen(world, cache, hide={new: ABSENT}) == cache
    expected = {("unfollowed_tombstone", names[1])}
    assert told(world, cache, hide={new: ABSENT}) == expected


def test_a_room_whose_predecessor_cannot_be_read_keeps_its_row(city: City) -> None:
    """And without one it is not bound, if it says nothing itself."""
    world, cache, names = city
    old = names[1]
    new = world.upgrade(old)
    world.welcome(new, ALICE)
    before = converge(world, cache)
    world.put(new, ALICE, "m.room.name", "", {"name": "News"})
    assert seen(world, before, hide={old: UNREAD})[new] == before[new]
    del world.rooms[new][BINDING, ME]
    fresh = {room: row for room, row in cache.items() if room != old}
    assert new not in seen(world, fresh, hide={old: UNREAD})


def test_a_space_that_cannot_be_bound_yet_hides_its_links_too(city: City) -> None:
    """A legacy Space that is not decided may name anybody's chat: nothing is linked."""
    world, cache, names = city
    world.space(CAROL, named=False)
    world.chat(ALICE, 3)
    hide: dict[str, Fact | None] = {names[4]: UNREAD}
    assert to_write(world, cache, hide=hide) == {}


def test_an_order_of_reasons(world: World) -> None:
    """Thrown out, then duplicate, unlinked, banned, left: the first that holds."""
    space = world.space(ALICE)
    chat = world.chat(ALICE, 1, space)
    reasons = []
    world.member(chat, ALICE, "leave", ALICE)
    reasons.append(seen(world)[chat].reason)
    world.member(chat, ALICE, "ban", GUEST)
    reasons.append(seen(world)[chat].reason)
    world.child(space, chat, {}, ALICE)
    reasons.append(seen(world)[chat].reason)
    world.chat(ALICE, 1, space)
    reasons.append(seen(world)[chat].reason)
    world.member(chat, ME, "leave", GUEST)
    reasons.append(seen(world)[chat].reason)
    new = world.upgrade(chat)
    reasons.append(seen(world)[chat].reason)
    assert new in seen(world)
    assert reasons == [
        "owner_left",
        "owner_banned",
        "unlinked",
        "duplicate",
        "bot_kicked",
        "upgraded",
    ]


def test_rooms_that_wait_for_a_whole_look_are_counted(city: City) -> None:
    """A plan that leaves them out is not in sync, and names each of them."""
    world, cache, names = city
    old = world.chat(CAROL, 1, world.space(CAROL, named=False), named=False)
    found = decide(facts(world, hide={names[0]: UNREAD}), cache, ME)
    assert (found.cache.steps, found.publish.steps) == ((), ())
    assert found.want.waiting == 2
    assert found.want.unknown[old] == "waits until every room can be read"
    assert not found.in_sync


def test_who_links_a_room_again_stands_behind_its_coming_back(city: City) -> None:
    """Not who joined it long ago."""
    world, cache, names = city
    world.child(names[0], names[1], {}, ALICE)
    cache = converge(world, cache)
    world.child(names[0], names[1], LINKED, ME)
    (change,) = decide(world.facts(), cache, ME).cache.steps
    assert change.cause is not None
    assert (change.cause.sender, change.cause.event_id) == (ME, last(world))
