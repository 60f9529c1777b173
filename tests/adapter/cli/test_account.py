"""What a person's client does beyond rooms: it follows what happens, and chats directly."""

from __future__ import annotations

import pytest

from adapter.cli.account import Account, CallFailed, Json
from tests.conftest import Accounts


def bodies(answer: Json, room: str) -> list[str]:
    events = answer["rooms"]["join"][room]["timeline"]["events"]
    return [e["content"]["body"] for e in events if e["type"] == "m.room.message"]


async def test_a_token_of_nowhere(bot: Account) -> None:
    """What the server does not know as a token is refused."""
    with pytest.raises(CallFailed, match="400"):
        await bot.sync("nowhere")


async def test_a_direct_chat(bot: Account, person: Account) -> None:
    """The other one is invited to a direct chat, and has all the power there."""
    room = await person.direct(bot.user_id, name="Us two")
    member = await person.state_event(room, "m.room.member", bot.user_id)
    assert member["content"]["membership"] == "invite"
    assert member["content"]["is_direct"] is True
    name = await person.state_event(room, "m.room.name", format="content")
    assert name == {"name": "Us two"}
    await bot.join(room)
    assert await bot.put_state(room, "m.room.topic", {"topic": "ours"})


async def test_direct_chats_are_kept_in_mind(
    accounts: Accounts, bot: Account, person: Account
) -> None:
    """`m.direct` names each with the account that it is with, oldest first."""
    other = await accounts("other")
    first = await person.direct(bot.user_id)
    third = await person.direct(other.user_id)
    second = await person.direct(bot.user_id)
    assert await person.account_data("m.direct") == {
        bot.user_id: [first, second],
        other.user_id: [third],
    }


async def test_what_happens_is_told_once(bot: Account, person: Account) -> None:
    """An answer begins where the one whose token is given ended, and waits for news."""
    room = await bot.create_room(invite=[person.user_id])
    await person.join(room)
    await bot.send(room, "one")
    start = await person.sync()
    assert bodies(start, room) == ["one"]
    await bot.send(room, "two")
    news = await person.sync(start["next_batch"], wait_ms=60_000)
    assert bodies(news, room) == ["two"]
    nothing = await person.sync(news["next_batch"])
    assert room not in nothing.get("rooms", {}).get("join", {})


async def test_a_filter(bot: Account) -> None:
    """The server leaves out what the filter does."""
    room = await bot.create_room()
    await bot.send(room, "one")
    narrow = {"room": {"timeline": {"types": ["m.room.create"]}}}
    assert bodies(await bot.sync(sync_filter=narrow), room) == []


async def test_account_data_is_replaced(bot: Account) -> None:
    """What is put there is what is read, and no more than that."""
    await bot.put_account_data("x.note", {"a": 1, "b": 2})
    await bot.put_account_data("x.note", {"a": 3})
    assert await bot.account_data("x.note") == {"a": 3}
