"""What the tests of passes share: a city of one bot on the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapter.cli.account import Account
from tests.adapter.matrix.city import City, city_of
from tests.conftest import Accounts

ENUMERATED = "crash points enumerated"
SURVIVED = "met and survived"
TRIED = "faults x calls tried"
STRUCK = "struck and survived"


@pytest.fixture
async def city(accounts: Accounts, bot: Account, tmp_path: Path) -> AsyncIterator[City]:
    """A fresh bot with a client and a database of its own; nobody lives there yet."""
    async with city_of(accounts, bot, tmp_path) as city:
        yield city


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what all tests tried, for `make crash-matrix` and `make faults`."""
    counted = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, value in report.user_properties
        if name == "figures"
    ]
    for tried, survived in ((ENUMERATED, SURVIVED), (TRIED, STRUCK)):
        if mine := [figures for figures in counted if tried in figures]:
            all_tried, all_survived = (
                sum(figures[what] for figures in mine) for what in (tried, survived)
            )
            terminalreporter.write_line(
                f"in all: {all_tried} {tried}, {all_survived} {survived}"
            )
