"""Scenario 66: very many rooms, and large ones.

How long a pass may take, and for how long at a time it holds up the event loop, is for a
benchmark."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from multidict import CIMultiDict

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from adapter.matrix.channels import WINDOW
from adapter.matrix.document import document
from adapter.matrix.reconciler import Reconciler
from schemas import problems
from tests.adapter.matrix.city import BINDING, CHILD, City, Json, conversation
from tests.adapter.matrix.faulty import ANY
from tests.adapter.matrix.live import Backend, exchange, living
from tests.conformance.situation import Bound, a_chat, a_space
from tests.faults import Before, Exchange, Proxy, Reply, Seen
from tests.faults.crashes import kind
from tests.people import Person

HOMES = 1_000
CHATS = 10
CHILDREN = 1_000


def lists_rooms(seen: Seen) -> bool:
    return seen.path.endswith(("/joined_rooms", "msc3575/sync"))


@dataclass
class Multiplied:
    """A server that has one home a thousand times, and another with very many children.

    All of them would take hours to be made: these are the server's own answers about one
    home, again and again with other names. It hides some rooms that the bot is in."""

    owner: Account
    home: list[str]
    """The Space, and the chats."""
    wide: str
    """A Space with children that nobody knows."""
    foreign: str
    """A room of somebody else, with very many people in it."""
    hidden: list[str]
    _shown: dict[str, str] = field(default_factory=dict)
    """Room, those of the thousand homes too -> what is shown of it, as JSON."""

    def named(self, number: int, text: str) -> str:
        """What `text` says of the home, said of that one of a thousand."""
        localpart = self.owner.user_id[1:].partition(":")[0]
        for name in (localpart, *(room[1:] for room in self.home)) if number else ():
            text = text.replace(name, f"{number}-{name}")
        return text

    async def meet(self, exchange: Exchange) -> Reply:
        if exchange.request.method == "GET":
            reply = await exchange.forward()
            joined = json.loads(reply.body)["joined_rooms"]
            for number in range(1, HOMES):
                joined += [self.named(number, room) for room in self.home]
            answer = json.dumps({"joined_rooms": joined})
        else:
            asked = json.loads(exchange.request.body)["lists"]["all"]
            if "filters" in asked:  # for invitations
                return await exchange.forward()
            [[first, last]] = asked["ranges"]
            if not self._shown:  # the first window has room for all real rooms
                reply = await exchange.forward()
                self._take(json.loads(reply.body)["rooms"])
            answer = self._window(first, last + 1)
        headers = CIMultiDict({"Content-Type": "application/json"})
        return Reply(200, headers, answer.encode())

    def _take(self, rooms: dict[str, Json]) -> None:
        crowd = {"membership": "join", "displayname": "unasked"}
        for number in range(CHILDREN):
            child = self._event(CHILD, f"!nowhere-{number}:hs.test", via=["hs.test"])
            rooms[self.wide]["required_state"].append(child)
            member = self._event("m.room.member", f"@{number}:hs.test", **crowd)
            rooms[self.foreign]["required_state"].append(member)
        for room in rooms.values():
            topic = self._event("m.room.topic", "", topic="unasked")
            room["required_state"].append(topic)
        shown = {r: json.dumps(rooms[r]) for r in rooms if r not in self.hidden}
        self._shown = shown | {
            self.named(number, room): self.named(number, shown[room])
            for number in range(1, HOMES)
            for room in self.home
        }

    def _event(self, kind: str, key: str, **content: object) -> Json:
        return {
            "type": kind,
            "state_key": key,
            "content": content,
            "sender": self.owner.user_id,
            "event_id": f"${kind}-{key}",
            "origin_server_ts": 1,
        }

    def _window(self, first: int, end: int) -> str:
        window = itertools.islice(self._shown.items(), first, end)
        rooms = ",".join(f'"{room}": {said}' for room, said in window)
        every = f'{{"all": {{"count": {len(self._shown)}}}}}'
        return f'{{"lists": {every}, "rooms": {{{rooms}}}}}'


@pytest.mark.scenario(66)
async def test_66_a_thousand_homes_are_one_snapshot(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """11,000 rooms, 1,000 children, 60 kB states: one snapshot, and what it left out.

    Nobody asks for children that the bot is not in, nor for what is known. What decides
    nothing is not kept, and a word is answered while the bot looks at all of it."""
    (
        (alice, space, chats),
        (bob, bobs, hidden),
        (carol, wide, (named, bound)),
    ) = await asyncio.gather(
        city.home("alice", CHATS), city.home("bob", 2), city.home("carol", 2)
    )
    large = {"v": 1, "platform_chat_id": "large", "extra": "x" * 60_000}
    await asyncio.gather(
        city.bot.put_state(named, "m.room.name", {"name": "x" * 60_000}),
        city.bot.put_state(bound, BINDING, large, city.bot.user_id),
        city.bot.put_state(wide, "m.room.topic", {"topic": "unasked" * 8_000}),
    )
    foreign = await bob.create_room(invite=[city.bot.user_id])
    await city.bot.join(foreign)
    town = Multiplied(alice, [space, *chats], wide, foreign, hidden)
    rows = {
        wide: a_space(carol),
        named: a_chat(carol, wide, 1),
        bound: a_chat(carol, wide, 2, platform="large"),
        bobs: a_space(bob),
    } | {room: a_chat(bob, bobs, n) for n, room in enumerate(hidden, 1)}
    home = {space: a_space(alice)}
    home |= {room: a_chat(alice, space, n) for n, room in enumerate(chats, 1)}
    for number in range(HOMES):
        rows |= {
            town.named(number, room): Bound._make(
                value and town.named(number, value) for value in row
            )
            for room, row in home.items()
        }
    server = await city.server()
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        proxy.at(lists_rooms, town, times=ANY)
        first = await city.once()
        asked = Counter(map(kind, proxy.requests))
        assert asked == {
            "GET v3/account/whoami": 2,
            "GET versions": 1,
            "GET v3/sync once": 1,  # the position that the look is kept for
            "GET v3/joined_rooms": 2,
            "POST unstable/org.matrix.simplified_msc3575/sync": math.ceil(
                (len({*rows, foreign}) - len(hidden)) / WINDOW
            ),
            "GET v3/rooms/*/state/m.room.create": len(hidden),
            "GET v3/rooms/*/state": len(hidden),
        }
        found = {room: Bound.of(row) for room, row in city.rows().items()}
        assert {
            r for r in rows.keys() | found.keys() if rows.get(r) != found.get(r)
        } == set()
        assert len(city.users()) == HOMES + 2
        assert len(city.chats()) == HOMES * CHATS + 4
        assert first.decided.want.findings == ()
        shown = document(
            first.decided.want,
            account=city.bot.user_id,
            homeserver=proxy.url,
            complete=True,
            observed_at=0,
        )
        assert problems("topology", shown) == []
        assert rows == {
            room: Bound.of(said) for room, said in shown["spec"]["rooms"].items()
        }
        kept = dict(city.query("SELECT room_id, length(fact) FROM facts"))
        assert sum(kept.values()) < len(kept) * 1_000
        assert kept[foreign] < 1_000
        assert b"unasked" not in city.path.read_bytes()

        before = city.dump()
        del proxy.requests[:]
        second = await city.once()
        assert second.result == "in sync"
        assert city.dump() == before
        assert Counter(map(kind, proxy.requests)) == {
            "GET v3/account/whoami": 2,
            "GET v3/sync live": 1,
        }

        async def answered() -> None:
            heard.append(await exchange(Person(alice), chats[0]))

        heard: list[str] = []
        city.bot = replace(city.bot, url=proxy.url)  # as the file knows it
        async with living(city, platform) as bot:
            # The snapshot is there, and nothing is decided before the rest is.
            seen = proxy.at("GET .*/state", Before(answered))
            monkeypatch.setattr(Reconciler, "is_outdated", lambda *_: True)
            bot._loop.nudge()
            await seen.struck()
        assert platform.heard == {conversation(alice, 1): heard}
    city.bot = replace(city.bot, url=homeserver.url)
    assert city.dump() == before
    assert await city.server() == server
