"""The embedded homeserver behind `spacekeeper demo`, `spacekeeper dev` and the tests.

It is a real Synapse, in a child process, on the loopback interface, with SQLite,
without federation, and it does not outlive its parent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import json
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import aiohttp

from adapter.cli.account import CallFailed, Login, call, http_session
from adapter.cli.leash import leashed

__all__ = ["Homeserver", "HomeserverError", "Limits", "Login", "homeserver"]

Limits = Literal["none", "default"]

_HOST: Final = "127.0.0.1"
_TAIL: Final = 15  # lines of the server's log that an error quotes

_LOGGING: Final = {
    "version": 1,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "WARNING", "handlers": ["out"]},
}


class HomeserverError(Exception):
    """The embedded homeserver cannot be had; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Homeserver:
    """A running homeserver. It may be used from any event loop."""

    url: str
    server_name: str
    _secret: str = field(repr=False)

    async def register(
        self, localpart: str, *, admin: bool = False, password: str | None = None
    ) -> Login:
        """Create the account and log it in. A localpart that is taken is `CallFailed`.

        Without a password nobody else can log in to it.
        """
        url = f"{self.url}/_synapse/admin/v1/register"
        async with http_session() as session:
            nonce = (await call(session, "GET", url))["nonce"]
            role = "admin" if admin else "notadmin"
            password = password or secrets.token_urlsafe()
            signed = "\0".join((nonce, localpart, password, role)).encode()
            # Synapse's own choice of hash: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
            mac = hmac.new(self._secret.encode(), signed, hashlib.sha1).hexdigest()
            body = {
                "nonce": nonce,
                "username": localpart,
                "password": password,
                "admin": admin,
                "mac": mac,
            }
            answer = await call(session, "POST", url, body=body)
        return Login(answer["user_id"], answer["access_token"], answer["device_id"])


@asynccontextmanager
async def homeserver(
    folder: Path | None = None,
    *,
    server_name: str = "hs.test",
    limits: Limits = "none",
    port: int = 0,
    patience: float = 60.0,
) -> AsyncIterator[Homeserver]:
    """Run a homeserver for as long as the block lasts.

    Without a folder everything is gone afterwards; a given one is kept, and a later
    server in it has the same accounts and rooms. `limits="default"` are Synapse's own
    rate limits. Port 0 is any free port. Raises `HomeserverError` if the server is not
    ready within `patience` seconds.
    """
    if importlib.util.find_spec("synapse") is None:
        msg = "the embedded homeserver is not installed: pip install '.[demo]'"
        raise HomeserverError(msg)
    with _folder(folder) as home, _reserved(port) as port:
        secret = secrets.token_hex()
        config = _write_config(home, server_name, limits, port, secret)
        log = home / "homeserver.log"
        with _child(config, log) as child:
            url = f"http://{_HOST}:{port}"
            await _ready(url, child, log, patience)
            try:
                yield Homeserver(url, server_name, secret)
            finally:
                child.terminate()
                await _ended(child, patience=10.0)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """Yield an absolute folder that exists, for the duration if none was given."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="spacekeeper-homeserver-") as temporary:
        yield Path(temporary).resolve()


@contextmanager
def _reserved(port: int) -> Iterator[int]:
    """Yield a port that nobody else gets before the child listens on it.

    On Linux a bound socket keeps others off, while the child, which reuses addresses
    as this socket does, may still take it. Elsewhere it could not, so the port is
    only tried there.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((_HOST, port))
        except OSError as exc:
            msg = f"port {port} is taken or not allowed: choose another, or 0 for any free one"
            raise HomeserverError(msg) from exc
        number: int = held.getsockname()[1]
        if not sys.platform.startswith("linux"):
            held.close()
        yield number


def _write_config(
    home: Path, server_name: str, limits: Limits, port: int, secret: str
) -> Path:
    """Write Synapse's configuration, and its signing key if there is none yet."""
    signing_key = home / "signing.key"
    if not signing_key.exists():
        # Synapse would make one itself, in a process of its own: as slow as a start.
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        _write_private(signing_key, f"ed25519 a_{secrets.token_hex(2)} {seed}\n")
    listener = {
        "port": port,
        "bind_addresses": [_HOST],
        "type": "http",
        "tls": False,
        "resources": [{"names": ["client"]}],
    }
    config = {
        "server_name": server_name,
        "listeners": [listener],
        "database": {"name": "sqlite3", "args": {"database": str(home / "hs.db")}},
        "log_config": str(home / "log.json"),
        "signing_key_path": str(signing_key),
        "registration_shared_secret": secret,
        "macaroon_secret_key": secrets.token_hex(),
        "form_secret": secrets.token_hex(),
        "bcrypt_rounds": 4,  # the least there is: hashing is most of a registration
        "report_stats": False,
        # Nothing leaves this machine.
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        # What no bot needs costs start-up time.
        "enable_media_repo": False,
        "presence": {"enabled": False},
        "user_directory": {"enabled": False},
    }
    if limits == "none":
        config |= _lifted_limits()
    _write_private(home / "log.json", json.dumps(_LOGGING))
    path = home / "homeserver.json"  # JSON is YAML
    _write_private(path, json.dumps(config, indent=2))
    return path


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _lifted_limits() -> dict[str, object]:
    lifted = {"per_second": 1e6, "burst_count": 1_000_000}
    single = (
        "rc_message",
        "rc_registration",
        "rc_admin_redaction",
        "rc_joins_per_room",
        "rc_third_party_invite",
        "rc_room_creation",
        "rc_key_requests",
        "rc_profile",
        "rc_delayed_event_mgmt",
    )
    nested = {
        "rc_login": ("address", "account", "failed_attempts"),
        "rc_joins": ("local", "remote"),
        "rc_invites": ("per_room", "per_user", "per_issuer"),
    }
    return dict.fromkeys(single, lifted) | {
        key: dict.fromkeys(parts, lifted) for key, parts in nested.items()
    }


@contextmanager
def _child(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start Synapse; at the end of the block it has ended, by force if need be."""
    # A session of its own: Ctrl-C is for this process, which then ends the child in order.
    with (
        log.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
            leashed("synapse.app.homeserver", "--config-path", str(config)),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=config.parent,
            start_new_session=True,
        ) as child,
    ):
        try:
            yield child
        finally:
            child.kill()


async def _ready(
    url: str, child: subprocess.Popen[bytes], log: Path, patience: float
) -> None:
    """Return when the server answers. Raise if it ends first or takes too long."""
    try:
        async with asyncio.timeout(patience), http_session() as session:
            while child.poll() is None:
                try:
                    await call(session, "GET", f"{url}/_matrix/client/versions")
                except (aiohttp.ClientError, CallFailed):
                    await asyncio.sleep(0.03)
                else:
                    return
    except TimeoutError as exc:
        msg = f"the homeserver did not answer within {patience:g} s; {_end_of(log)}"
        raise HomeserverError(msg) from exc
    msg = f"the homeserver ended with exit code {child.returncode}; {_end_of(log)}"
    raise HomeserverError(msg)


async def _ended(child: subprocess.Popen[bytes], patience: float) -> None:
    """Return when the child has ended, or has had time enough to."""
    for _ in range(int(patience / 0.01)):
        if child.poll() is not None:
            return
        await asyncio.sleep(0.01)


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    said = [line for line in lines if line.strip()][-_TAIL:]
    return "the end of its log:\n" + "\n".join(said) if said else "its log is empty"
