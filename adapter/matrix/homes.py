"""What somebody has, by the rows: their Space and their chats. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from adapter.matrix.rows import ACTIVE, CHAT, PENDING, SPACE, UNKNOWN, Row

IN_USE = frozenset({ACTIVE, PENDING, UNKNOWN})
ELSEWHERE = frozenset({"duplicate", "upgraded"})
"""Reasons of rows whose chat goes on in another room."""


def chats_of(rows: Mapping[str, Row], owner: str) -> list[Row]:
    """The owner's chats by number, archived ones too, but each chat once."""
    return sorted(
        (
            row
            for row in rows.values()
            if row.matrix_user_id == owner
            and row.room_type == CHAT
            and row.chat_id is not None
            and row.reason not in ELSEWHERE
        ),
        key=lambda row: (int((row.chat_id or "C0")[1:]), row.room_id),
    )


def space_of(rows: Mapping[str, Row], owner: str) -> Row | None:
    """The Space that holds the owner's place, also after the owner left it."""
    spaces = [
        row
        for row in rows.values()
        if row.matrix_user_id == owner
        and row.room_type == SPACE
        and (row.status in IN_USE or was_left(row))
    ]
    # As in view user_meta: one in use, of which there is one at most, else the lowest.
    return min(
        spaces, key=lambda row: (row.status not in IN_USE, row.room_id), default=None
    )


def was_left(row: Row) -> bool:
    """The owner is out of it, which may change."""
    return row.status not in IN_USE and row.reason in {"owner_left", "owner_banned"}


def is_archived(row: Row) -> bool:
    return row.status not in IN_USE and row.reason == "unlinked"
