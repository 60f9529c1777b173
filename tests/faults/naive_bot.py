"""A bot as one writes it over matrix-nio on a first evening: it says what it hears.

python -m tests.faults.naive_bot LOGIN [--careful]

LOGIN is a JSON file as that of benchmarks/peers/echo_bot.py. It keeps in `bot.db` its place, so that a
restart answers what was said meanwhile, and what the rooms are called. With `--careful` an answer
derives its transaction id from the event that it answers; without, as matrix-nio has it, from
chance. And names are asked for again; without, they are what the newest batch makes of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from nio import (
    AsyncClient,
    JoinedRoomsResponse,
    RoomGetStateEventResponse,
    RoomMessageText,
    SyncResponse,
)


async def run(
    login: dict[str, str], file: Path, careful: bool, ready: Callable[[], None]
) -> None:
    """Answer until it is cancelled."""
    async with opened(login, file) as (client, database):
        found = database.execute("SELECT token FROM place").fetchone()
        since = found[0] if found else await begin(client, database, careful)
        ready()
        while True:
            batch = await synced(client, since)
            await note(client, database, batch, careful)
            await answer(client, batch, careful)
            since = batch.next_batch
            keep(database, since)


async def begin(
    client: AsyncClient, database: sqlite3.Connection, careful: bool
) -> str:
    """Start without a place: what was said before is not answered."""
    batch = await synced(client, None)
    await note(client, database, batch, careful)
    keep(database, batch.next_batch)
    return batch.next_batch


@asynccontextmanager
async def opened(
    login: dict[str, str], file: Path
) -> AsyncIterator[tuple[AsyncClient, sqlite3.Connection]]:
    client = AsyncClient(login["homeserver"])
    client.restore_login(login["user_id"], login["device_id"], login["access_token"])
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS place (token)")
        database.execute("CREATE TABLE IF NOT EXISTS rooms (id PRIMARY KEY, name)")
        try:
            yield client, database
        finally:
            await client.close()  # type: ignore[no-untyped-call]


async def synced(client: AsyncClient, since: str | None) -> SyncResponse:
    # Synapse repeats its answer to whoever asks the same again, from nothing.
    wait = 10_000 if since else secrets.randbelow(10_000)
    batch = await client.sync(timeout=wait, since=since)
    assert isinstance(batch, SyncResponse), batch
    return batch


async def note(
    client: AsyncClient,
    database: sqlite3.Connection,
    batch: SyncResponse,
    careful: bool,
) -> None:
    """Write down what the rooms are called."""
    if careful:
        names = await asked(client)
    else:
        names = {room: client.rooms[room].name for room in batch.rooms.join}
    with database:
        if careful:
            database.execute("DELETE FROM rooms")
        database.executemany("REPLACE INTO rooms VALUES (?, ?)", names.items())


async def asked(client: AsyncClient) -> dict[str, str | None]:
    """The names as the server has them now, of the rooms that the bot is in."""
    joined = await client.joined_rooms()
    rooms = joined.rooms if isinstance(joined, JoinedRoomsResponse) else []
    names: dict[str, str | None] = {}
    for room in rooms:
        found = await client.room_get_state_event(room, "m.room.name")
        known = isinstance(found, RoomGetStateEventResponse)
        names[room] = found.content.get("name") if known else None
    return names


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


async def main(login: dict[str, str], careful: bool) -> None:
    def ready() -> None:
        print(json.dumps({"level": "INFO", "message": "ready"}), file=sys.stderr)  # noqa: T201

    going = asyncio.ensure_future(run(login, Path("bot.db"), careful, ready))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, going.cancel)
    await asyncio.wait([going])
    if not going.cancelled():
        going.result()


if __name__ == "__main__":
    asyncio.run(
        main(json.loads(Path(sys.argv[1]).read_text()), "--careful" in sys.argv)
    )
