"""The embedded homeserver: it is real, it is quick to ask, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter.cli.account import Account, CallFailed, http_session
from adapter.cli.homeserver import Homeserver, HomeserverError, homeserver
from tests.conftest import Accounts

ROOT = Path(__file__).parents[3]

# Starts a homeserver, says where it is, and waits to be killed.
PARENT = """
import asyncio, sys
from pathlib import Path
from adapter.cli.homeserver import homeserver

async def main():
    async with homeserver(Path(sys.argv[1])) as running:
        print(running.url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def answers(url: str) -> bool:
    """Tell whether anything listens there."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Tell whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def test_two_people_talk(bot: Account, person: Account) -> None:
    """What one says in a room, the other reads there."""
    room = await bot.create_room(name="Talk", invite=[person.user_id])
    await person.join(room)
    said = await person.send(room, "hello")

    newest = (await bot.messages(room))[0]

    assert newest["event_id"] == said
    assert newest["content"]["body"] == "hello"
    assert newest["sender"] == person.user_id


async def test_accounts_are_fresh(accounts: Accounts) -> None:
    """The same name twice is two people, and neither is in a room."""
    first, second = await accounts("alice"), await accounts("alice")
    assert first.user_id != second.user_id
    assert await first.joined_rooms() == []


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_room_versions(bot: Account, version: str) -> None:
    """Rooms of every version that the bot may meet can be made."""
    room = await bot.create_room(version=version, creation_content={"x": {"v": 1}})
    create = await bot.state_event(room, "m.room.create")
    assert create["content"]["room_version"] == version
    assert create["content"]["x"] == {"v": 1}
    assert create["sender"] == bot.user_id


async def test_space(bot: Account) -> None:
    """A room can be put into a Space, and taken out of it."""
    space = await bot.create_room(room_type="m.space")
    room = await bot.create_room()

    await bot.link(space, room, order="1", suggested=True)
    child = await bot.state_event(space, "m.space.child", room, format="content")
    assert child == {"via": ["hs.test"], "order": "1", "suggested": True}

    await bot.unlink(space, room)
    child = await bot.state_event(space, "m.space.child", room, format="content")
    assert child == {}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_membership(bot: Account, person: Account, version: str) -> None:
    """Invited, declined, joined, kicked, banned, forgiven: each leaves its mark."""
    room = await bot.create_room(version=version)

    async def membership() -> str:
        member = await bot.state_event(room, "m.room.member", person.user_id)
        found: str = member["content"]["membership"]
        return found

    await bot.invite(room, person.user_id)
    assert await membership() == "invite"
    await person.leave(room)
    assert await membership() == "leave"
    await bot.invite(room, person.user_id)
    await person.join(room)
    assert await person.joined_rooms() == [room]
    await bot.kick(room, person.user_id)
    assert await membership() == "leave"
    await person.forget(room)
    await bot.ban(room, person.user_id)
    assert await membership() == "ban"
    await bot.unban(room, person.user_id)
    assert await membership() == "leave"


async def test_power_redaction_upgrade(bot: Account, person: Account) -> None:
    """The rarer calls do what their names say."""
    old = await bot.create_room(version="11", invite=[person.user_id])
    await person.join(old)
    with pytest.raises(CallFailed, match="403 M_FORBIDDEN"):
        await person.put_state(old, "x.note", {"text": "mine"})
    await bot.set_power(old, {person.user_id: 50})
    note = await person.put_state(old, "x.note", {"text": "mine"})
    # Not the topic: Synapse refuses to upgrade a room with a redacted topic.
    await bot.redact(old, note)
    assert await bot.state_event(old, "x.note", format="content") == {}

    new = await bot.upgrade(old, "12")

    assert len(await bot.state(new)) > 5
    tombstone = await bot.state_event(old, "m.room.tombstone", format="content")
    assert tombstone["replacement_room"] == new


async def test_same_transaction_once(bot: Account) -> None:
    """A message sent again under its transaction id stays one message."""
    room = await bot.create_room()
    once = await bot.send(room, "hello", msgtype="m.notice", txn="t")
    assert await bot.send(room, "hello", msgtype="m.notice", txn="t") == once


async def test_refusals_tell_why(homeserver: Homeserver, bot: Account) -> None:
    """A refusal carries the status and the error code, and no token is printed."""
    with pytest.raises(CallFailed) as absent:
        await bot.account_data("io.spacekeeper.nothing")
    assert (absent.value.status, absent.value.errcode) == (404, "M_NOT_FOUND")
    taken = bot.user_id.removeprefix("@").partition(":")[0]
    with pytest.raises(CallFailed, match="M_USER_IN_USE"):
        await homeserver.register(taken)
    assert bot.login.access_token not in repr(bot)


async def test_kept_folder(tmp_path: Path) -> None:
    """A server is gone after its block; one in the same folder knows its rooms."""
    async with homeserver(tmp_path, limits="default") as first, http_session() as http:
        alice = Account(first.url, await first.register("alice"), http)
        room = await alice.create_room()
        with pytest.raises(CallFailed, match="429 M_LIMIT_EXCEEDED"):
            await asyncio.gather(*(alice.send(room, str(n)) for n in range(30)))
    assert not answers(first.url)

    async with homeserver(tmp_path) as second, http_session() as http:
        again = Account(second.url, alice.login, http)
        assert await again.joined_rooms() == [room]


def test_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Killing the parent outright takes the server along."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert answers(url)
        parent.send_signal(signal.SIGKILL)
    assert within(5, lambda: not answers(url))


async def test_port_taken() -> None:
    """A port that somebody listens on is refused before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HomeserverError, match=f"port {port} is taken"):
            async with homeserver(port=port):
                pass


async def test_synapse_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Synapse the error says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(HomeserverError, match=r"pip install '\.\[demo\]'"):
        async with homeserver():
            pass


async def test_does_not_come_up() -> None:
    """A server that ends at once is one sentence and the end of its log."""
    with pytest.raises(HomeserverError, match="exit code 1; the end of its log:\n"):
        async with homeserver(server_name="not a name"):
            pass


async def test_too_slow() -> None:
    """Patience has an end, and the child does not survive it."""
    with pytest.raises(HomeserverError, match=r"did not answer within 0\.1 s"):
        async with homeserver(patience=0.1):
            pass
