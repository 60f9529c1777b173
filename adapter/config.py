"""Settings as values: what the bot and the commands are told, checked as a whole."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapter.config_sources import PREFIX, overlaid, read_file, samples
from adapter.matrix.facts import EventTypes
from adapter.matrix.settings import ReconcileSettings
from adapter.strict_yaml import StrictYamlError
from schemas.validation import Problem, problems

__all__ = [
    "Config",
    "ConfigError",
    "EventTypes",
    "InviteSettings",
    "PlatformSettings",
    "ReconcileSettings",
    "RoomSettings",
    "Secret",
    "load",
    "seconds",
]

log = logging.getLogger(__name__)


class ConfigError(Exception):
    """The settings cannot be used: a sentence for each problem, and what to do."""


class Secret:
    """Text that no log, message or traceback shows; `reveal` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class InviteSettings:
    """Who may invite the bot."""

    allow: tuple[str, ...] = ()
    """User ids, `*` for any run of characters. `load` puts the bot's own server where
    nothing is said; an empty list means nobody."""


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """How new rooms are made."""

    version: str = "11"
    """Room version, 11 or higher."""
    space_name: str = "{name}"
    """Name of a new Space: `{name}` is the owner's display name, `{user}` their id."""
    chat_name: str = "Chat {n}"
    """Name of a new chat: `{n}` is its number."""
    settle: float = 60.0
    """Seconds in which a room whose creation was not answered may still appear."""


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """The backend that answers."""

    kind: str = "echo"
    """`echo` or `http`."""
    path: Path | None = None
    """File in which `echo` keeps its conversations; `None` keeps them in memory. `load`
    puts one beside the database where nothing is said."""
    url: str | None = None
    """Where `http` asks."""
    token: Secret | None = None
    """Bearer token for `http`."""
    timeout: float = 60.0
    """Seconds that an answer may take."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that is set, in the file and the environment together."""

    homeserver: str
    """Base URL of the homeserver, without a slash at its end."""
    user_id: str
    """The bot's user id."""
    access_token: Secret
    """The bot's access token."""
    device_id: str | None = None
    """The token's device; `None`: ask the homeserver."""
    database: Path = Path("spacekeeper.db")
    """File of the cache. `load` makes it absolute, from the config file's folder."""
    reconcile: ReconcileSettings = field(default_factory=ReconcileSettings)
    """When passes run, and what they may do."""
    routing: str = "owner"
    """Whose words in a chat room are answered: `owner` or `members`."""
    invites: InviteSettings = field(default_factory=InviteSettings)
    """Who may invite the bot."""
    rooms: RoomSettings = field(default_factory=RoomSettings)
    """How new rooms are made."""
    platform: PlatformSettings = field(default_factory=PlatformSettings)
    """The backend that answers."""
    events: EventTypes = field(default_factory=EventTypes)
    """Names of the bot's own events."""


def load(path: str | Path, environ: Mapping[str, str]) -> Config:
    """Read the config file at `path` and lay the settings of `environ` over it.

    The file may be missing if the environment holds all that is required. Raises
    `ConfigError` with every problem at once, each with its place; no sentence holds a
    value, as it might be a secret. Warns once when others can read the file."""
    path = Path(path)
    data = _file(path)
    whole, places, unread = overlaid(data or {}, environ)
    found = problems("config", whole)
    if data is None and (missing := _missing(found)):
        msg = (
            f"there is no config file {path}, and the environment does not hold "
            f"{', '.join(missing)}: run `spacekeeper login`, give --config FILE, or set "
            f"{', '.join(PREFIX + name.upper() for name in missing)}"
        )
        raise ConfigError(msg)
    unchanged = samples(whole)
    told = {sample.place for sample in unchanged}
    found = [problem for problem in found if problem.place not in told] + unchanged
    placed = [Problem(_place(p.place, places), p.message) for p in found]
    if placed or unread:
        raise ConfigError(_sentence(path, data is not None, unread + placed))
    if data is not None:
        _warn_if_open(path)
    config = _config(whole, path.absolute().parent)
    if config.database.resolve() == path.resolve():
        # As a damaged database it would be moved aside, and the token with it.
        msg = f"`database` is {path} itself: name another file"
        raise ConfigError(msg)
    return config


def seconds(duration: str) -> float:
    """Read a duration such as 500ms, 30s, 5m, 1h or 1d."""
    match = re.fullmatch(r"([0-9]{1,10})(ms|s|m|h|d)", duration)
    if match is None:
        msg = "expected a duration such as 500ms, 30s, 5m, 1h or 1d"
        raise ValueError(msg)
    return int(match[1]) * _UNITS[match[2]]


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _file(path: Path) -> Mapping[str, Any] | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        return None
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise ConfigError(msg) from exc
    except StrictYamlError as exc:
        msg = f"{path} cannot be used: {exc}"
        raise ConfigError(msg) from exc


def _place(place: str, places: Mapping[str, str]) -> str:
    """Name the variable where the environment decides; a list's place is its variable's."""
    for decided, variable in places.items():
        if place == decided or place.startswith(f"{decided}["):
            return variable + place.removeprefix(decided)
    return place


def _missing(found: list[Problem]) -> list[str]:
    required = {"$.homeserver", "$.user_id", "$.access_token"}
    return [
        p.place.removeprefix("$.")
        for p in found
        if p.place in required and p.message.startswith("missing")
    ]


def _sentence(path: Path, is_there: bool, found: list[Problem]) -> str:
    where = str(path) if is_there else "the environment"
    if len(found) == 1:
        return f"{where} cannot be used: {found[0]}"
    lines = "".join(f"\n  {problem}" for problem in found)
    return f"{where} cannot be used; {len(found)} settings need correcting:{lines}"


def _warn_if_open(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o044:
        log.warning(
            "%s can be read by others (mode %03o): make it yours alone with `chmod 600`",
            path,
            mode,
        )


def _config(data: dict[str, Any], folder: Path) -> Config:
    """Build the value from valid `data`; a key that is absent leaves its default."""
    server = data["user_id"].partition(":")[2]
    database = folder / Path(data.get("database", "spacekeeper.db")).expanduser()
    given: dict[str, Any] = {
        **data,
        "homeserver": data["homeserver"].rstrip("/"),
        "access_token": Secret(data["access_token"]),
        "database": database,
        "reconcile": ReconcileSettings(
            **_converted(
                data.get("reconcile", {}),
                interval=seconds,
                full_interval=seconds,
                publish_patience=seconds,
                max_detach=int,
            )
        ),
        "invites": InviteSettings(
            tuple(data.get("invites", {}).get("allow", [f"*:{server}"]))
        ),
        "rooms": RoomSettings(
            **_converted(data.get("rooms", {}), version=str, settle=seconds)
        ),
        "platform": PlatformSettings(
            **_converted(
                {"path": database.with_suffix(".echo.db")} | data.get("platform", {}),
                path=lambda text: folder / Path(text).expanduser(),
                token=Secret,
                timeout=seconds,
            )
        ),
        "events": EventTypes(**data.get("events", {})),
    }
    return Config(**given)


def _converted(
    data: Mapping[str, Any], **how: Callable[[Any], Any]
) -> Mapping[str, Any]:
    return {key: how[key](item) if key in how else item for key, item in data.items()}
