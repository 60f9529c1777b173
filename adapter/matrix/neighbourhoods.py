"""Which rooms have to be looked at together: those that any of the rules may connect.

Owners, conversations, links and upgrades connect rooms. What is not in the neighbourhood
of a room says nothing about it, so each is rendered like a world of its own. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from adapter.matrix.facts import Fact, shown
from adapter.matrix.identity import Marked, Marker, Newer, is_user_id, kind_of
from adapter.matrix.rows import CHAT, SPACE, Row
from adapter.matrix.rules.ids import derived


def ties(fact: Fact | None, row: Row | None, marked: Marked | None) -> list[str]:
    """What connects a room with others: every id that some rule may find it by.

    One too many costs time, one too few a wrong decision. `marked` is the room with its
    markings if the bot made it."""
    found: list[str] = []
    if row is not None:
        found += filter(None, (row.matrix_user_id, row.platform_chat_id))
    room = shown(fact)
    if room is None:
        return found
    # A stranger's Space, too: that it links a chat is a finding.
    found += room.children
    if marked is None:
        return found
    if room.create.predecessor:
        found.append(room.create.predecessor)
    if room.tombstone:
        found.append(room.tombstone.replacement)
    return found + _said(marked)


def _said(marked: Marked) -> list[str]:
    """The owner and the conversation of a room, or whatever they may be guessed from."""
    owners: list[str] = []
    platforms: list[str] = []
    for said in (marked.identity, marked.binding):
        if isinstance(said, (Marker, Newer)):
            owners += [said.owner] if said.owner else []
            platforms += [said.platform_chat_id] if said.platform_chat_id else []
    kind = kind_of(marked.room)
    if kind == SPACE and not owners:
        owners = [user for user in marked.room.members if is_user_id(user)]
    if kind == CHAT and not platforms:
        platforms = [derived(marked.room.room_id)]
    return owners + platforms


class Neighbourhoods:
    """Sorts rooms by what ties them. Ties are added, never taken away: neighbourhoods
    only grow, until somebody begins anew."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}
        self._rooms: dict[str, list[str]] = {}
        self._known: set[str] = set()

    def tie(self, room_id: str, others: Iterable[str]) -> None:
        """The room is there, and has these ties."""
        top = self._top(room_id)
        if room_id not in self._known:
            self._known.add(room_id)
            self._rooms.setdefault(top, []).append(room_id)
        for other in others:
            if other not in self._above:
                self._above[other] = top
            elif (found := self._top(other)) != top:
                top = self._merged(top, found)

    def around(self, rooms: Iterable[str]) -> list[list[str]]:
        """The neighbourhoods of these rooms, each once, in no order."""
        return [self._rooms[top] for top in {self._top(room) for room in rooms}]

    def _top(self, name: str) -> str:
        """What the neighbourhood is called that holds this id; a new one is its own."""
        above = self._above
        here = above.setdefault(name, name)
        while (there := above[here]) is not here:
            above[here] = here = above[there]
        return here

    def _merged(self, one: str, other: str) -> str:
        """The two are one now; the smaller one moves."""
        here, there = self._rooms.get(one, []), self._rooms.get(other, [])
        if len(here) < len(there):
            one, other, here, there = other, one, there, here
        self._above[other] = one
        if there:
            here.extend(self._rooms.pop(other))
        return one
