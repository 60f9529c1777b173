"""Over HTTP a turn ends in messages or in an error that says who can act, and no secret leaks."""

from __future__ import annotations

import asyncio
import gzip
import logging
import re
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from adapter.config import PlatformSettings, Secret
from adapter.platform import platform
from adapter.platform.base import (
    BadAnswer,
    Format,
    Message,
    Platform,
    PlatformBusy,
    PlatformError,
    PlatformMisconfigured,
    PlatformRefused,
    PlatformUnreachable,
    Turn,
)
from adapter.platform.http import (
    ATTEMPTS,
    MOST_BYTES,
    MOST_MESSAGES,
    http,
    messages,
)
from adapter.retry_after import retry_after

PAGE = Path(__file__).parents[3] / "docs" / "platform-http.md"
TOKEN = "tok_c2VjcmV0_123456"  # noqa: S105 - of no platform
SECRET = "the word that nobody may log"  # noqa: S105 - what a person said
TURN = Turn("3f1c", "@alice:hs", "!room:hs", "$event", SECRET)
HELLO = {"messages": [{"text": "*Hello*", "format": "markdown"}, {"text": "2 * 2 * 2"}]}
GREETING = (Message("*Hello*", Format.MARKDOWN), Message("2 * 2 * 2"))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """Answers with `script`, whose last answer it repeats, and keeps what was asked."""

    url: str = ""
    script: list[Handler] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    at: list[float] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        handler = self.script[min(len(self.asked), len(self.script) - 1)]
        self.at.append(time.monotonic())
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.path_qs, headers, await request.read()))
        self.busy.set()
        return await handler(request)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A real server that says what the test wants it to say."""
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        made.url = str(server.make_url("/turns"))
        yield made


def says(
    status: int, body: object = b"", kind: str = "application/json", **headers: str
) -> Handler:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, body=content, content_type=kind, headers=named
        )

    return handler


async def resets(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def cuts(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"messages": [')
    assert request.transport
    request.transport.close()
    return response


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def drips(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def floods(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


OK = says(200, HELLO)


async def answer(
    service: Service, *, token: str | None = TOKEN, seconds: float = 5.0
) -> tuple[Message, ...]:
    async with http(service.url, token, seconds=seconds) as asked:
        return await asked.answer(TURN)


async def failure(service: Service, seconds: float = 5.0) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        await answer(service, seconds=seconds)
    return caught.value


async def test_it_asks_what_the_contract_says(service: Service) -> None:
    """Path, headers and body are those of docs/platform-http.md, and no others."""
    service.script = [OK]
    settings = PlatformSettings("http", None, f"{service.url}?a=b", Secret(TOKEN), 5.0)
    async with platform(settings) as asked:
        assert await asked.answer(TURN) == GREETING
    ((path, headers, body),) = service.asked
    assert path == "/turns?a=b"
    assert headers["idempotency-key"] == "$event"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["content-type"] == "application/json"
    assert orjson.loads(body) == {
        "platform_chat_id": "3f1c",
        "matrix_user_id": "@alice:hs",
        "room_id": "!room:hs",
        "event_id": "$event",
        "text": SECRET,
    }


async def test_without_a_token_there_is_no_header(service: Service) -> None:
    """A platform without a token is not asked with an empty one."""
    service.script = [OK]
    assert await answer(service, token=None) == GREETING
    assert "authorization" not in service.asked[0][1]


@pytest.mark.parametrize(
    "event_id", ["$\r\nAuthorization: x", "$é", "$a b", "$%41", "$\ud800", "$\x00"]
)
async def test_an_odd_event_id_stays_one_header(
    service: Service, event_id: str
) -> None:
    """What a header cannot carry is percent-encoded, and two ids stay two."""
    service.script = [OK]
    async with http(service.url) as asked:
        await asked.answer(Turn("c", "@a:hs", "!r", event_id, "\ud800"))
    ((_, headers, _),) = service.asked
    assert re.fullmatch(r"\$[\x21-\x7e]+", headers["idempotency-key"])
    assert "authorization" not in headers
    assert headers["idempotency-key"] not in {"$A", event_id}


@pytest.mark.parametrize(
    "fault",
    [says(429), says(502, b"<html>"), says(503), says(504), resets, cuts],
    ids=["429", "502", "503", "504", "reset", "cut"],
)
async def test_what_passes_is_asked_again(service: Service, fault: Handler) -> None:
    """After a fault that may pass the same turn is asked again, under the same key."""
    service.script = [fault, fault, OK]
    assert await answer(service) == GREETING
    assert len(service.asked) == 3
    assert len({headers["idempotency-key"] for _, headers, _ in service.asked}) == 1
    assert len({body for *_, body in service.asked}) == 1


@pytest.mark.parametrize("fault", [says(503), resets], ids=["503", "reset"])
async def test_it_gives_up_after_a_few(service: Service, fault: Handler) -> None:
    """A fault that stays is worth another try later, and is told so."""
    service.script = [fault]
    found = await failure(service)
    assert isinstance(found, PlatformBusy)
    assert len(service.asked) == ATTEMPTS
    assert "few minutes" in found.for_room


@pytest.mark.parametrize("hang", [drips, hangs])
async def test_each_attempt_has_a_time_of_its_own(
    service: Service, hang: Handler
) -> None:
    """A platform that hangs, or drips, is left after the timeout and asked again."""
    service.script = [hang, OK]
    started = time.monotonic()
    assert await answer(service, seconds=0.8) == GREETING
    assert 0.8 <= time.monotonic() - started < 30


async def test_nobody_there_is_unreachable() -> None:
    """A refused connection names the platform's address, and nothing else of its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/hooks/{TOKEN}"
    async with http(url) as asked:
        with pytest.raises(PlatformUnreachable, match=f"127.0.0.1:{port} ") as caught:
            await asked.answer(TURN)
        assert TOKEN not in str(caught.value) + repr(asked)


@pytest.mark.parametrize("date", [False, True])
async def test_retry_after_is_honoured(service: Service, date: bool) -> None:
    """It waits as long as it is asked to, in seconds or until a date."""
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    service.script = [says(429, Retry_After=until if date else "1"), OK]
    assert await answer(service) == GREETING
    assert service.at[1] - service.at[0] >= 0.9


async def test_a_long_retry_after_is_handed_on(service: Service) -> None:
    """Nobody waits an hour for an answer: the caller is told how long it would be."""
    service.script = [says(503, Retry_After="3600")]
    found = await failure(service)
    assert isinstance(found, PlatformBusy)
    assert found.retry_after == 3600
    assert len(service.asked) == 1


@pytest.mark.parametrize("header", ["", "soon", "-1", "1.5.2", "9" * 400, "²"])
def test_a_senseless_retry_after_is_none(header: str) -> None:
    assert retry_after(header, datetime.now(UTC)) is None


def test_a_date_in_the_past_is_no_wait() -> None:
    assert retry_after("Mon, 01 Jan 2001 00:00:00 GMT", datetime.now(UTC)) == 0


LASTING: dict[str, tuple[Handler, type[PlatformError], str]] = {
    "refused": (says(400), PlatformRefused, "400"),
    "conflict": (says(409), PlatformRefused, "409"),
    "broken": (says(500), PlatformRefused, "log says why"),
    "token": (says(401), PlatformMisconfigured, "correct `platform`"),
    "url": (says(404, b"<html>"), PlatformMisconfigured, "404"),
    "moved": (says(302, Location="/else"), PlatformMisconfigured, "redirects"),
    "moved for good": (says(308, Location="/"), PlatformMisconfigured, "redirects"),
    "html": (says(200, b"<html>", "text/html"), BadAnswer, "no JSON"),
    "nothing": (says(200), BadAnswer, "no JSON"),
    "no content": (says(204), BadAnswer, "no JSON"),
    "no UTF-8": (says(200, b"\xff\xfe"), BadAnswer, "no JSON"),
    "deep": (says(200, b"[" * 99_999), BadAnswer, "no JSON"),
    "a list": (says(200, []), BadAnswer, "expected an object"),
    "no list": (
        says(200, {"messages": {}}),
        BadAnswer,
        r"\$\.messages: expected a list",
    ),
    "many": (
        says(200, {"messages": [{"text": "x"}] * (MOST_MESSAGES + 1)}),
        BadAnswer,
        "at most 16",
    ),
    "huge": (says(200, b" " * MOST_BYTES + b"{}"), BadAnswer, "262144 bytes"),
    "packed": (
        says(200, gzip.compress(b" " * 10**8), Content_Encoding="gzip"),
        BadAnswer,
        "262144 bytes",
    ),
    "endless": (floods, BadAnswer, "262144 bytes"),
}


@pytest.mark.parametrize(("script", "kind", "why"), LASTING.values(), ids=LASTING)
async def test_what_stays_wrong_is_not_asked_again(
    service: Service, script: Handler, kind: type[PlatformError], why: str
) -> None:
    """Whatever trying again cannot mend is one question, and says who can act."""
    service.script = [script]
    found = await failure(service)
    assert type(found) is kind
    assert re.search(why, str(found))
    assert len(service.asked) == 1


async def test_what_is_wrong_is_told_at_once_and_by_place(service: Service) -> None:
    """Every place is named, and no value: that would be a word of the conversation."""
    wrong = [{"text": SECRET, "format": SECRET}, {"text": " \n"}, SECRET, {"text": 1}]
    service.script = [says(200, {"messages": wrong})]
    found = str(await failure(service))
    assert '$.messages[0].format: expected "markdown" or "plain"' in found
    assert "$.messages[1].text: expected a text" in found
    assert "$.messages[2]: expected an object" in found
    assert "$.messages[3].text" in found
    assert SECRET not in found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "text", "format"]), inner)
    ),
)


@given(JSON | st.fixed_dictionaries({"messages": st.lists(JSON, max_size=3)}))
def test_any_json_is_messages_or_a_sentence(value: object) -> None:
    """No JSON is so odd that it raises, or gets through unchecked."""
    found = messages(orjson.dumps(value))
    if isinstance(found, tuple):
        assert isinstance(value, dict)
        assert [m.text for m in found] == [m["text"] for m in value["messages"]]
        assert all(m.text.strip() for m in found)
        assert all(isinstance(m.format, Format) for m in found)


async def repeats(request: web.Request) -> web.StreamResponse:
    """A server that tells everybody what it was told."""
    told = f"{request.headers.get('Authorization')} {(await request.read()).decode()}"
    return web.Response(status=418, text=told, reason=f"Teapot {TOKEN}")


@pytest.mark.parametrize(
    "script",
    [repeats, says(503), resets, cuts, says(302, Location="/"), OK, drips],
    ids=["repeats", "503", "resets", "cuts", "302", "ok", "drips"],
)
async def test_neither_token_nor_word_leaks(
    service: Service, script: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """No log, error, chain of causes, traceback or repr holds them."""
    service.script = [script]
    caplog.set_level(logging.DEBUG)
    async with http(service.url, TOKEN, seconds=0.5) as asked:
        (ended,) = await asyncio.gather(asked.answer(TURN), return_exceptions=True)
        shown = repr(ended) + repr(asked) + repr(TURN)
    if isinstance(ended, PlatformError):
        frames = traceback.walk_tb(ended.__traceback__)
        told = traceback.StackSummary.extract(frames, capture_locals=True)
        shown += "".join(told.format()) + str(ended) + ended.for_room
        assert "_ask" in shown
        assert ended.__cause__ is None
        assert ended.__context__ is None
    for record in caplog.records:
        if record.name != "aiohttp.access":  # the server's own
            shown += f"{record.getMessage()} {record.__dict__}"
    assert TOKEN not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://127.0.0.1:1", "to\nken"),
        ("http://127.0.0.1:1", "tökén"),
        ("http://127.0.0.1:1", ""),
        ("ftp://127.0.0.1", None),
        ("http://[::1", None),
        ("http://user:word@127.0.0.1:1", TOKEN),
    ],
)
async def test_settings_that_cannot_work_say_so(url: str, token: str | None) -> None:
    """A token or URL that HTTP cannot carry is the configuration's fault."""
    with pytest.raises(PlatformMisconfigured, match="correct `platform`") as caught:
        async with http(url, token) as asked:
            await asked.answer(TURN)
    assert not token or token not in str(caught.value)
    assert "word" not in str(caught.value)


async def test_a_cancelled_turn_is_cancelled(service: Service) -> None:
    """Shutting down does not wait for an answer, and is no fault of the platform."""
    service.script = [hangs]
    task = asyncio.create_task(answer(service))
    await service.busy.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def when_it_is_up(asked: Platform, turn: Turn) -> tuple[Message, ...]:
    """The server of the page takes a moment to start."""
    for _ in range(30):
        try:
            return await asked.answer(turn)
        except PlatformUnreachable:
            await asyncio.sleep(0.2)
    raise AssertionError


async def test_the_server_of_the_page_works(tmp_path: Path) -> None:
    """Copied from the page and run as it says there, it keeps the contract."""
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 13
    file = tmp_path / "platform_server.py"
    file.write_text(program, "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(file), str(port), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}/turns"
        async with http(url, "a-long-random-text") as asked:
            first = await when_it_is_up(asked, TURN)
            assert first == (Message(f"You said **{SECRET}**", Format.MARKDOWN),)
            other = Turn("3f1c", "@alice:hs", "!room:hs", TURN.event_id, "another")
            assert await asked.answer(other) == first
        async with http(url, "wrong") as asked:
            with pytest.raises(PlatformMisconfigured, match="401"):
                await asked.answer(TURN)
    finally:
        process.terminate()
        await process.wait()
