"""The whole story once, on a homeserver that lives as long as the demo.

Every sentence with a mark in front was checked; one that is false makes it exit 1.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adapter.cli.account import Account, http_session
from adapter.cli.homeserver import homeserver
from adapter.cli.output import of_pass, show
from adapter.cli.session import logged_in
from adapter.matrix.desired import Desired
from adapter.matrix.document import document, places, to_json, to_yaml
from adapter.matrix.reconciliation import (
    look,
    observed_document,
    reconcile_once,
)
from adapter.matrix.rows import topology
from adapter.matrix.store import Store
from controller.model import Change

if TYPE_CHECKING:
    from nio import AsyncClient

IDENTITY = "io.spacekeeper.identity"

State = dict[str, dict[tuple[str, str], str]]
"""Room -> (type, state key) -> event id."""


class Claims:
    """What the demo says, and whether all of it was true."""

    def __init__(self) -> None:
        self.hold = True

    def check(self, claim: str, truth: bool) -> None:
        mark = click.style("ok", fg="green") if truth else click.style("NO", fg="red")
        click.echo(f"  {mark}  {claim}")
        self.hold = self.hold and truth


def main() -> int:
    """Run the demo; 1 if anything that it said was false."""
    return asyncio.run(_demo())


async def _demo() -> int:
    claims = Claims()
    folder = Path(tempfile.mkdtemp(prefix="spacekeeper-demo-"))
    try:
        _act(1, "a homeserver, three people, their Spaces and rooms")
        async with homeserver() as server, http_session() as session:
            bot = Account(server.url, await server.register("bot"), session)
            people = [
                Account(server.url, await server.register(name), session)
                for name in ("alice", "bob", "carol")
            ]
            rooms = await _world(bot, *people)
            login = bot.login
            async with logged_in(
                bot.url, bot.user_id, login.device_id, login.access_token
            ) as client:
                await _story(client, bot, rooms, folder / "demo.db", claims)
    finally:
        shutil.rmtree(folder)
    click.echo()
    click.echo("Everything above holds." if claims.hold else "Not all of it is true.")
    return 0 if claims.hold else 1


# --- the world ---------------------------------------------------------------


async def _world(
    bot: Account, alice: Account, bob: Account, carol: Account
) -> set[str]:
    """Make everybody's rooms by raw calls, as a bot would have over a year."""
    marked = await _space(bot, alice, marked=True)
    one, two = [await _chat(bot, alice, marked, n, marked=True) for n in (1, 2)]
    _say(f"{alice.user_id}: a Space and 2 chats, each saying whose it is")

    legacy = await _space(bot, bob, marked=False)
    old = [await _chat(bot, bob, legacy, n, marked=False) for n in (1, 2)]
    _say(f"{bob.user_id}: a Space and 2 chats that say nothing: made by an older bot")

    space = await _space(bot, carol, marked=True)
    kept, archived = [await _chat(bot, carol, space, n, marked=True) for n in (1, 2)]
    await bot.unlink(space, archived)
    upgraded = await bot.upgrade(kept, "12")
    _say(
        f"{carol.user_id}: a Space, a chat that was upgraded, and one that is archived"
    )
    return {marked, one, two, legacy, *old, space, kept, archived, upgraded}


async def _space(bot: Account, owner: Account, *, marked: bool) -> str:
    identity = {"v": 1, "kind": "space", "owner": owner.user_id}
    room = await bot.create_room(
        room_type="m.space",
        name=_first_name(owner),
        creation_content={IDENTITY: identity} if marked else None,
    )
    await _bring_in(bot, owner, room)
    return room


async def _chat(
    bot: Account, owner: Account, space: str, number: int, *, marked: bool
) -> str:
    identity = {
        "v": 1,
        "kind": "chat",
        "owner": owner.user_id,
        "chat_id": f"C{number}",
        "platform_chat_id": f"conversation-{_first_name(owner)}-{number}",
    }
    room = await bot.create_room(
        name=f"Chat {number}",
        creation_content={IDENTITY: identity} if marked else None,
    )
    await bot.link(space, room)
    await _bring_in(bot, owner, room)
    return room


async def _bring_in(bot: Account, owner: Account, room: str) -> None:
    await bot.invite(room, owner.user_id)
    await owner.join(room)


def _first_name(owner: Account) -> str:
    return owner.user_id[1:].split(":", 1)[0]


# --- the story ---------------------------------------------------------------


async def _story(
    client: AsyncClient, bot: Account, rooms: set[str], database: Path, claims: Claims
) -> None:
    _act(2, "no database: what would a pass do?")
    async with Store.read(database) as store:
        decided = await look(client, store)
    show(of_pass(decided), "text")
    claims.check("looking made no database", not _files(database.parent))

    _act(3, "one pass")
    before = await _server(bot)
    first = await reconcile_once(client, database)
    written = _differing(before, await _server(bot))
    claims.check(
        "every room of the bot has its row",
        {key.name for key in first.decided.want.rooms} == rooms,
    )
    claims.check("no step failed", not (first.cache.failed or first.publish.failed))
    claims.check(
        f"on the server, {len(written)} state events are new: just those of the plan",
        written == _planned(first.decided.publish.steps),
    )
    document = await _cached(client, database)

    _act(4, "the database is deleted, and the bot starts again")
    server = await _server(bot)
    for file in _files(database.parent):
        file.unlink()
    second = await reconcile_once(client, database)
    again = await _cached(client, database)
    claims.check(
        "the document of the cache is the same, byte for byte",
        to_json(_timeless(document)) == to_json(_timeless(again)),
    )
    claims.check(
        "and it is the document that Matrix alone gives",
        document["spec"] == (await observed_document(client))["spec"],
    )
    claims.check(
        "on the server not one state event is new, and no room",
        await _server(bot) == server and not second.publish.outcomes,
    )
    third = await reconcile_once(client, database)
    claims.check("one more pass finds nothing to do", third.decided.in_sync)

    _act(5, "the topology as a document")
    click.echo(to_yaml(again))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def _cached(client: AsyncClient, database: Path) -> dict[str, Any]:
    async with Store.read(database) as store:
        rows = await store.rows()
        last = await store.last_pass()
    return document(
        Desired(topology(rows), places(rows)),
        account=client.user_id,
        homeserver=client.homeserver,
        complete=True,
        observed_at=last.at if last else None,
    )


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    """The document without when it was seen: two looks are never at one time."""
    status = {n: v for n, v in document["status"].items() if n != "observed_at"}
    return {**document, "status": status}


async def _server(bot: Account) -> State:
    """Every state event of every room that the bot is in, by its id."""
    return {
        room: {
            (event["type"], event["state_key"]): event["event_id"]
            for event in await bot.state(room)
        }
        for room in sorted(await bot.joined_rooms())
    }


def _differing(old: State, new: State) -> set[tuple[str, str]]:
    """Room and `<type>|<state key>` of each event that is not as it was."""
    return {
        (room, "|".join(place))
        for room in old.keys() | new.keys()
        for place, event_id in new.get(room, {}).items()
        if old.get(room, {}).get(place) != event_id
    }


def _planned(steps: Iterable[Change]) -> set[tuple[str, str]]:
    return {(step.key.name, field) for step in steps for field in step.fields}


def _act(number: int, what: str) -> None:
    click.echo(f"\n{click.style(f'{number}. {what}', bold=True)}")


def _say(what: str) -> None:
    click.echo(f"      {what}")
