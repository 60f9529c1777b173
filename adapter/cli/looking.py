"""What commands look with that write nothing to the cache: a copy of it, and Matrix."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from adapter.cli.session import connected

if TYPE_CHECKING:
    from adapter.config import Config
    from adapter.matrix.reconciler import Reconciler


@asynccontextmanager
async def looking(config: Config) -> AsyncIterator[Reconciler]:
    """Give a reconciler over a copy of the cache, with a sign of life on a terminal."""
    # Not at the top: help needs none of it.
    from adapter.cli.progress import progress
    from adapter.matrix.reconciler import Reconciler
    from adapter.matrix.store import Store
    from adapter.matrix.wire import Wire

    async with (
        Store.read(config.database, user_id=config.user_id) as store,
        connected(config) as client,
        progress("looking at Matrix"),
    ):
        yield Reconciler(
            Wire(client), store, config.user_id, config.reconcile, config.events
        )
