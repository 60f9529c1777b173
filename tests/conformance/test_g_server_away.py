"""Scenario 47: the homeserver shows nothing for a long time."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City, conversation
from tests.adapter.matrix.clock import Clock
from tests.adapter.matrix.faulty import ANY, left
from tests.adapter.matrix.live import PATIENCE, Backend, exchange, living
from tests.conformance.situation import a_chat, a_space, holds
from tests.faults import FAULTS, Proxy
from tests.people import Person


@pytest.mark.scenario(47)
async def test_47_ten_minutes_without_a_look_at_matrix(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten minutes without a snapshot: not ready, nothing handled, fewer and fewer looks.

    When it sees Matrix again it goes on by itself, and answers what was said meanwhile."""
    owner, space, (chat,) = await city.home("alice")
    alice = Person(owner)
    async with living(city, platform):
        words = [await exchange(alice, chat)]
    city.forget_look()
    before, clock = left(city.path), Clock(monkeypatch, 600.0)
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        failing = proxy.at("GET .*/joined_rooms", FAULTS["500"](), times=ANY)

        async def hears() -> str:
            async with living(city, platform):
                [answer] = await alice.hears(chat)
            return str(answer["body"])

        words.append(await alice.say(chat, "anybody?"))
        hearing = asyncio.create_task(hears())
        async with asyncio.timeout(PATIENCE):
            await clock.over.wait()
        then = left(city.path)
        assert (then.rows, then.dump) == (before.rows, before.dump)
        assert then.conditions["Ready"] == ("False", "Starting")
        assert then.conditions["Observed"] == ("False", "ServerFault")
        assert then.conditions["Reconciling"] == ("False", "BackingOff")
        assert platform.heard == {conversation(owner, 1): words[:1]}
        assert not any("since" in seen.query for seen in proxy.requests)
        looks = [seen for seen in proxy.requests if seen.path.endswith("joined_rooms")]
        assert len(looks) == len(clock.waits) < 12
        failing.end()
        clock.go_on()
        assert await hearing == "2: anybody?"
    city.client.homeserver = city.bot.url
    assert platform.heard == {conversation(owner, 1): words}
    await holds(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})
