"""Who a room is, on a real server: rules 1, 2, 4 and 6 of docs/how-it-decides.md."""

from __future__ import annotations

import pytest

from adapter.cli.account import CallFailed
from adapter.matrix.facts import EventTypes
from controller.apply import Result
from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    IDENTITY,
    City,
    Json,
    chat_identity,
    conversation,
    derived,
    findings,
    space_identity,
)


def bare(platform: str) -> Json:
    """A binding that says nothing but the conversation."""
    return {"v": 1, "platform_chat_id": platform}


# --- rules 1 and 6: identity, and whose rooms count ----------------------------


async def test_what_others_claim_of_their_rooms_is_ignored(city: City) -> None:
    """A room that the bot did not create is nothing, whatever it says and who links it."""
    alice, space, _ = await city.home()
    mallory = await city.person("mallory")
    # Lookalikes: an id that begins like the bot's, and a display name that is the bot's.
    twin = await city.person(city.bot.user_id[1:].partition(":")[0])
    await twin.call(
        "PUT",
        f"profile/{twin.user_id}/displayname",
        {"displayname": city.bot.user_id},
    )
    rooms = []
    for liar in (mallory, twin):
        for room_type, identity in (
            ("m.space", space_identity(alice)),
            (None, chat_identity(alice, 1)),
            (None, chat_identity(alice, 7)),
        ):
            room = await liar.create_room(
                room_type=room_type,
                creation_content={IDENTITY: identity},
                invite=[city.bot.user_id, alice.user_id],
            )
            await city.bot.join(room)
            await alice.join(room)
            rooms.append(room)
    await city.bot.set_power(space, {alice.user_id: 100})
    for room in rooms:
        await alice.link(space, room)
    await city.bot.link(space, rooms[-1])
    # The liars may do as they like in their own rooms; that is no binding either.
    await twin.put_state(rooms[-1], BINDING, bare("x"), twin.user_id)
    server = await city.server()
    report = await city.once()
    assert not city.rows().keys() & set(rooms)
    assert len(city.rows()) == 2
    assert await city.server() == server
    assert findings(report) == set()
    await city.settled()


async def test_a_row_of_a_room_that_is_not_ours_is_detached(city: City) -> None:
    """A row that somehow names a user's room is given up, and the room left alone."""
    alice, space, _ = await city.home()
    room = await alice.create_room(
        creation_content={IDENTITY: chat_identity(alice, 2)}, invite=[city.bot.user_id]
    )
    await city.bot.join(room)
    await city.bot.link(space, room)
    await city.startup()
    city.spoil(
        "INSERT INTO room_meta (room_id, room_type, chat_id, space_id, matrix_user_id,"
        " platform_chat_id) VALUES (:room, 'chat', 'C2', :space, :alice, 'p')",
        room=room,
        space=space,
        alice=alice.user_id,
    )
    await city.once()
    assert city.status(room) == "detached: not_ours"
    create = (await city.server())[room]["m.room.create", ""]
    assert city.evidence(room) == create
    await city.settled(unlike={room})


MALFORMED: dict[str, object] = {
    "no object": "chat",
    "a list": [1],
    "no version": {"kind": "chat"},
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
    "50 kB of platform id": {"platform_chat_id": "x" * 50_000},
    "the bot as owner": {"owner": "@me"},
}


async def test_a_malformed_identity_is_absent_and_found(city: City) -> None:
    """Such a room is decided as if it said nothing, and gets a record, like a legacy one."""
    alice, space, _ = await city.home(chats=0)
    rooms: dict[str, str] = {}
    for name, wrong in MALFORMED.items():
        identity: object = wrong
        if isinstance(wrong, dict):
            identity = {**chat_identity(alice, 50, "p50"), **wrong}
            if name == "no version":
                del identity["v"]
            if name == "the bot as owner":
                identity["owner"] = city.bot.user_id
        rooms[name] = await city.room(alice, identity=identity, link=space, join=False)
    report = await city.once()
    for name, room in rooms.items():
        assert ("malformed_identity", room) in findings(report), name
        kind, owner, where, _, platform = city.bound(room)
        assert (kind, owner, where) == ("chat", alice.user_id, space), name
        assert platform == derived(room), name
        assert (await city.binding(room) or {}).get("owner") == alice.user_id, name
    numbers = [city.bound(room)[3] for room in rooms.values()]
    assert numbers == [f"C{n}" for n in range(1, len(rooms) + 1)]
    await city.settled()


async def test_what_decides_nothing_in_an_identity_does_no_harm(city: City) -> None:
    """Unknown fields are ignored, and a `request` that is none costs nobody the room."""
    alice, space, _ = await city.home(chats=0)
    identity = chat_identity(alice, 3, "p") | {"colour": "red", "request": 7}
    room = await city.room(alice, identity=identity, link=space)
    await city.once()
    assert city.bound(room) == ("chat", alice.user_id, space, "C3", "p")
    await city.settled()


async def test_what_a_newer_version_wrote_is_not_bound_without_a_row(
    city: City,
) -> None:
    """Nothing is derived for it and nothing written to it, but its ids are taken."""
    bob, space, (old,) = await city.old_home()
    newer = {**chat_identity(bob, 1, derived(old)), "v": 2, "kind": "something"}
    room = await city.room(bob, identity=newer, link=space)
    state = (await city.server())[room]
    report = await city.once()
    assert city.status(room) is None
    assert ("newer_version", room) in findings(report)
    assert city.bound(old)[3] == "C2"
    assert (await city.server())[room] == state
    await city.settled()


async def test_a_row_of_what_a_newer_version_took_over_stands(city: City) -> None:
    """Kind, owner and ids of the row hold; status, Space and name follow Matrix."""
    alice, space, (one, two, three) = await city.home(chats=3)
    reset = {"v": 1, "platform_chat_id": "reset"}
    await city.bot.put_state(three, BINDING, reset, city.bot.user_id)
    await city.once()
    for room in (one, two, three):
        binding = {"v": 2, "platform_chat_id": "p2", "chat_id": "C8", "new": True}
        await city.bot.put_state(room, BINDING, binding, city.bot.user_id)
    await city.bot.put_state(one, "m.room.name", {"name": "News"})
    await city.bot.unlink(space, two)
    state = await city.server()
    report = await city.once()
    assert {("newer_version", one), ("newer_version", two)} <= findings(report)
    assert city.bound(one) == (
        "chat",
        alice.user_id,
        space,
        "C1",
        conversation(alice, 1),
    )
    assert city.rows()[one]["name"] == "News"
    assert city.status(one) == "active"
    assert city.bound(two)[3:] == ("C2", conversation(alice, 2))
    assert city.status(two) == "detached: unlinked"
    assert city.bound(three)[3:] == ("C3", "reset")
    assert await city.server() == state
    await city.settled(unlike={one, two, three})


async def test_nothing_is_written_to_a_space_that_a_newer_version_took_over(
    city: City,
) -> None:
    """It holds its owner's place by its row; a chat that is not linked there waits."""
    alice, space, (one,) = await city.home()
    await city.once()
    binding = {"v": 2, "kind": "space", "owner": alice.user_id}
    await city.bot.put_state(space, BINDING, binding, city.bot.user_id)
    chat = await city.room(alice, identity=chat_identity(alice, 2))
    other = await city.space(alice)
    server = await city.server()
    report = await city.once()
    assert ("newer_version", space) in findings(report)
    assert city.users() == {alice.user_id: space}
    assert city.status(other) == "detached: duplicate"
    assert city.bound(one)[2] == space
    assert city.status(one) == city.status(chat) == "active"
    assert await city.server() == server
    await city.settled(cold=False)


async def test_an_identity_names_its_owner_exactly(city: City) -> None:
    """An id in other letters is another user: no Space of this one is the chat's."""
    alice, space, _ = await city.home(chats=0)
    identity = chat_identity(alice, 1) | {"owner": alice.user_id.replace("@a", "@A")}
    room = await city.room(alice, identity=identity, link=space)
    await city.once()
    assert city.bound(room)[1:4] == (alice.user_id.replace("@a", "@A"), None, "C1")
    await city.settled()


async def test_rooms_of_an_unknown_type_are_nothing(city: City) -> None:
    """Neither chat nor Space, also with an identity, and also as a child."""
    alice, space, _ = await city.home()
    server = city.bot.user_id.partition(":")[2]
    odd = [
        await city.room(alice, room_type=kind, identity=identity, link=space)
        for kind in ("org.example.game", "m.spaceship")
        for identity in (None, space_identity(alice), chat_identity(alice, 2))
    ]
    for child in (space, "not-a-room", "!" + "x" * 240, "!", ".."):
        await city.bot.put_state(space, CHILD, {"via": [server]}, child)
    await city.once()
    assert not city.rows().keys() & set(odd)
    assert len(city.rows()) == 2
    await city.settled()


# --- rules 2 and 4: the binding, and the conversation --------------------------


async def test_a_binding_says_what_the_identity_no_longer_says(city: City) -> None:
    """The bot's binding wins over identity and row; the report names both values."""
    alice, _, (one,) = await city.home()
    await city.once()
    event = await city.bot.put_state(one, BINDING, bare("reset"), city.bot.user_id)
    report = await city.once()
    (step,) = report.decided.cache.steps
    assert step.fields == {"platform_chat_id": (conversation(alice, 1), "reset")}
    assert step.cause is not None
    assert (step.cause.sender, step.cause.event_id) == (city.bot.user_id, event)
    assert city.bound(one)[4] == "reset"
    await city.settled()


async def test_bindings_of_others_are_ignored(city: City) -> None:
    """A user with all power can write no binding: only the bot's own state key counts."""
    alice, _, (one,) = await city.home()
    await city.bot.set_power(one, {alice.user_id: 100})
    record = {**chat_identity(alice, 9, "forged")}
    await alice.put_state(one, BINDING, bare("forged"), alice.user_id)
    await alice.put_state(one, BINDING, record)
    with pytest.raises(CallFailed, match="403"):
        await alice.put_state(one, BINDING, record, city.bot.user_id)
    await city.once()
    assert city.bound(one)[3:] == ("C1", conversation(alice, 1))
    assert await city.binding(one) is None
    await city.settled()


async def test_a_legacy_room_does_not_believe_a_users_record(city: City) -> None:
    """Records of others count for nothing where no identity stands, either."""
    bob, space, (old,) = await city.old_home()
    await city.bot.set_power(old, {bob.user_id: 100})
    await bob.put_state(old, BINDING, chat_identity(bob, 9, "forged"), bob.user_id)
    await bob.put_state(old, BINDING, chat_identity(bob, 9, "forged"))
    await city.once()
    assert city.bound(old) == ("chat", bob.user_id, space, "C1", derived(old))
    await city.settled()


async def test_a_redacted_binding_is_absent_never_unbound(city: City) -> None:
    """With the row it is written again; without, the identity counts, and stays so."""
    alice, _, (one,) = await city.home()
    await city.bot.set_power(one, {alice.user_id: 100})
    event = await city.bot.put_state(one, BINDING, bare("reset"), city.bot.user_id)
    await city.once()
    await alice.redact(one, event)
    assert await city.binding(one) == {}
    cold = await city.rebuilt()
    assert cold[one]["platform_chat_id"] == conversation(alice, 1)
    report = await city.once()
    assert report.cache.outcomes == ()
    assert city.bound(one)[4] == "reset"
    assert await city.binding(one) == bare("reset")
    await city.settled()


async def test_nobody_is_fought_over_a_binding_for_ever(city: City) -> None:
    """What is redacted again and again is repaired three times a day, then it is told."""
    alice, _, (one,) = await city.home()
    await city.bot.set_power(one, {alice.user_id: 100})
    await city.bot.put_state(one, BINDING, bare("reset"), city.bot.user_id)
    await city.once()
    report = None
    for repaired in (True, True, True, False):
        found = await city.bot.state_event(one, BINDING, city.bot.user_id)
        await alice.redact(one, found["event_id"])
        report = await city.once()
        assert (report.publish.count(Result.PUBLISHED) == 1) is repaired
        assert city.bound(one)[4] == "reset"
    assert report
    assert ("unpublishable", one) in findings(report)
    assert await city.binding(one) == {}
    await city.settled(cold=False)


async def test_a_redacted_record_is_made_again_from_the_row(city: City) -> None:
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
        found = await city.bot.state_event(room, BINDING, city.bot.user_id)
        await city.bot.redact(room, found["event_id"])
    await city.once()
    assert city.bound(old) == ("chat", bob.user_id, space, "C4", "mine")
    assert city.bound(space)[1] == bob.user_id
    assert await city.binding(old) == chat_identity(bob, 4, "mine")
    await city.settled()


@pytest.mark.parametrize(
    "content", [{"v": 1}, {"platform_chat_id": "p"}, {"v": 1, "platform_chat_id": 5}]
)
async def test_a_malformed_binding_is_absent_and_found(
    city: City, content: Json
) -> None:
    """A row knows what it may have said; without one the identity counts."""
    alice, _, (one,) = await city.home()
    await city.bot.put_state(one, BINDING, bare("reset"), city.bot.user_id)
    await city.once()
    await city.bot.put_state(one, BINDING, content, city.bot.user_id)
    assert (await city.rebuilt())[one]["platform_chat_id"] == conversation(alice, 1)
    report = await city.once()
    assert ("malformed_binding", one) in findings(report)
    assert city.bound(one)[4] == "reset"
    assert await city.binding(one) == bare("reset")
    await city.settled()


async def test_a_conversation_that_another_room_claims_is_not_taken_from_a_row(
    city: City,
) -> None:
    """A row's id counts only while no other room says in Matrix that it is its own."""
    alice, space, (one,) = await city.home()
    legacy = await city.room(alice, link=space)
    await city.startup()
    city.spoil(
        "UPDATE room_meta SET status = 'detached', reason = 'unlinked'"
        " WHERE room_id = :one",
        "UPDATE room_meta SET platform_chat_id = :taken WHERE room_id = :legacy",
        one=one,
        taken=conversation(alice, 1),
        legacy=legacy,
    )
    await city.once()
    assert city.bound(legacy)[4] == derived(legacy)
    assert city.bound(one)[4] == conversation(alice, 1)
    await city.settled()


async def test_the_event_types_are_settings(city: City) -> None:
    """Under other names, what stands under the usual ones says nothing."""
    alice, space, (one,) = await city.home()
    types = EventTypes(identity="org.example.who", binding="org.example.which")
    room = await city.bot.create_room(
        creation_content={types.identity: chat_identity(alice, 8, "p8")},
        invite=[alice.user_id],
    )
    await city.startup(types=types)
    assert city.bound(space) == ("space", alice.user_id, None, None, None)
    assert city.bound(one)[3:] == ("C1", derived(one))
    assert city.bound(room) == ("chat", alice.user_id, space, "C8", "p8")
    await city.once(types=types)
    assert await city.binding(one) is None
    record = await city.has(one, types.binding, city.bot.user_id)
    assert record == chat_identity(alice, 1, derived(one))
    assert (await city.once(types=types)).result == "in sync"
