"""Which place a room gets, on a real server: rules 3, 7 and 11 of docs/how-it-decides.md."""

from __future__ import annotations

import pytest

from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import (
    CHILD,
    City,
    Json,
    chat_identity,
    conversation,
    derived,
    findings,
    space_identity,
)

# --- rule 3: which Space -------------------------------------------------------


async def test_links_of_other_peoples_spaces_are_findings(city: City) -> None:
    """A chat stays in its owner's Space, whoever else names it, and is never moved."""
    alice, space, (one, two) = await city.home(chats=2)
    mallory, theirs, _ = await city.home("mallory", chats=0)
    own = await mallory.create_room(room_type="m.space", invite=[city.bot.user_id])
    await city.bot.join(own)
    await city.bot.set_power(theirs, {mallory.user_id: 100})
    for room in (one, two):
        await mallory.link(theirs, room)
        await mallory.link(own, room)
    await city.bot.link(theirs, one)
    await city.bot.unlink(space, two)
    three = await city.room(alice, identity=chat_identity(alice, 3), link=theirs)
    report = await city.once()
    assert findings(report) == {("foreign_link", room) for room in (one, two, three)}
    assert city.bound(one)[1:3] == (alice.user_id, space)
    assert city.status(two) == "detached: unlinked"
    # Named by no Space of its owner, it is linked there.
    assert city.bound(three)[1:3] == (alice.user_id, space)
    assert await city.has(space, CHILD, three) == {"via": ["hs.test"]}
    assert city.rows().keys() == {space, one, two, three, theirs}
    await city.settled()


VALID_ALL_THE_SAME: list[Json] = [
    {"order": 5},
    {"order": "a" * 51},
    {"order": "\x7f"},
    {"order": ["a"]},
    {"suggested": "yes"},
    {"via": ["elsewhere.example", ""]},
]
NO_LINK: list[Json] = [
    {},
    {"via": []},
    {"via": None},
    {"via": "hs.test"},
    {"via": {"hs.test": True}},
    {"via": ["hs.test", 1]},
    {"order": "a", "suggested": True},
]


async def test_only_via_makes_a_link(city: City) -> None:
    """A child event without a list of servers is none; what else it says is no matter."""
    alice, space, rooms = await city.home(
        chats=len(VALID_ALL_THE_SAME) + len(NO_LINK) + 1, join=False
    )
    await city.once()
    events = dict.fromkeys(rooms, "")
    for room, content in zip(rooms, [*VALID_ALL_THE_SAME, *NO_LINK], strict=False):
        valid = {"via": ["hs.test"]} if content in VALID_ALL_THE_SAME else {}
        events[room] = await city.bot.put_state(space, CHILD, valid | content, room)
    kept, gone = rooms[: len(VALID_ALL_THE_SAME)], rooms[len(VALID_ALL_THE_SAME) : -1]
    found = await city.bot.state_event(space, CHILD, rooms[-1])
    await city.bot.redact(space, found["event_id"])
    await city.once(allow_detach=20)
    assert {city.status(room) for room in kept} == {"pending"}
    assert {city.status(room) for room in gone} == {"detached: unlinked"}
    assert {room: city.evidence(room) for room in gone} == {r: events[r] for r in gone}
    assert city.status(rooms[-1]) == "detached: unlinked"
    assert city.evidence(rooms[-1]) == found["event_id"]
    # The place and the Space are kept; nothing is linked again.
    assert {city.bound(room)[1:3] for room in rooms} == {(alice.user_id, space)}
    await city.settled()
    # A room that is linked again comes back as it was.
    await city.bot.link(space, gone[0])
    await city.once()
    assert city.status(gone[0]) == "pending"
    assert city.evidence(gone[0]) is None
    await city.settled()


async def test_a_person_with_power_may_unlink_and_link(city: City) -> None:
    """A child event counts whoever sent it, in the Space of the chat's owner."""
    alice, space, (one,) = await city.home()
    await city.bot.set_power(space, {alice.user_id: 100})
    await city.once()
    event = await alice.unlink(space, one)
    await city.once()
    assert city.status(one) == "detached: unlinked"
    assert city.evidence(one) == event
    await alice.link(space, one)
    await city.once()
    assert city.status(one) == "active"
    await city.settled()


async def test_spaces_in_a_circle_end_nowhere(city: City) -> None:
    """A Space in itself, and Spaces in each other, are Spaces like any other."""
    _, space, (one,) = await city.home()
    bob, other, (two,) = await city.old_home()
    for outer, inner in (
        (space, space),
        (space, other),
        (other, space),
        (other, other),
    ):
        await city.bot.link(outer, inner)
    await city.once()
    assert city.bound(one)[2] == space
    assert city.bound(two)[1:3] == (bob.user_id, other)
    assert city.status(space) == city.status(other) == "active"
    await city.settled()


async def test_chats_of_a_space_that_threw_the_bot_out_stay_in_use(city: City) -> None:
    """The Space is detached with evidence; its chats keep it, and are routed on."""
    alice, space, (one,) = await city.home()
    await city.once()
    await city.bot.leave(space)
    await city.once()
    assert city.status(space) == "detached: bot_left"
    assert city.status(one) == "active"
    assert city.bound(one)[2] == space
    assert city.users() == {}
    # Nothing shows a Space that the bot left by itself to one that never knew it.
    await city.settled(unlike={space, one})
    cold = await city.rebuilt()
    assert cold.keys() == {one}
    assert cold[one]["status"] == "active"
    assert cold[one]["platform_chat_id"] == conversation(alice, 1)
    # Given back, it is what it was.
    await alice.invite(space, city.bot.user_id)
    await city.bot.join(space)
    await city.once()
    assert city.users() == {alice.user_id: space}
    await city.settled()


async def test_chats_of_a_space_that_is_lost_stay_in_use(city: City) -> None:
    """A Space that shows nothing any more is given up in time; its chats name it still."""
    _, space, (one,) = await city.home()
    await city.once()
    before = city.bound(one)
    await city.bot.leave(space)
    await city.bot.forget(space)
    await city.once()
    assert city.rows()[space]["status"] == "unknown"
    await city.once(settings=ReconcileSettings(full_interval=0))
    assert city.status(space) == "detached: lost"
    assert city.bound(one) == before
    assert city.status(one) == "active"
    await city.settled(unlike={space, one})


@pytest.mark.parametrize("how", ["kick", "ban"])
async def test_a_bot_that_is_thrown_out_keeps_the_row(city: City, how: str) -> None:
    """Detached with the event that did it; nothing is sent or made; back in, it is back."""
    alice, space, (one, two) = await city.home(chats=2, version="11")
    rooms = (space, one)
    for room in rooms:
        await city.bot.set_power(room, {alice.user_id: 100, city.bot.user_id: 50})
    await city.once()
    before = {room: city.bound(room) for room in (space, one, two)}
    for room in rooms:
        await getattr(alice, how)(room, city.bot.user_id)
    await city.once()
    reason = {"kick": "bot_kicked", "ban": "bot_banned"}[how]
    for room in rooms:
        assert city.status(room) == f"detached: {reason}"
        own = await alice.state_event(room, "m.room.member", city.bot.user_id)
        assert city.evidence(room) == own["event_id"]
    assert {room: city.bound(room) for room in before} == before
    assert city.status(two) == "active"
    assert conversation(alice, 1) in city.chats()
    await city.settled()
    for room in rooms:
        if how == "ban":
            await alice.unban(room, city.bot.user_id)
        await alice.invite(room, city.bot.user_id)
        await city.bot.join(room)
    await city.once()
    assert {city.status(room) for room in (space, one, two)} == {"active"}
    assert {room: city.bound(room) for room in before} == before
    await city.settled()


async def test_a_room_that_the_bot_left_keeps_its_row(city: City) -> None:
    """The bot's own leave is evidence like any other; the place stays the owner's."""
    alice, space, (one, two) = await city.home(chats=2)
    await city.once()
    await city.bot.leave(one)
    await city.bot.leave(two)
    await city.bot.forget(two)
    await city.once()
    assert city.status(one) == "detached: bot_left"
    assert city.bound(one) == (
        "chat",
        alice.user_id,
        space,
        "C1",
        conversation(alice, 1),
    )
    # Forgotten: nothing shows any more why the bot is not in it.
    assert city.rows()[two]["status"] == "unknown"
    assert city.bound(two)[3:] == ("C2", conversation(alice, 2))
    await city.settled(unlike={one, two})


async def test_a_bot_that_was_thrown_out_and_asked_back_shows_no_reason(
    city: City,
) -> None:
    """An invite hides how the bot's stay ended: the row is unknown, until it is in again."""
    alice, _, (one,) = await city.home(version="11")
    await city.bot.set_power(one, {alice.user_id: 100, city.bot.user_id: 50})
    await city.once()
    before = city.bound(one)
    await alice.kick(one, city.bot.user_id)
    await alice.invite(one, city.bot.user_id)
    await city.once()
    assert city.rows()[one]["status"] == "unknown"
    assert city.bound(one) == before
    await city.settled(unlike={one})
    await city.bot.join(one)
    await city.once()
    assert city.status(one) == "active"
    await city.settled()


# --- rule 7: duplicates --------------------------------------------------------


@pytest.mark.parametrize("cache", ["empty", "of the winner", "of the loser"])
async def test_of_two_spaces_the_one_with_more_chats_has_the_place(
    city: City, cache: str
) -> None:
    """Whatever the cache says, the same one wins; the other is left alone, and told."""
    alice = await city.person("alice")
    older = await city.space(alice)
    newer = await city.space(alice)
    one = await city.chat(alice, newer, 1)
    two = await city.chat(alice, older, 2)
    three = await city.chat(alice, newer, 3)
    four = await city.chat(alice, newer, 4)
    # Both Spaces name it, and the one that has the place decides.
    await city.bot.unlink(newer, four)
    await city.bot.link(older, four)
    five = await city.chat(alice, newer, 5)
    await city.startup()
    if cache == "of the loser":
        city.spoil(
            "UPDATE room_meta SET status = 'detached', reason = 'duplicate'"
            " WHERE room_id = :newer",
            "UPDATE room_meta SET status = 'active', reason = NULL, evidence = NULL"
            " WHERE room_id = :older",
            "UPDATE room_meta SET space_id = :older WHERE room_type = 'chat'",
            older=older,
            newer=newer,
        )
    elif cache == "empty":
        city.forget()
    server = await city.server()
    report = await city.once()
    assert city.users() == {alice.user_id: newer}
    assert city.status(older) == "detached: duplicate"
    assert city.evidence(older) == server[newer]["m.room.create", ""]
    assert ("duplicate", older) in findings(report)
    rooms = (one, two, three, four, five)
    assert [city.bound(room)[2] for room in rooms] == [newer, older, *[newer] * 3]
    assert [city.status(room) for room in rooms] == [
        *["active"] * 3,
        "detached: unlinked",
        "active",
    ]
    assert await city.server() == server
    await city.settled()


async def test_of_two_empty_spaces_the_older_has_the_place(city: City) -> None:
    """Without any chat the create events decide; the loser is not even finished."""
    alice = await city.person("alice")
    first = await city.space(alice)
    second = await city.bot.create_room(
        room_type="m.space",
        creation_content={"io.spacekeeper.identity": space_identity(alice)},
    )
    await city.once()
    assert city.users() == {alice.user_id: first}
    assert city.status(second) == "detached: duplicate"
    assert await city.membership(second, alice) is None
    await city.settled()


async def test_a_space_that_its_owner_left_takes_part(city: City) -> None:
    """Leaving a Space does not give its place to an empty one."""
    alice, space, _ = await city.home()
    other = await city.space(alice)
    await alice.leave(space)
    await city.once()
    assert city.users() == {alice.user_id: space}
    assert city.status(space) == "detached: owner_left"
    assert city.status(other) == "detached: duplicate"
    await city.settled()


@pytest.mark.parametrize("cache", ["empty", "of the winner", "of the loser"])
async def test_of_two_rooms_of_one_chat_the_linked_one_has_the_place(
    city: City, cache: str
) -> None:
    """Linked before emptied before unnamed, else the older: the same from every cache."""
    alice, space, _ = await city.home(chats=0)
    # The better room of each pair is the younger one, but for the last pair.
    unnamed = await city.chat(alice, "", 1)
    linked = await city.chat(alice, space, 1, identity=chat_identity(alice, 1, "p1"))
    nowhere = await city.chat(alice, "", 2)
    emptied = await city.chat(alice, space, 2, identity=chat_identity(alice, 2, "p2"))
    await city.bot.unlink(space, emptied)
    older = await city.chat(alice, space, 3)
    younger = await city.chat(alice, space, 3, identity=chat_identity(alice, 3, "p3"))
    winners = {unnamed: linked, nowhere: emptied, younger: older}
    await city.startup()
    if cache == "of the loser":
        for loser, winner in winners.items():
            swap = "UPDATE room_meta SET status = :s, reason = :r WHERE room_id = :room"
            city.spoil(swap, s="detached", r="duplicate", room=winner)
            city.spoil(swap, s="active", r=None, room=loser)
    elif cache == "empty":
        city.forget()
    server = await city.server()
    report = await city.once(allow_detach=9)
    for loser, winner in winners.items():
        assert city.status(loser) == "detached: duplicate"
        assert city.evidence(loser) == server[winner]["m.room.create", ""]
        assert ("duplicate", loser) in findings(report)
    assert city.status(linked) == city.status(older) == "active"
    assert city.status(emptied) == "detached: unlinked"
    assert {room for _, _, room in city.chats().values()} == set(winners.values())
    assert await city.server() == server
    await city.settled()


async def test_one_conversation_belongs_to_one_room(city: City) -> None:
    """Two rooms of two owners with one platform_chat_id: the older of the linked ones."""
    alice, space, _ = await city.home(chats=0)
    bob, other, _ = await city.home("bob", chats=0)
    one = await city.chat(alice, space, 1, identity=chat_identity(alice, 1, "shared"))
    two = await city.chat(bob, other, 1, identity=chat_identity(bob, 1, "shared"))
    report = await city.once()
    assert city.chats() == {"shared": (alice.user_id, "C1", one)}
    assert city.status(two) == "detached: duplicate"
    assert ("duplicate", two) in findings(report)
    await city.settled()
    # The winner's Space gives it up: now the other one is nearer.
    await city.bot.unlink(space, one)
    await city.once()
    assert city.chats() == {"shared": (bob.user_id, "C1", two)}
    assert city.status(one) == "detached: duplicate"
    assert city.status(two) == "active"
    await city.settled()


async def test_a_duplicate_that_the_winner_leaves_alone_takes_its_place(
    city: City,
) -> None:
    """A room that the bot was thrown out of holds no place against one that is there."""
    alice, space, (one,) = await city.home(version="11")
    twin = await city.chat(alice, space, 1, identity=chat_identity(alice, 1, "twin"))
    await city.once()
    assert city.status(twin) == "detached: duplicate"
    await city.bot.leave(one)
    await city.once()
    assert city.status(one) == "detached: bot_left"
    assert city.status(twin) == "active"
    assert city.bound(twin)[3:] == ("C1", "twin")
    await city.settled(unlike={one})


async def test_a_legacy_space_can_lose_and_is_recorded_all_the_same(
    city: City,
) -> None:
    """Marked or not makes no difference; what was decided is written down in both."""
    bob, space, (one,) = await city.old_home()
    other = await city.space(bob)
    empty = await city.space(bob, legacy=True)
    await city.once()
    assert city.users() == {bob.user_id: space}
    assert city.bound(one)[2] == space
    for loser in (other, empty):
        assert city.status(loser) == "detached: duplicate"
    assert await city.binding(empty) == space_identity(bob)
    assert await city.binding(other) is None
    await city.settled()


# --- rule 11: chat ids ---------------------------------------------------------


async def test_legacy_chats_get_the_numbers_that_are_left(city: City) -> None:
    """Ids of identities and of bindings are taken, also those of detached rooms."""
    alice, space, (one, two) = await city.home(chats=2)
    legacy = [await city.room(alice, link=space) for _ in range(2)]
    four = await city.chat(alice, space, 4)
    await city.bot.unlink(space, two)
    await alice.leave(four)
    await city.startup()
    assert [city.bound(room)[3] for room in (one, two, *legacy, four)] == [
        "C1",
        "C2",
        "C3",
        "C5",
        "C4",
    ]
    # A row's number is kept if it is one, and free.
    number = "UPDATE room_meta SET chat_id = :n WHERE room_id = :room"
    city.spoil(number, n="C12", room=legacy[0])
    city.spoil(number, n="c6", room=legacy[1])
    await city.once()
    assert [city.bound(room)[3] for room in legacy] == ["C12", "C3"]
    assert city.bound(legacy[1])[4] == derived(legacy[1])
    await city.settled()
