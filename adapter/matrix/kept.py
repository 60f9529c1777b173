"""What is kept of a look at Matrix for the next start, and how it is known to be whole.

Facts are kept as bytes, and read when somebody asks for one. The digest is a sum over
rows and facts, so that whoever changes some of them need not see the others. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from adapter.matrix.facts import (
    Child,
    Create,
    Fact,
    Facts,
    Gone,
    Member,
    Name,
    Own,
    Present,
    Room,
    Tombstone,
    Unknown,
)
from adapter.matrix.rows import Row
from controller.model import Cause

_MODULUS: Final = 2**63  # what an INTEGER of SQLite can hold


class Bookmark(NamedTuple):
    """How far the kept facts go, and what has to be looked at again."""

    token: str
    """A position of /sync: whatever happened before it is in the facts."""
    ahead: str | None
    """The position of an answer that said nothing, and that no other has confirmed."""
    whole_at: int
    """When everything was looked at, in ms."""
    due: frozenset[str]
    """Rooms to read again, whether they changed or not."""


class KeptFact(NamedTuple):
    """One room as table facts has it."""

    room_id: str
    joined: bool
    """Whether /joined_rooms had it."""
    encoded: bytes


class KeptRooms(Mapping[str, Fact]):
    """Facts by room, each read from its bytes when it is first asked for."""

    def __init__(self, encoded: Mapping[str, bytes]) -> None:
        self._encoded = encoded
        self._read: dict[str, Fact] = {}

    def __getitem__(self, room_id: str) -> Fact:
        found = self._read.get(room_id)
        if found is None:
            found = self._read[room_id] = decode(self._encoded[room_id])
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)

    def __contains__(self, room_id: object) -> bool:
        return room_id in self._encoded


def encode(fact: Fact) -> bytes:
    """The fact as JSON; `decode` gives an equal one."""
    if isinstance(fact, Present):
        return orjson.dumps(("Present", _plain(fact.room)))
    if isinstance(fact, Gone):
        room = fact.room and _plain(fact.room)
        return orjson.dumps(("Gone", fact.reason, tuple(fact.cause), room))
    return orjson.dumps(("Unknown", *fact))


def decode(encoded: bytes) -> Fact:
    """Read what `encode` made; anything else raises whatever it raises."""
    kind, *values = orjson.loads(encoded)
    if kind == "Present":
        return Present(_room(*values))
    if kind == "Gone":
        reason, cause, room = values
        return Gone(reason, Cause(*cause), room and _room(room))
    return Unknown(*values)


def kept_fact(room_id: str, fact: Fact, joined: Collection[str]) -> KeptFact:
    """The room as it is kept."""
    return KeptFact(room_id, room_id in joined, encode(fact))


def facts_of(kept: Iterable[KeptFact], *, complete: bool = True) -> Facts:
    """The facts again, none of them read yet."""
    encoded: dict[str, bytes] = {}
    joined: set[str] = set()
    for one in kept:
        encoded[one.room_id] = one.encoded
        if one.joined:
            joined.add(one.room_id)
    return Facts(KeptRooms(encoded), frozenset(joined), complete)


def digest_of_rows(rows: Iterable[Row]) -> int:
    """A number for the rows, whatever their order; see `added`."""
    # As text: what somebody put into a column may be of any type.
    return added(_hash(repr(tuple(row)).encode()) for row in rows)


def digest_of_facts(facts: Iterable[KeptFact]) -> int:
    return added(
        _hash(f"{one.room_id}\0{one.joined:d}\0".encode() + one.encoded)
        for one in facts
    )


def added(digests: Iterable[int]) -> int:
    """The digest of all together; take some away again by adding their negative."""
    return sum(digests) % _MODULUS


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _plain(room: Room) -> tuple[Any, ...]:
    """The room as orjson knows it: named tuples are none that it does."""
    room_id, create, members, children, tombstone, binding, name = room
    return (
        room_id,
        (tuple(create.cause), *create[1:]),
        {key: (tuple(cause), said) for key, (cause, said) in members.items()},
        {key: (tuple(cause), *more) for key, (cause, *more) in children.items()},
        tombstone and (tuple(tombstone.cause), tombstone.replacement),
        binding and (tuple(binding.cause), dict(binding.content)),
        name and (tuple(name.cause), name.name),
    )


def _room(values: list[Any]) -> Room:
    room_id, create, members, children, tombstone, binding, name = values
    return Room(
        room_id,
        Create(Cause(*create[0]), *create[1:]),
        {key: Member(Cause(*cause), said) for key, (cause, said) in members.items()},
        {
            key: Child(Cause(*cause), tuple(via), *more)
            for key, (cause, via, *more) in children.items()
        },
        tombstone and Tombstone(Cause(*tombstone[0]), tombstone[1]),
        binding and Own(Cause(*binding[0]), binding[1]),
        name and Name(Cause(*name[0]), name[1]),
    )
