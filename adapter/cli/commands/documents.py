"""`validate` and `diff`: documents alone, without a config, a cache or a homeserver."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapter.cli.errors import CommandError
from adapter.cli.options import OUTPUT
from adapter.plain_text import escaped

if TYPE_CHECKING:
    from schemas import Problem

DOCUMENT = click.Path(allow_dash=True)


@click.command(short_help="Check a document, and show every problem with its place.")
@click.argument("file", type=DOCUMENT)
def validate(file: str) -> int:
    """Check a document against the schema, and its digest against its content.

    Every problem is shown, one a line, each with its place. `-` reads stdin.

    \b
    Exit codes: 0 valid, 1 not.

    \b
    Examples:
      spacekeeper validate topology.yaml
      spacekeeper export | spacekeeper validate -
    """
    document = _read(file)
    found = _problems(document)
    for problem in found:
        click.echo(f"{escaped(file)}: {problem}")
    if not found:
        rooms = len(document["spec"]["rooms"])
        click.echo(f"{escaped(file)}: valid, {rooms} room{'s' * (rooms != 1)}")
    return 1 if found else 0


@click.command(short_help="Show what turns one document into another.")
@click.argument("old", type=DOCUMENT)
@click.argument("new", type=DOCUMENT)
@OUTPUT
def diff(old: str, new: str, output: str) -> int:
    """Show what turns the topology of document OLD into that of document NEW.

    When and by whom they were written does not matter.

    \b
    Exit codes: 0 the same, 2 they differ, 1 an error.

    \b
    Examples:
      spacekeeper diff yesterday.yaml today.yaml
      spacekeeper export --from cache | spacekeeper diff --output json topology.yaml -
    """
    from adapter.cli import output as out
    from adapter.matrix.document import documents_diff

    shown = out.Shown(tuple(documents_diff(_valid(old), _valid(new))))
    out.show(shown, output, same="the same topology")
    return 2 if shown.steps else 0


def _valid(file: str) -> dict[str, Any]:
    from schemas import problems

    document = _read(file)
    found = problems("topology", document)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        msg = f"{file} is no valid document: {found[0]}{more}; `spacekeeper validate` shows all"
        raise CommandError(msg)
    return document


def _problems(document: dict[str, Any]) -> list[Problem]:
    from adapter.matrix.document import digest
    from schemas import Problem, problems

    found = problems("topology", document)
    if not found and document["metadata"]["digest"] != digest(document["spec"]):
        message = "not the digest of this spec: one of them was changed by hand"
        found.append(Problem("$.metadata.digest", message))
    return found


def _read(file: str) -> dict[str, Any]:
    from adapter.matrix.document import DocumentError, from_text

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return from_text(content.decode("utf-8"))
    except UnicodeDecodeError as exc:
        msg = f"{file} is no document: it is not UTF-8 text"
        raise CommandError(msg) from exc
    except DocumentError as exc:
        msg = f"{file} is no document: {exc}"
        raise CommandError(msg) from exc
    except ValueError as exc:  # a path with a NUL in it
        msg = f"{file} cannot be read: {exc}"
        raise CommandError(msg) from exc
