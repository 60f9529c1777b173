"""The live bot in this process, on a real server, and a platform that tests command.

    async with living(city, platform):              # it has said that it is ready
        word = await alice.say(room, "hello")
        await alice.hears(room)
    assert platform.heard == {conversation: [word]}

What is said is heard in order, whatever the room: once a later word is answered, the
earlier ones are being handled, and at the end of the block they have been.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

from adapter.cli.account import Account
from adapter.config import Config, InviteSettings, RoomSettings, Secret
from adapter.matrix.bot import MatrixBot
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.platform.base import Message, Platform, Turn
from tests.adapter.matrix.city import City
from tests.people import Person

PATIENCE: Final = 60.0
"""Seconds that a test waits for the bot, or for its platform, before it fails."""


class Backend:
    """A platform that remembers who heard what, and does as the test says.

    It answers "2: hello" to the second turn of a conversation; the same event asked
    again is the same turn."""

    def __init__(self) -> None:
        self.heard: dict[str, list[str]] = {}
        """Conversation -> the events that it heard, in order, each once."""
        self.fault: Exception | None = None
        """What is raised in place of an answer."""
        self.answers: dict[str, Message] = {}
        """Text -> what is answered to it in place of the usual."""
        self._held: dict[str, asyncio.Event] = {}
        self._asked: dict[str, asyncio.Event] = {}

    async def answer(self, turn: Turn) -> tuple[Message, ...]:
        turns = self.heard.setdefault(turn.platform_chat_id, [])
        if turn.event_id not in turns:
            turns.append(turn.event_id)
        self._asked.setdefault(turn.text, asyncio.Event()).set()
        if turn.text in self._held:
            await self._held[turn.text].wait()
        if self.fault is not None:
            raise self.fault
        usual = Message(f"{turns.index(turn.event_id) + 1}: {turn.text}")
        return (self.answers.get(turn.text, usual),)

    def hold(self, text: str) -> None:
        """Do not answer `text` before it is released."""
        self._held[text] = asyncio.Event()

    def release(self, text: str) -> None:
        self._held.pop(text).set()

    async def asked(self, text: str) -> None:
        """Return when somebody's word `text` has arrived."""
        async with asyncio.timeout(PATIENCE):
            await self._asked.setdefault(text, asyncio.Event()).wait()


@asynccontextmanager
async def living(
    city: City, platform: Platform, **settings: Any
) -> AsyncIterator[MatrixBot]:
    """Run the bot until the end of the block, from when it is ready; then in order.

    `settings` are those of `Config`. What the bot raises, ends the block."""
    usual: dict[str, Any] = {
        "invites": InviteSettings(("*:hs.test",)),
        "rooms": RoomSettings(settle=0.5),
        # What happens is seen at once, and not found by a pass later on.
        "reconcile": ReconcileSettings(interval=3600.0),
    }
    login = city.bot.login
    config = Config(
        city.bot.url,
        login.user_id,
        Secret(login.access_token),
        database=city.path,
        **{**usual, **settings},
    )
    async with Store.open(
        city.path, user_id=login.user_id, homeserver=city.bot.url
    ) as store:
        bot = MatrixBot(city.client, store, platform, config)
        with _readiness() as ready:
            async with asyncio.TaskGroup() as group:
                group.create_task(bot.run())
                async with asyncio.timeout(PATIENCE):
                    await ready.wait()
                yield bot
                bot.stop()


@contextmanager
def _readiness() -> Iterator[asyncio.Event]:
    """An event that is set when the bot logs that it is ready, as an operator sees it."""
    ready = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "ready":
                ready.set()

    log, listener = logging.getLogger("adapter.matrix.bot"), Listener()
    level = log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        yield ready
    finally:
        log.removeHandler(listener)
        log.setLevel(level)


# --- what came of it ------------------------------------------------------------------


class Said(NamedTuple):
    """What the bot said in a room, oldest first."""

    answers: list[str]
    """What a platform answered: m.text."""
    notices: list[str]
    """What the bot said of itself: m.notice."""


async def said(city: City, room: str, *, seen_by: Account | None = None) -> Said:
    """All that the bot ever said in the room, as the bot, or somebody else, sees it."""
    found = Said([], [])
    for event in reversed(await (seen_by or city.bot).messages(room, limit=500)):
        content = event["content"]
        if event["type"] != "m.room.message" or event["sender"] != city.bot.user_id:
            continue
        kinds = {"m.text": found.answers, "m.notice": found.notices}
        kinds[content["msgtype"]].append(content["body"])
    return found


async def exchange(person: Person, room: str) -> str:
    """Say something in the room, wait for an answer, and return the event of the word.

    What was said before, in whatever room, is being handled then at the latest."""
    word = await person.say(room, "ping")
    answer = ""
    while not answer.endswith(": ping"):
        answer = (await person.hears(room))[0]["body"]
    return word
