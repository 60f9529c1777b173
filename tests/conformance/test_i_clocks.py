"""Scenario 64: clocks that are wrong.

No server can be told what time it is in its answers, so the proxy moves the times in
them. What is not moved against each other are the events of one account: their order is
what rules 3 and 7 go by. A bot's own clock only says how long ago something was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix.channels import Channel
from tests.adapter.matrix.city import City, conversation, findings
from tests.adapter.matrix.faulty import ANY, copied, is_write, town_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.conformance.situation import Bound, a_chat, a_space, holds
from tests.faults import Alter, Exchange, Proxy, Reply
from tests.people import Person

DAY = 24 * 60 * 60 * 1000

Clock = Callable[[str], int]
"""Account -> by how many milliseconds its clock, or that of its server, is wrong."""


@dataclass
class Clocks:
    """Moves the times of all events in an answer by what the sender's clock is wrong."""

    wrong: Clock
    moved: int = 0

    async def meet(self, exchange: Exchange) -> Reply:
        return await Alter(self._alter).meet(exchange)

    def _alter(self, reply: Reply) -> Reply:
        found = json.loads(reply.body)
        self._move(found)
        return reply._replace(body=json.dumps(found).encode())

    def _move(self, said: Any) -> None:
        if isinstance(said, list):
            for part in said:
                self._move(part)
        elif isinstance(said, dict):
            if "origin_server_ts" in said and "sender" in said:
                said["origin_server_ts"] += self.wrong(said["sender"])
                self.moved += 1
            self._move(list(said.values()))


@pytest.mark.scenario(64)
async def test_64_whatever_the_clocks_say_a_pass_decides_the_same(
    city: City, homeserver: Homeserver, subtests: pytest.Subtests
) -> None:
    """The server's clock, or some user's, a day ahead or behind: the same rows, writes."""
    me = city.bot.user_id
    apart = "half of the users are ahead, half behind"
    clocks: dict[str, Clock] = {
        "the server is ahead": lambda _: DAY,
        "the server is behind": lambda _: -DAY,
        apart: lambda who: 0 if who == me else DAY if who < "@d" else -DAY,
    }
    async with Proxy(homeserver.url) as proxy:

        @contextmanager
        def are(wrong: Clock) -> Iterator[None]:
            clock = Clocks(wrong)
            met = proxy.at(lambda seen: not is_write(seen), clock, times=ANY)
            yield
            met.end()
            assert clock.moved

        async with town_of(city, proxy) as town:
            await town.drift()
            right = [
                await town.passed(copied(city.path, "warm.db")),
                await town.passed(city.path.with_name("cold.db")),
            ]
            assert all(found.writes for found in right)
            for name, wrong in clocks.items():
                with subtests.test(name), are(wrong):
                    copied(city.path.with_name("nothing.db"), "cold.db")
                    found = [
                        await town.passed(copied(city.path, "warm.db")),
                        await town.passed(city.path.with_name("cold.db")),
                    ]
                    for one, other in zip(found, right, strict=True):
                        assert one.rows == other.rows
                        assert one.conditions == other.conditions
                        assert one.writes == other.writes

        # Once all that is written, too, it is the same through each channel.
        await city.once()
        rows, cold = (
            {room: Bound.of(row) for room, row in found.items()}
            for found in (city.rows(), await city.rebuilt())
        )
        told = findings(await city.settled(cold=False))
        with are(clocks[apart]):
            # No snapshot at all shows no room that the bot is out of.
            channels = [Channel.STATE]
            how: dict[str, Any] = {"findings": told, "apart": channels, "whole": True}
            await holds(city, rows, cold=cold, **how)


@pytest.mark.scenario(64)
@pytest.mark.parametrize("wrong", [DAY, -DAY], ids=["tomorrow", "yesterday"])
async def test_64_what_is_heard_is_not_a_matter_of_clocks(
    city: City, platform: Backend, homeserver: Homeserver, wrong: int
) -> None:
    """Words of tomorrow or yesterday are answered if they are new, and not if they are old."""
    owner, space, (chat,) = await city.home("alice")
    alice, me = Person(owner), city.bot.user_id
    await alice.say(chat, "history")
    clock = Clocks(lambda who: 0 if who == me else wrong)
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        proxy.at("GET .*", clock, times=ANY)
        async with living(city, platform):
            words = [await exchange(alice, chat)]
        words.append(await alice.say(chat, "anybody?"))
        async with living(city, platform):
            words.append(await exchange(alice, chat))
    city.client.homeserver = city.bot.url
    assert clock.moved
    assert platform.heard == {conversation(owner, 1): words}
    answers, _ = await said(city, chat)
    assert answers == ["1: ping", "2: anybody?", "3: ping"]
    await holds(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})
