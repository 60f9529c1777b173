"""Whatever goes wrong, as one sentence for the person at the terminal.

The sentence of an error of ours says what to do. What nobody expected is named by its
type alone: its text could hold anything, also a secret."""

from __future__ import annotations

from collections.abc import Iterable

import click

from adapter.plain_text import escaped, hidden

OURS = ("adapter", "controller", "schemas")


class CommandError(Exception):
    """What a command cannot do, and what to do about it, in one sentence."""


def sentence(error: BaseException) -> str:
    """Say what happened and what to do; several lines only where several things did."""
    match error:
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return error.format_message()
        case BaseExceptionGroup():
            return "; ".join(dict.fromkeys(sentence(one) for one in error.exceptions))
        case TimeoutError():
            return "the homeserver did not answer in time: it is worth trying again"
        case OSError() if error.strerror:
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror}"
        case ModuleNotFoundError() if error.name:
            return f"the package {error.name} is missing: install spacekeeper again"
        case RecursionError():
            return "the data is nested too deeply: nothing was done"
        case _:
            pass
    if type(error).__module__.partition(".")[0] in OURS and str(error):
        return str(error)
    name = type(error).__name__
    return (
        f"this should not happen ({name}): run it with --debug and report what it shows"
    )


def report(error: BaseException, secrets: Iterable[str], *, debug: bool) -> None:
    """Print `error` to stderr: a sentence, after the traceback if `debug`."""
    if debug and not isinstance(error, click.ClickException):
        # Not at the top: it is seldom needed.
        import traceback

        click.echo(_safe("".join(traceback.format_exception(error)), secrets), err=True)
    click.echo(f"spacekeeper: {_safe(sentence(error), secrets)}", err=True)


def _usage(error: click.UsageError) -> str:
    said = error.format_message().rstrip(".")
    said = said[:1].lower() + said[1:]
    path = error.ctx.command_path if error.ctx else "spacekeeper"
    if isinstance(error, click.NoSuchOption) and error.ctx and _is_ours(error):
        return f"{said} of {error.ctx.info_name}: it goes before the command"
    return f"{said}; see `{path} --help`"


def _is_ours(error: click.NoSuchOption) -> bool:
    """Whether it is an option of `spacekeeper` itself."""
    root = error.ctx.find_root() if error.ctx else None
    return (
        root is not error.ctx
        and root is not None
        and any(error.option_name in one.opts for one in root.command.params)
    )


def _safe(text: str, secrets: Iterable[str]) -> str:
    lines = hidden(text, secrets).rstrip().split("\n")
    return "\n".join(escaped(line) for line in lines)
