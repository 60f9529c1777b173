"""What changed since a look at Matrix: one request, and then the rooms that it names.

It tells of changes, never of absence: a room that an administrator purged is in no answer
of this kind, and only a look at everything misses it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from adapter.matrix.errors import SERVER_WIDE, WireError
from adapter.matrix.facts import (
    CHILD,
    SPACE_TYPE,
    EventTypes,
    Fact,
    Facts,
    Gone,
    Present,
    Told,
    shown,
    shows,
)
from adapter.matrix.kept import Bookmark
from adapter.matrix.live import (
    Batch,
    Update,
    changes_filter,
    decides,
    read_batch,
    topology_rooms,
)
from adapter.matrix.observation import Touch
from adapter.matrix.wire import Wire

log = logging.getLogger(__name__)


class Changes(NamedTuple):
    """The rooms to read again, and the position that they are to be read for."""

    token: str
    rooms: Mapping[str, Touch]
    """With what to believe of a room that shows nothing any more."""
    says_nothing: bool
    """Nothing happened. Or the answer was cut: to be believed when it comes twice."""

    def moved(self, mark: Bookmark) -> tuple[str, str | None]:
        """From where the next pass goes on, and what it may confirm."""
        if self.says_nothing:
            return mark.ahead or mark.token, self.token
        return self.token, None


async def asked(wire: Wire, types: EventTypes, token: str) -> Batch | None:
    """Whatever the server says of the time since `token`; `None` if it does not say.

    Raises what would keep it from saying anything else as well."""
    try:
        body = await wire.changes(token, changes_filter(types, str(uuid.uuid4())))
        return read_batch(body, types)
    except SERVER_WIDE:
        raise
    except WireError as error:
        log.warning("nobody tells what changed", extra={"error": str(error)})
        return None


def changes(batch: Batch, facts: Facts, me: str, types: EventTypes) -> Changes:
    """What may have changed since these facts were seen."""
    rooms = touched(batch, facts, me, types)
    log.log(
        logging.INFO if rooms else logging.DEBUG, "changed", extra={"rooms": len(rooms)}
    )
    return Changes(batch.token, rooms, not (batch.joined or batch.left))


def touched(
    batch: Batch, facts: Facts, me: str, types: EventTypes, *, looking: bool = False
) -> dict[str, Touch]:
    """The rooms of a batch that have to be read again, with the events of those that
    the bot is not in any more.

    What these facts show already, as what the bot itself wrote and then read, is no news;
    but while somebody is `looking` at everything, who may have looked there before."""
    found: dict[str, Touch] = {}
    for room_id in topology_rooms(batch, me, types):
        if room_id in batch.left:
            found[room_id] = Touch(end=batch.left[room_id])
        elif _decides(facts, room_id, update := batch.joined[room_id], me):
            told = _told(update, me, types)
            if looking or _is_news(facts.rooms.get(room_id), update, told, me, types):
                found[room_id] = Touch(told=told)
    # The bot was thrown out since, which an invitation hides.
    hidden = {
        room_id: Touch(end=events)
        for room_id, events in batch.invited.items()
        if isinstance(facts.rooms.get(room_id), Present)
    }
    return found | hidden


def closed(before: Facts, after: Facts, rooms: Iterable[str], me: str) -> list[str]:
    """Those of `rooms` that the bot made, and was banned from since.

    What else was done there before the ban, as that the room was replaced, nothing shows
    but a look at everything."""
    return [
        room_id
        for room_id in rooms
        if isinstance(found := after.rooms.get(room_id), Gone)
        and found.reason == "bot_banned"
        and isinstance(known := before.rooms.get(room_id), Present)
        and known.room.create.cause.sender == me
    ]


def _decides(facts: Facts, room_id: str, update: Update, me: str) -> bool:
    """Whether it has to be read again: others' rooms may be huge, and mean little."""
    room = shown(facts.rooms.get(room_id))
    if room is None or room.create.cause.sender == me or update.unread:
        return True
    # Of all that others' rooms say, the links of Spaces alone mean anything.
    is_space = room.create.type == SPACE_TYPE
    return any(
        event.get("state_key") == me or (is_space and event["type"] == CHILD)
        for event in (*update.state, *update.timeline)
    )


def _told(update: Update, me: str, types: EventTypes) -> Told:
    return {
        (event["type"], event.get("state_key", "")): event["event_id"]
        for event in (*update.state, *update.timeline)
        if decides(event, me, types)
    }


def _is_news(
    found: Fact | None, update: Update, told: Told, me: str, types: EventTypes
) -> bool:
    """Whether anything that decides happened there since the room was read."""
    if not isinstance(found, Present) or update.limited or update.unread:
        return True
    return not shows(found.room, told, me, types)
