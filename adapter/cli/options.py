"""Options that several commands share."""

from __future__ import annotations

import click

OUTPUT = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True
)
