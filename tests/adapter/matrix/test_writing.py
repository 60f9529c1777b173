"""What may be repeated is repeated until it is certain; what is refused is said at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
)
from adapter.matrix.writing import FAULTS, LONGEST, Writer, at_once

ROOM, ASKED = "!r", "$asked"
LOST, AWAY = Unreachable("cut"), Unreachable("refused", sent=False)
LIMIT, FAULT = RateLimited("slow", retry_after=61.0), ServerFault("no", status=502)
GARBLED, PORTAL = Unexpected("no event_id"), NotAHomeserver("a page", status=200)
FAILURES: list[WireError] = [LOST, AWAY, FAULT, GARBLED, PORTAL]
REFUSALS: list[WireError] = [
    Forbidden("no", status=403),
    Unexpected("too large", status=413, errcode="M_TOO_LARGE"),
    TokenRefused("no", status=401, errcode="M_UNKNOWN_TOKEN"),
]


class Server:
    """A wire to a server that takes a message once for each transaction id.

    `weather` is what goes wrong next; of what got lost, or garbled, the server has heard. Whether
    anything else gets an answer meanwhile, `lives` says."""

    def __init__(self, weather: list[WireError | None], *, lives: bool = False) -> None:
        self.weather = list(weather)
        self.lives = lives
        self.timeline: dict[str, Mapping[str, Any]] = {}
        self.invited: list[str] = []
        self.joined: frozenset[str] = frozenset()
        self.left: list[str] = []

    async def send(
        self, room_id: str, event_type: str, txn: str, content: Mapping[str, Any]
    ) -> str:
        error = self.weather.pop(0) if self.weather else None
        if error is None or error in (LOST, GARBLED):
            self.timeline.setdefault(txn, content)
        if error is not None:
            # The same ones are raised in many examples: their traces must not add up.
            raise error.with_traceback(None)
        return f"$event of {txn}"

    async def invite(self, room_id: str, user_id: str) -> None:
        if self.weather and (error := self.weather.pop(0)):
            raise error
        self.invited.append(user_id)

    async def joined_rooms(self) -> frozenset[str]:
        if not self.lives:
            raise AWAY.with_traceback(None)
        return self.joined

    async def leave(self, room_id: str) -> None:
        if self.weather and (error := self.weather.pop(0)):
            raise error
        self.left.append(room_id)


def writer(server: Server, slept: list[float] | None = None) -> Writer:
    wire: Any = server

    async def nap(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    return Writer(wire, sleep=nap, chance=lambda: 1.0)


def contents(count: int) -> list[dict[str, Any]]:
    return [{"msgtype": "m.text", "body": str(n)} for n in range(count)]


@given(
    st.lists(st.none() | st.sampled_from([LIMIT, *FAILURES])),
    st.integers(0, 4),
)
async def test_whatever_passes(weather: list[WireError | None], count: int) -> None:
    """While nothing is answered, nothing counts: in the end every message is there once
    and in order, also when it is all said again."""
    server = Server(weather)
    for _ in range(2):
        await writer(server).say(ROOM, ASKED, contents(count))
        assert list(server.timeline.items()) == [
            (f"{ASKED}/{n}", content) for n, content in enumerate(contents(count))
        ]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_refusal(refusal: WireError) -> None:
    """It is raised at once, and nothing that follows is sent."""
    server = Server([None, LOST, refusal])
    with pytest.raises(type(refusal)):
        await writer(server).say(ROOM, ASKED, contents(3))
    assert list(server.timeline) == [f"{ASKED}/0", f"{ASKED}/1"]
    assert server.weather == []


@given(st.lists(st.sampled_from([LIMIT, *FAILURES]), max_size=2 * FAULTS))
async def test_a_server_that_fails_at_one_write_alone(weather: list[WireError]) -> None:
    """It counts as refused in the end, a limit never: one room must not stand still."""
    server = Server([*weather], lives=True)
    failures = [error for error in weather if error is not LIMIT]
    if len(failures) < FAULTS:
        await writer(server).say(ROOM, ASKED, contents(1))
        assert list(server.timeline) == [f"{ASKED}/0"]
        return
    with pytest.raises(type(failures[FAULTS - 1])):
        await writer(server).say(ROOM, ASKED, contents(1))


async def test_how_long_is_waited() -> None:
    """As long as the server asks for; else longer and longer, up to a limit."""
    slept: list[float] = []
    weather: list[WireError | None] = [LIMIT, RateLimited("now", retry_after=0.0)]
    server = Server(weather + [AWAY] * 20)
    await writer(server, slept).say(ROOM, ASKED, contents(1))
    limited, soon, *away = slept
    assert limited == 61.0
    assert soon > 0
    assert away == sorted(away)
    assert LONGEST / 2 <= away[-1] <= LONGEST


async def test_an_invite_that_is_not_worth_waiting_for() -> None:
    """A limit beyond the patience is raised, and so is the first fault of the server."""
    server = Server([LIMIT], lives=True)
    with pytest.raises(RateLimited):
        await writer(server).invite(ROOM, "@a:hs", patience=10.0)
    server.weather = [FAULT]
    with pytest.raises(ServerFault):
        await writer(server).invite(ROOM, "@a:hs")
    server.lives = False
    server.weather = [AWAY, LIMIT]
    await writer(server).invite(ROOM, "@a:hs")
    assert server.invited == ["@a:hs"]


async def test_of_writes_that_go_at_once_the_first_error_ends_the_others() -> None:
    """It is raised as it is, for whoever knows what it means."""
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    async def fails() -> None:
        raise REFUSALS[2]

    with pytest.raises(TokenRefused) as refused:
        await at_once([waits(), fails()])
    assert (refused.value, ended) == (REFUSALS[2], ["waits"])
    await at_once([])


@pytest.mark.parametrize("first", [LIMIT, FAULT, LOST])
async def test_a_room_that_was_joined_meanwhile_is_not_left(first: WireError) -> None:
    """Somebody else invites as well while an invitation is being declined."""
    server = Server([first], lives=True)

    async def joins(_: float) -> None:
        server.joined = frozenset({ROOM})

    wire: Any = server
    await Writer(wire, sleep=joins).decline(ROOM)
    assert server.left == []
    server.joined = frozenset({"!other"})
    await Writer(wire, sleep=joins).decline(ROOM)
    assert server.left == [ROOM]
