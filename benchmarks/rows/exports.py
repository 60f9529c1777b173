"""Row 9: all rows as a document, checked and written as YAML, beside the writing alone.

CPU seconds, each side in a process of its own, with all that is imported or made once made
before: what there is to check with, too."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import yaml

from adapter.matrix.desired import Desired
from adapter.matrix.document import document, to_yaml
from adapter.matrix.rows import SPACE, topology
from adapter.matrix.rows import Row as CacheRow
from benchmarks.generated import ME, kept
from benchmarks.harness import Outcome, Row, at_most, in_turn, ratios, seconds
from benchmarks.processes import alone, unsearched
from benchmarks.rows.whole_passes import DATABASE, a_pass
from benchmarks.setting import Setting
from schemas import problems


async def measure(setting: Setting) -> Outcome:
    rooms, folder = setting.pace.generated, setting.folder()
    windows = await asyncio.to_thread(kept, rooms, setting.scratch)
    await asyncio.to_thread(alone, a_pass, windows, folder)
    found = await in_turn(
        min(setting.pace.rounds, 5),
        {
            "ours": lambda: asyncio.to_thread(alone, exported, folder / DATABASE),
            "bare": lambda: asyncio.to_thread(alone, bare, folder / DATABASE),
        },
    )
    ours, theirs = found["ours"], found["bare"]
    row = Row(
        9,
        f"an export of {rooms:,} rooms as YAML, validated",
        "PyYAML's C emitter alone",
        at_most(1.5),
        ratios(ours, theirs),
        f"{seconds(ours)} / {seconds(theirs)}",
    )
    return Outcome((row,))


def exported(database: Path) -> float:
    """CPU seconds: make, check and write the document."""
    want = _wanted(database)
    _checked(Desired({}))
    with unsearched():
        began = time.process_time()
        to_yaml(_checked(want))
        return time.process_time() - began


def bare(database: Path) -> float:
    """CPU seconds of PyYAML's C emitter, with the document as a gift."""
    made = _checked(_wanted(database))
    with unsearched():
        began = time.process_time()
        yaml.dump(made, Dumper=yaml.CSafeDumper)
        return time.process_time() - began


def _wanted(database: Path) -> Desired:
    connection = sqlite3.connect(database)
    columns = ", ".join(CacheRow._fields)
    found = connection.execute(f"SELECT {columns} FROM room_meta")  # noqa: S608 - constants
    rows = {row[0]: CacheRow(*row) for row in found}
    connection.close()
    users = {
        row.matrix_user_id: room_id
        for room_id, row in rows.items()
        if row.room_type == SPACE and row.matrix_user_id
    }
    return Desired(topology(rows), users)


def _checked(want: Desired) -> dict[str, Any]:
    made = document(
        want, account=ME, homeserver="https://hs.test", complete=True, observed_at=0
    )
    if found := problems("topology", made):
        raise AssertionError(found[:3])
    return made
