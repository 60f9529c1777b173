"""How far events were handled: T, a token before which nothing is left to do.

T is kept twice, in the cache and as the account's global account data. Every write has
the number after the highest that the server is known to have, so one write too many or
too few shows at the next start, and a server that was set back does as well. T may lag,
it never leads: to handle an event twice is harmless, to miss one is not.

Each start of the bot writes its `instance`. Whoever sees one that came later leaves.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol, Self, TypeGuard

from adapter.matrix.errors import TokenRefused, WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.faults import DatabaseDamaged, StoreError
from adapter.matrix.memory import Checkpoint
from adapter.matrix.wire import Wire
from controller.loop import asked, delay

log = logging.getLogger(__name__)

VERSION = 1
PERIOD = 1.0
"""Seconds between two writes, at least."""
LONGEST = 60.0
"""Seconds of the longest wait after a write that failed, unless the server asks for more."""
HIGHEST = 2**52
"""Of a write's number. Beyond twice that, JSON numbers are not exact."""


class PositionError(Exception):
    """This bot must not handle anything (more): one sentence that says what to do."""


class Superseded(PositionError):  # noqa: N818 - it is no fault
    """Another start of the bot came later. It has the account now."""

    def __init__(self, me: str) -> None:
        super().__init__(
            f"another Spacekeeper was started for {me} and has taken over, so this one"
            " ends: run only one for an account"
        )


class NewerCheckpoint(PositionError):  # noqa: N818
    """A later version wrote the position; nothing of it was overwritten."""

    def __init__(self, version: int) -> None:
        super().__init__(
            "a newer Spacekeeper ran for this account and wrote its position in"
            f" version {version}: upgrade this one"
        )


class MalformedCheckpoint(ValueError):  # noqa: N818
    """An event stands there that says nothing: treat it as absent, and say so."""


class Memory(Protocol):
    """What a cache does for the position."""

    async def checkpoint(self) -> Checkpoint | None: ...

    async def set_checkpoint(self, checkpoint: Checkpoint) -> None: ...


@dataclass(eq=False, repr=False, slots=True)
class Position:
    """T while the bot runs. Make one with `read`.

    `keep` runs beside the handling; `begin` and the settling of its marks move T."""

    wire: Wire
    ledger: Memory
    me: str
    types: EventTypes
    instance: str
    """A uuid, new at each start of the bot."""
    _: KW_ONLY
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """A number from 0 to 1."""
    set_back: bool = field(default=False, init=False)
    """The server knows less than the file: it was restored from an older state."""

    _due: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _progress: Progress = field(init=False)
    _n: int = field(default=0, init=False)
    """The highest number that the server is known to have."""
    _older: set[str] = field(default_factory=set, init=False)
    _writes: bool = field(default=False, init=False)
    _written: str | None = field(default=None, init=False)
    """What the server certainly has as T."""
    _contested: bool = field(default=False, init=False)
    """Whether an earlier start wrote over it."""

    def __post_init__(self) -> None:
        self._progress = Progress(None, self._due.set)

    @classmethod
    async def read(
        cls,
        wire: Wire,
        ledger: Memory,
        me: str,
        types: EventTypes,
        instance: str,
        **more: Any,
    ) -> Self:
        """Read both copies and decide. Do it before anything is observed.

        Raises `NewerCheckpoint`, or what the homeserver or the cache could not do."""
        new = cls(wire, ledger, me, types, instance, **more)
        file = await ledger.checkpoint()
        if file is not None:
            new._older.add(file.instance)
        start = start_from(file, await new._look())
        new.set_back = file is not None and file is not start and file.n > new._n
        if file is not None and new.set_back:
            told = {"database": file.n, "server": new._n}
            log.warning("the server was set back behind our position", extra=told)
        new._progress.token = start.token if start else None
        return new

    @property
    def token(self) -> str | None:
        """T; `None` until `announce` says from where, if nothing was known."""
        return self._progress.token

    async def announce(self, otherwise: str) -> None:
        """Write T with our instance: from now on, whoever else runs has to leave.

        T becomes `otherwise` if nothing was known. Until this has succeeded nothing is
        written by `keep` and `write`. It may be repeated. Raises what `read` raises."""
        # Whoever wrote since `read` is older than we are, too, and has counted on.
        await self._look()
        if self.token is None:
            self._progress.token = otherwise
        async with self._turn:
            await self._put(self.token or otherwise)
        self._writes = True

    def begin(self, token: str, due: int) -> Mark:
        """Take note of a batch that ends at `token`, with so many events to settle."""
        return self._progress.begin(token, due)

    async def keep(self) -> None:
        """Write T whenever a batch that had something to handle is over, for ever.

        A write that failed, on the server or on the disk, comes again later, with what
        T is then. Raises `TokenRefused`, `DatabaseDamaged`."""
        failed = 0
        while True:
            await self._due.wait()
            wait = PERIOD
            try:
                await self.write()
                failed = 0
            except (TokenRefused, DatabaseDamaged):
                raise
            except (WireError, StoreError) as error:
                failed += 1
                pause = delay(failed, self.chance(), most=LONGEST)
                wait = max(PERIOD, pause, asked(error))
                told = {"error": str(error), "wait": round(wait)}
                log.warning("position not written", extra=told)
            await self.sleep(wait)

    async def write(self) -> None:
        """Write T once if it moved at all, as at the end of a run.

        Not before `announce`, and never again after `seen` raised."""
        async with self._turn:
            self._due.clear()
            token = self.token
            moved = self._contested or token != self._written
            if self._writes and token is not None and moved:
                await self._put(token)

    def seen(self, content: object) -> None:
        """Take in the position as the live stream showed it.

        Raises `Superseded` if a later start wrote it, and `NewerCheckpoint`. One that an
        earlier start wrote in its last moments is overwritten by `keep`."""
        try:
            found = self._parsed(content)
        except NewerCheckpoint:
            self._writes = False
            raise
        if found is None:
            return
        self._n = max(self._n, found.n)
        if found.instance in self._older:
            self._contested = True
            self._due.set()
        elif found.instance != self.instance:
            self._writes = False
            raise Superseded(self.me)

    async def _look(self) -> Checkpoint | None:
        """What the server has now; whose it is was there before us."""
        found = self._parsed(
            await self.wire.account_data(self.me, self.types.checkpoint)
        )
        if found is not None:
            self._n = max(self._n, found.n)
            self._older |= {found.instance} - {self.instance}
        return found

    def _parsed(self, content: object) -> Checkpoint | None:
        try:
            return parse(content)
        except MalformedCheckpoint as error:
            told = {"type": self.types.checkpoint, "error": str(error)}
            log.warning("the position in the account data says nothing", extra=told)
            return None

    async def _put(self, token: str) -> None:
        """Write to the cache, then to the server.

        The number is used again until the server is known to have it: the cache is
        never ahead by more than one write, however many fail."""
        new = Checkpoint(self._n + 1, token, self.instance)
        self._written, self._contested = None, False
        try:
            await self.ledger.set_checkpoint(new)
            await self.wire.put_account_data(
                self.me, self.types.checkpoint, content(new)
            )
        except BaseException:
            self._due.set()
            raise
        self._n = max(self._n, new.n)
        self._written = token


# --- pure --------------------------------------------------------------------


class Mark:
    """A batch on its way: `settle` it once for each of its events."""

    def __init__(
        self, token: str, due: int, over: Callable[[], None] = lambda: None
    ) -> None:
        self.token = token
        self.due = due
        self.counts = due > 0
        """Whether it had anything to handle."""
        self._over = over

    def settle(self) -> None:
        """An event was answered or refused, or failed with a word."""
        if self.due == 0:
            msg = "more events of a batch were settled than it had: please report this"
            raise RuntimeError(msg)
        self.due -= 1
        if self.due == 0:
            self._over()


class Progress:
    """The batches on their way, in order, and the newest token with none before it."""

    def __init__(self, token: str | None, moved: Callable[[], object]) -> None:
        self.token = token
        self._moved = moved
        """Called when the token passed a batch that had something to handle."""
        self._open: deque[Mark] = deque()

    def begin(self, token: str, due: int) -> Mark:
        mark = Mark(token, due, self._advance)
        self._open.append(mark)
        self._advance()
        return mark

    def _advance(self) -> None:
        counts = False
        while self._open and self._open[0].due == 0:
            passed = self._open.popleft()
            self.token = passed.token
            counts |= passed.counts
        if counts:
            self._moved()


def start_from(file: Checkpoint | None, server: Checkpoint | None) -> Checkpoint | None:
    """Which copy counts; `None`: from now on, and history is not answered.

    A file ahead by one write had it interrupted. One ahead by more knows a server that
    was set back since, and what it says of that is nothing."""
    known = server.n if server else 0
    if file is not None and file.n == known + 1:
        return file
    return server


def parse(content: object) -> Checkpoint | None:
    """Read the account data; nothing, or `{}`, which stands for deleted, is absent.

    Raises `MalformedCheckpoint` and `NewerCheckpoint`."""
    if content is None or content == {}:
        return None
    if not isinstance(content, dict):
        msg = "it is no object"
        raise MalformedCheckpoint(msg)
    version, n = content.get("v"), content.get("n")
    token, instance = content.get("token"), content.get("instance")
    if not _is_number(version):
        msg = "its version is missing or no number"
        raise MalformedCheckpoint(msg)
    if version > VERSION:
        raise NewerCheckpoint(version)
    if not _is_number(n) or n > HIGHEST:
        msg = "n is missing or no number of a write"
        raise MalformedCheckpoint(msg)
    if not (isinstance(token, str) and token):
        msg = "token is missing or none"
        raise MalformedCheckpoint(msg)
    if not (isinstance(instance, str) and instance):
        msg = "instance is missing or none"
        raise MalformedCheckpoint(msg)
    return Checkpoint(n, token, instance)


def content(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"v": VERSION, **checkpoint._asdict()}


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
