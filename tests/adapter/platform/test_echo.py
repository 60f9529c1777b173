"""Echo counts the turns of a conversation once each, whatever happens to its process."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path

import pytest

from adapter.config import PlatformSettings
from adapter.platform import platform
from adapter.platform.base import (
    FileUnusable,
    Message,
    Platform,
    PlatformBusy,
    PlatformMisconfigured,
    Turn,
)
from adapter.platform.echo import REMEMBERED, echo

ROOT = Path(__file__).parents[3]


def turn(event_id: str, text: str = "hello", chat: str = "chat") -> Turn:
    return Turn(chat, "@alice:hs", "!room", event_id, text)


async def said(asked: Platform, event_id: str, **more: str) -> str:
    (message,) = await asked.answer(turn(event_id, **more))
    return message.text


async def test_a_conversation_is_counted() -> None:
    """Each turn has its number, and each conversation its own count."""
    async with platform(PlatformSettings()) as asked:
        assert await asked.answer(turn("$1")) == (Message("1: hello"),)
        assert await said(asked, "$2", text="again") == "2: again"
        assert await said(asked, "$3", chat="other") == "1: hello"
        assert await said(asked, "$4") == "3: hello"


async def test_the_same_event_is_the_same_turn(tmp_path: Path) -> None:
    """Handled again, at once or after a restart, it gets its answer and counts nothing."""
    settings = PlatformSettings(path=tmp_path / "echo.db")
    async with platform(settings) as asked:
        first = [await said(asked, f"${n}") for n in (1, 2, 1)]
    async with platform(settings) as asked:
        second = [await said(asked, f"${n}") for n in (2, 1, 3)]
    assert first == ["1: hello", "2: hello", "1: hello"]
    assert second == ["2: hello", "1: hello", "3: hello"]


async def test_turns_at_once_are_counted_once_each() -> None:
    """Twenty events, each handled by three tasks, are the numbers 1 to 20."""
    async with echo() as asked:
        found = await asyncio.gather(
            *(said(asked, f"${n % 20}", text=f"{n % 20}") for n in range(60))
        )
    assert len(set(found)) == 20
    assert sorted(int(text.partition(":")[0]) for text in set(found)) == [*range(1, 21)]


async def test_a_cancelled_turn_holds_nothing_up() -> None:
    """Who is cancelled in the middle leaves a platform that goes on counting."""
    async with echo() as asked:
        for n in range(50):
            task = asyncio.create_task(said(asked, f"$c{n}"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        again = [await said(asked, f"$c{n}") for n in range(50)]
        assert len(set(again)) == 50
        assert await said(asked, "$last") == "51: hello"


async def test_the_memory_is_bounded(tmp_path: Path) -> None:
    """Only the newest events of a conversation are kept, and its count goes on."""
    path = tmp_path / "echo.db"
    async with echo(path) as asked:
        await said(asked, "$other", chat="other")
    with closing(sqlite3.connect(path)) as file, file:
        file.executemany(
            "INSERT INTO turns VALUES ('chat', ?, ?)",
            [(n, f"${n}") for n in range(1, REMEMBERED + 101)],
        )
    async with echo(path) as asked:
        assert await said(asked, "$new") == f"{REMEMBERED + 101}: hello"
        assert await said(asked, f"${REMEMBERED}") == f"{REMEMBERED}: hello"
        assert await said(asked, "$other", chat="other") == "1: hello"
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM turns").fetchone() == (
            REMEMBERED + 1,
        )


KILLED = """
import asyncio, sys
from pathlib import Path
from adapter.platform.base import Turn
from adapter.platform.echo import echo

async def main():
    async with echo(Path(sys.argv[1])) as asked:
        for n in range(100_000):
            (message,) = await asked.answer(Turn("chat", "@a:hs", "!r", f"${n}", "x"))
            print(message.text, flush=True)

asyncio.run(main())
"""


async def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    """After SIGKILL every answer that anybody saw is given again, and the count goes on."""
    path = tmp_path / "echo.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KILLED,
        str(path),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout
    seen = [(await process.stdout.readline()).decode().strip() for _ in range(30)]
    process.kill()
    rest = (await process.stdout.read()).decode()
    await process.wait()
    # The last line may have been cut.
    seen += rest.splitlines() if rest.endswith("\n") else rest.splitlines()[:-1]
    async with echo(path) as asked:
        again = [await said(asked, f"${n}", text="x") for n in range(len(seen))]
        assert again == seen == [f"{n + 1}: x" for n in range(len(seen))]
        number = int((await said(asked, "$new")).partition(":")[0])
    # One more may have been counted whose answer nobody saw.
    assert number - len(seen) in (1, 2)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_nothing_that_was_said_is_kept(tmp_path: Path) -> None:
    """The file holds ids and numbers, is its owner's alone, and no repr tells more."""
    path = tmp_path / "echo.db"
    async with echo(path) as asked:
        told = turn("$1", text="a secret word")
        (message,) = await asked.answer(told)
        kept = everything_in(tmp_path)
    assert b"$1" in kept
    assert b"secret" not in kept
    assert "secret" not in repr(told) + repr(message)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_halves_of_characters_do_no_harm() -> None:
    """An id that UTF-8 cannot hold is an id like any other."""
    async with echo() as asked:
        assert await said(asked, "$\ud800") == "1: hello"
        assert await said(asked, "$\ud800") == "1: hello"


def others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE room_meta (room_id TEXT)")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA application_id = 0x5BACEEC0")
        file.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 99), "not a database"),
        (lambda path: path.mkdir(), "Is a directory"),
        (others, "maybe the bot's cache"),
        (newer, "newer Spacekeeper"),
    ],
)
async def test_what_is_not_ours_is_left_alone(
    tmp_path: Path, make: object, why: str
) -> None:
    """A file of something else is refused with a sentence, and stays what it is."""
    path = tmp_path / "echo.db"
    assert callable(make)
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(FileUnusable, match=why) as caught:
        async with echo(path):
            pass
    assert "set another `platform.path`" in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """Folders are not made on the way: the path may be a mistake."""
    with pytest.raises(FileUnusable, match="No such file"):
        async with echo(tmp_path / "missing" / "echo.db"):
            pass


async def test_another_writer_is_worth_waiting_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody else is writing makes the platform busy, not broken."""
    monkeypatch.setattr("adapter.platform.echo._BUSY_TIMEOUT", 0.05)
    path = tmp_path / "echo.db"
    async with echo(path) as asked:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(PlatformBusy, match="another program"):
                await said(asked, "$1")
        assert await said(asked, "$1") == "1: hello"


@pytest.mark.parametrize("kind", ["http", "smoke"])
def test_half_a_setting_is_named(kind: str) -> None:
    """Settings that no platform can be made of say what is missing."""
    with pytest.raises(PlatformMisconfigured, match=r"`platform\.(url|kind)`"):
        platform(PlatformSettings(kind=kind))
