"""Row 8: the diff engine, beside a plain comparison and what else compares nested data.

CPU seconds for the same two worlds, of which one in a hundred resources differs in a
nested field. The plain comparison says which; ours and all others say in which fields, too."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from adapter.cli.processes import completed
from benchmarks.harness import (
    Chart,
    Outcome,
    Row,
    at_least,
    at_most,
    in_turn,
    ratios,
    seconds,
)
from benchmarks.peers.running import DIFFS, diffing
from benchmarks.processes import alone, unsearched
from benchmarks.setting import Setting
from controller.diff import diff
from controller.model import Key, Resource

PLAIN: Final = "a plain comparison of dicts"

World = dict[str, dict[str, Any]]


async def measure(setting: Setting) -> Outcome:
    count = setting.pace.generated
    contestants: dict[str, Callable[[], Any]] = {
        "ours": lambda: asyncio.to_thread(alone, ours, count),
        PLAIN: lambda: asyncio.to_thread(alone, plain, count),
    }
    found = await in_turn(max(setting.pace.rounds, 5), contestants)
    what = f"the diff, {count:,} resources, 1 % drift"
    rows = [
        Row(
            8,
            what,
            PLAIN,
            at_most(1.5),
            ratios(found["ours"], found[PLAIN]),
            f"{seconds(found['ours'])} / {seconds(found[PLAIN])}",
        )
    ]
    if setting.pace.quick:
        return Outcome(tuple(rows))
    python = await diffing(setting.cache)
    worlds = setting.scratch / "worlds.json"
    worlds.write_bytes(orjson.dumps(nested(count)))
    for name in DIFFS:
        # Once: they take tens of times as long, and do so each time.
        found[name] = [await _seconds_of(python, name, worlds)]
        rows.append(
            Row(
                8,
                f"{what}: times faster than {name}",
                name,
                at_least(1),
                ratios(found[name] * len(found["ours"]), found["ours"]),
                f"{seconds(found['ours'])} / {seconds(found[name])}",
            )
        )
    title = f"CPU for the difference of two worlds of {count:,} resources"
    return Outcome(tuple(rows), Chart("diffs", title, "s", found))


async def _seconds_of(python: tuple[str, ...], name: str, worlds: Path) -> float:
    done = await completed(*python, name, str(worlds))
    if done.code:
        msg = f"{name} ended with {done.code}:\n{done.stderr}"
        raise RuntimeError(msg)
    return float(json.loads(done.stdout)["seconds"])


def nested(count: int) -> tuple[World, World]:
    """Two equal worlds with nested fields, but for one in a hundred."""

    def one(number: int) -> dict[str, Any]:
        return {
            "status": "active",
            "owner": f"@user{number}:hs",
            "links": [f"!{number}", f"!{number + 1}"],
            "via": {"servers": ["hs", "other"], "order": {"name": "a", "at": number}},
        }

    old = {f"!room{n}": one(n) for n in range(count)}
    new = {f"!room{n}": one(n) for n in range(count)}
    for number in range(0, count, 100):
        new[f"!room{number}"]["via"]["order"]["name"] = "b"
    return old, new


def ours(count: int) -> float:
    old, new = nested(count)
    have = {Key("room", name): Resource(fields) for name, fields in old.items()}
    want = {Key("room", name): Resource(fields) for name, fields in new.items()}
    return _timed(
        lambda: len([(one.key, one.fields) for one in diff(have, want)]), count
    )


def plain(count: int) -> float:
    old, new = nested(count)
    have = {("room", name): fields for name, fields in old.items()}
    want = {("room", name): fields for name, fields in new.items()}

    def compared() -> int:
        changed = [key for key, fields in want.items() if have.get(key) != fields]
        return len(changed) + len(have.keys() - want.keys())

    return _timed(compared, count)


def _timed(work: Callable[[], int], count: int) -> float:
    """The least of some rounds: it is over before anything else is likely to happen."""
    took = []
    for _ in range(5):
        with unsearched():
            began = time.process_time()
            found = work()
            took.append(time.process_time() - began)
        if found != -(-count // 100):
            msg = f"{found} of {count} differ"
            raise AssertionError(msg)
    return min(took)
