"""A pytest plugin: which scenarios hold, as a table of one line each.

    python -m pytest -p tests.conformance.table tests/conformance

A scenario holds if it has a test, and all its tests pass; if one does not hold, the run
has failed. Where a test belongs is said on the test, `@pytest.mark.scenario(5)`, and
travels from the workers in the `user_properties` of its report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

SCENARIOS: Final = range(1, 67)
HOLDS, FAILS, UNREACHED = "✓", "✗", "·"


class Table:
    """What became of the tests of each scenario."""

    def __init__(self) -> None:
        self._passed: dict[int, list[bool]] = {}
        self._sentences: dict[int, str] = {}

    def add(self, scenario: int, sentence: str, *, passed: bool) -> None:
        """One test of the scenario has passed or failed; its sentence is that of the first."""
        self._passed.setdefault(scenario, []).append(passed)
        self._sentences.setdefault(scenario, sentence)

    def mark(self, scenario: int) -> str:
        passed = self._passed.get(scenario)
        if passed is None:
            return UNREACHED
        return HOLDS if all(passed) else FAILS

    def holds(self) -> bool:
        return all(self.mark(number) == HOLDS for number in SCENARIOS)

    def lines(self) -> Iterator[str]:
        for number in SCENARIOS:
            sentence = self._sentences.get(number, "no test of it has run")
            yield f"{self.mark(number)} {number:2}  {sentence}"
        held = sum(self.mark(number) == HOLDS for number in SCENARIOS)
        yield f"{held} of {len(SCENARIOS)} scenarios hold"


_table = pytest.StashKey[Table]()


def belongs(item: pytest.Item) -> None:
    """Write on the test's reports which scenario it is of, and its sentence."""
    mark = item.get_closest_marker("scenario")
    if mark is not None and isinstance(item, pytest.Function):
        (number,) = mark.args
        sentence = (item.function.__doc__ or item.name).strip().splitlines()[0]
        item.user_properties.append(("scenario", [number, sentence]))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_table] = Table()
    config.pluginmanager.register(_Listener(config.stash[_table]))


class _Listener:
    def __init__(self, table: Table) -> None:
        self._table = table

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test that cannot be set up, or leaves a mess, is no test that passed.
        if report.when == "call" or report.failed:
            for name, value in report.user_properties:
                if name == "scenario":
                    assert isinstance(value, list)
                    number, sentence = value
                    self._table.add(number, sentence, passed=report.passed)


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if session.exitstatus == pytest.ExitCode.OK and not is_worker:
        held = session.config.stash[_table].holds()
        session.exitstatus = 0 if held else pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    terminalreporter.section("scenarios")
    for line in config.stash[_table].lines():
        terminalreporter.write_line(line)
