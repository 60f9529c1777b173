"""How often a running bot looks for reference cycles: seldom.

A pass makes a few million small values that last and are in no cycle. With Python's own
thresholds they are searched again and again: that is a third of a pass over 20,000 rooms,
and at the end the event loop stands still for half a second.
"""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 2_500
"""Values more than at the last look, until the new ones are searched."""
_MIDDLE: Final = 2
"""Such looks, until all that is new since the last two is searched: 5 ms."""
_OLD: Final = 4_000
"""Such looks, until everything may be: more than a pass over 300,000 rooms makes."""


def search_seldom() -> None:
    """Set the thresholds of this process; cycles are still found, only later."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
