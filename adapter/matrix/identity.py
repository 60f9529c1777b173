"""Who a room is: what identity and binding say, and which rooms are one by upgrades.

Rules 1, 2, 6 and 8 of docs/how-it-decides.md; rule 5, which needs links, is in
`legacy`. Pure: facts in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from adapter.matrix.desired import Finding
from adapter.matrix.facts import SPACE_TYPE, Fact, Room, Unknown, is_unread, shown
from adapter.matrix.rows import CHAT, SPACE
from controller.model import NOTHING, Cause

VERSION = 1
MAX_ID = 255
MAX_PLATFORM_ID = 1024

USER_ID = re.compile(r"@[^:\s\x00]*:[^\s\x00]+")
CHAT_ID = re.compile(r"C[1-9][0-9]{0,8}")


class Marker(NamedTuple):
    """What an identity or a binding says. A bare binding has neither kind nor owner."""

    cause: Cause
    kind: str | None = None
    owner: str | None = None
    chat_id: str | None = None
    platform_chat_id: str | None = None
    request: str | None = None

    @property
    def names_owner(self) -> bool:
        """An identity or a record; not a bare binding."""
        return self.owner is not None


class Newer(NamedTuple):
    """Written by a later Spacekeeper: not understood, hence left alone.

    What can be read in it is used for one thing: it counts as taken."""

    cause: Cause
    owner: str | None = None
    chat_id: str | None = None
    platform_chat_id: str | None = None


class Malformed(NamedTuple):
    """Absent, though an event stands there. `why` is empty for a redacted one."""

    cause: Cause
    why: str = ""


Marking = Marker | Newer | Malformed | None


KINDS: Final[Mapping[str, str]] = {SPACE_TYPE: SPACE, "": CHAT}


def kind_of(room: Room) -> str | None:
    """`space`, `chat`, or `None` for a room type that is neither."""
    return KINDS.get(room.create.type)


def is_user_id(value: Any) -> bool:
    return _matches(USER_ID, value) and len(value) <= MAX_ID


def server_of(user_id: str) -> str:
    """The server of a user, as `via` in links names it."""
    return user_id.partition(":")[2]


def is_chat_id(value: Any) -> bool:
    return _matches(CHAT_ID, value)


def is_platform_chat_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_PLATFORM_ID


def identity_of(room: Room, me: str) -> Marking:
    """Read rule 1's identity. Trusted only if the bot sent the create event."""
    create = room.create
    if create.cause.sender != me or create.identity is None:
        return None
    return _marking(create.identity, create.cause, kind_of(room), me, bare=False)


def binding_of(room: Room, me: str) -> Marking:
    """Read rule 2's binding; the parser of facts kept only one that the bot sent."""
    if room.binding is None:
        return None
    cause, content = room.binding
    if not content:
        return Malformed(cause)
    return _marking(content, cause, kind_of(room), me, bare=True)


def _marking(
    content: Any, cause: Cause, kind: str | None, me: str, *, bare: bool
) -> Marking:
    if not isinstance(content, dict):
        return Malformed(cause, "it is no object")
    version = content.get("v")
    if isinstance(version, bool) or not isinstance(version, int) or version < VERSION:
        return Malformed(cause, "its version is missing or no number")
    if version > VERSION:
        return _newer(content, cause)
    if bare and content.keys().isdisjoint(("kind", "owner", "chat_id")):
        platform = content.get("platform_chat_id")
        if not is_platform_chat_id(platform):
            return Malformed(cause, "platform_chat_id is missing or no id")
        return Marker(cause, platform_chat_id=platform)
    return _named(content, cause, kind, me)


def _named(
    content: dict[str, Any], cause: Cause, kind: str | None, me: str
) -> Marker | Malformed:
    owner = content.get("owner")
    if kind is None or content.get("kind") != kind:
        return Malformed(cause, "its kind is not that of the room")
    if not is_user_id(owner) or owner == me:
        return Malformed(cause, "owner is missing or cannot be one")
    # It decides nothing: one that cannot be read costs nobody their room.
    asked = content.get("request")
    request = asked if isinstance(asked, str) and asked else None
    if kind == SPACE:
        return Marker(cause, kind, owner, request=request)
    chat_id, platform = content.get("chat_id"), content.get("platform_chat_id")
    if not is_chat_id(chat_id):
        return Malformed(cause, "chat_id is missing or none")
    if not is_platform_chat_id(platform):
        return Malformed(cause, "platform_chat_id is missing or no id")
    return Marker(cause, kind, owner, chat_id, platform, request)


def _newer(content: dict[str, Any], cause: Cause) -> Newer:
    owner, chat_id = content.get("owner"), content.get("chat_id")
    platform = content.get("platform_chat_id")
    return Newer(
        cause,
        owner if is_user_id(owner) else None,
        chat_id if is_chat_id(chat_id) else None,
        platform if is_platform_chat_id(platform) else None,
    )


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


class Marked(NamedTuple):
    """A room that the bot created, with what is written in it."""

    room: Room
    identity: Marking
    binding: Marking


class Chain(NamedTuple):
    """A room and those that it replaced, newest first (rule 8). Mostly just one room.

    Made by `chain_of`, which finds out once what is asked for again and again."""

    rooms: tuple[Marked, ...]
    kind: str
    ids: tuple[str, ...]
    """The ids of its rooms."""
    claim: Marker | Newer | None
    """The newest identity or record; `Newer` where one stands before it."""

    @property
    def tip(self) -> Room:
        return self.rooms[0].room

    @property
    def root(self) -> Room:
        return self.rooms[-1].room

    @property
    def key(self) -> str:
        """The tip's room id: what the chain is called."""
        return self.ids[0]

    @property
    def age(self) -> tuple[int, str]:
        """Orders by the oldest create event, then by room id (rule 7)."""
        return (self.root.create.cause.at, self.root.room_id)

    @property
    def is_newer(self) -> bool:
        """A later version wrote what counts here: nothing is written (rule 2)."""
        newest = self.rooms[0]
        return (
            isinstance(newest.identity, Newer)
            or isinstance(newest.binding, Newer)
            or isinstance(self.claim, Newer)
        )

    def statements(self) -> Iterator[Marker | Newer]:
        """Every identity and binding that can be read, the newest room's first."""
        for marked in self.rooms:
            for marking in (marked.identity, marked.binding):
                if isinstance(marking, (Marker, Newer)):
                    yield marking

    def members(self) -> frozenset[str]:
        """Everybody with any member event in any room of the chain."""
        return frozenset(
            user_id
            for marked in self.rooms
            for user_id in marked.room.members
            if is_user_id(user_id)
        )


def chain_of(rooms: tuple[Marked, ...], kind: str) -> Chain:
    """A room and those that it replaced, newest first, as one."""
    return Chain(
        rooms, kind, tuple([marked.room.room_id for marked in rooms]), _claim(rooms)
    )


def _claim(rooms: Iterable[Marked]) -> Marker | Newer | None:
    for marked in rooms:
        identity, binding = marked.identity, marked.binding
        for marking in (identity, binding):
            if isinstance(marking, Newer):
                return marking
        for marking in (identity, binding):
            if isinstance(marking, Marker) and marking.owner is not None:
                return marking
    return None


class Lineage(NamedTuple):
    """All rooms that the bot created and understands, as chains."""

    chains: tuple[Chain, ...]
    waiting: frozenset[str] = frozenset()
    """Rooms whose tombstone names a room that could not be read."""
    doubtful: frozenset[str] = frozenset()
    """The same, and rooms whose tombstone names one that refused itself, so far."""
    refused: frozenset[str] = frozenset()
    """Rooms whose tombstone names a room that the bot is not in and may not see."""
    orphaned: frozenset[str] = frozenset()
    """Rooms whose predecessor could not be read."""
    findings: tuple[Finding, ...] = ()


def marked(fact: Fact | None, me: str) -> Marked | None:
    """The room with its markings, if the bot made it and understands its type."""
    room = shown(fact)
    if room is None or room.create.cause.sender != me or kind_of(room) is None:
        return None
    return Marked(room, identity_of(room, me), binding_of(room, me))


def lineage(
    facts: Mapping[str, Fact], me: str, known: Mapping[str, Marked] = NOTHING
) -> Lineage:
    """Sort the bot's own rooms into upgrade chains; others are no part of it (rule 6).

    What is `known` of them already is not found out again."""
    ours = {
        room_id: mark
        for room_id in sorted(facts)
        if (mark := known.get(room_id) or marked(facts[room_id], me))
    }
    successor: dict[str, str] = {}
    waiting: set[str] = set()
    doubtful: set[str] = set()
    refused: set[str] = set()
    findings: list[Finding] = []
    for room_id, (room, _, _) in ours.items():
        if room.tombstone is None:
            continue
        target = room.tombstone.replacement
        if is_unread(facts.get(target)):
            doubtful.add(room_id)
        if room_id in doubtful and not _refused(facts.get(target)):
            waiting.add(room_id)
        elif _succeeds(ours.get(target), room):
            successor[room_id] = target
        else:
            if shown(facts.get(target)) is None:
                refused.add(room_id)
            findings.append(
                Finding(
                    "unfollowed_tombstone",
                    room_id,
                    f"its tombstone names {target}, which the bot did not make for it",
                    room.tombstone.cause,
                )
            )
    for room_id in _cycles(successor):
        del successor[room_id]
        tombstone = ours[room_id].room.tombstone
        findings.append(
            Finding(
                "upgrade_cycle",
                room_id,
                "following its tombstone leads back to it",
                tombstone.cause if tombstone else None,
            )
        )
    orphaned = frozenset(
        room_id
        for room_id, (room, _, _) in ours.items()
        if room.create.predecessor and is_unread(facts.get(room.create.predecessor))
    )
    return Lineage(
        tuple(_chains(ours, successor)),
        frozenset(waiting),
        frozenset(doubtful),
        frozenset(refused),
        orphaned,
        tuple(findings),
    )


def _refused(fact: Fact | None) -> bool:
    return isinstance(fact, Unknown) and fact.absent


def _succeeds(new: Marked | None, old: Room) -> bool:
    return (
        new is not None
        and new.room.create.predecessor == old.room_id
        and kind_of(new.room) == kind_of(old)
    )


def _cycles(successor: Mapping[str, str]) -> list[str]:
    """Every room on a cycle, in order of room id."""
    on_cycle = []
    for start in sorted(successor):
        walked = {start}
        here = successor.get(start)
        while here is not None and here not in walked:
            walked.add(here)
            here = successor.get(here)
        if here == start:
            on_cycle.append(start)
    return on_cycle


def _chains(ours: Mapping[str, Marked], successor: Mapping[str, str]) -> list[Chain]:
    predecessor = {new: old for old, new in successor.items()}
    chains = []
    for room_id, mark in ours.items():
        if room_id in successor:
            continue
        rooms = [mark]
        while (before := predecessor.get(rooms[-1].room.room_id)) is not None:
            rooms.append(ours[before])
        chains.append(chain_of(tuple(rooms), KINDS[mark.room.create.type]))
    return chains
