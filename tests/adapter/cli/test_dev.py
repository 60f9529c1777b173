"""The playground: people log in with what was printed, and find it again the next time."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from adapter.cli.account import Account, CallFailed, Login, call, http_session
from adapter.cli.leash import bare_environment
from adapter.cli.people import Person
from tests.adapter.cli.runs import is_one_sentence, run, run_apart
from tests.adapter.cli.test_homeserver import answers, within

pytestmark = pytest.mark.e2e


class Playground:
    """A running `spacekeeper dev`, as somebody sees it who reads what it prints."""

    def __init__(self, process: asyncio.subprocess.Process, printed: str) -> None:
        self.printed = printed
        self.url = re.findall(r"http://\S+", printed)[0]
        self.passwords = dict(re.findall(r"(@\S+)\s+password (\S+)", printed))
        self.bot = re.findall(r"bot +(@\S+)", printed)[0]
        self._process = process

    def bot_process(self) -> int:
        """The number of the process that runs the bot: a child of `dev`."""
        parent = f"\nPPid:\t{self._process.pid}\n"
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # others come and go meanwhile
                is_child = parent in (process / "status").read_text()
                if is_child and "spacekeeper.yaml" in (process / "cmdline").read_text():
                    return int(process.name)
        raise LookupError

    async def ends(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Tell it to end: its exit code, and what it said on stderr."""
        self._process.send_signal(number)
        async with asyncio.timeout(60):
            log = await cast("asyncio.StreamReader", self._process.stderr).read()
            return await self._process.wait(), log.decode()


@asynccontextmanager
async def playground(folder: Path, *arguments: str) -> AsyncIterator[Playground]:
    """Run `spacekeeper dev` in `folder` until it has printed how to log in."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter.cli.main", "dev", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env=bare_environment() | {"TMPDIR": str(folder)},
    )
    try:
        stdout = cast("asyncio.StreamReader", process.stdout)
        async with asyncio.timeout(60):
            printed = await stdout.readuntil(b"the bot's log:\n")
        yield Playground(process, printed.decode())
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def logged_in(
    play: Playground, user_id: str, session: aiohttp.ClientSession
) -> Person:
    """Log in as a client does: with the address, the name and the password."""
    url = f"{play.url}/_matrix/client/v3/login"
    flows = (await call(session, "GET", url))["flows"]
    assert {"type": "m.login.password"} in flows
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user_id},
        "password": play.passwords[user_id],
    }
    device = await call(session, "POST", url, body=body)
    login = Login(device["user_id"], device["access_token"], device["device_id"])
    return Person(Account(play.url, login, session))


# What goes wrong


def test_a_folder_with_something_else_in_it(tmp_path: Path) -> None:
    """It is left alone: nobody wants a homeserver among their documents."""
    (tmp_path / "letter.txt").touch()
    done = run("dev", "--keep", str(tmp_path))
    assert done.exit_code == 1
    assert is_one_sentence(done.stderr)
    assert "holds something else" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_damaged_logins(tmp_path: Path) -> None:
    """Passwords are not made anew over a file that somebody may still put right."""
    (tmp_path / "logins.json").write_text("{")
    done = run("dev", "--keep", str(tmp_path))
    assert (done.exit_code, is_one_sentence(done.stderr)) == (1, True)
    assert (tmp_path / "logins.json").read_text() == "{"


def test_without_synapse(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setattr("adapter.cli.commands.demo.find_spec", lambda name: None)
    done = run("dev")
    assert (done.exit_code, is_one_sentence(done.stderr)) == (1, True)
    assert "pip install '.[demo]'" in done.stderr


async def test_the_bot_cannot_run(tmp_path: Path) -> None:
    """Its sentence is seen, everything ends, and the exit code is 1."""
    async with playground(tmp_path, "--keep", "kept") as play:
        assert (await play.ends())[0] == 0
    with (tmp_path / "kept" / "spacekeeper.yaml").open("a") as config:
        config.write("no_such_setting: 1\n")
    done = await asyncio.to_thread(
        run_apart, "dev", "--keep", str(tmp_path / "kept"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert is_one_sentence(done.stderr)
    assert "no_such_setting" in done.stderr


# What goes well


async def test_somebody_plays(tmp_path: Path) -> None:
    """Whoever logs in as printed is given rooms and answers; afterwards nothing is left."""
    async with playground(tmp_path, "--users", "3") as play, http_session() as session:
        assert list(play.passwords) == [
            "@alice:localhost",
            "@bob:localhost",
            "@carol:localhost",
        ]
        carol = await logged_in(play, "@carol:localhost", session)
        # What is switched off in this server fails as clients expect it to.
        media = f"{play.url}/_matrix/client/v1/media/config"
        token = carol.account.login.access_token
        with pytest.raises(CallFailed, match="404 M_UNRECOGNIZED"):
            await call(session, "GET", media, token=token)
        search = {"search_term": "bot"}
        found = await carol.account.call("POST", "user_directory/search", search)
        assert found["results"] == []

        await carol.account.direct(play.bot)
        rooms = await carol.accept(2)
        creations = [await carol.account.state_event(r, "m.room.create") for r in rooms]
        [chat] = [event["room_id"] for event in creations if not _is_space(event)]
        await carol.say(chat, "hello")
        [answer] = await carol.hears(chat)
        assert (answer["msgtype"], answer["body"]) == ("m.text", "1: hello")

        # Which is what to play with: kill it, and it is as if nothing had been.
        bot = play.bot_process()
        [told] = re.findall(r"^  pkill -9 -f (.+)$", play.printed, re.MULTILINE)
        [pattern] = shlex.split(told)
        assert pattern in " ".join(_command(bot))
        os.kill(bot, signal.SIGKILL)
        await carol.say(chat, "are you there?")
        [answer] = await carol.hears(chat)
        assert answer["body"] == "2: are you there?"

        code, log = await play.ends(signal.SIGINT)
    assert code == 0
    assert log.count(" info: ready ") == 2
    assert "the bot was killed (signal 9): starting it again" in log
    assert "hello" not in log
    assert all(password not in log for password in play.passwords.values())
    assert not answers(play.url)
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


def _command(process: int) -> list[str]:
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")


def _is_space(create: dict[str, object]) -> bool:
    content = cast("dict[str, object]", create["content"])
    return content.get("type") == "m.space"


async def test_it_is_kept(tmp_path: Path) -> None:
    """The next time there are the same address, people and rooms, and whoever is new."""
    folder = tmp_path / "kept"
    async with http_session() as session:
        async with playground(tmp_path, "--users", "1", "--keep", "kept") as first:
            alice = await logged_in(first, "@alice:localhost", session)
            await alice.account.direct(first.bot)
            rooms = await alice.accept(2)
            refused = await asyncio.to_thread(run_apart, "dev", "--keep", str(folder))
            assert refused.returncode == 1
            assert "another `spacekeeper dev` uses" in refused.stderr
            assert (await first.ends())[0] == 0
        for name in ("logins.json", "spacekeeper.yaml"):
            mode = (await asyncio.to_thread((folder / name).stat)).st_mode
            assert stat.S_IMODE(mode) == 0o600

        async with playground(tmp_path, "--keep", "kept") as second:
            assert second.url == first.url
            assert second.passwords.items() > first.passwords.items()
            alice = await logged_in(second, "@alice:localhost", session)
            assert set(await alice.account.joined_rooms()) > set(rooms)
            # Nobody's old logins are in the way: only the two of this test.
            devices = (await alice.account.call("GET", "devices"))["devices"]
            assert len(devices) == 2
            assert (await second.ends())[0] == 0


async def test_the_port_is_taken(tmp_path: Path) -> None:
    """Then the address is another one, which is said, and the bot goes on all the same."""
    async with http_session() as session:
        async with playground(tmp_path, "--keep", "kept") as first:
            alice = await logged_in(first, "@alice:localhost", session)
            await alice.account.direct(first.bot)
            rooms = await alice.accept(2)
            assert (await first.ends())[0] == 0
        port = int(first.url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            async with playground(tmp_path, "--keep", "kept") as second:
                assert second.url != first.url
                alice = await logged_in(second, "@alice:localhost", session)
                known = set(await alice.account.joined_rooms())
                direct = await alice.account.direct(second.bot)
                await alice.hears(direct)
                assert set(await alice.account.joined_rooms()) == {*known, direct}
                assert set(rooms) < known
                code, log = await second.ends()
    assert code == 0
    assert f"port {port} is taken" in log


def test_it_ends_before_it_began(tmp_path: Path) -> None:
    """Told to stop while the homeserver starts, it ends in order, and leaves nothing."""
    with subprocess.Popen(
        [sys.executable, "-m", "adapter.cli.main", "dev"],
        env=bare_environment() | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert within(30, lambda: any(tmp_path.glob("*/homeserver/homeserver.log")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []
