"""`plan` and `reconcile`: what a pass would do, and one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapter.cli.options import OUTPUT
from adapter.cli.session import Session, connected, wait

if TYPE_CHECKING:
    from adapter.config import Config
    from adapter.matrix.decision import Pass
    from adapter.matrix.reconciler import PassReport

IN_SYNC, ERROR, DRIFT, BLOCKED = 0, 1, 2, 3


@click.command(short_help="Show what a pass would do; write nothing.")
@OUTPUT
@click.pass_obj
def plan(session: Session, output: str) -> int:
    """Look at Matrix and show what a pass would do. Nothing is written anywhere.

    \b
    Exit codes: 0 in sync, 2 drift, 3 a guard blocks (before 2), 1 an error.

    \b
    Examples:
      spacekeeper plan
      spacekeeper plan --output json | jq .summary
    """
    from adapter.cli import output as out

    decided = wait(_look(session.config()))
    shown = out.of_pass(decided)
    out.show(shown, output)
    if shown.blocked:
        _explain_guard(len(shown.blocked))
        return BLOCKED
    if shown.steps or shown.waits:
        return DRIFT
    return _unless_incomplete(decided)


@click.command(short_help="Do one pass, and the publishing that is due.")
@OUTPUT
@click.option(
    "--allow-detach",
    type=click.IntRange(min=0),
    metavar="N",
    help="Let this pass give up N rows, whatever the settings say.",
)
@click.pass_obj
def reconcile(session: Session, output: str, allow_detach: int | None) -> int:
    """Do one pass: look at Matrix, correct the cache, publish what is due.

    It waits for the server's limits as long as `reconcile.publish_patience` says; what
    is left then, later passes do. It cannot run beside the bot.

    \b
    Exit codes: 0 done, 3 a guard blocks, 1 an error or a failed step (before 3).

    \b
    Examples:
      spacekeeper reconcile
      spacekeeper reconcile --allow-detach 40
    """
    from adapter.cli import output as out

    done = wait(_reconcile(session.config(), allow_detach))
    shown = out.of_report(done)
    out.show(shown, output)
    out.show_failures(done)
    if shown.blocked:
        _explain_guard(len(shown.blocked))
    if shown.failed:
        return ERROR
    if shown.blocked:
        return BLOCKED
    return _unless_incomplete(done.decided)


def _explain_guard(blocked: int) -> None:
    click.echo(
        f"spacekeeper: a guard holds back {blocked} changes, which would give up more "
        "rooms at once than the settings allow: if they are right, run "
        f"`spacekeeper reconcile --allow-detach {blocked}`, or start the bot with "
        f"`spacekeeper run --allow-detach {blocked}`",
        err=True,
    )


def _unless_incomplete(decided: Pass) -> int:
    if decided.complete:
        return IN_SYNC
    # "In sync" is a statement about all rooms, and not all were seen.
    click.echo(
        "spacekeeper: not everything in Matrix could be read, so rooms may be missing: "
        "try again, and look at the homeserver's log",
        err=True,
    )
    return ERROR


async def _look(config: Config) -> Pass:
    from adapter.cli.progress import progress
    from adapter.matrix.reconciliation import look
    from adapter.matrix.store import Store

    async with (
        Store.read(config.database, user_id=config.user_id) as store,
        connected(config) as client,
        progress("looking at Matrix"),
    ):
        return await look(client, store, settings=config.reconcile, types=config.events)


async def _reconcile(config: Config, allow_detach: int | None) -> PassReport:
    from adapter.cli.progress import progress
    from adapter.matrix.reconciliation import reconcile_once

    async with connected(config) as client, progress("reconciling"):
        return await reconcile_once(
            client,
            config.database,
            settings=config.reconcile,
            types=config.events,
            allow_detach=allow_detach,
            whole=True,
        )
