"""What the product relies on in Matrix and Synapse, each checked on a real server.

Nothing of the product is used but the requests that it makes: if a test fails here,
the world has changed, and what rests on the fact has to be looked at.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from adapter.cli.account import Account, CallFailed, Json, call
from adapter.matrix.channels import sync_filter, window_request
from adapter.matrix.facts import EventTypes
from tests.conftest import Accounts

TYPES = EventTypes()
VERSIONS = ["10", "11", "12"]


async def sync(account: Account, sync_filter: Json, ask: int, **more: Any) -> Json:
    return await account.call(
        "GET",
        "sync",
        filter=json.dumps(sync_filter),
        timeout=ask,
        set_presence="offline",
        **more,
    )


async def snapshot(account: Account, ask: int) -> Json:
    """The snapshot that the product asks for; `ask` makes the question another one."""
    return await sync(account, sync_filter(TYPES), ask, full_state="true")


async def window(account: Account, conn_id: str = "c", pos: str | None = None) -> Json:
    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    return await call(
        account.session,
        "POST",
        account.url + path,
        token=account.login.access_token,
        body={"conn_id": conn_id} | window_request(TYPES, 0, 100),
        query={"timeout": 0} | ({"pos": pos} if pos else {}),
    )


async def refused(account: Account, room: str) -> tuple[int, str]:
    with pytest.raises(CallFailed) as caught:
        await account.state(room)
    return caught.value.status, caught.value.errcode


def children_in(events: list[Json]) -> set[str]:
    return {e["state_key"] for e in events if e["type"] == "m.space.child"}


def types_in(events: list[Json]) -> set[str]:
    return {event["type"] for event in events}


def in_section(room: Json) -> list[Json]:
    return [*room["state"]["events"], *room["timeline"]["events"]]


async def thrown_out(bot: Account, person: Account, *, ban: bool) -> str:
    room = await bot.create_room(version="11", invite=[person.user_id])
    await person.join(room)
    await bot.set_power(room, {person.user_id: 100, bot.user_id: 50})
    await (person.ban if ban else person.kick)(room, bot.user_id)
    return room


# /sync


async def test_the_same_question_gets_an_old_answer(bot: Account) -> None:
    """Synapse repeats itself for two minutes; another `timeout` is another question."""
    await bot.create_room()
    assert len((await snapshot(bot, 1))["rooms"]["join"]) == 1
    await bot.create_room()
    assert len((await snapshot(bot, 1))["rooms"]["join"]) == 1
    assert len((await snapshot(bot, 2))["rooms"]["join"]) == 2


async def test_a_long_timeout_is_no_wait(bot: Account) -> None:
    """A sync without `since` answers at once, whatever its timeout is."""
    assert (await snapshot(bot, 1_999_999))["next_batch"]


async def test_an_account_without_rooms(bot: Account) -> None:
    """It has no key `rooms`."""
    assert "rooms" not in await snapshot(bot, 1)


async def test_events_that_crossed_each_other(bot: Account) -> None:
    """Of what was written at the same time, /sync leaves a part out until somebody writes
    once more. Sliding sync and /state have all of it."""
    for ask in range(10):
        space = await bot.create_room(room_type="m.space")
        children = {f"!child-{number}:hs.test" for number in range(6)}
        await asyncio.gather(*(bot.link(space, child) for child in children))
        room = (await snapshot(bot, 10 + ask))["rooms"]["join"][space]
        shown = room["state"]["events"] + room["timeline"]["events"]
        slid = (await window(bot, f"c{ask}"))["rooms"][space]["required_state"]
        for events in (slid, await bot.state(space)):
            assert children_in(events) == children
        if children_in(shown) < children:
            return
    pytest.fail("it shows everything by now: see `channels.filtered_sync`")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_filter_lets_all_through(bot: Account, version: str) -> None:
    """State and timeline together hold what /state does, of the types asked for."""
    room = await bot.create_room(version=version, room_type="m.space", name="S")
    await bot.link(room, "!a:hs.test")
    await bot.put_state(room, TYPES.binding, {"v": 1}, bot.user_id)
    await bot.send(room, "word")
    shown = in_section((await snapshot(bot, 1))["rooms"]["join"][room])
    wanted = [
        e["event_id"] for e in await bot.state(room) if e["type"] in TYPES.state()
    ]
    assert len(wanted) == 5
    assert {event["event_id"] for event in shown} == set(wanted)


async def test_a_filter_by_room_hides_creation(bot: Account) -> None:
    """With `rooms` in the filter a version 12 room shows no m.room.create: never used."""
    for version, there in (("11", True), ("12", False)):
        room = await bot.create_room(version=version)
        only = {"room": {"rooms": [room], "timeline": {"limit": 1}}}
        answer = await sync(bot, only, 1, full_state="true")
        shown = in_section(answer["rooms"]["join"][room])
        assert ("m.room.create" in types_in(shown)) is there


async def test_what_is_left(accounts: Accounts) -> None:
    """Kicks and bans are shown always, own leaving and declining on demand."""
    bot, person = await accounts("bot"), await accounts()
    kicked = await thrown_out(bot, person, ban=False)
    banned = await thrown_out(bot, person, ban=True)
    left = await bot.create_room()
    declined = await person.create_room(invite=[bot.user_id])
    for room in (left, declined):
        await bot.leave(room)
    leave = (await snapshot(bot, 1))["rooms"]["leave"]
    assert leave.keys() == {kicked, banned, left, declined}
    for room in leave.values():
        assert {"m.room.create", "m.room.member"} <= types_in(in_section(room))
    plain = sync_filter(TYPES)
    del plain["room"]["include_leave"]
    leave = (await sync(bot, plain, 2, full_state="true"))["rooms"]["leave"]
    assert leave.keys() == {kicked, banned}


async def test_a_live_token_loses_nothing(bot: Account) -> None:
    """From a token taken before the snapshot, live shows all that came after it."""
    room = await bot.create_room()
    token = (await sync(bot, {"room": {"rooms": []}}, 1))["next_batch"]
    sent = await bot.send(room, "in between")
    await snapshot(bot, 2)
    live = await bot.call("GET", "sync", since=token, timeout=0)
    events = live["rooms"]["join"][room]["timeline"]["events"]
    assert sent in [event["event_id"] for event in events]


# Sliding sync


async def test_sliding_sync_is_offered(bot: Account) -> None:
    """/versions says so, and asks for no token."""
    url = f"{bot.url}/_matrix/client/versions"
    features = (await call(bot.session, "GET", url))["unstable_features"]
    assert features["org.matrix.simplified_msc3575"] is True


async def test_what_sliding_sync_lists(accounts: Accounts) -> None:
    """Joined, invited, kicked and banned rooms; not what the account left by itself.

    `count` counts them. A room that the bot was thrown out of shows the state of then."""
    bot, person = await accounts("bot"), await accounts()
    joined = await bot.create_room(version="12")
    kicked = await thrown_out(bot, person, ban=False)
    banned = await thrown_out(bot, person, ban=True)
    invited = await person.create_room(invite=[bot.user_id])
    retracted = await person.create_room(invite=[bot.user_id])
    await person.kick(retracted, bot.user_id)
    declined = await person.create_room(invite=[bot.user_id])
    for room in (declined, await bot.create_room()):
        await bot.leave(room)
    answer = await window(bot)
    assert answer["rooms"].keys() == {joined, kicked, banned, invited, retracted}
    assert answer["lists"]["all"]["count"] == 5
    assert "required_state" not in answer["rooms"][invited]
    assert answer["rooms"][invited]["invite_state"]
    for room in (kicked, banned):
        state = answer["rooms"][room]["required_state"]
        assert {"m.room.create", "m.room.member"} == types_in(state)
        members = {
            e["state_key"]: e["content"]["membership"]
            for e in state[:]
            if e["type"] == "m.room.member"
        }
        end = "ban" if room == banned else "leave"
        assert members == {bot.user_id: end, person.user_id: "join"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_sliding_sync_shows_all_state(bot: Account, version: str) -> None:
    """`required_state` holds what /state does, of the types asked for, and no message."""
    room = await bot.create_room(version=version, room_type="m.space", name="S")
    await bot.link(room, "!a:hs.test")
    await bot.put_state(room, TYPES.binding, {"v": 1}, bot.user_id)
    await bot.send(room, "word")
    shown = (await window(bot))["rooms"][room]
    wanted = {
        e["event_id"] for e in await bot.state(room) if e["type"] in TYPES.state()
    }
    assert {event["event_id"] for event in shown["required_state"]} == wanted
    assert not shown.get("timeline")


async def test_a_fresh_start_shows_everything(bot: Account) -> None:
    """The same connection without a position starts anew, and drops the old position."""
    room = await bot.create_room()
    first = await window(bot)
    shown = [first["rooms"][room], (await window(bot))["rooms"][room]]
    ids = [{event["event_id"] for event in one["required_state"]} for one in shown]
    assert ids[0] == ids[1] != set()
    with pytest.raises(CallFailed) as caught:
        await window(bot, pos=first["pos"])
    assert (caught.value.status, caught.value.errcode) == (400, "M_UNKNOWN_POS")


# /state


async def test_who_may_read_state(accounts: Accounts) -> None:
    """Members, and who left or was kicked; not who was banned, forgot, or never was in."""
    bot, person = await accounts("bot"), await accounts()
    kicked = await thrown_out(bot, person, ban=False)
    await person.put_state(kicked, "m.room.name", {"name": "later"})
    state = await bot.state(kicked)
    assert "m.room.name" not in types_in(state)  # as it was at the time
    own = [e for e in state if e["state_key"] == bot.user_id]
    assert [(e["content"]["membership"], e["sender"]) for e in own] == [
        ("leave", person.user_id)
    ]
    left = await bot.create_room()
    await bot.leave(left)
    assert await bot.state(left)
    await bot.forget(left)
    forbidden = (403, "M_FORBIDDEN")
    assert await refused(bot, left) == forbidden
    assert await refused(bot, await thrown_out(bot, person, ban=True)) == forbidden
    invited = await person.create_room(invite=[bot.user_id])
    assert await refused(bot, invited) == forbidden
    assert await refused(bot, await person.create_room()) == forbidden
    assert await refused(bot, "!never-was:hs.test") == forbidden


async def test_redacted_children_are_empty(bot: Account) -> None:
    """A redacted child event stays, without `via`, in every channel."""
    space = await bot.create_room(room_type="m.space")
    await bot.redact(space, await bot.link(space, "!c:hs.test"))
    shown = in_section((await snapshot(bot, 1))["rooms"]["join"][space])
    slid = (await window(bot))["rooms"][space]["required_state"]
    for events in (shown, slid, await bot.state(space)):
        found = [e["content"] for e in events if e["type"] == "m.space.child"]
        assert found == [{}]


@pytest.mark.parametrize(("old", "new"), [("10", "11"), ("11", "12"), ("12", "12")])
async def test_upgrades_name_each_other(bot: Account, old: str, new: str) -> None:
    """Tombstone and predecessor; the latter has no event id in version 12."""
    before = await bot.create_room(version=old)
    after = await bot.upgrade(before, new)
    tombstone = await bot.state_event(before, "m.room.tombstone", format="content")
    assert tombstone["replacement_room"] == after
    create = await bot.state_event(after, "m.room.create", format="content")
    assert create["predecessor"]["room_id"] == before
    assert ("event_id" in create["predecessor"]) is (new != "12")
    assert (":" in after) is (new != "12")


async def test_the_same_state_is_no_new_event(bot: Account) -> None:
    """Setting what is set returns the old event's id."""
    room = await bot.create_room()
    first = await bot.put_state(room, TYPES.binding, {"v": 1}, bot.user_id)
    assert await bot.put_state(room, TYPES.binding, {"v": 1}, bot.user_id) == first
    assert await bot.put_state(room, TYPES.binding, {"v": 2}, bot.user_id) != first


async def test_any_state_key(bot: Account) -> None:
    """State keys are free text: slashes, question marks, unicode, 255 bytes."""
    room = await bot.create_room()
    keys = ["a/b", "#?&%41", "é😀", "k" * 255, " ", "$e", "!r:hs"]
    for key in keys:
        await bot.put_state(room, "io.x", {}, key)
    state = await bot.state(room)
    assert {e["state_key"] for e in state if e["type"] == "io.x"} == set(keys)


async def test_depth_is_limited(bot: Account) -> None:
    """Nobody can put an event into a room that is nested too deep to be read."""
    room = await bot.create_room()
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(CallFailed) as caught:
        await bot.put_state(room, "m.room.name", {"name": "x", "deep": deep})
    assert caught.value.status == 400


# Account


async def test_account_data(bot: Account) -> None:
    """What was never written is 404 M_NOT_FOUND."""
    with pytest.raises(CallFailed) as caught:
        await bot.account_data(TYPES.checkpoint)
    assert (caught.value.status, caught.value.errcode) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("token", "errcode"), [("wrong", "M_UNKNOWN_TOKEN"), (None, "M_MISSING_TOKEN")]
)
async def test_a_bad_token(bot: Account, token: str | None, errcode: str) -> None:
    """It is 401, with a code that says so."""
    url = f"{bot.url}/_matrix/client/v3/joined_rooms"
    with pytest.raises(CallFailed) as caught:
        await call(bot.session, "GET", url, token=token)
    assert (caught.value.status, caught.value.errcode) == (401, errcode)
