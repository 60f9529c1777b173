"""Who a room is, on a real server: rules 1, 2, 4 and 6 of docs/how-it-decides.md."""

from __future__ import annotations

from adapter.matrix.facts import EventTypes
from tests.adapter.matrix.city import (
    BINDING,
    IDENTITY,
    City,
    Json,
    chat_identity,
    conversation,
    derived,
    findings,
)


def bare(platform: str) -> Json:
    """A binding that says nothing but the conversation."""
    return {"v": 1, "platform_chat_id": platform}


# --- rules 1 and 6: identity, and whose rooms count ----------------------------


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


async def test_what_decides_nothing_in_an_identity_does_no_harm(city: City) -> None:
    """Unknown fields are ignored, and a `request` that is none costs nobody the room."""
    alice, space, _ = await city.home(chats=0)
    identity = chat_identity(alice, 3, "p") | {"colour": "red", "request": 7}
    room = await city.room(alice, identity=identity, link=space)
    await city.once()
    assert city.bound(room) == ("chat", alice.user_id, space, "C3", "p")
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


# --- rules 2 and 4: the binding, and the conversation --------------------------


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
