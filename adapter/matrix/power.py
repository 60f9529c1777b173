"""What power levels let the bot do in a room that it made. Pure.

Who creates a room of version 12 or later has power without end, and no level says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from adapter.matrix.facts import Create, event_cause
from controller.model import NOTHING, Cause

POWER_LEVELS = "m.room.power_levels"
CREATORS_RULE = 12
"""The first room version whose creators have power without end."""
NAMED_VERSIONS = frozenset({"org.matrix.hydra.11"})
"""Versions without a number that have the rule as well."""
INVITE = "invite"
"""Stands for an invitation, whose level is not that of an event type."""


class Power(NamedTuple):
    """The bot's own level in a room, what others are needed, and the event behind it."""

    mine: float
    content: Mapping[str, Any] = NOTHING
    cause: Cause | None = None

    def lacks(self, states: Iterable[str], messages: Iterable[str] = ()) -> list[str]:
        """Which of these event types the bot may not send; `INVITE` may be a state."""
        needed = {
            **{kind: self._needed(kind, "state_default", 50) for kind in states},
            **{kind: self._needed(kind, "events_default", 0) for kind in messages},
        }
        return [kind for kind, level in needed.items() if level > self.mine]

    def _needed(self, kind: str, default: str, otherwise: int) -> int:
        if kind == INVITE:
            return _level(self.content.get(INVITE), 0)
        usual = _level(self.content.get(default), otherwise)
        return _level(_mapping(self.content.get("events")).get(kind), usual)


def without_end(create: Create, me: str) -> bool:
    """Nothing in the room can take the bot's power."""
    version = create.version
    late = version.isdecimal() and int(version) >= CREATORS_RULE
    return create.cause.sender == me and (late or version in NAMED_VERSIONS)


def power(events: Iterable[Any], me: str) -> Power:
    """The bot's power in a room that it made, from the room's state events."""
    for event in events:
        if (event.get("type"), event.get("state_key")) == (POWER_LEVELS, ""):
            content = _mapping(event.get("content"))
            usual = _level(content.get("users_default"), 0)
            mine = _level(_mapping(content.get("users")).get(me), usual)
            has_sender = isinstance(event.get("sender"), str)
            return Power(mine, content, event_cause(event) if has_sender else None)
    # Without the event a room obeys whoever made it (spec, m.room.power_levels).
    return Power(math.inf)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else NOTHING


def _level(value: Any, otherwise: int) -> int:
    """A level; rooms before version 10 may write it as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return otherwise
    return otherwise
