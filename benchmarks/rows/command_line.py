"""Row 12: what `spacekeeper --help` takes beyond the interpreter's own start."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

from adapter.cli.processes import completed
from benchmarks.harness import Outcome, Row, at_most, differences, figure, in_turn
from benchmarks.setting import Setting

SPACEKEEPER: Final = Path(sys.executable).with_name("spacekeeper")
ROUNDS: Final = 21
"""A start is short, and the noise of one is as large as what is measured."""


async def measure(setting: Setting) -> Outcome:
    del setting
    found = await in_turn(
        ROUNDS,
        {
            "help": lambda: _ms_of(str(SPACEKEEPER), "--help"),
            "pass": lambda: _ms_of(sys.executable, "-c", "pass"),
        },
    )
    ours, theirs = found["help"], found["pass"]
    row = Row(
        12,
        "`spacekeeper --help`, in addition",
        "`python -c pass`",
        at_most(150, "ms"),
        differences(ours, theirs),
        " / ".join(f"{figure(median(values))} ms" for values in (ours, theirs)),
    )
    return Outcome((row,))


async def _ms_of(*command: str) -> float:
    began = time.perf_counter()
    done = await completed(*command)
    took = time.perf_counter() - began
    if done.code:
        raise RuntimeError(done.stderr)
    return took * 1000
