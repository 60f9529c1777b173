"""Writes that may be repeated, repeated until their end is certain.

A transaction id makes a message one message, and a state event or a membership that
stands already is no news: so an answer that got lost is asked for once more. Creating
a room is not like that; see `provisioning`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from adapter.matrix.errors import RateLimited, WireError
from adapter.matrix.patience import HOPELESS, lives
from adapter.matrix.wire import Wire
from controller.loop import delay

log = logging.getLogger(__name__)

T = TypeVar("T")

LEAST: Final = 0.2
"""Seconds to wait after a 429 at least, also where the server says 0."""
LONGEST: Final = 30.0
"""Seconds of the longest wait for a server that does not answer."""
FAULTS: Final = 3
"""How often a server may fail at one write, or answer it in a way that nobody can read,
before it counts as refused."""


async def at_once(writes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Let writes that do not need each other go at the same time.

    The first error ends those that are still on their way, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for write in writes:
                group.create_task(write)
    except* WireError as errors:
        first = errors.exceptions[0]
    else:
        return
    raise first


class Writer:
    """Writes as the bot, each until the server has taken or refused it.

    What is raised is a refusal (`Forbidden`, `NotFound`, another 4xx), a token that is
    no longer good, or a server that failed at this one write again and again. A server
    that is away, or sets a limit, is waited for, however long it takes."""

    def __init__(
        self,
        wire: Wire,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._sleep = sleep
        self._chance = chance

    async def say(
        self, room_id: str, asked: str, contents: Iterable[Mapping[str, Any]]
    ) -> None:
        """Send the messages that answer the event `asked`: once, however often said.

        Their transaction ids are `<event id>/<index>`, which Synapse remembers for a
        day and for one device (spec: client-server API, "Transaction identifiers")."""
        for index, content in enumerate(contents):
            send = partial(self._wire.send, room_id, "m.room.message")
            await self._certain(partial(send, f"{asked}/{index}", content))

    async def put_state(
        self, room_id: str, event_type: str, state_key: str, content: Mapping[str, Any]
    ) -> str:
        return await self._certain(
            lambda: self._wire.put_state(room_id, event_type, state_key, content)
        )

    async def invite(
        self, room_id: str, user_id: str, *, patience: float = math.inf
    ) -> None:
        """A server that fails at it is a refusal: so it says of a user nobody can reach.

        A limit that asks for more seconds than `patience` is raised, as `RateLimited`:
        one user may be invited a few times, then hardly at all."""
        await self._certain(
            lambda: self._wire.invite(room_id, user_id), faults=1, patience=patience
        )

    async def join(self, room_id: str) -> None:
        await self._certain(lambda: self._wire.join(room_id))

    async def decline(self, room_id: str) -> None:
        """Decline an invitation; a room that the bot has come into meanwhile, by somebody
        else's, it never leaves."""

        async def decline() -> None:
            if room_id not in await self._wire.joined_rooms():
                await self._wire.leave(room_id)

        await self._certain(decline)

    async def _certain(
        self,
        write: Callable[[], Awaitable[T]],
        *,
        faults: int = FAULTS,
        patience: float = math.inf,
    ) -> T:
        failed = 0
        for attempt in itertools.count(1):
            wait = delay(attempt, self._chance(), most=LONGEST)
            try:
                return await write()
            except RateLimited as error:
                if error.retry_after > patience:
                    raise
                wait = max(error.retry_after, LEAST)
            except HOPELESS:
                raise
            except WireError as error:
                if error.is_refusal:
                    raise
                # While the server is away, nothing counts: a proxy says 502 then.
                failed += await lives(self._wire)
                if failed >= faults:
                    raise
                log.warning("write again", extra={"error": str(error), "wait": wait})
            await self._sleep(wait)
        raise AssertionError  # it counts for ever
