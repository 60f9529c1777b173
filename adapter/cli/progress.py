"""A sign of life for work that takes longer than a second; on a terminal alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import click


@asynccontextmanager
async def progress(what: str) -> AsyncIterator[None]:
    """Show `what` and the seconds so far on stderr while the context lasts."""
    if not sys.stderr.isatty():
        yield
        return
    showing = asyncio.create_task(_show(what))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _show(what: str) -> None:
    seconds = 0
    try:
        while True:
            await asyncio.sleep(1)
            seconds += 1
            click.echo(f"\r{what} ... {seconds} s", err=True, nl=False)
    finally:
        if seconds:
            click.echo("\r\x1b[K", err=True, nl=False, color=True)
