"""Looks that no pass takes: for `doctor`, for `drill`, and for `adopt`.

None of them writes to the cache; `adopt` writes one record to Matrix.
"""

from __future__ import annotations

from collections.abc import Collection

from adapter.matrix.adoption import Adoption, Asked, adoption
from adapter.matrix.checks.look import Look
from adapter.matrix.desired import Finding
from adapter.matrix.errors import ACCOUNT_WIDE, Unreachable, WireError
from adapter.matrix.facts import Facts, Present
from adapter.matrix.ledger import Ledger
from adapter.matrix.observation import read_each
from adapter.matrix.power import Power, power, without_end
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.recovery import Drill, drill
from adapter.matrix.rows import rows_of
from adapter.matrix.rules.places import holds_place
from adapter.matrix.wire import Wire


async def inspected(one: Reconciler, findings: tuple[Finding, ...] = ()) -> Look:
    """Look at everything as a pass does, and at the bot's power in its rooms.

    `findings` are examined beside those of the pass. Raises `WireError`."""
    rows = await one.store.rows()
    facts = await one.aged(await one.see(rows))
    decided = await one.decide(facts, rows, findings=findings)
    rooms = [
        room_id
        for room_id, row in rows_of(decided.want.rooms).items()
        if holds_place(row) and _can_lose_power(facts, room_id, one.me)
    ]
    powers, unread = await _powers(one.wire, rooms, one.me)
    return Look(facts, rows, one.me, decided, one.types, powers, unread)


async def drilled(one: Reconciler) -> Drill:
    """See what Matrix alone would give back of the cache. Raises `WireError`."""
    rows = await one.store.rows()
    facts = await one.see(rows)
    return drill(facts, rows, one.me, await one.aged(facts))


async def adopted(one: Reconciler, asked: Asked) -> Adoption:
    """Write the record of a room. Raises `AdoptionRefused` or `WireError`.

    It is sent once. Whether it arrived, if no answer came, asking again tells."""
    rows = await one.store.rows()
    intents = (await Ledger(one.store).open_intents()).values()
    facts = await one.aged(await one.see(rows))
    found = adoption(asked, facts, rows, one.me, intents=intents, types=one.types)
    await one.wire.put_state(found.room_id, one.types.binding, one.me, found.content)
    return found


def _can_lose_power(facts: Facts, room_id: str, me: str) -> bool:
    fact = facts.rooms.get(room_id)
    return (
        isinstance(fact, Present)
        and fact.room.create.cause.sender == me
        and not without_end(fact.room.create, me)
    )


async def _powers(
    wire: Wire, rooms: Collection[str], me: str
) -> tuple[dict[str, Power], dict[str, str]]:
    """The bot's power in each of `rooms`, or why it could not be read."""
    unread: dict[str, str] = {}

    async def read(room_id: str) -> Power | None:
        try:
            return power(await wire.state(room_id), me)
        except ACCOUNT_WIDE:
            raise
        except WireError as error:
            if isinstance(error, Unreachable):
                await wire.joined_rooms()  # raises if the server is dead
            unread[room_id] = f"state: {error.brief}"
            return None

    found = await read_each(rooms, read)
    return {room: one for room, one in found.items() if one is not None}, unread
