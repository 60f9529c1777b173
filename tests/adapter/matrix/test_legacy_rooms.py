"""Rooms that say nothing of themselves, on a real server: rules 4 and 5."""

from __future__ import annotations

from tests.adapter.matrix.city import (
    BINDING,
    City,
    derived,
    findings,
)

# --- their ids, and their records ----------------------------------------------


async def test_the_order_of_children_numbers_legacy_chats(city: City) -> None:
    """A valid `order` comes first, then the time of the child event; garbage is none."""
    bob = await city.person("bob")
    space = await city.space(bob, legacy=True)
    rooms = [await city.room(bob) for _ in range(6)]
    server = city.bot.user_id.partition(":")[2]
    orders: list[object] = [5, "\u00e9", "b", "a" * 51, "a", None]
    for room, order in zip(rooms, orders, strict=True):
        content = {"via": [server], "order": order, "suggested": "yes"}
        await city.bot.put_state(space, "m.space.child", content, room)
    await city.once()
    by_number = sorted(rooms, key=lambda room: str(city.bound(room)[3]))
    no, umlaut, b, long, a, none = rooms
    assert by_number == [a, b, no, umlaut, long, none]
    await city.settled()


async def test_a_legacy_row_keeps_its_own_id_and_publishes_it_first(city: City) -> None:
    """What only the row knows is never replaced, and goes to Matrix before all else."""
    _, space, rooms = await city.old_home(chats=4)
    await city.startup()
    mine = max(rooms)  # it would come last in the order of names
    city.spoil(
        "UPDATE room_meta SET platform_chat_id = 'mine', chat_id = 'C9'"
        " WHERE room_id = :mine",
        mine=mine,
    )
    assert (await city.startup()).result == "in sync"
    assert city.bound(mine)[3:] == ("C9", "mine")
    await city.once()
    events = {
        room: await city.bot.state_event(room, BINDING, city.bot.user_id)
        for room in (space, *rooms)
    }
    assert events[mine]["content"]["platform_chat_id"] == "mine"
    earliest = min(events, key=lambda room: events[room]["origin_server_ts"])
    assert earliest == mine
    city.forget()
    await city.once()
    assert city.bound(mine)[3:] == ("C9", "mine")
    after = {
        room: await city.bot.state_event(room, BINDING, city.bot.user_id)
        for room in (space, *rooms)
    }
    assert {r: e["event_id"] for r, e in after.items()} == {
        r: e["event_id"] for r, e in events.items()
    }
    await city.settled()


# --- whose they are ------------------------------------------------------------


async def test_a_guest_in_an_unrecorded_space_makes_its_owner_unclear(
    city: City,
) -> None:
    """With the row nothing changes and the record ends it; without, nobody guesses."""
    bob, space, (old,) = await city.old_home()
    await city.startup()
    guest = await city.person("guest")
    await bob.invite(space, guest.user_id)
    assert await city.rebuilt() == {}
    table = city.dump()
    await city.once()
    assert city.dump() == table
    assert city.bound(space)[1] == city.bound(old)[1] == bob.user_id
    # Recorded: from now on it is clear without any row.
    await city.settled()

    city.forget()
    lost = await city.space(bob, legacy=True)
    await city.bot.invite(lost, guest.user_id)
    chat = await city.room(bob, link=lost)
    server = await city.server()
    report = await city.once()
    assert {("ambiguous_owner", lost), ("ambiguous_owner", chat)} <= findings(report)
    assert city.status(lost) is city.status(chat) is None
    assert await city.server() == server
    await city.settled()


async def test_any_member_event_makes_a_candidate(city: City) -> None:
    """An owner who left is still the owner; one who left and a guest are two."""
    bob, space, (old,) = await city.old_home()
    await bob.leave(space)
    await city.startup()
    assert city.bound(space)[1] == city.bound(old)[1] == bob.user_id
    assert city.status(space) == "detached: owner_left"
    assert city.users() == {bob.user_id: space}
    guest = await city.person("guest")
    await city.bot.invite(space, guest.user_id)
    assert await city.rebuilt() == {}
    await city.once()
    assert city.bound(space)[1] == bob.user_id
    await city.settled()


async def test_a_guest_cannot_take_a_legacy_chat_into_a_space_of_their_own(
    city: City,
) -> None:
    """A link by a guest makes nobody the owner, though the bot made the guest's Space."""
    bob, space, (old,) = await city.old_home()
    mallory, theirs, _ = await city.home("mallory")
    await bob.invite(old, mallory.user_id)
    await mallory.join(old)
    await city.bot.set_power(theirs, {mallory.user_id: 100})
    await mallory.link(theirs, old)
    report = await city.once()
    assert city.bound(old) == ("chat", bob.user_id, space, "C1", derived(old))
    assert ("foreign_link", old) in findings(report)
    # Nor when their own Space gives it up before it was ever recorded.
    other = await city.room(bob, link=space)
    await city.bot.invite(other, mallory.user_id)
    await mallory.link(theirs, other)
    await city.bot.unlink(space, other)
    report = await city.once()
    assert ("ambiguous_owner", other) in findings(report)
    assert city.status(other) is None
    await city.settled()


async def test_an_upgrade_does_not_make_a_guests_link_the_bots(city: City) -> None:
    """Synapse copies children in the name of who upgrades; what a guest linked stays theirs."""
    bob, space, (old,) = await city.old_home()
    mallory, theirs, _ = await city.home("mallory", chats=0, version="11")
    await bob.invite(old, mallory.user_id)
    await city.bot.set_power(theirs, {mallory.user_id: 100})
    await mallory.link(theirs, old)
    new = await city.bot.upgrade(theirs, "12")
    copied = await city.bot.state_event(new, "m.space.child", old)
    assert copied["sender"] == city.bot.user_id
    await city.once()
    assert city.users()[mallory.user_id] == new
    assert city.bound(old) == ("chat", bob.user_id, space, "C1", derived(old))
    await city.settled()


async def test_an_owner_may_link_a_legacy_chat_that_is_all_their_own(
    city: City,
) -> None:
    """Where nobody else ever was, the owner's own child event is as good as the bot's."""
    bob, space, _ = await city.old_home(chats=0)
    room = await city.room(bob)
    await city.bot.set_power(space, {bob.user_id: 100})
    report = await city.once()
    assert ("ambiguous_owner", room) in findings(report)
    await bob.link(space, room)
    await city.once()
    assert city.bound(room) == ("chat", bob.user_id, space, "C1", derived(room))
    await city.settled()


async def test_a_legacy_chat_that_two_owners_spaces_name_is_nobodys(city: City) -> None:
    """Both were in it and the bot linked both: no guess; a row's owner is none either."""
    bob, first, (old,) = await city.old_home()
    carol, second, _ = await city.old_home("carol", chats=0)
    await city.bot.invite(old, carol.user_id)
    await city.bot.link(second, old)
    report = await city.once()
    assert ("ambiguous_owner", old) in findings(report)
    assert city.status(old) is None
    assert city.users() == {bob.user_id: first, carol.user_id: second}
    city.spoil(
        "INSERT INTO room_meta (room_id, room_type, chat_id, space_id, matrix_user_id,"
        " platform_chat_id) VALUES (:old, 'chat', 'C3', :second, :carol, 'p3')",
        old=old,
        second=second,
        carol=carol.user_id,
    )
    await city.once()
    assert city.bound(old) == ("chat", carol.user_id, second, "C3", "p3")
    await city.settled()


async def test_a_legacy_chat_that_no_space_names_is_nobodys(city: City) -> None:
    """A room of the bot alone is not bound; one with a row keeps it, and no other user."""
    bob, space, (old,) = await city.old_home()
    await city.startup()
    stray = await city.room(bob)
    never_invited = await city.room(link=space)
    await city.bot.unlink(space, old)
    report = await city.once()
    for room in (stray, never_invited):
        assert city.status(room) is None
        assert ("ambiguous_owner", room) in findings(report)
    assert city.bound(old) == ("chat", bob.user_id, space, "C1", derived(old))
    assert city.status(old) == "detached: unlinked"
    # What was decided is recorded whatever the status.
    assert (await city.binding(old) or {})["owner"] == bob.user_id
    await city.settled()
