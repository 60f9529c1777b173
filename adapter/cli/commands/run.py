"""`run`: the bot, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapter.cli.session import Session, connected, wait

if TYPE_CHECKING:
    from adapter.config import Config


@click.command(short_help="Run the bot.")
@click.option(
    "--allow-detach",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let the first pass give up N rows, whatever the settings say.",
)
@click.pass_obj
def run(session: Session, allow_detach: int | None) -> None:
    """Run the bot: a pass first, then messages, and a pass now and again.

    It logs to stderr, and says `ready` once messages are handled. SIGTERM and Ctrl-C
    end it in order: what is being answered is finished, if it soon is.

    \b
    Exit codes: 0 stopped as told, 1 an error.

    \b
    Examples:
      spacekeeper run
      spacekeeper --config /etc/spacekeeper.yaml --log-format json run
    """
    wait(_run(session.config(), allow_detach))


async def _run(config: Config, allow_detach: int | None) -> None:
    from adapter.cli.interpreter import answer_soon
    from adapter.cli.signals import stopping
    from adapter.matrix.bot import MatrixBot
    from adapter.matrix.store import Store
    from adapter.platform import platform

    answer_soon()
    async with (
        Store.open(
            config.database, user_id=config.user_id, homeserver=config.homeserver
        ) as store,
        platform(config.platform) as backend,
        connected(config) as client,
    ):
        bot = MatrixBot(client, store, backend, config, allow_detach=allow_detach)
        with stopping(bot.stop):
            await bot.run()
