"""`login`: from a password to a config file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from adapter.cli.errors import CommandError
from adapter.cli.session import Session, wait


@click.command(short_help="Log the bot in, and write its config file.")
@click.option(
    "--homeserver", required=True, metavar="URL", help="The homeserver's URL."
)
@click.option(
    "--user", "user_id", required=True, metavar="ID", help="The bot's user id."
)
@click.pass_obj
def login(session: Session, homeserver: str, user_id: str) -> None:
    """Log the bot in and write its token into the config file, mode 0600.

    The password is asked for once and stored nowhere; from a pipe, the first line is
    the password. Other settings of an existing file stay as they are, its device is
    used again, and a file that holds another account is refused.

    \b
    Examples:
      spacekeeper login --homeserver https://matrix.your.server --user @bot:your.server
      pass show bot | spacekeeper login --homeserver https://hs.test --user @bot:hs.test
    """
    from adapter.cli import config_file
    from adapter.cli.password import log_in

    _check(homeserver, user_id)
    path = session.config_file
    data = config_file.existing(path)
    config_file.refuse_another_account(path, data, user_id)
    config_file.refuse_unwritable(path)
    password = _password(user_id)
    session.secrets.append(password)
    device = wait(log_in(homeserver, user_id, password, _device(data, user_id)))
    session.secrets.append(device.access_token)
    config_file.save(
        path,
        {
            "homeserver": homeserver.rstrip("/"),
            "user_id": device.user_id,
            "access_token": device.access_token,
            "device_id": device.device_id,
        },
    )
    click.echo(
        f"logged in as {device.user_id}, device {device.device_id}; "
        f"the token is in {path}; `spacekeeper plan` shows what there is",
        err=True,
    )


def _check(homeserver: str, user_id: str) -> None:
    """Refuse what the config file would be refused for."""
    from adapter.config_sources import samples
    from schemas import problems

    given = {"homeserver": homeserver, "user_id": user_id, "access_token": "-"}
    options = {"$.homeserver": "--homeserver", "$.user_id": "--user"}
    found = [*problems("config", given), *samples(given)]
    if found:
        msg = "; ".join(f"{options[p.place]}: {p.message}" for p in found)
        raise CommandError(msg)


def _password(user_id: str) -> str:
    if sys.stdin.isatty():
        given: str = click.prompt(
            f"Password of {user_id}", hide_input=True, err=True, type=str
        )
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        msg = "no password was given: type it, or pipe it in as one line"
        raise CommandError(msg)
    return given


def _device(data: Mapping[str, Any], user_id: str) -> str | None:
    """The device of before: with a new one, old answers could be given again."""
    device = data.get("device_id")
    return (
        device if isinstance(device, str) and data.get("user_id") == user_id else None
    )
