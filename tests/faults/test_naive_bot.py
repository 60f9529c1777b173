"""The crash harness with somebody else's bot: what it finds, and what mends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path

import pytest

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from adapter.cli.processes import BotProcess, started
from tests.conftest import Accounts
from tests.faults.crashes import Crash, Lived, Tally, lived, points, side_by_side
from tests.people import Person

WORDS = ["apple", "pear"]


class Chat:
    """Alice says two words to the bot, one after the other, and hears each again.

    The second exchange proves that the bot is through with what came before it."""

    def __init__(self, folder: Path, bot: Account, alice: Person) -> None:
        self.folder, self.bot, self.alice = folder, bot, alice

    async def prepare(self, url: str) -> None:
        login = {"homeserver": url, "user_id": self.bot.user_id}
        login |= {"access_token": self.bot.login.access_token}
        login |= {"device_id": self.bot.login.device_id}
        (self.folder / "login.json").write_text(json.dumps(login))
        self.room = await self.alice.direct(self.bot)
        await self.bot.join(self.room)

    async def act(self) -> None:
        for word in WORDS:
            await self.alice.say(self.room, word)
            await self.alice.hears(self.room)

    async def between(self) -> None: ...

    async def conclude(self) -> None: ...

    async def lose_file(self) -> None:
        raise AssertionError(
            "nobody asks for it: this bot does not claim to survive that"
        )

    async def judge(self) -> None:
        said = [
            event["content"]["body"]
            for event in reversed(await self.bot.messages(self.room))
            if event["type"] == "m.room.message" and event["sender"] == self.bot.user_id
        ]
        assert said == WORDS


async def killed_everywhere(
    accounts: Accounts, url: str, folder: Path, *arguments: str
) -> Tally:
    """Kill it at the first of each of its writes, before and after."""
    numbers = count(1)

    async def live(crashes: Sequence[Crash]) -> Lived:
        home = folder / str(next(numbers))
        home.mkdir()
        chat = Chat(home, await accounts("bot"), Person(await accounts("alice")))

        def start(
            _url: str, via: Sequence[str]
        ) -> AbstractAsyncContextManager[BotProcess]:
            bot = ("tests.faults.naive_bot", "login.json", *arguments)
            return started(sys.executable, "-m", *via, *bot, folder=home)

        return await lived(chat, start, url, crashes)

    every = [
        crash
        for crash in points(await live([]))
        if (crash.file, crash.nth) == ("kept", 1)
        and (crash.what == "commit" or "/send/" in crash.kind)
    ]
    return await side_by_side([[crash] for crash in every], live)


async def test_what_the_harness_finds_in_an_ordinary_bot(
    accounts: Accounts, homeserver: Homeserver, tmp_path: Path
) -> None:
    """Killed between an answer and keeping its place, it answers again when it is back."""
    with pytest.raises(ExceptionGroup) as noticed:
        await killed_everywhere(accounts, homeserver.url, tmp_path)
    where = [error.__notes__[-1] for error in noticed.value.exceptions]
    assert any("after request #1 (PUT v3/rooms/*/send" in one for one in where)
    assert all(isinstance(one, AssertionError) for one in noticed.value.exceptions)


async def test_what_mends_it(
    accounts: Accounts, homeserver: Homeserver, tmp_path: Path
) -> None:
    """With a transaction id that derives from the event, it may be killed anywhere."""
    tally = await killed_everywhere(accounts, homeserver.url, tmp_path, "--careful")
    assert tally.points >= 4
    assert tally.missed == []
