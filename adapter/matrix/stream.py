"""The live stream: /sync from a position on, for ever, without a gap.

A failure is waited out and the same position asked for again, so that what is given out
follows whole and in order from the position that it started at.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Protocol, TypeVar

from adapter.matrix.backlog import Completion
from adapter.matrix.errors import (
    Forbidden,
    ObservationFailed,
    TokenRefused,
    Unexpected,
    WireError,
)
from adapter.matrix.facts import EventTypes
from adapter.matrix.live import Batch, Update, joined_now, live_filter, read_batch
from adapter.matrix.wire import Wire
from controller.loop import asked, delay

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST: Final = 60.0  # seconds between two attempts
_REFUSALS: Final = 3  # without an answer between, until a position is given up


class Watcher(Protocol):
    """Hears how the stream fares. The stream waits for it, and ends by what it raises."""

    async def streaming(self, error: WireError | None) -> None:
        """The stream flows, or it does not because of `error`; called on a change."""

    async def backlog(self, room_id: str, why: str) -> None:
        """Messages of the room, older than those of the next batch, are left out."""

    async def reset(self, error: WireError) -> None:
        """The server knows the position no more: what came after it is left out.

        The stream goes on from a position that is older than this call, so a look at
        everything that begins now closes the gap for all that is state."""


class Stream:
    """What happens in the rooms of the account `me` from the position `token` on.

    `most_events` is for one room and batch; `wait_ms` is how long the server may wait
    for something to happen."""

    def __init__(  # noqa: PLR0913 - the last five have a default
        self,
        wire: Wire,
        me: str,
        types: EventTypes,
        token: str,
        watcher: Watcher,
        *,
        most_events: int = 1000,
        wait_ms: int = 30_000,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.token = token
        """The position after the last batch that was given out."""
        self._wire = wire
        self._me = me
        self._types = types
        self._watcher = watcher
        self._most_events = most_events
        self._wait_ms = wait_ms
        self._sleep = sleep
        self._chance = chance
        self._filter = live_filter(types, str(uuid.uuid4()))
        self._flows: bool | None = None
        self._refused = 0
        self._fresh: str | None = None  # what to go on from if ours is refused again
        self._in_doubt = False  # the position is a fresh one, and no answer came yet

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every batch, also those without any event, with whole timelines.

        The first comes at once. Ends only by raising: `TokenRefused`, or `WrongToken`."""
        while True:
            batch = await self._until_done(self._sync)
            batch = await self._completed(batch)
            self.token = batch.token
            yield batch

    async def _until_done(self, step: Callable[[], Awaitable[T]]) -> T:
        """Take the step, and again after a while, until it succeeds."""
        for attempt in itertools.count(1):
            try:
                done = await step()
            except (TokenRefused, ObservationFailed):
                raise
            except WireError as error:
                wait = delay(attempt, self._chance(), most=_MOST)
                wait = max(wait, asked(error))
                told = {"error": str(error), "wait": round(wait)}
                log.warning("live stream interrupted", extra=told)
                await self._tell(error)
                await self._sleep(wait)
            else:
                await self._tell(None)
                return done
        raise AssertionError  # the count has no end

    async def _tell(self, error: WireError | None) -> None:
        if self._flows is not (error is None):
            self._flows = error is None
            await self._watcher.streaming(error)

    async def _sync(self) -> Batch:
        """The batch at the position, or at a fresh one if the server refuses that."""
        # What piled up comes at once, and in its own time (see `live_sync`).
        wait = self._wait_ms if self._flows else 0
        try:
            body = await self._wire.live_sync(self.token, self._filter, wait)
        except (Forbidden, Unexpected) as error:
            # A refusal of the fresh one is not about the position.
            if error.status not in (400, 403) or self._in_doubt:
                raise
            # To begin afresh costs what was said meanwhile: a slip is not enough.
            self._refused += 1
            if self._refused < _REFUSALS:
                raise
            if self._fresh is None:
                self._fresh = await self._wire.live_token()
                # Whatever made the server refuse everything may just be over.
                return await self._sync()
            self.token, self._fresh = self._fresh, None
            self._in_doubt = True
            log.warning("live stream starts afresh", extra={"error": str(error)})
            await self._watcher.reset(error)
            return await self._sync()
        batch = read_batch(body, self._types)
        self._in_doubt, self._refused, self._fresh = False, 0, None
        return batch

    async def _completed(self, batch: Batch) -> Batch:
        """The batch with the messages that the server left out of its timelines."""
        gaps = {r: u for r, u in batch.joined.items() if _has_gap(u, self._me)}
        if not gaps:
            return batch
        completion = Completion(
            self._wire,
            gaps,
            since=self.token,
            until=batch.token,
            most_events=self._most_events,
        )
        await self._until_done(completion.read)
        for room_id, why in completion.left_out.items():
            log.warning("backlog left out", extra={"room": room_id, "why": why})
            await self._watcher.backlog(room_id, why)
        return batch._replace(joined={**batch.joined, **completion.done})


def _has_gap(update: Update, me: str) -> bool:
    """Whether anything that counts can be missing: nothing from before a join does."""
    return update.limited and joined_now(update.timeline, me) is None
