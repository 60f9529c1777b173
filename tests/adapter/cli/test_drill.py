"""`drill`, on a real server: what could be rebuilt from Matrix alone, and what not."""

from __future__ import annotations

import json

from schemas import problems
from tests.adapter.cli.runs import is_one_sentence, run_in
from tests.adapter.matrix.city import City


async def test_a_cache_is_put_to_the_test_without_being_lost(city: City) -> None:
    """Old rooms are at risk until their records are written; then the drill is right
    about what a start without the file gives, binding by binding."""
    alice, _, _ = await city.home("alice", 2)
    bob, old_space, [first, second] = await city.old_home("bob", 2)
    whose = await city.room(alice, bob)
    await city.startup()
    city.spoil(
        "UPDATE room_meta SET chat_id = 'C7' WHERE room_id = :first",
        "INSERT INTO room_meta (room_id, room_type, chat_id, matrix_user_id,"
        " platform_chat_id, status, revision)"
        " VALUES (:whose, 'chat', 'C9', :bob, 'p', 'active', 1)",
        first=first,
        whose=whose,
        bob=bob.user_id,
    )
    before = city.dump(), await city.position(), sorted(city.path.parent.iterdir())

    done = await run_in(city, "drill", "--output", "json")
    assert done.exit_code == 2, done.stderr
    found = json.loads(done.stdout)
    assert problems("drill", found) == []
    # Without the row, the first one would be C1, and the second keeps its number.
    assert found["summary"] == {
        "bindings": 7,
        "recoverable": 5,
        "guessed": 1,
        "lost": 1,
        "behind": 0,
        "unseen": 0,
        "more": 0,
    }
    fates = {one["room"]: one for one in found["rooms"]}
    assert fates[first]["fate"] == "guessed"
    assert fates[first]["fields"] == {"chat_id": {"from": "C7", "to": "C1"}}
    assert fates[whose]["fate"] == "lost"
    assert "whose chat it is" in fates[whose]["why"]

    done = await run_in(city, "drill")
    assert done.exit_code == 2
    *lines, last = done.stdout.splitlines()
    assert last == "5 of 7 bindings recoverable, 1 guessed, 1 lost"
    assert len(lines) == 2
    config = city.path.parent / "spacekeeper.yaml"
    after = [path for path in sorted(city.path.parent.iterdir()) if path != config]
    assert (city.dump(), await city.position(), after) == before

    await city.once()  # the records are written, and whose room it is as well
    done = await run_in(city, "drill")
    assert (done.exit_code, done.stdout) == (
        0,
        "7 of 7 bindings recoverable, 0 guessed\n",
    )
    bound = {room: city.bound(room) for room in city.rows()}
    city.forget()
    await city.startup()
    assert {room: city.bound(room) for room in city.rows()} == bound
    assert city.bound(first)[3] == "C7"
    assert {old_space, second, whose} <= bound.keys()


async def test_a_drill_without_anything_to_lose(city: City) -> None:
    """No database is made, and nobody is told that all is well by mistake."""
    await city.home("alice", 1)
    done = await run_in(city, "drill")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "0 of 0 bindings recoverable, 0 guessed",
        "Matrix has 2 rooms more than the cache: see `spacekeeper plan`",
    ]
    assert "no database" in done.stderr
    assert [path.name for path in city.path.parent.iterdir()] == ["spacekeeper.yaml"]
    done = await run_in(city, "drill", url="http://127.0.0.1:1")
    assert done.exit_code == 1
    assert is_one_sentence(done.stderr.splitlines(keepends=True)[-1])
