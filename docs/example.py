"""A program with a matrix-nio client that keeps its routing in line with Matrix.

python docs/example.py HOMESERVER USER_ID ACCESS_TOKEN DATABASE
"""

import asyncio
import sys

from nio import AsyncClient

from adapter.matrix.reconciliation import reconcile_once, reconcile_startup
from adapter.matrix.store import Store, get_user_meta


async def main(homeserver: str, user_id: str, token: str, database: str) -> None:
    client = AsyncClient(homeserver)
    client.restore_login(user_id, "", token)
    try:
        report = await reconcile_startup(client, database)
        print(f"start: {report.result}")
        print(report.decided.cache)

        # Here your bot would open its live stream, and do this on a timer:
        report = await reconcile_once(client, database)
        print(f"pass: {report.result}")

        async with Store.read(database) as store:
            for row in (await store.rows()).values():
                user = await get_user_meta(store, row.matrix_user_id or "")
                print(row.room_id, row.chat_id, row.status, user)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
