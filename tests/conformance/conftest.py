"""What the scenarios share: a city of one bot on the real server, and a number each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapter.cli.account import Account
from tests.adapter.matrix.city import City, city_of
from tests.adapter.matrix.live import Backend
from tests.conformance.table import belongs
from tests.conftest import Accounts


def pytest_itemcollected(item: pytest.Item) -> None:
    belongs(item)


@pytest.fixture
async def city(accounts: Accounts, bot: Account, tmp_path: Path) -> AsyncIterator[City]:
    """A fresh bot with a client and a database of its own; nobody lives there yet."""
    async with city_of(accounts, bot, tmp_path) as city:
        yield city


@pytest.fixture
def platform() -> Backend:
    """A platform that remembers what it was asked."""
    return Backend()
