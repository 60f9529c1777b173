"""`status`: what the cache remembers of the last pass."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from adapter.cli.options import OUTPUT
from adapter.cli.session import Session, wait
from adapter.plain_text import escaped

if TYPE_CHECKING:
    from adapter.cli.memory import Memory
    from adapter.config import Config


@click.command(
    short_help="Show the last pass, conditions and findings, from the cache."
)
@OUTPUT
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Show the last pass, conditions, findings and counts, from the cache alone.

    It needs no homeserver, and works beside a running bot. Whether one runs, the lock of
    the database says; of a bot that was killed, conditions are as it left them.

    \b
    Examples:
      spacekeeper status
      spacekeeper status --output json | jq .conditions
    """
    from adapter.cli.memory import remembered
    from adapter.cli.output import show_json
    from adapter.matrix.database import is_held, located

    config = session.config()
    memory = wait(remembered(config))
    running = is_held(located(config.database))
    if output == "json":
        show_json(_json(config, memory, running))
    else:
        _show(config, memory, running)


def _json(config: Config, memory: Memory, running: bool) -> dict[str, Any]:
    from adapter.cli.output import FORMAT_VERSION
    from adapter.matrix.document import finding, timestamp

    last = None
    if memory.at is not None:
        last = {"at": timestamp(memory.at), "result": memory.result}
        last |= {"error": memory.error} if memory.error else {}
    return {
        "format_version": FORMAT_VERSION,
        "account": config.user_id,
        "database": str(config.database),
        "running": running,
        "last_pass": last,
        "counts": _counts(memory),
        "conditions": [condition._asdict() for condition in memory.conditions],
        "findings": [finding(found) for found in memory.findings],
        "unknown": dict(sorted(memory.unknown.items())),
    }


def _show(config: Config, memory: Memory, running: bool) -> None:
    from adapter.cli.output import show_findings
    from adapter.matrix.document import timestamp

    last = "never"
    if memory.at is not None:
        why = f" ({memory.error})" if memory.error else ""
        last = f"{timestamp(memory.at)}: {memory.result}{why}"
    for title, text in (
        ("account", config.user_id),
        ("database", str(config.database)),
        ("running", "yes" if running else "no"),
        ("last pass", last),
        *((f"{kind}s", _counted(by)) for kind, by in _counts(memory).items()),
    ):
        click.echo(escaped(f"{title:<10} {text}"))
    if memory.conditions and not running:
        click.echo("no bot is running: the conditions are as the last one left them")
    for condition in memory.conditions:
        since = timestamp(condition.changed_at)
        said = f"{condition.reason}: {condition.message}"
        click.echo(
            escaped(f"{condition.type} is {condition.status} since {since} ({said})")
        )
    show_findings(memory.findings, memory.unknown)


def _counts(memory: Memory) -> dict[str, dict[str, int]]:
    """How many rooms of each kind are in each status."""
    found = Counter(
        (row.room_type or "room", row.status) for row in memory.rows.values()
    )
    counts: dict[str, dict[str, int]] = {"chat": {}, "space": {}}
    for (kind, status), number in sorted(found.items()):
        counts.setdefault(kind, {})[status] = number
    return counts


def _counted(by: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in by.items()) or "none"
