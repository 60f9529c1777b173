"""The entry points on a real server: rebuilt from topology, in sync, safe from faults."""

from __future__ import annotations

import pytest

from adapter.matrix.reconciliation import reconcile_once, reconcile_startup
from adapter.matrix.store import Store
from adapter.matrix.wire import TokenRefused, WrongToken
from controller.apply import Result
from tests.adapter.matrix.city import (
    BINDING,
    City,
    client_of,
    conversation,
    derived,
)

# --- from topology alone -------------------------------------------------------


async def test_a_start_without_a_database_rebuilds_every_row(city: City) -> None:
    """Without a file, rows and views are what the topology says, and nothing is written."""
    alice, space, (one, two) = await city.home(chats=2)
    bob, old_space, (three,) = await city.old_home()
    foreign = await bob.create_room(invite=[city.bot.user_id])
    await city.bot.join(foreign)
    server, position = await city.server(), await city.position()

    report = await city.startup()

    assert report.result == "converged"
    assert len(report.decided.publish.steps) == 2  # left to `reconcile_once`
    assert {room: city.bound(room) for room in city.rows()} == {
        space: ("space", alice.user_id, None, None, None),
        one: ("chat", alice.user_id, space, "C1", conversation(alice, 1)),
        two: ("chat", alice.user_id, space, "C2", conversation(alice, 2)),
        old_space: ("space", bob.user_id, None, None, None),
        three: ("chat", bob.user_id, old_space, "C1", derived(three)),
    }
    assert {city.status(room) for room in city.rows()} == {"active"}
    assert city.users() == {alice.user_id: space, bob.user_id: old_space}
    assert city.chats() == {
        conversation(alice, 1): (alice.user_id, "C1", one),
        conversation(alice, 2): (alice.user_id, "C2", two),
        derived(three): (bob.user_id, "C1", three),
    }
    assert await city.server() == server
    assert await city.position() == position

    rows = city.rows()
    done = await city.once()
    assert done.publish.counts[Result.PUBLISHED] == 2
    after = await city.server()
    mine = (BINDING, city.bot.user_id)
    assert {
        (room, place)
        for room, state in after.items()
        for place, event in state.items()
        if server[room].get(place) != event
    } == {(old_space, mine), (three, mine)}
    assert after.keys() == server.keys()
    assert city.rows() == rows
    assert await city.said() == []
    await city.settled()


async def test_an_account_without_rooms_has_an_empty_cache(city: City) -> None:
    """A bot that was never in any room has nothing to do, and that is no failure."""
    assert (await city.startup()).result == "in sync"
    assert city.rows() == {}
    await city.settled()


async def test_an_open_store_serves_as_well_as_a_path(city: City) -> None:
    """A program that keeps the cache open passes it instead of the path."""
    _, space, (one,) = await city.home()
    bot = city.bot
    async with Store.open(city.path, user_id=bot.user_id, homeserver=bot.url) as store:
        await reconcile_startup(city.client, store)
        assert (await reconcile_once(city.client, store)).result == "in sync"
        assert set(await store.rows()) == {space, one}
    await city.settled()


# --- faults --------------------------------------------------------------------


async def test_a_wrong_token_changes_nothing(city: City) -> None:
    """A token that nobody knows makes no file, and leaves one as it was."""
    await city.old_home()
    client = client_of(city.bot, "not-a-token")
    try:
        for entry in (reconcile_startup, reconcile_once):
            with pytest.raises(TokenRefused):
                await entry(client, city.path)
        assert list(city.path.parent.iterdir()) == []
        await city.startup()
        before = city.path.read_bytes(), await city.position()
        with pytest.raises(TokenRefused):
            await reconcile_once(client, city.path)
        assert (city.path.read_bytes(), await city.position()) == before
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def test_the_token_of_another_account_changes_nothing(city: City) -> None:
    """Who asks is checked before anything is believed: no file, no row, no event."""
    await city.old_home()
    other = await city.person("other")
    client = client_of(city.bot, other.login.access_token)
    try:
        with pytest.raises(WrongToken):
            await reconcile_once(client, city.path)
        assert list(city.path.parent.iterdir()) == []
        await city.startup()
        before = city.dump(), await city.position()
        with pytest.raises(WrongToken):
            await reconcile_once(client, city.path)
        assert (city.dump(), await city.position()) == before
    finally:
        await client.close()  # type: ignore[no-untyped-call]
    assert (await city.once()).result == "converged"
