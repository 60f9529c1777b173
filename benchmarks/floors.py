"""The wire alone: the requests that nobody can do without, sent bare."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from adapter.cli.account import Account
from adapter.matrix.channels import window_request
from adapter.matrix.facts import EventTypes

_SLIDING = "_matrix/client/unstable/org.matrix.simplified_msc3575/sync"


async def snapshot(account: Account, rooms: int, window: int | None = None) -> float:
    """Seconds for the facts of all rooms, by sliding sync, read and parsed.

    In one answer, or window by window. Each time as a connection that the server does
    not know, for which it keeps no answer."""
    window = window or rooms
    connection = uuid.uuid4().hex
    seen: set[str] = set()
    began = time.perf_counter()
    for first in range(0, rooms, window):
        body = window_request(EventTypes(), first, first + window)
        answer = await _posted(account, {"conn_id": connection, **body})
        seen.update(answer["rooms"])
    took = time.perf_counter() - began
    if len(seen) < rooms:
        msg = f"sliding sync showed {len(seen)} of {rooms} rooms"
        raise RuntimeError(msg)
    return took


async def _posted(account: Account, body: dict[str, Any]) -> Any:
    async with account.session.post(
        f"{account.url}/{_SLIDING}?timeout=0&set_presence=offline",
        data=orjson.dumps(body),
        headers={
            "Authorization": f"Bearer {account.login.access_token}",
            "Content-Type": "application/json",
        },
    ) as response:
        response.raise_for_status()
        return orjson.loads(await response.read())
