"""The proxy of the process tests: nobody notices it until it is told to be a fault."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from adapter.cli.account import Account, CallFailed
from adapter.cli.homeserver import Homeserver
from tests.faults import After, Answer, Before, Drop, Hang, Refuse
from tests.faults import proxy as proxies
from tests.faults.proxy import Proxy

CREATE = "POST .*/createRoom"

# Makes one room, and would go on to make another.
CLIENT = """
import asyncio, sys, aiohttp

async def main(url, token):
    headers = {"Authorization": "Bearer " + token}
    async with aiohttp.ClientSession(headers=headers) as session:
        for name in ("one", "two"):
            await session.post(url + "/_matrix/client/v3/createRoom", json={})

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def client(account: Account) -> AsyncIterator[Process]:
    """A process that makes rooms; it does not outlive the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, account.url, account.login.access_token
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def killed(process: Process) -> None:
    process.kill()
    await process.wait()


async def rooms_of(account: Account) -> int:
    return len(await account.joined_rooms())


# Faults


async def test_an_answer_that_gets_lost(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """The server has made the room, and the client is not told."""
    lost = proxy.at(CREATE, Drop())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await through.create_room()
    await lost.struck()
    assert await rooms_of(bot) == 1
    assert [(seen.reached, seen.status) for seen in proxy.requests] == [(True, None)]


async def test_a_request_that_gets_lost(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """To the client it is the same; but there is no room."""
    proxy.at(CREATE, Refuse())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await through.create_room()
    assert await rooms_of(bot) == 0
    assert [(seen.reached, seen.status) for seen in proxy.requests] == [(False, None)]


async def test_an_answer_that_is_made_up(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """The client gets status, body and headers; the server hears nothing."""
    headers = {"Content-Type": "text/html", "Retry-After": "61"}
    proxy.at(CREATE, Answer(502, b"<html>Bad Gateway</html>", headers))
    async with through.session.post(
        f"{through.url}/_matrix/client/v3/createRoom", json={}
    ) as response:
        assert (response.status, await response.text()) == (
            502,
            "<html>Bad Gateway</html>",
        )
        assert {**headers}.items() <= dict(response.headers).items()
    assert await rooms_of(bot) == 0
    assert (proxy.requests[0].reached, proxy.requests[0].status) == (False, 502)


async def test_an_error_of_matrix_that_is_made_up(
    proxy: Proxy, through: Account
) -> None:
    """JSON is what a made-up answer is, if nothing else is said."""
    proxy.at(CREATE, Answer(429, b'{"errcode": "M_LIMIT_EXCEEDED", "error": "No."}'))
    with pytest.raises(CallFailed, match="429 M_LIMIT_EXCEEDED No"):
        await through.create_room()


async def test_no_answer_at_all(proxy: Proxy, through: Account, bot: Account) -> None:
    """The client waits for as long as it likes; others are served meanwhile."""
    hangs = proxy.at(CREATE, Hang())
    waiting = asyncio.create_task(through.create_room())
    await hangs.struck()
    await through.joined_rooms()
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await rooms_of(bot) == 0


async def test_a_client_killed_before_its_request_arrives(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """What a dead client asked for is not passed on."""
    async with client(through) as process:
        killing = proxy.at(CREATE, Before(lambda: killed(process)))
        await killing.struck()
    assert await rooms_of(bot) == 0
    assert [seen.reached for seen in proxy.requests] == [False]


async def test_a_client_killed_before_its_answer_arrives(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """The server has done by then what was asked for the second time."""
    made = []

    async def counts_and_kills() -> None:
        made.append(await rooms_of(bot))
        await killed(process)

    async with client(through) as process:
        killing = proxy.at(CREATE, After(counts_and_kills), nth=2)
        await killing.struck()
    assert made == [2]
    assert await rooms_of(bot) == 2
    assert [seen.reached for seen in proxy.requests] == [True, True]


async def test_the_world_changes_before_a_request(
    proxy: Proxy, through: Account, bot: Account, person: Account
) -> None:
    """An action may be anything that a test does; the request goes on after it."""
    room = await bot.create_room(invite=[person.user_id])
    proxy.at("POST .*/join", Before(lambda: bot.kick(room, person.user_id)))
    with pytest.raises(CallFailed, match="403 M_FORBIDDEN"):
        await replace(through, login=person.login).join(room)


async def test_an_action_that_fails(homeserver: Homeserver, bot: Account) -> None:
    """Its error is the test's; the client is not left waiting, the server hears nothing."""

    async def with_an_action_that_fails() -> None:
        async with Proxy(homeserver.url) as proxy:
            proxy.at(CREATE, Before(lambda: 1 / 0))
            with pytest.raises(aiohttp.ClientConnectionError):
                await replace(bot, url=proxy.url).create_room()

    with pytest.raises(ZeroDivisionError):
        await with_an_action_that_fails()
    assert await rooms_of(bot) == 0


async def test_a_server_that_is_away(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    """Connections are refused, open ones are cut, and later all is as it was."""
    token = (await through.sync())["next_batch"]
    polling = asyncio.create_task(through.sync(token, wait_ms=60_000))
    await proxy.arrived("GET .*/sync", 2)
    async with proxy.away():
        with pytest.raises(aiohttp.ClientConnectionError):
            await polling
        with pytest.raises(aiohttp.ClientConnectorError):
            await through.create_room()
    await through.create_room()
    assert await rooms_of(bot) == 1


# Which request


async def test_only_the_nth_request_and_so_many_after_it(
    proxy: Proxy, through: Account
) -> None:
    """Those before and after pass; what does not match is not counted."""
    proxy.at(CREATE, Answer(500), nth=2, times=2)
    seen = []
    for _ in range(5):
        await through.joined_rooms()
        try:
            await through.create_room()
        except CallFailed as failed:
            seen.append(failed.status)
        else:
            seen.append(200)
    assert seen == [200, 500, 500, 200, 200]


async def test_a_predicate_looks_at_the_query(proxy: Proxy, through: Account) -> None:
    """A live sync and a snapshot have the same path, and are two things."""
    proxy.at(lambda seen: "since" in seen.query, Answer(503))
    token = (await through.sync())["next_batch"]
    with pytest.raises(CallFailed, match="503"):
        await through.sync(token)


async def test_a_fault_that_never_happens(
    proxy: Proxy, through: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test that waits for it fails, and is told what was asked for instead."""
    monkeypatch.setattr(proxies, "PATIENCE", 0.05)
    fault = proxy.at(CREATE, Drop())
    await through.joined_rooms()
    with pytest.raises(TimeoutError, match="GET /_matrix/client/v3/joined_rooms 200"):
        await fault.struck()
    with pytest.raises(TimeoutError):
        await proxy.arrived(CREATE)


# Passing


async def test_requests_are_kept_in_order_without_secrets(
    proxy: Proxy, through: Account
) -> None:
    """Number, method, path, query and status; a token in a query is left out."""
    secret = through.login.access_token
    async with through.session.get(
        f"{proxy.url}/_matrix/client/v3/joined_rooms?access_token={secret}&a=%20b"
    ) as response:
        assert response.status == 200
    with pytest.raises(CallFailed, match="404"):
        await through.join("!nowhere:hs.test")
    first, second = proxy.requests
    assert (first.number, first.method, first.path, first.query, first.status) == (
        1,
        "GET",
        "/_matrix/client/v3/joined_rooms",
        {"a": " b"},
        200,
    )
    assert (second.number, second.status) == (2, 404)
    assert secret not in repr(proxy.requests)


async def test_paths_stay_as_they_were_encoded(proxy: Proxy, through: Account) -> None:
    """Slashes, per cents and spaces inside a part reach the server inside this part."""
    room = await through.create_room()
    key = "a/b%2Fc d+é?#"
    await through.put_state(room, "x.note", {"n": 1}, key)
    assert (await through.state_event(room, "x.note", key))["state_key"] == key
    assert proxy.requests[1].path.endswith(quote(key, safe=""))


async def test_answers_stay_as_they_were(
    homeserver: Homeserver, proxy: Proxy, through: Account
) -> None:
    """Status, content type and compressed bodies are the server's own."""
    bearer = {"Authorization": f"Bearer {through.login.access_token}"}
    for path in ("/_matrix/client/v3/joined_rooms", "/_matrix/nothing", "/"):
        answers = []
        for url in (homeserver.url, proxy.url):
            async with through.session.get(
                url + path, headers=bearer, allow_redirects=False
            ) as response:
                kind = response.headers.get("Content-Type")
                encoding = response.headers.get("Content-Encoding")
                body = await response.read()
                answers.append((response.status, kind, encoding, body))
        assert answers[0] == answers[1]


async def test_nothing_is_tidied_up_on_the_way(proxy: Proxy) -> None:
    """A path is not encoded in another way, and a compressed body stays compressed."""
    path = "/a%7Eb/%2fc//d%20e"
    zipped = gzip.compress(b"{}")
    proxy.at("GET .*", Answer(200, zipped, {"Content-Encoding": "gzip"}))
    async with (
        Proxy(proxy.url) as before,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(URL(f"{before.url}{path}?x=%7E", encoded=True)) as response,
    ):
        assert await response.read() == zipped
        assert response.headers["Content-Encoding"] == "gzip"
    assert [proxy.requests[0].path, before.requests[0].path] == [path, path]


async def test_large_bodies_pass(proxy: Proxy, through: Account) -> None:
    """Megabytes are nothing special, neither asked nor answered."""
    large = b"x" * 3_000_000
    proxy.at("GET .*", Answer(200, large))
    async with through.session.get(proxy.url) as response:
        assert await response.read() == large
    async with through.session.post(
        f"{proxy.url}/_matrix/client/v3/createRoom",
        data=io.BytesIO(b'{"name": "' + large + b'"}'),
        headers={"Authorization": f"Bearer {through.login.access_token}"},
    ) as response:
        assert (response.status, response.content_type) == (413, "application/json")


async def test_many_long_polls_at_once(
    homeserver: Homeserver, bot: Account, through: Account, proxy: Proxy
) -> None:
    """All of them wait, all of them hear the news, and other calls pass between them."""
    room = await bot.create_room()
    token = (await through.sync())["next_batch"]
    polls = [
        asyncio.create_task(through.sync(token, wait_ms=60_000 + n)) for n in range(40)
    ]
    await proxy.arrived("GET .*/sync", 41)
    assert not any(poll.done() for poll in polls)
    said = await through.send(room, "hello")
    for answer in await asyncio.gather(*polls):
        news = json.dumps(answer["rooms"]["join"][room]["timeline"])
        assert said in news


async def test_leaving_does_not_wait_for_long_polls(
    homeserver: Homeserver, bot: Account
) -> None:
    """Open polls are cut when the proxy goes, and none of it stays."""
    before = asyncio.all_tasks()
    token = (await bot.sync())["next_batch"]
    async with Proxy(homeserver.url) as proxy:
        through = replace(bot, url=proxy.url)
        poll = asyncio.create_task(through.sync(token, wait_ms=100_000))
        await proxy.arrived("GET .*/sync")
    with pytest.raises(aiohttp.ClientConnectionError):
        await poll
    assert asyncio.all_tasks() == before
