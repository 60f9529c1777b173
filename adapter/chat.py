"""The one door to provisioning: a user's chat is asked for here, and found or made.

For one user it is one after the other, so that nobody makes what somebody else is just
making; users do not wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

Waiting = Callable[[], Awaitable[None]]
"""Called when a room takes longer to make than a few seconds: to say so to somebody."""


class Chat(NamedTuple):
    """One chat of one user: its room, and the number that it is known by."""

    room_id: str
    chat_id: str
    title: str | None
    space_id: str | None
    """`None` of a chat without any Space."""
    archived: bool = False
    """The user put it away: it is theirs still, but not in use."""


class InvitedBack(NamedTuple):
    """The rooms that a user was invited to again, and those that are left to later."""

    invited: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """The server's limits let no more through just now."""
    retry_after: float = 0.0
    """Seconds until it is worth going on with those."""


class NotNow(Exception):  # noqa: N818 - it says what happened; whoever asked can ask again
    """Not everything of this user can be seen just now: ask again shortly.

    Nothing was made, unless an earlier request's end is not certain yet; asked again, that
    one is finished first."""


class NotPossible(Exception):  # noqa: N818 - it says what happened, not whose fault it is
    """The room cannot be made, now or later: the text says to the operator why."""


class Homes(Protocol):
    """Makes and finds the rooms of users, each exactly once. Never two calls for one user
    at a time, please."""

    async def chats(self, user_id: str) -> Sequence[Chat]:
        """The user's chats by number: in use, left by them, or archived."""

    async def look_round(self, user_id: str) -> None:
        """See what another program may have made of late. Raises `NotNow`."""

    async def space(self, user_id: str) -> str | None:
        """The user's Space, if there is one."""

    async def new_space(self, user_id: str, *, asked: str, waiting: Waiting) -> None:
        """Make the user's Space, and see what another program made meanwhile. Look round
        right before it, please. Nobody is invited: `finish` and `chat` do that."""

    async def finish(self, chat: Chat) -> Chat:
        """Link it, and invite its user to it and to their Space, where it was never done."""

    async def chat(  # noqa: PLR0913 - all that a new chat is made of
        self,
        user_id: str,
        chat_id: str | None,
        *,
        asked: str,
        title: str | None,
        waiting: Waiting,
        anew: bool,
    ) -> Chat:
        """Make a chat in the user's Space, and finish it; `chat_id` is the next one if not
        given. Look round right before it, please, unless the Space was just made.

        What the event `asked` made already is found. Unless `anew`, a chat that an earlier
        event asked for, and whose end is not certain, is finished instead."""

    async def invite_back(
        self, user_id: str, rooms: Collection[str] | None
    ) -> InvitedBack:
        """Invite the user again to what they left; see `ChatManager`."""


class ChatManager:
    """Finds or makes chats. `asked` is the id of the event that asks: asked again, for the
    same event, it finds what it made.

    Raises `NotNow`, `NotPossible`, and what keeps the homeserver or the cache from
    answering: then, too, asking again finds what was begun."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get_or_create(
        self,
        user_id: str,
        chat_id: str | None = None,
        *,
        asked: str,
        title: str | None = None,
        waiting: Waiting | None = None,
    ) -> Chat:
        """The chat `chat_id` of the user, archived or not; without one, the first of those
        in use or that they left. What is missing is made, the Space first.

        `waiting` is called at most once, when it will take longer than a few seconds."""
        once = _once(waiting)
        async with self._lock(user_id):
            found = await self._find(user_id, chat_id)
            if found is not None and found.archived:
                return found
            if found is None or await self._homes.space(user_id) is None:
                await self._prepare(user_id, asked, once)
                found = await self._find(user_id, chat_id)
            if found is not None:
                return await self._homes.finish(found)
            return await self._homes.chat(
                user_id, chat_id, asked=asked, title=title, waiting=once, anew=False
            )

    async def new(
        self,
        user_id: str,
        *,
        asked: str,
        title: str | None = None,
        waiting: Waiting | None = None,
    ) -> Chat:
        """One more chat: the one that the event `asked` asked for, if that was made."""
        once = _once(waiting)
        async with self._lock(user_id):
            await self._prepare(user_id, asked, once)
            return await self._homes.chat(
                user_id, None, asked=asked, title=title, waiting=once, anew=True
            )

    async def invite_back(
        self, user_id: str, rooms: Collection[str] | None = None
    ) -> InvitedBack:
        """Invite the user again to their Space and their chats, or to `rooms` of these.

        Servers let one user be invited a few times, then make everybody wait minutes: it
        stops there, and says what is left."""
        async with self._lock(user_id):
            return await self._homes.invite_back(user_id, rooms)

    def _lock(self, user_id: str) -> asyncio.Lock:
        lock = self._locks.get(user_id)
        if lock is None:
            lock = self._locks[user_id] = asyncio.Lock()
        return lock

    async def _prepare(self, user_id: str, asked: str, waiting: Waiting) -> None:
        """Have a Space, and see what there is, so that a chat may be made."""
        await self._homes.look_round(user_id)
        if await self._homes.space(user_id) is None:
            await self._homes.new_space(user_id, asked=asked, waiting=waiting)

    async def _find(self, user_id: str, chat_id: str | None) -> Chat | None:
        for chat in await self._homes.chats(user_id):
            if chat.chat_id == chat_id or (chat_id is None and not chat.archived):
                return chat
        return None


def _once(waiting: Waiting | None) -> Waiting:
    told = waiting is None

    async def tell() -> None:
        nonlocal told
        if not told and waiting is not None:
            told = True
            await waiting()

    return tell
