"""Everything that the bot ever says, and to whom it may have been said.

word = await hearing.say(alice, room)      # something nobody said before
await hearing.asks(alice, room, "!new")    # has been answered by a notice
await hearing.judge(rows)                  # who must be answered is, once; nobody else
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from adapter.cli.account import Account, Json
from tests.adapter.matrix.live import PATIENCE, Backend
from tests.faults.machine import Rows

_FILTER: Final = {
    "presence": {"types": []},
    "room": {
        "ephemeral": {"types": []},
        "state": {"types": ["m.room.message"]},
        "timeline": {"types": ["m.room.message"], "limit": 100},
    },
}
_NUMBER: Final = re.compile(r"^\d+: ")


class Word(NamedTuple):
    """What somebody said, who may want an answer."""

    room: str
    sender: str
    text: str
    event_id: str
    at: float
    """Ms since the epoch."""


@dataclass
class Hearing:
    """Hears with the bot's own account, by long polls that disturb no other."""

    bot: Account
    platform: Backend
    apart: str
    """A room where nothing is counted."""
    words: dict[str, Word] = field(default_factory=dict)
    """Text -> the word, of all that were ever said."""
    open: list[Word] = field(default_factory=list)
    """Those that are not judged yet."""
    asked: Counter[str] = field(default_factory=Counter)
    """Room -> how often something was said to the bot there that it may answer itself."""
    events: dict[str, tuple[str, Json]] = field(default_factory=dict)
    """Event id -> room and message of the bot."""
    _since: str | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def say(self, who: Account, room: str) -> None:
        text, at = f"word {next(self._numbers)}", time.time() * 1000
        word = Word(room, who.user_id, text, await who.send(room, text), at)
        self.words[text] = word
        self.open.append(word)
        self.asked[room] += 1

    async def asks(self, who: Account, room: str, command: str) -> None:
        """Say a command, and return when a notice says what came of it."""
        await self.look()
        before = self.notices(room)
        self.asked[room] += 1
        await who.send(room, command)
        await self.noticed(room, before + 1)

    async def noticed(self, room: str, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.notices(room) < count:
                await self.look(wait_ms=5_000)

    async def judge(self, rows: Rows) -> None:
        """Every word is answered once that a chat's owner said in it, in the chat's
        conversation; nobody else is, and nothing is said where nobody asked."""
        due = [
            word
            for word in self.open
            if is_routed(word, rows) and await self._was_there(word)
        ]
        try:
            async with asyncio.timeout(PATIENCE):
                while not {word.text for word in due} <= self.answers().keys():
                    await self.look(wait_ms=5_000)
        except TimeoutError as exc:
            msg = f"not all of {due} are answered: {self.answers()}"
            raise AssertionError(msg) from exc
        for word in due:
            heard = self.platform.heard.get(rows[word.room]["platform_chat_id"], [])
            assert word.event_id in heard, word
        for word in self.open:
            assert self.answers()[word.text] == (word in due), (word, rows[word.room])
        self.open.clear()
        self.conclude()

    def conclude(self) -> None:
        """Nothing was said twice, or unasked."""
        for text, count in self.answers().items():
            assert count == 1, text
        for room, asked in self.asked.items():
            assert self.notices(room) <= asked, room
        for room, event in self.events.values():
            assert room in self.asked, event

    async def _was_there(self, word: Word) -> bool:
        """What was said before the bot came, or came again, is never answered."""
        came = await self.bot.state_event(word.room, "m.room.member", self.bot.user_id)
        at: int = came["origin_server_ts"]
        return at < word.at

    # What was heard

    def answers(self) -> Counter[str]:
        """Text -> how often the platform's answer to it was said, in whatever room."""
        return Counter(
            _NUMBER.sub("", event["content"]["body"])
            for room, event in self.events.values()
            if event["content"].get("msgtype") == "m.text"
        )

    def notices(self, room: str) -> int:
        return sum(
            where == room and event["content"].get("msgtype") == "m.notice"
            for where, event in self.events.values()
        )

    async def look(self, wait_ms: int = 0) -> None:
        answer = await self.bot.sync(self._since, wait_ms=wait_ms, sync_filter=_FILTER)
        self._since = answer["next_batch"]
        for section in ("join", "leave"):
            for room, news in answer.get("rooms", {}).get(section, {}).items():
                for event in news["timeline"]["events"]:
                    if event["sender"] == self.bot.user_id and room != self.apart:
                        self.events[event["event_id"]] = (room, event)


def is_routed(word: Word, rows: Rows) -> bool:
    """Its room is a chat in use, of whoever said it (setting `routing`: owner)."""
    row = rows.get(word.room)
    return (
        row is not None
        and row["room_type"] == "chat"
        and row["status"] == "active"
        and row["matrix_user_id"] == word.sender
    )
