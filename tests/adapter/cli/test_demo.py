"""The demo tells the truth, notices a lie, and leaves nothing behind, however it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapter.cli.leash import bare_environment
from tests.adapter.cli.test_homeserver import answers, within
from tests.test_bots import is_running

pytestmark = pytest.mark.e2e

# The demo, but for one thing that is put in the place of another.
ALTERED = """
import os, signal
from adapter.cli import demo, people
from adapter.cli.main import main
{alteration}
main(["demo"])
"""


@contextmanager
def demo(folder: Path, alteration: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run the demo, with its temporary files in `folder`."""
    command = [sys.executable, "-c", ALTERED.format(alteration=alteration)]
    with subprocess.Popen(  # noqa: S603 - this very program
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=bare_environment() | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        # Tests that run in the background ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Read what it prints, up to the line with `wanted` in it."""
    read = ""
    assert process.stdout is not None
    while wanted not in read:
        line = process.stdout.readline()
        assert line, f"it ended before it printed {wanted!r}: {read}"
        read += line
    return read


def server_of(printed: str) -> str:
    [url] = re.findall(r"http://127\S+?(?=,)", printed)
    return str(url)


# What goes wrong


def test_a_database_that_is_not_deleted(tmp_path: Path) -> None:
    """What was not lost need not be rebuilt: three claims are false, and it exits 1."""
    with demo(tmp_path, "demo.delete = lambda files: None") as process:
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    false = re.findall(r"^  NO  (.*)", said, re.MULTILINE)
    assert false[:2] == ["the database is deleted", "the exit code is 2: drift"]
    assert said.endswith("\nNot all of it is true.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_bot_that_does_not_answer(tmp_path: Path) -> None:
    """It says what it waited for in vain, and shows what the bot logged."""
    deaf = """
async def pause(self):
    os.kill(self.process.pid, signal.SIGSTOP)
    people.PATIENCE = 1
    await talk(self)
talk, demo.Story._talk = demo.Story._talk, pause
"""
    with demo(tmp_path, deaf) as process:
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "  NO  the story goes on\n" in said
    assert "@alice:hs.test has 0 of 1 invitations" in said
    assert '"message": "ready"' in said
    assert said.endswith("\nNot all of it is true.\n")
    assert not answers(server_of(said))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_somebody_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    """It is no success, and nothing is left of it."""
    with demo(tmp_path) as process:
        printed = lines_until(process, "2. ")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.strip() == "spacekeeper: stopped before it was done"
    assert not answers(server_of(printed))
    assert list(tmp_path.iterdir()) == []


def test_it_is_killed(tmp_path: Path) -> None:
    """Neither the homeserver nor the bot lives on."""
    with demo(tmp_path) as process:
        printed = lines_until(process, "2. ")
        [bot] = re.findall(r"process (\d+)", printed)
        assert is_running(int(bot))
        process.kill()
        process.wait(30)
    assert within(5, lambda: not is_running(int(bot)))
    assert within(5, lambda: not answers(server_of(printed)))


# What goes well


def test_the_story(tmp_path: Path) -> None:
    """Every claim holds, it exits 0, and stderr stays empty."""
    with demo(tmp_path) as process:
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, said + errors
    assert "  NO  " not in said
    assert len(re.findall(r"^\d\. ", said, re.MULTILINE)) == 7
    assert len(re.findall(r"^  ok  ", said, re.MULTILINE)) == 24
    assert said.endswith("\nEverything above holds.\n")
    assert errors == ""
    assert list(tmp_path.iterdir()) == []
