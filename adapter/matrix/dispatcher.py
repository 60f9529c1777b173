"""Events of the live stream -> who handles them, in order within each room.

A batch is settled when everything in it that is due was answered, refused, or failed
with a word. Until then the position stays before it, and a bot that is killed handles
it again: which is harmless, since whatever is done derives from the event.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from adapter.chat import NotPossible
from adapter.matrix import phrases
from adapter.matrix.company import Company
from adapter.matrix.desired import BACKLOG, Finding
from adapter.matrix.errors import (
    RateLimited,
    WireError,
)
from adapter.matrix.facts import CREATE, Present, shown
from adapter.matrix.faults import BadValue, StoreError
from adapter.matrix.following import Follower
from adapter.matrix.handlers.auth import (
    Place,
    contradicts,
    invitation,
    is_allowed,
    may_be_answered,
    may_command,
    place,
)
from adapter.matrix.handlers.chat import Conversation
from adapter.matrix.handlers.commands import Asked, Commands, conversation_from
from adapter.matrix.handlers.message import Command, Encrypted, Said, Word, said
from adapter.matrix.handlers.onboarding import Onboarding
from adapter.matrix.homes import chats_of
from adapter.matrix.identity import server_of
from adapter.matrix.lanes import Lanes
from adapter.matrix.live import Batch, after_own_join, answered, joined_now
from adapter.matrix.patience import HOPELESS, lives
from adapter.matrix.rows import PENDING, Row
from adapter.matrix.store import Store
from adapter.matrix.traffic import Traffic
from adapter.matrix.voice import DAY, HOUR, Voice
from adapter.matrix.wire import Wire
from controller.loop import asked as wait_asked
from controller.loop import delay

log = logging.getLogger(__name__)

Json = dict[str, Any]

LONGEST: Final = 30.0
"""Seconds of the longest wait before something is tried again."""
FAULTS: Final = 3
"""How often a server may fail at one item before that counts as failed."""
MOST_WAITING: Final = 2_000
"""What was said in a room and waits there: twice what a start may find in one."""


class Unread(Exception):  # noqa: N818 - it says what happened
    """The room changed and cannot be read, so what it is now is not known."""

    def __init__(self, room_id: str) -> None:
        super().__init__(f"{room_id} has changed and cannot be read")


class Message(NamedTuple):
    """Somebody said something."""

    room_id: str
    event: Json
    said: Said
    resets: frozenset[str] = frozenset()
    """The conversations that begin at a `!reset` which was said after it."""


class Arrival(NamedTuple):
    """The bot came into a room."""

    room_id: str
    event: Json


class Invite(NamedTuple):
    """Somebody invites the bot."""

    room_id: str
    events: Sequence[Json]


Item = Message | Arrival | Invite


class Mark(Protocol):
    """What is told that one item of a batch is settled."""

    def settle(self) -> None: ...


class Bootstrap(Protocol):
    """Leads the sender, in a room that the topology does not know, to their rooms."""

    async def __call__(
        self,
        room: str,
        sender: str,
        *,
        asked: str,
        arrived: bool = False,
        unreadable: bool = False,
    ) -> None: ...


def due(batch: Batch, me: str) -> list[Item]:
    """What in a batch has to be handled, in order within each room. Pure.

    Nothing from before the bot's own join is, and it does not arrive in what it made."""
    items: list[Item] = [
        Invite(room_id, events) for room_id, events in batch.invited.items()
    ]
    for room_id, update in batch.joined.items():
        events = (*update.state, *update.timeline)
        joined = joined_now(events, me)
        if joined is not None and not _is_made(events, me):
            items.append(Arrival(room_id, joined))
        items += _messages(room_id, after_own_join(update.timeline, me), me)
    return items


def _is_made(events: Sequence[Json], me: str) -> bool:
    """The bot made the room: nobody waits there for it, and whoever had it made binds it."""
    return any(
        event.get("type") == CREATE and event.get("sender") == me for event in events
    )


def _messages(room_id: str, events: Sequence[Json], me: str) -> list[Message]:
    """A command whose answer is there already was carried out before a crash: done again,
    it might undo what somebody has decided since."""
    messages: list[Message] = []
    resets: frozenset[str] = frozenset()
    over = answered(events, me)
    for event in reversed(events):
        found = said(event, me)
        is_command = isinstance(found, Command)
        if found is not None and not (is_command and event["event_id"] in over):
            messages.append(Message(room_id, event, found, resets))
        if isinstance(found, Command) and found.name == "reset":
            resets |= {conversation_from(event["event_id"])}
    return messages[::-1]


@dataclass(eq=False, slots=True)
class Dispatcher:
    """Finds the handler of each item, and sees to it that each is settled."""

    me: str
    allow: Sequence[str]
    routing: str
    wire: Wire
    store: Store
    follower: Follower
    traffic: Traffic
    voice: Voice
    conversation: Conversation
    commands: Commands
    onboarding: Onboarding
    bootstrap: Bootstrap
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    company: Company = field(init=False)

    def __post_init__(self) -> None:
        self.company = Company(self.wire, self.me)

    def dispatch(self, lanes: Lanes, items: Sequence[Item], mark: Mark) -> None:
        """Hand out the items of a batch; the mark is told of each that is settled.

        Where more is said than anybody goes through, the newest of it is left out."""
        for item in items:
            lane = _lane(item, self.me)
            if isinstance(item, Message) and lanes.waiting(lane) >= MOST_WAITING:
                self._leave_out(item.room_id)
                mark.settle()
                continue

            async def work(item: Item = item) -> None:
                with self.traffic.urgent():
                    await self._settle(item)
                mark.settle()

            lanes.put(lane, work)

    def _leave_out(self, room_id: str) -> None:
        why = f"more than {MOST_WAITING} messages wait"
        message = f"the newest of what is said there is not answered: {why}"
        if self.follower.find(Finding(BACKLOG, room_id, message)):
            log.warning("backlog left out", extra={"room": room_id, "why": why})

    # One item

    async def _settle(self, item: Item) -> None:
        """Handle the item until it is answered, refused, or failed with a word.

        A server or a disk that is away for a while is waited for."""
        failed = 0
        for attempt in itertools.count(1):
            try:
                await self._handle(item)
            except HOPELESS:
                raise
            except Exception as error:  # noqa: BLE001 - one event never stops the others
                failed += await self._counts(error)
                if not _may_pass(error, failed):
                    await self._fail(item, error)
                    return
                pause = delay(attempt, self.chance(), most=LONGEST)
                wait = max(pause, wait_asked(error))
                told = {"room": item.room_id, "error": str(error), "wait": round(wait)}
                log.warning("handled again", extra=told)
                with self.traffic.elsewhere():
                    await self.sleep(wait)
            else:
                return

    async def _counts(self, error: Exception) -> bool:
        """Whether it is this one item that the server fails at.

        While it is away, which a proxy tells as a 502, or sets a limit, nothing counts."""
        if isinstance(error, WireError):
            passing = isinstance(error, RateLimited) or error.is_refusal
            return not passing and await lives(self.wire)
        return isinstance(error, Unread)

    async def _fail(self, item: Item, error: Exception) -> None:
        """Say in the room that it failed, to somebody who would have been answered."""
        expected = isinstance(error, WireError | NotPossible | Unread)
        log.warning(
            "not handled",
            extra={"room": item.room_id, "error": f"{type(error).__name__}: {error}"},
            exc_info=None if expected else error,
        )
        if not isinstance(item, Message):
            return
        try:
            if await self._may_be_told(item.room_id, item.event["sender"]):
                asked = f"{item.event['event_id']}/failed"
                unread = isinstance(error, Unread)
                message = phrases.unsure() if unread else phrases.internal_failure()
                await self.voice.notice(item.room_id, asked, message)
        except HOPELESS:
            raise
        except (WireError, StoreError) as why:
            told = {"room": item.room_id, "error": str(why)}
            log.warning("not even said", extra=told)

    async def _may_be_told(self, room_id: str, sender: str) -> bool:
        """Whether the bot answers this sender here at all: elsewhere it is silent."""
        row = await self.store.row(room_id)
        company = self.company.known(room_id)
        members = None if company is None else len(company | {sender})
        where = place(row, self.follower.knows(room_id), members)
        return may_be_answered(row, sender, self.routing) or may_command(
            where, row, sender, self.allow
        )

    async def _handle(self, item: Item) -> None:
        match item:
            case Invite(room_id, events):
                await self.onboarding.invited(room_id, events)
            case Arrival(room_id, event):
                await self._arrived(room_id, event["event_id"])
            case Message():
                await self._heard(item)

    async def _arrived(self, room_id: str, event_id: str) -> None:
        await self._caught_up(room_id, None)
        if self.follower.knows(room_id):
            return
        self.company.forget(room_id)
        others = await self.company.others(room_id)
        if len(others) == 1 and is_allowed(others[0], self.allow):
            await self.bootstrap(room_id, others[0], asked=event_id, arrived=True)

    # What somebody said

    async def _heard(self, item: Message) -> None:
        room_id, event, found, resets = item
        sender, event_id = event["sender"], event["event_id"]
        self.traffic.note(room_id)
        row = await self.store.row(room_id)
        if await self._caught_up(room_id, row.matrix_user_id if row else None):
            row = await self.store.row(room_id)
        if row is not None and row.platform_chat_id in resets:
            # That reset was done, so what was said before it had been settled: it
            # comes again after a crash, and is none of the new conversation.
            return
        where = await self._place(room_id, sender, row)
        if row is not None and self._is_contradicted(row):
            if row.matrix_user_id == sender:
                await self._is_uncertain(room_id, event_id)
            return
        if isinstance(found, Command) and where is not Place.DIRECT:
            if row is not None and may_command(where, row, sender, self.allow):
                asked = Asked(room_id, event_id, sender, row)
                await self.commands.run(found, asked)
            return
        match where:
            case Place.CHAT if row is not None:
                await self._in_chat(row, sender, event_id, found)
            case Place.PENDING | Place.ARCHIVED | Place.OTHER_DETACHED if (
                row is not None
            ):
                await self._in_unused_chat(row, sender, event_id)
            case Place.DIRECT if is_allowed(sender, self.allow):
                await self._in_direct(room_id, sender, event_id, found)

    async def _place(self, room_id: str, sender: str, row: Row | None) -> Place:
        managed = row is not None or self.follower.knows(room_id)
        members = None
        # Others' rooms may be huge: they are looked at for whoever may be answered there.
        if not managed and is_allowed(sender, self.allow):
            members = await self.company.members(room_id, sender)
        return place(row, managed, members)

    async def _in_chat(self, row: Row, sender: str, event_id: str, found: Said) -> None:
        if not may_be_answered(row, sender, self.routing):
            return
        room_id = row.room_id
        if isinstance(found, Word):
            await self.conversation.answer(row, sender, event_id, found.text)
        elif isinstance(found, Encrypted):
            # The owner alone is told of other rooms, and of no guest's: all read along.
            is_theirs = sender == row.matrix_user_id
            chats = chats_of(await self.store.rows(), sender) if is_theirs else []
            others = [chat for chat in chats if chat.room_id != room_id]
            message = phrases.encrypted(others, server_of(self.me))
            await self.voice.remind(DAY, "encrypted", room_id, event_id, message)
        else:
            message = phrases.media()
            await self.voice.remind(DAY, "media", room_id, event_id, message)

    async def _in_unused_chat(self, row: Row, sender: str, event_id: str) -> None:
        """A chat that is not in use says why, or where to go, to its owner."""
        if row.matrix_user_id != sender:
            return
        if row.status == PENDING:
            # They are there, and too little was seen for the row to say so.
            await self._is_uncertain(row.room_id, event_id)
            return
        if row.reason == "unlinked":
            message = phrases.still_archived(row)
        elif winner := await self._goes_on_in(row):
            message = phrases.go_to_winner(winner, server_of(self.me))
        else:
            return
        await self.voice.remind(HOUR, "pointer", row.room_id, event_id, message)

    async def _is_uncertain(self, room_id: str, event_id: str) -> None:
        message = phrases.unsure()
        await self.voice.remind(HOUR, "held", room_id, event_id, message)

    async def _in_direct(
        self, room_id: str, sender: str, event_id: str, found: Said
    ) -> None:
        if isinstance(found, Command):
            asked = Asked(room_id, event_id, sender, None)
            await self.commands.run(found, asked)
        else:
            unreadable = isinstance(found, Encrypted)
            await self.bootstrap(room_id, sender, asked=event_id, unreadable=unreadable)

    # What is known of a room

    async def _caught_up(self, room_id: str, owner: str | None) -> bool:
        """See to it that what changed before this item is decided about.

        Returns whether anything was. Raises `Unread` if the room does not show how it
        changed: then nobody knows whose words belong where."""
        if self.follower.is_unseen(room_id):
            await self.follower.catch_up([room_id])
        elif self.follower.is_due(room_id, owner):
            await self.follower.catch_up()
        else:
            return False
        if self.follower.is_unread(room_id):
            raise Unread(room_id)
        return True

    def _is_contradicted(self, row: Row) -> bool:
        """The room says of itself something else than its row, which a guard may hold."""
        found = self.follower.fact(row.room_id)
        why = (
            contradicts(row, found.room, self.me)
            if isinstance(found, Present)
            else None
        )
        if why is not None:
            log.warning("not routed", extra={"room": row.room_id, "why": why})
        return why is not None

    async def _goes_on_in(self, row: Row) -> Row | None:
        """The owner's room that took the place of a duplicate or an upgraded one."""
        other = await self.store.row(self._successor(row) or "")
        # Two owners' rooms may claim one conversation: neither hears of the other.
        is_theirs = other is not None and other.matrix_user_id == row.matrix_user_id
        return other if is_theirs else None

    def _successor(self, row: Row) -> str | None:
        if row.reason == "upgraded":
            return self.follower.successor(row.room_id)
        if row.reason == "duplicate":
            for room_id, found in self.follower.facts.rooms.items():
                room = shown(found)
                if room and room.create.cause.event_id == row.evidence:
                    return room_id
        return None


def _lane(item: Item, me: str) -> str:
    """What is said in one room is in order; so are the invitations of one user, of which
    there may be many: they wait for each other, and nobody waits for them."""
    if isinstance(item, Invite) and (found := invitation(item.events, me)):
        return found.inviter
    return item.room_id


def _may_pass(error: Exception, failed: int) -> bool:
    """Whether it is worth trying again, for ever or a few times."""
    if isinstance(error, BadValue):
        return False
    if isinstance(error, RateLimited | StoreError):
        return True
    if isinstance(error, WireError):
        return not error.is_refusal and failed < FAULTS
    return isinstance(error, Unread) and failed < FAULTS
