"""Homeserver -> facts: the one way in which the product sees the world.

A snapshot shows most rooms at once; what it does not show for certain, or shows otherwise
than /joined_rooms does, is read room by room. Absence is never inferred from silence: see
`facts.Unknown`. The live client's sync and room model play no part in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from adapter.matrix.channels import CHANNELS, Channel, Reading, Seen
from adapter.matrix.errors import (
    ACCOUNT_WIDE,
    SERVER_WIDE,
    Forbidden,
    NotFound,
    ObservationFailed,
    Unreachable,
    WireError,
    WrongToken,
)
from adapter.matrix.facts import (
    CREATE,
    MEMBER,
    SPACE_TYPE,
    EventTypes,
    Fact,
    Facts,
    Gone,
    Present,
    Told,
    Unknown,
    fact,
    shown,
    shows,
)
from adapter.matrix.wire import Wire

log = logging.getLogger(__name__)

T = TypeVar("T")

Events = Sequence[Mapping[str, Any]]

AT_ONCE: Final = 8
"""Rooms read at the same time: more made no server faster."""
ROUNDS: Final = 50
"""How many upgrades in a row are followed to rooms that nothing else shows."""
PATIENCE: Final = 24
"""How many rooms may get no answer before the server counts as dead."""

NOT_IN_IT: Final = "the bot is not in it"
_INVITED: Final = Unknown("the bot's membership is invite", absent=True)


async def observe(  # noqa: PLR0913 - three of them are for few callers
    wire: Wire,
    me: str,
    *,
    rows: Collection[str] = (),
    types: EventTypes | None = None,
    channel: Channel = Channel.AUTO,
    partial: bool = False,
) -> Facts:
    """See all rooms of the account `me`, and those that `rows` names.

    Either everything is covered, that is read, or tried and `Unknown`, or it raises:
    `WrongToken`, `ObservationFailed`, or what the homeserver did as a `WireError`
    (after `RateLimited`, wait as told). With `partial`, a snapshot that fails is made
    up for room by room and the facts are not `complete`: nobody is then `absent`."""
    types = types or EventTypes()

    def read(room_id: str, events: Iterable[Any]) -> Fact:
        return fact(room_id, events, me, types)

    sent, got = wire.requests, wire.received
    await check_account(wire, me)
    before = await wire.joined_rooms()
    complete, seen, after = True, Seen({}), before
    try:
        seen = await _snapshot(wire, types, channel, before, read)
        after = await wire.joined_rooms()
    except ACCOUNT_WIDE:
        raise
    except WireError as error:
        if not partial:
            raise
        log.warning("going on with a part", extra={"error": str(error)})
        complete = False
    # Two large sets are united in 30 ms: not in one go with what is around it.
    joined = await asyncio.to_thread(before.union, after)

    def is_nowhere(room_id: str) -> bool:
        return complete and room_id not in joined and room_id not in seen.rooms

    def is_own(room_id: str) -> bool:
        return room_id in rows or _is_own(facts.get(room_id), me)

    facts = dict(seen.rooms)
    reader = _Reader(wire, me, types, is_nowhere, is_own, seen.invited - joined)
    doubts = await asyncio.to_thread(doubtful, facts, joined, after, rows, me)
    if not seen.whole:
        doubts |= own(facts, me)
    await _complete(facts, reader, doubts, after)
    await _follow_links(facts, reader, after)
    log.info(
        "observed",
        extra={
            "rooms": len(facts),
            "unknown": await asyncio.to_thread(_unknown, facts),
            "requests": wire.requests - sent,
            "bytes": wire.received - got,
            "complete": complete,
        },
    )
    return Facts(facts, joined, complete)


def _unknown(facts: Mapping[str, Fact]) -> int:
    return sum(isinstance(found, Unknown) for found in facts.values())


class Touch(NamedTuple):
    """Why a room is read again."""

    happened: bool = True
    """Something did, as far as anybody knows."""
    end: Events | None = None
    """What was told of the bot's end there, to be believed of a room that shows nothing;
    `None` where it is in the room."""
    told: Told = MappingProxyType({})
    """What happened there, as far as anybody was told."""


async def reread(  # noqa: PLR0913 - one of them is for one caller
    wire: Wire,
    me: str,
    facts: Facts,
    rooms: Mapping[str, Touch],
    types: EventTypes,
    *,
    own: Collection[str] = (),
) -> Facts:
    """See `rooms` as they are now, and what upgrades lead to; the rest as in `facts`.

    `own` are known to be the bot's, although nobody has seen them yet.

    It never finds that the bot is not in a room, unless that was told: only a whole
    observation does, and is believed until something happens in the room. What is not
    about one room alone is raised, as by `observe`."""
    inside = {r for r, touch in rooms.items() if touch.happened and touch.end is None}

    def is_nowhere(room_id: str) -> bool:
        before = facts.rooms.get(room_id)
        known = isinstance(before, Unknown) and before.absent
        return known and room_id not in inside

    def is_own(room_id: str) -> bool:
        return room_id in own or _is_own(facts.rooms.get(room_id), me)

    reader = _Reader(wire, me, types, is_nowhere, is_own)
    # Beside the loop: after a start all of them have yet to be read from their bytes.
    seen = await asyncio.to_thread(_copied, facts.rooms)
    await _complete(seen, reader, set(rooms), frozenset(inside))
    if ahead := reader.refused - rooms.keys():
        # An upgrade into a room that the bot is not in has nothing more to wait for.
        strange = ahead - await wire.joined_rooms()
        seen |= {room_id: Unknown(NOT_IN_IT, absent=True) for room_id in strange}
    for room_id, touch in rooms.items():
        found = seen.get(room_id)
        if isinstance(found, Unknown):
            told = fact(room_id, touch.end or (), me, types)
            seen[room_id] = _hidden(found, facts.rooms.get(room_id), told)
    present = {r for r in rooms if isinstance(seen.get(r), Present)}
    # What shows nothing of its end may hold anything: it counts as not read.
    hidden = {r for r, touch in rooms.items() if touch.happened and not touch.end}
    left = {room_id for room_id in rooms if is_left(seen.get(room_id))}
    joined = (facts.joined | present | hidden) - left
    return facts._replace(rooms=seen, joined=joined)


def _copied(rooms: Mapping[str, Fact]) -> dict[str, Fact]:
    return dict(rooms)


def behind(
    facts: Facts, rooms: Mapping[str, Touch], me: str, types: EventTypes
) -> frozenset[str]:
    """The bot's own of `rooms` that were read, and do not show what was told of them.

    The answer may be an old one, or a newer event has yet to be told of: they are to be
    read once more, and need not show it then."""
    return frozenset(
        room_id
        for room_id, touch in rooms.items()
        if isinstance(found := facts.rooms.get(room_id), Present)
        and _is_own(found, me)
        and not shows(found.room, touch.told, me, types)
    )


def changed(before: Facts, after: Facts) -> dict[str, Fact]:
    """The facts of `after` that are others than those of `before`."""
    newly = before.joined ^ after.joined
    return {
        room_id: found
        for room_id, found in after.rooms.items()
        if before.rooms.get(room_id) != found or room_id in newly
    }


def is_left(found: Fact | None) -> bool:
    """Whether the bot is known not to be in the room."""
    return isinstance(found, Gone) or (isinstance(found, Unknown) and found.absent)


def _hidden(found: Unknown, before: Fact | None, told: Fact) -> Fact:
    """What is known of a room that shows nothing: by what was told of it, and before."""
    if isinstance(told, Gone):
        return told._replace(room=told.room or shown(before))
    if isinstance(told, Unknown) and told.absent:
        return told
    # It is refused as it was: nothing is known anew.
    return before if found.absent and isinstance(before, Unknown) else found


def doubtful(
    facts: dict[str, Fact],
    joined: frozenset[str],
    after: frozenset[str],
    rows: Collection[str],
    me: str,
) -> set[str]:
    """The rooms that a snapshot does not settle, and that have to be read one by one.

    `after` is what /joined_rooms said when the snapshot was there, `joined` what it
    said then or before. A room that the bot was thrown out of is read once more,
    because it may show more now, and may have taken the bot back."""
    rooms = {room for room in joined if not isinstance(facts.get(room), Present)}
    rooms.update(room for room in rows if room not in facts)
    rooms.update(
        room_id
        for room_id, found in facts.items()
        if _doubts(found, me, in_it=room_id in after)
    )
    return rooms


def _doubts(found: Fact, me: str, *, in_it: bool) -> bool:
    if isinstance(found, Present):
        return not in_it
    if isinstance(found, Gone):
        room = found.room
        return room is None or room.create.cause.sender == me
    return True


def _is_own(found: Fact | None, me: str) -> bool:
    room = shown(found)
    return room is not None and room.create.cause.sender == me


def own(facts: Mapping[str, Fact], me: str) -> set[str]:
    """The rooms that the bot made and is in: all that anything is decided about."""
    return {
        room_id
        for room_id, found in facts.items()
        if isinstance(found, Present) and _is_own(found, me)
    }


def leads(found: Iterable[Fact], me: str) -> set[str]:
    """The rooms before and after the bot's own rooms among `found`, by upgrade."""
    rooms: set[str] = set()
    for room in map(shown, found):
        if room is None or room.create.cause.sender != me:
            continue
        if room.create.predecessor:
            rooms.add(room.create.predecessor)
        if room.tombstone:
            rooms.add(room.tombstone.replacement)
    return rooms


def links(facts: Mapping[str, Fact], me: str) -> set[str]:
    """The rooms without a fact that the bot linked into its own Spaces, or once did."""
    return {
        room_id
        for found in facts.values()
        if (room := shown(found)) is not None and room.create.cause.sender == me
        for room_id, child in room.children.items()
        if child.cause.sender == me and room_id not in facts
    }


async def check_account(wire: Wire, me: str) -> None:
    """Raise `WrongToken` unless the access token is the account's."""
    user_id = (await wire.whoami()).user_id
    if user_id != me:
        what = f"the access token belongs to {user_id}, not to {me}"
        raise WrongToken(what)


async def _snapshot(
    wire: Wire,
    types: EventTypes,
    channel: Channel,
    joined: frozenset[str],
    read: Reading,
) -> Seen:
    """A snapshot through `channel`, or through the first that works."""
    if channel is not Channel.AUTO:
        return await _through(channel, wire, types, joined, read)
    for tried in (Channel.SLIDING_SYNC, Channel.SYNC):
        try:
            if tried is Channel.SYNC or await wire.supports_sliding_sync():
                return await _through(tried, wire, types, joined, read)
        except SERVER_WIDE:
            raise
        except WireError as error:
            log.warning(
                "snapshot failed", extra={"channel": tried.value, "error": str(error)}
            )
    return await _through(Channel.STATE, wire, types, joined, read)


async def _through(
    channel: Channel,
    wire: Wire,
    types: EventTypes,
    joined: frozenset[str],
    read: Reading,
) -> Seen:
    seen = await CHANNELS[channel](wire, types, read)
    if channel is not Channel.STATE and joined and joined.isdisjoint(seen.rooms):
        what = f"the snapshot shows none of the {len(joined)} rooms that the bot is in"
        raise ObservationFailed(what, brief="incomplete")
    return seen


async def _complete(
    facts: dict[str, Fact], reader: _Reader, rooms: set[str], after: frozenset[str]
) -> None:
    """Read `rooms`, and the rooms that upgrades lead to, into `facts`."""
    newly = await reader.read(rooms)
    for room_id, found in newly.items():
        if _counts(facts.get(room_id), found, in_it=room_id in after):
            facts[room_id] = found
    ahead = await asyncio.to_thread(leads, facts.values(), reader.me) - facts.keys()
    for _ in range(ROUNDS):
        if not ahead:
            return
        newly = await reader.read(ahead)
        facts.update(newly)
        ahead = leads(newly.values(), reader.me) - facts.keys()
    facts.update(dict.fromkeys(ahead, Unknown("too many upgrades in a row")))


async def _follow_links(
    facts: dict[str, Fact], reader: _Reader, after: frozenset[str]
) -> None:
    """Read what the bot linked and is not in, into `facts`, if it was ever in there.

    Of a room that its account left nothing else tells: no snapshot lists it."""
    linked = await asyncio.to_thread(links, facts, reader.me)
    await _complete(facts, reader, linked, after)
    for room_id in linked:
        found = facts[room_id]
        if isinstance(found, Unknown) and found.absent:
            del facts[room_id]  # one more room that the bot has nothing to do with


def _counts(old: Fact | None, new: Fact, *, in_it: bool) -> bool:
    """Whether a second look replaces the first: yes, but a failed one proves nothing.

    It leaves the evidence of the bot's end in place, unless /joined_rooms denies it."""
    return in_it or not (isinstance(old, Gone) and isinstance(new, Unknown))


async def read_each(
    rooms: Collection[str], read: Callable[[str], Awaitable[T]]
) -> dict[str, T]:
    """What `read` returns of each room, some at once; raises the first `WireError`."""
    found: dict[str, T] = {}
    waiting = iter(sorted(rooms))

    async def worker() -> None:
        for room_id in waiting:
            found[room_id] = await read(room_id)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(rooms))):
                group.create_task(worker())
    except* WireError as errors:
        first = errors.exceptions[0]
    else:
        return found
    raise first


class _Reader:
    """Reads rooms one by one, some at once, and says why one cannot be read."""

    def __init__(  # noqa: PLR0913 - all that is known of the rooms beforehand
        self,
        wire: Wire,
        me: str,
        types: EventTypes,
        is_nowhere: Callable[[str], bool],
        is_own: Callable[[str], bool],
        invited: Collection[str] = (),
    ) -> None:
        """`is_nowhere` tells of a room that shows nothing whether the bot is known not to
        be in it, `is_own` of any whether it is known to be, or to have been, the bot's."""
        self.me = me
        self._wire = wire
        self._types = types
        self._is_nowhere = is_nowhere
        self._is_own = is_own
        self._invited = invited
        self.refused: set[str] = set()
        self._unanswered = 0

    async def read(self, rooms: Collection[str]) -> dict[str, Fact]:
        """A fact for each of `rooms`. Raises what is not about one room only."""
        return await read_each(rooms, self._read_one)

    async def _read_one(self, room_id: str) -> Fact:
        if not room_id.startswith("!"):
            return Unknown("not a room id", absent=True)
        if room_id in self._invited:
            return _INVITED
        nowhere = self._is_nowhere(room_id)
        try:
            events = await self._events(room_id)
        except ACCOUNT_WIDE:
            raise
        except (Forbidden, NotFound) as error:
            self.refused.add(room_id)
            return Unknown(f"state: {error.brief}", absent=nowhere)
        except Unreachable as error:
            self._unanswered += 1
            if self._unanswered > PATIENCE:
                raise
            await self._wire.joined_rooms()  # raises if the server is dead
            return Unknown(f"state: {error.brief}")
        except WireError as error:
            return Unknown(f"state: {error.brief}")
        found = fact(room_id, events, self.me, self._types)
        if isinstance(found, Unknown) and not found.absent:
            # The whole state, without the bot in it: a room that anybody may read.
            return found._replace(absent=nowhere and _without(events, self.me))
        return found

    async def _events(self, room_id: str) -> Events:
        """The state of a room: all of it, or of others' rooms what counts of them.

        All of it may be huge there, and Synapse keeps whoever asks for it waiting while
        it is still joining (MSC3706): one such room must not stop what waits for a pass."""
        if self._is_own(room_id):
            return await self._wire.state(room_id)
        create = await self._wire.state_event(room_id, CREATE)
        if create is None or _may_count(create, self.me):
            return await self._wire.state(room_id)
        try:
            member = await self._wire.state_event(room_id, MEMBER, self.me)
        except NotFound:
            return [create]
        return await self._wire.state(room_id) if member is None else [create, member]


def _may_count(create: Mapping[str, Any], me: str) -> bool:
    """Whether more than the bot's own membership counts in a room with this first event."""
    content = create.get("content")
    is_space = isinstance(content, dict) and content.get("type") == SPACE_TYPE
    return create["sender"] == me or is_space


def _without(events: Iterable[Mapping[str, Any]], me: str) -> bool:
    return not any(
        event.get("type") == MEMBER and event.get("state_key") == me for event in events
    )
