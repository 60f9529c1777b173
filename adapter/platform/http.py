"""A service that is asked over HTTP: the contract of docs/platform-http.md, from our side.

Whatever the service does, a turn ends in messages or in a `PlatformError`. An error holds
a status and places in the answer, never words of either side, and no library's error is
chained to it: those can hold the headers of the request, and with them the token."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
import stamina

from adapter.plain_text import whole
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
from adapter.retry_after import retry_after

ATTEMPTS: Final = 3
"""How often one turn is asked at most."""

PATIENCE: Final = 30.0
"""The longest Retry-After, in seconds, that is waited for with the person waiting too."""

MOST_BYTES: Final = 256 * 1024
"""The longest answer, unpacked."""

MOST_MESSAGES: Final = 16
"""The most messages of an answer."""

_FIRST_WAIT: Final = 0.2  # seconds, also where the platform says 0
_BUSY: Final = frozenset({429, 502, 503, 504})
_SETTINGS: Final = frozenset({401, 403, 404, 405, 407})
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_PRINTABLE: Final = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) != "%")


class HttpPlatform:
    """See `http`, which makes it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, seconds: float):
        self._session = session
        self._url = url
        self._seconds = seconds
        self._where = f"the platform at {_origin(url)}"

    def __repr__(self) -> str:
        return f"<{self._where}>"

    async def answer(self, turn: Turn) -> tuple[Message, ...]:
        """Ask, and again while that may help; the event id keeps it one turn."""
        async for attempt in stamina.retry_context(
            on=_again,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=_FIRST_WAIT,
            wait_jitter=0.1,
        ):
            with attempt:
                return await self._ask(turn)
        raise AssertionError  # the last attempt returns or raises

    async def _ask(self, turn: Turn) -> tuple[Message, ...]:
        status, wait, content = await self._exchange(turn)
        if status // 100 != 2:
            raise _refusal(self._where, status, wait)
        if len(content) > MOST_BYTES:
            msg = f"{self._where} sent an answer of more than {MOST_BYTES} bytes"
            raise BadAnswer(msg)
        found = messages(content)
        if isinstance(found, str):
            msg = f"{self._where} sent no valid answer ({found})"
            raise BadAnswer(msg)
        return found

    async def _exchange(self, turn: Turn) -> tuple[int, float | None, bytes]:
        """Send one request: the status, what Retry-After says, and a success's body."""
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.post(
                    self._url,
                    data=_body(turn),
                    headers={"Idempotency-Key": _key(turn.event_id)},
                    allow_redirects=False,  # the token would travel along
                ) as response,
            ):
                header = response.headers.get("Retry-After")
                content = await _read(response) if response.ok else b""
                wait = retry_after(header, datetime.now(UTC))
                return response.status, wait, content
        except Exception as error:  # noqa: BLE001 - whatever network, TLS, proxy say
            failure = _failure(self._where, error, self._seconds)
        # Out here nothing is chained.
        raise failure


@asynccontextmanager
async def http(
    url: str, token: str | None = None, *, seconds: float = 60.0
) -> AsyncIterator[Platform]:
    """Make the platform at `url`; an attempt may take `seconds`.

    Nothing is asked yet. Raises `PlatformMisconfigured` for a token that no header can
    carry."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token is not None:
        if not _TOKEN.fullmatch(token):
            msg = "`platform.token` holds characters that cannot be sent"
            raise PlatformMisconfigured(msg)
        headers["Authorization"] = f"Bearer {token}"
    session = aiohttp.ClientSession(
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),  # every turn stands for itself
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        # Unlimited: who waits in its queue would lose the time for an answer.
        connector=aiohttp.TCPConnector(limit=0),
    )
    async with session:
        yield HttpPlatform(session, url, seconds)


def messages(content: bytes) -> tuple[Message, ...] | str:
    """Read an answer: the messages, or all that is wrong with it, place by place."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return "it is no JSON"
    if not isinstance(answer, dict):
        return "$: expected an object"
    listed = answer.get("messages")
    if not isinstance(listed, list):
        return "$.messages: expected a list"
    if len(listed) > MOST_MESSAGES:
        return f"$.messages: expected at most {MOST_MESSAGES}"
    problems = [
        f"$.messages[{index}]{problem}"
        for index, given in enumerate(listed)
        for problem in _problems(given)
    ]
    if problems:
        return "; ".join(problems)
    return tuple(
        Message(given["text"], Format(given.get("format", Format.PLAIN)))
        for given in listed
    )


def _problems(given: Any) -> list[str]:
    if not isinstance(given, dict):
        return [": expected an object"]
    found = []
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        found.append(".text: expected a text that is not empty")
    if given.get("format", Format.PLAIN) not in [*Format]:
        found.append('.format: expected "markdown" or "plain"')
    return found


def _again(error: Exception) -> bool | float:
    match error:
        case PlatformBusy(retry_after=None):
            return True
        case PlatformBusy(retry_after=float(wait)):
            return max(wait, _FIRST_WAIT) if wait <= PATIENCE else False
        case _:
            return False


def _body(turn: Turn) -> bytes:
    given: Mapping[str, str] = {
        "platform_chat_id": turn.platform_chat_id,
        "matrix_user_id": turn.matrix_user_id,
        "room_id": turn.room_id,
        "event_id": turn.event_id,
        "text": turn.text,
    }
    return orjson.dumps({name: whole(value) for name, value in given.items()})


def _key(event_id: str) -> str:
    """The event id as a header can carry it; nearly every one stays as it is."""
    return quote(whole(event_id), safe=_PRINTABLE)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or somewhat more of it than is taken: what is packed may be endless."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(16 * 1024):
        content += chunk
        if len(content) > MOST_BYTES:
            break
    return bytes(content)


def _refusal(where: str, status: int, wait: float | None) -> PlatformError:
    what = f"{where} answered {status}"
    if status in _BUSY:
        return PlatformBusy(what, wait)
    if status in _SETTINGS:
        return PlatformMisconfigured(what)
    if status // 100 == 3:
        return PlatformMisconfigured(f"{where} redirects ({status})")
    return PlatformRefused(what)


def _failure(where: str, error: Exception, seconds: float) -> PlatformError:
    """Say what an error of the transport means, by its kind and not its words."""
    match error:
        case TimeoutError():
            what = f"{where} did not answer within {seconds:g} s"
            return PlatformUnreachable(what)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            what = f"{where} has a certificate that cannot be trusted"
            return PlatformMisconfigured(what)
        case aiohttp.ClientConnectorError():
            return PlatformUnreachable(f"{where} cannot be reached")
        case aiohttp.ClientPayloadError():
            return PlatformUnreachable(f"{where} sent half an answer")
        case (
            aiohttp.ClientResponseError()  # neither answered in HTTP
            | aiohttp.NonHttpUrlClientError()
            | ValueError()  # InvalidURL is one
        ):
            return PlatformMisconfigured(f"{where} cannot be spoken to in HTTP")
        case _:
            what = f"{where} broke the connection off ({type(error).__name__})"
            return PlatformUnreachable(what)


def _origin(url: str) -> str:
    """Scheme, host and port of a URL: what may be shown of it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    return f"{parts.scheme or '?'}://{parts.netloc.rpartition('@')[2] or '?'}"
