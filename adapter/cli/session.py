"""What a command works with: what was said before its name, its settings, a client."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nio import AsyncClient

    from adapter.config import Config

T = TypeVar("T")


@dataclass
class Session:
    """One run of the command line."""

    config_file: Path = Path("spacekeeper.yaml")
    log_format: str = "plain"
    debug: bool = False
    secrets: list[str] = field(default_factory=list, repr=False)
    """What must never be printed."""

    def config(self) -> Config:
        """Read the settings, or raise `ConfigError`; from then on, secrets are known."""
        from adapter.config import load

        config = load(self.config_file, os.environ)
        self.secrets.append(config.access_token.reveal())
        if config.platform.token is not None:
            self.secrets.append(config.platform.token.reveal())
        return config


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end."""
    # Not at the top: help needs no event loop.
    import asyncio

    return asyncio.run(work)


@asynccontextmanager
async def connected(config: Config) -> AsyncIterator[AsyncClient]:
    """Give a client that speaks as the configured account, and close it afterwards.

    Nothing is sent: whether the token is good shows at the first request."""
    async with logged_in(
        config.homeserver,
        config.user_id,
        config.device_id or "",
        config.access_token.reveal(),
    ) as client:
        yield client


@asynccontextmanager
async def logged_in(
    homeserver: str, user_id: str, device_id: str, access_token: str
) -> AsyncIterator[AsyncClient]:
    # Not at the top: it takes half a second.
    from nio import AsyncClient

    client = AsyncClient(homeserver)
    client.restore_login(user_id, device_id, access_token)
    try:
        yield client
    finally:
        await client.close()  # type: ignore[no-untyped-call]
