"""The table of the benchmarks, for the terminal and for the page."""

from __future__ import annotations

from benchmarks.harness import Row, at_least, at_most
from benchmarks.report import markdown, terminal

ROWS = [
    Row(1, "a start", "the wire", at_most(1.2), (1.0, 1.1, 1.5), "2 s / 1.8 s"),
    Row(4, "a pass", "a count", at_most(1024, "B"), (140.0,), "140"),
    Row(11, "a second", "a bare bot", at_least(1), (0.5, 0.5, 0.5), "20 / 40"),
]


def test_a_row_says_what_was_measured_and_how_much_of_it_is_noise() -> None:
    lines = markdown(ROWS).splitlines()
    assert lines[2:] == [
        "| 1 | a start | the wire | <= 1.2 x | 1.10 ± 0.25 x | 2 s / 1.8 s | reached |",
        "| 4 | a pass | a count | <= 1,024 B | 140 B | 140 | reached |",
        "| 11 | a second | a bare bot | >= 1 x | 0.500 x | 20 / 40 | missed |",
    ]


def test_columns_of_the_terminal_stand_below_each_other() -> None:
    lines = terminal(ROWS).splitlines()
    assert {
        line.index(one.against) for line, one in zip(lines[1:], ROWS, strict=True)
    } == {lines[0].index("against")}
