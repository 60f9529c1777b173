"""What was said in rooms while nobody listened: read back to complete timelines."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from adapter.matrix.errors import (
    Forbidden,
    NotFound,
    ObservationFailed,
    RateLimited,
    TokenRefused,
    WireError,
)
from adapter.matrix.live import BACKLOG_FILTER, BACKLOG_TYPES, Update, well_formed
from adapter.matrix.wire import Wire

Json = dict[str, Any]

_AT_ONCE: Final = 4  # rooms
_PAGE: Final = 100
_PAGES: Final = 100  # a server may hand out empty ones for ever
_TRIES: Final = 10  # for one room that fails while the server lives


class Completion:
    """Completes the timelines of one batch, which ends at `until`, back to `since`.

    A timeline gets at most `most_events`, the newest ones."""

    def __init__(
        self,
        wire: Wire,
        gaps: Mapping[str, Update],
        *,
        since: str,
        until: str,
        most_events: int,
    ) -> None:
        self.done: dict[str, Update] = {}
        self.left_out: dict[str, str] = {}
        """Room -> why some of its messages are left out all the same."""
        self._wire = wire
        self._gaps = gaps
        self._since = since
        self._until = until
        self._most_events = most_events
        self._failed: Counter[str] = Counter()

    async def read(self) -> None:
        """Read what is not `done` yet, some rooms at once, until all are.

        Raises a `WireError` that may pass: call it again. A room that goes on to fail
        while the server lives is left out in the end, or it would stop all others."""
        waiting = iter([room_id for room_id in self._gaps if room_id not in self.done])
        errors: list[WireError] = []

        async def worker() -> None:
            for room_id in waiting:
                try:
                    await self._complete(room_id, self._gaps[room_id])
                except WireError as error:
                    errors.append(error)
                if errors:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(worker())
        if errors:
            raise errors[0]

    async def _complete(self, room_id: str, update: Update) -> None:
        missing: tuple[Json, ...] = ()
        try:
            missing, whole = await read_back(
                self._wire,
                room_id,
                start=update.prev_batch or self._until,
                since=self._since,
                most=max(0, self._most_events - len(update.timeline)),
            )
        except (TokenRefused, ObservationFailed, RateLimited):
            raise
        except (Forbidden, NotFound) as error:
            self.left_out[room_id] = error.brief
        except WireError as error:
            await self._wire.joined_rooms()  # raises if it is not this room alone
            self._failed[room_id] += 1
            if self._failed[room_id] < _TRIES:
                raise
            self.left_out[room_id] = error.brief
        else:
            if not whole:
                self.left_out[room_id] = f"more than {self._most_events} events"
        known = {event["event_id"] for event in update.timeline}
        older = [event for event in missing if event["event_id"] not in known]
        self.done[room_id] = update._replace(timeline=(*older, *update.timeline))


class Backlog(NamedTuple):
    events: tuple[Json, ...]
    """The oldest first."""
    whole: bool
    """Nothing is missing at its old end."""


async def read_back(
    wire: Wire, room_id: str, *, start: str, since: str, most: int
) -> Backlog:
    """The messages and member events of a room between two positions, at most `most`.

    They are those that arrived after `since` and before `start`. On Synapse both bounds
    are exact, also where `since` is a position of /sync. Raises `WireError`."""
    found: list[Json] = []
    for _ in range(_PAGES):
        page = await wire.messages(
            room_id,
            start=start,
            end=since,
            limit=min(_PAGE, most + 1 - len(found)),
            event_filter=BACKLOG_FILTER,
        )
        found += well_formed(page["chunk"], BACKLOG_TYPES) or ()
        if len(found) > most:
            break
        following = page.get("end")
        if not isinstance(following, str) or following in (start, since):
            return Backlog(tuple(reversed(found)), whole=True)
        start = following
    return Backlog(tuple(reversed(found[:most])), whole=False)
