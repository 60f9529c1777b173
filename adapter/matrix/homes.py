"""What somebody has, by the rows: their Space and their chats. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from adapter.matrix.rows import ACTIVE, CHAT, PENDING, SPACE, UNKNOWN, Row

IN_USE = frozenset({ACTIVE, PENDING, UNKNOWN})
ELSEWHERE = frozenset({"duplicate", "upgraded"})
"""Reasons of rows whose chat goes on in another room."""


def chats_of(rows: Mapping[str, Row], owner: str) -> list[Row]:
    """The owner's chats by number, archived ones too, but each chat once.

    A room that the bot is out of may have given its place to another: see view chats."""
    chats: dict[int, Row] = {}
    for row in sorted(rows.values(), key=_standing):
        if (
            row.matrix_user_id == owner
            and row.room_type == CHAT
            and row.chat_id is not None
            and row.reason not in ELSEWHERE
        ):
            chats.setdefault(int(row.chat_id[1:]), row)
    return [chats[number] for number in sorted(chats)]


def _standing(row: Row) -> tuple[bool, bool, str]:
    """Orders rows of one chat: in use, then to be had again, then the rest."""
    return (
        row.status not in IN_USE,
        not (is_archived(row) or was_left(row)),
        row.room_id,
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
