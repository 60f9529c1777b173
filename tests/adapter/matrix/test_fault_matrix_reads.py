"""Every fault at every read of a pass: nothing is given up, made or guessed because of it.

What a pass reads is taken from a pass where nothing is wrong. `FAULTS=all` (`make faults`)
puts every fault at each of these, over each cache; without it, one cache takes its turn,
and of reads that are alike the first is met."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City
from tests.adapter.matrix.faulty import (
    ANY,
    Left,
    Read,
    Row,
    Rows,
    Town,
    copied,
    is_write,
    left,
    reads,
    town_of,
)
from tests.faults import FAULTS, Answer, Fault, Proxy, Stale
from tests.faults.table import LOGGED_OUT, SLOW

ALL: Final = os.environ.get("FAULTS") == "all"

CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "sliding sync": (),
    "/sync": ("GET .*/versions",),
    "/state": ("GET .*/versions", "GET .*/sync"),
}
"""What a server fails at that is seen through each of them."""

PARTS: Final = [[channel] for channel in CHANNELS] if ALL else [[*CHANNELS]]
"""Each of them with a town of its own."""

SNAPSHOT: Final = Read("GET", "/_matrix/client/v3/sync", 2)
"""The last one that shows all rooms at once; the first is for the position."""

OWN_READS: Final = {
    "sliding sync": {"whoami", "joined_rooms", "versions", "sync", "state"},
    "/sync": {"sync", "state"},
    "/state": {"state"},
}
"""What a sample meets there; the rest is the same on all channels."""

RENEWED: Final = "behind, what changed"
"""The one cache with which only that is looked at."""

EVERY: Final = 12
"""Of a sample: so many faults at so many reads are passed over; each cache begins later."""

BROKEN: Final = Answer(500, b'{"errcode": "M_UNKNOWN", "error": "no"}')

KIND: Final = (
    dict.fromkeys((name for name in FAULTS if name.startswith("429")), "RateLimited")
    | dict.fromkeys(LOGGED_OUT, "TokenRefused")
    | dict.fromkeys(("500", "502, HTML", "504, HTML"), "ServerFault")
    | dict.fromkeys(("200, errcode", "200, {}", "200, no rooms"), "Unexpected")
    | {"403": "Forbidden", "200, HTML": "NotAHomeserver"}
    | {"stale": None, "filter ignored": None}
)
"""What each fault is to the product; to most of them it is as if nobody were there."""


def kind_of(fault: str, read: Read) -> str | None:
    if fault == "200, no rooms" and read.name in ("whoami", "versions"):
        return None
    return KIND.get(fault, "Unreachable")


def failure(fault: str, read: Read) -> str | None:
    """What the pass has to end by; `None` where it can do without this answer."""
    kind = kind_of(fault, read)
    hopeless = {"TokenRefused", "RateLimited"}
    if read.name == "state":
        return kind if kind in hopeless else None
    if read.name in ("versions", "sync"):
        return kind if kind in {*hopeless, "Unreachable"} else None
    return kind


@dataclass
class Trial:
    """One cache that meets faults, again and again as it was in the beginning."""

    town: Town
    cache: Path
    """It may be missing."""
    old: Left
    """How a pass left it when the town had not changed yet."""
    stale: Stale
    whole: bool
    """Or only what changed since the file was written is looked at."""
    before: Left = field(init=False)
    good: Left = field(init=False)

    synced: bool = field(init=False)
    """Whether a /sync shows it all rooms at once."""

    async def begin(self) -> list[Read]:
        """Find out how it is without any fault; returns what was read for that."""
        requests = self.town.proxy.requests
        start, self.before = len(requests), left(self.cache)
        self.good = await self._pass(copied(self.cache, "good.db"))
        assert self.good.error is None
        found = list(reads(requests[start:]))
        self.synced = self.whole and SNAPSHOT in found
        return found

    async def meet(self, name: str, read: Read) -> Iterator[str]:
        """One pass with the fault and one without; returns what is wrong with them."""
        fault: Fault = self.stale if name == "stale" else FAULTS[name]()
        path = copied(self.cache, "met.db")
        planned = self.town.proxy.at(read.matches, fault, read.nth, times=ANY)
        met = await self._pass(path, slow=name in SLOW)
        planned.end()
        healed = await self._pass(path)
        return self._problems(name, read, met, healed)

    async def _pass(self, path: Path, *, slow: bool = False) -> Left:
        return await self.town.passed(path, whole=self.whole, slow=slow)

    def _problems(
        self, name: str, read: Read, met: Left, healed: Left
    ) -> Iterator[str]:
        expected = failure(name, read)
        if met.error != expected:
            yield f"it ended by {met.error}, not by {expected}"
        if met.conditions.get("Observed") != self._observed(name, read):
            yield f"Observed is {met.conditions.get('Observed')}"
        if met.error and (met.dump, met.writes) != (self.before.dump, frozenset()):
            yield f"something was written, {met.writes} to Matrix"
        known = [self.before, self.good, *([self.old] if name == "stale" else [])]
        yield from _guesses(met, [one.rows for one in known])
        if not met.writes <= self.good.writes:
            yield f"it writes {met.writes - self.good.writes}"
        yield from self._what_stays(met, healed)

    def _what_stays(self, met: Left, healed: Left) -> Iterator[str]:
        """A pass without a fault leaves nothing of what a fault did."""
        if healed.rows != self.good.rows:
            yield f"rows stay as {healed.rows}, not {self.good.rows}"
        if healed.conditions["Observed"] != self.good.conditions["Observed"]:
            yield f"Observed stays {healed.conditions['Observed']}"
        if met.writes | healed.writes != self.good.writes:
            yield f"never written: {self.good.writes - healed.writes}"

    def _observed(self, name: str, read: Read) -> tuple[str, str]:
        if error := failure(name, read):
            return "False", error
        unseen = read.room is not None and read.room not in self.town.lost
        # Without any snapshot, nothing shows a ban.
        snapshot = self.synced and read[:2] == SNAPSHOT[:2]
        unseen |= snapshot and bool(self.before.rows)
        # What was answered to that path before is the position alone.
        if unseen and (kind_of(name, read) or (snapshot and name == "stale")):
            return "True", "RoomsUnknown"
        return self.good.conditions["Observed"]


def _guesses(met: Left, known: list[Rows]) -> Iterator[str]:
    """Rows that are neither as they were nor as they should be, and rows that are lost."""
    for room, row in met.rows.items():
        might = [rows.get(room) for rows in known]
        if row not in might and not _by_itself(row, *might):
            yield f"a guess: {row}, and not one of {might}"
    if lost := known[0].keys() - met.rows.keys():
        yield f"rows are gone: {lost}"


def _by_itself(row: Row, before: Row | None, good: Row | None, *_: object) -> bool:
    """A room without a row, while its Space, or the room that took its place, cannot be
    read: it is bound as it says of itself, without any place (section 4)."""
    says = ("room_type", "matrix_user_id", "chat_id", "platform_chat_id")
    if before is not None or good is None or row["space_id"] is not None:
        return False
    same = row["status"] == good["status"] and row["reason"] == good["reason"]
    elsewhere = good["reason"] in ("unlinked", "duplicate") and row["reason"] is None
    return all(row[name] == good[name] for name in says) and (same or elsewhere)


@asynccontextmanager
async def seen_through(channel: str, proxy: Proxy) -> AsyncIterator[None]:
    """A server that all channels fail at but this one."""
    broken = [proxy.at(match, BROKEN, times=ANY) for match in CHANNELS[channel]]
    yield
    for planned in broken:
        planned.end()


def quick(cases: list[tuple[Read, str]]) -> list[tuple[Read, str]]:
    return [(read, fault) for read, fault in cases if fault not in SLOW]


def chosen(found: Iterable[Read], channel: str, lost: Collection[str]) -> list[Read]:
    """All that are not in vain there, or the first of each kind that is its own."""
    if ALL:
        in_vain = [re.compile(match) for match in CHANNELS[channel]]
        return [
            read
            for read in found
            if not any(one.fullmatch(f"{read.method} {read.path}") for one in in_vain)
        ]
    kinds = {
        (read.name, read.nth, read.room in lost): read
        for read in reversed(list(found))
        if read.name in OWN_READS[channel]
    }
    return list(kinds.values())


@pytest.mark.parametrize("channels", PARTS, ids=" and ".join)
async def test_every_fault_at_every_read(
    city: City, homeserver: Homeserver, channels: list[str]
) -> None:
    """No row changes but to what it is when nothing is wrong, nothing is written that is
    not due, the file says what went wrong, and the next pass makes good for it."""
    wrong: list[str] = []
    async with Proxy(homeserver.url) as proxy, town_of(city, proxy) as town:
        seen, unseen = copied(city.path, "seen.db"), city.path.with_name("unseen.db")
        stale, old = Stale(), left(seen)
        for channel in channels:
            async with seen_through(channel, proxy):
                keeping = proxy.at(lambda one: not is_write(one), stale, times=ANY)
                await town.passed(copied(seen, "good.db"))
                keeping.end()
        for turn, (name, cache) in enumerate(
            {"in sync": seen, "behind": seen, RENEWED: seen, "empty": unseen}.items()
        ):
            if name == "behind":
                await town.drift()
            for channel in channels:
                async with seen_through(channel, proxy):
                    trial = Trial(town, cache, old, stale, whole=name != RENEWED)
                    found = chosen(await trial.begin(), channel, town.lost)
                    cases = [(read, fault) for read in found for fault in FAULTS]
                    for read, fault in cases if ALL else quick(cases)[turn::EVERY]:
                        where = f"{name}, {channel}, {fault} at {read}"
                        wrong += [
                            f"{where}: {p}" for p in await trial.meet(fault, read)
                        ]
    assert not wrong, "\n".join(wrong)
