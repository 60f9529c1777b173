"""Every fault at every write of the bot: in the end it is done, and done once.

A day is lived through once for each fault, which meets each different request that
writes when it is made for the first time. `FAULTS=all` (`make faults`) does so with all
of them, else with three: done and not told, refused, and the end of the bot."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Hashable
from functools import partial
from typing import Final, NamedTuple
from uuid import uuid4

import pytest

from adapter.cli.account import Account, CallFailed
from adapter.cli.homeserver import Homeserver
from adapter.matrix import (
    bot,
    dispatcher,
    making,
    patience,
    position,
    publishing,
    stream,
    writing,
)
from adapter.matrix.errors import TokenRefused
from adapter.matrix.handlers import chat as conversations
from adapter.matrix.wire import Wire
from controller import loop
from tests.adapter.matrix.city import City, chat_identity
from tests.adapter.matrix.conftest import STRUCK, TRIED
from tests.adapter.matrix.faulty import ANY, QUICK, is_write
from tests.adapter.matrix.landlord import happened, home_of
from tests.adapter.matrix.live import PATIENCE, Backend, living, said
from tests.adapter.matrix.scene import CHECKPOINT, MOMENT
from tests.faults import FAULTS, FirstTime, Proxy, Request, Seen
from tests.faults.table import SLOW

ALL: Final = os.environ.get("FAULTS") == "all"

ABOUT_READING: Final = {"200, no rooms", "filter ignored"}
"""What has no part in a write, and lets it pass as it is."""
FOR_GOOD: Final = {"403", "stale"}
"""After these nobody tries again unasked: one is the server's word, and what the other
makes of a write looks done to the bot, until it sees that it is not."""
SAMPLE: Final = ["answer lost", "403", "401"]

WRITES: Final = {
    "createRoom",
    "join",
    "leave",
    "invite",
    "io.spacekeeper.binding",
    "m.space.child",
    "m.room.name",
    "m.room.message",
    "typing",
    "account_data",
}


def kind(seen: Seen) -> str:
    """What is written, by the one word of its path that says so."""
    return next(part for part in reversed(seen.path.split("/")) if part in WRITES)


def same(request: Request) -> Hashable:
    """The position has a number in it, which counts on."""
    return CHECKPOINT if CHECKPOINT in request.target else request


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than it takes others to get on."""
    for module in (dispatcher, loop, making, patience, position, stream, writing):
        monkeypatch.setattr(module, "delay", lambda *_, **__: 0.05)
    monkeypatch.setattr(position, "PERIOD", 0.05)
    monkeypatch.setattr(publishing, "PAUSE", 0.05)
    monkeypatch.setattr(conversations, "SOON", 0.01)
    monkeypatch.setattr(bot, "PATIENCE", PATIENCE)


# --- the day --------------------------------------------------------------------------


class People(NamedTuple):
    """Alice comes, Bob lives here, Carol's rooms are old, Dora's are unfinished."""

    alice: Account
    bob: Account
    carol: Account
    dora: Account
    eve: Account
    bobs: list[str]


async def prepared(city: City) -> People:
    (bob, _, bobs), (carol, _, _), (dora, _, _), alice, eve = await asyncio.gather(
        city.home("bob", 2),
        city.old_home("carol", 2),
        city.home("dora", 1),
        city.person("alice"),
        city.person("eve"),
    )
    await asyncio.gather(city.room(identity=chat_identity(dora, 2)), city.startup())
    return People(alice, bob, carol, dora, eve, bobs)


async def handled(city: City, room: str, event: str | None = None) -> None:
    """Return when the bot's position is after the event, or after the invitation."""
    async with asyncio.timeout(PATIENCE):
        while not await _is_handled(city, room, event):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _is_handled(city: City, room: str, event: str | None) -> bool:
    try:
        token = (await city.bot.account_data(CHECKPOINT))["token"]
    except CallFailed:
        return False
    # Synapse repeats its answer to whoever asks the same again.
    other = {"presence": {"not_types": [uuid4().hex]}}
    rooms = (await city.bot.sync(token, sync_filter=other)).get("rooms", {})
    if event is None:
        return room not in rooms.get("invite", {})
    timeline = rooms.get("join", {}).get(room, {}).get("timeline", {"events": []})
    return event not in {one["event_id"] for one in timeline["events"]}


async def day(city: City, people: People, platform: Backend, proxy: Proxy) -> str:
    """Everybody does what makes the bot write; returns Alice's direct chat."""
    alice, bob, eve = people.alice, people.bob, people.eve
    one, two = people.bobs

    async def tell(who: Account, room: str, *words: str) -> None:
        for word in words:
            await handled(city, room, await who.send(room, word))

    async def at_home() -> None:
        platform.hold("apricot")
        word = await bob.send(one, "apricot")
        await proxy.arrived("PUT .*/typing/.*")
        platform.release("apricot")
        await handled(city, one, word)
        await tell(bob, one, "!new Bilberry", "!rename Cherry", "!reset", "damson")
        await tell(bob, two, "!archive")
        await tell(bob, one, "!restore C2", "elderberry")

    async def arrives() -> str:
        direct = await alice.direct(city.bot.user_id)
        await handled(city, direct)
        # Where the server refused something, the next word asks for it again.
        await tell(alice, direct, "hello", "and now?")
        return direct

    async def invites() -> None:
        group = await eve.create_room(invite=[city.bot.user_id])
        await handled(city, group)

    direct, *_ = await asyncio.gather(arrives(), at_home(), invites())
    return direct


async def lived(city: City, people: People, platform: Backend, proxy: Proxy) -> str:
    """The day, with a bot that is started again when its token was refused."""
    going = asyncio.create_task(day(city, people, platform, proxy))
    city.client.homeserver = proxy.url
    try:
        while not going.done():
            try:
                async with living(city, platform):
                    await asyncio.shield(going)
            except* TokenRefused:
                pass
    finally:
        going.cancel()
        city.client.homeserver = city.bot.url
    return going.result()


# --- what came of it ------------------------------------------------------------------


async def assert_made_once(city: City, people: People) -> None:
    """One Space each, every chat once, and nobody was invited to a room twice."""
    chats = {people.alice: ["C1"], people.bob: ["C1", "C2", "C3"]}
    for owner, numbers in {**chats, people.dora: ["C1", "C2"]}.items():
        home = await home_of(city, owner)
        rows = [city.rows()[room] for room in home.chats]
        assert len(home.spaces) == 1
        assert sorted(row["chat_id"] for row in rows) == numbers
        assert {row["status"] for row in rows} <= {"active", "pending"}
        for room in (*home.spaces, *home.chats):
            members = await happened(city, room, "m.room.member", owner.user_id)
            assert [m["membership"] for m in members].count("invite") == 1


async def heard(city: City, room: str) -> tuple[list[str], list[str]]:
    """The answers in the room, and the notices by their first words, but for `MOMENT`."""
    found = await said(city, room)
    notices = [
        next((words for words in NOTICES if words in one), one)
        for one in found.notices
        if MOMENT not in one
    ]
    return found.answers, notices


ANSWERS: Final = ["1: apricot", "1: damson", "2: elderberry"]
NOTICES: Final = [
    "I have made C3",
    "This chat is now",
    "new conversation",
    "Please write there",
]

CASES = sorted(FAULTS.keys() - ABOUT_READING) if ALL else SAMPLE


@pytest.mark.parametrize("name", CASES)
async def test_every_write_meets_a_fault(
    city: City,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
    figures: dict[str, object],
    name: str,
) -> None:
    """One Space, one room for each chat, one invite each, one answer for each word; and
    two passes after the last fault there is nothing left to do.

    What the server refused for good is withheld for a day: there, these are passes of the
    day after."""
    if name in SLOW:
        monkeypatch.setattr(bot, "Wire", partial(Wire, timeout=QUICK))
    people, platform = await prepared(city), Backend()
    fault = FirstTime(FAULTS[name](), same)
    async with Proxy(homeserver.url) as proxy:
        proxy.at(is_write, fault, times=ANY)
        direct = await lived(city, people, platform, proxy)
    # Where nothing was answered before, nothing is stale: the server hears of it.
    struck = [one for one in fault.met if not (name == "stale" and one.reached)]
    figures["struck by"] = dict(sorted(Counter(map(kind, struck)).items()))
    figures |= {TRIED: len(fault.met), STRUCK: len(struck)}
    assert {kind(seen) for seen in fault.met} == WRITES
    assert {kind(seen) for seen in struck} >= {"createRoom", "m.space.child"}
    if name in FOR_GOOD:
        await asked_again(city, people, platform, direct)
    else:
        assert await heard(city, people.bobs[0]) == (ANSWERS, NOTICES)
        (_, archived), (_, welcome) = [
            await heard(city, room) for room in (people.bobs[1], direct)
        ]
        assert [one.split(",")[0] for one in archived] == ["This chat is archived"]
        assert len(welcome) == 2
    # The day is over.
    city.spoil("DELETE FROM publications")
    await city.once()
    await city.once()
    await city.settled()
    await assert_made_once(city, people)


async def asked_again(
    city: City, people: People, platform: Backend, direct: str
) -> None:
    """What the server refused was not done, or said, and nothing was done or said twice;
    whoever asks once more has it."""
    for room in people.bobs:
        answers, notices = await heard(city, room)
        assert Counter(answers) <= Counter(ANSWERS)
        assert len(notices) <= len(NOTICES) + len(ANSWERS)
    one, _ = people.bobs
    async with living(city, platform):
        word = await people.alice.send(direct, "and now?")
        await handled(city, direct)
        await handled(city, direct, word)
        if len((await home_of(city, people.bob)).chats) < 3:
            await handled(city, one, await people.bob.send(one, "!new"))
        await handled(city, one, await people.bob.send(one, "!restore C2"))
