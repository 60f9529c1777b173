"""HTTP answers -> JSON or an error: what counts as success, decided in one place (pure).

Success is a 2xx whose body is whole JSON without an `errcode`. A page of HTML is none,
whatever its status, and a refusal counts as Matrix's only with an `errcode`: a proxy's
404 says nothing about a room.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

import orjson

from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
)

_TOKEN_ERRORS: Final = frozenset(
    {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_LOCKED", "M_USER_DEACTIVATED"}
)
_ERRCODE: Final = re.compile(r"[A-Z][A-Z0-9_.]{1,63}")
_WAIT: Final = 5.0  # seconds, where a 429 does not say how long
_MOST: Final = 1e9  # ms: a longer wait is a mistake


def answer(status: int, content: bytes, wait: float | None = None) -> Any:
    """Return the JSON of a success, and raise a `WireError` for everything else.

    `wait` is what the header Retry-After said."""
    cut: Unreachable | None = None
    value: Any = None
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # What starts like JSON and ends too soon was cut on the way.
        if content.lstrip()[:1] in (b"{", b"[") and "unexpected end" in error.msg:
            cut = Unreachable(
                "the homeserver's answer was cut off", status=status, brief="cut"
            )
    errcode = _errcode(value)
    if status // 100 == 2 and not errcode:
        if cut:
            raise cut
        if not isinstance(value, dict | list):
            raise _not_matrix(status, content)
        return value
    raise _refusal(status, errcode, value, wait)


def reject(what: str) -> NoReturn:
    """Raise `Unexpected` for `what` of an answer that is not what the spec promises."""
    what = f"{what} has not the shape that Matrix says"
    raise Unexpected(what, brief="misshapen")


def _errcode(value: Any) -> str:
    """The body's errcode; "?" for one that cannot be shown, "" where there is none."""
    if not isinstance(value, dict) or "errcode" not in value:
        return ""
    code = value["errcode"]
    if isinstance(code, str) and _ERRCODE.fullmatch(code):
        return code
    return "?"


def _refusal(status: int, errcode: str, value: Any, wait: float | None) -> WireError:
    what = f"the homeserver answered {status} {errcode}".rstrip()
    if status >= 400:  # the rest contradicts itself, and is not quoted
        what += _said(value)
    if status == 429 or errcode == "M_LIMIT_EXCEEDED":
        seconds = _longer(wait, value)
        what = f"the homeserver asks to wait {seconds:g} s"
        return RateLimited(what, retry_after=seconds, status=status, errcode=errcode)
    if errcode in _TOKEN_ERRORS or (status == 401 and errcode):
        return TokenRefused(
            what,
            status=status,
            errcode=errcode,
            soft_logout=value.get("soft_logout") is True,
        )
    if status >= 500:
        return ServerFault(what, status=status, errcode=errcode)
    if not errcode and status >= 400:
        return NotAHomeserver(
            f"what answered {status} was not a Matrix server", status=status
        )
    match status, errcode:
        case 404, "M_UNRECOGNIZED":
            kind: type[WireError] = Unexpected  # the endpoint is missing, not the thing
        case 403, _:
            kind = Forbidden
        case 404, _:
            kind = NotFound
        case _:
            kind = Unexpected
    return kind(what, status=status, errcode=errcode)


def _not_matrix(status: int, content: bytes) -> WireError:
    if content.lstrip()[:1] in (b"{", b"["):
        return Unexpected("the homeserver sent JSON that cannot be read", status=status)
    what = f"what answered {status} sent no JSON, so it is not a Matrix server"
    return NotAHomeserver(what, status=status, brief="not JSON")


def _longer(wait: float | None, value: Any) -> float:
    """The longer of what header and body (deprecated since Matrix 1.10) ask for."""
    ms = value.get("retry_after_ms") if isinstance(value, dict) else None
    asked = [] if wait is None else [wait]
    if isinstance(ms, int | float) and not isinstance(ms, bool) and 0 <= ms <= _MOST:
        asked.append(ms / 1000)
    return max(asked, default=_WAIT)


def _said(value: Any) -> str:
    """The server's own words in brackets, shortened, on one line."""
    words = value.get("error") if isinstance(value, dict) else None
    if not isinstance(words, str) or not words:
        return ""
    shown = "".join(c if c.isprintable() else " " for c in words[:200])
    return f" ({shown.strip()})"
