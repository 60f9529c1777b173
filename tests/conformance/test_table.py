"""The table that `make conformance` ends with."""

from __future__ import annotations

from tests.conformance.table import SCENARIOS, Table


def test_a_scenario_holds_if_all_of_its_tests_pass() -> None:
    """One that fails among others that pass, and one without a test, do not hold."""
    table = Table()
    for number in SCENARIOS[:-2]:
        table.add(number, f"Scenario {number}.", passed=True)
    one_fails, none_ran = SCENARIOS[-2:]
    for passed in (True, False, True):
        table.add(one_fails, "One of three fails.", passed=passed)
    lines = list(table.lines())
    assert lines[0] == "✓  1  Scenario 1."
    assert lines[-3:] == [
        f"✗ {one_fails}  One of three fails.",
        f"· {none_ran}  no test of it has run",
        f"{len(SCENARIOS) - 2} of {len(SCENARIOS)} scenarios hold",
    ]
    assert not table.holds()


def test_all_hold_when_each_has_passed() -> None:
    """Then the run has succeeded."""
    table = Table()
    for number in SCENARIOS:
        assert not table.holds()
        table.add(number, "It does.", passed=True)
    assert table.holds()
