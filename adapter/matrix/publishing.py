"""The Matrix target: the bot's own state events, one by one, within the server's limits.

A step compares and swaps, as far as Matrix lets anybody: see `Publisher._stands`.
The lowest class of write there is. What it can do is all that `_write` names: put the
binding or a child event, and invite. A leave, kick, power change or delete cannot be
said here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from adapter.matrix.errors import (
    Forbidden,
    RateLimited,
    TokenRefused,
    Unreachable,
    WireError,
)
from adapter.matrix.facts import CHILD, MEMBER, EventTypes
from adapter.matrix.rows import (
    ACTIVE,
    PENDING,
    PUBLISHED,
    REFUSED,
    Publication,
    Row,
)
from adapter.matrix.rules.finishing import record
from adapter.matrix.rules.ids import derived
from adapter.matrix.traffic import Traffic
from adapter.matrix.wire import Wire
from controller.apply import Outcome, Result
from controller.model import Change

PAUSE = 60.0
"""Seconds without publishing in the background after the server's first 429."""
TOO_LARGE = 413


class Memory(Protocol):
    """What a cache does for publishing."""

    async def row(self, room_id: str) -> Row | None: ...

    async def note_publication(self, publication: Publication) -> None: ...


class Pace:
    """Unpaced until the server's first 429, then `rate` steps a second.

    `patience` is how many seconds may be waited in all. With `None` it may take any
    time, and the first 429 is answered by a pause of a minute at least: nobody waits
    for what is published in the background."""

    def __init__(
        self,
        rate: float,
        patience: float | None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._between = 1 / rate
        self._patience = patience
        self._sleep = sleep
        self._limited = False
        self._next = 0.0

    def slow_down(self, retry_after: float) -> None:
        self._limited = True
        self._next = retry_after if self._patience is not None else PAUSE
        self._next = max(self._next, retry_after, self._between)

    async def turn(self) -> bool:
        """Wait for the next step's turn; false if that would take too much patience."""
        if self._patience is not None:
            if self._next > self._patience:
                return False
            self._patience -= self._next
        await self._sleep(self._next)
        self._next = self._between if self._limited else 0.0
        return True


class Publisher:
    """Carries out publish steps, each of which is one state event.

    A step stands back while anything is due that people wait for, and whoever begins to
    write for them lets the one that is on its way come to its end."""

    def __init__(  # noqa: PLR0913 - all that publishing hangs on
        self,
        wire: Wire,
        memory: Memory,
        pace: Pace,
        types: EventTypes,
        now: Callable[[], int],
        *,
        traffic: Traffic | None = None,
        outdated: Callable[[], bool] = lambda: False,
        due: Callable[[Change], bool] = lambda _: True,
    ) -> None:
        """`outdated` is asked before each step: whether there is a newer plan by now.
        `due` is asked after the step has stood back: whether that plan has it, too."""
        self._wire = wire
        self._memory = memory
        self._pace = pace
        self._types = types
        self._now = now
        self._traffic = traffic or Traffic()
        self._outdated = outdated
        self._due = due

    async def carry_out(self, steps: Sequence[Change]) -> list[Outcome]:
        """Publish in the order of need; outcomes are in the order of `steps`.

        What the server's limits, or a server that is gone, leave undone is waiting."""
        outcomes = [
            Outcome(s.key, Result.WAITING, "left to a later pass") for s in steps
        ]
        rank = self._traffic.rank
        for number in sorted(range(len(steps)), key=lambda n: urgency(steps[n], rank)):
            if self._outdated():
                break
            step = steps[number]
            try:
                outcome = await self._in_turn(step)
            except (TokenRefused, Unreachable) as error:
                outcomes[number] = Outcome(step.key, Result.FAILED, str(error))
                break
            if outcome is None:
                break
            outcomes[number] = outcome
        return outcomes

    async def _in_turn(self, step: Change) -> Outcome | None:
        """Carry out one step, again after a 429; `None` when patience is at its end."""
        while await self._pace.turn():
            async with self._traffic.publishing():
                if not self._due(step):
                    what = "a newer pass does without it"
                    return Outcome(step.key, Result.STALE, what)
                try:
                    return await self._publish(step)
                except RateLimited as error:
                    self._pace.slow_down(error.retry_after)
        return None

    async def _publish(self, step: Change) -> Outcome:
        room_id, field, content = event(step)
        if not await self._is_wanted(step):
            return Outcome(step.key, Result.STALE, "its row says something else by now")
        try:
            if not await self._stands(step):
                what = "Matrix says something else by now"
                return Outcome(step.key, Result.STALE, what)
        except (RateLimited, TokenRefused, Unreachable):
            raise
        except WireError as error:
            return Outcome(step.key, Result.FAILED, str(error))
        try:
            await self._write(room_id, field, content)
        except (RateLimited, TokenRefused, Unreachable):
            raise
        except WireError as error:
            if is_refusal(field, error):
                await self._note(room_id, field, REFUSED, str(error))
            return Outcome(step.key, Result.FAILED, str(error))
        await self._note(room_id, field, PUBLISHED)
        return Outcome(step.key, Result.PUBLISHED)

    async def _write(
        self, room_id: str, field: str, content: Mapping[str, Any]
    ) -> None:
        kind, key = field.split("|", 1)
        if kind == MEMBER:
            await self._wire.invite(room_id, key)
        elif kind in {CHILD, self._types.binding}:
            await self._wire.put_state(room_id, kind, key, content)
        else:
            msg = f"{kind} is no event that publishing may write"
            raise ValueError(msg)

    async def _stands(self, step: Change) -> bool:
        """Whether the event that is to be replaced is still the one that was seen.

        A look takes time, and so does the way to here: what somebody decided meanwhile
        would be undone. There is no compare-and-swap in Matrix, only this."""
        room_id, field, _ = event(step)
        seen = step.old.fields.get(field) if step.old else None
        for found in await self._wire.state(room_id):
            if f"{found.get('type')}|{found.get('state_key')}" == field:
                return found.get("content") == seen
        return seen is None

    async def _is_wanted(self, step: Change) -> bool:
        """A step sends what the row says when it is sent, or nothing."""
        room_id, field, content = event(step)
        kind, key = field.split("|", 1)
        row = await self._memory.row(key if kind == CHILD else room_id)
        if row is None:
            return False
        if kind == CHILD:
            return row.space_id == room_id and row.status in {ACTIVE, PENDING}
        if kind == MEMBER:
            return row.matrix_user_id == key and row.status in {ACTIVE, PENDING}
        said = record(row)
        return all(said.get(name) == value for name, value in content.items())

    async def _note(
        self, room_id: str, field: str, result: str, detail: str = ""
    ) -> None:
        await self._memory.note_publication(
            Publication(room_id, field, self._now(), result, detail)
        )


def event(step: Change) -> tuple[str, str, Mapping[str, Any]]:
    """Room, field (`<type>|<state key>`) and content of a publish step."""
    ((field, (_, content)),) = step.fields.items()
    return step.key.name, field, content


def urgency(
    step: Change, rank: Callable[[str], int] = lambda _: 0
) -> tuple[int, int, str, str]:
    """Ids that cannot be derived go first; then records, links and invites, those of
    the rooms that `rank` puts first before others of their kind."""
    room_id, field, content = event(step)
    kind, key = field.split("|", 1)
    platform = content.get("platform_chat_id")
    if platform is not None and platform != derived(room_id):
        order = 0
    else:
        order = {MEMBER: 3, CHILD: 2}.get(kind, 1)
    return (order, rank(key if kind == CHILD else room_id), room_id, field)


def is_refusal(field: str, error: WireError) -> bool:
    """Trying again soon would not help: 403, 413; of an invite, any answer but a 429."""
    if field.startswith(f"{MEMBER}|"):
        return True
    return isinstance(error, Forbidden) or error.status == TOO_LARGE
