"""People and their bot, told so that the bot may die at any moment of it.

Only people act in a story, and they wait for what the bot does: whether it was killed in
between and started again is no part of it. What must be true in the end is read from the
server and, with plain sqlite3, from the bot's files.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from adapter.cli.account import Account, CallFailed, Json
from tests.adapter.matrix.city import CHILD, IDENTITY, City, client_of
from tests.bots import BotProcess, running, write_config
from tests.conftest import Accounts
from tests.faults.crashes import Start
from tests.people import Person

CHECKPOINT = "io.spacekeeper.checkpoint"

_MOMENT = "this takes a moment"
"""In the notice that it is not certain yet whether a room was made: said as may be."""


class Neighbourhood(City):
    """A city that is not alone on its server: only what is in its own rooms counts."""

    async def position(self) -> tuple[str, ...]:
        found = await self.server()
        return tuple(
            repr((room, sorted(found[room].items()))) for room in sorted(found)
        )


@asynccontextmanager
async def neighbourhood(
    accounts: Accounts, folder: Path
) -> AsyncIterator[Neighbourhood]:
    """A city with a bot of its own, beside others."""
    bot = await accounts("bot")
    client = client_of(bot)
    try:
        yield Neighbourhood(bot, folder / "bot.db", client, accounts)
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@dataclass
class Told:
    """What people said in one room, and what they must have been told there, once."""

    answers: list[str] = field(default_factory=list)
    """Of the platform, in order."""
    notices: int = 0
    """How often the bot spoke of itself."""


@dataclass
class Cast:
    """Who plays in a story: the bot with its city, and whoever talks to it."""

    city: City
    rooms: dict[str, Told] = field(default_factory=dict)
    spoken: set[str] = field(default_factory=set)
    """All that people said: none of it belongs into a log."""

    async def person(self, name: str) -> Person:
        return Person(await self.city.person(name))

    def of(self, room: str) -> Told:
        return self.rooms.setdefault(room, Told())

    async def tell(self, who: Person, room: str, text: str, answer: str) -> None:
        """Say a word that has to be answered with `answer`, sooner or later."""
        self.spoken.add(text)
        self.of(room).answers.append(answer)
        await who.say(room, text)

    async def ask(self, who: Person, room: str, text: str, answer: str) -> None:
        """Say a word, and wait for the answer."""
        await self.tell(who, room, text, answer)
        heard = await self.hear(who, room)
        assert (heard["msgtype"], heard["body"]) == ("m.text", answer)

    async def command(self, who: Person, room: str, text: str) -> None:
        """Give a command, and wait for what the bot says of it."""
        self.spoken.add(text)
        await who.say(room, text)
        await self.notice(who, room)

    async def notice(self, who: Person, room: str) -> None:
        self.of(room).notices += 1
        assert (await self.hear(who, room))["msgtype"] == "m.notice"

    async def hear(self, who: Person, room: str) -> Json:
        """The next thing that the bot says in the room, but for `_MOMENT`."""
        while True:
            [heard] = await who.hears(room, sender=self.city.bot)
            if _MOMENT not in heard["body"]:
                return heard


# --- what must be true in the end -----------------------------------------------------


async def assert_all_said_once(cast: Cast) -> None:
    """Every word was answered once, in order, and nothing else was said."""
    for room, told in cast.rooms.items():
        answers, notices = [], 0
        for event in reversed(await whole(cast.city.bot, room)):
            content = event["content"]
            if event["type"] != "m.room.message" or (
                event["sender"] != cast.city.bot.user_id
            ):
                continue
            if content["msgtype"] == "m.text":
                answers.append(content["body"])
            else:
                notices += _MOMENT not in content["body"]
        assert Told(answers, notices) == told, room


async def assert_home(cast: Cast, owner: Account, changes: list[int]) -> None:
    """The owner has one Space, and a chat for each of `changes`, each made once.

    A number in `changes` says how often the chat's child event changed; the owner was
    invited once to each room and joined."""
    city = cast.city
    spaces, chats = [], {}
    for room in await city.bot.joined_rooms():
        said = await identity(city, room)
        if said.get("owner") == owner.user_id:
            if said["kind"] == "space":
                spaces.append(room)
            else:
                assert said["chat_id"] not in chats
                chats[said["chat_id"]] = room
    [space] = spaces
    assert sorted(chats) == [f"C{n}" for n in range(1, len(changes) + 1)]
    for (number, room), count in zip(sorted(chats.items()), changes, strict=True):
        says = await city.binding(room) or await identity(city, room)
        bound = ("chat", owner.user_id, space, number, says["platform_chat_id"])
        assert city.bound(room) == bound
        links = await history(city.bot, space, CHILD, room)
        assert len(links) == count
    for room in (space, *chats.values()):
        members = await history(city.bot, room, "m.room.member", owner.user_id)
        assert [m["content"]["membership"] for m in members] == ["join", "invite"]


async def identity(city: City, room: str) -> Json:
    """What a room says of itself since its first instant, maybe nothing."""
    created = await city.has(room, "m.room.create")
    assert created is not None
    found: Json = created.get(IDENTITY, {})
    return found


def assert_turns_without_gaps(folder: Path, turns: list[int]) -> None:
    """Each conversation of the echo platform counted from 1 on; `turns` are the ends."""
    with closing(sqlite3.connect(folder / "echo.db")) as database:
        found = database.execute(
            "SELECT min(n), max(n), count(*) FROM turns GROUP BY platform_chat_id"
        ).fetchall()
    assert all(row == (1, row[1], row[1]) for row in found), found
    assert sorted(row[1] for row in found) == sorted(turns)


async def history(account: Account, room: str, event_type: str, key: str) -> list[Json]:
    """All events that ever set this state, the newest first."""
    return [
        event
        for event in await whole(account, room)
        if event["type"] == event_type and event.get("state_key") == key
    ]


async def whole(account: Account, room: str) -> list[Json]:
    """Every event of the room, the newest first."""
    return await account.messages(room, limit=1000)


# --- stories --------------------------------------------------------------------------


class Story:
    """Carol has rooms from before identities were written; alice has nothing yet."""

    about = ""
    """A pattern of the points that are met in no other story; nothing: it is of all."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.folder = cast.city.path.parent
        self.turns: list[int] = []
        """How many turns each conversation must have had in the end."""
        self._carols = self._heard = 0

    async def prepare(self, url: str) -> None:
        """What there is before the bot runs for the first time."""
        city = self.cast.city
        city.client.homeserver = url  # as the file will remember it
        self.alice = await self.cast.person("alice")
        carol, _, [self.old] = await city.old_home("carol")
        self.carol = Person(carol)
        # History: nobody ever answers it.
        self.cast.of(self.old)
        await self.carol.say(self.old, "gooseberry")

    async def act(self) -> None:
        """What people do from when the bot is ready."""
        raise NotImplementedError

    async def between(self) -> None:
        """Nobody runs: somebody who has no other part says a word, and does not wait."""
        try:
            await self.cast.city.bot.account_data(CHECKPOINT)
        except CallFailed:
            return  # the bot never came so far as to know what is history
        self._carols += 1
        word = f"cloudberry {self._carols}"
        await self.cast.tell(self.carol, self.old, word, f"{self._carols}: {word}")

    async def lose_file(self) -> None:
        self.cast.city.forget()

    async def conclude(self) -> None:
        """Everybody waits for what they did not wait for."""
        await self.carol.hears(self.old, self._carols - self._heard)
        self._heard = self._carols

    async def onboarded(self, direct: str) -> str:
        """Alice is led to her rooms, and joins them; returns her chat."""
        await self.cast.notice(self.alice, direct)
        return await self.joined(2)

    async def joined(self, count: int) -> str:
        """Alice joins `count` rooms that invite her; returns the newest chat of these."""
        rooms = await self.alice.accept(count)
        chats = [
            room
            for room in rooms
            if (await identity(self.cast.city, room)).get("kind") == "chat"
        ]
        return chats[0]

    async def judge(self) -> None:
        """Read what came of it; the bot does not run any more."""
        await self.cast.city.once()
        await self.cast.city.settled()
        await assert_all_said_once(self.cast)
        carols = [self._carols] if self._carols else []
        assert_turns_without_gaps(self.folder, self.turns + carols)


def bot_of(story: Story) -> Start:
    """How the bot of a story is started."""

    def start(url: str, via: Sequence[str]) -> AbstractAsyncContextManager[BotProcess]:
        config = write_config(
            story.folder,
            story.cast.city.bot,
            url,
            database=story.cast.city.path.name,
            rooms={"settle": "500ms"},
        )
        return running(config, via=via)

    return start


class Arrival(Story):
    """Alice invited the bot before it ever ran; she joins what it makes, and speaks."""

    async def prepare(self, url: str) -> None:
        await super().prepare(url)
        self.direct = await self.alice.direct(self.cast.city.bot)

    async def act(self) -> None:
        chat = await self.onboarded(self.direct)
        await self.cast.ask(self.alice, chat, "apricot", "1: apricot")
        self.turns.append(1)

    async def judge(self) -> None:
        await super().judge()
        await assert_home(self.cast, self.alice.account, [1])
        assert len(await self.cast.city.bot.joined_rooms()) == 2 + 1 + 2


class Day(Story):
    """Alice comes, talks, makes another chat, names and resets the first, archives the
    other, and takes it back.

    Bob, who has his rooms already, talks as well."""

    async def prepare(self, url: str) -> None:
        await super().prepare(url)
        bob, _, [self.bobs] = await self.cast.city.home("bob")
        self.bob = Person(bob)

    async def act(self) -> None:
        cast, alice = self.cast, self.alice
        await cast.ask(self.bob, self.bobs, "damson", "1: damson")
        chat = await self.onboarded(await alice.direct(cast.city.bot))
        await cast.ask(alice, chat, "apricot", "1: apricot")
        await cast.command(alice, chat, "!new Bilberry")
        other = await self.joined(1)
        await cast.ask(alice, other, "elderberry", "1: elderberry")
        await cast.command(alice, chat, "!reset")
        await cast.ask(alice, chat, "fig", "1: fig")
        await cast.command(alice, other, "!archive")
        await cast.ask(alice, chat, "lime", "2: lime")
        await cast.command(alice, chat, "!restore C2")
        await cast.command(alice, chat, "!rename Olive")
        await cast.ask(alice, other, "nectarine", "2: nectarine")
        await cast.ask(self.bob, self.bobs, "medlar", "2: medlar")
        self.turns += [2, 1, 2, 2]
        self.chat = chat

    async def judge(self) -> None:
        await super().judge()
        await assert_home(self.cast, self.alice.account, [1, 3])
        names = await history(self.cast.city.bot, self.chat, "m.room.name", "")
        assert [name["content"]["name"] for name in names] == ["Olive", "Chat 1"]
        assert len(await self.cast.city.bot.joined_rooms()) == 2 + 2 + 1 + 3
