"""What every test may ask for: a real homeserver, and fresh accounts on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import Homeserver
from adapter.cli.homeserver import homeserver as run_homeserver

# Two busy workers make time a poor witness: neither a deadline nor slow data may fail.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# What CI says of a change must not depend on chance; `soak` is for finding more.
settings.register_profile(
    "ci", settings.get_profile("default"), print_blob=True, derandomize=True
)
settings.register_profile("soak", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_numbers = itertools.count(1)


class Accounts(Protocol):
    """Makes accounts: `await accounts("alice")` is someone new each time."""

    async def __call__(self, localpart: str = "person", /) -> Account: ...


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> dict[str, object]:
    """What a test counted: whatever it puts in here is printed at the end of the run."""
    counted: dict[str, object] = {}
    request.node.user_properties.append(("figures", counted))
    return counted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of all tests, in whichever worker they ran."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports(
        "failed"
    ):
        for name, counted in getattr(report, "user_properties", ()):
            if name == "figures" and report.when == "call":
                terminalreporter.write_sep("-", report.nodeid.rpartition("::")[2])
                for what, value in counted.items():
                    terminalreporter.write_line(f"{what}: {value}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a homeserver, so that `-m "not e2e"` leaves it out."""
    for item in items:
        if "homeserver" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def homeserver() -> AsyncIterator[Homeserver]:
    """One Synapse without rate limits for each worker, started at the first use."""
    async with run_homeserver() as running:
        yield running


@pytest.fixture
async def accounts(homeserver: Homeserver) -> AsyncIterator[Accounts]:
    """A maker of accounts that no other test has; their rooms are their own, too."""
    async with http_session() as session:

        async def new_account(localpart: str = "person", /) -> Account:
            login = await homeserver.register(f"{localpart}-{next(_numbers)}")
            return Account(homeserver.url, login, session)

        yield new_account


@pytest.fixture
async def bot(accounts: Accounts) -> Account:
    """The bot's account, fresh: it is in no room."""
    return await accounts("bot")


@pytest.fixture
async def person(accounts: Accounts) -> Account:
    """Somebody who is not the bot, fresh as well."""
    return await accounts("person")
