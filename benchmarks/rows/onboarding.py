"""Row 10: somebody invites the bot, and has a Space and a chat.

Beside it, a bot that knows nothing, has no other rooms, and makes the same calls in the
best order: nothing that it could ask for at once waits for something else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from adapter.cli.account import Account, Json
from adapter.cli.people import Person
from benchmarks.harness import Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.serving import serving
from benchmarks.setting import Setting
from benchmarks.world import make_chat, make_space

PATIENCE: Final = 30.0
"""Seconds until the chat has to be linked, which nobody who is in both rooms waits for."""

_INVITATIONS: Final[Json] = {
    "presence": {"types": []},
    "room": {
        "ephemeral": {"types": []},
        "state": {"types": []},
        "timeline": {"types": [], "limit": 1},
    },
}


async def measure(setting: Setting) -> Outcome:
    bot, bare = setting.large.bot, await setting.account("bare-host")

    async def invited(host: Account) -> float:
        """Seconds from the invitation until somebody new is in both rooms."""
        person = Person(await setting.account("newcomer"))
        await person.account.create_room(
            preset="trusted_private_chat", invite=[host.user_id], is_direct=True
        )
        began = time.perf_counter()
        rooms = await person.accept(2)
        took = time.perf_counter() - began
        await _linked(host, rooms)
        return took

    async with serving(bot, setting.folder() / "onboarding.db"), hosting(bare):
        found = await in_turn(
            setting.pace.rounds,
            {"ours": lambda: invited(bot), "bare": lambda: invited(bare)},
        )
    ours, theirs = found["ours"], found["bare"]
    row = Row(
        10,
        f"an invitation, until its sender is in both rooms, {setting.large.rooms:,} rooms",
        "the same calls, bare",
        at_most(1.3, so_far=1.4),
        ratios(ours, theirs),
        f"{seconds(ours)} / {seconds(theirs)}",
    )
    return Outcome((row,))


async def _linked(bot: Account, rooms: list[str]) -> None:
    """Return when one of the rooms is a Space that names the other."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for room in rooms:
                children = {
                    event["state_key"]
                    for event in await bot.state(room)
                    if event["type"] == "m.space.child" and event["content"].get("via")
                }
                if children & {*rooms}:
                    return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def hosting(bot: Account) -> AsyncIterator[None]:
    """A bot that knows nothing gives a home to whoever invites it."""
    task = asyncio.create_task(_host(bot))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _host(bot: Account) -> None:
    since = (await bot.sync(sync_filter=_INVITATIONS))["next_batch"]
    while True:
        answer = await bot.sync(since, wait_ms=30_000, sync_filter=_INVITATIONS)
        since = answer["next_batch"]
        for room, shown in answer.get("rooms", {}).get("invite", {}).items():
            [guest] = {
                event["sender"]
                for event in shown["invite_state"]["events"]
                if event["type"] == "m.room.member"
                and event["state_key"] == bot.user_id
            }
            await _welcome(bot, room, guest)


async def _welcome(bot: Account, direct: str, guest: str) -> None:
    async with asyncio.TaskGroup() as group:
        joined = group.create_task(bot.join(direct))
        space = await make_space(bot, guest, invite=False)
        group.create_task(bot.invite(space, guest))
        chat = await make_chat(bot, guest, space, 1, invite=False)
        group.create_task(bot.invite(chat, guest))
        group.create_task(bot.link(space, chat))
        await joined
        group.create_task(bot.send(direct, "Your chats are here.", msgtype="m.notice"))
