"""Makes each Space and each chat exactly once, and finishes what was begun.

Rows come from passes alone, here too: after a room is made, a pass binds it, decides by
rule 7 which of two stays in use, and says by rule 10 what is due in it. So whatever is
interrupted here, and by whom, any later pass can finish.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from adapter.chat import Chat, InvitedBack, NotNow, NotPossible, Waiting
from adapter.matrix.blueprints import (
    chat_ids,
    create_body,
    next_chat_id,
    request_of,
    room_name,
)
from adapter.matrix.errors import (
    ACCOUNT_WIDE,
    RateLimited,
    TokenRefused,
    WireError,
)
from adapter.matrix.facts import CHILD, MEMBER, EventTypes, Present
from adapter.matrix.following import Follower
from adapter.matrix.homes import chats_of
from adapter.matrix.identity import is_chat_id, is_user_id, lineage, server_of
from adapter.matrix.ledger import Ledger
from adapter.matrix.making import Maker, unseen
from adapter.matrix.memory import Intent
from adapter.matrix.phrases import clean_title
from adapter.matrix.publishing import event
from adapter.matrix.rows import CHAT, SPACE, Row
from adapter.matrix.store import Store, get_user_meta, next_platform_chat_id
from adapter.matrix.traffic import Traffic
from adapter.matrix.wire import Wire
from adapter.matrix.writing import Writer, at_once
from controller.model import DETACHED

if TYPE_CHECKING:
    from adapter.config import RoomSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

PATIENCE: Final = 10.0
"""Seconds that a limit on invites may ask for, and be waited for by whoever asked."""

LEFT, ARCHIVED = "owner_left", "unlinked"
"""Reasons of detached rows whose rooms are their owner's all the same."""
MOVED: Final = frozenset({"duplicate", "upgraded"})
"""Reasons of rows whose place another room has."""

Step = tuple[str, str, Mapping[str, Any]]
"""What is due in a room: which room, `TYPE|STATE_KEY`, and the content."""


class Provisioner:
    """What `ChatManager` needs: see `adapter.chat.Homes`.

    Besides what stands there, it raises `WireError` when the server cannot be asked, and
    `StoreError`. Whatever was begun by then is found when it is asked again."""

    def __init__(  # noqa: PLR0913 - all that making a room hangs on
        self,
        wire: Wire,
        writer: Writer,
        follower: Follower,
        store: Store,
        ledger: Ledger,
        me: str,
        rooms: RoomSettings,
        types: EventTypes,
        *,
        traffic: Traffic | None = None,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._traffic = traffic or Traffic()
        self._writer = writer
        self._follower = follower
        self._store = store
        self._ledger = ledger
        self._me = me
        self._rooms = rooms
        self._types = types
        self._now = now
        self._maker = Maker(
            wire, follower, ledger, rooms.settle, now=now, sleep=sleep, chance=chance
        )

    # What there is

    async def chats(self, user_id: str) -> Sequence[Chat]:
        return [_chat(row) for row in await self._chat_rows(user_id)]

    async def space(self, user_id: str) -> str | None:
        """The Space that holds the user's place, also one that they left."""
        found = await get_user_meta(self._store, user_id)
        return found["space_id"] if found else None

    async def look_round(self, user_id: str) -> None:
        """Read the rooms that the bot is in and nobody has seen yet, and bind them."""
        joined = await self._wire.joined_rooms()
        if new := unseen(self._follower, joined):
            await self._follower.catch_up(new)
        if (await self._follower.sight(joined)).blocks(user_id):
            msg = f"not every room that may belong to {user_id} can be seen"
            raise NotNow(msg)

    # What is missing

    async def new_space(self, user_id: str, *, asked: str, waiting: Waiting) -> None:
        self._must_be_owner(user_id)
        intents = (await self._ledger.open_intents()).values()
        begun = [i for i in intents if i.owner == user_id and i.kind == SPACE]
        fresh = Intent(request_of(asked, SPACE), SPACE, user_id, None, None, asked, 0)
        name = await self._name(self._rooms.space_name, user_id)
        # Whatever an earlier event began may be there: it is finished, or excluded.
        made = await self._made(next(iter(begun), fresh), name, None, waiting)
        await self._in_place(made, user_id)
        await self._forget_bound(user_id)

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
        room_id = self._follower.asked_for(request_of(asked, CHAT))
        if room_id is None:
            intent = await self._chat_intent(user_id, chat_id, asked, anew)
            # Their Space, which is there, need not wait until the chat is.
            made, _ = await _both(
                self._new_chat(intent, title, waiting), self._finish_space(user_id)
            )
        else:
            made = room_id
            await self._follower.catch_up()
        row = await self._in_place(made, user_id)
        return _chat(await self._finish(row))

    async def finish(self, chat: Chat) -> Chat:
        return _chat(await self._finish(await self._in_place(chat.room_id)))

    async def invite_back(
        self, user_id: str, rooms: Collection[str] | None
    ) -> InvitedBack:
        await self._follower.catch_up()
        missing = [
            room_id
            for room_id in await self._rooms_of(user_id)
            if (rooms is None or room_id in rooms) and self._is_out(room_id, user_id)
        ]
        invited: list[str] = []
        for number, room_id in enumerate(missing):
            try:
                if await self._invite(room_id, user_id):
                    invited.append(room_id)
            except RateLimited as error:
                await self._follower.catch_up(invited)
                left = tuple(missing[number:])
                return InvitedBack(tuple(invited), left, error.retry_after)
        await self._follower.catch_up(invited)
        return InvitedBack(tuple(invited))

    # Making

    async def _new_chat(
        self, intent: Intent, title: str | None, waiting: Waiting
    ) -> str:
        name = clean_title(title or "") or await self._name(
            self._rooms.chat_name, intent.owner, intent.chat_id
        )
        return await self._made(intent, name, await self.space(intent.owner), waiting)

    async def _chat_intent(
        self, user_id: str, chat_id: str | None, asked: str, anew: bool
    ) -> Intent:
        """What is to be made: what this event, or an earlier one, began, else the next."""
        self._must_be_owner(user_id)
        intents = await self._ledger.open_intents()
        request = request_of(asked, CHAT)
        if request in intents:
            return intents[request]
        for intent in () if anew else intents.values():
            if (
                (intent.kind, intent.owner) == (CHAT, user_id)
                and chat_id in {None, intent.chat_id}
                and self._follower.asked_for(intent.request) is None
            ):
                return intent
        rows = (await self._store.rows()).values()
        chains = lineage(self._follower.facts.rooms, self._me).chains
        taken = chat_ids(user_id, chains, rows, intents.values())
        if chat_id in taken:
            msg = f"{chat_id} of {user_id} was given up, and a number is used once"
            raise NotPossible(msg)
        chat_id = chat_id or next_chat_id(taken)
        if not is_chat_id(chat_id):
            msg = (
                f"{chat_id} cannot be a chat: that is C and a number of up to 9 digits"
            )
            raise NotPossible(msg)
        platform = await next_platform_chat_id(self._store)
        return Intent(request, CHAT, user_id, chat_id, platform, asked, 0)

    async def _made(
        self, intent: Intent, name: str, space_id: str | None, waiting: Waiting
    ) -> str:
        """Make the room, see whether somebody else made one, and have a pass bind it."""
        body = create_body(
            intent,
            name,
            version=self._rooms.version,
            types=self._types,
            space_id=space_id,
            via=server_of(self._me),
        )
        # While it is held, no pass takes it for a room that somebody forgot to finish.
        self._follower.hold(intent.request)
        try:
            room_id = await self._maker.make(intent, body, waiting)
            self._follower.made(room_id)
            joined = await self._wire.joined_rooms()
            await self._follower.read(unseen(self._follower, joined) - {room_id})
        finally:
            self._follower.release(intent.request)
        await self._follower.catch_up([room_id])
        if not (await self._follower.sight()).whole:
            # While a room of anybody is out of sight, things are due only where the row
            # was there before.
            await self._follower.catch_up([room_id])
        return room_id

    def _must_be_owner(self, user_id: str) -> None:
        """Nothing is made whose identity nobody could read afterwards."""
        if not is_user_id(user_id) or user_id == self._me:
            msg = f"{user_id!r} cannot own a room"
            raise NotPossible(msg)

    async def _name(
        self, template: str, user_id: str, chat_id: str | None = None
    ) -> str:
        shown: str | None = None
        if "{name}" in template:
            try:
                shown = await self._wire.display_name(user_id)
            except TokenRefused:
                raise
            except WireError as error:
                # A room is worth more than its name, which anybody can change.
                log.info("no display name", extra={"error": str(error)})
        return room_name(template, user_id, shown, chat_id)

    # Finishing

    async def _finish(self, row: Row) -> Row:
        """Write what the newest pass says is due for a chat, all of it at once: its link,
        and the invites to it and to its owner's Space; for a Space, its invite.

        What the server refuses, or does not let through soon, is left to later passes.
        Returns the row as it is then."""
        if await self._traffic.published():
            # It may have been one of these.
            await self._follower.catch_up(filter(None, (row.room_id, row.space_id)))
        due = self._due(row)
        await at_once(self._write(*step) for step in due)
        if due:
            await self._follower.catch_up({row.room_id, *(room for room, _, _ in due)})
        await self._forget_bound(row.matrix_user_id)
        return await self._store.row(row.room_id) or row

    async def _finish_space(self, user_id: str) -> None:
        if space_id := await self.space(user_id):
            await self._finish(await self._in_place(space_id))

    async def _forget_bound(self, user_id: str | None) -> None:
        """Forget what was begun for the user and has a row by now: that is found by it."""
        for request, intent in (await self._ledger.open_intents()).items():
            made = self._follower.asked_for(request)
            if intent.owner == user_id and made and await self._store.row(made):
                await self._ledger.fulfilled(request)

    def _due(self, row: Row) -> list[Step]:
        newest = self._follower.newest
        link = (row.space_id, f"{CHILD}|{row.room_id}")
        invites = [
            (room_id, f"{MEMBER}|{row.matrix_user_id}")
            for room_id in (row.space_id, row.room_id)
        ]
        steps = map(event, newest.decided.publish.steps if newest else ())
        found = {
            (room, field): (room, field, content) for room, field, content in steps
        }
        return [found[place] for place in (link, *invites) if place in found]

    async def _write(
        self, room_id: str, field: str, content: Mapping[str, Any]
    ) -> None:
        kind, _, state_key = field.partition("|")
        if kind == CHILD:
            await self._link(room_id, state_key, content)
            return
        try:
            await self._invite(room_id, state_key)
        except RateLimited as error:
            told = {"room": room_id, "wait": error.retry_after}
            log.info("invited later", extra=told)

    async def _link(
        self, space_id: str, room_id: str, content: Mapping[str, Any]
    ) -> None:
        try:
            await self._writer.put_state(space_id, CHILD, room_id, content)
        except TokenRefused:
            raise
        except WireError as error:
            told = {"room": room_id, "space": space_id, "error": str(error)}
            log.warning("not linked", extra=told)

    async def _invite(self, room_id: str, user_id: str) -> bool:
        """Whether the user was invited; raises `RateLimited` for a longer wait."""
        try:
            await self._writer.invite(room_id, user_id, patience=PATIENCE)
        except ACCOUNT_WIDE:
            raise
        except WireError as error:
            told = {"room": room_id, "user": user_id, "error": str(error)}
            log.warning("not invited", extra=told)
            return False
        return True

    # Rows

    async def _in_place(self, room_id: str, user_id: str | None = None) -> Row:
        """The row of the room, or of the one that has its place (rules 7 and 8)."""
        row = await self._store.row(room_id)
        if row is None:
            msg = f"{room_id} was made, but cannot be seen yet"
            raise NotNow(msg)
        if user_id not in {None, row.matrix_user_id}:
            msg = f"what {user_id} asks for was made for somebody else"
            raise NotPossible(msg)
        if row.reason not in MOVED or row.matrix_user_id is None:
            return row
        if row.room_type == SPACE:
            other = await self.space(row.matrix_user_id)
            found = await self._store.row(other) if other else None
        else:
            rows = await self._chat_rows(row.matrix_user_id)
            found = next((one for one in rows if one.chat_id == row.chat_id), None)
        return found or row

    async def _chat_rows(self, user_id: str) -> list[Row]:
        return [
            row
            for row in chats_of(await self._store.rows(), user_id)
            if row.status != DETACHED or row.reason in {LEFT, ARCHIVED}
        ]

    async def _rooms_of(self, user_id: str) -> list[str]:
        """The user's Space, and the chats that are not archived."""
        space_id = await self.space(user_id)
        chats = [row.room_id for row in await self._chat_rows(user_id) if _in_use(row)]
        return ([space_id] if space_id else []) + chats

    def _is_out(self, room_id: str, user_id: str) -> bool:
        """The room shows that the user is neither in it, nor invited, nor banned."""
        found = self._follower.fact(room_id)
        if not isinstance(found, Present):
            return False
        member = found.room.members.get(user_id)
        return member is None or member.membership in {"leave", "knock"}


async def _both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """Both at once. Neither is given up because the other fails; then that is raised."""
    found = await asyncio.gather(one, other, return_exceptions=True)
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return cast("tuple[T, U]", tuple(found))


def _in_use(row: Row) -> bool:
    return row.reason != ARCHIVED


def _chat(row: Row) -> Chat:
    archived = row.status == DETACHED and row.reason != LEFT
    return Chat(row.room_id, row.chat_id or "", row.name, row.space_id, archived)
