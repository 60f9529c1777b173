"""The backend that answers: `echo`, or a service that is asked over HTTP."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from adapter.platform.base import Platform, PlatformMisconfigured

if TYPE_CHECKING:
    # Only the name: configuration stands above the platforms, and hands values down.
    from adapter.config import PlatformSettings


def platform(settings: PlatformSettings) -> AbstractAsyncContextManager[Platform]:
    """Return the platform that `settings` name, opened on entry and closed on exit.

    Nothing is asked of an HTTP service before the first turn. Entering raises
    `PlatformError` for a file that cannot be used and a token that nobody can send."""
    # Each is loaded when it is chosen: an HTTP client takes a fifth of a second.
    match settings.kind:
        case "echo":
            from adapter.platform.echo import echo

            return echo(settings.path)
        case "http":
            from adapter.platform.http import http

            if not settings.url:
                msg = "`platform.url` is missing, and `http` needs it"
                raise PlatformMisconfigured(msg)
            token = settings.token.reveal() if settings.token else None
            return http(settings.url, token, seconds=settings.timeout)
        case _:
            msg = "`platform.kind` is neither `echo` nor `http`"
            raise PlatformMisconfigured(msg)
