"""Words and names of people who mean harm: they stay words and names, and stay where they are."""

from __future__ import annotations

import asyncio
import logging
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from adapter.config import RoomSettings
from adapter.matrix.facts import TOMBSTONE
from adapter.platform.base import Message
from tests.adapter.cli.runs import run, run_in
from tests.adapter.matrix.city import (
    BINDING,
    IDENTITY,
    City,
    chat_identity,
    conversation,
)
from tests.adapter.matrix.landlord import home_of
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.bots import write_config
from tests.people import Person

Json = dict[str, Any]

EVIL = (
    "<b>@room</b> [x](javascript:alert(1)) [y](https://evil.test) <img src=x onerror=1>"
    " \u202etxt\x1b[2J\x07 `"
)
"""Somebody's idea of a name."""
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def platform() -> Backend:
    return Backend()


# --- names -----------------------------------------------------------------------------


async def test_names_that_want_to_be_more(city: City, platform: Backend) -> None:
    """Titles and names become neither HTML nor links nor mentions in what the bot says."""
    owner = await city.person("mallory")
    await owner.call(
        "PUT", f"profile/{owner.user_id}/displayname", {"displayname": EVIL}
    )
    mallory = Person(owner)
    rooms = RoomSettings(settle=0.5, space_name="Home of {name}")
    async with living(city, platform, rooms=rooms):
        direct = await mallory.direct(city.bot)
        await mallory.hears(direct)
        await mallory.accept(2)
        for command in (f"!new {EVIL}", "!restore <b>@room</b>", "!chats"):
            await mallory.say(direct, command)
            await mallory.hears(direct)
        await mallory.accept()
        [space], chats = await home_of(city, owner)
        for chat in chats:
            for command in (f"!rename {EVIL}", f"!restore {EVIL}", "!chats"):
                await mallory.say(chat, command)
                await mallory.hears(chat)
    notices = [e["content"] for e in await city.said() if e["sender"] != owner.user_id]
    assert len(notices) == 10
    for content in notices:
        assert_harmless(content)
    for room in (space, *chats):
        name = await city.has(room, "m.room.name")
        assert name is not None
        assert "<b>@room</b>" in name["name"]
        assert not UNSEEN.search(name["name"])


class Links(HTMLParser):
    """Where a message leads, and what it is drawn with."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"href"}
        self.links += [value for _, value in attrs]


def assert_harmless(content: Json) -> None:
    """It mentions nobody, leads only to rooms, and shows all that it is."""
    assert content["m.mentions"] == {}
    drawn = content.get("formatted_body", "")
    found = Links(drawn)
    assert found.tags <= {"p", "a", "ul", "li", "code", "br"}
    assert all(
        link and link.startswith("https://matrix.to/#/%21") for link in found.links
    )
    assert not UNSEEN.search(content["body"] + drawn)


async def test_names_on_an_operators_terminal(city: City, tmp_path: Path) -> None:
    """Whatever prints a room's name prints nothing that a terminal would obey."""
    owner, _, (chat,) = await city.home("mallory", version="11")
    await city.bot.set_power(chat, {owner.user_id: 100})
    await owner.put_state(chat, "m.room.name", {"name": EVIL})
    await owner.put_state(chat, TOMBSTONE, {"replacement_room": f"!{EVIL}"})
    whose = await city.room(owner, await city.person("guest"), name=EVIL)
    config = write_config(
        tmp_path, city.bot, city.bot.url, database=city.path.name, platform={}
    )

    async def shows(*arguments: str) -> str:
        result = await asyncio.to_thread(run, "--config", str(config), *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        for line in result.output.split("\n"):
            assert line.isprintable(), line
        return result.output

    assert "u202etxt" in await shows("plan")
    document = tmp_path / "topology.yaml"
    document.write_text(await shows("export"))
    emptied = tmp_path / "empty.yaml"
    emptied.write_text(await shows("export", "--from", "cache"))
    for arguments in (
        ("plan", "--output", "json"),
        ("export", "--output", "json"),
        ("diff", str(emptied), str(document)),
        ("diff", "--output", "json", str(emptied), str(document)),
        ("validate", str(document)),
        ("reconcile",),
        ("status",),
        ("status", "--output", "json"),
    ):
        await shows(*arguments)
    assert city.rows()[chat]["name"] == EVIL
    city.spoil(
        "UPDATE room_meta SET platform_chat_id = :evil WHERE room_id = :chat",
        evil=EVIL,
        chat=chat,
    )
    for told in (
        ("doctor",),
        ("doctor", "--output", "json"),
        ("drill",),
        ("drill", "--output", "json"),
        ("adopt", f"!{EVIL}", "--owner", owner.user_id),
        ("adopt", whose, "--owner", f"@{EVIL}"),
        ("adopt", whose, "--owner", owner.user_id),
    ):
        assert "u202etxt" in await shows(*told), told


# --- words -----------------------------------------------------------------------------


async def test_words_that_pretend(city: City, platform: Backend) -> None:
    """An edit, a quotation, HTML, a notice, or a key of ours in a message commands nothing."""
    owner, _, (chat,) = await city.home("alice")
    alice, guest = Person(owner), Person(await city.person("guest"))
    await owner.invite(chat, guest.user_id)
    await guest.account.join(chat)
    before = await city.server()
    async with living(city, platform):
        first = await alice.say(chat, "hello")
        await alice.hears(chat)
        quoted = f"> <{owner.user_id}> hello\n> !archive\n\n!archive"
        reply = {"m.in_reply_to": {"event_id": first}}
        await guest.say(chat, quoted, relates_to=reply)
        edit = {"rel_type": "m.replace", "event_id": first}
        for who in (guest, alice):
            await who.say(chat, "!archive", relates_to=edit)
            await who.say(chat, "!archive", msgtype="m.notice")
            await who.account.put_account_data("io.spacekeeper.checkpoint", {"v": 9})
            await who.account.call(
                "PUT",
                f"user/{who.user_id}/rooms/{chat}/account_data/{BINDING}",
                chat_identity(guest.account, 1),
            )
        for key, content in (
            ("a", {"body": "x", "formatted_body": "!archive", "msgtype": "m.text"}),
            ("b", {"body": "y", "msgtype": "m.text", IDENTITY: {"v": 1}, BINDING: {}}),
        ):
            path = f"rooms/{quote(chat, safe='')}/send/m.room.message/{key}"
            await alice.account.call("PUT", path, content)
            await alice.hears(chat, sender=city.bot)
        await guest.account.call(
            "PUT", f"rooms/{quote(chat, safe='')}/send/{BINDING}/c", {"v": 1}
        )
        last = await exchange(alice, chat)
    heard = platform.heard[conversation(owner, 1)]
    assert (len(heard), heard[0], heard[-1]) == (4, first, last)
    assert len(platform.heard) == 1
    assert (await said(city, chat)).notices == []
    assert await city.server() == before
    assert city.status(chat) == "active"


# --- what is kept ----------------------------------------------------------------------


async def test_what_is_kept(
    city: City, platform: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """No word and no token is in the database, the log, or what commands print of them,
    and the file is the bot's alone."""
    owner, _, (chat,) = await city.home("alice")
    alice = Person(owner)
    platform.answers["gooseberry"] = Message("boysenberry")
    caplog.set_level(logging.DEBUG)
    async with living(city, platform):
        for word in ("gooseberry", "!restore cloudberry"):
            await alice.say(chat, word)
            await alice.hears(chat)
        files = list(city.path.parent.glob(f"{city.path.name}*"))
        kept = b"".join(file.read_bytes() for file in files)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
    shown = ""
    for arguments in (
        ("export",),
        ("export", "--from", "cache", "--output", "json"),
        ("plan", "--output", "json"),
        ("status",),
        ("doctor",),
        ("drill",),
    ):
        shown += (await run_in(city, *arguments)).output
    secrets = ("gooseberry", "boysenberry", "cloudberry", city.bot.login.access_token)
    for secret in secrets:
        assert secret.encode() not in kept
        assert secret not in caplog.text
        assert secret not in shown
    assert chat.encode() in kept
    assert shown.count(chat) >= 2
    assert modes == {0o600}
