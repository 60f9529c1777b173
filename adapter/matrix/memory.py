"""What the running bot remembers between two starts, as values."""

from __future__ import annotations

from typing import NamedTuple


class Intent(NamedTuple):
    """A room that was asked for, committed before it is made; times are in ms."""

    request: str
    """The uuid in the identity of the room; it derives from `asked`."""
    kind: str
    """`space` or `chat`; the next two are a chat's alone."""
    owner: str
    chat_id: str | None
    platform_chat_id: str | None
    asked: str
    """The id of the event that asked."""
    sent_at: int
    ended_at: int | None = None
    """When createRoom answered or was given up; `None` while nobody knows."""


class Checkpoint(NamedTuple):
    """Write number `n` of a token before which every event was handled."""

    n: int
    token: str
    instance: str
    """The start of the bot that wrote it."""
