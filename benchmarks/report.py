"""What a run found, as a table for the terminal and as docs/benchmarks.md."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from benchmarks.harness import Row, Verdict, figure
from benchmarks.peers.running import HERE
from benchmarks.rows.passes import EVENLY, STILL
from benchmarks.setting import CHATS, Pace

HEAD: Final = ("#", "what", "against", "goal", "measured", "ours / theirs", "")
_PACKAGES: Final = (
    *("spacekeeper", "matrix-synapse", "matrix-nio", "aiohttp", "orjson"),
    *("aiosqlite", "PyYAML", "jsonschema-rs"),
)


def line(row: Row) -> tuple[str, ...]:
    """One row of the table, as words."""
    unit = f" {row.goal.unit}".rstrip()
    measured = figure(row.median)
    if row.noise:
        measured += f" ± {figure(row.noise, like=row.median)}"
    return (
        str(row.number),
        row.what,
        row.against,
        str(row.goal),
        measured + unit,
        row.figures,
        row.verdict.value,
    )


def terminal(rows: Iterable[Row]) -> str:
    """The table with its columns aligned."""
    lines = [HEAD, *map(line, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(one, widths, strict=True)
        ).rstrip()
        for one in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEAD, ("---",) * len(HEAD), *map(line, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def document(
    rows: Sequence[Row],
    plots: Mapping[str, str],
    profiles: Sequence[str],
    pace: Pace,
    seconds: float,
) -> str:
    """docs/benchmarks.md. `plots` are files, relative to it, and what they show;
    `profiles` are names of flame graphs in docs/profiles."""
    missed = [row for row in rows if row.verdict is Verdict.MISSED]
    pictures = "\n\n".join(f"![{title}]({path})" for path, title in plots.items())
    graphs = ", ".join(f"[{name}](profiles/{name}.svg)" for name in profiles)
    versions = "\n".join(f"| {name} | {which} |" for name, which in _versions().items())
    return f"""\
# Benchmarks

Written by `make bench`; a change made by hand does not last.

What the bot costs beside what the wire costs, measured side by side in one run: in each
round everyone is measured, one right after the other, but for the libraries of row 8, which
are measured once. *measured* is the median over
the rounds of what is held to the goal, ± the width of the middle half of the rounds, its
noise. Absolute figures are those of one machine, and say little of another.

A goal is *reached*, missed by no more than the noise (*within noise*), or *missed*, as
{len(missed)} of these {len(rows)} are.

{markdown(rows)}

{pictures}

Where the time goes, as flame graphs: {graphs or "none is recorded"}.

## How it was run

`make bench` starts a Synapse of its own, with SQLite and without rate limits, and two bots
on it, of {pace.spaces} Spaces and of {pace.spaces // 10}, with {CHATS} chats each. It took {seconds / 60:.0f} minutes, with
{pace.rounds} rounds of the starts, the passes, the invitations and the messages, after one that does not count.
Other clients are processes of their own and time themselves, without their imports.
Nobody asks for what the server has in a response cache. Of a pass that finds nothing, the
middle one of {STILL} in a row counts, and its answer is held back until {EVENLY * 1000:.0f} ms
after it was asked for: the server answers a small account sooner, and a process that waits for
longer takes more CPU for the same work afterwards. CPU of rows 6, 8 and 9 is that of processes
of their own, in which nothing is searched for cycles; what a message waits for during a pass
(row 7) is measured with Python set as the bot sets it. mautrix has no store there, and keeps
nothing. The echo platform writes a file, the bare bot none.

| | |
|---|---|
{versions}

    make bench                      # this page
    make bench ARGS='--only 1,4'    # some rows, on the terminal alone
    make bench-quick                # a world of a tenth of the size, and no peers to install
    make bench-scaling              # how costs grow: docs/scaling.md
    make bench-profiles             # the flame graphs in docs/profiles
"""


def _versions() -> dict[str, str]:
    packages = json.loads((HERE / "package.json").read_text())["dependencies"]
    pinned = [
        line.partition("==")
        for line in (HERE / "requirements.txt").read_text().splitlines()
        if "==" in line
    ]
    node = subprocess.run(("node", "--version"), capture_output=True, check=True)  # noqa: S607 - whichever is used
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"),  # noqa: S607 - whichever is used
        capture_output=True,
        check=True,
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "commit": commit.stdout.decode().strip(),
        "machine": (
            f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB,"
            f" {platform.system()}"
        ),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Node.js": node.stdout.decode().strip().removeprefix("v"),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        **packages,
        **{name: version for name, _, version in pinned},
    }
