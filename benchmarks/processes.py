"""Work in a process of its own: nobody else's heap, caches or garbage."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def alone(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """Nothing inside is searched for cycles: when that comes is chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def memory(what: Literal["VmRSS", "VmHWM"]) -> float:
    """MB of this process, now (VmRSS) or at its highest (VmHWM). Of Linux alone."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise AssertionError(what)
