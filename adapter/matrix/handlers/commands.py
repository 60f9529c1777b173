"""What people can tell the bot to do: Matrix first, then the row, by a pass.

A command writes state events, and has the rooms read again: the decision that every
pass takes sets the rows. An event that comes again, after a crash, writes nothing more,
and what is said to it is said once.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from adapter.chat import ChatManager, NotNow, NotPossible
from adapter.matrix import phrases
from adapter.matrix.errors import Forbidden
from adapter.matrix.facts import CHILD, NAME, EventTypes, shown
from adapter.matrix.following import Follower
from adapter.matrix.handlers.message import Command
from adapter.matrix.homes import IN_USE, chats_of, is_archived, space_of, was_left
from adapter.matrix.identity import VERSION, Newer, binding_of, identity_of, server_of
from adapter.matrix.ledger import Ledger
from adapter.matrix.rows import Row
from adapter.matrix.store import Store
from adapter.matrix.traffic import Traffic
from adapter.matrix.voice import Voice
from adapter.matrix.writing import Writer
from adapter.platform.base import Message

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """One command: who gave it, where, and by which event."""

    room_id: str
    event_id: str
    sender: str
    row: Row | None
    """The chat that the room is; `None` in a direct chat."""


def conversation_from(event_id: str) -> str:
    """The platform_chat_id that the `!reset` of this event gives, whenever it is done."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, event_id))


@dataclass(frozen=True, slots=True)
class Commands:
    """Carries out commands of people who may give them."""

    me: str
    types: EventTypes
    writer: Writer
    store: Store
    ledger: Ledger
    follower: Follower
    chats: ChatManager
    voice: Voice
    traffic: Traffic
    now: Callable[[], int]

    async def run(self, command: Command, asked: Asked) -> None:
        """Do it, and say in the room what came of it."""
        try:
            answer = await _COMMANDS[command.name](self, command.argument, asked)
        except NotNow:
            answer = phrases.try_later()
        except Forbidden as error:
            # Somebody took the bot's power: they know better than the operator.
            told = {"room": asked.room_id, "error": str(error)}
            log.warning("command refused by the server", extra=told)
            answer = phrases.no_power()
        await self.voice.notice(asked.room_id, asked.event_id, answer)

    # One method for each command

    async def help(self, _: str, asked: Asked) -> Message:
        return phrases.commands()

    async def new(self, title: str, asked: Asked) -> Message:
        async def waiting() -> None:
            moment = f"{asked.event_id}/moment"
            await self.voice.notice(asked.room_id, moment, phrases.takes_a_moment())

        made = await self.chats.new(
            asked.sender,
            asked=asked.event_id,
            title=phrases.clean_title(title),
            waiting=waiting,
        )
        return phrases.created(await self._row(made.room_id), server_of(self.me))

    async def list(self, _: str, asked: Asked) -> Message:
        rows = chats_of(await self.store.rows(), asked.sender)
        return phrases.chats(rows, asked.room_id, server_of(self.me))

    async def rename(self, title: str, asked: Asked) -> Message:
        if asked.row is None or asked.row.status not in IN_USE:
            return phrases.not_here("rename")
        name = phrases.clean_title(title)
        if name is None:
            return phrases.rename_how()
        room_id = asked.room_id
        await self._write(asked, room_id, NAME, "", {"name": name})
        await self.follower.catch_up([room_id])
        row = await self._row(room_id)
        if row.name != name:
            return phrases.not_seen_yet()
        return phrases.renamed(row, server_of(self.me))

    async def archive(self, more: str, asked: Asked) -> Message:
        row = asked.row
        if more:
            return phrases.alone("archive")
        if row is not None and is_archived(row):
            return phrases.archived(row)  # by this very event, before it was settled
        space = space_of(await self.store.rows(), asked.sender)
        if row is None or row.status not in IN_USE or space is None:
            return phrases.not_here("archive")
        await self._must_be_seen(asked.sender)
        await self._write(asked, space.room_id, CHILD, row.room_id, {})
        await self.follower.catch_up([space.room_id, row.room_id])
        if not is_archived(await self._row(row.room_id)):
            return phrases.not_seen_yet()
        return phrases.archived(row)

    async def restore(self, chat_id: str, asked: Asked) -> Message:
        if not chat_id:
            return phrases.restore_how()
        rows = await self.store.rows()
        wanted = chat_id.upper()
        named = [
            row
            for row in chats_of(rows, asked.sender)
            if row.chat_id in (wanted, f"C{wanted}")
        ]
        if not named:
            return phrases.no_such_chat(chat_id)
        if used := next((row for row in named if row.status in IN_USE), None):
            await self.chats.invite_back(asked.sender, [used.room_id])
            return phrases.still_in_use(used, server_of(self.me))
        space = space_of(rows, asked.sender)
        row = next((one for one in named if is_archived(one) or was_left(one)), None)
        if row is None or space is None:
            return phrases.cannot_be_restored(named[0])
        await self._must_be_seen(asked.sender)
        await self._link(asked, space.room_id, row.room_id)
        await self.follower.catch_up([space.room_id, row.room_id])
        await self.chats.invite_back(asked.sender, [space.room_id, row.room_id])
        restored = await self._row(row.room_id)
        if restored.status not in IN_USE:
            return phrases.cannot_be_restored(row)
        return phrases.restored(restored, server_of(self.me))

    async def reset(self, more: str, asked: Asked) -> Message:
        row = asked.row
        if more:
            return phrases.alone("reset")
        if row is None or row.status not in IN_USE:
            return phrases.not_here("reset")
        await self._must_be_seen(asked.sender)
        if await self.traffic.published():
            # A record may stand there by now, of which nothing may be lost.
            await self.follower.catch_up([row.room_id])
        fresh = conversation_from(asked.event_id)
        room = shown(self.follower.fact(row.room_id))
        stands = room.binding.content if room and room.binding else {}
        content = {**_record(stands), "v": VERSION, "platform_chat_id": fresh}
        await self._write(asked, row.room_id, self.types.binding, self.me, content)
        await self.follower.catch_up([row.room_id])
        if (await self._row(row.room_id)).platform_chat_id != fresh:
            # Until the row says it as well, nothing is routed: see `auth.contradicts`.
            return phrases.not_seen_yet()
        return phrases.reset()

    # What they have in common

    async def _row(self, room_id: str) -> Row:
        """The row of a room that has one: rows are never deleted."""
        row = await self.store.row(room_id)
        if row is None:
            raise NotNow
        return row

    async def _must_be_seen(self, owner: str) -> None:
        """Raise `NotNow` while the rows of this owner could not follow a change."""
        if (await self.follower.sight()).blocks(owner):
            raise NotNow

    async def _write(
        self,
        asked: Asked,
        room_id: str,
        event_type: str,
        state_key: str,
        content: Mapping[str, Any],
    ) -> None:
        """Write for a command, once: one that comes again must not undo a later one.

        The guard is to know what follows from it as the bot's own doing."""
        room = shown(self.follower.fact(room_id))
        markings = (
            (identity_of(room, self.me), binding_of(room, self.me)) if room else ()
        )
        if any(isinstance(marking, Newer) for marking in markings):
            msg = f"a later version wrote in {room_id}, which this one leaves alone: upgrade"
            raise NotPossible(msg)
        if await self.ledger.was_commanded(asked.event_id):
            return
        await self.traffic.published()
        event_id = await self.writer.put_state(room_id, event_type, state_key, content)
        async with self.store.transaction():
            await self.ledger.note_command(event_id, self.now())
            await self.ledger.note_command(asked.event_id, self.now())

    async def _link(self, asked: Asked, space_id: str, room_id: str) -> None:
        space = shown(self.follower.fact(space_id))
        child = space.children.get(room_id) if space else None
        if child is None or not child.via:
            await self._write(
                asked, space_id, CHILD, room_id, {"via": [server_of(self.me)]}
            )


def _record(binding: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a record says of whose room it is (rule 2): a reset changes none of it."""
    return {k: binding[k] for k in ("kind", "owner", "chat_id") if k in binding}


_Does = Callable[[Commands, str, Asked], Awaitable[Message]]

_COMMANDS: Final[Mapping[str, _Does]] = {
    "new": Commands.new,
    "chats": Commands.list,
    "rename": Commands.rename,
    "archive": Commands.archive,
    "restore": Commands.restore,
    "reset": Commands.reset,
    "help": Commands.help,
}
