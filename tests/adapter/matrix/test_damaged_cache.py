"""Rows that are partial, wrong, old or of nothing, mended from a real server."""

from __future__ import annotations

import pytest

from adapter.matrix.settings import ReconcileSettings
from controller.apply import Result
from tests.adapter.matrix.city import (
    City,
    conversation,
    findings,
)

DAMAGE = {
    "only room ids": (
        "UPDATE room_meta SET room_type = NULL, chat_id = NULL, space_id = NULL,"
        " matrix_user_id = NULL, platform_chat_id = NULL, name = NULL"
    ),
    "only platform ids": (
        "UPDATE room_meta SET room_type = NULL, chat_id = NULL, space_id = NULL,"
        " matrix_user_id = NULL, name = NULL"
    ),
    "no platform ids": "UPDATE room_meta SET platform_chat_id = NULL",
    "no Spaces": "UPDATE room_meta SET space_id = NULL",
    "the Spaces are lost": "DELETE FROM room_meta WHERE room_type = 'space'",
    "the chats are lost": "DELETE FROM room_meta WHERE room_type = 'chat'",
    "a wrong Space": "UPDATE room_meta SET space_id = :other WHERE room_id = :one",
    "no such Space": "UPDATE room_meta SET space_id = '!no:where' WHERE room_id = :one",
    "a wrong user": "UPDATE room_meta SET matrix_user_id = :bob WHERE room_id = :two",
    "a wrong user of a legacy chat": (
        "UPDATE room_meta SET matrix_user_id = :alice, chat_id = 'C5'"
        " WHERE room_id = :three"
    ),
    "a wrong user of a Space": (
        "UPDATE room_meta SET matrix_user_id = '@nobody:hs.test' WHERE room_id = :space"
    ),
    "a chat as a Space": (
        "UPDATE room_meta SET room_type = 'space', matrix_user_id = NULL"
        " WHERE room_id = :one"
    ),
    "a Space as a chat": (
        "UPDATE room_meta SET room_type = 'chat', chat_id = 'C8',"
        " platform_chat_id = 'new' WHERE room_id = :space"
    ),
    "a wrong chat id": "UPDATE room_meta SET chat_id = 'C77' WHERE room_id = :one",
    "no chat id at all": "UPDATE room_meta SET chat_id = '../x' WHERE room_id = :one",
    "a wrong platform id": (
        "UPDATE room_meta SET platform_chat_id = 'wrong' WHERE room_id = :one"
    ),
    "given up for no reason": (
        "UPDATE room_meta SET status = 'detached', reason = 'lost'"
    ),
    "said to be pending": "UPDATE room_meta SET status = 'pending'",
    "said to be unknown": (
        "UPDATE room_meta SET status = 'unknown', reason = 'state: 503'"
    ),
    "said to be upgraded": (
        "UPDATE room_meta SET status = 'detached', reason = 'upgraded', evidence = '$x'"
    ),
    "said to be somebody else's": (
        "UPDATE room_meta SET status = 'detached', reason = 'not_ours'"
        " WHERE room_type = 'space'"
    ),
    "said to have thrown the bot out": (
        "UPDATE room_meta SET status = 'detached', reason = 'bot_kicked'"
        " WHERE room_type = 'chat'"
    ),
    "a wrong name": "UPDATE room_meta SET name = 'Wrong'",
    "swapped chat ids": (
        "UPDATE room_meta SET chat_id = CASE room_id"
        " WHEN :one THEN 'C2' ELSE 'C1' END, status = 'detached', reason = 'unlinked'"
        " WHERE room_id IN (:one, :two)"
    ),
    "swapped platform ids": (
        "UPDATE room_meta SET platform_chat_id = CASE room_id"
        " WHEN :one THEN 'conversation-' || :two_is ELSE 'conversation-' || :one_is END,"
        " status = 'detached', reason = 'duplicate' WHERE room_id IN (:one, :two)"
    ),
}


async def test_damaged_rows_are_mended_from_matrix(
    city: City, subtests: pytest.Subtests
) -> None:
    """Whatever the rows say against Matrix, one pass leaves what Matrix says."""
    alice, space, (one, two) = await city.home(chats=2)
    bob, other, (three,) = await city.old_home()
    await city.once()
    right = city.rows()
    fields = [name for name in right[one] if name not in {"revision", "updated_at"}]

    def binds() -> list[list[object]]:
        return [[row[name] for name in fields] for row in city.rows().values()]

    expected, server = binds(), await city.server()
    for name, damage in DAMAGE.items():
        with subtests.test(damage=name):
            city.spoil(
                damage,
                one=one,
                two=two,
                three=three,
                space=space,
                other=other,
                alice=alice.user_id,
                bob=bob.user_id,
                one_is=conversation(alice, 1).removeprefix("conversation-"),
                two_is=conversation(alice, 2).removeprefix("conversation-"),
            )
            wrong = binds()
            assert wrong != expected
            report = await city.once(allow_detach=9)
            assert binds() == expected
            assert {outcome.result for outcome in report.cache.outcomes} == {
                Result.APPLIED
            }
            assert await city.server() == server
    await city.settled()


async def test_valid_rows_are_not_touched_when_others_are_mended(city: City) -> None:
    """A row that says what Matrix says keeps its revision and its time."""
    _, space, (one, two) = await city.home(chats=2)
    await city.once()
    before = city.rows()
    city.spoil("UPDATE room_meta SET space_id = :two WHERE room_id = :two", two=two)
    await city.once()
    after = city.rows()
    assert after[two]["revision"] == before[two]["revision"] + 1
    assert after[two]["space_id"] == space
    assert (after[space], after[one]) == (before[space], before[one])
    await city.settled()


async def test_a_row_of_a_room_that_nobody_knows_is_unknown_then_lost(
    city: City,
) -> None:
    """A room that the bot is not in, without any evidence why, keeps its row's values."""
    alice, space, (one,) = await city.home()
    await city.once()
    city.spoil(
        "INSERT INTO room_meta (room_id, room_type, chat_id, space_id, matrix_user_id,"
        " platform_chat_id) VALUES ('!nowhere:hs.test', 'chat', 'C9', :space, :alice,"
        " 'p9')",
        space=space,
        alice=alice.user_id,
    )
    report = await city.once()
    ghost = "!nowhere:hs.test"
    assert city.bound(ghost) == ("chat", alice.user_id, space, "C9", "p9")
    assert city.rows()[ghost]["status"] == "unknown"
    assert ghost in report.decided.want.unknown
    assert city.status(one) == "active"
    assert "p9" in city.chats()
    await city.settled(unlike={ghost})
    # After a `full_interval` it is given up, with everything that it said.
    report = await city.once(settings=ReconcileSettings(full_interval=0))
    assert city.status(ghost) == "detached: lost"
    assert city.bound(ghost)[3:] == ("C9", "p9")
    assert ("lost", ghost) in findings(report)
    await city.settled(unlike={ghost})


async def test_names_follow_whatever_they_are(city: City) -> None:
    """A name decides nothing, and nothing that can be a name does any harm."""
    _, space, rooms = await city.home(chats=4)
    await city.once()
    names: list[object] = ["a\x00b", "x" * 50_000, "\u202e\U0001f600", ""]
    for room, name in zip(rooms, names, strict=True):
        await city.bot.put_state(room, "m.room.name", {"name": name})
    await city.once()
    assert [city.rows()[room]["name"] for room in rooms] == [*names[:3], None]
    assert city.rows()[space]["revision"] == 1
    await city.settled()
