"""Every fault at every read of a pass: nothing is given up, made or guessed because of it.

What a pass reads is taken from a pass where nothing is wrong. `FAULTS=all` (`make faults`)
puts every fault at each of these, over each cache, once and for good; without it, one cache
takes its turn, of reads that are alike the first is met, and every other fault is a glitch."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City
from tests.adapter.matrix.conftest import STRUCK, TRIED
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

COMPLETE: Final = None, ("True", "Complete")
"""What a pass ends by, and says that it saw, where it saw all."""

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
    if fault in ("200, {}", "200, no rooms") and read.is_event:
        return None  # that is no event: the whole state is asked for
    return KIND.get(fault, "Unreachable")


def failure(fault: str, read: Read) -> str | None:
    """What the pass has to end by; `None` where it can do without this answer."""
    if read.before_write:
        return None
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
    channel: str
    whole: bool
    """Or only what changed since the file was written is looked at."""
    before: Left = field(init=False)
    good: Left = field(init=False)
    tried: int = 0
    struck: int = 0
    """How often the fault that was tried really happened."""

    async def begin(self) -> list[Read]:
        """Find out how it is without any fault; returns what was read for that."""
        requests = self.town.proxy.requests
        start, self.before = len(requests), left(self.cache)
        self.good = await self._pass(copied(self.cache, "good.db"))
        assert self.good.error is None
        return list(reads(requests[start:]))

    async def meet(self, name: str, read: Read, times: int) -> list[str]:
        """One pass with the fault and one without; returns what is wrong with them."""
        fault: Fault = self.stale if name == "stale" else FAULTS[name]()
        path = copied(self.cache, "met.db")
        planned = self.town.proxy.at(read.matches, fault, read.nth, times=times)
        met = await self._pass(path, slow=name in SLOW)
        planned.end()
        self.tried += 1
        self.struck += planned.is_struck
        healed = await self._pass(path)
        problems = [] if planned.is_struck else ["it never happened"]
        problems += self._ends(name, read, met, glitch=times == 1)
        return [*problems, *self._problems(name, read, met, healed)]

    async def _pass(self, path: Path, *, slow: bool = False) -> Left:
        return await self.town.passed(path, whole=self.whole, slow=slow)

    def _ends(self, name: str, read: Read, met: Left, *, glitch: bool) -> Iterator[str]:
        """What is wrong with its end, and what it says of itself. A glitch may go by
        unnoticed, as a look at the same thing follows."""
        expected = failure(name, read), self._observed(name, read)
        unnoticed = None, self.good.conditions["Observed"]
        ended = met.error, met.conditions.get("Observed")
        if ended not in ([expected, unnoticed] if glitch else [expected]):
            yield f"it ended by {ended}, not by {expected}"
        converged = met.conditions.get("Converged")
        if met.error:
            if converged != self.before.conditions.get("Converged"):
                yield f"nothing was done, and Converged is {converged}"
        elif converged == ("True", "InSync"):
            silent = ended == COMPLETE and self._shows(name, read)
            if silent and not self._is_right(met):
                yield "not all is as it should be, and nothing says so"
        elif converged not in (("False", "Waiting"), self.good.conditions["Converged"]):
            yield f"Converged is {converged}"
        unseen = kind_of(name, read) and read.before_write and not glitch
        if unseen and writes_to(read.room, met) >= writes_to(read.room, self.good):
            yield "it writes where it could not look"

    def _shows(self, name: str, read: Read) -> bool:
        """Whether anybody can tell that an answer is not what it should be."""
        if name == "200, no rooms":  # since the last look, nothing may have happened
            return self.whole or read.name != "sync"
        return name != "stale" or read.before_write

    def _is_right(self, met: Left) -> bool:
        """Whether rows are as they should be; those of rooms that show the bot nothing
        any more may wait."""
        ours = met.rows.keys() | self.good.rows.keys()
        return all(
            met.rows.get(room) == self.good.rows.get(room)
            for room in ours - self.town.lost
        )

    def _problems(
        self, name: str, read: Read, met: Left, healed: Left
    ) -> Iterator[str]:
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
        if healed.conditions != self.good.conditions:
            yield f"the conditions stay {healed.conditions}"
        if met.writes | healed.writes != self.good.writes:
            yield f"never written: {self.good.writes - healed.writes}"

    def _observed(self, name: str, read: Read) -> tuple[str, str]:
        if error := failure(name, read):
            return "False", error
        if read.before_write:
            return self.good.conditions["Observed"]
        unseen = read.room is not None and read.room not in self.town.lost
        # Without any snapshot, nothing shows a ban.
        snapshot = self.channel == "/sync" and read.name == "sync"
        unseen |= snapshot and bool(self.before.rows)
        told = kind_of(name, read) is not None and self._shows(name, read)
        # What was answered to that path before is the position alone.
        told |= snapshot and self.whole and name == "stale"
        if unseen and told:
            return "True", "RoomsUnknown"
        return self.good.conditions["Observed"]


def writes_to(room: str | None, one: Left) -> int:
    return sum(f"/{room}/" in unquote(asked.target) for asked in one.writes)


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


def cases(
    found: Iterable[Read], stale: Stale, turn: int
) -> Iterator[tuple[Read, str, int]]:
    """Each fault at each read, by turns as a glitch and for good, with every other cache
    the other way round.

    What was never asked for before cannot be stale."""
    every = [
        (read, fault)
        for read in found
        for fault in FAULTS
        if fault != "stale" or stale.knows(read.method, read.path)
    ]
    if not ALL:
        every = [case for case in every if case[1] not in SLOW][turn::EVERY]
    lasting = itertools.cycle((1, ANY) if turn % 2 else (ANY, 1))
    return ((*case, times) for case, times in zip(every, lasting, strict=False))


def chosen(found: Iterable[Read], channel: str, lost: Collection[str]) -> list[Read]:
    """All that are not in vain there, or the first of each kind that is its own.

    What is written follows from the rows, which are the same on all channels."""
    found = [r for r in found if not r.before_write or channel == "sliding sync"]
    if ALL:
        in_vain = [re.compile(match) for match in CHANNELS[channel]]
        return [
            read
            for read in found
            if not any(one.fullmatch(f"{read.method} {read.path}") for one in in_vain)
        ]
    kinds = {
        (read.name, read.nth, read.room in lost, read.before_write): read
        for read in reversed(found)
        if read.name in OWN_READS[channel]
    }
    return list(kinds.values())


@pytest.mark.parametrize("channels", PARTS, ids=" and ".join)
async def test_every_fault_at_every_read(
    city: City,
    homeserver: Homeserver,
    figures: dict[str, object],
    channels: list[str],
) -> None:
    """No row changes but to what it is when nothing is wrong, nothing is written that is
    not due, the file says what went wrong, and the next pass makes good for it."""
    wrong, tried, struck = list[str](), 0, 0
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
                    whole = name != RENEWED
                    trial = Trial(town, cache, old, stale, channel, whole)
                    found = chosen(await trial.begin(), channel, town.lost)
                    for read, fault, times in cases(found, stale, turn):
                        where = f"{name}, {channel}, {times} x {fault} at {read}"
                        problems = await trial.meet(fault, read, times)
                        wrong += [f"{where}: {problem}" for problem in problems]
                figures[f"{name}, {channel}"] = trial.tried
                tried, struck = tried + trial.tried, struck + trial.struck
    figures |= {TRIED: tried, STRUCK: struck}
    assert not wrong, "\n".join(wrong)
