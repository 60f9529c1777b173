"""A bot as one writes it over matrix-nio on a first evening: it says what it hears.

python -m tests.faults.naive_bot LOGIN [--careful]

LOGIN is a JSON file as that of benchmarks/peers/echo_bot.py. It keeps its place in `bot.db`, so
that a restart answers what was said meanwhile. With `--careful` an answer derives its
transaction id from the event that it answers; without, as matrix-nio has it, from chance.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from pathlib import Path

from nio import AsyncClient, RoomMessageText, SyncResponse


async def main(login: dict[str, str], careful: bool) -> None:
    database = sqlite3.connect(Path("bot.db"))
    database.execute("CREATE TABLE IF NOT EXISTS place (token)")
    client = AsyncClient(login.pop("homeserver"))
    client.restore_login(**login)
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    found = database.execute("SELECT token FROM place").fetchone()
    since = found[0] if found else (await synced(client, None)).next_batch
    keep(database, since)
    print(json.dumps({"level": "INFO", "message": "ready"}), file=sys.stderr)  # noqa: T201
    try:
        while True:
            batch = await synced(client, since)
            await answer(client, batch, careful)
            since = batch.next_batch
            keep(database, since)
    except asyncio.CancelledError:
        await client.close()  # type: ignore[no-untyped-call]


async def synced(client: AsyncClient, since: str | None) -> SyncResponse:
    batch = await client.sync(timeout=10_000, since=since)
    if not isinstance(batch, SyncResponse):
        sys.exit(str(batch))
    return batch


async def answer(client: AsyncClient, batch: SyncResponse, careful: bool) -> None:
    for room, news in batch.rooms.join.items():
        for event in news.timeline.events:
            if isinstance(event, RoomMessageText) and event.sender != client.user_id:
                content = {"msgtype": "m.text", "body": event.body}
                txn = event.event_id if careful else None
                await client.room_send(room, "m.room.message", content, tx_id=txn)


def keep(database: sqlite3.Connection, token: str) -> None:
    with database:
        database.execute("DELETE FROM place")
        database.execute("INSERT INTO place VALUES (?)", [token])


if __name__ == "__main__":
    asyncio.run(
        main(json.loads(Path(sys.argv[1]).read_text()), "--careful" in sys.argv)
    )
