"""What the tests of commands that look at Matrix share: a city with a config file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapter.cli.account import Account
from tests.adapter.matrix.city import City, city_of
from tests.conftest import Accounts


@pytest.fixture
async def city(accounts: Accounts, bot: Account, tmp_path: Path) -> AsyncIterator[City]:
    """A fresh bot with a client and a database of its own; nobody lives there yet."""
    async with city_of(accounts, bot, tmp_path) as city:
        yield city
