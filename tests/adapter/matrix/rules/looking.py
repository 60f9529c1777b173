"""How the tests of the rules look at a world, and what they say of it."""

from __future__ import annotations

from typing import Any

from adapter.matrix.facts import EventTypes, Fact, Facts, Unknown
from adapter.matrix.rows import Row
from adapter.matrix.topology import render
from tests.adapter.matrix.test_topology import published
from tests.adapter.matrix.worlds import ME, World, rows

ALICE, BOB, CAROL = "@alice:hs", "@bob:hs", "@carol:hs"
BINDING = EventTypes().binding
LINKED = {"via": ["hs"]}
HELD = Row("!", "chat", "C1", None, ALICE, "from the row")
UNREAD, ABSENT = Unknown("state: 503"), Unknown("state: 403", absent=True)

Rows = dict[str, Row]
City = tuple[World, Rows, list[str]]
"""A world, its cache and its rooms in the order of making."""
Written = dict[tuple[str, str], object]


def seen(world: World, cache: Rows | None = None, **unseen: Any) -> Rows:
    """The rows as they should be."""
    return rows(render(facts(world, **unseen), cache or {}, ME).rooms)


def facts(world: World, *, hide: dict[str, Fact | None] | None = None) -> Facts:
    """What one look shows; each room of `hide` as said there, or not at all."""
    whole = world.facts()
    found, joined = dict(whole.rooms), set(whole.joined)
    for room, instead in (hide or {}).items():
        found.pop(room, None)
        if instead:
            found[room] = instead
        if isinstance(instead, Unknown) and instead.absent:
            joined.discard(room)
    return Facts(found, frozenset(joined))


def to_write(world: World, cache: Rows | None = None, **unseen: Any) -> Written:
    """What is left to publish: (room, field) -> content."""
    return published(render(facts(world, **unseen), cache or {}, ME))


def told(
    world: World, cache: Rows | None = None, **unseen: Any
) -> set[tuple[str, str]]:
    found = render(facts(world, **unseen), cache or {}, ME).findings
    return {(finding.code, finding.room) for finding in found}


def state(row: Row) -> tuple[str, str | None]:
    return row.status, row.reason


def last(world: World) -> str:
    """The id of the newest event."""
    return f"$e{world.clock}"


def bind(world: World, room: str, said: Any) -> None:
    world.put(room, ME, BINDING, ME, said)


def bare(conversation: str) -> dict[str, Any]:
    return {"v": 1, "platform_chat_id": conversation}


def child_field(room: str) -> str:
    return f"m.space.child|{room}"


def invite_field(user: str) -> str:
    return f"m.room.member|{user}"


RECORD = f"{BINDING}|{ME}"
