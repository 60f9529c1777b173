"""Flame graphs name what they show, and no path of the machine."""

from __future__ import annotations

from benchmarks.profiling import titled


def test_a_graph_has_a_title_and_not_the_command_that_made_it() -> None:
    graph = (
        '<svg><text id="title" x="1">/home/me/py-spy record</text><text>f</text></svg>'
    )
    assert titled(graph, "restart") == (
        '<svg><text id="title" x="1">restart</text><text>f</text></svg>'
    )
