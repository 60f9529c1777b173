"""`adopt`: say whose a room is that says nothing of it, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapter.cli.session import Session, wait
from adapter.plain_text import escaped

if TYPE_CHECKING:
    from adapter.config import Config
    from adapter.matrix.adoption import Adoption, Asked


@click.command(short_help="Say whose a room is that the bot made.")
@click.argument("room")
@click.option("--owner", required=True, metavar="ID", help="Whose room it is.")
@click.option(
    "--chat-id", metavar="CN", help="Which of their chats, such as C3; else the next."
)
@click.pass_obj
def adopt(session: Session, room: str, owner: str, chat_id: str | None) -> None:
    """Write into ROOM whose it is, where nothing says so: its record.

    The bot must have made ROOM and be in it, and the owner must have been in it or
    invited to it. Nothing else is written; a running bot takes the room up at once,
    else the next pass does. It cannot be taken back: a room has one owner.

    \b
    Exit codes: 0 written, 1 refused, or an error.

    \b
    Examples:
      spacekeeper adopt '!room:hs.test' --owner @alice:hs.test
      spacekeeper adopt '!room:hs.test' --owner @alice:hs.test --chat-id C3
    """
    from adapter.matrix.adoption import Asked

    found = wait(_adopt(session.config(), Asked(room, owner, chat_id)))
    _show(found, owner)


async def _adopt(config: Config, asked: Asked) -> Adoption:
    from adapter.cli.looking import looking
    from adapter.matrix.inspection import adopted

    async with looking(config) as reconciler:
        return await adopted(reconciler, asked)


def _show(found: Adoption, owner: str) -> None:
    what = found.content.get("chat_id") or "Space"
    click.echo(escaped(f"{found.room_id} is {owner}'s {what} from now on"))
    click.echo("a running bot does this now, else the next pass:")
    for line in found.follows:
        click.echo(f"  {escaped(line)}")
    if found.row.reason == "owner_left" and found.row.chat_id:
        click.echo(
            escaped(
                f"{owner} is not in it: `!restore {found.row.chat_id}`, said by them in "
                "their direct chat with the bot, invites them again"
            )
        )
