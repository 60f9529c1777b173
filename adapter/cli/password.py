"""Logging in with a password: one POST, whose answer is checked like every other.

The password and the token it becomes appear in no error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

from adapter.cli.errors import CommandError
from adapter.matrix.answers import answer
from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
)
from adapter.retry_after import retry_after

PATIENCE = 60.0
"""Seconds for the whole of it: some servers take their time over passwords."""


class Device(NamedTuple):
    """What a login gives."""

    user_id: str
    device_id: str
    access_token: str


async def log_in(
    homeserver: str, user_id: str, password: str, device_id: str | None
) -> Device:
    """Log in once, as the device `device_id` if there is one already.

    Raises a `WireError`, or `CommandError` where the answer is no login of `user_id`."""
    status, header, content = await _post(
        f"{homeserver.rstrip('/')}/_matrix/client/v3/login",
        {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
            "initial_device_display_name": "Spacekeeper",
            **({"device_id": device_id} if device_id else {}),
        },
    )
    wait = retry_after(header, datetime.now(UTC))
    try:
        found = answer(status, content, wait)
    except Forbidden as exc:
        if exc.errcode != "M_FORBIDDEN":
            raise _no_passwords(exc) from None
        msg = f"the homeserver does not accept this password for {user_id}: try again"
        raise CommandError(msg) from None
    except (NotFound, TokenRefused, Unexpected) as exc:
        raise _no_passwords(exc) from None
    values = [
        found.get(key) if isinstance(found, dict) else None
        for key in ("user_id", "device_id", "access_token")
    ]
    user, device, token = (value if isinstance(value, str) else "" for value in values)
    if not (user and device and token):
        msg = (
            f"{homeserver} answered with something that is no login: check --homeserver"
        )
        raise CommandError(msg)
    if user != user_id:
        msg = f"the homeserver logged in {user}, not {user_id}: give that as --user"
        raise CommandError(msg)
    return Device(user, device, token)


async def _post(url: str, body: dict[str, object]) -> tuple[int, str | None, bytes]:
    # Not at the top: it takes 0.3 s.
    import aiohttp

    failure: Exception
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=PATIENCE), trust_env=True
            ) as session,
            # Not followed: a password goes where it was told to, and nowhere else.
            session.post(
                url,
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response,
        ):
            content = await response.read()
            if response.status // 100 == 3:
                msg = "the homeserver redirects elsewhere"
                raise NotAHomeserver(msg)
            return response.status, response.headers.get("Retry-After"), content
    except TimeoutError:
        failure = Unreachable(f"the homeserver did not answer within {PATIENCE:g} s")
    except aiohttp.ClientSSLError:  # a bad certificate is a ValueError as well
        failure = Unreachable("the homeserver's certificate cannot be trusted")
    except (aiohttp.InvalidURL, aiohttp.ClientResponseError, ValueError):
        failure = NotAHomeserver("the homeserver cannot be spoken to in HTTP")
    except (aiohttp.ClientError, OSError):
        failure = Unreachable("the homeserver cannot be reached")
    # Out here nothing is chained: what a library says can hold the request.
    raise failure


def _no_passwords(refused: WireError) -> CommandError:
    said = f"{refused.status} {refused.errcode}".rstrip()
    return CommandError(
        f"the homeserver does not log this account in with a password ({said}): put a "
        "token from elsewhere into the config file as `access_token`"
    )
