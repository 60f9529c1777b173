"""How long a mautrix-python client takes until it has handled its first sync.

python mautrix_full_state.py LOGIN

As nio_full_state.py: the same login, the same line.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from pathlib import Path

from mautrix.client import Client
from mautrix.types import UserID


async def main(login: dict[str, str]) -> None:
    client = Client(
        mxid=UserID(login["user_id"]),
        device_id=login["device_id"],
        base_url=login["homeserver"],
        token=login["access_token"],
    )
    # Synapse repeats an answer for two minutes to whoever asks the same again.
    timeout = 1 + secrets.randbelow(1_000_000)
    began = time.perf_counter()
    answer = await client.sync(timeout=timeout, full_state=True)
    await asyncio.gather(*client.handle_sync(answer))
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "rooms": len(answer["rooms"]["join"])}))
    await client.api.session.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
