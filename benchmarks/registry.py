"""Which parts the suite has. A part whose code is not there is not in the list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.harness import Outcome
from benchmarks.rows import (
    command_line,
    diffs,
    exports,
    messages,
    onboarding,
    passes,
    starts,
    whole_passes,
)
from benchmarks.setting import Setting
from benchmarks.world import World


class Part(NamedTuple):
    """Rows that are measured together."""

    numbers: tuple[int, ...]
    measure: Callable[[Setting], Awaitable[Outcome]]
    is_quick: bool = True
    """A small world shows it, as a ratio."""


PARTS: Final = (
    Part((1, 2, 3), starts.measure),
    Part((4, 5), passes.measure),
    Part((6, 7), whole_passes.measure),
    Part((8,), diffs.measure),
    Part((9,), exports.measure),
    Part((10,), onboarding.measure),
    Part((11,), messages.measure),
    Part((12,), command_line.measure, is_quick=False),
)

PROFILES: Final[Mapping[str, Callable[[World, Path], Awaitable[None]]]] = {
    "cold-start": starts.cold_starts,
    "restart": starts.restarts,
    "whole-pass": whole_passes.watched,
}
"""Name of the flame graph -> what it shows, done often enough to be seen."""
