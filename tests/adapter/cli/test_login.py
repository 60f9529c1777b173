"""`login`: one question, one request, one file for its owner alone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.cli.homeserver import Homeserver
from adapter.config import load
from tests.adapter.cli.runs import (
    ROOT,
    TOKEN,
    configured,
    is_one_sentence,
    run,
    run_apart,
)

PASSWORD = "correct horse"  # noqa: S105 - it opens nothing
USER = "@bot:hs.test"
LOGIN = {"user_id": USER, "device_id": "DEV", "access_token": TOKEN}


class Server:
    """Answers every login with what `answer` holds, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, json.dumps(LOGIN).encode())
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.asked.append(
                    {"path": self.path, **json.loads(self.rfile.read(length))}
                )
                status, body = outer.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status // 100 == 3:
                    self.send_header("Location", f"{outer.url}/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.http.shutdown()
    thread.join()
    found.http.server_close()


def log_in(config: Path, server: Server | str, user: str = USER, **given: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    args = ["--config", str(config), "login", "--homeserver", url, "--user", user]
    result = run(*args, **{"input": f"{PASSWORD}\n", **given})
    assert PASSWORD not in result.output
    return result


def test_the_first_login(server: Server, tmp_path: Path) -> None:
    """The file is all that a plan needs, and nobody else can read it."""
    config = tmp_path / "spacekeeper.yaml"
    result = log_in(config, server)
    assert (result.exit_code, result.stdout) == (0, "")
    assert config.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(config.read_text()) == {
        "homeserver": server.url,
        "user_id": USER,
        "access_token": TOKEN,
        "device_id": "DEV",
    }
    found = load(config, {})
    assert (found.access_token.reveal(), found.device_id) == (TOKEN, "DEV")
    assert server.asked == [
        {
            "path": "/_matrix/client/v3/login",
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": USER},
            "password": PASSWORD,
            "initial_device_display_name": "Spacekeeper",
        }
    ]


def test_everything_else_in_the_file_stays(server: Server, tmp_path: Path) -> None:
    """Comments, order and other settings; the device of before is used again."""
    config = configured(
        tmp_path,
        f"""\
# My bot
user_id: "{USER}"  # whose it is
access_token: syt_old
reconcile: {{interval: 1m}} # often
device_id: 'DEV'
homeserver: https://matrix.hs.test""",
    )
    config.chmod(0o644)
    assert log_in(config, server).exit_code == 0
    assert (
        config.read_text()
        == f"""\
# My bot
user_id: "{USER}"  # whose it is
access_token: "{TOKEN}"
reconcile: {{interval: 1m}} # often
device_id: "DEV"
homeserver: "{server.url}"
"""[:-1]
    )
    assert config.stat().st_mode & 0o777 == 0o600
    assert server.asked[0]["device_id"] == "DEV"


@pytest.mark.parametrize(
    "text",
    [
        "{routing: members}",
        "routing: members\naccess_token: |\n  syt_old\n",
        "---\nrouting: members\n...\n",
        "\n# only a comment\nrouting: members",
    ],
)
def test_whatever_the_file_looks_like(
    text: str, server: Server, tmp_path: Path
) -> None:
    config = configured(tmp_path, text)
    assert log_in(config, server).exit_code == 0
    found = load(config, {})
    assert (found.routing, found.access_token.reveal()) == ("members", TOKEN)


def test_a_sample_is_no_account(server: Server, tmp_path: Path) -> None:
    """What was copied from the documentation can be logged in to."""
    config = configured(
        tmp_path, 'user_id: "@bot:example.org"\naccess_token: <token>\n'
    )
    assert log_in(config, server).exit_code == 0
    assert load(config, {}).user_id == USER
    assert "device_id" not in server.asked[0]


def test_another_account_is_refused_before_anything_is_asked(
    server: Server, tmp_path: Path
) -> None:
    config = configured(tmp_path)
    before = config.read_text()
    result = log_in(config, server, "@other:hs.test")
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert f"holds the account {USER}" in result.stderr
    assert server.asked == []
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            403,
            {"errcode": "M_FORBIDDEN", "error": f"bad {PASSWORD}"},
            "does not accept",
        ),
        (403, {"errcode": "M_USER_DEACTIVATED"}, "does not log this account in"),
        (
            400,
            {"errcode": "M_UNKNOWN", "error": PASSWORD},
            "does not log this account in",
        ),
        (404, {"errcode": "M_UNRECOGNIZED"}, "does not log this account in"),
        (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 9000}, "to wait 9 s"),
        (500, {"errcode": "M_UNKNOWN", "error": f"no {PASSWORD}"}, "500"),
        (502, "<html>Bad gateway</html>", "502"),
        (302, "", "redirects elsewhere"),
        (200, "<html>Welcome</html>", "is not a Matrix server"),
        (200, '{"user_id": "@bot:', "cut off"),
        (200, {}, "something that is no login"),
        (200, [], "something that is no login"),
        (200, {**LOGIN, "access_token": 5}, "something that is no login"),
        (200, {**LOGIN, "user_id": "@Bot:hs.test"}, "logged in @Bot:hs.test"),
    ],
)
def test_what_is_no_login_changes_nothing(
    status: int, body: Any, said: str, server: Server, tmp_path: Path
) -> None:
    """One sentence, no file, and neither password nor token in it, whoever says them."""
    text = body if isinstance(body, str) else json.dumps(body)
    server.answer = (status, text.encode())
    result = log_in(tmp_path / "c.yaml", server)
    assert (result.exit_code, result.stdout) == (1, "")
    assert is_one_sentence(result.stderr)
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "user", "text", "said"),
    [
        ("http://127.0.0.1:1", USER, PASSWORD, "cannot be reached"),
        ("http://127.0.0.1:1", USER, "", "no password was given"),
        ("hs.test", USER, PASSWORD, "--homeserver: expected the homeserver's URL"),
        ("https://matrix.example.org", USER, PASSWORD, "--homeserver: a sample value"),
        ("https://hs.test", "bot", PASSWORD, "--user: expected the bot's user id"),
    ],
)
def test_what_cannot_be_logged_in_to(
    url: str, user: str, text: str, said: str, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    result = log_in(config, url, user, input=text)
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr), result.stderr
    assert said in result.stderr
    assert not config.exists()


@pytest.mark.parametrize("where", ["", "no/such/folder/c.yaml"])
def test_where_nothing_can_be_written_nothing_is_asked(
    where: str, server: Server, tmp_path: Path
) -> None:
    """A login that leads nowhere would still make a device."""
    result = log_in(tmp_path / where, server)
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert server.asked == []


def test_where_nobody_may_write_nothing_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is read-only, said by the system: the tests may be run by root."""
    monkeypatch.setattr("adapter.cli.config_file.os.access", lambda path, mode: False)
    result = log_in(tmp_path / "c.yaml", server)
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert server.asked == []


def test_a_broken_config_is_left_alone(server: Server, tmp_path: Path) -> None:
    config = configured(tmp_path, f"access_token: {TOKEN}: [")
    result = log_in(config, server)
    assert result.exit_code == 1
    assert is_one_sentence(result.stderr)
    assert config.read_text() == f"access_token: {TOKEN}: ["
    assert server.asked == []


def test_on_a_terminal_nothing_typed_is_shown(server: Server, tmp_path: Path) -> None:
    """The question is asked once; what answers it is not echoed."""
    ours, theirs = os.openpty()
    config = tmp_path / "spacekeeper.yaml"
    args = [
        "--config",
        str(config),
        "login",
        "--homeserver",
        server.url,
        "--user",
        USER,
    ]
    process = subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-m", "adapter.cli.main", *args],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while not shown.endswith(b": "):
            shown += os.read(ours, 1)
        os.write(ours, f"{PASSWORD}\n".encode())
        assert process.wait(30) == 0
        shown += os.read(ours, 10_000)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert shown.startswith(b"Password of @bot:hs.test: \r\nlogged in as @bot:hs.test")
    assert PASSWORD.encode() not in shown
    assert load(config, {}).access_token.reveal() == TOKEN


async def test_with_a_real_homeserver(homeserver: Homeserver, tmp_path: Path) -> None:
    """From a password to a token that the homeserver knows."""
    import aiohttp

    password = "a real password"  # noqa: S105
    known = await homeserver.register("login-test", password=password)
    config = tmp_path / "spacekeeper.yaml"
    args = ["--homeserver", homeserver.url, "--user", known.user_id]
    done = await asyncio.to_thread(
        run_apart, "--config", str(config), "login", *args, input=f"{password}\n"
    )
    assert done.returncode == 0, done.stderr
    assert password not in done.stdout + done.stderr
    found = load(config, {})
    assert found.access_token.reveal() not in done.stdout + done.stderr
    headers = {"Authorization": f"Bearer {found.access_token.reveal()}"}
    url = f"{homeserver.url}/_matrix/client/v3/account/whoami"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as r,
    ):
        whoami = await r.json()
    assert whoami["user_id"] == known.user_id
    assert whoami["device_id"] == found.device_id
