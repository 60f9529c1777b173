"""The newest look at Matrix, kept up by live events, and the passes over it.

Rows change here and nowhere else. A live event is only a hint that a room changed: the
room is read again, and the same decision as ever is taken over all that is known. So
what is followed live and what is found by a cold start are one.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from adapter.matrix.desired import BACKLOG, Finding
from adapter.matrix.facts import Fact, Facts, Present, Unknown, shown
from adapter.matrix.identity import Lineage, lineage
from adapter.matrix.live import Batch
from adapter.matrix.observation import Touch, behind, changed, is_left, reread
from adapter.matrix.reconciler import Observation, PassReport, Reconciler
from adapter.matrix.renewal import asked, changes, closed
from adapter.matrix.rows import key
from adapter.matrix.rules.sight import Sight, sight, unbound_spaces
from controller.current import current_pass

log = logging.getLogger(__name__)


class Touched(NamedTuple):
    """A room that changed since it was last read."""

    number: int
    """Larger than that of every earlier touch."""
    why: Touch


class Follower:
    """What is known of Matrix now. One pass at a time, whoever asks for it."""

    def __init__(
        self, reconciler: Reconciler, numbers: Iterator[int] | None = None
    ) -> None:
        """`numbers` are for the passes that nobody else has numbered."""
        self.newest: PassReport | None = None
        """The newest pass, before anything of it was published; `None` before the first."""
        self.decided = asyncio.Event()
        """Set by each pass, for whoever publishes what it left due."""
        self._reconciler = reconciler
        self._numbers = numbers or itertools.count(1)
        self._facts = Facts({})
        self._looking = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._due: dict[str, Touched] = {}
        self._touches = itertools.count(1)
        self._meanwhile: dict[str, Fact] | None = None
        self._in_flight: set[str] = set()
        self._held: set[str] = set()
        self._made: set[str] = set()
        self._findings: dict[tuple[str, str], Finding] = {}
        self._told: dict[tuple[str, str], Finding] = {}
        self._owners: Mapping[str, str | None] = {}

    # What is known

    @property
    def facts(self) -> Facts:
        return self._facts

    def fact(self, room_id: str) -> Fact | None:
        return self._facts.rooms.get(room_id)

    def knows(self, room_id: str) -> bool:
        """The newest topology has this room, or the bot made it."""
        room = shown(self.fact(room_id))
        if room is not None and room.create.cause.sender == self._reconciler.me:
            return True
        return (
            self.newest is not None and key(room_id) in self.newest.decided.want.rooms
        )

    async def sight(self, joined: frozenset[str] = frozenset()) -> Sight:
        """Whose rooms could not all be seen; nothing is made or changed for those.

        `joined` is what /joined_rooms says by now. What stayed unread for a whole
        `full_interval` counts no more."""
        rows = await self._reconciler.store.rows()
        facts = self._facts._replace(joined=self._facts.joined | joined)
        facts = await self._reconciler.aged(facts)
        is_plain = not unbound_spaces(facts, rows, self._reconciler.me)
        kin = Lineage(()) if is_plain else lineage(facts.rooms, self._reconciler.me)
        return sight(facts, rows, kin, frozenset())

    def is_due(self, room_id: str, owner: str | None) -> bool:
        """Whether something changed, and was not decided about, that may concern this
        room: it itself, another of its owner's, or one that nobody has seen yet.

        A room of the bot that is nobody's so far may become somebody's by any change, as
        by a link."""
        if owner is None and self.knows(room_id):
            return bool(self._due)
        return any(
            due == room_id
            or due not in self._facts.rooms
            or (owner is not None and self._owner(due) == owner)
            for due in self._due
        )

    def is_unseen(self, room_id: str) -> bool:
        """The bot is in it for all that is known, and nobody knows what it is."""
        return self._is_unknown(room_id) and self._owner(room_id) is None

    def is_unread(self, room_id: str) -> bool:
        """The room changed, and nobody knows how; or nobody knows what it is."""
        due = self._due.get(room_id)
        return due is not None and (due.why.happened or self._owner(room_id) is None)

    def successor(self, room_id: str) -> str | None:
        """The newest room of the upgrade chain in which this one was replaced."""
        if self.newest is not None:
            return self.newest.decided.want.successors.get(room_id)
        for chain in lineage(self._facts.rooms, self._reconciler.me).chains:
            if room_id in chain.ids[1:]:
                return chain.key
        return None

    @property
    def is_looking(self) -> bool:
        """A look at everything is under way, and may have seen a room before it changed."""
        return self._meanwhile is not None

    @property
    def is_outdated(self) -> bool:
        """It is time to look at everything again."""
        return self._reconciler.is_outdated()

    def asked_for(self, request: str) -> str | None:
        """The room whose identity says that it was made for `request`."""
        return next(_made_for(self._facts.rooms, {request}, self._reconciler.me), None)

    # What changes

    def touch(self, rooms: Mapping[str, Touch]) -> None:
        """Something happened in these rooms: the next pass reads them again."""
        for room_id, why in rooms.items():
            if known := self._due.get(room_id):
                why = why._replace(told={**known.why.told, **why.told})
            self._due[room_id] = Touched(next(self._touches), why)

    def revisit(self, rooms: Iterable[str]) -> None:
        """The next pass reads these rooms again, as for what the bot itself did there.

        What is known of the bot's end in one of them stands until something happens."""
        for room_id in rooms:
            known = self._due.get(room_id)
            why = known.why if known else Touch(happened=False)
            if not is_left(self.fact(room_id)):
                why = why._replace(happened=True)
            self._due[room_id] = Touched(next(self._touches), why)

    def find(self, finding: Finding) -> bool:
        """Something that no pass can see, for a person to look at; whether it is news."""
        place = finding.code, finding.room
        is_news = self._findings.get(place) != finding
        self._findings[place] = finding
        return is_news

    def hold(self, request: str) -> None:
        """A room is being made: until `release`, passes let it and its owner alone."""
        self._in_flight.add(request)

    def made(self, room_id: str) -> None:
        """The bot has just made this room: nobody need ask whose it is."""
        self._made.add(room_id)

    def release(self, request: str) -> None:
        """Whatever a pass has let alone for it is due."""
        self._in_flight.discard(request)
        held = {r: found for r in self._held if (found := self.fact(r))}
        left = set(_made_for(held, {request}, self._reconciler.me))
        self._held -= left
        self.revisit(left)

    # Passes

    async def begin(self, allow_detach: int | None = None) -> None:
        """Return when no row is older than this call. Raises `WireError`.

        What was kept of the last look is believed if nothing differs: then only what
        changed since is read, and where nothing did, no pass is made."""
        one = self._reconciler
        token = await one.keeper.token()
        if token is None or allow_detach is not None:
            await self.look_again(allow_detach)
            return
        # The server may look while the file is verified.
        asking = asyncio.create_task(asked(one.wire, one.types, token))
        try:
            loaded = await one.keeper.load()
            if loaded is None:
                await self.look_again(allow_detach)
                return
            self._facts = loaded.kept.facts
            self._owners = {
                r: row.matrix_user_id for r, row in loaded.have.rows.items()
            }
            await self._renew(asking)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def renew(self, allow_detach: int | None = None) -> None:
        """A pass over whatever changed since the last one, and what that left due; over
        everything if it is time, or if the file is not as it was left."""
        async with self._turn:  # what a pass writes meanwhile is nobody else's
            stands = await self._reconciler.keeper.stands()
        if stands and not self.is_outdated and allow_detach is None:
            await self._renew()
        else:
            await self.look_again(allow_detach)

    async def _renew(self, asking: Awaitable[Batch | None] | None = None) -> None:
        """Pass over what changed, of which somebody may be `asking` already; over
        everything if the server cannot tell what did."""
        async with self._looking:
            is_done = await self._pass_over_changes(asking)
        if not is_done:
            await self.look_again()

    async def _pass_over_changes(self, asking: Awaitable[Batch | None] | None) -> bool:
        one, kept = self._reconciler, self._reconciler.keeper.kept
        if kept is None:
            return False
        mark = kept.mark
        async with one.recording():
            batch = await (asking or asked(one.wire, one.types, mark.token))
            if batch is None:
                return False
            found = changes(batch, self._facts, one.me, one.types)
            self.touch(found.rooms)
            self._see_to(mark.due)
            async with self._turn:
                with self._numbered():
                    return await self._pass_over_due(*found.moved(mark))

    async def look_again(self, allow_detach: int | None = None) -> None:
        """One pass over everything. Raises `WireError`, and then no row has changed.

        What is read live while it looks is newer than what it saw."""
        async with self._looking:
            seen_from = next(self._touches)
            rows = await self._reconciler.store.rows()
            self._meanwhile = {}
            try:
                async with self._reconciler.recording():
                    seen = await self._reconciler.observed(rows)
                async with self._turn:
                    # Older than this look from here on, unless its pass is committed.
                    self._reconciler.keeper.kept = None
                    self._facts = _with(seen.facts, self._meanwhile)
                    await self._pass(seen._replace(facts=self._facts), allow_detach)
                    self._settle(before=seen_from)
            finally:
                self._meanwhile = None

    async def catch_up(self, rooms: Iterable[str] = ()) -> None:
        """Return when the rows say what `rooms`, and all that was touched, show now.

        Raises `WireError` when the server cannot be asked. A room that alone cannot be
        read stays due: see `is_unread`."""
        self.revisit(rooms)
        async with self._turn:
            if not self._due:
                return
            with self._numbered():
                is_done = await self._pass_over_due()
        if not is_done:
            with self._numbered():
                await self.look_again()

    async def _pass_over_due(
        self, token: str | None = None, ahead: str | None = None
    ) -> bool:
        """Read what was touched, and decide; with `token`, that was all up to there.

        Whether that was enough: it takes a look at everything if not, and nothing is
        decided before."""
        due, now = dict(self._due), next(self._touches)
        kept = self._reconciler.keeper.kept
        is_still = not due and self._findings == self._told
        if is_still and token is not None and kept and kept.facts is self._facts:
            over = () if self._told else (BACKLOG,)  # of a bot that ran before
            await self._reconciler.nothing_changed(token, ahead, over)
            return True
        rooms = {room_id: one.why for room_id, one in due.items()}
        if not await self._read(rooms):
            return False
        one = self._reconciler
        late = behind(self._facts, rooms, one.me, one.types)
        seen = Observation(self._facts, token=token, ahead=ahead, behind=late)
        await self._pass(seen)
        self._settle(before=now)
        self._see_to(late)
        return True

    def _settle(self, *, before: int) -> None:
        """All was decided about as it was when touch number `before` was made, but for
        what could not be read."""
        for room_id, touched in list(self._due.items()):
            if touched.number < before and not self._is_unknown(room_id):
                del self._due[room_id]

    def _see_to(self, rooms: Iterable[str]) -> None:
        """These are to be read again, whether anything happened there or not."""
        for room_id in rooms:
            if room_id not in self._due:
                self._due[room_id] = Touched(next(self._touches), Touch(happened=False))

    def _is_unknown(self, room_id: str) -> bool:
        found = self._facts.rooms.get(room_id)
        return isinstance(found, Unknown) and not found.absent

    async def read(self, rooms: Collection[str]) -> None:
        """Read rooms that nobody has seen yet; no pass is made, no row changes, and what
        was seen stays due."""
        async with self._turn:
            await self._read(dict.fromkeys(rooms, Touch()))
            self.revisit(r for r in rooms if isinstance(self.fact(r), Present))

    async def _read(self, due: Mapping[str, Touch]) -> bool:
        """Whether they were read as they are: if not, all stays as it was known."""
        one, before = self._reconciler, self._facts
        after = await reread(one.wire, one.me, before, due, one.types, own=self._made)
        self._made -= after.rooms.keys()
        if hidden := closed(before, after, due, one.me):
            log.info("banned", extra={"rooms": hidden})
            return False
        newer: dict[str, Fact] = {}
        if self._meanwhile is not None:
            newer = await asyncio.to_thread(changed, before, after)
        self._facts = after
        if self._meanwhile is not None:
            self._meanwhile |= newer
        return True

    async def _pass(self, seen: Observation, allow_detach: int | None = None) -> None:
        """Decide over all that is known, and keep what was seen."""
        one = self._reconciler
        have = await one.keeper.rows()
        hold: frozenset[str] = frozenset()
        if self._in_flight:
            found = _made_for(self._facts.rooms, set(self._in_flight), one.me)
            hold = await asyncio.to_thread(frozenset, found)
        self._held |= hold
        told = dict(self._findings)
        decided = await one.decide(
            seen.facts,
            have.rows,
            allow_detach=allow_detach,
            hold=hold,
            findings=tuple(told.values()),
        )
        # A pass that nobody asked for is recorded only if it has anything to tell.
        after = self.newest if seen.token is None else None
        self.newest = await one.carry_out(decided, have, seen, after=after)
        self._told = told
        self.decided.set()

    @contextmanager
    def _numbered(self) -> Iterator[None]:
        """What is logged inside belongs to a pass: that of the loop, or one of its own."""
        if current_pass.get():
            yield
            return
        token = current_pass.set(next(self._numbers))
        try:
            yield
        finally:
            current_pass.reset(token)

    def _owner(self, room_id: str) -> str | None:
        want = self.newest.decided.want.rooms if self.newest else {}
        resource = want.get(key(room_id))
        if resource is None:
            return self._owners.get(room_id)
        owner = resource.fields.get("matrix_user_id")
        return owner if isinstance(owner, str) else None


def _made_for(
    rooms: Mapping[str, Fact], requests: Collection[str], me: str
) -> Iterator[str]:
    """The bot's rooms whose identity names one of `requests`."""
    for room_id, found in rooms.items():
        room = shown(found)
        if room is None or room.create.cause.sender != me:
            continue
        identity = room.create.identity
        request = identity.get("request") if isinstance(identity, dict) else None
        if isinstance(request, str) and request in requests:
            yield room_id


def _with(facts: Facts, newer: Mapping[str, Fact]) -> Facts:
    if not newer:
        return facts
    joined = {room_id for room_id, found in newer.items() if isinstance(found, Present)}
    return facts._replace(rooms={**facts.rooms, **newer}, joined=facts.joined | joined)
