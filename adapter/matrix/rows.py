"""A row of the cache as a value, and a cache of rows as a topology."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller.model import NOTHING, Cause, Key, Resource, Topology

SPACE, CHAT = "space", "chat"
ACTIVE, PENDING, UNKNOWN = "active", "pending", "unknown"


class Row(NamedTuple):
    """One room as table room_meta has it; what is not known is `None`.

    `status` is one of active, pending, detached, unknown; `reason` and `evidence`
    (an event id) say why it is detached, or `reason` why it is unknown."""

    room_id: str
    room_type: str | None = None
    chat_id: str | None = None
    space_id: str | None = None
    matrix_user_id: str | None = None
    platform_chat_id: str | None = None
    name: str | None = None
    status: str = ACTIVE
    reason: str | None = None
    evidence: str | None = None
    revision: int = 0


FIELDS = Row._fields[1:-1]
"""What takes part in a diff: all but the room id and the revision."""


def key(room_id: str) -> Key:
    return Key("room", room_id)


def resource(row: Row, causes: Mapping[str, Cause] = NOTHING) -> Resource:
    fields = {
        name: value
        for name, value in zip(FIELDS, row[1:-1], strict=True)
        if value is not None
    }
    return Resource(fields, row.revision, causes)


def by_room(rows: Iterable[Row]) -> dict[str, Row]:
    return {row.room_id: row for row in rows}


def topology(rows: Mapping[str, Row]) -> dict[Key, Resource]:
    return {key(room_id): resource(row) for room_id, row in rows.items()}


def rows_of(rooms: Topology) -> dict[str, Row]:
    """The rows that a cache would hold of these rooms."""
    return {
        key.name: Row(key.name, **resource.fields, revision=resource.revision)
        for key, resource in rooms.items()
    }


class Publication(NamedTuple):
    """That a field of a room was published, or refused, at a time (ms), and why."""

    room_id: str
    field: str
    at: int
    result: str
    """`published` or `refused`."""
    detail: str = ""


class Unread(NamedTuple):
    """Since when (ms) a room could not be read, and since when the bot was not in it."""

    since: int
    absent_since: int | None = None


PUBLISHED, REFUSED = "published", "refused"
