"""The invitations that stand open, of whatever age, without a look at all other rooms.

Sliding sync can leave those out. A /sync cannot, and takes a server as long as a snapshot:
it is asked where the other is not to be had.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from adapter.matrix.channels import WINDOW, invitation, listed, listed_rooms
from adapter.matrix.errors import SERVER_WIDE, Unexpected, WireError
from adapter.matrix.facts import EventTypes
from adapter.matrix.live import Json, read_batch, stripped
from adapter.matrix.wire import Wire

log = logging.getLogger(__name__)

Invitations = Mapping[str, tuple[Json, ...]]
"""Room -> stripped state events, which have no id."""


async def open_invitations(wire: Wire, types: EventTypes) -> Invitations:
    """See all invitations of the account. Raises `WireError`."""
    try:
        if await wire.supports_sliding_sync():
            return await _listed(wire)
    except SERVER_WIDE:
        raise
    except WireError as error:
        log.warning("no list of invitations", extra={"error": str(error)})
    return read_batch(await wire.invitations(), types).invited


async def _listed(wire: Wire) -> Invitations:
    answer = await wire.sliding_sync(request(WINDOW))
    if (count := listed(answer)) > WINDOW:
        answer = await wire.sliding_sync(request(count + WINDOW))
    rooms, count = listed_rooms(answer), listed(answer)
    if len(rooms) < count:
        what = f"the list shows {len(rooms)} of {count} invitations"
        raise Unexpected(what, brief="incomplete")
    return {
        room_id: stripped(shown)
        for room_id, room in rooms.items()
        # A server that does not know the filter lists every room.
        if isinstance(room, dict) and (shown := invitation(room)) is not None
    }


def request(end: int) -> dict[str, Any]:
    """Ask for the first `end` invitations, and no other rooms."""
    invites = {
        "ranges": [[0, end - 1]],
        "filters": {"is_invite": True},
        "timeline_limit": 0,
        "required_state": [],
    }
    return {"lists": {"all": invites}}
