"""What the tests of the proxy and its faults share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import Homeserver
from tests.faults.proxy import Proxy


@pytest.fixture
async def proxy(homeserver: Homeserver) -> AsyncIterator[Proxy]:
    """A proxy before the real homeserver."""
    async with Proxy(homeserver.url) as made:
        yield made


@pytest.fixture
async def through(proxy: Proxy, bot: Account) -> AsyncIterator[Account]:
    """The bot's account by way of the proxy; `bot` itself goes straight."""
    async with http_session() as session:
        yield replace(bot, url=proxy.url, session=session)
