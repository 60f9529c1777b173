"""What a demonstration says, and whether all of it was true."""

from __future__ import annotations

import click

from adapter.plain_text import escaped


class Claims:
    """Sentences with a mark in front: each was checked."""

    def __init__(self) -> None:
        self.hold = True

    def check(self, claim: str, truth: bool) -> None:
        mark = click.style("ok", fg="green") if truth else click.style("NO", fg="red")
        click.echo(f"  {mark}  {escaped(claim)}")
        self.hold = self.hold and truth

    def verdict(self) -> int:
        """Say whether all of it holds, and return the exit code that says it, too."""
        click.echo()
        click.echo("Everything above holds." if self.hold else "Not all of it is true.")
        return 0 if self.hold else 1


def act(number: int, what: str) -> None:
    """Print the heading of what comes next."""
    click.echo(f"\n{click.style(f'{number}. {what}', bold=True)}")


def say(what: str) -> None:
    """Print what is no claim; of several lines, each."""
    for line in what.splitlines():
        click.echo(f"      {escaped(line)}".rstrip())
