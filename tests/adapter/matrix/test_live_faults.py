"""What goes wrong while the bot lives costs nobody a word, and nobody hears another's.

The server is real. What it does not do when asked to, as to fail at one room, meets the
bot's calls on their way; the people and the tests go around it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapter.cli.account import Account
from adapter.matrix import bot
from adapter.matrix.errors import (
    Forbidden,
    ServerFault,
    Unexpected,
    Unreachable,
    WireError,
)
from adapter.matrix.faults import DatabaseDamaged
from adapter.matrix.ledger import Ledger
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    City,
    chat_identity,
    conversation,
)
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living, said
from tests.people import Person

CHECKPOINT = "io.spacekeeper.checkpoint"

BROKEN = ServerFault("it failed", status=500)
SILENT = Unreachable("no answer", brief="timeout")
REFUSED = Unexpected("unknown position", status=400, errcode="M_UNKNOWN")
FORBIDDEN = Forbidden("no", status=403, errcode="M_FORBIDDEN")

Meets = Callable[[], Awaitable[object]]


class Way:
    """The way of the bot's calls to the server, and what meets them there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._meets: dict[tuple[str, str | None], Meets] = {}

    def meets(self, call: str, what: Meets, room: str | None = None) -> None:
        """From now on `what` happens before each such call, about `room` or anything."""
        real = getattr(Wire, call)

        async def called(wire: Wire, first: str, *given: Any) -> Any:
            if room in (None, first) and (call, room) in self._meets:
                await self._meets[call, room]()
            return await real(wire, first, *given)

        self._meets[call, room] = what
        self._monkeypatch.setattr(Wire, call, called)

    def clear(self) -> None:
        """From now on nothing more happens."""
        self._meets.clear()


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    return Way(monkeypatch)


@pytest.fixture
def platform() -> Backend:
    return Backend()


def fails(error: WireError, times: float = math.inf) -> Meets:
    """So often the call fails; then it goes its way."""
    left = times

    async def fail() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error.with_traceback(None)

    return fail


async def hears(city: City, who: Person, room: str) -> str:
    """The next notice of the bot in the room."""
    (heard,) = await who.hears(room, sender=city.bot)
    assert heard["msgtype"] == "m.notice", heard
    body: str = heard["body"]
    return body


async def unlinked(city: City, owner: Account) -> str:
    """A second chat, which publishing has to link into its owner's Space."""
    return await city.room(owner, identity=chat_identity(owner, 2))


async def sees_linked(city: City, owner: Account, space: str, room: str) -> None:
    """Return when the room is a child of the owner's Space."""
    since: str | None = None
    async with asyncio.timeout(PATIENCE):
        while not await city.has(space, CHILD, room):
            since = (await owner.sync(since, wait_ms=10_000))["next_batch"]


# --- who hears it ----------------------------------------------------------------------


async def test_who_asked_and_left(city: City, platform: Backend) -> None:
    """Their chats are not shown to whoever is alone with the bot by then."""
    (mallory, _, _), alice = await asyncio.gather(
        city.home("mallory"), city.person("alice")
    )
    guest, owner = Person(alice), Person(mallory)
    async with living(city, platform):
        room = await owner.direct(city.bot)
        await owner.hears(room)
    before = await said(city, room)
    await mallory.invite(room, alice.user_id)
    await owner.say(room, "!chats")
    await alice.join(room)
    await mallory.leave(room)
    async with living(city, platform):
        await guest.say(room, "!help")
        helped = (await guest.hears(room, 2, sender=city.bot))[-1]["body"]
    assert "!help" in helped
    assert (await said(city, room)).notices == [*before.notices, helped]


async def test_who_came_while_the_position_was_lost(
    city: City, platform: Backend, way: Way
) -> None:
    """The bot takes nobody for alone with it who is not any more: it is silent."""
    (owner, _, (chat,)), eve = await asyncio.gather(
        city.home("alice"), city.person("eve")
    )
    alice, afresh, refusals = Person(owner), asyncio.Event(), fails(REFUSED, 3)

    async def lose_position() -> None:
        if eve.user_id not in here:
            here.add(eve.user_id)
            await owner.invite(room, eve.user_id)
            await eve.join(room)
        await refusals()
        afresh.set()

    async with living(city, platform):
        room = await alice.direct(city.bot)
        await alice.hears(room)
        await alice.say(room, "!chats")
        await alice.hears(room)
        before = await said(city, room)
        here: set[str] = set()
        way.meets("live_sync", lose_position)
        await alice.say(chat, "wake")
        async with asyncio.timeout(PATIENCE):
            await afresh.wait()
        await alice.say(room, "!chats")
        await exchange(alice, chat)
    assert await said(city, room) == before


# --- a room that changed and cannot be read -----------------------------------------------


async def test_a_first_word_in_a_room_that_fails_once(
    city: City, platform: Backend, way: Way
) -> None:
    """Who joins a new chat and speaks at once is answered all the same."""
    owner, space, _ = await city.home("alice")
    chat = await city.chat(owner, space, 2, join=False)
    async with living(city, platform):
        assert city.status(chat) == "pending"
        way.meets("state", fails(BROKEN, 1), chat)
        await owner.join(chat)
        word = await exchange(Person(owner), chat)
    assert platform.heard == {conversation(owner, 2): [word]}
    assert city.status(chat) == "active"


async def test_a_first_word_in_a_room_that_goes_on_to_fail(
    city: City, platform: Backend, way: Way
) -> None:
    """Nothing is passed on, the owner is told, and answered when it can be read."""
    owner, space, _ = await city.home("alice")
    chat = await city.chat(owner, space, 2, join=False)
    alice = Person(owner)
    async with living(city, platform):
        way.meets("state", fails(BROKEN), chat)
        await owner.join(chat)
        await alice.say(chat, "hello")
        assert "not certain" in await hears(city, alice, chat)
        assert platform.heard == {}
        way.clear()
        word = await exchange(alice, chat)
    assert platform.heard == {conversation(owner, 2): [word]}


async def test_a_reset_in_a_room_that_fails(
    city: City, platform: Backend, way: Way
) -> None:
    """No word reaches the old conversation any more, and none is guessed about."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        before = await exchange(alice, chat)
        way.meets("state", fails(BROKEN), chat)
        await alice.say(chat, "!reset")
        assert "begins here" not in await hears(city, alice, chat)
        await alice.say(chat, "to whom?")
        assert "not certain" in await hears(city, alice, chat)
        way.clear()
        word = await exchange(alice, chat)
    fresh = (await city.binding(chat) or {})["platform_chat_id"]
    assert platform.heard == {conversation(owner, 1): [before], fresh: [word]}
    await city.settled()


async def test_an_archive_in_a_space_that_fails(
    city: City, platform: Backend, way: Way
) -> None:
    """It is not said to be done before the row says so."""
    owner, space, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        way.meets("state", fails(BROKEN), space)
        await alice.say(chat, "!archive")
        assert "archived" not in await hears(city, alice, chat)
        assert city.status(chat) == "active"
        way.clear()
        await alice.say(chat, "hello?")
        assert "archived" in await hears(city, alice, chat)
    assert city.status(chat) == "detached: unlinked"
    assert platform.heard == {}
    await city.settled()


async def test_a_room_that_never_answers(
    city: City, platform: Backend, way: Way
) -> None:
    """It is given up: the position moves on, and publishing does."""
    (owner, space, (chat,)), bob = await asyncio.gather(
        city.home("alice"), city.person("bob")
    )
    company = await bob.create_room(invite=[city.bot.user_id])
    await city.bot.join(company)
    alice = Person(owner)
    way.meets("joined_members", fails(SILENT), company)
    async with living(city, platform):
        word = await Person(bob).say(company, "anybody?")
        await exchange(alice, chat)
        await sees_linked(city, owner, space, await unlinked(city, owner))
    assert await said(city, company) == ([], [])
    token = (await city.bot.account_data(CHECKPOINT))["token"]
    later = (await city.bot.sync(token)).get("rooms", {}).get("join", {})
    events = later.get(company, {"timeline": {"events": []}})["timeline"]["events"]
    assert word not in {event["event_id"] for event in events}


async def test_a_slow_room(city: City, platform: Backend, way: Way) -> None:
    """While it is read nobody waits but those who talk in it."""
    (owner, _, (chat,)), (neighbour, _, (bobs,)) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    alice, bob = Person(owner), Person(neighbour)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def crawl() -> None:
        asked.set()
        await answered.wait()

    async with living(city, platform):
        way.meets("state", crawl, bobs)
        await city.bot.put_state(bobs, "m.room.name", {"name": "New"})
        await bob.say(bobs, "ping")
        await asked.wait()
        await exchange(alice, chat)
        assert (await said(city, bobs)).answers == []
        answered.set()
        (answer,) = await bob.hears(bobs)
    assert answer["body"] == "1: ping"


# --- the stream ---------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN], ids=lambda e: e.errcode)
async def test_a_stream_that_is_refused_once(
    city: City, platform: Backend, way: Way, refusal: WireError
) -> None:
    """What is said just then is answered, once and in order."""
    owner, _, (chat,) = await city.home("alice")
    alice, woken, words = Person(owner), asyncio.Event(), list[str]()

    async def slip() -> None:
        await woken.wait()
        if len(words) == 1:
            words.append(await alice.say(chat, "meanwhile"))
            raise refusal.with_traceback(None)

    async with living(city, platform):
        way.meets("live_sync", slip)
        words.append(await alice.say(chat, "wake"))
        woken.set()
        heard = await alice.hears(chat, 2)
    assert [one["body"] for one in heard] == ["1: wake", "2: meanwhile"]
    assert platform.heard == {conversation(owner, 1): words}


async def test_many_starts_while_a_word_is_pending(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No start takes what an earlier one wrote for a later one, and the word is answered
    once."""
    monkeypatch.setattr(bot, "PATIENCE", 0.1)
    (owner, _, (chat,)), (neighbour, _, (bobs,)) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    alice, bob = Person(owner), Person(neighbour)
    platform.hold("slow")
    async with living(city, platform):
        word = await bob.say(bobs, "slow")
        await platform.asked("slow")
    for _ in range(4):
        async with living(city, platform):
            await exchange(alice, chat)
    platform.release("slow")
    async with living(city, platform):
        (answer,) = await bob.hears(bobs)
        await exchange(bob, bobs)
    assert answer["body"] == "1: slow"
    assert platform.heard[conversation(neighbour, 1)][0] == word
    assert (await said(city, bobs)).answers == ["1: slow", "2: ping"]


# --- commands -----------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["kept", "lost"])
@pytest.mark.parametrize("last", ["archive", "restore"])
async def test_commands_that_come_again(
    city: City,
    platform: Backend,
    monkeypatch: pytest.MonkeyPatch,
    last: str,
    file: str,
) -> None:
    """Of two that undo each other the later one counts, also after a start that has both
    once more because somebody else's answer held the position back, and which may know
    of none. Nor is a name given again that somebody has changed since."""
    monkeypatch.setattr(bot, "PATIENCE", 0.1)
    (owner, space, (one, two)), (neighbour, _, (bobs,)) = await asyncio.gather(
        city.home("alice", 2), city.home("bob")
    )
    alice, bob = Person(owner), Person(neighbour)
    commands = [(one, "!archive"), (two, "!restore C1")]
    status = "active"
    if last == "archive":
        await city.bot.unlink(space, one)
        commands.reverse()
        status = "detached: unlinked"
    commands.append((two, "!rename Quince"))
    platform.hold("slow")
    async with living(city, platform):
        await bob.say(bobs, "slow")
        await platform.asked("slow")
        for room, command in commands:
            await alice.say(room, command)
            await hears(city, alice, room)
        assert city.status(one) == status
    await city.bot.put_state(two, "m.room.name", {"name": "Medlar"})
    if file == "lost":
        city.forget()
    before = [await said(city, room) for room in (one, two)]
    platform.release("slow")
    async with living(city, platform):
        await exchange(bob, bobs)
        await exchange(alice, two)
    assert city.status(one) == status
    assert await city.has(two, "m.room.name") == {"name": "Medlar"}
    before[1].answers.append("1: ping")
    assert [await said(city, room) for room in (one, two)] == before
    await city.settled()


async def test_commands_where_a_later_version_wrote(
    city: City, platform: Backend
) -> None:
    """They write nothing there, and whoever gave them is told."""
    (owner, space, (bound,)), (neighbour, bobs_space, (bobs,)) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    later = {"v": 2, "platform_chat_id": "later"}
    made = await city.chat(owner, space, 2, identity=chat_identity(owner, 2) | later)
    await city.startup()
    city.spoil(
        "INSERT INTO room_meta (room_id, room_type, chat_id, space_id,"
        " matrix_user_id, platform_chat_id, status, revision)"
        " VALUES (:room, 'chat', 'C2', :space, :owner, 'later', 'active', 1)",
        room=made,
        space=space,
        owner=owner.user_id,
    )
    for room in (bound, bobs_space):
        await city.bot.put_state(room, BINDING, later, city.bot.user_id)
    alice, bob = Person(owner), Person(neighbour)
    async with living(city, platform):
        before = await city.server()
        for who, room, command in (
            (alice, bound, "!reset"),
            (alice, bound, "!rename Title"),
            (alice, made, "!reset"),
            (alice, made, "!rename Title"),
            (bob, bobs, "!archive"),
        ):
            await who.say(room, command)
            assert "was not done" in await hears(city, who, room)
    assert await city.server() == before
    assert city.status(bobs) == "active"


# --- what must not wait -------------------------------------------------------------------


async def test_publishing_beside_a_slow_platform(city: City, platform: Backend) -> None:
    """While a platform works on an answer, the server has nothing better to do."""
    owner, space, (chat,) = await city.home("alice")
    alice = Person(owner)
    platform.hold("slow")
    async with living(city, platform):
        await alice.say(chat, "slow")
        await platform.asked("slow")
        await sees_linked(city, owner, space, await unlinked(city, owner))
        assert await said(city, chat) == ([], [])
        platform.release("slow")
        await alice.hears(chat)
    assert (await said(city, chat)).answers == ["1: slow"]


async def test_a_typing_notice_that_hangs(
    city: City, platform: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an answer nor the end of the bot waits until it is taken back."""
    monkeypatch.setattr(bot, "PATIENCE", 0.1)
    owner, _, (chat,) = await city.home("alice")
    alice, shown, never = Person(owner), asyncio.Event(), asyncio.Event()

    async def typing(_: Wire, __: str, ___: str, milliseconds: int | None) -> None:
        shown.set()
        if milliseconds is None:
            await never.wait()

    monkeypatch.setattr(Wire, "typing", typing)
    async with asyncio.timeout(PATIENCE):
        async with living(city, platform):
            for text in ("quick", "slow"):
                platform.hold(text)
                shown.clear()
                await alice.say(chat, text)
                await shown.wait()
                if text == "quick":
                    platform.release(text)
                    await alice.hears(chat)
    assert (await said(city, chat)).answers == ["1: quick"]


@pytest.mark.parametrize(
    ("whose", "does"),
    [
        (Store, "versioned_rows"),
        (Store, "row"),
        (Ledger, "set_checkpoint"),
        (Reconciler, "publish_to"),
    ],
    ids=["a pass", "a word", "the position", "publishing"],
)
async def test_a_database_that_is_damaged(
    city: City,
    platform: Backend,
    monkeypatch: pytest.MonkeyPatch,
    whose: type,
    does: str,
) -> None:
    """Whoever meets it ends the bot: only a start makes a new one."""
    owner, _, (chat,) = await city.home("alice")

    async def meet_damage(*_: object) -> None:
        raise DatabaseDamaged(city.path, "malformed")

    async def live() -> None:
        async with asyncio.timeout(PATIENCE), living(city, platform):
            with monkeypatch.context() as damage:
                damage.setattr(whose, does, meet_damage)
                await unlinked(city, owner)
                await Person(owner).say(chat, "hello")
                await asyncio.Event().wait()

    with pytest.RaisesGroup(DatabaseDamaged):
        await live()
