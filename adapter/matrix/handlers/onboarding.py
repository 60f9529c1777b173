"""Who invites the bot to a direct chat, or says a word there, is shown to their Space."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from adapter.chat import ChatManager, InvitedBack, NotNow, NotPossible
from adapter.matrix import phrases
from adapter.matrix.errors import Forbidden, NotFound
from adapter.matrix.handlers.auth import accepts, invitation
from adapter.matrix.homes import chats_of, is_archived, space_of
from adapter.matrix.identity import server_of
from adapter.matrix.patience import reached
from adapter.matrix.store import Store
from adapter.matrix.voice import HOUR, Voice
from adapter.matrix.writing import Writer

log = logging.getLogger(__name__)

Json = dict[str, Any]


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
    inviting: set[str] = field(default_factory=set)
    """Users whose invitations wait for the server's limits."""

    async def invited(self, room_id: str, events: Sequence[Json]) -> None:
        """Join a direct chat of somebody who may, and a room of whoever owns it, where
        the bot was thrown out; decline everything else.

        What follows from joining, follows from the bot's own join event: so it follows
        also when the bot is killed in between."""
        found = invitation(events, self.me)
        if found is None:
            return
        row = await self.store.row(room_id)
        is_theirs = row is not None and row.matrix_user_id == found.inviter
        welcome = is_theirs or accepts(found, self.allow)
        told = {"room": room_id, "inviter": found.inviter, "accepted": welcome}
        log.info("invited", extra=told)
        try:
            if welcome:
                await self.writer.join(room_id)
            else:
                await self.writer.leave(room_id)
        except (Forbidden, NotFound) as error:
            # It was taken back meanwhile.
            log.info("invitation gone", extra={"room": room_id, "error": str(error)})

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
