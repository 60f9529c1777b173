"""`drill`: what Matrix alone would give back if the cache was lost now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from adapter.cli.options import OUTPUT
from adapter.cli.session import Session, wait
from adapter.plain_text import escaped, whole

if TYPE_CHECKING:
    from adapter.config import Config
    from adapter.matrix.recovery import Drill, Recovery

WHOLE, SHORT = 0, 2


@click.command(short_help="Show what would be lost with the cache; write nothing.")
@OUTPUT
@click.pass_obj
def drill(session: Session, output: str) -> int:
    """Compare the cache with what Matrix alone would make of an empty one.

    Each binding, that is a room with its owner, number, Space and conversation, is
    recoverable if Matrix says all of it. Others are shown, each with why. Nothing is
    written anywhere, and it works beside a running bot.

    \b
    Exit codes: 0 every binding is recoverable, 2 not every one, 1 an error.

    \b
    Examples:
      spacekeeper drill
      spacekeeper drill --output json | jq .summary
    """
    from adapter.cli.output import show_json
    from adapter.matrix.recovery import Fate

    done = wait(_drill(session.config()))
    if output == "json":
        show_json(_json(done))
    else:
        _show(done)
    short = len(done.recoveries) - done.count(Fate.RECOVERABLE)
    return SHORT if short else WHOLE


async def _drill(config: Config) -> Drill:
    from adapter.cli.looking import looking
    from adapter.matrix.inspection import drilled

    async with looking(config) as reconciler:
        return await drilled(reconciler)


def _json(done: Drill) -> dict[str, Any]:
    """The shape of schemas/drill.v1.json."""
    from adapter.cli.output import FORMAT_VERSION
    from adapter.matrix.recovery import Fate

    return {
        "format_version": FORMAT_VERSION,
        "summary": {
            "bindings": len(done.recoveries),
            **{fate.value: done.count(fate) for fate in Fate},
            "more": done.more,
        },
        "rooms": [
            {
                "room": whole(one.row.room_id),
                "fate": one.fate.value,
                "fields": {
                    name: {"from": _plain(old), "to": _plain(new)}
                    for name, (old, new) in one.fields.items()
                },
                "why": whole(one.why),
                "evidence": one.cause.event_id if one.cause else None,
            }
            for one in done.recoveries
            if one.fate is not Fate.RECOVERABLE
        ],
    }


def _plain(value: str | None) -> str | None:
    return None if value is None else whole(value)


def _show(done: Drill) -> None:
    from adapter.matrix.recovery import Fate

    for one in done.recoveries:
        if one.fate is not Fate.RECOVERABLE:
            colour = {Fate.BEHIND: "yellow", Fate.UNSEEN: None}.get(one.fate, "red")
            click.echo(click.style(escaped(_line(one)), fg=colour))
    found, every = done.count(Fate.RECOVERABLE), len(done.recoveries)
    guessed = done.count(Fate.GUESSED)
    rest = [
        f"{count} {fate.value}"
        for fate in (Fate.LOST, Fate.BEHIND, Fate.UNSEEN)
        if (count := done.count(fate))
    ]
    click.echo(
        ", ".join(
            [f"{found} of {every} bindings recoverable", f"{guessed} guessed", *rest]
        )
    )
    if done.more:
        more = f"{done.more} room{'s' * (done.more != 1)}"
        click.echo(f"Matrix has {more} more than the cache: see `spacekeeper plan`")


def _line(one: Recovery) -> str:
    fields = ", ".join(
        f"{name}: {old or 'nothing'} -> {new or 'nothing'}"
        for name, (old, new) in one.fields.items()
    )
    return f"{one.fate.value} {one.row.room_id}  {one.why}   ({fields})"
