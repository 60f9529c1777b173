"""`doctor`: everything that a person should look at, and what settles it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from adapter.cli.options import OUTPUT
from adapter.cli.session import Session, wait
from adapter.plain_text import escaped, whole

if TYPE_CHECKING:
    from adapter.config import Config
    from adapter.matrix.checks.look import Diagnosis, Look
    from adapter.matrix.desired import Finding
    from adapter.matrix.reconciler import Reconciler
    from controller.model import Cause

NONE, SOME = 0, 2


@click.command(short_help="Show what a person should look at, and what settles it.")
@OUTPUT
@click.pass_obj
def doctor(session: Session, output: str) -> int:
    """Look at Matrix, and show as a checklist what a person should look at.

    Each finding comes with the event that shows it, and with what settles it: a command,
    who may do what, or that nothing is to be done. Nothing is written anywhere, and it
    works beside a running bot. What could not be read is a finding, too.

    \b
    Exit codes: 0 no findings, 2 some, 1 an error.

    \b
    Examples:
      spacekeeper doctor
      spacekeeper doctor --output json | jq '.findings[] | {room, code, remedy}'
    """
    from adapter.cli.output import show_json
    from adapter.matrix.examination import examine

    config = session.config()
    look = wait(_look(config))
    found = examine(look)
    if output == "json":
        show_json(_json(config, look, found))
    else:
        _show(look, found)
    return SOME if found else NONE


async def _look(config: Config) -> Look:
    from adapter.cli.looking import looking
    from adapter.matrix.inspection import inspected

    async with looking(config) as reconciler:
        return await inspected(reconciler, await _backlog(reconciler))


async def _backlog(reconciler: Reconciler) -> tuple[Finding, ...]:
    """What only the running bot can find, as its last pass recorded it."""
    from adapter.cli.memory import findings

    last = await reconciler.store.last_pass()
    told = findings(last.report.get("findings")) if last else []
    return tuple(one for one in told if one.code == "backlog")


def _json(config: Config, look: Look, found: tuple[Diagnosis, ...]) -> dict[str, Any]:
    """The shape of schemas/doctor.v1.json."""
    from adapter.cli.output import FORMAT_VERSION
    from adapter.matrix.document import finding
    from adapter.matrix.examination import GROUP_OF

    return {
        "format_version": FORMAT_VERSION,
        "account": whole(config.user_id),
        "findings": [
            {
                **finding(one.finding),
                "group": GROUP_OF[one.finding.code],
                "subject": whole(look.subject(one.finding.room)),
                "cause": _cause(one.finding.cause),
                "remedy": whole(one.remedy),
            }
            for one in found
        ],
    }


def _cause(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None or not cause.sender:
        return None
    return {
        "sender": whole(cause.sender),
        "event_id": whole(cause.event_id),
        "at": cause.at,
    }


def _show(look: Look, found: tuple[Diagnosis, ...]) -> None:
    from adapter.matrix.examination import GROUP_OF, GROUPS

    for group, ones in groupby(found, key=lambda one: GROUP_OF[one.finding.code]):
        click.echo(click.style(GROUPS[group][0], bold=True))
        for one in ones:
            _show_one(one, look.subject(one.finding.room))
        click.echo()
    count = len(found)
    click.echo(f"{count or 'no'} finding{'s' * (count != 1)}")


def _show_one(one: Diagnosis, subject: str) -> None:
    told, cause = one.finding, one.finding.cause
    what = f"{told.room} ({subject})" if subject else told.room
    line = escaped(f"{told.code} {what}  {told.message}")
    click.echo(f"{click.style('!', fg='magenta')} {line}")
    if cause is not None:
        click.echo(escaped(f"    seen in {_seen(cause)}"))
    click.echo(f"    {click.style('->', fg='green')} {escaped(one.remedy)}")


def _seen(cause: Cause) -> str:
    from adapter.matrix.document import timestamp

    event = cause.event_id or "an event without an id"
    if not cause.sender:
        return event
    return f"{event} of {cause.sender}, {timestamp(cause.at)}"
