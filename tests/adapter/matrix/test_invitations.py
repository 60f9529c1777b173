"""The invitations that stand open, however the server can be asked for them."""

from __future__ import annotations

import json

import pytest

from adapter.cli.account import Account
from adapter.cli.homeserver import Homeserver
from adapter.matrix import invitations
from adapter.matrix.facts import EventTypes
from adapter.matrix.invitations import open_invitations
from adapter.matrix.wire import RateLimited, Wire
from tests.adapter.matrix.city import City
from tests.faults import FAULTS, Alter, Proxy, Reply
from tests.faults.proxy import Match

TYPES = EventTypes()
SLIDING: Match = "POST .*/sync"


async def invited(account: Account, bot: Account) -> str:
    return await account.create_room(invite=[bot.user_id], is_direct=True)


@pytest.mark.parametrize("fails", [None, "GET .*/versions", SLIDING], ids=str)
async def test_all_that_stand_open_are_seen(
    city: City, homeserver: Homeserver, fails: Match | None
) -> None:
    """With what they show, and without those that were answered or taken back."""
    person = await city.person()
    open_, declined, accepted, kicked = [
        await invited(person, city.bot) for _ in range(4)
    ]
    await city.bot.leave(declined)
    await city.bot.join(accepted)
    await person.kick(kicked, city.bot.user_id)
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        if fails:
            proxy.at(fails, FAULTS["500"](), times=100)
        found = await open_invitations(Wire(city.client, patience=0), TYPES)
    assert found.keys() == {open_}
    mine = [e for e in found[open_] if e.get("state_key") == city.bot.user_id]
    assert [(e["sender"], e["content"]["membership"]) for e in mine] == [
        (person.user_id, "invite")
    ]


async def test_none(city: City) -> None:
    await city.home()
    assert await open_invitations(Wire(city.client), TYPES) == {}


async def test_more_than_one_answer_has(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks again, for all of them at once."""
    monkeypatch.setattr(invitations, "WINDOW", 2)
    person = await city.person()
    rooms = {await invited(person, city.bot) for _ in range(5)}
    assert (await open_invitations(Wire(city.client), TYPES)).keys() == rooms


async def test_a_list_that_is_cut_is_not_all(
    city: City, homeserver: Homeserver
) -> None:
    """It says how many there are: then they are asked for in another way."""
    person = await city.person()
    rooms = {await invited(person, city.bot) for _ in range(2)}

    def cut(reply: Reply) -> Reply:
        answer = json.loads(reply.body)
        answer["rooms"].popitem()
        return reply._replace(body=json.dumps(answer).encode())

    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        proxy.at(SLIDING, Alter(cut), times=100)
        found = await open_invitations(Wire(city.client, patience=0), TYPES)
    assert found.keys() == rooms


async def test_a_limit_is_told(city: City, homeserver: Homeserver) -> None:
    """Asking in another way would be asking all the same."""
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        limited = proxy.at(SLIDING, FAULTS["429, wait in the body"](), times=100)
        with pytest.raises(RateLimited):
            await open_invitations(Wire(city.client, patience=0), TYPES)
        limited.end()
