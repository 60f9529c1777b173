"""Record where the time of a row goes: a flame graph of each profile in the registry.

    python -m benchmarks.profiling [--spaces 200]

py-spy watches a process of its own, in which one thing is done again and again; what the
homeserver does meanwhile is not in the picture.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from adapter.cli.account import http_session
from benchmarks.registry import PROFILES
from benchmarks.setting import CACHE, FULL, setting
from benchmarks.world import HOMESERVER, told

PY_SPY: Final = Path(sys.executable).with_name("py-spy")
FOLDER: Final = Path("docs/profiles")
RATE: Final = "250"
"""Looks a second."""


async def record(spaces: int) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with setting(replace(FULL, spaces=spaces), CACHE) as found:
        for name, done in PROFILES.items():
            # Once unwatched: the server is warm then, and what a restart finds is there.
            await done(found.large, found.scratch)
            graph = FOLDER / f"{name}.svg"
            await asyncio.to_thread(
                subprocess.run,
                (
                    *(str(PY_SPY), "record", "--rate", RATE, "--function"),
                    *("--output", str(graph), "--"),
                    *(sys.executable, "-m", "benchmarks.profiling"),
                    *("--work", name, found.server.url, str(found.scratch)),
                ),
                check=True,
            )
            graph.write_text(titled(graph.read_text(), name))


def titled(graph: str, title: str) -> str:
    """The graph under a title, where py-spy writes a command with paths of this machine."""
    return re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", graph, count=1)


async def work(name: str, url: str, scratch: Path) -> None:
    """What is watched."""
    async with http_session() as session:
        large, _ = told(scratch / HOMESERVER, url, session)
        await PROFILES[name](large, scratch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", type=int, default=FULL.spaces)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        asyncio.run(work(args.work[0], args.work[1], Path(args.work[2])))
    else:
        asyncio.run(record(args.spaces))
