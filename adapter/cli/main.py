"""`spacekeeper`: the commands, what stands before their names, and how they end.

Everything heavy is imported by the command that needs it, so that help is instant."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from adapter.cli import errors
from adapter.cli.commands.adopt import adopt
from adapter.cli.commands.demo import demo
from adapter.cli.commands.dev import dev
from adapter.cli.commands.doctor import doctor
from adapter.cli.commands.documents import diff, validate
from adapter.cli.commands.drill import drill
from adapter.cli.commands.export import export
from adapter.cli.commands.login import login
from adapter.cli.commands.passes import plan, reconcile
from adapter.cli.commands.run import run
from adapter.cli.commands.status import status
from adapter.cli.logs import to_stderr
from adapter.cli.session import Session


class Commands(click.Group):
    """A group whose every failure is one sentence on stderr, and exit code 1."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        session = Session()
        _show_what_cannot_be_encoded()
        try:
            code = super().main(
                args, prog_name, complete_var, False, **{"obj": session, **extra}
            )
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has seen enough; nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except (click.Abort, KeyboardInterrupt):
            click.echo("spacekeeper: stopped before it was done", err=True)
            code = 1
        except Exception as error:  # noqa: BLE001 - a traceback is for --debug alone
            errors.report(error, session.secrets, debug=session.debug)
            code = 1
        # A command returns its exit code; one that returns nothing has succeeded.
        sys.exit(code or 0)


def _show_what_cannot_be_encoded() -> None:
    """Let names of any script through a terminal that knows one script alone, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("spacekeeper")
    except PackageNotFoundError:
        found = "(not installed)"
    click.echo(f"spacekeeper {found}")
    context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path("spacekeeper.yaml"),
    metavar="FILE",
    help="The config file.  [default: spacekeeper.yaml]",
)
@click.option(
    "--log-format",
    type=click.Choice(["plain", "json"]),
    default="plain",
    help="How log lines on stderr look.  [default: plain]",
)
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(
    context: click.Context, config_file: Path, log_format: str, debug: bool
) -> None:
    """Give every user a Matrix Space of chat rooms, and rebuild it from Matrix alone.

    Every setting can also come from the environment, which wins over the file:
    SPACEKEEPER_ACCESS_TOKEN, SPACEKEEPER_RECONCILE__INTERVAL.

    \b
    Examples:
      spacekeeper login --homeserver https://matrix.your.server --user @bot:your.server
      spacekeeper plan
      spacekeeper --config /etc/spacekeeper.yaml reconcile
    """
    session = context.ensure_object(Session)
    session.config_file, session.log_format = config_file, log_format
    session.debug = debug
    # Who watches a process that runs for long wants to see what it does, and when.
    runs = context.invoked_subcommand == "run"
    level = logging.INFO if debug or runs else logging.WARNING
    context.with_resource(
        to_stderr(log_format, level=level, times=runs, secrets=session.secrets)
    )
    if os.environ.get("NO_COLOR"):
        context.color = False


for command in (
    *(login, run, plan, reconcile, export, validate, diff, status),
    *(doctor, drill, adopt, demo, dev),
):
    main.add_command(command)

if __name__ == "__main__":
    main()
