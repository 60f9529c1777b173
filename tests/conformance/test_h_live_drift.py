"""Scenarios 50 to 53: what changes while the bot runs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis.stateful import initialize

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import BINDING, City, conversation, derived
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.adapter.matrix.test_live_equals_cold import Tenants
from tests.conformance.situation import a_chat, a_space, holds
from tests.faults import Before, Proxy, Seen
from tests.faults.machine import NUMBER, walk
from tests.faults.moves import MOVES
from tests.people import Person


def follows_the_stream(seen: Seen) -> bool:
    return seen.path.endswith("/sync") and "since" in seen.query


@asynccontextmanager
async def in_one_answer(
    city: City, platform: Backend, witness: Person, window: str
) -> AsyncIterator[None]:
    """The running bot hears in one answer of all that happens inside.

    The witness speaks in their chat, the window, which takes the bot to its next one."""
    waits, over = asyncio.Event(), asyncio.Event()

    async def until_over() -> None:
        waits.set()
        await over.wait()

    async with Proxy(city.bot.url) as proxy:
        city.client.homeserver = proxy.url
        async with living(city, platform):
            await exchange(witness, window)
            proxy.at(follows_the_stream, Before(until_over))
            await witness.say(window, "go on")
            await waits.wait()
            yield
            over.set()
            await exchange(witness, window)
    city.client.homeserver = city.bot.url


@pytest.mark.scenario(50)
async def test_50_a_chat_is_unlinked_and_spoken_in_at_once(
    city: City, platform: Backend
) -> None:
    """A link that goes and a word come in one answer: the word finds the chat archived."""
    (alice, space, [chat]), (bob, home, [window]) = await asyncio.gather(
        city.home("alice"), city.home("bob")
    )
    async with in_one_answer(city, platform, Person(bob), window):
        emptied = await city.bot.unlink(space, chat)
        late = await alice.send(chat, "too late")
    assert late not in itertools.chain(*platform.heard.values())
    answers, [pointer] = await said(city, chat)
    assert (answers, "!restore C1" in pointer) == ([], True)
    archived = a_chat(alice, space, 1, "detached: unlinked", emptied)
    await holds(
        city,
        {
            space: a_space(alice),
            chat: archived,
            home: a_space(bob),
            window: a_chat(bob, home, 1),
        },
    )


@pytest.mark.scenario(50)
async def test_50_an_old_room_is_linked_and_spoken_in_at_once(
    city: City, platform: Backend
) -> None:
    """A link says whose room it is, and in the same answer they speak: they are heard."""
    (alice, space, _), (bob, home, [window]) = await asyncio.gather(
        city.old_home("alice", chats=0), city.home("bob")
    )
    chat = await city.room(alice)
    async with in_one_answer(city, platform, Person(bob), window):
        await city.bot.link(space, chat)
        word = await alice.send(chat, "hello")
    assert platform.heard[derived(chat)] == [word]
    await city.once()  # the record, if the bot was stopped before it wrote it
    await holds(
        city,
        {
            space: a_space(alice),
            chat: a_chat(alice, space, 1, platform=derived(chat)),
            home: a_space(bob),
            window: a_chat(bob, home, 1),
        },
    )


@pytest.mark.scenario(51)
async def test_51_a_binding_and_a_name_change_elsewhere(
    city: City, platform: Backend
) -> None:
    """Somebody with the bot's account rebinds a chat: the next word is of the new one.

    A room that is renamed is called so, and nothing else follows from it."""
    alice, space, (one, two) = await city.home("alice", chats=2)
    person = Person(alice)
    async with living(city, platform):
        binding = {"v": 1, "platform_chat_id": "moved"}
        await city.bot.put_state(one, BINDING, binding, city.bot.user_id)
        moved = await exchange(person, one)
        before = city.rows()[two]
        await city.bot.put_state(two, "m.room.name", {"name": "Plum"})
        stayed = await exchange(person, two)
    assert platform.heard == {"moved": [moved], conversation(alice, 2): [stayed]}
    after = city.rows()[two]
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"name", "revision", "updated_at"}
    assert after["name"] == "Plum"
    await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1, platform="moved"),
            two: a_chat(alice, space, 2),
        },
    )


@pytest.mark.scenario(52)
async def test_52_what_was_said_before_a_rejoin_is_not_obeyed(
    city: City, platform: Backend
) -> None:
    """The bot comes back into a chat: what was said there without it stays unheard."""
    alice, space, [chat] = await city.home("alice", version="11")
    person = Person(alice)
    async with living(city, platform):
        heard = [await exchange(person, chat)]
        await city.bot.set_power(chat, {alice.user_id: 100, city.bot.user_id: 50})
        await alice.kick(chat, city.bot.user_id)
        await person.sees(chat, city.bot, "leave")
        for unheard in ("hello?", "!reset", "!archive"):
            await person.say(chat, unheard)
        await alice.invite(chat, city.bot.user_id)
        await person.sees(chat, city.bot)
        heard.append(await exchange(person, chat))
    assert platform.heard == {conversation(alice, 1): heard}
    assert await said(city, chat) == (["1: ping", "2: ping"], [])
    await holds(city, {space: a_space(alice), chat: a_chat(alice, space, 1)})


class Redacting(Tenants):
    """They begin with redactions, to which chance alone may not come."""

    @initialize(number=NUMBER)
    def first(self, number: int) -> None:
        super().first(number)
        numbers = itertools.count(number)
        while sum("redacts" in told for told in self.told) < 2:
            self.move(MOVES["redact"], next(numbers))


@pytest.mark.scenario(53)
def test_53_live_is_cold_whatever_happens(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    """After redactions and some moves of chance, a cold rebuild gives the live rows.

    There are more of them in `test_live_equals_cold.py`."""
    walk(
        lambda: Redacting(homeserver, tmp_path / "world"),
        worlds=1,
        steps=4,
        derandomize=True,
    )
