"""What can become of a request between a bot and its homeserver: see `proxy`.

Another fault is another class with `meet`, and nothing else has to know of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from multidict import CIMultiDict

# What passes


@dataclass(slots=True)
class Seen:
    """One request. Neither bodies nor tokens are kept."""

    number: int
    """1 for the first request that arrived."""
    method: str
    path: str
    """Percent-encoded as it was sent, without its query."""
    query: Mapping[str, str]
    """Decoded, without `access_token`."""
    reached: bool = False
    """Whether it was passed on to the server."""
    status: int | None = None
    """What the client was told; `None` while it waits, and if it never was."""


class Reply(NamedTuple):
    """An answer, with its headers as the server sent them."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class ConnectionClosed(Exception):  # noqa: N818 - an outcome, not somebody's mistake
    """The client gets no answer: its connection is closed."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way, as a fault sees it."""

    seen: Seen
    forward: Callable[[], Awaitable[Reply]]
    """Pass the request on and return what the server says; `ConnectionClosed` if the
    server does not answer."""
    client_left: Callable[[], Awaitable[bool]]
    """Tell whether the client has gone; news of its death is given time to arrive."""
    strike: Callable[[], None]
    """Say that the fault has happened; else it has once `meet` is over."""


# Faults


class Fault(Protocol):
    """What becomes of a request: a reply for the client, or `ConnectionClosed`."""

    async def meet(self, exchange: Exchange, /) -> Reply: ...


Action = Callable[[], object]
"""What a test does at a certain moment; an awaitable result is awaited."""


@dataclass(frozen=True, slots=True)
class Before:
    """Act before the server hears of the request, which then goes on.

    If the action ended the client, as `BotProcess.kill` does, the server never hears."""

    action: Action

    async def meet(self, exchange: Exchange, /) -> Reply:
        await _done(self.action)
        if await exchange.client_left():
            raise ConnectionClosed
        return await exchange.forward()


@dataclass(frozen=True, slots=True)
class After:
    """Act after the server has answered and before the client hears of it."""

    action: Action

    async def meet(self, exchange: Exchange, /) -> Reply:
        reply = await exchange.forward()
        await _done(self.action)
        return reply


@dataclass(frozen=True, slots=True)
class Drop:
    """Lose the answer: the server has done it, and the connection closes.

    aiohttp sends a GET or PUT once more by itself, unless its body can be read once
    only. What such a client has to notice takes `times=2`; so it is with `Refuse`."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        await exchange.forward()
        raise ConnectionClosed


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close the connection; the server never hears. To the client it is as `Drop`.

    For connections that are refused outright, which says more, see `Proxy.away`."""

    async def meet(self, _exchange: Exchange, /) -> Reply:
        raise ConnectionClosed


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer in the server's place; the server never hears."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    """`Content-Type` is `application/json` unless it is given."""

    async def meet(self, _exchange: Exchange, /) -> Reply:
        headers = CIMultiDict({"Content-Type": "application/json"})
        headers.update(self.headers)
        return Reply(self.status, headers, self.body)


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; the server never hears. It ends with the client, or the proxy."""

    async def meet(self, exchange: Exchange, /) -> Reply:
        exchange.strike()
        while not await exchange.client_left():
            pass
        raise ConnectionClosed


async def _done(action: Action) -> None:
    result = action()
    if inspect.isawaitable(result):
        await result
