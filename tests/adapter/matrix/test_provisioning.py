"""Who asks for a room gets one, whoever else asks at the same time, on a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapter.chat import NotNow, NotPossible
from adapter.cli.account import Account, CallFailed
from adapter.config import RoomSettings
from adapter.matrix.errors import Forbidden, RateLimited
from adapter.matrix.settings import ReconcileSettings
from tests.adapter.matrix.city import BINDING, CHILD, IDENTITY, City, chat_identity
from tests.adapter.matrix.landlord import (
    Faulty,
    Hiding,
    assert_made_once,
    happened,
    home_of,
    landlord,
)

VERSIONS = pytest.mark.parametrize("version", ["11", "12"])


class Limited(Faulty):
    """A server that lets so many invites through, and sets a limit then."""

    invites = 0

    async def before(self, name: str, number: int, *given: object) -> None:
        if name == "invite":
            self.invites -= 1
            if self.invites < 0:
                raise RateLimited("too many invites", retry_after=227.0)


# --- what is not made ----------------------------------------------------------------


async def test_nothing_is_made_while_a_joined_room_cannot_be_read(city: City) -> None:
    """It might be anybody's Space; it is asked for again, and made, once it shows."""
    alice = await city.person("alice")
    wire = Hiding(city.client)
    async with landlord(city, wire=wire) as one:
        wire.hidden = frozenset({await city.room()})
        with pytest.raises(NotNow):
            await one.chats.get_or_create(alice.user_id, asked="$a")
        assert await home_of(city, alice) == ([], [])
        assert await one.ledger.open_intents() == {}
        wire.hidden = frozenset()
        await one.chats.get_or_create(alice.user_id, asked="$a")
    await assert_made_once(city, alice)


async def test_nothing_is_made_while_the_owners_space_cannot_be_read(
    city: City,
) -> None:
    """Somebody else is not held up by that."""
    alice, space, (chat,) = await city.home("alice")
    bob = await city.person("bob")
    wire = Hiding(city.client)
    async with landlord(city, wire=wire) as one:
        wire.hidden = frozenset({space})
        await one.follower.catch_up([space])
        with pytest.raises(NotNow):
            await one.chats.new(alice.user_id, asked="$new")
        assert await home_of(city, alice) == ([space], [chat])
        await one.chats.get_or_create(bob.user_id, asked="$bob")
        await assert_made_once(city, bob)
        found = await one.chats.get_or_create(alice.user_id, asked="$word")
        assert found.room_id == chat


async def test_what_stays_unread_for_long_stops_holding_people_up(city: City) -> None:
    """A room that nobody can read for a whole full_interval is a finding, no more."""
    alice = await city.person("alice")
    wire = Hiding(city.client)
    settings = ReconcileSettings(full_interval=0.0)
    async with landlord(city, wire=wire, settings=settings) as one:
        wire.hidden = frozenset({await city.room()})
        await one.chats.get_or_create(alice.user_id, asked="$a")
    await assert_made_once(city, alice)


@pytest.mark.parametrize(
    ("user_id", "chat_id"),
    [
        ("nobody", None),
        ("", None),
        ("@alice:hs.test", "C0"),
        ("@alice:hs.test", "first"),
    ],
)
async def test_what_no_identity_can_say_is_never_made(
    city: City, user_id: str, chat_id: str | None
) -> None:
    """A room whose owner or number nobody could read again would be nobody's."""
    async with landlord(city) as one:
        with pytest.raises(NotPossible):
            await one.chats.get_or_create(user_id, chat_id, asked="$a")
        with pytest.raises(NotPossible):
            await one.chats.get_or_create(city.bot.user_id, asked="$b")
        assert await one.ledger.open_intents() == {}
    for room in await city.bot.joined_rooms():
        created = await city.has(room, "m.room.create")
        assert created is not None
        assert created["type"] == "m.space"


# --- what is made --------------------------------------------------------------------


@VERSIONS
async def test_somebody_new_gets_a_space_and_a_chat(city: City, version: str) -> None:
    """Both say whose they are, are linked, named, and invite the owner; all is in sync."""
    alice = await city.person("alice")
    async with landlord(city, rooms=RoomSettings(version, settle=0.02)) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$word")
        assert await one.ledger.open_intents() == {}
    home = await assert_made_once(city, alice)
    (space,) = home.spaces
    assert home.chats == [chat.room_id]
    assert chat[1:] == ("C1", "Chat 1", space, False)
    created = await city.has(chat.room_id, "m.room.create")
    assert created is not None
    assert created["room_version"] == version
    platform = created[IDENTITY]["platform_chat_id"]
    owner = alice.user_id
    assert city.bound(space) == ("space", owner, None, None, None)
    assert city.bound(chat.room_id) == ("chat", owner, space, "C1", platform)
    assert city.status(space) == city.status(chat.room_id) == "pending"
    parent = await city.has(chat.room_id, "m.space.parent", space)
    assert parent == {"via": ["hs.test"], "canonical": True}
    await city.settled()


@VERSIONS
async def test_the_bot_has_all_power_in_its_rooms_and_guests_none(
    city: City, version: str
) -> None:
    """The preset alone does it, in every version: nothing overrides power levels."""
    alice = await city.person("alice")
    async with landlord(city, rooms=RoomSettings(version, settle=0.02)) as one:
        chat, _, _, space, _ = await one.chats.get_or_create(
            alice.user_id, asked="$word"
        )
    assert space is not None
    for room in (space, chat):
        await alice.join(room)
        for forbidden in (
            alice.put_state(room, BINDING, {"v": 1}, city.bot.user_id),
            alice.put_state(room, "m.room.name", {"name": "Mine"}),
            alice.link(space, "!other:hs.test"),
            alice.kick(room, city.bot.user_id),
            alice.set_power(room, {alice.user_id: 100}),
        ):
            with pytest.raises(CallFailed) as refused:
                await forbidden
            assert refused.value.status == 403
        await city.bot.put_state(room, BINDING, {}, city.bot.user_id)
        await city.bot.put_state(room, "m.room.name", {"name": "Renamed"})
        await city.bot.kick(room, alice.user_id)
    await city.bot.unlink(space, chat)


async def test_an_event_that_is_handled_again_finds_what_it_made(city: City) -> None:
    """In the same program, in the next one, and in one that lost its database."""
    alice = await city.person("alice")
    made = set()
    for lost in (False, False, True):
        if lost:
            city.forget()
        async with landlord(city) as one:
            for _ in range(2):
                first = await one.chats.get_or_create(alice.user_id, asked="$a")
                second = await one.chats.new(alice.user_id, asked="$b", title="Two")
                made.add((first, second))
    assert len(made) == 1
    ((first, second),) = made
    assert (first.chat_id, second.chat_id, second.title) == ("C1", "C2", "Two")
    await assert_made_once(city, alice, 2)
    await city.settled()


async def test_nobody_gets_a_room_of_somebody_else(city: City) -> None:
    """An event has one sender; whoever says otherwise gets nothing."""
    alice, bob = await city.person("alice"), await city.person("bob")
    async with landlord(city) as one:
        await one.chats.get_or_create(alice.user_id, asked="$a")
        with pytest.raises(NotPossible):
            await one.chats.get_or_create(bob.user_id, asked="$a")
    assert await home_of(city, bob) == ([], [])


async def test_everybody_asks_at_the_same_time(city: City) -> None:
    """Words of one user lead to one chat, each command to one of its own."""
    alice, bob = await city.person("alice"), await city.person("bob")
    async with landlord(city) as one:
        await asyncio.gather(
            *(
                one.chats.get_or_create(who.user_id, asked=f"$word-{n}-{who.user_id}")
                for who in (alice, bob)
                for n in range(3)
            )
        )
        more = await asyncio.gather(
            *(one.chats.new(alice.user_id, asked=f"$new-{n}") for n in range(2))
        )
        assert {chat.chat_id for chat in more} == {"C2", "C3"}
    await assert_made_once(city, alice, 3)
    await assert_made_once(city, bob)
    await city.settled()


async def test_two_programs_of_one_account_at_once_end_with_one_space_in_use(
    city: City, tmp_path: Path
) -> None:
    """Whatever both made, both use the same, and so does who looks at it later."""
    alice = await city.person("alice")
    async with (
        landlord(city) as one,
        landlord(city, path=tmp_path / "other.db") as other,
    ):
        both = (one, other)
        await asyncio.gather(
            *(
                each.chats.get_or_create(alice.user_id, asked=f"$word-{n}")
                for n, each in enumerate(both)
            )
        )
        for each in both:
            await each.follower.look_again()
        found = {
            await each.chats.get_or_create(alice.user_id, asked="$then")
            for each in both
        }
    assert len(found) == 1
    await city.once()
    (chat,) = found
    in_use = {room for room in city.rows() if city.status(room) == "pending"}
    assert in_use == {chat.room_id, chat.space_id}
    assert city.users() == {alice.user_id: chat.space_id}
    await city.settled()


async def test_the_later_of_two_programs_uses_what_the_other_made(
    city: City, tmp_path: Path
) -> None:
    """It has seen none of it; it looks round before it makes anything."""
    alice = await city.person("alice")
    async with (
        landlord(city) as one,
        landlord(city, path=tmp_path / "other.db") as other,
    ):
        made = await one.chats.get_or_create(alice.user_id, asked="$one")
        found = await other.chats.get_or_create(alice.user_id, asked="$other")
        assert found == made
        more = await other.chats.new(alice.user_id, asked="$new")
        again = await one.chats.new(alice.user_id, asked="$new")
        assert (more, more.chat_id) == (again, "C2")
    await assert_made_once(city, alice, 2)


async def test_of_two_that_made_a_space_meanwhile_the_later_yields(
    city: City, tmp_path: Path
) -> None:
    """It sees the older one before it invites anybody, and its own stays empty."""
    alice = await city.person("alice")

    class Slow(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "create_room" and not made:
                made.append(await one.chats.get_or_create(alice.user_id, asked="$one"))

    made: list[object] = []
    async with (
        landlord(city) as one,
        landlord(city, path=tmp_path / "other.db", wire=Slow(city.client)) as other,
    ):
        found = await other.chats.get_or_create(alice.user_id, asked="$other")
        assert [found] == made
    home = await home_of(city, alice)
    assert home.chats == [found.room_id]
    assert len(home.spaces) == 2
    invited = {
        room: await city.membership(room, alice) for room in (*home.spaces, *home.chats)
    }
    assert [room for room, membership in invited.items() if membership] == [
        found.space_id,
        found.room_id,
    ]


async def test_of_two_that_made_the_same_chat_the_later_yields(
    city: City, tmp_path: Path
) -> None:
    """Both handled one command; both answer with the room that is linked."""
    alice, space, (first,) = await city.home("alice")

    class Slow(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "create_room":
                made.append(await one.chats.new(alice.user_id, asked="$new"))

    made: list[object] = []
    async with (
        landlord(city) as one,
        landlord(city, path=tmp_path / "other.db", wire=Slow(city.client)) as other,
    ):
        found = await other.chats.new(alice.user_id, asked="$new")
        assert [found] == made
    home = await home_of(city, alice)
    assert home.spaces == [space]
    (lost,) = set(home.chats) - {first, found.room_id}
    assert await city.membership(lost, alice) is None
    assert await city.has(space, CHILD, lost) is None


async def test_a_pass_in_between_leaves_a_room_alone_that_is_being_made(
    city: City,
) -> None:
    """It is not bound, nor finished, before it is known whether it stays in use."""
    alice = await city.person("alice")
    rows: list[int] = []

    class Passing(Faulty):
        async def after(self, name: str, number: int, *given: object) -> None:
            if name == "create_room":
                await one.follower.look_again()
                rows.append(len(city.rows()))

    async with landlord(city, wire=Passing(city.client)) as one:
        await one.chats.get_or_create(alice.user_id, asked="$a")
    assert rows == [0, 1]
    await assert_made_once(city, alice)


# --- which chat ----------------------------------------------------------------------


async def test_a_chat_is_found_by_its_number_and_made_under_it(city: City) -> None:
    """Without a number it is the first that is in use, or that its owner left."""
    alice, space, (first, second, third) = await city.home("alice", chats=3)
    await city.bot.unlink(space, first)
    await alice.leave(second)
    async with landlord(city) as one:

        async def ask(chat_id: str | None = None) -> tuple[str, bool]:
            chat = await one.chats.get_or_create(alice.user_id, chat_id, asked="$a")
            return chat.room_id, chat.archived

        assert await ask() == (second, False)
        assert await ask("C3") == (third, False)
        assert await ask("C1") == (first, True)
        made, _ = await ask("C7")
        more = await one.chats.new(alice.user_id, asked="$b")
        assert (more.chat_id, more.title) == ("C8", "Chat 8")
    home = await home_of(city, alice)
    assert set(home.chats) == {first, second, third, made, more.room_id}
    await city.settled()


async def test_who_archived_all_gets_a_new_chat_with_a_new_number(city: City) -> None:
    """A number is used once, also by rooms that nobody can see any more."""
    alice, space, (first, second) = await city.home("alice", chats=2)
    await city.bot.unlink(space, first)
    await city.once()
    await city.bot.leave(second)
    await city.once()
    async with landlord(city) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$a")
        assert chat.chat_id == "C3"
        with pytest.raises(NotPossible):
            await one.chats.get_or_create(alice.user_id, "C2", asked="$b")


async def test_a_legacy_home_is_used_as_it_is(city: City) -> None:
    """A new chat goes into the Space that an older bot made, with the next number."""
    bob, space, (old,) = await city.old_home("bob")
    async with landlord(city) as one:
        found = await one.chats.get_or_create(bob.user_id, asked="$a")
        assert (found.room_id, found.space_id) == (old, space)
        more = await one.chats.new(bob.user_id, asked="$b")
        assert (more.chat_id, more.space_id) == ("C2", space)
    assert city.users() == {bob.user_id: space}
    await city.once()
    await city.settled()


async def test_a_chat_without_a_space_gets_one(city: City) -> None:
    """The Space is made, and the chat linked into it."""
    alice = await city.person("alice")
    loose = await city.room(alice, identity=chat_identity(alice, 1))
    async with landlord(city) as one:
        found = await one.chats.get_or_create(alice.user_id, asked="$a")
        assert found.room_id == loose
    assert found.space_id is not None
    assert await city.has(found.space_id, CHILD, loose) == {"via": ["hs.test"]}
    await city.settled()


# --- finishing -----------------------------------------------------------------------


async def test_what_a_user_decided_is_not_undone_by_asking_again(city: City) -> None:
    """Nobody is invited again, nothing linked again, just because an event is handled."""
    alice = await city.person("alice")
    async with landlord(city) as one:
        chat = await one.chats.new(alice.user_id, asked="$a")
        assert chat.space_id is not None
        await alice.leave(chat.room_id)
        await city.bot.unlink(chat.space_id, chat.room_id)
        await one.follower.catch_up([chat.room_id, chat.space_id])
        again = await one.chats.new(alice.user_id, asked="$a")
        assert (again.room_id, again.archived) == (chat.room_id, True)
    assert await city.membership(chat.room_id, alice) == "leave"
    assert await city.has(chat.space_id, CHILD, chat.room_id) == {}
    await city.settled()


async def test_a_limit_on_invites_is_left_to_later_passes(city: City) -> None:
    """Rooms are there and linked; the next pass invites."""
    alice = await city.person("alice")
    wire = Limited(city.client)
    wire.invites = 1
    async with landlord(city, wire=wire) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$a")
        assert one.slept == []
    assert await city.membership(chat.room_id, alice) is None
    await city.once()
    await assert_made_once(city, alice)
    await city.settled()


async def test_a_refused_invite_leaves_a_room_that_can_be_used(city: City) -> None:
    """It is found again; whether it is tried again is for passes to decide."""
    alice = await city.person("alice")

    class Refusing(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "invite":
                raise Forbidden("no", status=403, errcode="M_FORBIDDEN")

    async with landlord(city, wire=Refusing(city.client)) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$a")
        assert await one.ledger.open_intents() == {}
    assert city.status(chat.room_id) == "pending"
    await city.once()
    await assert_made_once(city, alice)


async def test_somebody_elses_hidden_room_does_not_hold_up_an_invite(
    city: City,
) -> None:
    """Bob's chat cannot be read: alice's new rooms are finished all the same."""
    _, _, (hidden,) = await city.home("bob")
    alice = await city.person("alice")
    wire = Hiding(city.client)
    async with landlord(city, wire=wire) as one:
        wire.hidden = frozenset({hidden})
        await one.follower.catch_up([hidden])
        await one.chats.get_or_create(alice.user_id, asked="$a")
    await assert_made_once(city, alice)


async def test_nothing_waits_for_an_answer_that_it_does_not_need(city: City) -> None:
    """The chat is made while its owner is invited to the Space; it is linked while they
    are invited to it."""
    alice = await city.person("alice")
    space, chat = asyncio.Barrier(2), asyncio.Barrier(2)
    meet = {
        ("invite", 1): space,
        ("create_room", 2): space,
        ("invite", 2): chat,
        ("put_state", 1): chat,
    }

    class Slow(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if barrier := meet.get((name, number)):
                await barrier.wait()

    async with asyncio.timeout(30), landlord(city, wire=Slow(city.client)) as one:
        await one.chats.get_or_create(alice.user_id, asked="$a")
    await assert_made_once(city, alice)


async def test_who_waits_for_a_chat_has_the_space_meanwhile(city: City) -> None:
    """A limit on new rooms holds up the chat alone."""
    alice = await city.person("alice")
    invited: list[str | None] = []

    class Full(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "create_room" and city.users() and not invited:
                raise RateLimited("too many rooms", retry_after=61.4)

    async def look(_: float) -> None:
        space = city.users()[alice.user_id]
        while not await city.membership(space, alice):  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.05)
        invited.append(await city.membership(space, alice))

    async def tell() -> None:
        assert invited == []

    async with (
        asyncio.timeout(30),
        landlord(city, wire=Full(city.client), sleep=look) as one,
    ):
        await one.chats.get_or_create(alice.user_id, asked="$a", waiting=tell)
    assert invited == ["invite"]
    await assert_made_once(city, alice)


async def test_a_chat_that_the_server_refuses_leaves_a_space_to_be_finished(
    city: City,
) -> None:
    """The next pass invites; the next event makes the chat."""
    alice = await city.person("alice")

    class Refusing(Faulty):
        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "create_room" and city.users():
                raise Forbidden("no", status=403, errcode="M_FORBIDDEN")

    async with landlord(city, wire=Refusing(city.client)) as one:
        with pytest.raises(NotPossible):
            await one.chats.get_or_create(alice.user_id, asked="$a")
        assert await one.ledger.open_intents() == {}
    await city.once()
    await assert_made_once(city, alice, 0)
    async with landlord(city) as one:
        await one.chats.get_or_create(alice.user_id, asked="$b")
    await assert_made_once(city, alice)


# --- coming back ---------------------------------------------------------------------


async def test_who_comes_back_is_invited_to_all_that_they_left(city: City) -> None:
    """The Space first; not where they are, were banned, or put the chat away."""
    alice, space, chats = await city.home("alice", chats=5)
    left, stayed, archived, banned, invited = chats
    for room in (space, left, archived, invited):
        await alice.leave(room)
    await city.bot.unlink(space, archived)
    await city.bot.ban(banned, alice.user_id)
    await city.bot.invite(invited, alice.user_id)
    async with landlord(city) as one:
        back = await one.chats.invite_back(alice.user_id)
        assert back == ((space, left), (), 0.0)
        assert await one.chats.invite_back(alice.user_id) == ((), (), 0.0)
    members = {room: await city.membership(room, alice) for room in (space, *chats)}
    assert members == {
        space: "invite",
        left: "invite",
        stayed: "join",
        archived: "leave",
        banned: "ban",
        invited: "invite",
    }
    assert city.status(space) == city.status(left) == "pending"
    await city.settled()


async def test_a_limit_on_invites_ends_the_waiting_and_says_what_is_left(
    city: City,
) -> None:
    """What got through is told apart from what did not."""
    alice, space, chats = await city.home("alice", chats=3)
    for room in (space, *chats):
        await alice.leave(room)
    wire = Limited(city.client)
    wire.invites = 2
    async with landlord(city, wire=wire) as one:
        back = await one.chats.invite_back(alice.user_id)
        assert back == ((space, chats[0]), tuple(chats[1:]), 227.0)
        assert one.slept == []
        wire.invites = 2
        rest = await one.chats.invite_back(alice.user_id, {chats[1]})
        assert rest == ((chats[1],), (), 0.0)
    assert city.status(chats[1]) == "pending"
    assert city.status(chats[2]) == "detached: owner_left"


# --- names ---------------------------------------------------------------------------


async def test_names_follow_the_settings_and_the_owners_profile(city: City) -> None:
    """What people typed stays text: braces in it mean nothing, and it is one line."""
    alice = await city.person("alice")
    await _call_myself(alice, "Al\n{user} {n}\u202e")
    rooms = RoomSettings(space_name="{name}'s", chat_name="{n} of {name}", settle=0.02)
    async with landlord(city, rooms=rooms) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$a")
        titled = await one.chats.new(alice.user_id, asked="$b", title="{n} {user}")
    assert chat.space_id is not None
    assert chat.title == "1 of Al {user} {n}"
    assert titled.title == "{n} {user}"
    assert await city.has(chat.space_id, "m.room.name") == {"name": "Al {user} {n}'s"}
    assert await happened(city, chat.room_id, "m.room.name", "") == [
        {"name": chat.title}
    ]


async def _call_myself(who: Account, name: str) -> None:
    path = f"profile/{who.user_id}/displayname"
    await who.call("PUT", path, {"displayname": name})
