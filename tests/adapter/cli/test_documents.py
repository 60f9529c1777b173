"""`validate`, `diff`, `export` and `status`: documents and the cache, no homeserver."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapter.matrix.desired import Desired
from adapter.matrix.document import document, from_text, to_json, to_yaml
from adapter.matrix.rows import Row, topology
from adapter.matrix.store import Store
from controller.conditions import Condition
from schemas import problems
from tests.adapter.cli.runs import (
    configured,
    is_one_sentence,
    run,
    run_apart,
    with_reconciliation,
)

SPACE = Row("!s", "space", matrix_user_id="@alice:hs.test", name="Alice \u202e")
CHAT = Row("!r", "chat", "C1", "!s", "@alice:hs.test", "p1", "Chat 1")
ROWS = {"!s": SPACE, "!r": CHAT}


def made(*rows: Row) -> dict[str, Any]:
    return document(
        Desired(topology({row.room_id: row for row in rows}), {"@alice:hs.test": "!s"}),
        account="@bot:hs.test",
        homeserver="http://127.0.0.1:1",
        complete=True,
        observed_at=0,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "topology.yaml"
    path.write_text(to_yaml(made(SPACE, CHAT)))
    return path


@pytest.fixture
async def config(tmp_path: Path) -> str:
    """A config whose cache holds a Space and a chat."""
    async with Store.open(tmp_path / "spacekeeper.db", user_id="@bot:hs.test") as store:
        from adapter.matrix.store import set_room_meta

        for row in ROWS.values():
            columns = {k: v for k, v in row._asdict().items() if v is not None}
            del columns["room_id"], columns["revision"]
            await set_room_meta(store, row.room_id, **columns)
    return str(configured(tmp_path))


def test_a_valid_document(file: Path) -> None:
    result = run("validate", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: valid, 2 rooms\n")
    result = run("validate", "-", input=file.read_text())
    assert (result.exit_code, result.stdout) == (0, "-: valid, 2 rooms\n")


def test_every_problem_with_its_place(file: Path) -> None:
    found = made(SPACE, CHAT)
    found["spec"]["rooms"]["!r"] |= {"chat_id": "1", "statu\x1bs": "x"}
    found["metadata"]["account"] = "bot"
    file.write_text(to_json(found))
    result = run("validate", str(file))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}: $.metadata.account: expected a Matrix user id such as @alice:your.server",
        f'{file}: $.spec.rooms["!r"].chat_id: expected a chat id such as C1',
        f'{file}: $.spec.rooms["!r"]["statu\\u001bs"]: unknown key; did you mean "status"?',
    ]


def test_a_digest_that_does_not_match(file: Path) -> None:
    file.write_text(file.read_text().replace("Chat 1", "Chat 2"))
    result = run("validate", str(file))
    assert result.exit_code == 1
    assert result.stdout == (
        f"{file}: $.metadata.digest: not the digest of this spec: "
        "one of them was changed by hand\n"
    )


@pytest.mark.parametrize("content", [b"", b"\xff", b"a: [", b"[1]", b"{" * 100_000])
def test_what_is_no_document(content: bytes, file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(content)
    for args in (["validate", str(other)], ["diff", str(file), str(other)]):
        result = run_apart(*args)
        assert (result.returncode, result.stdout) == (1, "")
        assert is_one_sentence(result.stderr)
        assert f"{other} is no document: " in result.stderr


def test_diff(file: Path) -> None:
    """0 the same, 2 they differ; how they were written does not matter."""
    other = file.with_name("other.json")
    other.write_text(to_json(made(SPACE, CHAT) | {"status": {"complete": False}}))
    result = run("diff", str(file), str(other))
    assert (result.exit_code, result.stdout) == (0, "the same topology\n")

    other.write_text(to_json(made(SPACE, CHAT._replace(name="News"))))
    result = run("diff", str(file), str(other))
    assert result.exit_code == 2
    assert result.stdout == ('~ room !r  name: "Chat 1" -> "News"\n1 to update\n')
    result = run("diff", "--output", "json", str(file), str(other))
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert problems("plan", found) == []
    assert found["summary"]["update"] == 1

    other.write_text(to_json(made(SPACE)))
    result = run("diff", str(file), str(other))
    assert result.stdout == "- room !r  no longer there\n1 to detach\n"


def test_a_terminal_that_knows_few_letters(file: Path) -> None:
    other = file.with_name("other.json")
    other.write_text(to_json(made(SPACE, CHAT._replace(name="漢字"))))
    result = run_apart(
        "diff", str(file), str(other), environ={"PYTHONIOENCODING": "latin-1"}
    )
    assert result.returncode == 2
    assert '"Chat 1" -> "\\u6f22\\u5b57"' in result.stdout


def test_diff_of_what_is_invalid(file: Path) -> None:
    other = file.with_name("other.json")
    other.write_text('{"kind": "Topology"}')
    result = run("diff", str(file), str(other))
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert f"{other} is no valid document: $.apiVersion: missing" in result.stderr


def test_export_from_the_cache(config: str, tmp_path: Path) -> None:
    """It needs no homeserver, is valid, and the same bytes each time."""
    result = run("--config", config, "export", "--from", "cache")
    assert (result.exit_code, result.stderr) == (0, "")
    found = from_text(result.stdout)
    assert problems("topology", found) == []
    assert found["spec"] == made(SPACE, CHAT)["spec"]
    assert "\\u202E" in result.stdout
    target = tmp_path / "out.json"
    args = ["--config", config, "export", "--from", "cache", "--output", "json"]
    assert run(*args, "--file", str(target)).stdout == ""
    assert from_text(target.read_text()) == found
    assert target.stat().st_mode & 0o777 == 0o600
    assert run(*args).stdout == target.read_text()


def test_export_writes_a_file_or_leaves_it(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed changed nothing, and leaves nothing beside it."""
    target = tmp_path / "out.yaml"
    target.write_text("before")
    before = sorted(tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail)
        result = run(
            "--config", config, "export", "--from", "cache", "--file", str(target)
        )
    assert result.exit_code == 1
    assert result.stderr == f"spacekeeper: {target}: No space left on device\n"
    assert target.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == before


async def test_export_of_what_is_not_valid(config: str, tmp_path: Path) -> None:
    """Nothing is written that `validate` would refuse."""
    async with Store.open(tmp_path / "spacekeeper.db") as store:
        from adapter.matrix.store import set_room_meta

        await set_room_meta(store, "!r", chat_id="first")
    result = await asyncio.to_thread(
        run, "--config", config, "export", "--from", "cache"
    )
    assert (result.exit_code, result.stdout) == (1, "")
    assert is_one_sentence(result.stderr)
    assert '$.spec.rooms["!r"].chat_id: expected a chat id such as C1' in result.stderr


def test_export_from_matrix(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(SPACE)
    calls = with_reconciliation(monkeypatch, observed_document=lambda: found)
    result = run("--config", config, "export")
    assert (result.exit_code, result.stdout) == (0, to_yaml(found))
    assert calls.observed_document[1]["partial"] is False
    assert run("--config", config, "export", "--partial").exit_code == 0
    assert calls.observed_document[1]["partial"] is True


def test_status(config: str) -> None:
    result = run("--config", config, "status")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "account    @bot:hs.test",
        f"database   {Path(config).parent / 'spacekeeper.db'}",
        "running    no",
        "last pass  never",
        "chats      1 active",
        "spaces     1 active",
    ]
    result = run("--config", config, "status", "--output", "json")
    assert json.loads(result.stdout) == {
        "format_version": "1.0",
        "account": "@bot:hs.test",
        "database": str(Path(config).parent / "spacekeeper.db"),
        "running": False,
        "last_pass": None,
        "counts": {"chat": {"active": 1}, "space": {"active": 1}},
        "conditions": [],
        "findings": [],
        "unknown": {},
    }


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000])
@pytest.mark.parametrize("args", [["status"], ["export", "--from", "cache"]])
def test_a_cache_that_is_not_there_reads_as_empty(
    content: bytes | None, args: list[str], tmp_path: Path
) -> None:
    """One line on stderr, and nothing on the disk is made, migrated or moved."""
    config = configured(tmp_path)
    if content is not None:
        (tmp_path / "spacekeeper.db").write_bytes(content)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("--config", str(config), *args)
    assert result.exit_code == 0
    # A file without a byte is an empty database, and no reason to warn.
    assert result.stderr.count("\n") == (content != b"")
    assert "warning: " in result.stderr or content == b""
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


async def test_what_the_last_pass_said(config: str) -> None:
    """Conditions, findings and when it was, as the cache has them."""
    report = {
        "complete": True,
        "findings": [
            {"code": "lost", "room": "!x", "message": "m\n", "evidence": "$e"}
        ],
        "unknown": {"!y": "state: 503"},
    }
    path = Path(config).parent / "spacekeeper.db"
    async with Store.open(path, user_id="@bot:hs.test") as store:
        await store.record_pass(1795341600000, "applied", report)
        await store.set_conditions([Condition("Ready", "True", "Live", "it is", 0)])
    result = run_apart("--config", config, "status")
    assert "last pass  2026-11-22T10:00:00Z: applied" in result.stdout
    assert "Ready is True since 1970-01-01T00:00:00Z (Live: it is)" in result.stdout
    assert "! lost !x  m\\x0a" in result.stdout
    assert "? unknown !y  state: 503" in result.stdout
    found = json.loads(
        run_apart("--config", config, "status", "--output", "json").stdout
    )
    assert found["last_pass"] == {"at": "2026-11-22T10:00:00Z", "result": "applied"}
    assert found["findings"] == [
        {"code": "lost", "evidence": "$e", "message": "m\n", "room": "!x"}
    ]
    exported = from_text(
        run_apart("--config", config, "export", "--from", "cache").stdout
    )
    assert exported["status"]["complete"] is True
    assert exported["status"]["unknown"] == {"!y": "state: 503"}


async def test_whether_a_bot_is_running(config: str) -> None:
    """What a killed bot wrote last says that it is ready; the lock knows better."""
    path = Path(config).parent / "spacekeeper.db"
    living = (
        "import asyncio, sys\n"
        "from adapter.matrix.store import Store\n"
        "async def live():\n"
        "    async with Store.open(sys.argv[1], user_id='@bot:hs.test'):\n"
        "        print('open', flush=True)\n"
        "        sys.stdin.read()\n"
        "asyncio.run(live())\n"
    )
    async with Store.open(path, user_id="@bot:hs.test") as store:
        await store.set_conditions([Condition("Ready", "True", "Live", "it is", 0)])

    def status() -> tuple[bool, bool]:
        text = run("--config", config, "status").stdout
        told = json.loads(run("--config", config, "status", "--output", "json").stdout)
        assert ("running    yes" in text) == told["running"]
        assert "Ready is True" in text
        return told["running"], "no bot is running" in text

    def observed() -> list[tuple[bool, bool]]:
        with subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", living, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as bot:
            assert bot.stdout is not None
            bot.stdout.readline()
            while_it_lives = status()
            bot.kill()
        return [while_it_lives, status()]

    assert await asyncio.to_thread(observed) == [(True, False), (False, True)]


async def test_a_pass_that_saw_nothing(config: str) -> None:
    """Then the reason is what a person wants to know."""
    path = Path(config).parent / "spacekeeper.db"
    async with Store.open(path, user_id="@bot:hs.test") as store:
        await store.record_pass(1795341600000, "failed", {"error": "it is down"})
    result = run_apart("--config", config, "status")
    assert "last pass  2026-11-22T10:00:00Z: failed (it is down)" in result.stdout
    result = run_apart("--config", config, "status", "--output", "json")
    assert json.loads(result.stdout)["last_pass"]["error"] == "it is down"
    exported = from_text(
        run_apart("--config", config, "export", "--from", "cache").stdout
    )
    assert exported["status"]["complete"] is False
