"""`export`: the topology as a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapter.cli.session import Session, connected, wait

if TYPE_CHECKING:
    from adapter.config import Config


@click.command(short_help="Write the topology as a document.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["matrix", "cache"]),
    default="matrix",
    help="What Matrix shows, or what the cache holds.  [default: matrix]",
)
@click.option(
    "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True
)
@click.option(
    "--file", "target", type=click.Path(path_type=Path, allow_dash=True), metavar="F"
)
@click.option("--partial", is_flag=True, help="Also when not everything could be read.")
@click.pass_obj
def export(
    session: Session, source: str, output: str, target: Path | None, partial: bool
) -> None:
    """Write the topology as a document, to stdout or to a file of mode 0600.

    From Matrix it is what Matrix alone shows: the cache has no say in it. From the
    cache it needs no homeserver.

    \b
    Examples:
      spacekeeper export --file topology.yaml
      spacekeeper export --from cache --output json
    """
    from adapter.cli.files import write
    from adapter.matrix.document import to_json, to_yaml

    config = session.config()
    look = _from_cache(config) if source == "cache" else _from_matrix(config, partial)
    document = wait(look)
    _check(document)
    text = to_json(document) if output == "json" else to_yaml(document)
    if target is None or str(target) == "-":
        click.echo(text.encode(), nl=False)
    else:
        write(target, text.encode())


def _check(document: dict[str, Any]) -> None:
    """Refuse what `validate` would refuse: a cache can hold what somebody wrote there."""
    from adapter.cli.errors import CommandError
    from schemas import problems

    if found := problems("topology", document):
        msg = f"this would be no valid document: {found[0]}; `spacekeeper reconcile` mends the cache"
        raise CommandError(msg)


async def _from_matrix(config: Config, partial: bool) -> dict[str, Any]:
    from adapter.cli.progress import progress
    from adapter.matrix.reconciliation import observed_document

    async with connected(config) as client, progress("looking at Matrix"):
        found: dict[str, Any] = await observed_document(
            client, types=config.events, partial=partial
        )
        return found


async def _from_cache(config: Config) -> dict[str, Any]:
    from adapter.cli.memory import remembered
    from adapter.matrix.desired import Desired
    from adapter.matrix.document import document, places
    from adapter.matrix.rows import topology

    memory = await remembered(config)
    return document(
        Desired(
            topology(memory.rows),
            places(memory.rows),
            findings=memory.findings,
            unknown=memory.unknown,
        ),
        account=config.user_id,
        homeserver=config.homeserver,
        complete=memory.complete,
        observed_at=memory.at,
    )
