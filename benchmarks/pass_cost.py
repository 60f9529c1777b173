"""What a pass costs beside the bare request for the same facts, in one run.

    .venv/bin/python benchmarks/pass_cost.py [--spaces 200] [--chats 5]

Starts its own homeserver, makes the rooms by raw calls, then measures in turn, three
times each: the bare snapshot (simplified sliding sync, read and parsed), a pass from no
database, and a pass that finds nothing to do. Ratios are what counts: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import homeserver
from adapter.cli.session import logged_in
from adapter.matrix.channels import sliding_sync
from adapter.matrix.facts import EventTypes
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Wire

ROUNDS = 3


async def make(bot: Account, people: list[Account], chats: int) -> None:
    """One Space and `chats` chats for each of `people`, four people at a time."""
    waiting = iter(people)

    async def worker() -> None:
        for owner in waiting:
            who = {"v": 1, "owner": owner.user_id}
            identity = {"io.spacekeeper.identity": {**who, "kind": "space"}}
            space = await bot.create_room(
                room_type="m.space", creation_content=identity, invite=[owner.user_id]
            )
            await owner.join(space)
            for number in range(1, chats + 1):
                chat = {
                    **who,
                    "kind": "chat",
                    "chat_id": f"C{number}",
                    "platform_chat_id": f"{owner.user_id}/{number}",
                }
                room = await bot.create_room(
                    creation_content={"io.spacekeeper.identity": chat},
                    invite=[owner.user_id],
                )
                await bot.link(space, room)
                await owner.join(room)

    await asyncio.gather(*(worker() for _ in range(4)))


async def measure(spaces: int, chats: int) -> None:
    async with homeserver() as server, http_session() as session:
        bot = Account(server.url, await server.register("bot"), session)
        people = [
            Account(server.url, await server.register(f"p{n}"), session)
            for n in range(spaces)
        ]
        began = time.perf_counter()
        await make(bot, people, chats)
        print(
            f"{spaces * (chats + 1)} rooms made in {time.perf_counter() - began:.0f} s"
        )
        async with logged_in(
            bot.url, bot.user_id, bot.login.device_id, bot.login.access_token
        ) as client:
            rows = []
            # The server's first answer after so much writing is the slow one.
            await sliding_sync(Wire(client), EventTypes())
            for _ in range(ROUNDS):
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(await once(Wire(client), bot.user_id, Path(folder)))
        print("| what | requests | bytes | seconds (median) | to the bare snapshot |")
        print("|---|---|---|---|---|")
        bare = statistics.median(row[0][2] for row in rows)
        for index, name in enumerate(
            ("bare snapshot", "pass, no database", "pass, nothing to do")
        ):
            requests, size, _ = rows[-1][index]
            seconds = statistics.median(row[index][2] for row in rows)
            print(
                f"| {name} | {requests} | {size} | {seconds:.2f} | {seconds / bare:.2f} |"
            )


async def once(wire: Wire, me: str, folder: Path) -> list[tuple[int, int, float]]:
    found = []

    async def timed(work: Callable[[], Awaitable[object]]) -> None:
        requests, size, began = wire.requests, wire.received, time.perf_counter()
        await work()
        took = time.perf_counter() - began
        found.append((wire.requests - requests, wire.received - size, took))

    await timed(lambda: sliding_sync(wire, EventTypes()))
    async with Store.open(folder / "bench.db", user_id=me) as store:
        reconciler = Reconciler(wire, store, me, ReconcileSettings(), EventTypes())
        await timed(reconciler.converge)
        await timed(reconciler.converge)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", type=int, default=200)
    parser.add_argument("--chats", type=int, default=5)
    args = parser.parse_args()
    asyncio.run(measure(args.spaces, args.chats))
