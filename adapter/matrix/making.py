"""createRoom, so that a room is made exactly once (section 6 of the design).

The server makes another room whenever it is asked, and an answer can get lost. So what is
about to be made is written down first, the request is sent once, and only where it is
certain that nothing came of it is it sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from adapter.chat import NotNow, NotPossible, Waiting
from adapter.matrix.errors import (
    RateLimited,
    TokenRefused,
    Unreachable,
    WireError,
)
from adapter.matrix.facts import Present
from adapter.matrix.following import Follower
from adapter.matrix.ledger import Ledger
from adapter.matrix.memory import Intent
from adapter.matrix.patience import reached
from adapter.matrix.wire import Wire
from controller.loop import delay

log = logging.getLogger(__name__)

MOMENT: Final = 5.0
"""Seconds from which somebody who waits is told so."""
LEAST: Final = 0.2
"""Seconds to wait after a 429 at least, also where the server says 0."""
LONGEST: Final = 30.0
"""Seconds of the longest wait for a server that does not answer."""
FAULTS: Final = 3
"""How often a server may fail at making one room before it counts as refused."""

NOTHING_MADE: Final = frozenset(
    {
        "M_CONSENT_NOT_GIVEN",
        "M_MISSING_PARAM",
        "M_NOT_JSON",
        "M_RESOURCE_LIMIT_EXCEEDED",
        "M_UNRECOGNIZED",
        "M_UNSUPPORTED_ROOM_VERSION",
        "M_USER_SUSPENDED",
    }
)
"""What a server says before it begins. Any other refusal can leave half a room behind."""


class Maker:
    """Makes rooms of intents. `settle` is how many seconds after its request ended a room
    may still appear."""

    def __init__(  # noqa: PLR0913 - time and chance are three of them
        self,
        wire: Wire,
        follower: Follower,
        ledger: Ledger,
        settle: float,
        *,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._follower = follower
        self._ledger = ledger
        self._settle = settle
        self._now = now
        self._sleep = sleep
        self._chance = chance

    async def make(
        self, intent: Intent, body: Mapping[str, Any], waiting: Waiting
    ) -> str:
        """Make the room of the intent, or find it if it is there; return its id.

        The intent stays in the ledger until the caller has done all that follows.
        Cancelled, or killed, it leaves an intent whose end is uncertain, and goes on from
        there when it is called again. Raises `NotPossible` for a refusal, `NotNow` while
        not all rooms can be seen, and `TokenRefused`."""
        if found := self._follower.asked_for(intent.request):
            return found
        begun = await self._ledger.intent(intent.request)
        if begun is not None and (found := await self._appeared(begun, waiting)):
            return found
        failed = 0
        while True:
            intent = intent._replace(sent_at=self._now(), ended_at=None)
            await self._ledger.intend(intent)
            try:
                return await self._sent(body, waiting)
            except TokenRefused:
                raise
            except WireError as error:
                failed += not isinstance(error, Unreachable)
                told = {"request": intent.request, "error": str(error)}
                log.warning("a room may have been made or not", extra=told)
                refused = error.is_refusal
                if not (refused and error.errcode in NOTHING_MADE) and (
                    found := await self._appeared(intent, waiting)
                ):
                    return found
                if refused or failed >= FAULTS:
                    await self._ledger.fulfilled(intent.request)
                    msg = f"no room can be made for {intent.owner}: {error}"
                    raise NotPossible(msg) from error

    async def _sent(self, body: Mapping[str, Any], waiting: Waiting) -> str:
        """Send it, again only after a limit or a connection that never came about."""
        for attempt in itertools.count(1):
            try:
                return await self._wire.create_room(body)
            except RateLimited as error:
                wait = max(error.retry_after, LEAST)
            except Unreachable as error:
                if error.sent:
                    raise
                wait = delay(attempt, self._chance(), most=LONGEST)
            if wait > MOMENT:
                await _tell(waiting)
            await self._sleep(wait)
        raise AssertionError  # it counts for ever

    async def _appeared(self, intent: Intent, waiting: Waiting) -> str | None:
        """The room, if it is there after all; `None` when it certainly never will be.

        That takes a look at everything that begins `settle` after the request ended."""
        ended = self._now() if intent.ended_at is None else intent.ended_at
        await self._ledger.ended(intent.request, ended)
        if found := await self._seen_already(intent.request):
            return found
        await _tell(waiting)
        left = ended / 1000 + self._settle - self._now() / 1000
        # Not longer, even if the clock was put back meanwhile.
        await self._sleep(max(0.0, min(left, self._settle)))
        # One that fails proves nothing.
        look = self._follower.look_again
        await reached(look, sleep=self._sleep, chance=self._chance)
        if found := self._follower.asked_for(intent.request):
            return found
        if (await self._follower.sight()).blocks(intent.owner):
            msg = "a room that cannot be read may be the one that was asked for"
            raise NotNow(msg)
        return None

    async def _seen_already(self, request: str) -> str | None:
        """A quick look at the rooms that nobody has seen yet. It proves nothing."""
        try:
            joined = await self._wire.joined_rooms()
            await self._follower.read(unseen(self._follower, joined))
        except TokenRefused:
            raise
        except WireError as error:
            log.info("no quick look", extra={"error": str(error)})
        return self._follower.asked_for(request)


async def _tell(waiting: Waiting) -> None:
    """Say that it takes a moment; where nobody may be told, the room is made all the same."""
    try:
        await waiting()
    except TokenRefused:
        raise
    except WireError as error:
        log.info("nobody is told to wait", extra={"error": str(error)})


def unseen(follower: Follower, joined: frozenset[str]) -> frozenset[str]:
    """The rooms that the bot is in by now, and that have not shown themselves yet."""
    return frozenset(
        room_id for room_id in joined if not isinstance(follower.fact(room_id), Present)
    )
