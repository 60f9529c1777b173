"""The usual faults: what a client gets, and what the server had to do with it."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from adapter.cli.account import Account, Json
from tests.faults import FAULTS, FirstTime, Proxy, Stale
from tests.faults.table import LOGGED_OUT

JOINED = "GET .*/joined_rooms"
FILTER = {"room": {"state": {"types": ["m.room.create"]}, "timeline": {"limit": 1}}}

STATUS = {
    **dict.fromkeys((name for name in FAULTS if name.startswith("429")), 429),
    **dict.fromkeys(LOGGED_OUT, 401),
    "403": 403,
    "500": 500,
    "502, HTML": 502,
    "504, HTML": 504,
}
CLOSES = {"closed", "reset", "answer lost"}
SPOILT = {"cut", "200, HTML"}


async def asked(through: Account, path: str = "joined_rooms") -> tuple[int, Json, str]:
    """Status, JSON and Retry-After of an answer."""
    async with through.session.get(
        f"{through.url}/_matrix/client/v3/{path}",
        headers={"Authorization": f"Bearer {through.login.access_token}"},
    ) as answer:
        found = await answer.json(content_type=None)
        return answer.status, found, answer.headers.get("Retry-After", "")


@pytest.mark.parametrize("name", sorted(STATUS))
async def test_a_refusal(proxy: Proxy, through: Account, name: str) -> None:
    """Its status, and that it is Matrix's or nobody's; then all is as before."""
    proxy.at(JOINED, FAULTS[name]())
    if "HTML" in name:
        with pytest.raises(json.JSONDecodeError):
            await asked(through)
    else:
        status, found, wait = await asked(through)
        assert (status, bool(found["errcode"])) == (STATUS[name], True)
        assert ("retry_after_ms" in found) == ("body" in name or "both" in name)
        assert bool(wait) == ("header" in name or "both" in name)
        assert ("soft_logout" in found) == (name in LOGGED_OUT - {"401"})
    assert (await asked(through))[0] == 200
    assert [seen.reached for seen in proxy.requests] == [False, True]


async def test_a_false_success(proxy: Proxy, through: Account) -> None:
    """200, and yet nothing of what was asked for."""
    await through.create_room()
    told = {}
    for name in ("200, errcode", "200, {}", "200, no rooms"):
        proxy.at(JOINED, FAULTS[name]())
        status, told[name], _ = await asked(through)
        assert status == 200
    assert told["200, errcode"]["errcode"] == "M_UNKNOWN"
    assert told["200, {}"] == told["200, no rooms"] == {}
    proxy.at("GET .*/sync", FAULTS["200, no rooms"]())
    assert {"rooms", "next_batch"} & (await through.sync()).keys() == {"next_batch"}


@pytest.mark.parametrize("name", sorted(SPOILT))
async def test_an_answer_that_is_no_json(
    proxy: Proxy, through: Account, name: str
) -> None:
    proxy.at(JOINED, FAULTS[name]())
    with pytest.raises(json.JSONDecodeError):
        await asked(through)


async def test_an_answer_that_cannot_be_unpacked(
    proxy: Proxy, through: Account
) -> None:
    proxy.at(JOINED, FAULTS["bad gzip"]())
    with pytest.raises(aiohttp.ClientPayloadError):
        await asked(through)


@pytest.mark.parametrize("name", sorted(CLOSES))
async def test_a_connection_that_ends(
    proxy: Proxy, through: Account, name: str
) -> None:
    """The client cannot tell whether the server has done it, which it has if the answer
    is what was lost."""
    proxy.at("POST .*/createRoom", FAULTS[name]())
    kinds = aiohttp.ServerDisconnectedError, aiohttp.ClientOSError
    expected = kinds[name == "reset"]
    with pytest.raises(expected):
        await through.create_room()
    assert len(await through.joined_rooms()) == (name == "answer lost")


@pytest.mark.parametrize("name", ["hangs", "overdue"])
async def test_an_answer_that_never_comes(
    proxy: Proxy, through: Account, name: str
) -> None:
    """Whoever gives up has not asked, or the server does it only then."""
    kept = proxy.at("POST .*/createRoom", FAULTS[name]())
    waiting = asyncio.create_task(through.create_room())
    await kept.struck()
    assert await through.joined_rooms() == []
    waiting.cancel()
    await asyncio.wait([waiting])
    if name == "hangs":
        assert not proxy.requests[0].reached
        return
    async with asyncio.timeout(30):
        while not await through.joined_rooms():
            pass


async def test_a_stale_answer(proxy: Proxy, through: Account, bot: Account) -> None:
    """What was true once is said again, of this path alone."""
    proxy.at("GET .*", Stale(), times=3)
    before = await asked(through)
    room = await bot.create_room()
    assert await asked(through) == before
    assert await through.state(room)
    assert (await asked(through))[1] == {"joined_rooms": [room]}


async def test_a_filter_that_is_ignored(proxy: Proxy, through: Account) -> None:
    """All state comes, and messages, though nobody asked for them."""
    room = await through.create_room()
    for word in ("one", "two", "three"):
        await through.send(room, word)
    proxy.at("GET .*/sync", FAULTS["filter ignored"]())
    found = (await through.sync(sync_filter=FILTER))["rooms"]["join"][room]
    events = found["state"]["events"] + found["timeline"]["events"]
    assert {"m.room.create", "m.room.power_levels"} <= {e["type"] for e in events}
    assert sum(event["type"] == "m.room.message" for event in events) == 3


async def test_each_request_the_first_time(proxy: Proxy, through: Account) -> None:
    """What is asked again passes; something else is met as well."""
    first = FirstTime(FAULTS["500"]())
    proxy.at("GET .*", first, times=100)
    statuses = [
        (await asked(through, path))[0]
        for path in ("joined_rooms", "joined_rooms", "account/whoami", "joined_rooms")
    ]
    assert statuses == [500, 200, 500, 200]
    assert [seen.path.rpartition("/")[2] for seen in first.met] == [
        "joined_rooms",
        "whoami",
    ]


async def test_a_fault_that_is_over(proxy: Proxy, through: Account) -> None:
    """Whatever comes from now on passes."""
    planned = proxy.at(lambda _: True, FAULTS["500"](), times=100)
    assert (await asked(through))[0] == 500
    planned.end()
    assert (await asked(through))[0] == 200
