"""Waiting for a server or a disk that is away for a while."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from adapter.matrix.errors import TokenRefused, WireError, WrongToken
from adapter.matrix.faults import DatabaseDamaged, StoreError
from controller.loop import asked, delay

if TYPE_CHECKING:
    from adapter.matrix.wire import Wire

log = logging.getLogger(__name__)

T = TypeVar("T")

HOPELESS: Final = (TokenRefused, WrongToken, DatabaseDamaged)
"""What no waiting mends: a person has to, or the next start, which makes a cache anew."""
MOST: Final = 60.0
"""Seconds of the longest wait, unless the server asks for more."""


async def reached(
    call: Callable[[], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> T:
    """What `call` returns, which may be repeated, however long that takes.

    Raises what is `HOPELESS`, and whatever is neither the server's nor the disk's."""
    for attempt in itertools.count(1):
        try:
            return await call()
        except HOPELESS:
            raise
        except (WireError, StoreError) as error:
            wait = max(delay(attempt, chance(), most=MOST), asked(error))
            log.warning(
                "waiting, then again", extra={"error": str(error), "wait": round(wait)}
            )
        await sleep(wait)
    raise AssertionError  # it counts for ever


async def lives(wire: Wire) -> bool:
    """Whether the server answers, so that it is one thing alone that it fails at."""
    try:
        await wire.joined_rooms()
    except WireError:
        return False
    return True
