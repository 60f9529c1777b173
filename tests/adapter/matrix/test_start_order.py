"""Nothing is handled before everything was looked at; and how the bot begins and ends
where something is in its way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from tests.adapter.matrix.city import City
from tests.adapter.matrix.house import House, built
from tests.faults import Answer, Before, Exchange, Hang, Reply, Seen
from tests.faults.crashes import is_write
from tests.faults.proxy import Proxy

SOON: Final = 15.0
"""Seconds in which the bot has to end: it gives itself 8."""


@pytest.fixture
async def proxy(homeserver: Homeserver) -> AsyncIterator[Proxy]:
    async with Proxy(homeserver.url) as proxy:
        yield proxy


@pytest.fixture
async def house(city: City, tmp_path: Path, proxy: Proxy) -> House:
    return await built(city, tmp_path, proxy.url)


def is_snapshot(seen: Seen) -> bool:
    """Everything that there is, or a window of it."""
    return "simplified_msc3575" in seen.path or "full_state" in seen.query


def is_changes(seen: Seen) -> bool:
    """What changed since the last look: one event of each room is enough to know that."""
    if not seen.path.endswith("/sync") or "since" not in seen.query:
        return False
    timeline = json.loads(seen.query["filter"])["room"]["timeline"]
    return bool(timeline["limit"] == 1)


def is_look(seen: Seen) -> bool:
    return is_snapshot(seen) or is_changes(seen)


def is_live(seen: Seen) -> bool:
    return (
        seen.path.endswith("/sync") and "since" in seen.query and not is_changes(seen)
    )


def first(proxy: Proxy, what: str) -> int:
    """Number of the first request whose method and path end like that."""
    return next(
        s.number for s in proxy.requests if f"{s.method} {s.path}".endswith(what)
    )


# --- the order ------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["position", "new"])
async def test_nothing_is_handled_while_the_bot_looks(
    house: House, proxy: Proxy, known: bool
) -> None:
    """Words and invitations of that time are answered once it is ready; until then not
    one thing is written, and the live stream is not open."""
    if known:
        async with house.bot():
            pass
        del proxy.requests[:]
    held = Held()
    looks = proxy.at(is_look, held.fault)
    async with house.process() as process:
        await proxy.arrived(is_look)
        await house.says("apricot")
        direct = await house.alice.direct(house.city.bot)
        assert [s for s in proxy.requests if is_write(s) or is_live(s)] == []
        assert [line["message"] for line in process.log] == []
        held.let_go()
        await looks.struck()
        await process.ready()
        await house.hears("1: apricot")
        await house.alice.hears(direct)
        assert await process.terminate() == 0
    assert await house.answers() == ["1: apricot"]
    look = next(s.number for s in proxy.requests if is_look(s))
    writes = [s for s in proxy.requests if is_write(s)]
    assert "/account_data/" in writes[0].path
    assert all(look < s.number for s in writes)


async def test_the_stream_begins_before_the_look(house: House, proxy: Proxy) -> None:
    """A new bot takes its position first, then looks, and then follows from there: so
    nothing gets lost in between."""
    async with house.bot():
        [live, *_] = await proxy.arrived(is_live)
        found = await house.position()
    assert found is not None
    assert live.query["since"] == found["token"]
    token, snapshot = first(proxy, "/v3/sync"), first(proxy, "msc3575/sync")
    announced = first(proxy, "io.spacekeeper.checkpoint")
    assert token < snapshot < live.number
    assert announced < live.number


async def test_recovered_rooms_are_known(house: House) -> None:
    """After the loss of the file no old room is taken for an unregistered one; a direct
    chat with the bot is one."""
    async with house.bot():
        await house.says("apricot")
        await house.hears("1: apricot")
    house.city.forget()
    await house.says("bilberry")
    async with house.bot() as process:
        await house.says("cloudberry")
        await house.hears("2: bilberry", "3: cloudberry")
        assert all(line["message"] != "unregistered room" for line in process.log)
        direct = await house.alice.direct(house.city.bot)
        await house.alice.hears(direct)
        line = await process.logged("^unregistered room$")
        assert line["room"] == direct


# --- what is in the way of a start ----------------------------------------------------


async def test_a_look_that_fails(house: House, proxy: Proxy) -> None:
    """Nothing is handled, and the bot is not ready; it looks again, and then it is."""
    async with house.bot():
        pass
    house.city.forget_look()
    del proxy.requests[:]
    await house.says("apricot")
    # Snapshots have stand-ins; the list of rooms has none. One look asks five times.
    failing = proxy.at("GET .*/joined_rooms", Answer(503), times=6)
    async with house.process() as process:
        await process.logged("pass failed")
        await failing.struck()
        assert [s for s in proxy.requests if is_write(s) or is_live(s)] == []
        assert condition(house, "Ready") == "False"
        await process.ready()
        await house.hears("1: apricot")
        assert await process.terminate() == 0
    assert await house.answers() == ["1: apricot"]


@pytest.mark.parametrize("when", ["before", "running"])
async def test_a_token_that_was_revoked(house: House, proxy: Proxy, when: str) -> None:
    """The bot leaves with one sentence, and does not ask again and again."""
    if when == "before":
        await log_out(house.city.bot)
    async with house.process() as process:
        if when == "running":
            await process.ready()
            await proxy.arrived(is_live, 2)
            before = len(proxy.requests)
            await log_out(house.city.bot)
        else:
            before = 0
        assert await process.ended() == 1
    assert len(proxy.requests) - before <= 3
    [sentence] = [line for line in process.stderr.splitlines() if line[0] != "{"]
    assert "token" in sentence


async def test_told_to_stop_while_it_looks(house: House, proxy: Proxy) -> None:
    """It ends at once, in order, and writes nothing."""
    looks = proxy.at(is_snapshot, Hang(), times=100)
    async with house.process() as process:
        await looks.struck()
        async with asyncio.timeout(SOON):
            assert await process.terminate() == 0
    assert [seen for seen in proxy.requests if is_write(seen)] == []


# --- what is in the way of an end -----------------------------------------------------


async def test_told_to_stop_while_the_server_hangs(house: House, proxy: Proxy) -> None:
    """It ends soon, and what it could not answer is answered by the next start."""
    server = Silent()
    async with house.process() as process:
        await process.ready()
        await proxy.arrived(is_live, 2)
        proxy.at(".*", server, times=1_000)
        await house.says("apricot")
        await proxy.arrived("PUT .*/send/.*")
        async with asyncio.timeout(SOON):
            assert await process.terminate() == 0
    server.speaks = True
    async with house.bot():
        await house.hears("1: apricot")
    assert await house.answers() == ["1: apricot"]


async def test_told_to_stop_while_the_platform_thinks(
    house: House, backend: Backend
) -> None:
    """It does not wait for that; the next start asks with the same key, and answers."""
    platform = {"kind": "http", "url": backend.url}
    async with house.process(platform=platform) as process:
        await process.ready()
        [event_id] = await house.says("apricot")
        await backend.asked.wait()
        async with asyncio.timeout(SOON):
            assert await process.terminate() == 0
    backend.thinks.set()
    async with house.bot(platform=platform):
        await house.hears("hm")
    assert await house.answers() == ["hm"]
    assert set(backend.keys) == {event_id}


# --- what the tests need --------------------------------------------------------------


class Held:
    """Holds requests back until `let_go`."""

    def __init__(self) -> None:
        self._free = asyncio.Event()
        self.fault = Before(self._free.wait)
        self.let_go = self._free.set


class Silent:
    """A server that does not answer until it speaks again."""

    speaks = False

    async def meet(self, exchange: Exchange) -> Reply:
        if self.speaks:
            return await exchange.forward()
        return await Hang().meet(exchange)


class Backend:
    """A platform that thinks until it is let go on."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[str] = []
        self.asked = asyncio.Event()
        self.thinks = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        self.asked.set()
        await self.thinks.wait()
        return web.json_response({"messages": [{"text": "hm"}]})


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend, app = Backend(), web.Application()
    app.router.add_post("/turns", backend.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = runner.addresses
    backend.url = f"http://{host}:{port}/turns"
    yield backend
    await runner.cleanup()


async def log_out(account: Account) -> None:
    await account.call("POST", "logout", {})


def condition(house: House, kind: str) -> str:
    found = house.city.query("SELECT status FROM conditions WHERE type = ?", [kind])
    status: str = found[0][0]
    return status
