"""Who is in rooms that are not the bot's: whether one is a direct chat hangs on it."""

from __future__ import annotations

from typing import Final

from adapter.matrix.wire import Wire

CROWD: Final = 3
"""With so many in it, a room is no direct chat."""


class Company:
    """Asked for once, until `forget` says that somebody came or went."""

    def __init__(self, wire: Wire, me: str) -> None:
        self._wire = wire
        self._me = me
        self._found: dict[str, frozenset[str] | None] = {}
        """`None` while it is asked for."""

    def forget(self, room_id: str | None = None) -> None:
        """Somebody came or went, there or anywhere: who is in it is asked for anew."""
        if room_id is None:
            self._found.clear()
        else:
            self._found.pop(room_id, None)

    def known(self, room_id: str) -> frozenset[str] | None:
        """Who was in the room when that was last asked for, of a crowd some."""
        return self._found.get(room_id)

    async def members(self, room_id: str, sender: str) -> int:
        """How many there are with the bot; from a crowd on, it may say fewer, but a crowd.

        Whoever spoke and left counts: those who are there now are not to hear of it."""
        return len({self._me, sender, *await self.others(room_id)})

    async def others(self, room_id: str) -> list[str]:
        """Who is in the room beside the bot, the invited too; of a crowd, some."""
        found = self._found.get(room_id)
        if found is None:
            self._found[room_id] = None
            found = await self._wire.joined_members(room_id)
            if len(found) == 2:
                # Whoever is invited will read along; a room of many is not worth a look.
                found |= await self._wire.invited_members(room_id)
            # A room may have very many, and no more is kept than shows that.
            found = frozenset(sorted(found)[:CROWD])
            # If it was forgotten meanwhile, this may be how it was before.
            if room_id in self._found:
                self._found[room_id] = found
        return sorted(found - {self._me})
