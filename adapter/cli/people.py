"""People who talk to the bot: what they do in their clients, and what these show.

A person hears everything, in order, and waits for it by long polls; nothing sleeps.

    alice = Person(person)
    room = await alice.direct(bot)
    await alice.say(room, "hello")
    [answer] = await alice.hears(room)
    assert (answer["msgtype"], answer["body"]) == ("m.text", "1: hello")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote

from adapter.cli.account import Account, Json

PATIENCE: Final = 60.0
"""Seconds that a person waits for anything."""

_POLL_MS: Final = 10_000
_FILTER: Final = {
    "presence": {"types": []},
    "room": {"timeline": {"limit": 100}, "ephemeral": {"types": []}},
}


class Person:
    """Somebody in front of a client of their own. `account` does all the rest.

    Two of them for one account are two clients: what one has heard, the other has not."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._since: str | None = None
        self._invitations: dict[str, None] = {}
        self._timelines: dict[str, list[Json]] = {}
        self._heard: dict[str, int] = {}

    @property
    def user_id(self) -> str:
        return self.account.user_id

    # Rooms

    async def direct(self, who: Account, **more: Any) -> str:
        """Start a direct chat with `who` as Element does, and return its room."""
        return await self.account.direct(who.user_id, **more)

    async def invited(self, count: int = 1) -> list[str]:
        """Return the rooms that invite this person, once there are `count` of them."""
        await self._until(
            lambda: len(self._invitations) >= count,
            lambda: (
                f"{self.user_id} has {len(self._invitations)} of {count} invitations"
            ),
        )
        return list(self._invitations)

    async def accept(self, count: int = 1) -> list[str]:
        """Wait for `count` invitations, join every room that invites, and return them."""
        rooms = await self.invited(count)
        for room in rooms:
            await self.account.join(room)
            self._invitations.pop(room, None)
        return rooms

    async def sees(self, room: str, who: Account, membership: str = "join") -> None:
        """Return when `who` is in the room, or whatever else `membership` says.

        A room that this person has seen something of: their own, or one they joined."""

        def now() -> str | None:
            return _membership(self._timelines.get(room, ()), who.user_id)

        await self._until(
            lambda: now() == membership,
            lambda: f"{who.user_id} is {now()} and not {membership} in {room}",
        )

    # Words

    async def say(self, room: str, text: str, **more: Any) -> str:
        """Say it, and return its event id; `more` is for `Account.send`."""
        return await self.account.send(room, text, **more)

    async def hears(
        self, room: str, n: int = 1, *, sender: Account | None = None
    ) -> list[Json]:
        """Return the contents of the next `n` messages that others, or `sender`, said.

        They follow the last one heard, in the order of the room; what others say than
        `sender` is passed over. `TimeoutError` tells what was heard instead."""

        def next_ones() -> list[tuple[int, Json]]:
            return self.unheard(room, sender)[:n]

        await self._until(
            lambda: len(next_ones()) == n,
            lambda: told(room, n, (event for _, event in next_ones())),
        )
        heard = next_ones()
        if heard:
            self._heard[room] = heard[-1][0] + 1
        return [event["content"] for _, event in heard]

    def unheard(self, room: str, sender: Account | None) -> list[tuple[int, Json]]:
        """What was said since, each with its place in the timeline."""
        start = self._heard.get(room, 0)
        return [
            (place, event)
            for place, event in enumerate(self._timelines.get(room, ())[start:], start)
            if _is_said(event)
            and event["sender"] != self.user_id
            and (sender is None or event["sender"] == sender.user_id)
        ]

    # Looking

    async def _until(
        self, condition: Callable[[], bool], instead: Callable[[], str]
    ) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await self.look(wait_ms=_POLL_MS)
        except TimeoutError as exc:
            msg = f"after {PATIENCE:g} s {instead()}"
            raise TimeoutError(msg) from exc

    async def look(self, wait_ms: int = 0) -> None:
        """Take in what happened since; it can be broken off, and done again."""
        answer = await self.account.sync(
            self._since, wait_ms=wait_ms, sync_filter=_FILTER
        )
        rooms = answer.get("rooms", {})
        for room in rooms.get("invite", {}):
            self._invitations[room] = None
        for section in ("join", "leave"):
            for room, news in rooms.get(section, {}).items():
                self._invitations.pop(room, None)
                await self._take(room, news["timeline"])
        self._since = answer["next_batch"]

    async def _take(self, room: str, timeline: Json) -> None:
        seen = self._timelines.setdefault(room, [])
        known = {event["event_id"] for event in seen}
        events = timeline["events"]
        if timeline["limited"]:
            events = await self._before(room, timeline["prev_batch"], known) + events
        for event in events:
            if event["event_id"] not in known:
                known.add(event["event_id"])
                seen.append(event)

    async def _before(
        self, room: str, start: str | None, known: set[str]
    ) -> list[Json]:
        """Return what came before `start`, oldest first, back to what is known."""
        newest_first: list[Json] = []
        while start is not None:
            page = await self.account.call(
                "GET",
                f"rooms/{quote(room, safe='')}/messages",
                dir="b",
                limit=100,
                **{"from": start},
            )
            newest_first += page["chunk"]
            if any(event["event_id"] in known for event in page["chunk"]):
                break
            start = page.get("end")
        return newest_first[::-1]


def _is_said(event: Json) -> bool:
    """A message that is still there: a redacted one has no content."""
    return event["type"] == "m.room.message" and "msgtype" in event["content"]


def _membership(timeline: Iterable[Json], user_id: str) -> str | None:
    newest: str | None = None
    for event in timeline:
        if event["type"] == "m.room.member" and event.get("state_key") == user_id:
            newest = event["content"].get("membership")
    return newest


def told(room: str, n: int, said: Iterable[Json]) -> str:
    lines = [
        f"\n  {event['sender']} {event['content']['msgtype']}: {event['content'].get('body')}"
        for event in said
    ]
    return f"{len(lines)} of {n} messages were heard in {room}{''.join(lines)}"
