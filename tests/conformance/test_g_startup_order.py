"""Scenarios 43 to 46: what is heard after a start, and what happens while it looks.

The same of a bot that is a process: `test_start_order.py`, `test_restart_persistence.py`
in `tests/adapter/matrix/`."""

from __future__ import annotations

import math

import pytest

from adapter.cli.homeserver import Homeserver
from adapter.matrix import channels, stream
from adapter.platform.base import Message, Turn
from tests.adapter.matrix.city import City, State, conversation
from tests.adapter.matrix.faulty import ANY
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.adapter.matrix.scene import CHECKPOINT
from tests.conformance.situation import Bound, a_chat, a_space, holds
from tests.faults import FAULTS, After, Proxy, Seen
from tests.faults.table import refusal
from tests.people import Person


class Listener(Backend):
    """A platform that notes each turn, and whether the bot had said that it is ready."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__()
        self._caplog = caplog
        self.turns: list[tuple[str, bool]] = []

    async def answer(self, turn: Turn) -> tuple[Message, ...]:
        self.turns.append((turn.event_id, "ready" in self._caplog.messages))
        return await super().answer(turn)


@pytest.mark.scenario(43)
async def test_43_what_was_said_while_the_bot_was_down_is_answered_once(
    city: City, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    """After READY and in order, whether the file is kept, lost, or of an earlier day."""
    owner, space, (chat,) = await city.home("alice")
    alice, platform, words = Person(owner), Listener(caplog), list[str]()
    async with living(city, platform):
        words.append(await exchange(alice, chat))
    old = city.path.read_bytes()

    def kept() -> None: ...

    def lost() -> None:
        city.forget()

    def earlier() -> None:
        city.forget()
        city.path.write_bytes(old)

    for become in (kept, lost, earlier):
        with subtests.test(become.__name__):
            become()
            words += [await alice.say(chat, word) for word in ("one", "two")]
            edit = {"rel_type": "m.replace", "event_id": words[-1]}
            await alice.say(chat, "* three", relates_to=edit)
            await alice.say(chat, "four", msgtype="m.notice")
            caplog.clear()
            async with living(city, platform):
                await alice.hears(chat, 2)
                words.append(await exchange(alice, chat))
            assert platform.turns == [(word, True) for word in words]
    answers, _ = await said(city, chat)
    assert [answer.partition(":")[0] for answer in answers] == [
        str(number) for number in range(1, len(words) + 1)
    ]
    await holds(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})


@pytest.mark.scenario(44)
async def test_44_history_is_never_answered(city: City, platform: Backend) -> None:
    """Without a position anywhere: ten words, commands too, and none is obeyed."""
    owner, space, (chat,) = await city.home("alice")
    alice = Person(owner)
    for number in range(8):
        await alice.say(chat, f"word {number}")
    await alice.say(chat, "!reset")
    await alice.say(chat, "!archive")
    direct = await alice.direct(city.bot)
    await alice.say(direct, "!new Bilberry")
    async with living(city, platform):
        await alice.hears(direct)
        word = await exchange(alice, chat)
    assert platform.heard == {conversation(owner, 1): [word]}
    assert await said(city, chat) == (["1: ping"], [])
    await holds(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})


@pytest.mark.scenario(45)
async def test_45_what_happens_while_the_bot_looks(
    city: City,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    """A chat is made and linked amid a snapshot: bound at once, and nothing is given up.

    Nor is anything written."""
    alice, space, chats = await city.home("alice", 3)
    monkeypatch.setattr(channels, "WINDOW", 2)

    servers: list[State] = []

    def rows() -> dict[str, Bound]:
        numbered = enumerate(chats, 1)
        return {space: a_space(alice)} | {
            chat: a_chat(alice, space, n) for n, chat in numbered
        }

    async def made() -> None:
        chats.append(await city.chat(alice, space, len(chats) + 1))
        # The list begins with the room that was used last.
        await alice.send(chats[0], "hello")
        servers.append(await city.server())

    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        for moment in ("between two windows", "after the last", "after a /sync"):
            for file in ("kept", "lost"):
                with subtests.test(moment, file=file):
                    await city.once()
                    if file == "lost":
                        city.forget()
                    windows = math.ceil(len(rows()) / channels.WINDOW)
                    nth = windows if moment == "after the last" else 1
                    if moment == "after a /sync":
                        proxy.at("GET .*/versions", FAULTS["403"]())
                        # The first is for the position that the look is kept for.
                        met = proxy.at("GET .*/sync", After(made), 2)
                    else:
                        met = proxy.at("POST .*/sync", After(made), nth)
                    await city.once(whole=True)
                    assert met.is_struck
                    found = {r: Bound.of(row) for r, row in city.rows().items()}
                    assert found == rows()
                    assert await city.server() == servers[-1]
        await holds(city, rows())


def follows(seen: Seen) -> bool:
    return seen.path.endswith("/sync") and "since" in seen.query


@pytest.mark.scenario(45)
async def test_45_what_is_decided_while_the_bot_looks_is_not_undone(
    city: City, homeserver: Homeserver
) -> None:
    """A chat is made, and taken out of its Space, after that was seen: it stays out."""
    alice, space, (one,) = await city.home("alice")
    chats: list[str] = []
    emptied: list[str] = []

    async def made_and_taken_out() -> None:
        chats.append(await city.chat(alice, space, 2))
        emptied.append(await city.bot.unlink(space, chats[0]))

    async def made_and_sorted() -> None:
        chats.append(await city.chat(alice, space, 3))
        await city.bot.link(space, chats[1], order="first")

    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        for act in (made_and_taken_out, made_and_sorted):
            met = proxy.at("POST .*/sync", After(act))
            await city.once(whole=True)
            assert met.is_struck
        server = await city.server()
        await city.once()
        assert await city.server() == server
        assert await city.has(space, "m.space.child", chats[0]) == {}
        assert city.status(chats[0]) == "detached: unlinked"
        kept = await city.has(space, "m.space.child", chats[1])
        assert kept == {"via": ["hs.test"], "order": "first"}
        out = a_chat(alice, space, 2, "detached: unlinked", emptied[0])
        await holds(
            city,
            {
                space: a_space(alice),
                one: a_chat(alice, space, 1),
                chats[0]: out,
                chats[1]: a_chat(alice, space, 3),
            },
        )


@pytest.mark.scenario(46)
@pytest.mark.parametrize("refused", ["400", "403", "of another server"])
async def test_46_a_position_that_the_server_refuses_is_begun_afresh(
    city: City,
    platform: Backend,
    homeserver: Homeserver,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
) -> None:
    """The stream goes on from now: what was said before is not heard, or heard again."""
    monkeypatch.setattr(stream, "delay", lambda *_, **__: 0.05)
    owner, space, (chat,) = await city.home("alice")
    alice, since = Person(owner), Backend()
    async with living(city, platform):
        await exchange(alice, chat)
    position = await city.bot.account_data(CHECKPOINT)
    if refused == "of another server":
        position |= {"n": position["n"] + 10, "token": "1-abcdefgh_12.34"}
        await city.bot.put_account_data(CHECKPOINT, position)
    token = position["token"]
    await alice.say(chat, "unheard")

    def refuses(seen: Seen) -> bool:
        return follows(seen) and seen.query["since"] == token

    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        if refused != "of another server":
            proxy.at(refuses, refusal(int(refused), "M_UNKNOWN")(), times=ANY)
        async with living(city, since):
            await proxy.arrived(lambda seen: follows(seen) and not refuses(seen))
            word = await exchange(alice, chat)
    city.client.homeserver = city.bot.url
    assert since.heard == {conversation(owner, 1): [word]}
    assert len((await said(city, chat)).answers) == 2
    assert (await city.bot.account_data(CHECKPOINT))["token"] != token
    await holds(city, {space: a_space(owner), chat: a_chat(owner, space, 1)})
