"""The whole story once, on a homeserver that lives as long as the demo.

Every sentence with a mark in front was checked; one that is false makes it exit 1.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import textwrap
from contextlib import AsyncExitStack
from pathlib import Path

import click

from adapter.cli.account import CallFailed, Json
from adapter.cli.claims import Claims, act, say
from adapter.cli.people import Person
from adapter.cli.processes import BotEnded, BotProcess
from adapter.cli.progress import progress
from adapter.cli.stage import Stage, State, Talk, leads_to, stage, without_links


def main() -> int:
    """Tell the story; 1 if anything that was said in it is false."""
    try:
        return asyncio.run(_demo())
    except asyncio.CancelledError:
        raise click.Abort from None


async def _demo() -> int:
    here = asyncio.current_task()
    if here is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    claims = Claims()
    folder = Path(tempfile.mkdtemp(prefix="spacekeeper-demo-"))
    try:
        async with AsyncExitStack() as stack:
            await Story(claims, stack, folder).tell()
    except (TimeoutError, CallFailed, BotEnded) as error:
        # What was waited for did not come: the text says what, and what came instead.
        claims.check("the story goes on", False)
        say("\n".join([str(error), *getattr(error, "__notes__", ())]))
    finally:
        shutil.rmtree(folder)
    return claims.verdict()


class Story:
    """Seven acts; each finds the world as the one before left it."""

    stage: Stage
    process: BotProcess
    chat: Talk
    travel: Talk
    bobs: Talk
    _before: tuple[str, str]
    _rooms: int
    _state: State
    _words: set[str]

    def __init__(self, claims: Claims, stack: AsyncExitStack, folder: Path) -> None:
        self._claims = claims
        self._stack = stack
        self._folder = folder

    async def tell(self) -> None:
        await self._meet()
        await self._onboard()
        await self._talk()
        await self._lose_everything()
        await self._plan()
        await self._come_back()
        await self._end()

    def _check(self, claim: str, truth: bool) -> None:
        self._claims.check(claim, truth)

    async def _meet(self) -> None:
        act(1, "A homeserver, a bot, and two people")
        async with progress("starting"):
            self.stage = await self._stack.enter_async_context(stage(self._folder))
            self.process = await self._start_bot()
        say(f"a real Synapse at {self.stage.server.url}, gone when this ends")
        say(f"{self.stage.bot.user_id}: `spacekeeper run`, process {self.process.pid}")
        say(f"{self.stage.alice.user_id} and {self.stage.bob.user_id}")

    async def _start_bot(self) -> BotProcess:
        return await self._stack.enter_async_context(self.stage.running_bot())

    async def _onboard(self) -> None:
        act(2, "Both start a direct chat with the bot")
        async with progress("the bot makes their rooms"):
            (self.chat, notice), (self.bobs, another) = await asyncio.gather(
                self._welcome(self.stage.alice), self._welcome(self.stage.bob)
            )
        for talk, told in ((self.chat, notice), (self.bobs, another)):
            self._check(
                f"{talk.who} has a Space and a chat in it, made by the bot",
                await self.stage.is_in_order(talk),
            )
            self._check(f"{talk.who} is told where to write", leads_to(told, talk.room))
        say("what Alice is told:")
        say(textwrap.indent(without_links(notice["body"]), "| ", lambda _: True))

    async def _welcome(self, person: Person) -> tuple[Talk, Json]:
        direct = await person.direct(self.stage.bot)
        one, other = await person.accept(2)
        space, room = (one, other) if await self.stage.is_space(one) else (other, one)
        [notice] = await person.hears(direct)
        return Talk(person, space, room, "Chat 1"), notice

    async def _talk(self) -> None:
        act(3, "Alice makes another chat, and both talk")
        alice = self.stage.alice
        async with progress("the bot makes the room"):
            await alice.say(self.chat.room, "!new Travel")
            [room] = await alice.accept()
        self.travel = Talk(alice, self.chat.space, room, "Travel")
        title = await alice.account.state_event(room, "m.room.name", format="content")
        self._check(
            'Alice says "!new Travel", and the room is in her Space',
            title["name"] == "Travel" and await self.stage.is_in_order(self.travel),
        )
        for talk, text in (
            (self.chat, "hello"),
            (self.chat, "how are you?"),
            (self.travel, "where shall we go?"),
            (self.bobs, "good morning"),
        ):
            await talk.say(text)
            await self._answered(talk)
        say(
            "(the backend here is an echo that counts: one count for each conversation)"
        )

    async def _answered(self, talk: Talk) -> None:
        heard, right = await talk.answer()
        where = f"{talk.who} in {talk.title}"
        self._check(f"{where}: {talk.said[-1]}  ->  {heard}", heard == right)

    async def _lose_everything(self) -> None:
        act(4, "The bot is killed, and its database deleted")
        async with progress("taking note of how things are"):
            self._before = await self.stage.exported()
            self._rooms = await self.stage.rooms()
            self._state = await self.stage.state()
        await self.bobs.say("are you there?")
        code = await self.process.kill()
        self._check(
            f"Bob says: {self.bobs.said[-1]} - and at that moment the bot is killed",
            code == -signal.SIGKILL,
        )
        self._words = {event["event_id"] for event in await self.stage.words()}
        await self.travel.say("what about the sea?")
        say(f"Alice says in Travel, to nobody: {self.travel.said[-1]}")
        delete(self.stage.database())
        self._check("the database is deleted", not self.stage.database())

    async def _plan(self) -> None:
        act(5, "What would a pass do?")
        async with progress("spacekeeper plan"):
            code, shown, warning = await self.stage.run("plan")
        say(f"$ spacekeeper plan\n{warning}{shown}")
        self._check("the exit code is 2: drift", code == 2)
        made = {room for talk in self._talks() for room in (talk.space, talk.room)}
        self._check(
            f"each of the {len(made)} rooms that the bot made is to be put into it again",
            all(f"+ room {room} " in shown for room in made),
        )
        self._check("looking made no database", not self.stage.database())

    async def _come_back(self) -> None:
        act(6, "The bot starts again")
        async with progress("rebuilding the database"):
            self.process = await self._start_bot()
        await self._answered(self.travel)
        await self._answered(self.bobs)
        for talk, text in ((self.bobs, "there you are"), (self.chat, "welcome back")):
            await talk.say(text)
            await self._answered(talk)
        async with progress("comparing"):
            after = await self.stage.exported()
            rooms = await self.stage.rooms()
            state = await self.stage.state()
        self._check(f"the server has {rooms} rooms, as before", rooms == self._rooms)
        self._check("no state event on it is new", state == self._state)
        self._check(
            f"the `spec` of the exported document is the same in all its {len(after[0].encode())} bytes",
            {*after, *self._before} == {self._before[0]} and bool(self._before[0]),
        )
        say("(of the lost database, of the new one, and of Matrix alone)")

    async def _end(self) -> None:
        act(7, "The bot is told to stop")
        async with progress("stopping"):
            code = await self.process.terminate()
        self._check("SIGTERM ends it with exit code 0", code == 0)
        words = await self.stage.words()
        talks = self._talks()
        answers = [
            [
                event["content"]["body"]
                for event in words
                if event["room_id"] == talk.room
                and event["content"]["msgtype"] != "m.notice"
            ]
            for talk in talks
        ]
        self._check(
            f"all {sum(map(len, answers))} messages were answered, each once, in order",
            answers == [talk.right_answers() for talk in talks],
        )
        right = {said for talk in talks for said in talk.right_answers()}
        self._check(
            "since the kill the bot has said nothing else, in any room",
            all(
                event["content"]["body"] in right
                for event in words
                if event["event_id"] not in self._words
            ),
        )

    def _talks(self) -> tuple[Talk, ...]:
        return self.chat, self.travel, self.bobs


def delete(files: list[Path]) -> None:
    for file in files:
        file.unlink()
