"""How rows that were kept live may differ from those of a cold start, and how not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tests.faults.machine import Rows

WHEN = frozenset({"revision", "updated_at"})
"""Columns that say when, or how often, a row was written."""
STANDING = frozenset({"status", "reason", "evidence"})
LEFT = frozenset({"bot_kicked", "bot_banned", "bot_left"})


def unlike(live: Rows, cold: Rows, hidden: Collection[str]) -> dict[str, str]:
    """Room -> how its rows differ, but for what only the cache can know.

    `hidden` are the rooms that show the bot nothing any more."""
    lost = {
        room
        for room, row in live.items()
        if room not in cold and _may_be_lost(row, hidden)
    }
    found: dict[str, str] = {}
    for room in sorted((live.keys() | cold.keys()) - lost):
        mine, theirs = live.get(room), cold.get(room)
        if mine is None:
            found[room] = f"live has no row: {_brief(theirs)}"
        elif theirs is None:
            found[room] = f"cold has no row: {_brief(mine)}"
        else:
            but = WHEN | _may_differ(mine, lost)
            differs = {
                name: f"live {mine[name]!r}, cold {theirs[name]!r}"
                for name in mine
                if name not in but and mine[name] != theirs[name]
            }
            if differs:
                found[room] = f"{differs} of {_brief(mine)}"
    return found


def _may_be_lost(row: Mapping[str, Any], hidden: Collection[str]) -> bool:
    """Rows are never deleted (section 5), and a room that the bot is banned from, or is
    invited to again, shows nothing; one that the bot's account left is found by nothing but
    a link of the bot's own, which others may have written over."""
    return row["status"] == "detached" and (
        row["reason"] == "bot_left"
        or (row["reason"] in LEFT | {"lost"} and row["room_id"] in hidden)
    )


def _may_differ(row: Mapping[str, Any], lost: Collection[str]) -> frozenset[str]:
    """The columns of a row that only the cache can know."""
    if row["status"] == "detached" and row["reason"] in LEFT:
        # A room that is gone keeps its row's values (section 4).
        return frozenset({"space_id", "name"})
    if row["space_id"] in lost:
        # The chats of a Space that threw the bot out keep it (rule 3), and with it what
        # its child events said when it last showed them.
        unlinked = row["reason"] == "unlinked"
        return frozenset({"space_id"} | (STANDING if unlinked else set()))
    return frozenset()


def _brief(row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {n: v for n, v in (row or {}).items() if v is not None and n not in WHEN}
