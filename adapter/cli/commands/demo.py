"""`demo`: the whole story once, on a homeserver of its own."""

from __future__ import annotations

from importlib.util import find_spec

import click

from adapter.cli.errors import CommandError


@click.command(short_help="Show the whole story once, on an embedded homeserver.")
def demo() -> int:
    """Show the whole story once, on a homeserver that lives as long as the demo.

    It needs the extra `demo`, and neither a config file nor an account.

    \b
    Examples:
      pip install '.[demo]'
      spacekeeper demo
    """
    if find_spec("synapse") is None or find_spec("aiohttp") is None:
        msg = "the demo needs a homeserver: run `pip install '.[demo]'` first"
        raise CommandError(msg)
    from adapter.cli.demo import main

    return int(main() or 0)
