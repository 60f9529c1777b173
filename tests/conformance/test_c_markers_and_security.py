"""Scenarios 23 to 30: what rooms say of themselves, and who may say it."""

from __future__ import annotations

import asyncio

import pytest

from adapter.cli.account import Account, CallFailed
from adapter.matrix.reconciliation import reconcile_once, reconcile_startup
from adapter.matrix.store import WrongAccount
from tests.adapter.matrix.city import (
    BINDING,
    IDENTITY,
    City,
    Json,
    chat_identity,
    client_of,
    conversation,
    derived,
    space_identity,
)
from tests.adapter.matrix.live import Backend, exchange, living, said
from tests.conformance.situation import (
    Bound,
    a_chat,
    a_space,
    holds,
    record_of,
    stays,
)
from tests.people import Person


def bare(platform: object) -> Json:
    """A binding that says nothing but the conversation."""
    return {"v": 1, "platform_chat_id": platform}


async def bind(city: City, room: str, content: Json) -> str:
    return await city.bot.put_state(room, BINDING, content, city.bot.user_id)


async def redact_binding(city: City, room: str, by: Account) -> None:
    found = await city.bot.state_event(room, BINDING, city.bot.user_id)
    await by.redact(room, found["event_id"])


@pytest.mark.scenario(23)
async def test_23_the_binding_wins_over_the_cache(city: City) -> None:
    """The binding wins over a row with another conversation; the report names both."""
    alice, space, (one,) = await city.home()
    await city.once()
    event = await bind(city, one, bare("reset"))
    rows = {space: a_space(alice), one: a_chat(alice, space, 1, platform="reset")}
    done = await holds(city, rows)
    (step,) = done.decided.cache.steps
    assert step.cause is not None
    assert (step.cause.sender, step.cause.event_id) == (city.bot.user_id, event)
    printed = f'platform_chat_id: "{conversation(alice, 1)}" -> "reset"'
    assert printed in str(done.decided.cache)

    city.spoil("UPDATE room_meta SET platform_chat_id = 'wrong' WHERE chat_id = 'C1'")
    done = await holds(city, rows)
    assert 'platform_chat_id: "wrong" -> "reset"' in str(done.decided.cache)


@pytest.mark.scenario(24)
async def test_24_a_marker_that_a_user_sent_is_ignored(city: City) -> None:
    """A marker that a user with all power wrote does not count, and is not overwritten."""
    (alice, space, (one,)), (bob, legacy, (old,)) = await asyncio.gather(
        city.home("alice"), city.old_home("bob")
    )
    for owner, room in ((alice, one), (bob, old)):
        await city.bot.set_power(room, {owner.user_id: 100})
        for key in ("", owner.user_id):
            record = chat_identity(owner, 9, "forged")
            await owner.put_state(room, BINDING, record, key)
        with pytest.raises(CallFailed, match="403"):
            await owner.put_state(room, BINDING, bare("forged"), city.bot.user_id)
    rows = {
        space: a_space(alice),
        one: a_chat(alice, space, 1),
        legacy: a_space(bob),
        old: a_chat(bob, legacy, 1, platform=derived(old)),
    }
    await holds(city, rows, writes=record_of(city, legacy, old))
    await stays(city, rows)


@pytest.mark.scenario(25)
async def test_25_a_redacted_binding_is_written_again_three_times(city: City) -> None:
    """A binding that is redacted is written again three times a day; then it is a finding."""
    alice, space, (one,) = await city.home()
    await city.bot.set_power(one, {alice.user_id: 100})
    await bind(city, one, bare("reset"))
    await city.once()
    rows = {space: a_space(alice), one: a_chat(alice, space, 1, platform="reset")}
    # The identity is all that Matrix has then.
    alone = {space: a_space(alice), one: a_chat(alice, space, 1)}
    for _ in range(3):
        await redact_binding(city, one, alice)
        await holds(city, rows, cold=alone, writes=record_of(city, one))
        assert await city.binding(one) == bare("reset")
    await redact_binding(city, one, alice)
    await stays(city, rows, cold=alone, findings={("unpublishable", one)})
    assert await city.binding(one) == {}


@pytest.mark.scenario(25)
async def test_25_a_redacted_record_is_made_again_from_the_row(city: City) -> None:
    """A legacy room that lost its record stays what its row says, guests or not."""
    bob, space, (old,) = await city.old_home()
    await city.startup()
    city.spoil(
        "UPDATE room_meta SET platform_chat_id = 'mine', chat_id = 'C4'"
        " WHERE room_id = :old",
        old=old,
    )
    await city.once()
    guest = await city.person("guest")
    for room in (space, old):
        await city.bot.invite(room, guest.user_id)
        await redact_binding(city, room, city.bot)
    await holds(
        city,
        {space: a_space(bob), old: a_chat(bob, space, 4, platform="mine")},
        cold={},
        cold_findings={("ambiguous_owner", room) for room in (space, old)},
        writes=record_of(city, space, old),
    )


@pytest.mark.scenario(26)
async def test_26_of_two_rooms_with_one_place_the_same_wins_from_every_cache(
    city: City, platform: Backend, subtests: pytest.Subtests
) -> None:
    """One chat_id or conversation in two rooms: the same one wins, whatever the cache says."""
    (alice, space, _), (bob, other, _) = await asyncio.gather(
        city.home("alice", 0), city.home("bob", 0)
    )
    # The better room of each pair is the younger one, but for the last pairs.
    unnamed = await city.chat(alice, "", 1)
    linked = await city.chat(alice, space, 1, identity=chat_identity(alice, 1, "p1"))
    nowhere = await city.chat(alice, "", 2)
    emptied = await city.chat(alice, space, 2, identity=chat_identity(alice, 2, "p2"))
    evidence = await city.bot.unlink(space, emptied)
    given_up = await city.chat(alice, space, 5)
    kept = await city.chat(alice, space, 5, identity=chat_identity(alice, 5, "p5"))
    await city.bot.unlink(space, given_up)
    older = await city.chat(alice, space, 3)
    younger = await city.chat(alice, space, 3, identity=chat_identity(alice, 3, "p3"))
    mine = await city.chat(alice, space, 4, identity=chat_identity(alice, 4, "shared"))
    his = await city.chat(bob, other, 1, identity=chat_identity(bob, 1, "shared"))
    created = {
        room: state["m.room.create", ""]
        for room, state in (await city.server()).items()
    }

    def loser(bound: Bound, winner: str) -> Bound:
        return bound._replace(status="detached: duplicate", evidence=created[winner])

    rows = {
        space: a_space(alice),
        other: a_space(bob),
        unnamed: loser(a_chat(alice, None, 1), linked),
        linked: a_chat(alice, space, 1, platform="p1"),
        nowhere: loser(a_chat(alice, None, 2), emptied),
        emptied: a_chat(alice, space, 2, "detached: unlinked", evidence, platform="p2"),
        given_up: loser(a_chat(alice, space, 5), kept),
        kept: a_chat(alice, space, 5, platform="p5"),
        older: a_chat(alice, space, 3),
        younger: loser(a_chat(alice, space, 3, platform="p3"), older),
        mine: a_chat(alice, space, 4, platform="shared"),
        his: loser(a_chat(bob, other, 1, platform="shared"), mine),
    }
    pairs = {
        unnamed: linked,
        nowhere: emptied,
        given_up: kept,
        younger: older,
        his: mine,
    }
    duplicates = {("duplicate", room) for room in pairs}
    swap = "UPDATE room_meta SET status = :s, reason = :r WHERE room_id = :room"
    for cache in ("empty", "of the winners", "of the losers"):
        with subtests.test(cache):
            await city.startup()
            for lost, won in pairs.items():
                if cache == "of the winners":
                    city.spoil("DELETE FROM room_meta WHERE room_id = :r", r=lost)
                elif cache == "of the losers":
                    city.spoil(swap, s="detached", r="duplicate", room=won)
                    city.spoil(swap, s="active", r=None, room=lost)
                else:
                    city.spoil("DELETE FROM room_meta")
            await holds(city, rows, findings=duplicates, allow_detach=9)

    async with living(city, platform):
        await Person(bob).say(his, "whose conversation is this?")
        word = await exchange(Person(alice), mine)
    assert platform.heard == {"shared": [word]}
    assert await said(city, his) == ([], [])


@pytest.mark.scenario(27)
async def test_27_a_room_that_a_user_forged_is_ignored(city: City) -> None:
    """A user's Space or chat with markers like ours, child of nothing or linked by all."""
    (alice, space, (one,)), mallory = await asyncio.gather(
        city.home("alice"), city.person("mallory")
    )
    await city.bot.set_power(space, {alice.user_id: 100})
    forged: list[tuple[str | None, Json]] = [
        ("m.space", space_identity(alice)),
        ("m.space", space_identity(mallory)),
        (None, chat_identity(alice, 1)),
        (None, chat_identity(alice, 7, "mallory's")),
    ]
    for room_type, identity in forged:
        room = await mallory.create_room(
            room_type=room_type,
            creation_content={IDENTITY: identity},
            invite=[city.bot.user_id],
            initial_state=[
                {"type": BINDING, "state_key": key, "content": identity}
                for key in ("", mallory.user_id)
            ],
        )
        await city.bot.join(room)
        if identity["kind"] == "chat" and identity["chat_id"] == "C7":
            await city.bot.link(space, room)
            await alice.link(space, room)
    await holds(city, {space: a_space(alice), one: a_chat(alice, space, 1)})


IDENTITIES: dict[str, object] = {
    "no object": "chat",
    "a list": [1],
    "nothing in it": {},
    "version 0": {"v": 0},
    "a version that is true": {"v": True},
    "a version in words": {"v": "1"},
    "kind of a Space": {"kind": "space"},
    "no kind": {"kind": None},
    "no owner": {"owner": None},
    "an owner that is no user": {"owner": "alice"},
    "a chat_id from elsewhere": {"chat_id": "../../etc"},
    "chat_id C0": {"chat_id": "C0"},
    "an empty platform id": {"platform_chat_id": ""},
    "a number for a platform id": {"platform_chat_id": 5},
    "60 kB of platform id": {"platform_chat_id": "x" * 60_000},
    "the bot as owner": {"owner": "the bot"},
}


@pytest.mark.scenario(28)
async def test_28_a_malformed_identity_is_none(city: City) -> None:
    """A room whose identity cannot be read is decided like a legacy one, and recorded."""
    alice, space, _ = await city.home(chats=0)
    numbers = range(len(IDENTITIES))

    def identity(wrong: object) -> object:
        if not isinstance(wrong, dict):
            return wrong
        if wrong == {"owner": "the bot"}:
            wrong = {"owner": city.bot.user_id}
        return {**chat_identity(alice, 50, "p50"), **wrong} if wrong else {}

    rooms = await asyncio.gather(
        *(
            city.room(alice, identity=identity(wrong), join=False)
            for wrong in IDENTITIES.values()
        )
    )
    for room in rooms:  # their order is that of these events
        await city.bot.link(space, room)
    rows = {space: a_space(alice)}
    for number in numbers:
        room = rooms[number]
        rows[room] = a_chat(alice, space, number + 1, "pending", platform=derived(room))
    await holds(
        city,
        rows,
        findings={("malformed_identity", room) for room in rooms},
        writes=record_of(city, *rooms),
    )


BINDINGS: dict[str, Json] = {
    "no conversation": {"v": 1},
    "no version": {"platform_chat_id": "p"},
    "a conversation of the wrong type": {"v": 1, "platform_chat_id": 5},
    "60 kB": {"v": 1, "platform_chat_id": "x" * 60_000},
}


@pytest.mark.scenario(28)
async def test_28_a_malformed_binding_is_none(city: City) -> None:
    """What cannot be read is written again from the row; what it says besides is no matter."""
    alice, space, rooms = await city.home(chats=len(BINDINGS) + 1, join=False)
    for room in rooms:
        await bind(city, room, bare(f"reset {room}"))
    await city.once()
    *malformed, extra = rooms
    for room, content in zip(malformed, BINDINGS.values(), strict=True):
        await bind(city, room, content)
    await bind(city, extra, bare("new") | {"colour": "red"})
    # A row knows what they may have said; without one the identity counts.
    alone = {r: a_chat(alice, space, n, "pending") for n, r in enumerate(rooms, 1)}
    rows = {r: b._replace(platform_chat_id=f"reset {r}") for r, b in alone.items()}
    alone[extra] = rows[extra] = alone[extra]._replace(platform_chat_id="new")
    alone[space] = rows[space] = a_space(alice, "pending")
    await holds(
        city,
        rows,
        cold=alone,
        cold_findings={("malformed_binding", room) for room in malformed},
        writes=record_of(city, *malformed),
    )


@pytest.mark.scenario(28)
async def test_28_what_a_newer_version_wrote_is_left_alone(city: City) -> None:
    """Nothing is written there: the row's values hold, and without one it is not bound."""
    (alice, space, (one, two)), (bob, legacy, (old,)) = await asyncio.gather(
        city.home("alice", 2), city.old_home("bob")
    )
    await city.once()
    newer = {"v": 2, "platform_chat_id": "theirs", "chat_id": "C8", "new": True}
    for room in (one, two):
        await bind(city, room, newer)
    emptied = await city.bot.unlink(space, two)
    identity = {**chat_identity(bob, 2, "p2"), "v": 2, "kind": "something"}
    unbound = await city.room(bob, identity=identity, link=legacy)
    # Their ids are taken all the same.
    late = await city.room(bob, link=legacy, join=False)
    alone = {
        space: a_space(alice),
        legacy: a_space(bob),
        old: a_chat(bob, legacy, 1, platform=derived(old)),
        late: a_chat(bob, legacy, 3, "pending", platform=derived(late)),
    }
    rows = alone | {
        one: a_chat(alice, space, 1),
        two: a_chat(alice, space, 2, "detached: unlinked", emptied),
    }
    found = {("newer_version", room) for room in (one, two, unbound)}
    await city.once()  # records the late one, which is another matter
    await stays(city, rows, cold=alone, findings=found)


@pytest.mark.scenario(29)
async def test_29_who_looks_like_somebody_is_somebody_else(city: City) -> None:
    """Only the exact user id counts: for the bot, for owners, and whatever the name is."""
    alice, space, (one,) = await city.home()
    # An id that begins like the bot's, with the bot's as display name; and one of Alice's.
    twin = await city.person(city.bot.user_id[1:].partition(":")[0])
    name = {"displayname": city.bot.user_id}
    await twin.call("PUT", f"profile/{twin.user_id}/displayname", name)
    for identity in (chat_identity(alice, 1), chat_identity(alice, 7)):
        room = await twin.create_room(
            creation_content={IDENTITY: identity}, invite=[city.bot.user_id]
        )
        await twin.put_state(room, BINDING, identity, twin.user_id)
        await city.bot.join(room)
        await city.bot.link(space, room)
    lookalikes = [
        alice.user_id.replace("@a", other)
        for other in ("@A", "@\N{CYRILLIC SMALL LETTER A}")
    ]
    rows = {space: a_space(alice), one: a_chat(alice, space, 1)}
    found, writes = set(), set()
    for number, owner in enumerate(lookalikes, 1):
        identity = chat_identity(alice, number, f"p{number}") | {"owner": owner}
        room = await city.room(alice, identity=identity, link=space)
        rows[room] = Bound("chat", owner, None, f"C{number}", f"p{number}", "pending")
        found |= {("no_space", room), ("foreign_link", room)}
        # Whoever has that id is asked to come.
        writes.add((room, "m.room.member", owner))
    await holds(city, rows, findings=found, writes=writes)


@pytest.mark.scenario(30)
async def test_30_the_database_of_another_account_is_refused(city: City) -> None:
    """Another account with the same file neither reads nor writes it, and detaches nothing."""
    alice, space, (one,) = await city.home()
    await city.once()
    other = await city.person("bot")
    client = client_of(other)
    before = city.path.read_bytes(), await city.position()
    try:
        for entry in (reconcile_startup, reconcile_once):
            with pytest.raises(WrongAccount):
                await entry(client, city.path)
    finally:
        await client.close()  # type: ignore[no-untyped-call]
    assert (city.path.read_bytes(), await city.position()) == before
    await stays(city, {space: a_space(alice), one: a_chat(alice, space, 1)})
