"""A pass over what changed since the last one: as right as one over everything, for less.

Where the shortcut cannot be trusted, everything is looked at again."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote

import pytest

from adapter.cli.account import Account, call, http_session
from adapter.cli.homeserver import Homeserver
from adapter.matrix.desired import Finding
from adapter.matrix.errors import ServerFault, Unreachable
from adapter.matrix.wire import Wire
from tests.adapter.matrix.city import (
    CHILD,
    City,
    chat_identity,
    findings,
    space_identity,
)
from tests.adapter.matrix.landlord import landlord, told
from tests.faults import Alter, Answer, Drop, Proxy, Reply, Stale

LOOK = ("GET joined_rooms", "GET joined_rooms")
"""How a look at everything shows: it compares what it saw with the list of rooms."""


@pytest.fixture
async def proxy(homeserver: Homeserver, city: City) -> AsyncIterator[Proxy]:
    """Between the bot and the server, also as the file remembers it."""
    async with Proxy(homeserver.url) as proxy:
        city.client.homeserver = proxy.url
        yield proxy


def asked(proxy: Proxy) -> list[str]:
    """What was asked for since the last call, without whoami and rooms' names."""
    found = [f"{seen.method} {seen.path.rpartition('/')[2]}" for seen in proxy.requests]
    del proxy.requests[:]
    return [one for one in found if one != "GET whoami"]


def looked_at_everything(asked: Sequence[str]) -> bool:
    return tuple(one for one in asked if one == LOOK[0]) == LOOK


# --- what it costs --------------------------------------------------------------------


async def test_where_nothing_changed_one_request_says_so(
    city: City, proxy: Proxy
) -> None:
    """At a start, and at any pass after it."""
    await city.home(chats=2)
    await city.startup()
    assert looked_at_everything(asked(proxy))
    rows = city.dump()
    for again in (city.startup, city.once, city.once):
        report = await again()
        assert report.result == "in sync"
        assert asked(proxy) == ["GET sync"]
    assert city.dump() == rows


async def test_what_changed_is_read_and_nothing_else(city: City, proxy: Proxy) -> None:
    """One request more for each room that changed, however many there are."""
    _, _, chats = await city.home(chats=5)
    await city.startup()
    asked(proxy)
    for room in chats[:2]:
        await city.bot.put_state(room, "m.room.name", {"name": "Travel"})
    report = await city.once()
    assert len(report.cache.outcomes) == 2
    assert asked(proxy) == ["GET sync", "GET state", "GET state"]
    assert [city.rows()[room]["name"] for room in chats] == ["Travel"] * 2 + [None] * 3
    await city.settled()


async def test_a_message_is_no_change(city: City, proxy: Proxy) -> None:
    alice, _, (chat,) = await city.home()
    await city.startup()
    asked(proxy)
    await alice.send(chat, "hello")
    await city.once()
    assert asked(proxy) == ["GET sync"]


async def test_what_was_found_meanwhile_is_told_though_nothing_changed(
    city: City,
) -> None:
    """What no pass can see is in the next report, and in those after it."""
    _, _, (chat,) = await city.home()
    await city.startup()
    async with landlord(city, look=False) as one:
        await one.follower.begin()
        for found in ((), (Finding("backlog", chat, "more was said"),)):
            for finding in found:
                one.follower.find(finding)
            for _ in range(2):
                await one.follower.renew()
                told = await one.store.last_pass()
                assert told is not None
                codes = [finding["code"] for finding in told.report["findings"]]
                assert codes == [finding.code for finding in found]
                assert (told.result, told.report["changes"]) == ("in sync", 0)


async def test_what_was_left_out_is_told_until_the_bot_is_started_again(
    city: City,
) -> None:
    """Nobody but the bot that left it out knows, and what passes see is told still."""
    _, _, (chat,) = await city.home()
    _, theirs, _ = await city.home("mallory", chats=0)
    await city.bot.link(theirs, chat)
    assert findings(await city.startup()) == {("foreign_link", chat)}
    async with landlord(city, look=False) as one:
        await one.follower.begin()
        one.follower.find(Finding("backlog", chat, "more was said"))
        await one.follower.renew()
    async with landlord(city, look=False) as next_one:
        await next_one.follower.begin()
        told = await next_one.store.last_pass()
    assert told is not None
    assert [finding["code"] for finding in told.report["findings"]] == ["foreign_link"]


async def test_what_was_looked_at_in_vain_still_was(city: City) -> None:
    """A pass that finds nothing changed says of rooms that nobody can see what was said."""
    await city.home()
    await city.startup()
    city.spoil("UPDATE conditions SET reason = 'RoomsUnknown' WHERE type = 'Observed'")
    said = "SELECT reason FROM conditions WHERE type = 'Observed'"
    async with landlord(city, look=False) as still:
        await still.follower.begin()
        assert still.follower.newest is None
    assert city.query(said) == [("RoomsUnknown",)]


# --- what may change ------------------------------------------------------------------


class Home(NamedTuple):
    """Alice's rooms, bob's of an older bot, and the bot's own account."""

    city: City
    bot: Account
    alice: Account
    space: str
    chats: list[str]
    old_space: str
    old: str


async def unlinked(home: Home) -> None:
    await home.bot.unlink(home.space, home.chats[0])


async def redacted(home: Home) -> None:
    link = await home.bot.state_event(home.space, CHILD, home.chats[0])
    await home.bot.redact(home.space, link["event_id"])


async def linked_elsewhere(home: Home) -> None:
    await home.bot.unlink(home.old_space, home.old)
    await home.bot.link(home.space, home.old)


async def upgraded(home: Home) -> None:
    await home.bot.upgrade(home.chats[0], "12")


async def space_upgraded(home: Home) -> None:
    await home.bot.upgrade(home.space, "12")


async def owner_left(home: Home) -> None:
    await home.alice.leave(home.chats[0])


async def kicked(home: Home) -> None:
    await home.bot.set_power(
        home.chats[0], {home.alice.user_id: 100, home.bot.user_id: 50}
    )
    await home.alice.kick(home.chats[0], home.bot.user_id)


async def banned(home: Home) -> None:
    await home.bot.set_power(
        home.chats[0], {home.alice.user_id: 100, home.bot.user_id: 50}
    )
    await home.alice.ban(home.chats[0], home.bot.user_id)


async def left_by_the_bot(home: Home) -> None:
    await home.bot.leave(home.chats[0])


async def made(home: Home) -> None:
    identity = chat_identity(home.alice, 3)
    await home.city.room(home.alice, identity=identity, link=home.space)


async def made_twice(home: Home) -> None:
    identity = space_identity(home.alice)
    await home.city.room(home.alice, room_type="m.space", identity=identity)


async def arrived(home: Home) -> None:
    """Somebody comes, with a Space of another's bot around it."""
    await home.city.old_home("carol", 2)


async def hijacked(home: Home) -> None:
    """Alice links a chat into a Space of her own, where the bot is."""
    space = await home.alice.create_room(room_type="m.space", invite=[home.bot.user_id])
    await home.bot.join(space)
    await home.alice.link(space, home.chats[0])


async def many(home: Home) -> None:
    """More than one in a room: the answer has only the last."""
    for name in ("one", "two", "three"):
        await home.bot.put_state(home.chats[0], "m.room.name", {"name": name})
    link = await home.bot.state_event(home.space, CHILD, home.chats[1])
    await home.bot.redact(home.space, link["event_id"])
    await home.bot.put_state(home.space, "m.room.name", {"name": "Alice"})


@pytest.mark.parametrize(
    "change",
    [
        unlinked, redacted, linked_elsewhere, upgraded, space_upgraded, owner_left,
        kicked, left_by_the_bot, made, made_twice, arrived, hijacked, many,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
async def test_whatever_changed_is_seen_as_by_a_look_at_everything(
    city: City, proxy: Proxy, change: Callable[[Home], Awaitable[None]]
) -> None:
    """The rows are those that a start without a file makes; nothing else was looked at."""
    alice, space, chats = await city.home(chats=2, version="11")
    _, old_space, (old,) = await city.old_home()
    await city.once()
    asked(proxy)
    await change(Home(city, city.bot, alice, space, chats, old_space, old))
    report = await city.once()
    assert not looked_at_everything(asked(proxy))
    assert report.result in {"converged", "in sync"}
    await city.once()  # its own writes are changes, too
    gone = {"bot_left", "bot_banned", "bot_kicked"}
    unlike = [room for room, row in city.rows().items() if row["reason"] in gone]
    await city.settled(unlike=unlike)


async def test_a_room_that_banned_the_bot_is_seen_by_a_look_at_everything(
    city: City, proxy: Proxy
) -> None:
    """Nothing else shows what was done there before, as that it was replaced."""
    alice, space, chats = await city.home(chats=2, version="11")
    _, old_space, (old,) = await city.old_home()
    await city.once()
    asked(proxy)
    new = await city.bot.upgrade(chats[0], "12")
    await banned(Home(city, city.bot, alice, space, chats, old_space, old))
    await city.once()
    assert looked_at_everything(asked(proxy))
    assert city.status(chats[0]) == "detached: upgraded"
    assert city.bound(new)[3] == "C1"
    await city.once()
    await city.settled()


async def test_a_ban_that_hides_a_replacement_from_the_stream_is_seen_through(
    city: City, proxy: Proxy
) -> None:
    """One answer has both, and the room shows nothing: then everything is looked at, as
    soon as that can be, and no row changes before."""
    alice, space, chats = await city.home(chats=2, version="11")
    _, old_space, (old,) = await city.old_home()
    async with landlord(city) as one:
        before, token = city.rows(), await one.wire.live_token()
        new = await city.bot.upgrade(chats[0], "12")
        await banned(Home(city, city.bot, alice, space, chats, old_space, old))
        assert chats[0] in (await told(one, token)).left
        failing = proxy.at("GET .*/joined_rooms", Answer(500), times=20)
        with pytest.raises(ServerFault):
            await one.follower.catch_up()
        assert city.rows() == before
        failing.end()
        await one.follower.catch_up()
    assert city.status(chats[0]) == "detached: upgraded"
    assert city.bound(new)[3] == "C1"
    await city.once()
    await city.settled()


# --- what is due ----------------------------------------------------------------------


async def test_a_room_that_could_not_be_read_is_read_again(
    city: City, proxy: Proxy
) -> None:
    """Its row stands until then, and every pass tries."""
    _, _, (chat,) = await city.home()
    await city.startup()
    await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
    failing = proxy.at("GET .*/rooms/.*/state", Answer(500), times=20)
    report = await city.once()
    assert report.decided.want.unknown == {chat: "state: 500"}
    assert city.rows()[chat]["name"] is None
    failing.end()
    asked(proxy)
    await city.once()
    assert asked(proxy) == ["GET sync", "GET m.room.create", "GET state"]
    assert city.rows()[chat]["name"] == "Travel"
    await city.settled()


async def test_a_room_that_showed_what_it_was_is_read_once_more(
    city: City, proxy: Proxy
) -> None:
    """A proxy may answer for the server, with what it remembers: the next pass makes good
    for it, and then nothing is due any more."""
    _, _, (chat,) = await city.home()
    await city.startup()
    stale = Stale()
    remembering = proxy.at("GET .*/rooms/.*/state", stale)
    await Wire(city.client).state(chat)
    remembering.end()
    await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
    proxy.at("GET .*/rooms/.*/state", stale)
    await city.once()
    assert city.rows()[chat]["name"] is None
    asked(proxy)
    await city.once()
    assert asked(proxy) == ["GET sync", "GET state"]
    assert city.rows()[chat]["name"] == "Travel"
    await city.once()
    assert asked(proxy) == ["GET sync"]


async def test_what_was_found_is_told_again_after_a_failure(
    city: City, proxy: Proxy
) -> None:
    """A pass that finds nothing new says what the last one found that was none."""
    _, _, (chat,) = await city.home()
    await city.bot.put_state(chat, "m.room.tombstone", {"replacement_room": "!none"})
    for _ in range(2):
        await city.once()
    async with landlord(city, look=False) as one:
        await one.follower.begin()
        failing = proxy.at("GET .*/sync", Drop(), times=20)
        with pytest.raises(Unreachable):
            await one.follower.renew()
        failing.end()
        await one.follower.renew()
        last = await one.store.last_pass()
    assert last is not None
    assert last.result == "in sync"
    assert [found["code"] for found in last.report["findings"]] == [
        "unfollowed_tombstone"
    ]
    assert "error" not in last.report


async def test_what_a_guard_blocks_stays_due(city: City, proxy: Proxy) -> None:
    """It is let through later, though nothing has changed since."""
    _, space, chats = await city.home(chats=5)
    await city.startup()
    for chat in chats:
        await city.bot.unlink(space, chat)
    for _ in range(2):
        assert (await city.once()).result == "blocked"
    asked(proxy)
    assert (await city.once(allow_detach=5)).result == "converged"
    assert not looked_at_everything(asked(proxy))
    assert {city.status(chat) for chat in chats} == {"detached: unlinked"}
    await city.settled()


async def test_a_room_that_the_bot_is_not_in_stays_unknown_and_is_lost_in_time(
    city: City, proxy: Proxy
) -> None:
    """A look at everything found that; reading the room again says no less."""
    _, _, (chat,) = await city.home()
    await city.startup()
    city.spoil(
        "INSERT INTO room_meta (room_id, room_type, matrix_user_id)"
        " VALUES ('!nowhere:hs.test', 'chat', '@carol:hs.test')"
    )
    await city.once()
    asked(proxy)
    await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
    await city.once()
    assert not looked_at_everything(asked(proxy))
    assert city.rows()["!nowhere:hs.test"]["status"] == "unknown"
    city.spoil("UPDATE unread SET since = 1, absent_since = 1")
    await city.once()
    assert city.status("!nowhere:hs.test") == "detached: lost"
    await city.once()
    assert asked(proxy)[-1:] == ["GET sync"]
    assert city.status("!nowhere:hs.test") == "detached: lost"


async def test_an_invitation_after_a_kick_is_seen(city: City, proxy: Proxy) -> None:
    """Nothing says that the bot was thrown out, but that it is invited again."""
    alice, _, (chat,) = await city.home(version="11")
    await city.bot.set_power(chat, {alice.user_id: 100, city.bot.user_id: 50})
    await city.startup()
    await alice.kick(chat, city.bot.user_id)
    await alice.invite(chat, city.bot.user_id)
    asked(proxy)
    await city.once()
    assert not looked_at_everything(asked(proxy))
    assert city.status(chat) == "unknown: the bot's membership is invite"
    await city.bot.join(chat)
    await city.once()
    assert city.status(chat) == "active"
    await city.settled()


async def test_a_refused_record_stays_a_finding(city: City, proxy: Proxy) -> None:
    """It is remembered, and not asked for again."""
    _, old_space, (old,) = await city.old_home()
    refusing = proxy.at(
        "PUT .*/state/.*", Answer(403, b'{"errcode": "M_FORBIDDEN"}'), times=2
    )
    await city.once()
    refusing.end()
    refused = {("unpublishable", old), ("unpublishable", old_space)}
    for _ in range(2):
        report = await city.once()
        assert report.decided.in_sync
        assert findings(report) == refused


# --- what is not believed -------------------------------------------------------------


async def test_a_row_that_somebody_changed_is_put_right(
    city: City, proxy: Proxy
) -> None:
    """Everything is looked at again, as after any change of the file."""
    _, _, (chat,) = await city.home()
    await city.startup()
    asked(proxy)
    city.spoil(
        "UPDATE room_meta SET matrix_user_id = '@mallory:evil' WHERE chat_id = 'C1'"
    )
    assert (await city.once()).result == "converged"
    assert looked_at_everything(asked(proxy))
    assert city.bound(chat)[1] != "@mallory:evil"
    await city.settled()


async def test_an_old_backup_goes_on_from_where_it_was_made(
    city: City, proxy: Proxy
) -> None:
    """What changed since is seen, also what was seen before by the file that is lost."""
    alice, space, (one, two) = await city.home(chats=2)
    await city.startup()
    backup = city.path.with_name("backup")
    shutil.copy(city.path, backup)
    await city.bot.unlink(space, one)
    three = await city.room(alice, identity=chat_identity(alice, 3), link=space)
    await city.once()
    city.forget()
    shutil.copy(backup, city.path)
    await city.once()
    statuses = [city.status(room) for room in (one, two, three)]
    assert statuses == ["detached: unlinked", "active", "active"]
    await city.settled()


async def test_a_position_that_the_server_refuses_is_given_up(
    city: City, proxy: Proxy
) -> None:
    """As of another server, or of a time that this one has forgotten."""
    _, _, (chat,) = await city.home()
    await city.startup()
    await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
    city.spoil("UPDATE kept SET token = 'nonsense'")
    asked(proxy)
    await city.once()
    assert looked_at_everything(asked(proxy))
    assert city.rows()[chat]["name"] == "Travel"
    await city.once()
    assert asked(proxy)[-1:] == ["GET sync"]


async def test_an_answer_that_says_nothing_is_confirmed(
    city: City, proxy: Proxy
) -> None:
    """One that was cut down to its position hides no change for longer than a pass."""
    _, _, (chat,) = await city.home()
    await city.startup()
    await city.bot.put_state(chat, "m.room.name", {"name": "Travel"})
    cut = proxy.at("GET .*/sync", Alter(without_rooms))
    await city.once()
    assert cut.is_struck
    assert city.rows()[chat]["name"] is None
    await city.once()
    assert city.rows()[chat]["name"] == "Travel"


def without_rooms(reply: Reply) -> Reply:
    position = json.loads(reply.body)["next_batch"]
    return reply._replace(body=json.dumps({"next_batch": position}).encode())


async def test_a_room_that_was_purged_is_missed_by_a_whole_look_alone(
    city: City, proxy: Proxy, homeserver: Homeserver
) -> None:
    """No server tells of it: that is why everything is looked at now and again."""
    _, _, (chat,) = await city.home()
    await city.startup()
    await purge(homeserver, chat)
    assert (await city.once()).result == "in sync"
    assert city.status(chat) == "active"
    await city.once(whole=True)
    assert city.rows()[chat]["status"] == "unknown"


async def purge(homeserver: Homeserver, room: str) -> None:
    """Remove a room for good, as an administrator does."""
    admin = await homeserver.register(f"admin-{uuid.uuid4()}", admin=True)
    url = f"{homeserver.url}/_synapse/admin/v1/rooms/{quote(room, safe='')}"
    body = {"purge": True, "force_purge": True}
    async with http_session() as session:
        await call(session, "DELETE", url, token=admin.access_token, body=body)
