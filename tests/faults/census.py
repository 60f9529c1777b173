"""Runs a program, and lets it say what it holds whenever it gets a SIGUSR1.

    python -m tests.faults.census adapter.cli.main --config bot.yaml run

It goes to stderr as a line of JSON with the message `census 1`, then `census 2`, ... The program knows nothing
of it; it has to be one that runs an asyncio loop in its main thread.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import runpy
import signal
import sys
from itertools import count
from pathlib import Path

_numbers = count(1)


def main() -> None:
    """Run the module named first, with the rest as its arguments."""
    module, *arguments = sys.argv[1:]
    signal.signal(signal.SIGUSR1, _tell)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _tell(*_: object) -> None:
    # The handler runs in the main thread, in the middle of whatever the loop does.
    tasks = sorted(_name(task) for task in asyncio.all_tasks())
    gc.collect()
    counted = {
        "message": f"census {next(_numbers)}",
        "tasks": tasks,
        "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - their number only
        "memory_kb": _memory(),
    }
    print(json.dumps(counted), file=sys.stderr, flush=True)  # noqa: T201


def _name(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _memory() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) if found else 0


if __name__ == "__main__":
    main()
