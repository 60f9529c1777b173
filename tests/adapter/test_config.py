"""Settings: from a file and the environment, checked as a whole, secrets kept."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from adapter.config import (
    Config,
    ConfigError,
    InviteSettings,
    PlatformSettings,
    ReconcileSettings,
    RoomSettings,
    Secret,
    load,
    seconds,
)
from adapter.config_sources import is_sample, settings
from adapter.matrix.facts import EventTypes

GOOD = """\
homeserver: https://matrix.hs.test/
user_id: "@bot:hs.test"
access_token: syt_secret
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spacekeeper.yaml"
    path.write_text(GOOD)
    path.chmod(0o600)
    return path


def refused(path: Path, text: str | None = None, **environ: str) -> str:
    """The sentence that `load` refuses with; it never holds the token."""
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {f"SPACEKEEPER_{key}": value for key, value in environ.items()})
    assert "syt_secret" not in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


def test_defaults() -> None:
    """Every default is pinned: changing one changes what running bots do."""
    assert asdict(ReconcileSettings()) == {
        "interval": 300.0,
        "full_interval": 3600.0,
        "jitter": 0.1,
        "max_detach": 3,
        "max_detach_percent": 20,
        "publish_rate": 0.1,
        "publish_patience": 30.0,
    }
    assert asdict(RoomSettings()) == {
        "version": "11",
        "space_name": "{name}",
        "chat_name": "Chat {n}",
        "settle": 60.0,
    }
    assert asdict(PlatformSettings()) == {
        "kind": "echo",
        "path": None,
        "url": None,
        "token": None,
        "timeout": 60.0,
    }
    assert EventTypes() == (
        "io.spacekeeper.identity",
        "io.spacekeeper.binding",
        "io.spacekeeper.checkpoint",
    )


def test_a_small_file_is_enough(file: Path) -> None:
    assert load(file, {}) == Config(
        homeserver="https://matrix.hs.test",
        user_id="@bot:hs.test",
        access_token=Secret("syt_secret"),
        database=file.parent / "spacekeeper.db",
        invites=InviteSettings(("*:hs.test",)),
        platform=PlatformSettings(path=file.parent / "spacekeeper.echo.db"),
    )


def test_the_schema_says_the_same_defaults(file: Path) -> None:
    """What the schema tells people and what the code does are written down apart."""
    from schemas import schema

    def defaults(rules: dict[str, object]) -> dict[str, object]:
        properties = rules["properties"]
        assert isinstance(properties, dict)
        return {
            name: defaults(inner) if "properties" in inner else inner["default"]
            for name, inner in properties.items()
            if "default" in inner or "properties" in inner
        }

    text = GOOD + "".join(
        f"{name}: {value!r}\n"
        for name, value in defaults(dict(schema("config"))).items()
        if value
    )
    plain = load(file, {})
    file.write_text(text)
    assert load(file, {}) == plain


def test_everything_can_be_set(file: Path) -> None:
    file.write_text(
        GOOD
        + """\
device_id: DEV
database: cache/x.db
reconcile: {interval: 90s, full_interval: 1d, jitter: 0, max_detach: 0,
            max_detach_percent: 12.5, publish_rate: 2, publish_patience: 0s}
routing: members
invites: {allow: []}
rooms: {version: 12, space_name: "{name}!", chat_name: "{n} {user}", settle: 500ms}
platform: {kind: http, url: "https://p.test/x", token: syt_two, timeout: 2m, path: p}
events: {binding: org.test.binding}
"""
    )
    found = load(file, {})
    assert found.device_id == "DEV"
    assert found.database == file.parent / "cache/x.db"
    assert found.reconcile == ReconcileSettings(90, 86400, 0, 0, 12.5, 2, 0)
    assert found.routing == "members"
    assert found.invites == InviteSettings(())
    assert found.rooms == RoomSettings("12", "{name}!", "{n} {user}", 0.5)
    assert found.platform == PlatformSettings(
        "http", file.parent / "p", "https://p.test/x", Secret("syt_two"), 120
    )
    assert found.events == EventTypes(binding="org.test.binding")


def test_the_environment_wins(file: Path) -> None:
    found = load(
        file,
        {
            "SPACEKEEPER_USER_ID": "@other:hs.test",
            "SPACEKEEPER_RECONCILE__FULL_INTERVAL": "2h",
            "SPACEKEEPER_RECONCILE__MAX_DETACH": "7",
            "SPACEKEEPER_INVITES__ALLOW": '["*:a.test", "@b:c.test"]',
            "SPACEKEEPER_ROOMS__VERSION": "12",
            "OTHER": "x",
        },
    )
    assert found.user_id == "@other:hs.test"
    assert found.reconcile == ReconcileSettings(full_interval=7200, max_detach=7)
    assert found.invites.allow == ("*:a.test", "@b:c.test")
    assert found.rooms.version == "12"


def test_the_environment_can_be_all(tmp_path: Path) -> None:
    """A container needs no file; its database is where the file would be."""
    path = tmp_path / "none.yaml"
    environ = {
        "SPACEKEEPER_HOMESERVER": "https://hs.test",
        "SPACEKEEPER_USER_ID": "@bot:hs.test",
        "SPACEKEEPER_ACCESS_TOKEN": "syt_secret",
    }
    assert load(path, environ).database == tmp_path / "spacekeeper.db"
    del environ["SPACEKEEPER_USER_ID"]
    with pytest.raises(ConfigError, match="does not hold user_id: run"):
        load(path, environ)


def test_every_setting_has_its_variable() -> None:
    names = [setting.variable for setting in settings()]
    assert "SPACEKEEPER_ACCESS_TOKEN" in names
    assert "SPACEKEEPER_RECONCILE__PUBLISH_PATIENCE" in names
    assert len(names) == len(set(names)) == 26


def test_every_problem_at_once_each_with_its_place(file: Path) -> None:
    said = refused(
        file,
        GOOD + "reconcile: {intervall: 5m, jitter: 2}\nrouting: all\n",
        RECONCILE__INTERVL="1m",
        RECONCILE__INTERVAL="soon",
        INVITES__ALLOW="*:hs.test",
        PLATFORM="{}",
    )
    assert said.split("\n  ") == [
        "FILE cannot be used; 7 settings need correcting:",
        "SPACEKEEPER_INVITES__ALLOW: expected a value in YAML or JSON, such as "
        """'["@user:server"]'""",
        'SPACEKEEPER_PLATFORM: unknown setting; did you mean "SPACEKEEPER_PLATFORM__URL"?',
        "SPACEKEEPER_RECONCILE__INTERVL: unknown setting; "
        'did you mean "SPACEKEEPER_RECONCILE__INTERVAL"?',
        '$.reconcile.intervall: unknown key; did you mean "interval"?',
        "$.reconcile.jitter: expected at most 1",
        "SPACEKEEPER_RECONCILE__INTERVAL: expected a duration longer than zero, "
        "such as 30s, 5m or 1h",
        "$.routing: expected one of owner, members",
    ]


def test_sample_values_are_refused(file: Path) -> None:
    said = refused(
        file,
        """\
homeserver: https://matrix.example.org
user_id: "@bot:EXAMPLE.com:8448"
access_token: <your token>
platform: {kind: http, url: "https://chat.example/api"}
rooms: {space_name: "<{name}>"}
""",
        INVITES__ALLOW='["*:hs.test", "*:x.example.net"]',
    )
    assert said.split("\n  ")[1:] == [
        "$.homeserver: a sample value: put your own here",
        "$.user_id: a sample value: put your own here",
        "$.access_token: a sample value: put your own here",
        "$.platform.url: a sample value: put your own here",
        "SPACEKEEPER_INVITES__ALLOW[1]: a sample value: put your own here",
    ]


@pytest.mark.parametrize(
    ("value", "sample"),
    [
        ("https://example.org", True),
        ("https://a.b.example.com:8448/x", True),
        ("@bot:matrix.example.net", True),
        ("*:example", True),
        ("<token>", True),
        ("https://<server>", True),
        ("@bot:example.org.", True),
        ("https://myexample.org", False),
        ("https://example.org.test", False),
        ("@example.org:hs.test", False),
        ("syt_abc", False),
        ("@bot:[::1]:8008", False),
        ("http://[broken", False),
    ],
)
def test_is_sample(value: str, sample: bool) -> None:
    assert is_sample(value) is sample


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n", "FILE cannot be used: line 2, column 1: this is not valid YAML"),
        ("syt_secret", "FILE cannot be used: expected settings such as"),
        ("access_token: syt_secret\n\tx: 1", "FILE cannot be used: line 2, column"),
        (
            "access_token: &syt_secret",
            "FILE cannot be used; 3 settings need correcting",
        ),
        ("access_token: syt_secret\naccess_token: x", "FILE cannot be used: line 2"),
        ("", "FILE cannot be used; 3 settings need correcting"),
    ],
)
def test_what_is_no_config_is_told_in_a_sentence(
    file: Path, text: str, said: str
) -> None:
    assert refused(file, text).startswith(said)


def test_the_config_file_is_no_database(file: Path) -> None:
    """It would be taken for a damaged one, and moved aside with the token in it."""
    said = refused(file, GOOD + "database: ./spacekeeper.yaml\n")
    assert said == "`database` is FILE itself: name another file"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert refused(tmp_path) == "FILE cannot be read: Is a directory"
    (tmp_path / "x").write_bytes(b"\xff")
    assert refused(tmp_path / "x") == "FILE cannot be used: it is not UTF-8 text"


def test_a_file_that_others_can_read_is_told_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load(file, {})
        assert caplog.records == []
        file.chmod(0o644)
        load(file, {})
    assert [record.getMessage() for record in caplog.records] == [
        f"{file} can be read by others (mode 644): make it yours alone with `chmod 600`"
    ]


def test_a_secret_shows_itself_to_nobody(file: Path) -> None:
    found = load(file, {})
    assert "syt_secret" not in f"{found!r} {found} {asdict(found)}"
    assert f"{found.access_token} {found.access_token!r}" == "*** ***"
    assert found.access_token.reveal() == "syt_secret"


@pytest.mark.parametrize(
    ("text", "found"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("2d", 172800)],
)
def test_seconds(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize(
    "text", ["", "5", "5 m", "-5m", "1.5h", "5m\n", "\u0665m", "5M"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        seconds(text)
