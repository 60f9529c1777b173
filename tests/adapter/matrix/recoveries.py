"""Stories of a start that has something to mend: in Matrix, or in its file."""

from __future__ import annotations

import asyncio

from tests.adapter.matrix.city import BINDING, CHILD, chat_identity, derived
from tests.adapter.matrix.stories import Story, history
from tests.people import Person

HERE = {"via": ["hs.test"]}


class Backfill(Story):
    """Dora's five chats are from before identities were written, and so is her Space: six
    records are due, beside carol's two."""

    about = "binding|publications|room_meta"

    async def prepare(self, url: str) -> None:
        await super().prepare(url)
        dora, self.space, self.chats = await self.cast.city.old_home("dora", 5)
        self.dora = Person(dora)

    async def act(self) -> None:
        await self.cast.ask(self.dora, self.chats[0], "damson", "1: damson")
        self.turns.append(1)

    async def conclude(self) -> None:
        await super().conclude()
        await self._until_recorded({self.space, *self.chats})

    async def judge(self) -> None:
        await super().judge()
        bot = self.cast.city.bot
        for room in (self.space, *self.chats):
            [record] = await history(bot, room, BINDING, bot.user_id)
            if room != self.space:
                assert record["content"]["platform_chat_id"] == derived(room)

    async def _until_recorded(self, missing: set[str]) -> None:
        since: str | None = None
        async with asyncio.timeout(60):
            while missing := {
                r for r in missing if not await self.cast.city.binding(r)
            }:
                answer = await self.dora.account.sync(since, wait_ms=1_000)
                since = answer["next_batch"]


class OldFile(Story):
    """Bob's file is older than what was done in Matrix since: a chat of his was unlinked,
    and another one was made, which nobody has linked or told him of."""

    about = "m.space.child|invite|room_meta"

    async def prepare(self, url: str) -> None:
        await super().prepare(url)
        city = self.cast.city
        bob, self.space, [self.chat, self.unlinked] = await city.home("bob", 2)
        await city.startup()
        self.bob = Person(bob)
        await city.bot.unlink(self.space, self.unlinked)
        self.unfinished = await city.room(identity=chat_identity(bob, 3))

    async def act(self) -> None:
        await self.cast.ask(self.bob, self.chat, "damson", "1: damson")
        assert await self.bob.accept(1) == [self.unfinished]
        await self.cast.ask(self.bob, self.unfinished, "medlar", "1: medlar")
        self.turns += [1, 1]

    async def judge(self) -> None:
        await super().judge()
        city, bob = self.cast.city, self.bob.account
        bobs = (self.space, self.chat, self.unlinked, self.unfinished)
        statuses = [city.status(room) for room in bobs]
        assert statuses == ["active", "active", "detached: unlinked", "active"]
        # Carol has two.
        assert len(await city.bot.joined_rooms()) == 2 + len(bobs)
        links = await history(city.bot, self.space, CHILD, self.unfinished)
        assert [link["content"] for link in links] == [HERE]
        members = await history(city.bot, self.unfinished, "m.room.member", bob.user_id)
        assert [m["content"]["membership"] for m in members] == ["join", "invite"]


class DamagedFile(OldFile):
    """The same, and nobody can read the file any more."""

    about = ": create"

    async def prepare(self, url: str) -> None:
        await super().prepare(url)
        file = self.cast.city.path
        file.write_bytes(file.read_bytes()[:5000])
