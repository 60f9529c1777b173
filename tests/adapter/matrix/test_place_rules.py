"""Which place a room gets, on a real server: rules 3, 7 and 11 of docs/how-it-decides.md."""

from __future__ import annotations

from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import (
    CHILD,
    City,
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
    await city.once(whole=True)
    assert city.rows()[space]["status"] == "unknown"
    await city.once(settings=ReconcileSettings(full_interval=0))
    assert city.status(space) == "detached: lost"
    assert city.bound(one) == before
    assert city.status(one) == "active"
    await city.settled(unlike={space, one})


async def test_a_room_that_the_bot_left_is_found_again_without_the_file(
    city: City,
) -> None:
    """No list has it, but the bot's own link. The number stays taken, the owner the same;
    where the bot linked what it never made, or was in, nothing follows from that."""
    alice, space, (one, two) = await city.home(chats=2)
    strange = await alice.create_room()
    await city.bot.link(space, strange)
    await city.startup()
    await city.bot.leave(one)
    await city.bot.unlink(space, two)
    await city.bot.leave(two)
    await city.once(whole=True)
    before = {room: city.bound(room) for room in (one, two)}
    assert {before[one][3], before[two][3]} == {"C1", "C2"}
    city.forget()
    await city.startup()
    assert {room: city.bound(room) for room in (one, two)} == before
    assert city.status(one) == city.status(two) == "detached: bot_left"
    assert city.rows().keys() == {space, one, two}
    await city.settled()


async def test_a_room_that_the_bot_left_keeps_its_row(city: City) -> None:
    """The bot's own leave is evidence like any other; the place stays the owner's."""
    alice, space, (one, two) = await city.home(chats=2)
    await city.once()
    await city.bot.leave(one)
    await city.bot.leave(two)
    await city.bot.forget(two)
    await city.once(whole=True)
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
