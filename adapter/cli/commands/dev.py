"""`dev`: a homeserver and the bot, to play with."""

from __future__ import annotations

from pathlib import Path

import click

from adapter.cli.commands.demo import refuse_without_homeserver


@click.command(short_help="Run an embedded homeserver and the bot, to play with.")
@click.option(
    "--users",
    type=click.IntRange(1, 50),
    default=2,
    metavar="N",
    help="How many people there are.  [default: 2]",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep everything in this folder, and go on with it the next time.",
)
def dev(users: int, keep: Path | None) -> int:
    """Run a homeserver and the bot, and print how to log in with any Matrix client.

    Nothing leaves this machine. SIGTERM and Ctrl-C end it in order. Without --keep all
    is gone then; with it, the same people, passwords and rooms are there the next time.

    It needs the extra `demo`, and neither a config file nor an account.

    \b
    Exit codes: 0 stopped as told, 1 an error.

    \b
    Examples:
      spacekeeper dev
      spacekeeper dev --users 5 --keep playground
    """
    refuse_without_homeserver()
    from adapter.cli.dev import main

    return main(users, keep)
