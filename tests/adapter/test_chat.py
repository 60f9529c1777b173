"""The one door to provisioning: for one user one after the other, users side by side."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence

import pytest

from adapter.chat import Chat, ChatManager, InvitedBack, NotNow, Waiting

ALICE, BOB = "@alice:hs", "@bob:hs"


class Street:
    """Homes in memory. What makes something gives others their turn in the middle of it."""

    def __init__(self) -> None:
        self.made: list[Chat] = []
        self.spaces: dict[str, str] = {}
        self.elsewhere: list[Chat] = []
        """What another program made, to be seen by whoever looks round."""
        self.hidden = False
        self.inside: Counter[str] = Counter()
        self.most = 0
        """How many users' rooms were made at the same time."""
        self.begun: dict[str, Chat] = {}

    async def _work(self, user_id: str) -> None:
        assert not self.inside[user_id], "somebody else is at it for the same user"
        self.inside[user_id] += 1
        self.most = max(self.most, self.inside.total())
        for _ in range(3):
            await asyncio.sleep(0)
        self.inside[user_id] -= 1

    async def chats(self, user_id: str) -> Sequence[Chat]:
        await asyncio.sleep(0)
        return [chat for chat in self.made if chat.space_id == self.spaces.get(user_id)]

    async def look_round(self, user_id: str) -> None:
        if self.hidden:
            raise NotNow
        self.made += self.elsewhere
        self.elsewhere = []

    async def space(self, user_id: str) -> str | None:
        return self.spaces.get(user_id)

    async def new_space(self, user_id: str, *, asked: str, waiting: Waiting) -> None:
        await self._work(user_id)
        await waiting()
        self.spaces[user_id] = f"!space-of-{user_id}"

    async def finish(self, chat: Chat) -> Chat:
        return chat

    async def chat(
        self,
        user_id: str,
        chat_id: str | None,
        *,
        asked: str,
        title: str | None,
        waiting: Waiting,
        anew: bool,
    ) -> Chat:
        if asked not in self.begun:
            await self._work(user_id)
            await waiting()
            number = chat_id or f"C{len(await self.chats(user_id)) + 1}"
            room = f"!{number}-of-{user_id}"
            self.begun[asked] = Chat(room, number, title, self.spaces[user_id])
            self.made.append(self.begun[asked])
        return self.begun[asked]

    async def invite_back(
        self, user_id: str, rooms: Collection[str] | None
    ) -> InvitedBack:
        await self._work(user_id)
        return InvitedBack((self.spaces[user_id],))


@pytest.fixture
def street() -> Street:
    return Street()


async def test_what_cannot_be_seen_is_not_made(street: Street) -> None:
    """Whoever asks is told to try again; nothing is there, and the next one can ask."""
    chats = ChatManager(street)
    street.hidden = True
    with pytest.raises(NotNow):
        await chats.get_or_create(ALICE, asked="$a")
    assert street.made == []
    street.hidden = False
    assert (await chats.get_or_create(ALICE, asked="$a")).chat_id == "C1"


async def test_a_cancelled_request_lets_the_next_one_in(street: Street) -> None:
    """Nobody waits for somebody who is gone."""
    chats = ChatManager(street)
    gone = asyncio.create_task(chats.get_or_create(ALICE, asked="$a"))
    next_one = asyncio.create_task(chats.get_or_create(ALICE, asked="$b"))
    await asyncio.sleep(0)
    gone.cancel()
    street.inside.clear()
    assert (await next_one).chat_id == "C1"
    assert gone.cancelled()


async def test_words_of_one_user_lead_to_one_chat(street: Street) -> None:
    """However many come at once."""
    chats = ChatManager(street)
    found = await asyncio.gather(
        *(chats.get_or_create(ALICE, asked=f"${n}") for n in range(5))
    )
    assert set(found) == set(street.made)
    assert len(street.made) == 1


async def test_each_command_makes_a_chat_and_makes_it_once(street: Street) -> None:
    """Handled twice at the same time, too."""
    chats = ChatManager(street)
    made = await asyncio.gather(
        *(chats.new(ALICE, asked=f"${n}", title=str(n)) for n in (1, 2, 1, 2))
    )
    assert sorted(chat.chat_id for chat in set(made)) == ["C1", "C2"]
    assert {chat.title for chat in made} == {"1", "2"}
    assert len(street.made) == 2


async def test_users_do_not_wait_for_each_other(street: Street) -> None:
    """Their rooms are made side by side, each user's one after the other."""
    chats = ChatManager(street)
    await asyncio.gather(
        *(chats.new(who, asked=f"${who}{n}") for who in (ALICE, BOB) for n in range(3)),
    )
    assert street.most == 2
    await asyncio.gather(chats.invite_back(ALICE), chats.new(ALICE, asked="$then"))


async def test_what_another_program_made_meanwhile_is_used(street: Street) -> None:
    """Seen only when looking round, before anything is made."""
    theirs = Chat("!theirs", "C1", None, f"!space-of-{ALICE}")
    street.elsewhere = [theirs]
    assert await ChatManager(street).get_or_create(ALICE, asked="$a") == theirs
    assert street.made == [theirs]


async def test_an_archived_chat_is_found_only_by_its_number(street: Street) -> None:
    """Nothing is made beside it under its number, and no word is led to it."""
    chats = ChatManager(street)
    first = await chats.get_or_create(ALICE, asked="$a")
    street.made = [first._replace(archived=True)]
    assert await chats.get_or_create(ALICE, "C1", asked="$b") == street.made[0]
    assert (await chats.get_or_create(ALICE, asked="$c")).chat_id == "C2"


async def test_who_waits_is_told_once(street: Street) -> None:
    """Space and chat both take long; somebody who does not care is not asked."""
    told = []

    async def waiting() -> None:
        told.append("it takes a moment")

    chats = ChatManager(street)
    await chats.get_or_create(ALICE, asked="$a", waiting=waiting)
    assert len(told) == 1
    await chats.get_or_create(BOB, asked="$b")
    await chats.new(ALICE, asked="$c", waiting=waiting)
    assert len(told) == 2
