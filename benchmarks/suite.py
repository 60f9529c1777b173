"""Measure what the bot costs beside what the wire costs.

    python -m benchmarks                  all rows; writes docs/benchmarks.md
    python -m benchmarks --quick          a small world; 1 if anything got worse, twice
    python -m benchmarks --only 1,4       the parts with these rows, on the terminal

Starts its own homeserver and makes its own rooms, which are kept in .bench for the next
run. So are the clients that it compares with.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from adapter.cli.interpreter import answer_soon
from benchmarks import report
from benchmarks.harness import Outcome, Row
from benchmarks.registry import PARTS, Part
from benchmarks.setting import CACHE, FULL, QUICK, Pace, Setting, setting

DOCS: Final = Path("docs")


async def measure(parts: Sequence[Part], pace: Pace) -> list[Outcome | None]:
    """What each part found, `None` where it failed; each prints its rows at once."""
    outcomes: list[Outcome | None] = []
    began = time.perf_counter()
    async with setting(pace, CACHE) as found:
        print(f"{found.large.rooms:,} rooms after {time.perf_counter() - began:.0f} s")
        for part in parts:
            try:
                outcome = await _measured(part, found)
            except Exception:  # noqa: BLE001 - the others have something to say as well
                traceback.print_exc()
                outcomes.append(None)
                continue
            took = time.perf_counter() - began
            print(f"\n{took:.0f} s\n{report.terminal(outcome.rows)}", flush=True)
            outcomes.append(outcome)
    return outcomes


async def _measured(part: Part, found: Setting) -> Outcome:
    """What is worse in a quick run is measured once more: machines have bad minutes."""
    outcome = await part.measure(found)
    worse = [row for row in outcome.rows if row.is_worse]
    if not (found.pace.quick and worse):
        return outcome
    print(f"\nonce more, as this was worse:\n{report.terminal(worse)}", flush=True)
    return await part.measure(found)


def write(outcomes: Sequence[Outcome], pace: Pace, docs: Path, seconds: float) -> None:
    """Write the page and its plots."""
    # Takes most of a second, and a quick run draws nothing.
    from benchmarks import plots

    rows = _rows(outcomes)
    pictures = {"benchmarks/goals.svg": "Each row beside its goal"}
    plots.draw_goals(rows, docs / "benchmarks/goals.svg")
    for outcome in outcomes:
        if (chart := outcome.chart) is not None:
            plots.draw(chart, docs / f"benchmarks/{chart.name}.svg")
            pictures[f"benchmarks/{chart.name}.svg"] = chart.title
    profiles = sorted(path.stem for path in (docs / "profiles").glob("*.svg"))
    page = report.document(rows, pictures, profiles, pace, seconds)
    (docs / "benchmarks.md").write_text(page)


def main() -> None:
    args = _arguments()
    pace = QUICK if args.quick else FULL
    pace = replace(
        pace, spaces=args.spaces or pace.spaces, rounds=args.rounds or pace.rounds
    )
    parts = [
        part
        for part in PARTS
        if (part.is_quick or not args.quick)
        and (args.only is None or args.only & {*part.numbers})
    ]
    answer_soon()  # as the bot does; whoever is measured in this process beside it, too
    began = time.perf_counter()
    found = asyncio.run(measure(parts, pace))
    outcomes = [outcome for outcome in found if outcome is not None]
    took = time.perf_counter() - began
    print(f"\n{took:.0f} s in all")
    if len(outcomes) < len(found):
        sys.exit(2)
    if pace == FULL and args.only is None:
        write(outcomes, pace, args.docs, took)
    worse = [row for row in _rows(outcomes) if row.is_worse]
    if args.quick and worse:
        sys.exit(f"\n{len(worse)} of these should be better:\n{report.terminal(worse)}")


def _rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """In the order of their numbers, whichever part they come from."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    return sorted(rows, key=lambda row: row.number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=_numbers, metavar="ROW,...")
    parser.add_argument("--spaces", type=int, help="of the large world")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    return parser.parse_args()


def _numbers(text: str) -> set[int]:
    return {int(number) for number in text.split(",")}
