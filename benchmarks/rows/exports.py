"""Row 9: all rows as a document, checked and written as YAML, beside the writing alone.

CPU seconds, each round in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from adapter.matrix.desired import Desired
from adapter.matrix.document import document, to_yaml
from adapter.matrix.rows import Row as CacheRow
from adapter.matrix.rows import topology
from benchmarks.generated import ME, kept
from benchmarks.harness import Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.processes import alone
from benchmarks.rows.whole_passes import DATABASE, a_pass
from benchmarks.setting import Setting
from schemas import problems


class Export(NamedTuple):
    """CPU seconds."""

    ours: float
    bare: float
    """Of PyYAML's C emitter, with the document as a gift."""


async def measure(setting: Setting) -> Outcome:
    rooms, folder = setting.pace.generated, setting.scratch / "export"
    folder.mkdir()
    windows = await asyncio.to_thread(kept, rooms, setting.scratch)
    await asyncio.to_thread(alone, a_pass, windows, folder)
    found = await in_turn(
        min(setting.pace.rounds, 5),
        {"both": lambda: asyncio.to_thread(alone, exported, folder / DATABASE)},
    )
    ours = [export.ours for export in found["both"]]
    theirs = [export.bare for export in found["both"]]
    row = Row(
        9,
        f"an export of {rooms:,} rooms as YAML, validated",
        "PyYAML's C emitter alone",
        at_most(1.5),
        ratios(ours, theirs),
        f"{seconds(ours)} / {seconds(theirs)}",
    )
    return Outcome((row,))


def exported(database: Path) -> Export:
    """Make, check and write the document; then write it once more, and nothing else."""
    connection = sqlite3.connect(database)
    columns = ", ".join(CacheRow._fields)
    found = connection.execute(f"SELECT {columns} FROM room_meta")  # noqa: S608 - constants
    rows = {row[0]: CacheRow(*row) for row in found}
    connection.close()
    want = Desired(topology(rows))
    gc.collect()
    began = time.process_time()
    made = document(
        want, account=ME, homeserver="https://hs.test", complete=True, observed_at=0
    )
    if found_problems := problems("topology", made):
        raise AssertionError(found_problems[:3])
    to_yaml(made)
    ended = time.process_time()
    yaml.dump(made, Dumper=yaml.CSafeDumper)
    return Export(ended - began, time.process_time() - ended)
