"""Who invites the bot to a direct chat, or says a word there, is shown to their Space."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from adapter.chat import ChatManager, InvitedBack, NotNow, NotPossible
from adapter.matrix import phrases
from adapter.matrix.errors import Forbidden, NotFound
from adapter.matrix.handlers.auth import Invitation, accepts, invitation
from adapter.matrix.homes import chats_of, is_archived, space_of
from adapter.matrix.identity import server_of
from adapter.matrix.patience import reached
from adapter.matrix.quota import Quota
from adapter.matrix.store import Store
from adapter.matrix.voice import HOUR, Voice
from adapter.matrix.writing import Writer

log = logging.getLogger(__name__)

Json = dict[str, Any]

PERIOD: Final = 3600.0
"""Seconds for which the next two count."""
EACH: Final = 5
"""Invitations of one user that are accepted, who asks for more rooms with `!new`; as many
are declined."""
DECLINED: Final = 60
"""Invitations that are declined, whoever sent them: servers let nobody say much more."""
AT_ONCE: Final = 4
"""Invitations that are being answered at the same time."""
WAITING: Final = 100
"""Invitations that wait for their turn, all users' together."""
SOON: Final = 60.0
"""Seconds after which those that found no room to wait are looked at again."""


class LeftOpen:
    """The invitations that were left open: how many, and from when to look again."""

    def __init__(self) -> None:
        self._count = 0
        self._soonest = 0.0
        self._some = asyncio.Event()

    def add(self, at: float) -> None:
        """One more, which may be answered from `at` on."""
        self._soonest = min(self._soonest, at) if self._count else at
        self._count += 1
        self._some.set()

    async def wait(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Return when some are left open and the first of them may be answered."""
        await self._some.wait()
        told = {"count": self._count, "wait": round(self._soonest - clock())}
        log.warning("invitations left open", extra=told)
        while (wait := self._soonest - clock()) > 0:
            # One that comes meanwhile may be due sooner.
            await sleep(min(wait, SOON))
        self._count = 0
        self._some.clear()


@dataclass(frozen=True, slots=True)
class Onboarding:
    """Answers invitations, and leads people from their direct chat to their rooms."""

    me: str
    allow: Sequence[str]
    writer: Writer
    voice: Voice
    store: Store
    chats: ChatManager
    later: Callable[[Coroutine[Any, Any, None]], None]
    """Does it beside everything else: nothing waits for it, the position neither."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    inviting: set[str] = field(default_factory=set)
    """Users whose invitations wait for the server's limits."""
    left_open: LeftOpen = field(default_factory=LeftOpen)
    _each: Quota = field(default_factory=lambda: Quota(EACH, PERIOD))
    _declined: Quota = field(default_factory=lambda: Quota(DECLINED, PERIOD))
    _doors: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(AT_ONCE)
    )
    _waiting: set[str] = field(default_factory=set)

    async def invited(self, room_id: str, events: Sequence[Json]) -> None:
        """Join a direct chat of somebody who may, and a room of whoever owns it, where
        the bot was thrown out; decline everything else, but for rooms of the bot's own.

        What is too much for now is left open: the server goes on to list it, so that
        nothing has to be remembered, and `left_open` says when to look again. What follows
        from joining, follows from the bot's own join event: so it follows also when the
        bot is killed in between."""
        found = invitation(events, self.me)
        if found is None:
            return
        row = await self.store.row(room_id)
        is_theirs = row is not None and row.matrix_user_id == found.inviter
        welcome = is_theirs or accepts(found, self.allow)
        if row is not None and not welcome:
            # A room of the bot's own: its owner may be inviting it as well, and of two
            # invitations there stands only one.
            return
        if wait := self._too_much(room_id, found, welcome):
            self.left_open.add(self.clock() + wait)
            return
        self._waiting.add(room_id)
        try:
            async with self._doors:
                await self._answer(room_id, found, welcome)
        finally:
            self._waiting.discard(room_id)

    async def _answer(self, room_id: str, found: Invitation, welcome: bool) -> None:
        told = {"room": room_id, "inviter": found.inviter, "accepted": welcome}
        log.info("invited", extra=told)
        try:
            if welcome:
                await self.writer.join(room_id)
            else:
                await self.writer.decline(room_id)
        except (Forbidden, NotFound) as error:
            # It was taken back meanwhile.
            log.info("invitation gone", extra={"room": room_id, "error": str(error)})

    def _too_much(self, room_id: str, found: Invitation, welcome: bool) -> float:
        """Seconds until this invitation may be answered; 0 counts it, and is now."""
        if len(self._waiting) >= WAITING:
            return SOON
        at = self.clock()
        # A room may invite again and again: each time is one. Where the server does not
        # name the event, to be asked twice of the same one is, too.
        what = f"{room_id} {found.event_id or at}"
        quotas = [(self._each, found.inviter)]
        if not welcome:
            # Who was declined, for rooms that are not direct, is welcome in one that is.
            declined = f"declined {found.inviter}"
            quotas = [(self._each, declined), (self._declined, "anybody")]
        wait = max(quota.wait(name, what, at) for quota, name in quotas)
        if not wait:
            for quota, name in quotas:
                quota.take(name, what, at)
        return wait

    async def welcome(
        self, room_id: str, user_id: str, asked: str, *, arrived: bool, encrypted: bool
    ) -> None:
        """Make or find the Space of `user_id`, and say in this room where it is.

        Who comes back is invited again into all they had; to whoever archived it all,
        nothing is made unasked. On `arrived`, when the bot has just come into the room,
        that is always said, else once an hour."""

        async def waiting() -> None:
            moment = f"{asked}/moment"
            await self.voice.notice(room_id, moment, phrases.takes_a_moment())

        rows = await self.store.rows()
        had, chats = space_of(rows, user_id), chats_of(rows, user_id)
        try:
            if not (had and chats and all(map(is_archived, chats))):
                await self.chats.get_or_create(user_id, asked=asked, waiting=waiting)
        except NotNow:
            every = 0 if arrived else HOUR
            await self.voice.remind(every, "later", room_id, asked, phrases.try_later())
            return
        except NotPossible as error:
            # Whoever invites the bot has said nothing yet that could be answered so.
            log.warning("no home", extra={"user": user_id, "error": str(error)})
            failed = f"{asked}/failed"
            await self.voice.notice(room_id, failed, phrases.internal_failure())
            return
        left = await self.chats.invite_back(user_id)
        if left.left and user_id not in self.inviting:
            self.later(self._invite_back(user_id, left))
        rows = await self.store.rows()
        space, chats = space_of(rows, user_id), chats_of(rows, user_id)
        if had is None and space is not None:
            message = phrases.welcome(
                space, chats, server_of(self.me), encrypted=encrypted
            )
        elif arrived or encrypted:
            message = phrases.welcome_back(
                space, chats, server_of(self.me), encrypted=encrypted
            )
        else:
            message = phrases.where_to_go(chats, server_of(self.me))
        if arrived:
            await self.voice.notice(room_id, asked, message)
        else:
            await self.voice.remind(HOUR, "pointer", room_id, asked, message)

    async def _invite_back(self, user_id: str, left: InvitedBack) -> None:
        """Go on inviting, within the server's limits."""
        self.inviting.add(user_id)
        try:
            while left.left:
                told = {"user": user_id, "left": len(left.left)}
                log.info("invitations wait for the server's limits", extra=told)
                await self.sleep(left.retry_after)
                again = partial(self.chats.invite_back, user_id, left.left)
                left = await reached(again)
        finally:
            self.inviting.discard(user_id)
