"""createRoom is sent once, whatever becomes of it: exactly one room is there afterwards.

The faults are those that no real server shows when told to; the rooms are on a real one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from adapter.chat import Chat, NotNow, NotPossible
from adapter.cli.account import Account
from adapter.config import RoomSettings
from adapter.matrix.errors import (
    Forbidden,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
)
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import IDENTITY, City, space_identity
from tests.adapter.matrix.landlord import (
    Faulty,
    Hiding,
    Landlord,
    assert_made_once,
    home_of,
    landlord,
)

LOST = Unreachable("the connection broke off", brief="reset")
REFUSED = Unreachable("nobody is there", brief="unreachable", sent=False)
BROKEN = ServerFault("internal", status=500)
FORBIDDEN = Forbidden("no", status=403, errcode="M_FORBIDDEN")
UNCERTAIN = [
    LOST,
    BROKEN,
    Unexpected("misshapen"),
    Unexpected("no", status=413, errcode="M_TOO_LARGE"),
    FORBIDDEN,
]


class Failing(Faulty):
    """createRoom fails, as often as there are `errors`, before or after it is done."""

    def __init__(self, city: City, *errors: WireError, done: bool) -> None:
        super().__init__(city.client)
        self.errors = list(errors)
        self.done = done
        self.bodies: list[Mapping[str, Any]] = []

    async def create_room(self, body: Mapping[str, Any]) -> str:
        self.bodies.append(body)
        if not self.errors:
            return await super().create_room(body)
        if self.done:
            await super().create_room(body)
        raise self.errors.pop(0)


class Told:
    """Counts how often somebody is told that it takes a moment."""

    times = 0

    async def __call__(self) -> None:
        self.times += 1


async def _ask(one: Landlord, who: Account, told: Told | None = None) -> Chat:
    return await one.chats.get_or_create(who.user_id, asked="$word", waiting=told)


# --- an answer that got lost ---------------------------------------------------------


@pytest.mark.parametrize("error", UNCERTAIN, ids=str)
async def test_a_room_whose_answer_got_lost_is_found_at_once(
    city: City, error: WireError
) -> None:
    """The room was made: nobody waits, and nothing is made again."""
    alice, told = await city.person("alice"), Told()
    wire = Failing(city, error, error, done=True)
    async with landlord(city, wire=wire) as one:
        await _ask(one, alice, told)
        assert (one.slept, told.times) == ([], 0)
        assert await one.ledger.open_intents() == {}
    await assert_made_once(city, alice)
    await city.settled()


async def test_a_room_that_was_not_made_is_made_again_once_that_is_certain(
    city: City,
) -> None:
    """The user hears once that it takes a moment; the second request asks for the same."""
    alice, told = await city.person("alice"), Told()
    wire = Failing(city, LOST, LOST, done=False)
    async with landlord(city, wire=wire, rooms=RoomSettings(settle=40.0)) as one:
        await _ask(one, alice, told)
        assert told.times == 1
        assert len(one.slept) == 2
        assert all(39 < seconds <= 40 for seconds in one.slept)
    await assert_made_once(city, alice)
    assert wire.bodies[0] == wire.bodies[1] == wire.bodies[2]
    await city.settled()


async def test_a_room_is_made_where_nobody_may_be_told_to_wait(city: City) -> None:
    """As where the bot may not speak: what was begun is not left half done."""
    alice = await city.person("alice")

    async def refused() -> None:
        raise FORBIDDEN

    async with landlord(city, wire=Failing(city, LOST, done=False)) as one:
        await one.chats.get_or_create(alice.user_id, asked="$word", waiting=refused)
        assert await one.ledger.open_intents() == {}
    await assert_made_once(city, alice)


async def test_a_room_that_appears_late_is_used(city: City) -> None:
    """The quick look was too early; the full one, after `settle`, sees it."""
    alice = await city.person("alice")
    wire = Failing(city, LOST, done=False)

    async def late(_: float) -> None:
        await Wire(city.client).create_room(wire.bodies[0])

    async with landlord(city, wire=wire, sleep=late) as one:
        await _ask(one, alice)
    await assert_made_once(city, alice)


async def test_of_two_that_appear_after_all_one_stays_in_use(city: City) -> None:
    """What appears after `settle` is a duplicate, and nobody is invited to it."""
    alice = await city.person("alice")
    wire = Failing(city, LOST, done=False)
    async with landlord(city, wire=wire) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked="$word")
        second = await Wire(city.client).create_room(wire.bodies[0])
        third = await Wire(city.client).create_room(wire.bodies[2])
        await one.follower.look_again()
        assert await one.chats.get_or_create(alice.user_id, asked="$word") == chat
        assert await one.chats.new(alice.user_id, asked="$word") == chat
    assert city.status(second) == city.status(third) == "detached: duplicate"
    assert await city.membership(second, alice) is None
    assert await city.membership(third, alice) is None
    await city.settled()


async def test_a_look_that_fails_proves_nothing(city: City) -> None:
    """It is looked again until a look is whole, and only then is the room made again."""
    alice = await city.person("alice")

    class Blind(Failing):
        looks = 0

        async def before(self, name: str, number: int, *given: object) -> None:
            if name == "joined_rooms" and len(self.bodies) == 1:
                self.looks += 1
                if self.looks < 5:
                    raise BROKEN

    wire = Blind(city, LOST, done=False)
    async with landlord(city, wire=wire) as one:
        await _ask(one, alice)
        assert wire.looks >= 5
    await assert_made_once(city, alice)


async def test_a_room_that_cannot_be_read_may_be_the_one_asked_for(city: City) -> None:
    """Nothing is made again; another event finishes what the first one began."""
    alice = await city.person("alice")

    class Hidden(Hiding):
        async def after(self, name: str, number: int, *given: object) -> None:
            if name == "create_room" and not seen:
                seen.append(name)
                self.hidden = await self.joined_rooms()
                raise LOST

    seen: list[str] = []

    wire = Hidden(city.client)
    async with landlord(city, wire=wire) as one:
        for asked in ("$first", "$second"):
            with pytest.raises(NotNow):
                await one.chats.get_or_create(alice.user_id, asked=asked)
            assert len(await one.ledger.open_intents()) == 1
        assert len((await home_of(city, alice)).spaces) == 1
        wire.hidden = frozenset()
        await one.chats.get_or_create(alice.user_id, asked="$third")
        assert await one.ledger.open_intents() == {}
    await assert_made_once(city, alice)
    await city.settled()


async def test_a_room_that_was_let_alone_is_bound_once_nobody_makes_it(
    city: City,
) -> None:
    """Whoever made it may have failed at the rest, and nothing happens there any more."""
    alice = await city.person("alice")
    request = str(uuid.uuid4())
    async with landlord(city) as one:
        one.follower.hold(request)
        identity = {**space_identity(alice), "request": request}
        space = await city.room(alice, identity=identity, room_type="m.space")
        await one.follower.catch_up([space])
        assert await one.store.rows() == {}
        one.follower.release(request)
        await one.follower.catch_up()
        assert (await one.store.rows())[space].matrix_user_id == alice.user_id


async def test_half_a_room_is_used_as_it_is(city: City) -> None:
    """createRoom says 403 and leaves a room without a name: it says whose it is."""
    alice = await city.person("alice")

    class Half(Wire):
        async def create_room(self, body: Mapping[str, Any]) -> str:
            override = {"power_level_content_override": {"state_default": 150}}
            return await super().create_room({**body, **override})

    async with landlord(city, wire=Half(city.client)) as one:
        chat = await _ask(one, alice)
        assert chat.title is None
    await assert_made_once(city, alice)
    await city.settled()


# --- what is certain -----------------------------------------------------------------


async def test_limits_and_a_server_that_is_away_are_waited_for(city: City) -> None:
    """Neither made anything, so it is sent again; the user hears of a long wait once."""
    alice, told = await city.person("alice"), Told()
    short = RateLimited("wait", retry_after=0.0)
    long = RateLimited("wait", retry_after=61.4)
    wire = Failing(city, short, REFUSED, long, long, done=False)
    async with landlord(city, wire=wire) as one:
        await _ask(one, alice, told)
        assert told.times == 1
        assert one.slept[0] == 0.2
        assert 1 <= one.slept[1] <= 2
        assert one.slept[2:] == [61.4, 61.4]
    await assert_made_once(city, alice)


@pytest.mark.parametrize(
    ("error", "times"), [(FORBIDDEN, 1), (BROKEN, 3), (UNCERTAIN[3], 1)], ids=str
)
async def test_what_the_server_refuses_for_good_is_given_up(
    city: City, error: WireError, times: int
) -> None:
    """A refusal once, a fault three times; the next event starts afresh."""
    alice = await city.person("alice")
    wire = Failing(city, *[error] * times, done=False)
    async with landlord(city, wire=wire) as one:
        with pytest.raises(NotPossible, match=str(error)[:8]) as given_up:
            await one.chats.get_or_create(alice.user_id, asked="$first")
        assert given_up.value.__cause__ is error
        assert (wire.errors, await one.ledger.open_intents()) == ([], {})
        await one.chats.get_or_create(alice.user_id, asked="$second")
    await assert_made_once(city, alice)


async def test_a_version_that_the_server_does_not_know_is_given_up_at_once(
    city: City,
) -> None:
    """The operator reads what the server said; nobody waits."""
    alice = await city.person("alice")
    async with landlord(city, rooms=RoomSettings("99", settle=0.02)) as one:
        with pytest.raises(NotPossible, match="M_UNSUPPORTED_ROOM_VERSION"):
            await _ask(one, alice)
        assert (one.slept, await one.ledger.open_intents()) == ([], {})


async def test_a_refused_token_ends_everything_and_forgets_nothing(city: City) -> None:
    """What was begun is finished by the next start."""
    alice = await city.person("alice")
    refused = TokenRefused("no", status=401, errcode="M_UNKNOWN_TOKEN")
    async with landlord(city, wire=Failing(city, refused, done=False)) as one:
        with pytest.raises(TokenRefused):
            await _ask(one, alice)
        assert len(await one.ledger.open_intents()) == 1
    async with landlord(city) as one:
        await _ask(one, alice)
    await assert_made_once(city, alice)


# --- a crash -------------------------------------------------------------------------


class Killing(Faulty):
    """Kills the program around its call number `at`, before or after the server has it."""

    def __init__(self, city: City, at: int, *, after: bool) -> None:
        super().__init__(city.client)
        self.at = at
        self.is_after = after
        self.victim: asyncio.Task[Any] | None = None

    async def before(self, name: str, number: int, *given: object) -> None:
        if self.victim and not self.is_after:
            await self._count()

    async def after(self, name: str, number: int, *given: object) -> None:
        if self.victim and self.is_after:
            await self._count()

    async def _count(self) -> None:
        self.at -= 1
        if self.at == 0 and self.victim:
            self.victim.cancel()
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("after", "lost"),
    [(True, False), (False, True)],
    ids=["after a call", "before a call, and its file is lost"],
)
async def test_a_program_killed_at_any_call_is_finished_by_the_next(
    city: City, after: bool, lost: bool
) -> None:
    """One Space, one chat, one link, one invite each, wherever it was killed."""
    for at in range(1, 100):
        alice = await city.person("alice")
        wire = Killing(city, at, after=after)
        if await _killed(city, wire, alice):
            if lost:
                city.forget()
            async with landlord(city) as one:
                await _ask_of(one, alice)
                assert await one.ledger.open_intents() == {}
        await assert_made_once(city, alice)
        if wire.at > 0:
            break
    assert at > 10
    await city.settled()


async def _killed(city: City, wire: Killing, alice: Account) -> bool:
    async with landlord(city, wire=wire) as one:
        wire.victim = asyncio.create_task(_ask_of(one, alice))
        await asyncio.wait([wire.victim])
        return wire.victim.cancelled()


async def _ask_of(one: Landlord, who: Account) -> Chat:
    return await one.chats.get_or_create(who.user_id, asked=f"$word-of-{who.user_id}")


class Unsent(Wire):
    """Kills the program when it makes its room number `at`; the request is on its way."""

    def __init__(self, city: City, at: int) -> None:
        super().__init__(city.client)
        self.at = at
        self.victim: asyncio.Task[Any] | None = None
        self.body: Mapping[str, Any] = {}

    async def create_room(self, body: Mapping[str, Any]) -> str:
        self.at -= 1
        if self.at == 0 and self.victim:
            self.body = body
            self.victim.cancel()
            await asyncio.Event().wait()
        return await super().create_room(body)


@pytest.mark.parametrize("asked", ["$word", "$another"])
@pytest.mark.parametrize("at", [1, 2], ids=["Space", "chat"])
async def test_what_a_killed_program_sent_may_arrive_late(
    city: City, at: int, asked: str
) -> None:
    """The next start waits for it, also when it is another event that asks."""
    alice = await city.person("alice")
    wire = Unsent(city, at)
    async with landlord(city, wire=wire) as one:
        wire.victim = asyncio.create_task(_ask(one, alice))
        await asyncio.wait([wire.victim])
        assert wire.victim.cancelled()
    arrived = []

    async def late(_: float) -> None:
        arrived.append(await Wire(city.client).create_room(wire.body))

    async with landlord(city, sleep=late) as one:
        chat = await one.chats.get_or_create(alice.user_id, asked=asked)
        assert arrived in ([chat.space_id], [chat.room_id])
        assert await one.ledger.open_intents() == {}
    await assert_made_once(city, alice)


async def test_what_a_killed_program_never_sent_is_made_as_it_was_meant(
    city: City,
) -> None:
    """The same number and the same conversation, with nothing used up."""
    alice = await city.person("alice")
    wire = Unsent(city, 2)
    async with landlord(city, wire=wire) as one:
        wire.victim = asyncio.create_task(one.chats.new(alice.user_id, asked="$new"))
        await asyncio.wait([wire.victim])
    async with landlord(city) as one:
        other = await one.chats.new(alice.user_id, asked="$other")
        chat = await one.chats.new(alice.user_id, asked="$new")
    assert (chat.chat_id, other.chat_id) == ("C1", "C2")
    created = await city.has(chat.room_id, "m.room.create")
    assert created is not None
    assert created[IDENTITY] == wire.body["creation_content"][IDENTITY]
    await assert_made_once(city, alice, 2)
