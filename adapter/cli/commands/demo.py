"""`demo`: the whole story once, on a homeserver of its own."""

from __future__ import annotations

from importlib.util import find_spec

import click

from adapter.cli.errors import CommandError


@click.command(short_help="Show the whole story once, on an embedded homeserver.")
def demo() -> int:
    """Show the whole story once, on a homeserver that lives as long as the demo.

    Two people meet the bot, which then is killed and loses its database, and goes on as
    if nothing had happened. Every claim is checked. It takes less than a minute.

    It needs the extra `demo`, and neither a config file nor an account.

    \b
    Exit codes: 0 everything that it said is true, 1 something is not.

    \b
    Examples:
      pip install '.[demo]'
      spacekeeper demo
    """
    refuse_without_homeserver()
    from adapter.cli.demo import main

    return main()


def refuse_without_homeserver() -> None:
    """Raise if the packages of the extra `demo` are not installed."""
    if find_spec("synapse") is None or find_spec("aiohttp") is None:
        msg = "this needs a homeserver: run `pip install '.[demo]'` first"
        raise CommandError(msg)
