"""Which Space names a chat: child events along upgrade chains (rule 3). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from adapter.matrix.facts import Child
from adapter.matrix.identity import Chain

LAST_ORDER = "\x7f"
"""Sorts behind every valid order: children without one come last (spec, m.space.child)."""


class Link(NamedTuple):
    """The child event that decides whether `space` names a chat."""

    space: Chain
    child: Child
    room_id: str
    """The room of the chat's chain that it names."""
    newest: bool
    """It stands in the newest Space and names the newest room."""

    @property
    def valid(self) -> bool:
        return bool(self.child.via)

    @property
    def place(self) -> tuple[str, int]:
        """Orders children as the spec does, room id left to the caller."""
        order = self.child.order
        return (LAST_ORDER if order is None else order, self.child.cause.at)


def link(chat: Chain, space: Chain) -> Link | None:
    """The child event of `space` that decides about `chat`; `None` if there is none.

    Looked up for the newest room first, in the newest Space first, then in older
    ones, then for older rooms: the first event found decides, valid or not."""
    for marked in chat.rooms:
        for holder in space.rooms:
            child = holder.room.children.get(marked.room.room_id)
            if child is not None:
                newest = marked is chat.rooms[0] and holder is space.rooms[0]
                return Link(space, child, marked.room.room_id, newest)
    return None


def deciding(chat: Chain, spaces: Sequence[Chain]) -> Link | None:
    """The first of `spaces` with any child event for `chat` decides."""
    for space in spaces:
        found = link(chat, space)
        if found is not None:
            return found
    return None


def names(spaces: Iterable[Chain]) -> Mapping[str, tuple[Chain, ...]]:
    """Room id -> the Spaces that hold a child event for it, each once."""
    index: dict[str, list[Chain]] = {}
    for space in spaces:
        children = dict.fromkeys(
            child for marked in space.rooms for child in marked.room.children
        )
        for child in children:
            index.setdefault(child, []).append(space)
    return {child: tuple(found) for child, found in index.items()}
