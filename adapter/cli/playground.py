"""The folder of `spacekeeper dev`: who is there, with which passwords, at which port."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapter.cli import config_file
from adapter.cli.account import Account, CallFailed, Login, call, http_session
from adapter.cli.errors import CommandError
from adapter.cli.files import write
from adapter.cli.homeserver import Homeserver

BOT: Final = "bot"

_NAMES: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
_CONSONANTS: Final = "bdfghklmnprstvz"
_VOWELS: Final = "aeiou"


@contextmanager
def playground(keep: Path | None, users: int) -> Iterator[Playground]:
    """Open the folder `keep`, made if it is missing, with at least so many people in it.

    `None` is a temporary folder. Raises `CommandError` if the folder is something else,
    or in use."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="spacekeeper-dev-") as temporary:
            yield Playground.open(Path(temporary).resolve(), users)
        return
    folder = keep.resolve()
    _refuse_what_is_none(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder):
        yield Playground.open(folder, users)


@dataclass
class Playground:
    """What is kept of it. The passwords, the bot's too, stand in a file of mode 0600."""

    folder: Path
    passwords: dict[str, str]
    """Localpart -> password."""
    port: int = 0
    """Where the homeserver was the last time; 0 if it never was."""

    @classmethod
    def open(cls, folder: Path, users: int) -> Playground:
        path = _logins(folder)
        empty: dict[str, Any] = {"port": 0, "passwords": {}}
        kept = _read(path) if path.exists() else empty
        passwords: dict[str, str] = kept["passwords"]
        for name in (BOT, *_names(users)):
            passwords.setdefault(name, _password())
        opened = cls(folder, passwords, kept["port"])
        # Before any account is made: one without a known password would be lost.
        opened.save()
        return opened

    @property
    def config(self) -> Path:
        return self.folder / "spacekeeper.yaml"

    @property
    def people(self) -> dict[str, str]:
        return {name: self.passwords[name] for name in self.passwords if name != BOT}

    def save(self) -> None:
        kept = {"port": self.port, "passwords": self.passwords}
        write(_logins(self.folder), (json.dumps(kept, indent=2) + "\n").encode())

    async def populate(self, server: Homeserver) -> None:
        """Make the accounts that are missing, and the bot's config file."""
        self.port = int(server.url.rpartition(":")[2])
        self.save()
        for name, password in self.passwords.items():
            await _register(server, name, password)
        if not self.config.exists():
            await self._log_the_bot_in(server)
        elif config_file.existing(self.config).get("homeserver") != server.url:
            config_file.save(self.config, {"homeserver": server.url})
            # The cache belongs to the old address. Matrix fills a new one.
            for suffix in ("", "-wal", "-shm"):
                (self.folder / f"spacekeeper.db{suffix}").unlink(missing_ok=True)

    async def _log_the_bot_in(self, server: Homeserver) -> None:
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": BOT},
            "password": self.passwords[BOT],
            "initial_device_display_name": "Spacekeeper",
        }
        url = f"{server.url}/_matrix/client/v3/login"
        async with http_session() as session:
            device = await call(session, "POST", url, body=body)
        names = ("user_id", "access_token", "device_id")
        known = {name: device[name] for name in names}
        config_file.save(self.config, {"homeserver": server.url} | known)


async def _register(server: Homeserver, name: str, password: str) -> None:
    """Make the account if there is none, and leave no device of ours in it."""
    try:
        login: Login = await server.register(name, password=password)
    except CallFailed as refused:
        if refused.errcode != "M_USER_IN_USE":
            raise
        return
    async with http_session() as session:
        await Account(server.url, login, session).call("POST", "logout", {})


def _read(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        if isinstance(kept["port"], int) and isinstance(kept["passwords"], dict):
            return kept
    except (ValueError, TypeError, KeyError):
        pass
    msg = f"{path} is damaged: put it right, or give --keep a new folder"
    raise CommandError(msg)


def _names(users: int) -> list[str]:
    more = [f"user{number}" for number in range(len(_NAMES) + 1, users + 1)]
    return [*_NAMES[:users], *more]


def _password() -> str:
    """Easy to type, and of some 37 bits: the server can be reached from here alone."""
    return "-".join(
        "".join(
            secrets.choice(letters)
            for letters in (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS)
        )
        for _ in range(3)
    )


def _logins(folder: Path) -> Path:
    return folder / "logins.json"


def _refuse_what_is_none(folder: Path) -> None:
    """Raise for a folder with something else in it: this one is filled with files."""
    if folder.is_dir() and any(folder.iterdir()) and not _logins(folder).exists():
        msg = (
            f"{folder} holds something else: give --keep a new folder, or an empty one"
        )
        raise CommandError(msg)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second `dev`; the lock ends with this process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"another `spacekeeper dev` uses {folder}: end that one, or give --keep another folder"
            raise CommandError(msg) from None
        yield
    finally:
        os.close(descriptor)
