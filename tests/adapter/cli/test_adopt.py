"""`adopt`, on a real server: whose a room is, for good."""

from __future__ import annotations

from click.testing import Result

from tests.adapter.cli.runs import is_one_sentence, run_in
from tests.adapter.matrix.city import BINDING, CHILD, City, derived
from tests.adapter.matrix.live import Backend, living
from tests.people import Person


async def adopt(city: City, room: str, owner: str, *args: str) -> Result:
    return await run_in(city, "adopt", room, "--owner", owner, *args)


async def test_a_room_is_adopted_beside_the_running_bot(city: City) -> None:
    """It writes one event; the bot binds the room, links it, and answers in it."""
    owner, space, [chat] = await city.home("alice")
    guest = await city.person("guest")
    room = await city.room(owner, guest)
    alice, platform = Person(owner), Backend()
    async with living(city, platform):
        assert city.status(room) is None
        before = city.dump()
        done = await adopt(city, room, owner.user_id)
        assert done.exit_code == 0, done.stderr
        said = done.stdout.splitlines()
        assert said[0] == f"{room} is {owner.user_id}'s C2 from now on"
        assert 'chat_id="C2"' in said[2]
        assert f"{CHILD}|{room}" in said[3]
        await alice.say(room, "apricot")
        [answer] = await alice.hears(room)
        assert answer["body"] == "1: apricot"
        assert city.dump() != before
    assert await city.binding(room) == {
        "v": 1,
        "kind": "chat",
        "owner": owner.user_id,
        "chat_id": "C2",
        "platform_chat_id": derived(room),
    }
    assert list(platform.heard) == [derived(room)]
    await city.once()
    assert city.bound(room) == ("chat", owner.user_id, space, "C2", derived(room))
    assert await city.has(space, CHILD, room) == {"via": ["hs.test"]}
    await city.settled()

    again = await adopt(city, room, owner.user_id)
    assert again.exit_code == 1
    assert is_one_sentence(again.stderr)
    assert f"{owner.user_id}'s already, as their C2" in again.stderr
    assert city.status(chat) == "active"


async def test_what_is_refused_writes_nothing(city: City) -> None:
    """Each in one sentence; the rules are those of test_adoption.py."""
    owner, space, [chat] = await city.home("alice")
    bob = await city.person("bob")
    room, foreign = await city.room(owner, bob), await owner.create_room()
    await owner.invite(foreign, city.bot.user_id)
    await city.bot.join(foreign)
    await city.startup()
    before = city.dump(), await city.position()
    me, him = owner.user_id, bob.user_id
    for given, why in (
        ((foreign, me), "the bot did not make"),
        ((room, "@stranger:hs.test"), "was never in"),
        ((chat, him), f"says of itself that it is {me}'s"),
        ((room, me, "--chat-id", "C1"), f"{chat} is {me}'s C1"),
        ((room, me, "--chat-id", "\u202e"), "\\u202e is no chat_id"),
        (("!nowhere", me), "look at the id again"),
    ):
        done = await adopt(city, *given)
        assert (done.exit_code, done.stdout) == (1, "")
        assert is_one_sentence(done.stderr)
        assert why in done.stderr
    assert (city.dump(), await city.position()) == before
    assert await city.has(room, BINDING, city.bot.user_id) is None
    assert city.status(space) == "active"


async def test_a_space_and_a_chat_without_a_database(city: City) -> None:
    """A pass then binds both as they were adopted, and a guest changes nothing more."""
    owner, guest = await city.person("alice"), await city.person("guest")
    space = await city.room(owner, guest, room_type="m.space")
    chat = await city.room(owner, guest)
    assert (await adopt(city, space, owner.user_id)).exit_code == 0
    done = await adopt(city, chat, owner.user_id, "--chat-id", "C4")
    assert done.exit_code == 0, done.stderr
    assert not city.path.exists()
    await city.once()
    assert city.bound(space) == ("space", owner.user_id, None, None, None)
    assert city.bound(chat) == ("chat", owner.user_id, space, "C4", derived(chat))
    await city.settled()
