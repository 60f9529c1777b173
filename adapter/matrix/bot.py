"""The bot: where everything is put together, started in order, and ended in order.

    lock -> cache -> whoami -> live token -> rows -> observe -> decide -> apply
         -> live stream from T -> READY -> timer; publishing in the background

READY means that a message sent now is handled now, and that no row is older than the
start. Nothing is handled before.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from adapter.chat import ChatManager
from adapter.matrix.background import publish_for_ever
from adapter.matrix.dispatcher import Dispatcher
from adapter.matrix.errors import NotFound, WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.faults import StoreError
from adapter.matrix.following import Follower
from adapter.matrix.handlers.auth import ENCRYPTION
from adapter.matrix.handlers.chat import Conversation
from adapter.matrix.handlers.commands import Commands
from adapter.matrix.handlers.onboarding import Onboarding
from adapter.matrix.intake import Intake, Started
from adapter.matrix.lanes import Lanes
from adapter.matrix.ledger import Ledger
from adapter.matrix.memory import Checkpoint
from adapter.matrix.observation import check_account
from adapter.matrix.patience import HOPELESS, reached
from adapter.matrix.position import Memory, Position
from adapter.matrix.provisioning import Provisioner
from adapter.matrix.reconciler import Reconciler, now
from adapter.matrix.store import Store
from adapter.matrix.traffic import Traffic
from adapter.matrix.voice import Voice
from adapter.matrix.wire import Wire
from adapter.matrix.writing import Writer
from controller.conditions import Condition
from controller.loop import Loop

if TYPE_CHECKING:
    from nio import AsyncClient

    from adapter.config import Config
    from adapter.platform.base import Platform

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE: Final = 6.0
"""Seconds in which what is being handled may end, once the bot was told to stop."""
LAST_WORD: Final = 2.0
"""Seconds for writing the position at the end."""


class NoFile:
    """The memory of a bot that has no cache."""

    async def checkpoint(self) -> None:
        return None

    async def set_checkpoint(self, checkpoint: Checkpoint) -> None:
        pass


async def prepare_live_sync(
    client: AsyncClient, store: Store | None = None, *, types: EventTypes | None = None
) -> str:
    """Return the token that a live stream of this account has to start from.

    It is the position that the bot kept, in `store` or in the account data; without
    one it is now, and what was said before is not answered. Take it before anything is
    observed. Nothing is written. Raises `WireError`, or `NewerCheckpoint`."""
    wire = Wire(client)
    memory = NoFile() if store is None else Ledger(store)
    return (
        await _prepared(wire, memory, client.user_id, types or EventTypes(), "")
    ).token


class Prepared(NamedTuple):
    """From where the live stream starts: the position's token, or one of now."""

    token: str
    position: Position


async def _prepared(
    wire: Wire, memory: Memory, me: str, types: EventTypes, instance: str
) -> Prepared:
    position = await Position.read(wire, memory, me, types, instance)
    # Before anything is observed: what happens from here on, no stream from it can miss.
    return Prepared(position.token or await wire.live_token(), position)


class MatrixBot:
    """One account that gives each user a Space of chats, and answers in these.

    `client` is logged in; only its connection is used. `run` returns after `stop`."""

    def __init__(
        self,
        client: AsyncClient,
        store: Store,
        platform: Platform,
        config: Config,
        *,
        allow_detach: int | None = None,
    ) -> None:
        self.me = client.user_id
        self._config = config
        self._types = config.events
        self._store = store
        self._wire = Wire(client)
        self._ledger = Ledger(store)
        self._traffic = Traffic()
        self._writer = Writer(self._wire)
        self._voice = Voice(self._writer, self._ledger, now)
        self._reconciler = Reconciler(
            self._wire, store, self.me, config.reconcile, self._types
        )
        numbers = itertools.count(1)
        self._follower = Follower(self._reconciler, numbers)
        self._chats = ChatManager(
            Provisioner(
                self._wire,
                self._writer,
                self._follower,
                store,
                self._ledger,
                self.me,
                config.rooms,
                self._types,
                traffic=self._traffic,
                now=now,
            )
        )
        self._onboarding = Onboarding(
            self.me,
            config.invites.allow,
            self._writer,
            self._voice,
            store,
            self._chats,
            self._later,
        )
        self._loop: Loop[str] = Loop(
            self._reconcile,
            store.set_conditions,
            fatal=HOPELESS,
            expected=(WireError, StoreError),
            interval=config.reconcile.interval,
            jitter=config.reconcile.jitter,
            numbers=numbers,
        )
        self._intake = Intake(
            self._wire,
            self.me,
            self._types,
            self._follower,
            self._make_dispatcher(platform),
            self._loop.nudge,
            self._say,
        )
        self._allow_detach = allow_detach
        self._begun = False
        self._stopped = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()

    def _make_dispatcher(self, platform: Platform) -> Dispatcher:
        commands = Commands(
            self.me,
            self._types,
            self._writer,
            self._store,
            self._ledger,
            self._follower,
            self._chats,
            self._voice,
            self._traffic,
            now,
        )
        return Dispatcher(
            self.me,
            self._config.invites.allow,
            self._config.routing,
            self._wire,
            self._store,
            self._follower,
            self._traffic,
            self._voice,
            Conversation(platform, self._voice, self._wire, self.me, self._traffic),
            commands,
            self._onboarding,
            self._bootstrap_unregistered_room,
        )

    def stop(self) -> None:
        """Let `run` end in order: what is being handled is finished, if it soon is."""
        self._stopped.set()

    async def run(self) -> None:
        """Start, and handle what comes, until `stop`.

        Raises what no waiting mends: `TokenRefused`, `WrongToken`, and `PositionError`,
        of which one is `Superseded`, by a bot that was started later."""
        await self._say("Ready", "False", "Starting", "looking at everything first")
        try:
            started = await self._unless_stopped(self._start())
            if started is not None:
                await self._serve(started)
        finally:
            for kind in ("Streaming", "Ready"):
                await self._say(kind, "False", "Stopped", "the bot does not run")

    # From the start to the end

    async def _start(self) -> Started:
        await reached(lambda: check_account(self._wire, self.me))
        instance = str(uuid.uuid4())
        token, position = await reached(
            lambda: _prepared(self._wire, self._ledger, self.me, self._types, instance)
        )
        if position.set_back:
            # What was kept may be from a time that this server does not know.
            await self._reconciler.keeper.forget()
        await self._loop.start()
        await reached(lambda: position.announce(token))
        return Started(position, token)

    async def _serve(self, started: Started) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._until_stopped(group, started)
        except ExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await self._last_word(started.position)

    async def _until_stopped(self, group: asyncio.TaskGroup, started: Started) -> None:
        lanes = Lanes(group)
        stream = group.create_task(self._intake.run(lanes, started))
        others = [
            group.create_task(work)
            for work in (
                self._intake.keep_answering_invitations(lanes),
                self._loop.run(),
                publish_for_ever(self._reconciler, self._follower, self._traffic),
                started.position.keep(),
            )
        ]
        await self._say("Ready", "True", "Serving", "messages are handled")
        rooms = len(self._follower.facts.rooms)
        log.info("ready", extra={"user": self.me, "rooms": rooms})
        await self._stopped.wait()
        log.info("stopping")
        stream.cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                await lanes.empty()
        except TimeoutError:
            log.warning("what is not answered yet is left to the next start")
        lanes.cancel()
        for task in others:
            task.cancel()

    async def _last_word(self, position: Position) -> None:
        """Write down how far it came, if the server is there to be told."""
        try:
            async with asyncio.timeout(LAST_WORD):
                await position.write()
        except (TimeoutError, WireError, StoreError) as error:
            # The next start handles again what came since: that is harmless.
            log.warning(
                "position not written", extra={"error": str(error) or "timeout"}
            )

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` returns; `None` if the bot is told to stop before."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stopped.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def _reconcile(self, rooms: frozenset[str] | None) -> None:
        if rooms is not None:
            await self._follower.catch_up()
            return
        if self._begun:
            await self._follower.renew(self._allow_detach)
        else:
            await self._follower.begin(self._allow_detach)
            if self._follower.is_outdated:
                self._loop.nudge()  # the start does not wait for it
        self._begun, self._allow_detach = True, None

    # Small things

    async def _bootstrap_unregistered_room(
        self,
        room: str,
        sender: str,
        *,
        asked: str,
        arrived: bool = False,
        unreadable: bool = False,
    ) -> None:
        """Lead `sender` from a room that the newest topology does not know to theirs.

        It just `arrived` there, or they said something, which may be `unreadable`. The
        room itself never becomes a working room."""
        log.info("unregistered room", extra={"room": room, "sender": sender})
        encrypted = unreadable or (arrived and await self._is_encrypted(room))
        await self._onboarding.welcome(
            room, sender, asked, arrived=arrived, encrypted=encrypted
        )

    async def _is_encrypted(self, room: str) -> bool:
        # Not the room's whole state: what others keep there may be a lot to read.
        try:
            await self._wire.state_event(room, ENCRYPTION)
        except NotFound:
            return False
        return True

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nobody waits for beside everything else."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("not done", exc_info=task.exception())

    async def _say(self, kind: str, status: str, reason: str, message: str) -> None:
        condition = Condition(kind, status, reason, message, now())
        try:
            await self._store.set_conditions([condition])
        except StoreError as error:
            log.warning("condition not noted", extra={"error": str(error)})


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What began it all: the rest was cancelled because of it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
