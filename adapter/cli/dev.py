"""A homeserver and the bot to play with, until told to stop."""

from __future__ import annotations

import asyncio
import shlex
import socket
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

import click

from adapter.cli.homeserver import Homeserver, homeserver
from adapter.cli.leash import spacekeeper
from adapter.cli.playground import BOT, Playground, playground
from adapter.cli.processes import alongside
from adapter.cli.progress import progress
from adapter.cli.signals import stopping

SERVER_NAME: Final = "localhost"


def main(users: int, keep: Path | None) -> int:
    """Run it; 0 once it was told to stop, 1 if the bot ends by itself, in error."""
    return asyncio.run(_until_told(users, keep))


async def _until_told(users: int, keep: Path | None) -> int:
    play = asyncio.create_task(_play(users, keep))
    with stopping(play.cancel):
        try:
            return await play
        except asyncio.CancelledError:
            return 0


async def _play(users: int, keep: Path | None) -> int:
    async with AsyncExitStack() as stack:
        kept = stack.enter_context(playground(keep, users))
        async with progress("starting the homeserver"):
            server = await stack.enter_async_context(_homeserver(kept))
            await kept.populate(server)
        click.echo(_told(kept, server.url, keep))
        return await _bot(kept)


async def _bot(kept: Playground) -> int:
    """Run the bot; again whenever it is killed, as people who play with it will do."""
    command = spacekeeper("--config", str(kept.config), "run")
    while True:
        async with alongside(*command, folder=kept.folder) as process:
            code = await process.wait()
        if code >= 0:
            return 1 if code else 0
        click.echo(f"the bot was killed (signal {-code}): starting it again", err=True)


def _homeserver(kept: Playground) -> AbstractAsyncContextManager[Homeserver]:
    """The server at the port of before: that is where clients look for it."""
    port = kept.port
    if port and not _is_free(port):
        click.echo(f"port {port} is taken, so the address is another one", err=True)
        port = 0
    return homeserver(kept.folder / "homeserver", server_name=SERVER_NAME, port=port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _told(kept: Playground, url: str, keep: Path | None) -> str:
    """What a person has to know to begin."""
    bot = f"@{BOT}:{SERVER_NAME}"
    width = max(len(name) for name in kept.people) + len(SERVER_NAME) + 2
    people = "\n              ".join(
        f"{f'@{name}:{SERVER_NAME}':{width}}  password {password}"
        for name, password in kept.people.items()
    )
    files = str(kept.folder)
    if keep is None:
        files += "  (gone at the end; --keep DIR keeps them)"
    config = str(kept.config)
    return f"""\
A homeserver and the bot, on this machine alone.

  homeserver  {url}
  people      {people}
  bot         {bot}
  files       {files}

Log in as one of them with any Matrix client: choose another homeserver than the one it
suggests, and give it the address above. Then start a direct chat with {bot}:
the bot makes your rooms and says where to go. In those, `!help` lists what it can do; in an
encrypted direct chat it cannot read.

You may kill the bot, and delete its database while it is dead: it is started again, and
nobody in the rooms should notice. It reads {config}, and so do commands:

  pkill -9 -f {shlex.quote(f"{config} run")}
  spacekeeper --config {shlex.quote(config)} plan

Ctrl-C ends it all, and so does another bot for the same account. From here on the bot's log:
"""
