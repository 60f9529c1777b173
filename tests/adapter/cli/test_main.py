"""What stands before a command's name, and how every command ends when it cannot."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from adapter.cli import errors
from adapter.cli.logs import to_stderr
from adapter.cli.main import main
from adapter.matrix.errors import TokenRefused
from tests.adapter.cli.runs import (
    ROOT,
    TOKEN,
    configured,
    is_one_sentence,
    run,
    run_apart,
    with_reconciliation,
)

HTTP = {"nio", "aiohttp"}
MATRIX = HTTP | {"aiosqlite", "sqlite3", "asyncio"}
SLOW = MATRIX | {"jsonschema_rs", "yaml"}


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("--help", SLOW),
        ("run --help", SLOW),
        ("validate doc.yaml", MATRIX),
        ("diff doc.yaml doc.yaml", MATRIX),
        ("status", HTTP),
        ("export --from cache", HTTP),
    ],
)
def test_a_command_imports_what_it_needs(
    tmp_path: Path, command: str, unneeded: set[str]
) -> None:
    """Help waits for nothing that is slow to import, what reads documents for no
    database, and what reads the cache for no HTTP."""
    configured(tmp_path)
    run_apart("export", "--from", "cache", "--file", "doc.yaml", cwd=tmp_path)
    code = (
        "import sys; from adapter.cli.main import main\n"
        f"try: main({command.split()})\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code, *sorted({unneeded} & sys.modules.keys()))"
    )
    done = subprocess.run(  # noqa: S603 - this very program
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize("command", [None, *sorted(main.commands)])
def test_help_has_examples(command: str | None) -> None:
    result = run(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert "  spacekeeper " in result.stdout.split("Examples:\n")[1]


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("spacekeeper ")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["plan", "--bogus"], "no such option"),
        (["plan", "--config", "x"], "of plan: it goes before the command"),
        (["bogus"], "no such command"),
        ([], "missing command"),
        (["--log-format", "xml", "plan"], "invalid value for '--log-format'"),
        (["validate"], "missing argument 'FILE'"),
        (["diff", "one"], "missing argument 'NEW'"),
        (["plan", "--output", "xml"], "invalid value for '--output'"),
        (["export", "--from", "memory"], "invalid value for '--from'"),
        (["reconcile", "--allow-detach", "-1"], "invalid value for '--allow-detach'"),
        (["reconcile", "--allow-detach", "x"], "invalid value for '--allow-detach'"),
        (["login", "--user", "@bot:hs.test"], "missing option '--homeserver'"),
        (
            ["--config", "/no/such.yaml", "plan"],
            "there is no config file /no/such.yaml",
        ),
        (["--config", "/", "status"], "/ cannot be read: Is a directory"),
        (["validate", "/no/such.yaml"], "/no/such.yaml: No such file or directory"),
        (["validate", "/"], "/: Is a directory"),
        (["diff", "/no/a", "/no/b"], "/no/a: No such file or directory"),
        (["export", "--file", "/no/such/dir/x"], "there is no config file"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_1(
    args: list[str], said: str, tmp_path: Path
) -> None:
    """2 means drift, so a mistyped option must not be 2, as it is elsewhere."""
    result = run_apart(*args, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert is_one_sentence(result.stderr), result.stderr
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "reconcile", "export"])
def test_a_homeserver_that_is_not_there(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the wire layer says is the sentence; it knows what to do."""

    def refuse() -> None:
        raise TokenRefused("no access token", status=401, errcode="M_UNKNOWN_TOKEN")

    with_reconciliation(
        monkeypatch, look=refuse, reconcile_once=refuse, observed_document=refuse
    )
    result = run("--config", str(configured(tmp_path)), command)
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr.splitlines(keepends=True)[-1])
    assert "run `spacekeeper login`" in result.stderr


def test_a_defect_is_one_sentence_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also then, the token is nowhere, even if the error holds it."""

    def broken() -> None:
        raise KeyError(TOKEN)

    with_reconciliation(monkeypatch, reconcile_once=broken)
    config = str(configured(tmp_path))
    result = run("--config", config, "reconcile")
    assert result.exit_code == 1
    assert result.stderr == (
        "spacekeeper: this should not happen (KeyError): "
        "run it with --debug and report what it shows\n"
    )
    result = run("--config", config, "--debug", "reconcile")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "KeyError: '***'" in result.stderr


def test_sentences() -> None:
    group = ExceptionGroup(
        "x", [errors.CommandError("one"), errors.CommandError("two")]
    )
    assert errors.sentence(group) == "one; two"
    assert "did not answer in time" in errors.sentence(TimeoutError())
    assert errors.sentence(OSError(28, "No space left", "f")) == "f: No space left"
    assert errors.sentence(click.ClickException("x")) == "x"
    missing = ModuleNotFoundError("No module named 'nio'", name="nio")
    assert errors.sentence(missing).startswith("the package nio is missing")
    assert "(OSError)" in errors.sentence(OSError("odd"))


def test_settings_from_the_environment(
    tmp_path: Path,
) -> None:
    result = run_apart(
        "status",
        cwd=tmp_path,
        environ={
            "SPACEKEEPER_HOMESERVER": "https://hs.test",
            "SPACEKEEPER_USER_ID": "@bot:hs.test",
            "SPACEKEEPER_ACCESS_TOKEN": TOKEN,
        },
    )
    assert result.returncode == 0
    assert "account    @bot:hs.test" in result.stdout
    result = run_apart("status", cwd=tmp_path, environ={"SPACEKEEPER_USER": "x"})
    assert result.returncode == 1
    assert "SPACEKEEPER_USER_ID" in result.stderr


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`| head` ends a command quietly."""
    document = tmp_path / "d.yaml"
    document.write_text("x: 1\n" + "".join(f"k{i}: 1\n" for i in range(20_000)))
    done = subprocess.run(  # noqa: S602 - a pipe is what this is about
        f"{sys.executable} -m adapter.cli.main validate {document} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain or JSON, one line each whatever people typed, and no secret in them."""
    log = logging.getLogger("adapter.test")
    with to_stderr("plain", secrets=[TOKEN]):
        log.warning("step %s", "a\nb\u202e", extra={"room": f"!r {TOKEN}"})
    assert capsys.readouterr().err == ("warning: step a\\x0ab\\u202e  room=!r ***\n")
    with to_stderr("json", secrets=[TOKEN]):
        log.warning("step %s", "a\nb\u202e", extra={"room": f"!r {TOKEN}"})
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.isascii()
    found = json.loads(line)
    assert found.pop("at")
    assert found == {
        "level": "WARNING",
        "logger": "adapter.test",
        "message": "step a\nb\u202e",
        "room": "!r ***",
    }
    with to_stderr(times=True):
        log.warning("x")
    assert capsys.readouterr().err.endswith(" warning: x\n")


def test_demo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.cli.commands.demo.find_spec", lambda name: None)
    result = run("demo")
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert "pip install '.[demo]'" in result.stderr
