"""The faults that a homeserver, and whatever stands before it, is known for, by name.

    for name, fault in FAULTS.items():
        proxy.at("GET .*/joined_rooms", fault(), times=10)

Each is made anew for its use, because some remember what they met."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from tests.faults.kinds import (
    Alter,
    Answer,
    Drop,
    Fault,
    Hang,
    Overdue,
    Refuse,
    Reply,
    Request,
    Rewrite,
    Stale,
)

Json = dict[str, Any]
Make = Callable[[], Fault]

HTML: Final = {"Content-Type": "text/html"}


def refusal(
    status: int, errcode: str, headers: Json | None = None, **more: Any
) -> Make:
    """A Matrix error that the server never gave."""
    body = json.dumps({"errcode": errcode, "error": "a fault", **more}).encode()
    return lambda: Answer(status, body, headers or {})


def page(status: int) -> Make:
    """What a proxy says of itself, to people."""
    return lambda: Answer(status, b"<html><h1>A fault</h1></html>", HTML)


def limit(*, header: int | None = None, body: int | None = None) -> Make:
    """A rate limit that says how long: in seconds, in ms, or both."""
    return refusal(
        429,
        "M_LIMIT_EXCEEDED",
        None if header is None else {"Retry-After": str(header)},
        **({} if body is None else {"retry_after_ms": body}),
    )


# Answers that the server gave, and that were spoiled on the way


def _cut(reply: Reply) -> Reply:
    return reply._replace(body=reply.body[: len(reply.body) // 2])


def _bad_gzip(reply: Reply) -> Reply:
    reply.headers["Content-Encoding"] = "gzip"
    return reply._replace(body=b"\x1f\x8b" + reply.body)


def _without_rooms(reply: Reply) -> Reply:
    """Nothing of any room, though there are some: in all that lists rooms."""
    found = json.loads(reply.body)
    if isinstance(found, list):
        return reply._replace(body=b"[]")
    for name in found.keys() & {"rooms", "joined_rooms", "lists"}:
        del found[name]
    return reply._replace(body=json.dumps(found).encode())


# Requests that the server understood in another way

_EVERYTHING: Final[Json] = {"room": {"include_leave": True, "timeline": {"limit": 100}}}


def _unfiltered(request: Request) -> Request:
    """Ask for all state and for messages, whatever the client's filter says."""
    if request.method == "POST":
        body = json.loads(request.body)
        for part in body.get("lists", {}).values():
            part |= {"required_state": [["*", "*"]], "timeline_limit": 100}
        return request._replace(body=json.dumps(body).encode())
    path, _, query = request.target.partition("?")
    asked = {**dict(parse_qsl(query)), "filter": json.dumps(_EVERYTHING)}
    return request._replace(target=f"{path}?{urlencode(asked)}")


FAULTS: Final[Mapping[str, Make]] = {
    "429, wait in the body": limit(body=200),
    "429, wait in the header": limit(header=1),
    "429, wait in both": limit(header=1, body=200),
    "401": refusal(401, "M_UNKNOWN_TOKEN"),
    "401, soft logout": refusal(401, "M_UNKNOWN_TOKEN", soft_logout=True),
    "401, locked": refusal(401, "M_USER_LOCKED", soft_logout=True),
    "403": refusal(403, "M_FORBIDDEN"),
    "500": refusal(500, "M_UNKNOWN"),
    "502, HTML": page(502),
    "504, HTML": page(504),
    "200, HTML": page(200),
    "200, errcode": refusal(200, "M_UNKNOWN"),
    "200, {}": lambda: Answer(200),
    "200, no rooms": lambda: Alter(_without_rooms),
    "cut": lambda: Alter(_cut),
    "bad gzip": lambda: Alter(_bad_gzip),
    "closed": Refuse,
    "reset": lambda: Refuse(reset=True),
    "answer lost": Drop,
    "hangs": Hang,
    "overdue": Overdue,
    "stale": Stale,
    "filter ignored": lambda: Rewrite(_unfiltered),
}
"""Nobody who waits as told waits longer than a second."""

LOGGED_OUT: Final = frozenset({"401", "401, soft logout", "401, locked"})
"""What no waiting mends."""

SLOW: Final = frozenset({"hangs", "overdue"})
"""What costs the client its patience each time."""
