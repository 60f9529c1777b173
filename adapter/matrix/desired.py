"""What render says the topology should be: rows, own state events, findings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from controller.model import Cause, Topology

EMPTY: Topology = MappingProxyType({})
WAITS = "waits until every room can be read"
"""Why a room of the bot is not bound, in `Desired.unknown`."""
BACKLOG = "backlog"
"""The code of the one finding that no pass can see: only the bot that left it out knows."""


class Finding(NamedTuple):
    """Something that a person should look at. `code` is one of section 2 of the docs."""

    code: str
    room: str
    message: str
    cause: Cause | None = None
    """The event that shows it, where there is one."""

    @property
    def place(self) -> tuple[str, str, str]:
        """Orders findings."""
        return (self.code, self.room, self.message)


class Desired(NamedTuple):
    """The topology as it should be, and the bot's own state events as they are and should be.

    `own_have` and `own_want` hold the same keys: rooms, each with the fields
    `<event type>|<state key>` that the bot would write there."""

    rooms: Topology
    users: Mapping[str, str] = MappingProxyType({})
    """Owner -> the Space that holds the owner's place."""
    own_have: Topology = EMPTY
    own_want: Topology = EMPTY
    findings: tuple[Finding, ...] = ()
    successors: Mapping[str, str] = MappingProxyType({})
    """Replaced room -> the newest room of its upgrade chain."""
    unknown: Mapping[str, str] = MappingProxyType({})
    """Room -> why it could not be read, or what it waits for to be decided."""

    @property
    def waiting(self) -> int:
        """How many of the bot's rooms are not bound until the unknown ones are seen."""
        return sum(why == WAITS for why in self.unknown.values())
