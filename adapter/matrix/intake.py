"""From the live stream to whoever handles it: topology first, then what is due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from adapter.matrix.desired import BACKLOG, Finding
from adapter.matrix.dispatcher import Dispatcher, due
from adapter.matrix.errors import WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.invitations import open_invitations
from adapter.matrix.lanes import Lanes
from adapter.matrix.live import Batch, topology_rooms
from adapter.matrix.patience import reached
from adapter.matrix.position import Mark, Position
from adapter.matrix.renewal import touched
from adapter.matrix.stream import Stream
from adapter.matrix.wire import Wire

Say = Callable[[str, str, str, str], Awaitable[None]]
"""Sets a condition: type, status, reason, message."""
Nudge = Callable[..., None]
"""Asks the loop for a pass over a room, or over everything."""


class Started(NamedTuple):
    """What a start leaves to the rest of the run."""

    position: Position
    token: str
    """From where the live stream goes on: T, or now if there was none."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes in what happens, batch by batch, and hands out what is due in it."""

    wire: Wire
    me: str
    types: EventTypes
    follower: Follower
    dispatcher: Dispatcher
    nudge: Nudge
    say: Say

    async def run(self, lanes: Lanes, started: Started) -> None:
        """Follow the stream for ever. Raises what no waiting mends, and `Superseded`."""

        async def reset() -> None:
            self.dispatcher.company.forget()
            # No row may be older than the position that the stream goes on from.
            await reached(self.follower.look_again)
            await self.answer_invitations(lanes)

        watch = _Watch(self.say, self.follower, reset)
        stream = Stream(self.wire, self.me, self.types, started.token, watch)
        async with aclosing(stream.batches()) as batches:
            async for batch in batches:
                if batch.checkpoint is not None:
                    started.position.seen(batch.checkpoint)
                # First, so that no message meets a topology that is older than itself.
                self._touch(batch)
                items = due(batch, self.me)
                mark = started.position.begin(batch.token, len(items))
                self.dispatcher.dispatch(lanes, items, mark)

    async def answer_invitations(self, lanes: Lanes) -> None:
        """Answer those that stand open, of whatever age; to do so twice is harmless.

        Each start does: the stream shows only what came after T, and T says nothing of
        invitations, of which a first start may have answered some before it was killed."""

        invited = await reached(lambda: open_invitations(self.wire, self.types))
        items = due(Batch("", invited=invited), self.me)
        self.dispatcher.dispatch(lanes, items, Mark("", len(items)))

    async def keep_answering_invitations(self, lanes: Lanes) -> None:
        """Answer those that stand open, and for ever what is left open for a while."""
        onboarding = self.dispatcher.onboarding
        while True:
            await self.answer_invitations(lanes)
            await onboarding.left_open.wait(onboarding.clock, onboarding.sleep)

    def _touch(self, batch: Batch) -> None:
        """Take note of what changed, and ask for a pass over it."""
        for room_id in topology_rooms(batch, self.me, self.types):
            self.dispatcher.company.forget(room_id)
        rooms = touched(
            batch,
            self.follower.facts,
            self.me,
            self.types,
            looking=self.follower.is_looking,
        )
        self.follower.touch(rooms)
        for room_id in rooms:
            self.nudge(room_id)


@dataclass(eq=False, slots=True)
class _Watch:
    """Hears how the stream fares; see `stream.Watcher`."""

    say: Say
    follower: Follower
    begin_afresh: Callable[[], Awaitable[None]]

    async def streaming(self, error: WireError | None) -> None:
        if error is not None:
            await self.say("Streaming", "False", type(error).__name__, str(error))
            return
        message = "what happens is seen at once"
        await self.say("Streaming", "True", "Flowing", message)

    async def backlog(self, room_id: str, why: str) -> None:
        message = f"the oldest of what was said meanwhile is not answered: {why}"
        self.follower.find(Finding(BACKLOG, room_id, message))

    async def reset(self, error: WireError) -> None:
        await self.begin_afresh()
