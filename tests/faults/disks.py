"""Runs a program on a poor disk.

    python -m tests.faults.disks 200000 adapter.cli.main --config bot.yaml run

None of its files grows beyond so many bytes, or as far as it likes with `any`; and what
a file permits holds for the program whoever it is, root too."""

from __future__ import annotations

import ctypes
import resource
import runpy
import sys
from typing import Final

_VERSION_3: Final = 0x20080522  # linux/capability.h
_BYPASS: Final = ~((1 << 1) | (1 << 2))  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def main() -> None:
    """Run the module named second, with the rest as its arguments."""
    most, module = sys.argv[1:3]
    if most != "any":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
    _give_up_bypassing()
    del sys.argv[:2]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _give_up_bypassing() -> None:
    """Let the kernel look at permissions: for root, it looks the other way."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Twice effective, permitted, inheritable: first the lower 32 of each.
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for number in range(2):
        sets[number] &= _BYPASS
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    main()
