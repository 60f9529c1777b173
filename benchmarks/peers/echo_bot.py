"""The bot of every matrix-nio tutorial: it says what it hears. It is what we compare with.

python echo_bot.py LOGIN

LOGIN is a JSON file with homeserver, user_id, device_id and access_token. A line on
stderr says when it listens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from nio import AsyncClient, Event, MatrixRoom, RoomMessageText


async def main(login: dict[str, str]) -> None:
    client = AsyncClient(login.pop("homeserver"))
    client.restore_login(**login)

    async def answer(room: MatrixRoom, event: Event) -> None:
        if isinstance(event, RoomMessageText) and event.sender != client.user_id:
            content = {"msgtype": "m.text", "body": event.body}
            await client.room_send(room.room_id, "m.room.message", content)

    await client.sync()  # what was said before it is not answered
    client.add_event_callback(answer, RoomMessageText)
    print(json.dumps({"level": "INFO", "message": "ready"}), file=sys.stderr)
    await client.sync_forever(timeout=30_000)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
