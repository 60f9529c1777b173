"""Child processes that do not outlive this one, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

# The child holds the read end of a pipe of which its parent has the only write end.
# However the parent ends, also by SIGKILL, the read ends too, on every POSIX system.
_CHILD: Final = """
import os, runpy, sys, threading

def end_with_parent():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def leashed(module: str, *arguments: str) -> list[str]:
    """Return the command that runs `module` as `python -m` does, for as long as this
    process lives. It has to be started with a pipe as its stdin."""
    return [sys.executable, "-P", "-c", _CHILD, module, *arguments]


def spacekeeper(*arguments: str) -> list[str]:
    """Return the command of this very program with `arguments`, on a leash."""
    return leashed("adapter.cli.main", *arguments)


def bare_environment() -> dict[str, str]:
    """Return the environment of this process without settings of a bot, which would win
    over a config file; our packages are found in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SPACEKEEPER_")}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}
