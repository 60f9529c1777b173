"""The plots of docs/benchmarks.md and docs/scaling.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness import Chart, Row, Sense, Verdict, figure

_COLOURS: Final = {
    Verdict.REACHED: "#2a7f62",
    Verdict.WITHIN_NOISE: "#c9a227",
    Verdict.MISSED: "#b23a48",
}
_NEAREST: Final = 0.1
_BAR: Final = "#4a6fa5"
_INK: Final = "#333333"

mpl.rcParams.update(
    {
        "font.size": 9,
        "svg.hashsalt": "spacekeeper",  # the same figures, the same file
        "svg.fonttype": "none",  # text stays text: small, and found by a search
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _INK,
    }
)


def draw_goals(rows: Sequence[Row], path: Path) -> None:
    """How many times its goal each row is off it, or below; far below is the edge."""
    drawn, axes = _axes(len(rows), "times the goal")
    for place, row in enumerate(rows):
        share = max(_NEAREST, _share(row, row.median))
        low, high = sorted(max(_NEAREST, _share(row, edge)) for edge in _edges(row))
        colour = _COLOURS[row.verdict]
        axes.plot([low, high], [place, place], color=colour, linewidth=4, alpha=0.35)
        axes.plot(share, place, "<" if share == _NEAREST else "o", color=colour)
        axes.annotate(
            f"{figure(row.median)} {row.goal.unit}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            color=_INK,
        )
    axes.axvline(1, color=_INK, linewidth=1)
    axes.set_xscale("log")
    axes.margins(x=0.05, y=0.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(
        range(len(rows)), [f"{row.number}  {row.what} ({row.goal})" for row in rows]
    )
    _save(drawn, path)


def draw(chart: Chart, path: Path) -> None:
    """A bar for each median, and a dot for each round."""
    drawn, axes = _axes(len(chart.bars), chart.unit)
    for place, values in enumerate(chart.bars.values()):
        axes.barh(place, median(values), color=_BAR, height=0.6)
        axes.plot(values, [place] * len(values), ".", color=_INK, markersize=4)
        axes.annotate(
            f"{figure(median(values))} {chart.unit}",
            (max(values), place),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
        )
    axes.margins(x=0.12)
    axes.set_title(chart.title, loc="left")
    axes.set_yticks(range(len(chart.bars)), list(chart.bars))
    _save(drawn, path)


def draw_growth(
    sizes: Sequence[int], curves: Mapping[str, Sequence[float]], path: Path
) -> None:
    """What grows with the number of rooms; a straight line at 45 degrees is linear."""
    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.subplots()
    for name, values in curves.items():
        axes.plot(sizes, values, "o-", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel("rooms")
    axes.legend(frameon=False)
    _save(drawn, path)


def _axes(lines: int, label: str) -> tuple[Figure, Axes]:
    drawn = Figure(figsize=(10, 1.2 + 0.28 * lines), layout="constrained")
    axes = drawn.subplots()
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    return drawn, axes


def _share(row: Row, value: float) -> float:
    """1 where the goal is just reached, and more where it is not."""
    least = row.goal.limit / 1000
    if row.goal.sense is Sense.AT_LEAST:
        return row.goal.limit / max(value, least)
    return max(value, least) / row.goal.limit


def _edges(row: Row) -> tuple[float, float]:
    return row.median - row.noise, row.median + row.noise


def _save(drawn: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, metadata={"Date": None})
