"""What becomes of upgraded rooms later on: rule 8 of docs/how-it-decides.md.

The upgrade itself is in tests/conformance/test_e_upgrades.py."""

from __future__ import annotations

import pytest

from tests.adapter.matrix.city import (
    City,
    chat_identity,
    conversation,
    derived,
)


async def test_rows_of_an_upgraded_chat_are_mended(
    city: City, subtests: pytest.Subtests
) -> None:
    """Whichever of its rooms the cache knows, and whatever it says of them."""
    _, space, (one,) = await city.home(version="11")
    await city.once()
    new = await city.bot.upgrade(one, "12")
    await city.once()
    fields = (
        "room_type",
        "chat_id",
        "space_id",
        "platform_chat_id",
        "status",
        "reason",
    )

    def rows() -> dict[str, list[object]]:
        return {r: [row[name] for name in fields] for r, row in city.rows().items()}

    expected, server = rows(), await city.server()
    for damage in (
        "DELETE FROM room_meta WHERE room_id = :one",
        "DELETE FROM room_meta WHERE room_id = :new",
        "UPDATE room_meta SET platform_chat_id = 'p-' || room_id, chat_id = 'C4'",
        "UPDATE room_meta SET chat_id = NULL, space_id = :one WHERE room_id = :new",
        "UPDATE room_meta SET status = 'active', reason = NULL, chat_id = 'C7',"
        " platform_chat_id = 'p7' WHERE room_id = :one",
        "UPDATE room_meta SET status = 'detached', reason = 'upgraded'",
    ):
        with subtests.test(damage=damage):
            city.spoil(damage, one=one, new=new, space=space)
            assert rows() != expected
            await city.once()
            assert rows() == expected
            assert await city.server() == server
    await city.settled()


async def test_a_bot_that_is_thrown_out_of_the_new_room_keeps_both_rows(
    city: City,
) -> None:
    """The old room does not come back into the place of one that was followed."""
    alice, space, (one,) = await city.home(version="10")
    await city.bot.set_power(one, {alice.user_id: 100})
    new = await city.bot.upgrade(one, "11")
    await city.once()
    await alice.join(new)
    await city.bot.set_power(new, {city.bot.user_id: 50})
    await alice.kick(new, city.bot.user_id)
    await city.once()
    assert city.status(new) == "detached: bot_kicked"
    assert city.status(one) == "detached: upgraded"
    same = ("chat", alice.user_id, space, "C1", conversation(alice, 1))
    assert city.bound(new) == city.bound(one) == same
    await city.settled()


async def test_the_old_room_may_be_left_and_forgotten(city: City) -> None:
    """Its row stays; from the new room and its record everything is known all the same."""
    alice, space, (one,) = await city.home(version="11")
    new = await city.bot.upgrade(one, "12")
    await city.once()
    await alice.join(new)
    await city.bot.leave(one)
    await city.once()
    await city.settled()
    await city.bot.forget(one)
    await city.once()
    assert city.status(one) == "detached: upgraded"
    same = ("chat", alice.user_id, space, "C1", conversation(alice, 1))
    assert city.bound(new) == city.bound(one) == same
    await city.settled(unlike={one})


async def test_a_legacy_chat_keeps_its_id_over_upgrades(city: City) -> None:
    """Derived from the first room of the chain, also when nothing was recorded before."""
    bob, space, (old,) = await city.old_home(version="10")
    newer = await city.bot.upgrade(old, "11")
    newest = await city.bot.upgrade(newer, "12")
    await city.once()
    assert city.bound(newest) == ("chat", bob.user_id, space, "C1", derived(old))
    assert [city.status(room) for room in (old, newer)] == ["detached: upgraded"] * 2
    assert city.users() == {bob.user_id: space}
    record = await city.binding(newest)
    assert record == chat_identity(bob, 1, derived(old))
    assert await city.membership(newest, bob) == "invite"
    await city.settled()
