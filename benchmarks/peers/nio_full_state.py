"""How long a matrix-nio client takes until it knows its rooms.

python nio_full_state.py LOGIN

LOGIN is a JSON file with homeserver, user_id, device_id and access_token. What is
printed begins before the request and ends when the client's rooms are there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path

from nio import AsyncClient, SyncResponse


async def main(login: dict[str, str]) -> None:
    client = AsyncClient(login.pop("homeserver"))
    client.restore_login(**login)
    # Synapse repeats an answer for two minutes to whoever asks the same again.
    timeout = 1 + secrets.randbelow(1_000_000)
    began = time.perf_counter()
    answer = await client.sync(timeout=timeout, full_state=True)
    took = time.perf_counter() - began
    if not isinstance(answer, SyncResponse):
        raise SystemExit(str(answer))
    print(json.dumps({"seconds": took, "rooms": len(client.rooms)}))
    await client.close()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
