"""Installing the peers into the cache, and running them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from adapter.cli.account import Account
from adapter.cli.processes import completed

HERE: Final = Path(__file__).parent
LISTS: Final = ("requirements.txt", "package.json")
"""What is to be installed."""
SCRIPTS: Final = ("js_sdk_prepared.mjs",)
"""What has to stand beside its modules for Node.js to find them."""


DIFFS: Final = ("kopf", "dictdiffer", "jsonpatch", "deepdiff")
"""Libraries that compare nested data."""


class Peer(NamedTuple):
    """A client that knows all rooms after its first sync."""

    name: str
    does: str
    """What it has done when it stops its clock."""
    command: tuple[str, ...]


def login_file(account: Account, folder: Path) -> Path:
    """Write what a peer needs to be the account."""
    login = account.login
    path = folder / f"{login.user_id[1:].partition(':')[0]}.json"
    path.touch(mode=0o600)
    told = {
        "homeserver": account.url,
        "user_id": login.user_id,
        "device_id": login.device_id,
        "access_token": login.access_token,
    }
    path.write_text(json.dumps(told))
    return path


async def time_of(peer: Peer, login: Path, rooms: int) -> float:
    """The seconds that the peer took. It has to know all `rooms` then."""
    done = await completed(*peer.command, str(login))
    if done.code:
        msg = f"{peer.name} ended with {done.code}:\n{done.stderr}"
        raise RuntimeError(msg)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["rooms"] < rooms:
        msg = f"{peer.name} knows {told['rooms']} of {rooms} rooms"
        raise RuntimeError(msg)
    return float(told["seconds"])


async def installed(cache: Path) -> tuple[Peer, ...]:
    """The peers, of which is installed what is not there yet."""
    folder = await asyncio.to_thread(_install, cache)
    python = str(folder / "venv" / "bin" / "python")
    nio = (sys.executable, str(HERE / "nio_full_state.py"))
    mautrix = (python, str(HERE / "mautrix_full_state.py"))
    return (
        Peer("matrix-nio", "sync(full_state=True)", nio),
        Peer("matrix-js-sdk", "PREPARED", ("node", str(folder / SCRIPTS[0]))),
        Peer("mautrix", "sync and handle_sync", mautrix),
    )


async def diffing(cache: Path) -> tuple[str, ...]:
    """The command that compares with one of `DIFFS`: its name and a file are to follow."""
    folder = await asyncio.to_thread(_install, cache)
    return (str(folder / "venv" / "bin" / "python"), str(HERE / "diffs.py"))


def _install(cache: Path) -> Path:
    wanted = [HERE / name for name in (*LISTS, *SCRIPTS)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in wanted))
    folder = cache / f"peers-{digest.hexdigest()[:12]}"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in wanted:
            shutil.copy(path, folder)
        venv = folder / "venv"
        _run(folder, sys.executable, "-m", "venv", str(venv))
        pip = (str(venv / "bin" / "python"), "-m", "pip", "install", "-qq")
        _run(folder, *pip, "--disable-pip-version-check", "-r", "requirements.txt")
        _run(folder, "npm", "install", "--silent", "--no-fund", "--no-audit")
        done.touch()
    return folder


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words
