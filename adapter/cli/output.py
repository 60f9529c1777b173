"""Plans and findings as text for people and JSON for programs.

Text is coloured on a terminal alone. Whatever people typed is shown escaped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from adapter.matrix.desired import Finding
from adapter.matrix.document import finding
from adapter.plain_text import escaped, whole
from controller.apply import Result
from controller.model import Action, Change
from controller.plan import line

if TYPE_CHECKING:
    from adapter.matrix.decision import Pass
    from adapter.matrix.reconciler import PassReport

FORMAT_VERSION = "1.0"

COLOURS = {
    Action.CREATE: "green",
    Action.UPDATE: "yellow",
    Action.DETACH: "red",
    Action.RESTORE: "green",
    Action.PUBLISH: "cyan",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to show of a pass, or of the difference of two documents."""

    steps: tuple[Change, ...]
    blocked: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)
    applied: int | None = None
    """Steps that were carried out; `None` where nothing was to be."""
    failed: int | None = None
    waiting: int = 0
    """Steps that the next pass will look at again."""
    waits: int = 0
    """Rooms that are not decided until every room can be read."""

    def json(self) -> dict[str, Any]:
        """The shape of schemas/plan.v1.json. What is blocked counts as that alone."""
        counts = Counter(change.action for change in self.steps)
        summary = {action.value: counts[action] for action in Action}
        shown: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "summary": {**summary, "blocked": len(self.blocked)},
            "changes": [
                *(_change(change, blocked=False) for change in self.steps),
                *(_change(change, blocked=True) for change in self.blocked),
            ],
            "findings": [finding(found) for found in self.findings],
            "unknown": {whole(room): whole(why) for room, why in self.unknown.items()},
        }
        if self.applied is not None:
            shown |= {"applied": self.applied, "failed": self.failed or 0}
        return shown


def of_pass(decided: Pass) -> Shown:
    return Shown(
        decided.cache.steps + decided.publish.steps,
        decided.cache.blocked + decided.publish.blocked,
        tuple(decided.want.findings),
        decided.want.unknown,
        waits=decided.want.waiting,
    )


def of_report(done: PassReport) -> Shown:
    shown = of_pass(done.decided)
    counts = done.cache.counts + done.publish.counts
    return Shown(
        shown.steps,
        shown.blocked,
        shown.findings,
        shown.unknown,
        applied=counts[Result.APPLIED] + counts[Result.PUBLISHED],
        failed=counts[Result.FAILED],
        waiting=counts[Result.WAITING] + counts[Result.STALE],
        waits=shown.waits,
    )


def show(shown: Shown, output: str, *, same: str = "in sync") -> None:
    """Print to stdout; `same` is what is said where nothing differs."""
    if output == "json":
        show_json(shown.json())
        return
    for change in shown.steps:
        click.echo(_line(change))
    for change in shown.blocked:
        click.echo(f"{_line(change)}   {click.style('(blocked)', bold=True)}")
    show_findings(shown.findings, shown.unknown)
    click.echo(_summary(shown, same))


def show_json(value: Any) -> None:
    """Print JSON in ASCII, so that no terminal takes anything in it for a command."""
    click.echo(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def show_findings(findings: tuple[Finding, ...], unknown: Mapping[str, str]) -> None:
    for found in findings:
        line = escaped(f"{found.code} {found.room}  {found.message}")
        click.echo(f"{click.style('!', fg='magenta')} {line}")
    for room, why in sorted(unknown.items()):
        click.echo(f"? {escaped(f'unknown {room}  {why}')}")


def show_failures(done: PassReport) -> None:
    """Print to stderr what failed, one line each, and why."""
    for outcome in done.cache.failed + done.publish.failed:
        click.echo(escaped(f"failed: {outcome.key}: {outcome.detail}"), err=True)


def _change(change: Change, *, blocked: bool) -> dict[str, Any]:
    cause = change.cause
    return {
        "action": change.action.value,
        "kind": change.key.kind,
        "name": whole(change.key.name),
        "fields": {
            whole(name): {"from": _plain(old), "to": _plain(new)}
            for name, (old, new) in change.fields.items()
        },
        "reason": whole(change.reason),
        "cause": None if cause is None else _plain(cause._asdict()),
        "blocked": blocked,
    }


def _plain(value: Any) -> Any:
    match value:
        case str():
            return whole(value)
        case Mapping():
            return {whole(str(name)): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value


def _line(change: Change) -> str:
    return click.style(line(change), fg=COLOURS[change.action])


def _summary(shown: Shown, same: str) -> str:
    counts = Counter(change.action for change in shown.steps)
    parts = [f"{counts[a]} to {a.value}" for a in Action if counts[a]]
    if shown.waits:
        parts.append(f"{shown.waits} waiting until every room can be read")
    first = ", ".join(parts) if parts or shown.blocked else same
    rest = [
        f"{count} {word}"
        for count, word in (
            (len(shown.blocked), "blocked"),
            (len(shown.findings), "findings" if len(shown.findings) > 1 else "finding"),
            (len(shown.unknown), "unknown"),
        )
        if count
    ]
    if shown.applied is not None and (shown.steps or shown.failed):
        rest.append(f"{shown.applied} applied")
        rest.append(f"{shown.failed or 0} failed")
        if shown.waiting:
            rest.append(f"{shown.waiting} left to later passes")
    return "; ".join(part for part in (first, ", ".join(rest)) if part)
