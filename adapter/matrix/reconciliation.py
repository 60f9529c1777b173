"""The entry points: for any program with a logged-in matrix-nio client and a path.

    async with ...:                                     # your client, logged in
        await reconcile_startup(client, "bot.db")       # before the first live event
        ...
        await reconcile_once(client, "bot.db")          # then now and again

Both keep the file's lock while they run. See docs/library.md.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from adapter.matrix.decision import Pass
from adapter.matrix.document import document
from adapter.matrix.facts import EventTypes
from adapter.matrix.observation import check_account, observe
from adapter.matrix.reconciler import PassReport, Reconciler, now
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.topology import render
from adapter.matrix.wire import Wire

if TYPE_CHECKING:
    from nio import AsyncClient

__all__ = [
    "Database",
    "PassReport",
    "look",
    "observed_document",
    "reconcile_once",
    "reconcile_startup",
]

Database = Store | str | os.PathLike[str]


async def look(
    client: AsyncClient,
    store: Store,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
) -> Pass:
    """Decide what a pass would do, and write nothing. Raises `WireError`."""
    return await _reconciler(Wire(client), store, client, settings, types).look()


async def reconcile_startup(
    client: AsyncClient,
    database: Database,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
    allow_detach: int | None = None,
) -> PassReport:
    """Bring the cache in line with Matrix, before anything uses it.

    A missing or corrupt file is made anew and filled. What it kept of the last look is
    believed if nothing differs, and then only what changed since is looked at. On any error the rows are as
    they were, and it raises: `WireError` for Matrix, `StoreError` for the file.
    Nothing is written to Matrix: what is due there is `decided.publish`, left to
    `reconcile_once`."""
    async with _opened(client, database) as (wire, store):
        reconciler = _reconciler(wire, store, client, settings, types)
        return await reconciler.converge(allow_detach)


async def reconcile_once(  # noqa: PLR0913 - how a pass may differ
    client: AsyncClient,
    database: Database,
    *,
    settings: ReconcileSettings | None = None,
    types: EventTypes | None = None,
    allow_detach: int | None = None,
    whole: bool = False,
) -> PassReport:
    """One pass: as `reconcile_startup`, and then the publishing that is due.

    With `whole` everything is looked at, whatever was kept of the last look.

    It publishes until done, or until the server's limits would make it wait longer
    than `settings.publish_patience` in all; the rest is waiting, and stays drift."""
    async with _opened(client, database) as (wire, store):
        reconciler = _reconciler(wire, store, client, settings, types)
        done = await reconciler.converge(allow_detach, whole=whole)
        patience = reconciler.settings.publish_patience
        return await reconciler.publish(done, patience=patience)


async def observed_document(
    client: AsyncClient,
    *,
    types: EventTypes | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """The state document of what Matrix alone shows: rendered without rows."""
    me = client.user_id
    facts = await observe(Wire(client), me, types=types, partial=partial)
    return document(
        render(facts, {}, me, types=types),
        account=me,
        homeserver=client.homeserver,
        complete=facts.complete,
        observed_at=now(),
    )


def _reconciler(
    wire: Wire,
    store: Store,
    client: AsyncClient,
    settings: ReconcileSettings | None,
    types: EventTypes | None,
) -> Reconciler:
    return Reconciler(
        wire,
        store,
        client.user_id,
        settings or ReconcileSettings(),
        types or EventTypes(),
    )


@asynccontextmanager
async def _opened(
    client: AsyncClient, database: Database
) -> AsyncIterator[tuple[Wire, Store]]:
    wire = Wire(client)
    if isinstance(database, Store):
        yield wire, database
        return
    # A refused token must not leave a database behind that nobody asked for.
    await check_account(wire, client.user_id)
    async with Store.open(
        database, user_id=client.user_id, homeserver=client.homeserver
    ) as store:
        yield wire, store
