"""The wire never mistakes a failure for a success, and never gives the token away."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import nio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cli.account import Account
from adapter.matrix.answers import answer
from adapter.matrix.wire import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    Wire,
    WireError,
)
from adapter.retry_after import retry_after

TOKEN = "syt_c2VjcmV0_abcdefgh_123456"  # noqa: S105 - of no server
HTML = b"<html><body>Bad Gateway</body></html>"
ZIPPED = gzip.compress(orjson.dumps({"a": [n * n * 7919 for n in range(999)]}))
RESET = b"reset"
HANG = b"hang"
SECONDS = 20.0
"""How long a request may take; it passes at once where a server hangs."""


def http(
    status: int, body: object = b"", *, length: int | None = None, **headers: str
) -> bytes:
    """One HTTP answer; `length` may say something else than the truth."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    kind = "text/html" if content.startswith(b"<") else "application/json"
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Type: {kind}",
        f"Content-Length: {len(content) if length is None else length}",
        "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def refusal(status: int, errcode: str, **more: object) -> bytes:
    return http(status, {"errcode": errcode, "error": "No.", **more})


@dataclass
class Server:
    """Answers with `script`, whose last answer it repeats, and keeps what was asked."""

    url: str = ""
    script: list[bytes] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    skipped: float = 0.0
    """Seconds that the loop's clock is ahead."""

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        said = self.script[min(len(self.asked), len(self.script) - 1)]
        self.asked.append((method, path, headers, body))
        if said == HANG:
            self.skipped += SECONDS  # not before it was asked, however busy the machine
            await reader.read()  # until the client goes
        elif said == RESET:
            writer.transport.abort()
        else:
            writer.write(said)
            await writer.drain()
        writer.close()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A homeserver that says what the test wants it to say."""
    made, loop = Server(), asyncio.get_running_loop()
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + made.skipped)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield made


@asynccontextmanager
async def client_to(url: str, token: str = TOKEN) -> AsyncIterator[nio.AsyncClient]:
    """A client that has not made a call yet."""
    client = nio.AsyncClient(url)
    client.access_token = token
    try:
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def wire_to(
    url: str, *, token: str = TOKEN, patience: float = 0.0
) -> AsyncIterator[Wire]:
    async with client_to(url, token) as client:
        yield Wire(client, patience=patience, timeout=SECONDS, snapshot_timeout=SECONDS)


Call = Callable[[Wire], Awaitable[object]]

READS: dict[str, Call] = {
    "whoami": lambda w: w.whoami(),
    "joined_rooms": lambda w: w.joined_rooms(),
    "state": lambda w: w.state("!r"),
    "state_event": lambda w: w.state_event("!r", "t", "k"),
    "sync_snapshot": lambda w: w.sync_snapshot({}),
    "sliding_sync": lambda w: w.sliding_sync({}),
    "live_token": lambda w: w.live_token(),
    "account_data": lambda w: w.account_data("@b:hs", "t"),
    "versions": lambda w: w.supports_sliding_sync(),
    "invitations": lambda w: w.invitations(),
    "joined_members": lambda w: w.joined_members("!r"),
    "invited_members": lambda w: w.invited_members("!r"),
    "messages": lambda w: w.messages(
        "!r", start="s2", end="s1", limit=9, event_filter={}
    ),
}
WRITES: dict[str, Call] = {
    "put_state": lambda w: w.put_state("!r", "t", "", {"a": 1}),
    "invite": lambda w: w.invite("!r", "@a:hs"),
    "put_account_data": lambda w: w.put_account_data("@b:hs", "t", {"a": 1}),
    "send": lambda w: w.send("!r", "t", "$e/0", {"a": 1}),
    "typing": lambda w: w.typing("!r", "@b:hs", 2000),
    "create_room": lambda w: w.create_room({"a": 1}),
    "join": lambda w: w.join("!r"),
    "leave": lambda w: w.leave("!r"),
}
ONCE: dict[str, Call] = {"live_sync": lambda w: w.live_sync("s1", {}, 1)} | WRITES
CALLS = READS | ONCE
EMPTY_IS_FINE = frozenset(
    {"invite", "leave", "typing", "put_account_data"}
    | {"account_data", "versions", "state_event"}
)

FAULTS: dict[str, tuple[bytes, type[WireError], int]] = {
    "429": (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=9000), RateLimited, 429),
    "429 of a proxy": (http(429, HTML), RateLimited, 429),
    "401": (refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused, 401),
    "401 missing": (refusal(401, "M_MISSING_TOKEN"), TokenRefused, 401),
    "401 locked": (
        refusal(401, "M_USER_LOCKED", soft_logout=True),
        TokenRefused,
        401,
    ),
    "401 of a proxy": (http(401, HTML), NotAHomeserver, 401),
    "403": (refusal(403, "M_FORBIDDEN"), Forbidden, 403),
    "403 of a proxy": (http(403, HTML), NotAHomeserver, 403),
    "404 of a proxy": (http(404, HTML), NotAHomeserver, 404),
    "404 no endpoint": (refusal(404, "M_UNRECOGNIZED"), Unexpected, 404),
    "400": (refusal(400, "M_UNKNOWN_POS"), Unexpected, 400),
    "413": (refusal(413, "M_TOO_LARGE"), Unexpected, 413),
    "500": (refusal(500, "M_UNKNOWN"), ServerFault, 500),
    "502 html": (http(502, HTML), ServerFault, 502),
    "502 empty object": (http(502, {}), ServerFault, 502),
    "503": (http(503, b""), ServerFault, 503),
    "504": (http(504, HTML), ServerFault, 504),
    "200 html": (http(200, HTML), NotAHomeserver, 200),
    "200 empty": (http(200, b""), NotAHomeserver, 200),
    "200 text": (http(200, b'"fine"'), NotAHomeserver, 200),
    "200 errcode": (refusal(200, "M_FORBIDDEN"), Unexpected, 200),
    "200 odd errcode": (http(200, {"errcode": None}), Unexpected, 200),
    "200 bad JSON": (http(200, b'{"a": nonsense}'), Unexpected, 200),
    "200 cut JSON": (http(200, b'{"joined_rooms": ["!a", "!b'), Unreachable, 200),
    "200 another shape": (http(200, ["a", 1]), Unexpected, 0),
    "body shorter than said": (http(200, {"a": 1}, length=900), Unreachable, 0),
    "reset": (RESET, Unreachable, 0),
    "no HTTP": (b"220 mail.example ESMTP\r\n\r\n", NotAHomeserver, 0),
    "gzip garbage": (
        http(200, b'{"a": 1}', Content_Encoding="gzip"),
        Unreachable,
        0,
    ),
    "gzip cut": (http(200, ZIPPED[:-200], Content_Encoding="gzip"), Unreachable, 200),
    "moved": (
        http(302, b"", Location="http://127.0.0.1:1/elsewhere"),
        Unreachable,
        0,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLS)
async def test_fault(server: Server, name: str, fault: str) -> None:
    """Every fault is an error of its kind, from every call."""
    said, kind, status = FAULTS[fault]
    server.script = [said]
    async with wire_to(server.url) as wire:
        with pytest.raises(WireError) as caught:
            await CALLS[name](wire)
    assert (type(caught.value), caught.value.status) == (kind, status)
    assert len(server.asked) <= 2  # aiohttp asks a GET twice when it is reset
    if name in WRITES:
        assert len(server.asked) == 1


@pytest.mark.parametrize("name", CALLS)
async def test_an_empty_object_is_no_answer(server: Server, name: str) -> None:
    """`{}` is a success only of the calls that Matrix answers so."""
    server.script = [http(200, {})]
    async with wire_to(server.url) as wire:
        if name in EMPTY_IS_FINE:
            await CALLS[name](wire)
        elif name == "sliding_sync":
            assert await wire.sliding_sync({}) == {}  # channels.read_window refuses it
        else:
            with pytest.raises(Unexpected):
                await CALLS[name](wire)


@pytest.mark.parametrize("name", CALLS)
async def test_silence(server: Server, name: str) -> None:
    """No request waits longer than its timeout; the query's is another matter."""
    server.script = [HANG]
    clock = asyncio.get_running_loop().time
    async with wire_to(server.url) as wire:
        began = clock()
        with pytest.raises(Unreachable) as caught:
            await CALLS[name](wire)
    assert (caught.value.brief, len(server.asked)) == ("timeout", 1)
    assert SECONDS <= clock() - began < 2 * SECONDS


async def test_nobody_listens() -> None:
    """A refused connection is `Unreachable`."""
    async with wire_to("http://127.0.0.1:1") as wire:
        with pytest.raises(Unreachable) as caught:
            await wire.whoami()
    assert (caught.value.brief, caught.value.sent) == ("unreachable", False)


async def test_no_such_name() -> None:
    """What has no address was not sent anything."""
    async with wire_to("http://homeserver.invalid") as wire:
        with pytest.raises(Unreachable) as caught:
            await wire.create_room({})
    assert not caught.value.sent


async def test_no_certificate() -> None:
    """What cannot prove who it is was not sent anything."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with wire_to(f"https://127.0.0.1:{port}") as wire:
            with pytest.raises(Unreachable) as caught:
                await wire.create_room({})
    assert (caught.value.brief, caught.value.sent) == ("certificate", False)


@pytest.mark.parametrize("fault", ["reset", "moved", "200 cut JSON", "silence"])
async def test_what_may_have_arrived(server: Server, fault: str) -> None:
    """Once a server has heard the request, nobody says that it was not sent."""
    server.script = [HANG if fault == "silence" else FAULTS[fault][0]]
    async with wire_to(server.url) as wire:
        with pytest.raises(Unreachable) as caught:
            await wire.create_room({"a": 1})
    assert caught.value.sent
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "url", ["matrix.hs.test", "ftp://hs.test", "http://", "http://["]
)
async def test_an_address_that_is_none(url: str) -> None:
    """An address that HTTP cannot use says so."""
    async with wire_to(url) as wire:
        with pytest.raises(NotAHomeserver):
            await wire.whoami()


@pytest.mark.parametrize("name", ONCE)
@pytest.mark.parametrize(
    "said", [RESET, HANG, refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=1), http(503)]
)
async def test_writes_are_sent_once(server: Server, name: str, said: bytes) -> None:
    """However patient: what a lost answer meant is for the caller to find out."""
    server.script = [said]
    async with wire_to(server.url, patience=30.0) as wire:
        with pytest.raises(WireError):
            await ONCE[name](wire)
    # aiohttp asks a GET twice when it is reset
    assert len(server.asked) == (2 if (name, said) == ("live_sync", RESET) else 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, http(503)) for name in READS),
        ("joined_rooms", RESET),
        ("joined_rooms", http(502, HTML)),
        ("joined_rooms", http(504)),
        ("joined_rooms", http(200, b'{"a": [')),
    ],
)
async def test_reads_are_tried_again(server: Server, name: str, said: bytes) -> None:
    """A passing fault is not seen by the caller of a read."""
    server.script = [said, said, PASS[name]]
    async with wire_to(server.url, patience=20.0) as wire:
        await READS[name](wire)
    assert len(server.asked) == 3


PASS = {
    "whoami": http(200, {"user_id": "@b:hs"}),
    "joined_rooms": http(200, {"joined_rooms": []}),
    "state": http(200, [{"type": "m.room.create"}]),
    "state_event": http(200, {"type": "t", "state_key": "k", "sender": "@a:hs"}),
    "sync_snapshot": http(200, {"next_batch": "s1"}),
    "live_token": http(200, {"next_batch": "s1"}),
    "sliding_sync": http(200, {"pos": "1"}),
    "account_data": http(200, {"v": 1}),
    "versions": http(200, {"versions": []}),
    "invitations": http(200, {"next_batch": "s1"}),
    "joined_members": http(200, {"joined": {}}),
    "invited_members": http(200, {"chunk": []}),
    "messages": http(200, {"chunk": []}),
}


async def test_account_data_that_says_nothing_is_asked_for_twice(
    server: Server,
) -> None:
    """`{}` is also what something broken on the way says of everything."""
    server.script = [http(200, {}), http(200, {"v": 1})]
    async with wire_to(server.url) as wire:
        assert await wire.account_data("@b:hs", "t") == {"v": 1}
        server.script = [http(200, {}), http(200, {})]
        assert await wire.account_data("@b:hs", "t") is None


@pytest.mark.parametrize(
    "said", [refusal(500, "M_UNKNOWN"), refusal(403, "M_FORBIDDEN")]
)
async def test_what_lasts_is_not_tried_again(server: Server, said: bytes) -> None:
    """A refusal, or a fault of the server's own, stays one."""
    server.script = [said]
    async with wire_to(server.url, patience=20.0) as wire:
        with pytest.raises(WireError):
            await wire.whoami()
    assert len(server.asked) == 1


async def test_attempts_end(server: Server) -> None:
    """A server that stays away does so after a few attempts."""
    server.script = [http(503)]
    async with wire_to(server.url, patience=3.0) as wire:
        with pytest.raises(ServerFault):
            await wire.whoami()
    assert 2 <= len(server.asked) <= 5


def date_in(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=61_400), 61.4),
        (http(429, {"errcode": "M_LIMIT_EXCEEDED"}, Retry_After="61"), 61),
        (
            http(
                429,
                {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 70_000},
                Retry_After="61",
            ),
            70,
        ),
        (
            http(
                429,
                {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1_000},
                Retry_After="61",
            ),
            61,
        ),
        (http(429, HTML, Retry_After="99"), 99),
        (refusal(429, "M_LIMIT_EXCEEDED"), 5),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms="soon"), 5),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=-3), 5),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=True), 5),
        (http(429, HTML, Retry_After="9" * 5000), 5),
    ],
)
async def test_rate_limit(server: Server, said: bytes, asked: float) -> None:
    """Header or body, the longer counts; longer than the patience, it is an error."""
    server.script = [said]
    async with wire_to(server.url, patience=2.0) as wire:
        with pytest.raises(RateLimited) as caught:
            await wire.joined_rooms()
    assert caught.value.retry_after == asked
    assert len(server.asked) == 1


async def test_rate_limit_by_date(server: Server) -> None:
    """Retry-After may be a date."""
    server.script = [http(429, HTML, Retry_After=date_in(100))]
    async with wire_to(server.url) as wire:
        with pytest.raises(RateLimited) as caught:
            await wire.joined_rooms()
    assert 95 < caught.value.retry_after <= 100


async def test_a_short_wait_is_waited(server: Server) -> None:
    """Within the patience a read waits as long as it is told, and no less."""
    limited = refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=400)
    server.script = [limited, PASS["joined_rooms"]]
    began = time.monotonic()
    async with wire_to(server.url, patience=20.0) as wire:
        assert await wire.joined_rooms() == frozenset()
    assert time.monotonic() - began >= 0.4


async def test_soft_logout_is_kept(server: Server) -> None:
    """A refused token says whether the device lives on; the client keeps its token."""
    server.script = [refusal(401, "M_UNKNOWN_TOKEN", soft_logout=True)]
    async with client_to(server.url) as client:
        with pytest.raises(TokenRefused) as caught:
            await Wire(client).whoami()
        assert caught.value.soft_logout
        assert client.access_token == TOKEN


async def test_redirect(server: Server) -> None:
    """What is sent elsewhere loses its token, and a POST its body: it is no success."""
    server.script = [http(302, b"", Location=f"{server.url}/login"), http(200, {})]
    async with wire_to(server.url) as wire:
        with pytest.raises(NotAHomeserver, match=server.url):
            await wire.invite("!r", "@a:hs")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [302, 307])
async def test_a_redirect_to_somebody_else(
    server: Server, status: int, name: str
) -> None:
    """They see neither the token nor what was to be written."""
    other = Server(script=[PASS.get(name, http(200, {"room_id": "!r"}))])
    async with await asyncio.start_server(other.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/login"
        server.script = [http(status, b"", Location=url)]
        async with wire_to(server.url) as wire:
            with pytest.raises(WireError):
                await CALLS[name](wire)
    for _, path, headers, body in other.asked:
        assert "authorization" not in headers
        assert (TOKEN in path, body) == (False, b"")


async def test_paths(server: Server) -> None:
    """Ids arrive as they are, whatever they are made of."""
    server.script = [http(200, {"event_id": "$e"})]
    key = "a/b#c?d%41 é😀&+$"
    async with wire_to(server.url) as wire:
        await wire.put_state("!v12-room", "io.x", key, {})
        with pytest.raises(ValueError, match="path"):
            await wire.put_state("!r", "io.x", "..", {})
        with pytest.raises(ValueError, match="path"):
            await wire.state("")
    path = server.asked[0][1]
    assert path.count("/") == 8
    assert path.startswith(
        "/_matrix/client/v3/rooms/!v12-room/state/io.x/a%2Fb%23c%3Fd%2541"
    )
    assert len(server.asked) == 1


async def test_what_is_asked(server: Server) -> None:
    """Positions, transactions and bodies arrive as they are."""
    server.script = [http(200, {"event_id": "$e", "next_batch": "s1", "chunk": []})]
    async with wire_to(server.url) as wire:
        await wire.send("!r", "m.x", "$e/0", {"a": 1})
        await wire.typing("!r", "@b:hs", 2000)
        await wire.typing("!r", "@b:hs", None)
        await wire.live_sync("s1~a&b", {"a": 1}, 20)
        await wire.messages(
            "!r", start="t1-2", end="s&1", limit=9, event_filter={"a": 1}
        )
    asked = [
        (method, path.removeprefix("/_matrix/client/v3"), body)
        for method, path, _, body in server.asked
    ]
    given = "filter=%7B%22a%22:1%7D"
    typing = "/rooms/!r/typing/@b:hs"
    since = "since=s1~a%26b&set_presence=offline&timeout=20"
    back = f"dir=b&from=t1-2&to=s%261&limit=9&{given}"
    assert asked == [
        ("PUT", "/rooms/!r/send/m.x/$e%2F0", b'{"a":1}'),
        ("PUT", typing, b'{"typing":true,"timeout":2000}'),
        ("PUT", typing, b'{"typing":false}'),
        ("GET", f"/sync?{given}&{since}", b""),
        ("GET", f"/rooms/!r/messages?{back}", b""),
    ]


async def test_a_long_poll_is_no_silence(server: Server) -> None:
    """A server may take as long as it was allowed to wait, and then a request's time."""
    server.script = [HANG]
    clock = asyncio.get_running_loop().time
    async with wire_to(server.url) as wire:
        began = clock()
        with pytest.raises(Unreachable):
            await wire.live_sync("s1", {}, 400)
    assert clock() - began >= SECONDS + 0.4


async def test_a_profile_without_a_name(server: Server) -> None:
    """Nobody known, nothing to show, or no name: there is none; all else is a failure."""
    server.script = [
        refusal(404, "M_NOT_FOUND"),
        refusal(403, "M_FORBIDDEN"),
        http(200, {}),
        http(200, {"displayname": None}),
        http(200, {"displayname": "Al"}),
        http(404, HTML),
    ]
    async with wire_to(server.url) as wire:
        found = [await wire.display_name("@a:hs") for _ in range(5)]
        with pytest.raises(NotAHomeserver):
            await wire.display_name("@a:hs")
    assert found == [None, None, None, None, "Al"]


async def test_every_snapshot_asks_for_something_new(server: Server) -> None:
    """Synapse repeats its answer to the same question for two minutes."""
    server.script = [http(200, {"next_batch": "s1"})]
    async with wire_to(server.url) as one, wire_to(server.url) as two:
        for wire in (one, two):
            await wire.sync_snapshot({"room": {"rooms": []}})
            await wire.sync_snapshot({"room": {"rooms": []}})
            await wire.live_token()
            await wire.live_token()
            await wire.invitations()
            await wire.invitations()
    paths = [path for _, path, _, _ in server.asked]
    assert len(set(paths)) == len(paths)
    assert all("since=" not in p and "set_presence=offline" in p for p in paths)
    assert all(0 < int(p.rpartition("timeout=")[2]) < 2_000_000 for p in paths)


async def test_the_token_goes_where_it_must(server: Server) -> None:
    """In a header, never in an address; not to an endpoint that needs none."""
    server.script = [http(200, {"versions": []}), http(200, {"joined_rooms": []})]
    async with wire_to(server.url) as wire:
        await wire.supports_sliding_sync()
        await wire.joined_rooms()
        assert (wire.requests, wire.received) == (2, 15 + 19)
    (_, _, without, _), (_, path, headers, _) = server.asked
    assert "authorization" not in without
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in path


@pytest.mark.parametrize(
    "token", ["", "with\r\nnewline", "with space", "ünicode", "\ud800"]
)
async def test_a_token_that_is_none(server: Server, token: str) -> None:
    """It is refused before it is sent, and not shown."""
    async with wire_to(server.url, token=token) as wire:
        with pytest.raises(TokenRefused) as caught:
            await wire.whoami()
    assert not token or token not in repr(caught.value)
    assert not server.asked


ECHO = http(403, {"errcode": TOKEN, "error": f"no:\n\x1b[31m {TOKEN}", "x": TOKEN})


@pytest.mark.parametrize(
    "said",
    [
        *(said for said, _, _ in FAULTS.values()),
        HANG,
        ECHO,
        http(401, {"errcode": "M_UNKNOWN_TOKEN", "error": TOKEN}),
        http(200, {"errcode": TOKEN}),
        http(200, TOKEN.encode()),
        b"HTTP/1.1 " + TOKEN.encode() + b"\r\n\r\n",
        http(302, b"", Location=f"http://127.0.0.1:1/?{TOKEN}"),
    ],
)
@pytest.mark.parametrize("name", ["joined_rooms", "invite"])
async def test_the_token_is_never_shown(
    server: Server, name: str, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by an error, its causes or its traceback with all variables, nor by a log."""
    caplog.set_level(logging.DEBUG)
    server.script = [said]
    async with wire_to(server.url, patience=0.3) as wire:
        with pytest.raises(WireError) as caught:
            await CALLS[name](wire)
        shown = [repr(wire), str(wire)]
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    # The test's own frame knows the token; what it called must not.
    frames = [f for f in whole.stack if "/tests/" not in f.filename]
    shown += [str(error), repr(error), repr(vars(error))]
    if TOKEN.encode() not in said or b" 200 " not in said:  # it is no refusal then
        shown += [repr(f.locals) + str(f.line) for f in frames]
    shown += [repr(vars(record)) for record in caplog.records]
    while error := error.__context__:
        shown += [str(error), repr(error), repr(vars(error))]
    assert not [text for text in shown if TOKEN in text]


async def test_the_client_is_left_alone(server: Server) -> None:
    """The live client's position, rooms and account are none of the wire's business."""
    async with client_to(server.url) as client:
        before = {k: v for k, v in vars(client).items() if k != "client_session"}
        server.script = [http(200, {"next_batch": "s9", "rooms": {}})]
        await Wire(client).sync_snapshot({})
        server.script = [http(200, {"user_id": "@other:hs", "device_id": "D"})]
        assert await Wire(client).whoami() == ("@other:hs", "D")
        after = {k: v for k, v in vars(client).items() if k != "client_session"}
        assert after == before


@pytest.mark.parametrize(
    "error", [Unreachable, ServerFault, Forbidden, NotFound, Unexpected]
)
def test_errors_are_sentences(error: type[WireError]) -> None:
    """An error says what happened and what to do."""
    assert str(error("it rained")).startswith("it rained: ")
    assert error("it rained", status=418).brief == "418"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


MATRIX_ERRORS = st.fixed_dictionaries(
    {
        "errcode": JSON | st.text("MABC_", max_size=5),
        "retry_after_ms": JSON,
        "error": JSON,
        "soft_logout": JSON,
    }
)


@given(
    st.integers(100, 599),
    st.binary() | (JSON | MATRIX_ERRORS).map(lambda value: json.dumps(value).encode()),
    st.none() | st.floats(0, 1e9),
)
def test_any_answer(status: int, content: bytes, wait: float | None) -> None:
    """Any bytes are an object, a list, or an error of ours."""
    try:
        found: Any = answer(status, content, wait)
    except WireError as error:
        found = error
    if isinstance(found, WireError):
        assert found.status == status
    else:
        assert 200 <= status < 300
        assert isinstance(found, list) or "errcode" not in found


@given(st.text() | st.integers().map(str) | st.datetimes().map(str))
def test_any_header(text: str) -> None:
    """Whatever Retry-After holds, it is a number of seconds or nothing."""
    found = retry_after(text, datetime.now(UTC))
    assert found is None or 0 <= found < 10**12


# On a real server


async def test_rooms_and_words(bot: Account, person: Account) -> None:
    """What the bot makes, joins, says and leaves is there for others to see."""
    async with wire_of(bot) as wire:
        room = await wire.create_room({"preset": "private_chat", "name": "Ours"})
        await wire.invite(room, person.user_id)
        assert await wire.invited_members(room) == {person.user_id}
        await person.join(room)
        assert await wire.invited_members(room) == frozenset()
        said = {"msgtype": "m.notice", "body": "once"}
        first = await wire.send(room, "m.room.message", "$event/0", said)
        assert await wire.send(room, "m.room.message", "$event/0", said) == first
        await wire.typing(room, bot.user_id, 2000)
        await wire.typing(room, bot.user_id, None)
        both = {bot.user_id, person.user_id}
        assert await wire.joined_members(room) == both
        assert [event["content"]["body"] for event in await words(person, room)] == [
            "once"
        ]
        await wire.leave(room)
        with pytest.raises(Forbidden):
            await wire.joined_members(room)
    assert list(await person.joined_rooms()) == [room]


async def test_single_state_events(bot: Account, person: Account) -> None:
    """They are as they stand among all of them, with their senders."""
    room = await person.create_room(name="Theirs", invite=[bot.user_id])
    async with wire_of(bot) as wire:
        await wire.join(room)
        for kind, key in [("m.room.create", ""), ("m.room.member", bot.user_id)]:
            found = await wire.state_event(room, kind, key)
            every = await wire.state(room)
            (same,) = [e for e in every if (e["type"], e["state_key"]) == (kind, key)]
            assert found is not None
            names = ("sender", "content", "event_id", "origin_server_ts")
            assert [found[name] for name in names] == [same[name] for name in names]
        with pytest.raises(NotFound):
            await wire.state_event(room, "m.room.encryption")
        await person.kick(room, bot.user_id)
        found = await wire.state_event(room, "m.room.member", bot.user_id)
        assert found is not None
        assert (found["sender"], found["content"]["membership"]) == (
            person.user_id,
            "leave",
        )


async def test_names(bot: Account, person: Account) -> None:
    """A name is what the profile says now; who does not exist has none."""
    async with wire_of(bot) as wire:
        path = f"profile/{person.user_id}/displayname"
        await person.call("PUT", path, {"displayname": "Älice ✨"})
        assert await wire.display_name(person.user_id) == "Älice ✨"
        nobody = "@nobody:" + person.user_id.partition(":")[2]
        assert await wire.display_name(nobody) is None


async def test_invitations(bot: Account, person: Account) -> None:
    """All open invitations are seen, and nothing of any room that the bot is in."""
    open_, declined, accepted, kicked = [
        await person.create_room(invite=[bot.user_id], is_direct=True) for _ in range(4)
    ]
    async with wire_of(bot) as wire:
        found = await wire.invitations()
        every = {open_, declined, accepted, kicked}
        assert set(found["rooms"]["invite"]) == every
        await wire.leave(declined)
        await wire.join(accepted)
        await wire.join(accepted)  # joined already is a success
        await wire.join(kicked)
        await person.kick(kicked, bot.user_id)
        found = await wire.invitations()
    assert found["rooms"].keys() == {"invite"}
    assert found["rooms"]["invite"].keys() == {open_}


async def words(account: Account, room: str) -> list[dict[str, Any]]:
    """The messages of a room, the oldest first."""
    events = await account.messages(room)
    return [event for event in reversed(events) if event["type"] == "m.room.message"]


@asynccontextmanager
async def wire_of(account: Account) -> AsyncIterator[Wire]:
    async with client_to(account.url, account.login.access_token) as client:
        yield Wire(client)
