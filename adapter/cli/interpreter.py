"""How Python is set in a running bot, so that messages are answered during a pass.

A pass makes a few million small values that last and are in no reference cycle. With
Python's own thresholds they are searched again and again: that is a third of a pass over
20,000 rooms, and at the end the event loop stands still for half a second. And a pass
computes in a thread, whom Python lets go on for 5 ms whenever another one waits: to find
the room of a message in the cache takes ten such turns.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

_YOUNG: Final = 2_500
"""Values more than at the last look, until the new ones are searched."""
_MIDDLE: Final = 2
"""Such looks, until all that is new since the last two is searched: 5 ms."""
_OLD: Final = 4_000
"""Such looks, until everything may be: more than a pass over 300,000 rooms makes."""
_TURN: Final = 0.0005
"""Seconds that a thread may go on while another waits. Nobody pays who does not wait."""


def answer_soon() -> None:
    """Set this process: cycles are found later, and whoever waits for a turn gets it soon."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_TURN)
