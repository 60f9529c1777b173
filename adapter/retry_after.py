"""The header Retry-After, as homeservers and platforms send it (pure)."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

# HTTP knows whole seconds only (RFC 9110, 10.2.3); proxies send fractions all the same.
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds that the header asks for: a number, or a date after `now`."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None  # TypeError: a date without a zone is no http date
