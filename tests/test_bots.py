"""A process is waited for, watched, and gone at the end; here something stands in for it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from adapter.cli import processes
from adapter.cli.account import Account
from adapter.config import load
from tests.bots import BotEnded, running, started, write_config

# Logs as the bot does, and ends in order when it is told to.
STANDS_IN = """
import json, os, signal, sys

def log(message, level="INFO", **more):
    line = json.dumps({"level": level, "message": message, **more})
    print(line, file=sys.stderr, flush=True)

def end(*_):
    log("stopped")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
"""
READY = STANDS_IN + 'log("ready", pid=os.getpid())\n'
WAITS = 'log("waiting")\nwhile True: signal.pause()\n'
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What goes wrong


async def test_a_process_that_ends_before_it_is_ready() -> None:
    """Waiting for it fails at once, with its exit code and what it said."""
    says = 'print("spacekeeper: no", file=sys.stderr); sys.exit(1)'
    async with started("-c", STANDS_IN + says) as process:
        with pytest.raises(BotEnded, match="exit code 1; its stderr:\nspacekeeper: no"):
            await process.ready()
        assert await process.ended() == 1


async def test_a_process_that_ends_without_a_word() -> None:
    """This is no reason to wait either."""
    async with started("-c", "") as process:
        with pytest.raises(BotEnded, match="exit code 0; its stderr is empty"):
            await process.ready()


@pytest.mark.parametrize(
    "says",
    [
        'log("not ready yet")',
        'log("already there")',
        'log("ready", "WARNING")',
        'print("ready", file=sys.stderr)',
        'print(json.dumps(["INFO", "ready"]), file=sys.stderr)',
    ],
)
async def test_what_is_not_readiness(
    says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words that look like it deceive nobody, and the failure shows them."""
    async with started("-c", f"{STANDS_IN}{says}\n{WAITS}") as process:
        await process.logged("waiting")
        with monkeypatch.context() as patch:
            patch.setattr(processes, "PATIENCE", 0.05)
            with pytest.raises(TimeoutError, match="ready"):
                await process.ready()


async def test_a_process_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for its end has an end, and it is killed all the same."""
    async with started("-c", READY + DEAF + WAITS) as process:
        pid = (await process.logged("ready"))["pid"]
        await process.logged("waiting")
        with monkeypatch.context() as patch:
            patch.setattr(processes, "PATIENCE", 0.05)
            with pytest.raises(TimeoutError, match="the process goes on"):
                await process.terminate()
    assert not is_running(pid)


async def test_a_process_that_dies_when_it_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its exit code says what it died of, though its end was not noticed yet."""
    told, waitpid = threading.Event(), os.waitpid

    def notice_late(pid: int, options: int) -> tuple[int, int]:
        told.wait(1)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", notice_late)
    async with started("-c", READY + WAITS) as process:
        await process.ready()
        os.kill(process.pid, signal.SIGKILL)
        # The loop has to miss it, so it waits here, too.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        ending = asyncio.create_task(process.terminate())
        await asyncio.sleep(0)
        told.set()
        assert await ending == -signal.SIGKILL


async def test_a_test_that_fails() -> None:
    """Its process is killed; its error is the one that is seen."""
    pids = []

    async def fails() -> None:
        async with started("-c", READY + WAITS) as process:
            pids.append((await process.logged("ready"))["pid"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert not is_running(pids[0])


async def test_a_token_in_the_log(tmp_path: Path, bot: Account) -> None:
    """Whatever the test looks at, a bot that logs its token fails it."""
    # Where a program is started, its modules are looked for first.
    package = tmp_path / "adapter" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    reads = "print(open(sys.argv[2]).read(), file=sys.stderr)\n"
    (package / "main.py").write_text(READY + reads)
    config = write_config(tmp_path, bot, "http://127.0.0.1:1")

    async def runs() -> None:
        async with running(config) as process:
            assert await process.ended() == 0

    with pytest.raises(AssertionError, match="access token is in its log"):
        await runs()


# What goes well


async def test_a_life_in_order() -> None:
    """Ready, then told to end, then gone with exit code 0; every line is there."""
    async with started("-c", READY + WAITS) as process:
        await process.ready()
        assert await process.terminate() == 0
        assert [line["message"] for line in process.log][-1] == "stopped"
        # What has ended stays so, whoever asks again.
        await process.ready()
        assert (await process.kill(), await process.ended()) == (0, 0)


async def test_a_kill() -> None:
    """SIGKILL leaves no time for a word."""
    async with started("-c", READY + WAITS) as process:
        await process.ready()
        assert await process.kill() == -signal.SIGKILL
        assert "stopped" not in process.stderr


async def test_a_process_that_never_stops_talking() -> None:
    """Megabytes in one line and in many: nobody has to read them for it to go on."""
    talks = 'log("x" * 3_000_000)\nfor n in range(20_000): log(f"line {n}")\n'
    async with started("-c", STANDS_IN + talks + 'log("ready")\n' + WAITS) as process:
        await process.ready()
        assert (await process.logged("line 19999$"))["level"] == "INFO"
        assert len(process.log) >= 20_002


async def test_lines_for_people_are_kept_as_well() -> None:
    """`log` has what is JSON, `stderr` has all, also what is no UTF-8."""
    says = 'os.write(2, b"Traceback: \\xff\\n")\nlog("ready")'
    async with started("-c", STANDS_IN + says) as process:
        await process.ended()
        assert [line["message"] for line in process.log] == ["ready"]
        assert process.stderr.startswith("Traceback: \N{REPLACEMENT CHARACTER}\n")


async def test_settings_of_this_process_stay_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A developer's own SPACEKEEPER_ variables do not reach the bot under test."""
    monkeypatch.setenv("SPACEKEEPER_ROUTING", "members")
    says = 'log("ready", names=[n for n in os.environ if "SPACEKEEPER" in n])'
    async with started("-c", STANDS_IN + says) as process:
        assert (await process.logged("ready"))["names"] == []


async def test_the_command_that_is_run(tmp_path: Path, bot: Account) -> None:
    """It is the real command line: an argument that it does not know is refused there."""
    config = write_config(tmp_path, bot, bot.url)
    async with running(config, "--no-such-option") as process:
        assert await process.ended() != 0
        assert "spacekeeper: " in process.stderr


# The config file


async def test_a_config_file(tmp_path: Path, bot: Account) -> None:
    """It is one that the bot accepts, in a folder of its own, readable to nobody else."""
    path = write_config(tmp_path, bot, bot.url)
    config = load(path, {})
    assert (config.homeserver, config.user_id) == (bot.url, bot.user_id)
    assert config.device_id == bot.login.device_id
    assert config.access_token.reveal() == bot.login.access_token
    assert config.database == tmp_path / "spacekeeper.db"
    assert config.platform.path == tmp_path / "echo.db"
    assert config.rooms.settle == 2
    assert stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode) == 0o600


async def test_settings_are_laid_over_it(tmp_path: Path, bot: Account) -> None:
    """A setting of a group leaves the others of the group; a second file replaces the first."""
    write_config(tmp_path, bot, bot.url, routing="members")
    path = write_config(
        tmp_path, bot, bot.url, rooms={"version": "12"}, reconcile={"interval": "1s"}
    )
    config = load(path, {})
    assert (config.rooms.version, config.rooms.settle) == ("12", 2)
    assert config.reconcile.interval == 1
    assert config.routing == "owner"
