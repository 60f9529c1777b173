"""Scenarios 31 to 35: rooms of an older bot, which say nothing of themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapter.cli.account import Account, call
from adapter.cli.homeserver import Homeserver
from adapter.cli.homeserver import homeserver as run_homeserver
from adapter.matrix.reconciliation import reconcile_once
from adapter.matrix.settings import ReconcileSettings
from controller.apply import Result
from tests.adapter.matrix.city import BINDING, CHILD, City, chat_identity, derived
from tests.adapter.matrix.landlord import happened
from tests.adapter.matrix.test_rate_limits import old_town
from tests.conformance.situation import (
    Bound,
    a_chat,
    a_space,
    holds,
    record_of,
    stays,
)
from tests.faults import Answer, Before, Drop, Proxy

IN_AN_HOUR = b'{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 3600000}'
RECORD = "PUT .*/state/io.spacekeeper.binding/.*"


@pytest.mark.scenario(31)
async def test_31_a_room_whose_row_agrees_is_recorded_once(city: City) -> None:
    """A linked room with a row: its record is written, and what it is bound to stays."""
    bob, space, (one, two) = await city.old_home(chats=2)
    await city.startup()
    # What only the row knows is written, and not what would be derived.
    city.spoil(
        "UPDATE room_meta SET platform_chat_id = 'mine', chat_id = 'C9'"
        " WHERE room_id = :two",
        two=two,
    )
    rows = {
        space: a_space(bob),
        one: a_chat(bob, space, 1, platform=derived(one)),
        two: a_chat(bob, space, 9, platform="mine"),
    }
    alone = rows | {two: a_chat(bob, space, 2, platform=derived(two))}
    # The table stays byte for byte.
    await stays(city, rows, cold=alone, writes=record_of(city, space, one, two))
    assert await city.binding(two) == chat_identity(bob, 9, "mine")


@pytest.mark.scenario(32)
@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_32_a_room_without_a_row_is_bound_the_same_at_each_rebuild(
    city: City, version: str
) -> None:
    """A linked room without a row: owner by the Space, number by order, the rest derived."""
    bob = await city.person("bob")
    space, first, second, third = await asyncio.gather(
        city.space(bob, legacy=True, version=version),
        *(city.room(bob, version=version) for _ in range(3)),
    )
    for room in (second, third):
        await city.bot.link(space, room)
    await city.bot.link(space, first, order="a")
    rows = {space: a_space(bob)} | {
        room: a_chat(bob, space, number, platform=derived(room))
        for number, room in enumerate((first, second, third), 1)
    }
    await city.startup()
    city.forget()
    await holds(city, rows, writes=record_of(city, *rows))
    # From now on another order changes nothing, nor does a guest.
    await city.bot.link(space, third, order="0")
    guest = await city.person("guest")
    await city.bot.invite(space, guest.user_id)
    city.forget()
    await holds(city, rows)


@pytest.mark.scenario(33)
async def test_33_a_room_that_no_space_names_keeps_its_row(city: City) -> None:
    """A room unlinked before it was recorded is its row's, and no other owner's Space's."""
    (bob, space, (one, two)), (carol, other, _) = await asyncio.gather(
        city.old_home("bob", 2), city.old_home("carol", 0)
    )
    await city.startup()
    emptied = await city.bot.unlink(space, one)
    stray = await city.room(bob)
    # Carol was never in it, so that her Space makes it nobody's but Bob's.
    await city.bot.link(other, two)
    bound = {
        n: a_chat(bob, space, n, platform=derived(r)) for n, r in ((1, one), (2, two))
    }
    gone = bound[1]._replace(status="detached: unlinked", evidence=emptied)
    rows = {space: a_space(bob), other: a_space(carol), one: gone, two: bound[2]}
    unclear = {("ambiguous_owner", stray), ("foreign_link", two)}
    alone = {
        space: rows[space],
        other: rows[other],
        two: bound[2]._replace(chat_id="C1"),
    }
    await holds(
        city,
        rows,
        findings=unclear,
        cold=alone,
        cold_findings={*unclear, ("ambiguous_owner", one)},
        writes=record_of(city, *rows),
    )


@pytest.mark.scenario(34)
async def test_34_records_are_written_as_the_limits_allow(
    city: City, homeserver: Homeserver
) -> None:
    """Rooms under rate limits: bound at once, recorded over many passes, none of them twice."""
    bob, space, rooms = await city.old_home(chats=9, join=False)
    rows = {space: a_space(bob, "pending")} | {
        room: a_chat(bob, space, number, "pending", platform=derived(room))
        for number, room in enumerate(rooms, 1)
    }
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        for through, is_lost in ((4, False), (0, False), (3, True)):
            if is_lost:
                city.forget()
            limited = proxy.at(RECORD, Answer(429, IN_AN_HOUR), through + 1)
            done = await city.once(settings=ReconcileSettings(publish_patience=0))
            await limited.struck()
            assert (done.result, done.publish.counts[Result.PUBLISHED]) == (
                "waiting",
                through,
            )
            assert {row["platform_chat_id"] for row in city.rows().values()} == {
                row.platform_chat_id for row in rows.values()
            }
        due = {room for room in rows if await city.binding(room) is None}
        assert len(due) == len(rows) - 7
        await holds(city, rows, writes=record_of(city, *due))
    for room in rows:
        assert len(await happened(city, room, BINDING, city.bot.user_id)) == 1


@pytest.mark.scenario(34)
async def test_34_a_servers_own_limits_are_waited_out(tmp_path: Path) -> None:
    """30 rooms at the limits that servers have: all are bound, whatever is recorded yet.

    An answer is lost, two passes write the same at once, the file is gone: one record each."""
    async with (
        run_homeserver(limits="default") as limited,
        old_town(limited, tmp_path) as city,
        Proxy(limited.url) as proxy,
    ):
        city.client.homeserver = proxy.url
        rows = await bound_by_order(city)
        at_once = ReconcileSettings(publish_patience=0)

        async def another() -> None:
            path = tmp_path / "another.db"
            done = await reconcile_once(city.client, path, settings=at_once)
            assert done.result == "waiting"
            assert done.publish.counts[Result.PUBLISHED]

        async def passed(result: str) -> None:
            assert (await city.once(settings=at_once)).result == result
            assert {r: Bound.of(row) for r, row in city.rows().items()} == rows

        lost = proxy.at(RECORD, Drop())
        await passed("failed")
        assert lost.is_struck
        same = proxy.at(RECORD, Before(another))
        await passed("waiting")
        await same.struck()
        city.forget()
        await passed("waiting")
        due = {room for room in rows if await city.binding(room) is None}
        assert 0 < len(due) < len(rows) == 30
        await lift_limits(limited, city.bot)
        await holds(city, rows, writes=record_of(city, *due))
        for room in rows:
            assert len(await happened(city, room, BINDING, city.bot.user_id)) == 1


async def bound_by_order(city: City) -> dict[str, Bound]:
    """What rules 4, 5 and 11 make of old homes: numbers by the age of the links."""
    rows = {}
    for owner in city.people:
        for room in await owner.joined_rooms():
            state = await owner.state(room)
            links = [event for event in state if event["type"] == CHILD]
            links.sort(key=lambda link: (link["origin_server_ts"], link["state_key"]))
            if links:
                rows[room] = a_space(owner)
            for number, link in enumerate(links, 1):
                chat = link["state_key"]
                rows[chat] = a_chat(owner, room, number, platform=derived(chat))
    return rows


async def lift_limits(server: Homeserver, account: Account) -> None:
    warden = await server.register("warden", admin=True)
    url = f"{server.url}/_synapse/admin/v1/users/{account.user_id}/override_ratelimit"
    body = {"messages_per_second": 0, "burst_count": 0}
    await call(account.session, "POST", url, token=warden.access_token, body=body)


@pytest.mark.scenario(35)
async def test_35_a_record_that_is_refused_is_a_finding_for_a_day(city: City) -> None:
    """A record that is refused is a finding: the row stands, and the bot asks once a day."""
    bob, space, (one, two) = await city.old_home(chats=2, version="11")
    await city.bot.set_power(one, {city.bot.user_id: 0})
    rows = {space: a_space(bob)} | {
        room: a_chat(bob, space, number, platform=derived(room))
        for number, room in enumerate((one, two), 1)
    }
    refused = {("unpublishable", one)}
    await holds(city, rows, writes=record_of(city, space, two), findings=refused)
    results = "SELECT room_id FROM publications WHERE result = 'refused'"
    for _ in range(2):
        await stays(city, rows, findings=refused)
        assert city.query(results) == [(one,)]
    # A day later it is tried again, and once more in vain.
    city.spoil("UPDATE publications SET at = at - 90000000")
    assert (await city.once()).result == "failed"
    await stays(city, rows, findings=refused)
