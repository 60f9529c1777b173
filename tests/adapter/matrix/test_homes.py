"""What somebody has, as the rows say."""

from __future__ import annotations

import pytest

from adapter.matrix.homes import chats_of
from adapter.matrix.rows import ACTIVE, CHAT, PENDING, Row
from controller.model import DETACHED

ALICE = "@alice:hs.test"


def chat(room_id: str, chat_id: str, status: str, reason: str | None = None) -> Row:
    return Row(room_id, CHAT, chat_id, "!s", ALICE, "p", status=status, reason=reason)


@pytest.mark.parametrize(
    "other",
    [
        chat("!b", "C2", ACTIVE),
        chat("!b", "C2", PENDING),
        chat("!b", "C2", DETACHED, "unlinked"),
        chat("!b", "C2", DETACHED, "owner_left"),
    ],
    ids=lambda row: row.reason or row.status,
)
@pytest.mark.parametrize("lost", ["bot_left", "bot_kicked", "bot_banned", "lost"])
def test_a_chat_that_goes_on_elsewhere_is_told_once(other: Row, lost: str) -> None:
    """The bot is out of the one room, and the other has its place: that one is hers."""
    rows = [chat("!a", "C2", DETACHED, lost), other, chat("!c", "C1", ACTIVE)]
    for given in (rows, rows[::-1]):
        found = chats_of({row.room_id: row for row in given}, ALICE)
        assert [row.room_id for row in found] == ["!c", "!b"]


def test_a_chat_that_the_bot_is_out_of_is_a_chat_still() -> None:
    """Where nothing took its place, it is listed, and no number is taken for another."""
    rows = [
        chat("!a", "C10", DETACHED, "bot_kicked"),
        chat("!b", "C9", DETACHED, "duplicate"),
        chat("!c", "C2", DETACHED, "unlinked"),
    ]
    found = chats_of({row.room_id: row for row in rows}, ALICE)
    assert [row.chat_id for row in found] == ["C2", "C10"]
