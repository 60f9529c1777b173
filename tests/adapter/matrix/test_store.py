"""The rows as a target of plans, the bot's memory, and transactions under cancellation."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.matrix.rows import ACTIVE, CHAT, SPACE, Row, Unread, key, topology
from adapter.matrix.store import (
    BadValue,
    PlaceTaken,
    Publication,
    Store,
    StoreError,
    get_room_meta,
    get_user_meta,
    next_platform_chat_id,
    set_room_meta,
    set_user_meta,
)
from controller.apply import Result, apply
from controller.conditions import Condition
from controller.diff import diff
from controller.model import Action, Change, Key, Resource
from controller.plan import plan

ALICE, BOB = "@alice:example.org", "@bob:example.org"
DAY = 24 * 60 * 60 * 1000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "a.db") as opened:
        yield opened


def chat(room_id: str, number: int, platform: str, user: str = ALICE) -> Row:
    return Row(room_id, CHAT, f"C{number}", "!space", user, platform)


async def become(store: Store, *rows: Row) -> list[Result]:
    """Make the cache hold exactly these rows active; the results, in key order."""
    want = topology({row.room_id: row for row in rows})
    steps = plan(diff(topology(await store.rows()), want)).steps
    return [outcome.result for outcome in await store.carry_out(steps)]


async def seen(store: Store) -> dict[str, Row]:
    """The rows without their revisions."""
    rows = await store.rows()
    return {room_id: row._replace(revision=0) for room_id, row in rows.items()}


def change(row: Row, **fields: str | None) -> Change:
    """The step that changes fields of a row as it was read."""
    after = topology({row.room_id: row._replace(**fields)})  # type: ignore[arg-type]
    before = topology({row.room_id: row})
    (step,) = diff(before, after)
    return step


# Plans


async def test_a_created_row_is_read_back(store: Store) -> None:
    """What a plan creates is what is read, at revision 1."""
    row = chat("!a", 1, "p1")._replace(name="Chät 🚀", evidence="$e", reason="r")
    assert await become(store, row) == [Result.APPLIED]
    assert await store.rows() == {"!a": row._replace(revision=1)}


async def test_rows_come_in_the_order_of_their_ids(store: Store) -> None:
    """Two reads of one cache are equal to the last byte."""
    await become(store, *(chat(f"!{n}", n, f"p{n}") for n in (3, 10, 1, 2)))
    assert list(await store.rows()) == ["!1", "!10", "!2", "!3"]


async def test_every_write_raises_the_revision(store: Store) -> None:
    """Whoever planned on an older row can tell."""
    for number in range(1, 4):
        await become(store, chat("!a", number, "p"))
        assert (await store.rows())["!a"].revision == number


async def test_a_value_that_is_no_longer_wanted_is_gone(store: Store) -> None:
    """A field that the new resource lacks is absent, not what it was."""
    await become(store, chat("!a", 1, "p1")._replace(name="Old"))
    await become(store, Row("!a", CHAT))
    assert await seen(store) == {"!a": Row("!a", CHAT)}


async def test_a_second_carrying_out_changes_nothing(store: Store) -> None:
    """The same steps again are stale, every one, and leave the rows alone."""
    steps = [*diff({}, topology({"!a": chat("!a", 1, "p1")}))]
    await store.carry_out(steps)
    before = await store.rows()
    (outcome,) = await store.carry_out(steps)
    assert outcome.result is Result.STALE
    assert await store.rows() == before


async def test_a_row_that_changed_meanwhile_is_left_alone(store: Store) -> None:
    """A step that was planned on an older row is stale; the other one is applied."""
    await become(store, chat("!a", 1, "p1"), chat("!b", 2, "p2"))
    rows = await store.rows()
    steps = [change(rows["!a"], name="mine"), change(rows["!b"], name="mine")]
    await set_room_meta(store, "!a", name="theirs")
    results = [outcome.result for outcome in await store.carry_out(steps)]
    assert results == [Result.STALE, Result.APPLIED]
    assert [row.name for row in (await store.rows()).values()] == ["theirs", "mine"]


async def test_a_row_that_is_not_there_is_not_updated(store: Store) -> None:
    """A step on a row that vanished, as from another file, is stale."""
    row = chat("!a", 1, "p1")._replace(revision=1)
    (outcome,) = await store.carry_out([change(row, name="x")])
    assert outcome.result is Result.STALE
    assert await store.rows() == {}


async def test_what_nothing_wants_is_detached_as_lost(store: Store) -> None:
    """No row is deleted, and one that was detached already keeps its reason."""
    gone = Row("!b", SPACE, status="detached", reason="bot_left", evidence="$e")
    await become(store, chat("!a", 1, "p1"), gone)
    assert await become(store) == [Result.APPLIED, Result.APPLIED]
    lost = chat("!a", 1, "p1")._replace(status="detached", reason="lost")
    assert await seen(store) == {"!a": lost, "!b": gone}


async def test_two_rooms_swap_their_places(store: Store) -> None:
    """Chat ids and platform ids can change hands in one plan."""
    await become(store, chat("!a", 1, "p1"), chat("!b", 2, "p2"))
    swapped = chat("!a", 2, "p2"), chat("!b", 1, "p1")
    assert await become(store, *swapped) == [Result.APPLIED, Result.APPLIED]
    assert await seen(store) == {row.room_id: row for row in swapped}


async def test_a_new_room_takes_the_place_of_an_old_one(store: Store) -> None:
    """A successor is created and its predecessor detached in one plan, either first."""
    old = Row("!b", SPACE, matrix_user_id=ALICE)
    await become(store, old)
    for new in ("!a", "!c"):
        rows = [row._replace(status="detached") for row in (await seen(store)).values()]
        successor = old._replace(room_id=new)
        results = await become(store, *rows, successor)
        assert set(results) == {Result.APPLIED}


async def test_only_the_step_without_a_place_fails(store: Store) -> None:
    """A row outside the plan keeps its place; the step that wants it says so."""
    await become(store, chat("!held", 1, "p1"))
    steps = [
        *diff({}, topology({"!a": chat("!a", 1, "p2"), "!z": chat("!z", 2, "p3")}))
    ]
    refused, applied = await store.carry_out(steps)
    assert (refused.result, applied.result) == (Result.FAILED, Result.APPLIED)
    assert "place" in refused.detail
    assert list(await store.rows()) == ["!held", "!z"]


async def test_a_refused_step_refuses_what_counted_on_its_place(store: Store) -> None:
    """!a wants what !held has, !b what !a has: both stay, and nobody loses a place."""
    rows = chat("!a", 1, "p1"), chat("!b", 2, "p2"), chat("!held", 3, "p3")
    await become(store, *rows)
    before = await store.rows()
    steps = [
        change(before["!a"], chat_id="C3"),
        change(before["!b"], chat_id="C1"),
        *diff({}, topology({"!c": chat("!c", 4, "p4")})),
    ]
    results = [outcome.result for outcome in await store.carry_out(steps)]
    assert results == [Result.FAILED, Result.FAILED, Result.APPLIED]
    after = await store.rows()
    assert after.pop("!c")
    assert after == before


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": "red"},
        {"name": 5},
        {"name": ["a"]},
        {"status": "gone"},
        {"status": ["active"]},
        {"room_type": "lounge"},
        {"name": "half \ud83d"},
    ],
)
async def test_a_step_with_a_bad_value_fails_alone(
    store: Store, fields: Mapping[str, Any]
) -> None:
    """What no row can hold is an outcome; the other steps are carried out."""
    good = topology({"!b": chat("!b", 1, "p1")})
    bad = Change(key("!a"), Action.CREATE, None, Resource(fields))
    results = [o.result for o in await store.carry_out([bad, *diff({}, good)])]
    assert results == [Result.FAILED, Result.APPLIED]
    assert list(await store.rows()) == ["!b"]


async def test_a_step_of_another_kind_fails(store: Store) -> None:
    """The cache holds rooms; an event is another target's."""
    step = Change(Key("event", "!a"), Action.CREATE, None, Resource({}))
    (outcome,) = await store.carry_out([step])
    assert outcome.result is Result.FAILED


async def test_the_store_is_a_target(store: Store) -> None:
    """The controller's own apply drives it, and marks rows with the pass's time."""
    steps = plan(diff({}, topology({"!a": chat("!a", 1, "p1")})))
    async with store.transaction(at=5):
        report = await apply(steps, store)
    assert report.counts[Result.APPLIED] == 1
    assert ((await get_room_meta(store, "!a")) or {})["updated_at"] == 5
    await become(store, chat("!a", 2, "p1"))
    assert ((await get_room_meta(store, "!a")) or {})["updated_at"] == 5


@st.composite
def worlds(draw: st.DrawFn) -> list[Row]:
    """Rows that hold no place twice: few rooms, so that places change hands."""
    rooms = draw(st.lists(st.sampled_from("abcdef"), unique=True))
    chat_ids = draw(st.permutations(range(6)))
    platforms = draw(st.permutations(range(6)))
    rows: list[Row] = []
    spaces: set[str] = set()
    for number, room in enumerate(rooms):
        user = draw(st.sampled_from([ALICE, BOB]))
        status = draw(st.sampled_from(["active", "active", "pending", "detached"]))
        kind = draw(st.sampled_from([SPACE, CHAT, CHAT, CHAT]))
        if kind == CHAT:
            row = chat(f"!{room}", chat_ids[number], f"p{platforms[number]}", user)
        else:
            row = Row(f"!{room}", SPACE, matrix_user_id=user)
            if user in spaces:
                status = "detached"
            elif status != "detached":
                spaces.add(user)
        rows.append(row._replace(status=status))
    return rows


@given(st.lists(worlds(), max_size=5))
@settings(max_examples=50)
def test_after_any_plans_the_rows_are_what_was_wanted(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[list[Row]]
) -> None:
    """From any world to any other in one plan, whoever held which place before; rows
    that the next world does not name are lost, and reopening changes nothing."""

    async def story() -> None:
        path = tmp_path_factory.mktemp("worlds") / "a.db"
        expected: dict[str, Row] = {}
        for world in wanted:
            for room_id, row in expected.items():
                if row.status != "detached":
                    lost = row._replace(status="detached", reason="lost", evidence=None)
                    expected[room_id] = lost
            expected |= {row.room_id: row for row in world}
            async with Store.open(path) as store:
                assert set(await become(store, *world)) <= {Result.APPLIED}
                assert await seen(store) == expected
                before = await store.rows()
            async with Store.read(path) as copy:
                assert await copy.rows() == before

    asyncio.run(story())


# Transactions


async def test_a_pass_is_written_whole_or_not_at_all(store: Store) -> None:
    """Rows, memory and record go together when something fails at the end."""

    async def fail() -> None:
        async with store.transaction():
            await become(store, chat("!a", 1, "p1"))
            await store.remember_unread({"!b": False}, 1)
            await store.set_conditions([Condition("Ready", "True", "Yes", "", 1)])
            await store.record_pass(1, "ok", {})
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert (await store.rows(), await store.unread()) == ({}, {})
    assert (await store.conditions(), await store.last_pass()) == ([], None)


async def test_a_failure_inside_fails_the_whole_even_when_caught(store: Store) -> None:
    """Half of what an inner transaction wrote can never be committed."""
    await set_room_meta(store, "!held", room_type=SPACE, matrix_user_id=ALICE)

    async def swallow() -> None:
        async with store.transaction():
            await set_room_meta(store, "!a")
            with suppress(PlaceTaken):
                await set_room_meta(store, "!b", room_type=SPACE, matrix_user_id=ALICE)

    with pytest.raises(StoreError, match="none of it"):
        await swallow()
    assert list(await store.rows()) == ["!held"]
    await set_room_meta(store, "!a")


async def test_other_tasks_never_see_half_a_transaction(store: Store) -> None:
    """A read waits for a transaction of another task, and sees its own one's writes."""
    async with store.transaction():
        await set_room_meta(store, "!a")
        reading = asyncio.create_task(store.rows())
        await set_room_meta(store, "!b")
        assert list(await store.rows()) == ["!a", "!b"]
        assert not reading.done()
    assert list(await reading) == ["!a", "!b"]


async def test_a_room_is_looked_up_while_another_task_writes(store: Store) -> None:
    """A message need not wait for a long transaction, and finds what is committed."""
    await set_room_meta(store, "!a", name="before")
    async with store.transaction():
        await set_room_meta(store, "!a", name="after")
        reading = asyncio.create_task(store.row("!a"))
        async with asyncio.timeout(30):
            row = await reading
        assert row is not None
        assert row.name == "before"
    row = await store.row("!a")
    assert row is not None
    assert row.name == "after"


async def test_a_room_is_looked_up_again_after_the_file_could_not_be_opened(
    store: Store, tmp_path: Path
) -> None:
    """What failed once is tried again, not remembered."""
    await set_room_meta(store, "!a", name="before")
    file, away = tmp_path / "a.db", tmp_path / "away.db"
    async with store.transaction():
        file.rename(away)
        with pytest.raises(StoreError):
            await asyncio.create_task(store.row("!a"))
        away.rename(file)
        row = await asyncio.create_task(store.row("!a"))
    assert row is not None
    assert row.name == "before"


async def test_what_is_committed_while_a_room_is_looked_up_is_found(
    store: Store,
) -> None:
    """Whoever looks up a room sees each pass that is over by then."""
    await set_room_meta(store, "!a", name="0")
    done = 0

    async def looks() -> None:
        while done < 300:
            row = await store.row("!a")
            assert row is not None
            assert int(row.name or "") >= done

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(looks())
        for number in range(1, 301):
            async with store.transaction():
                await set_room_meta(store, "!a", name=str(number))
            done = number


async def test_many_tasks_write_at_once(store: Store) -> None:
    """Transactions of many tasks follow each other; none is lost."""
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(set_room_meta(store, f"!{number}", name="x"))
    assert len(await store.rows()) == 50


async def test_cancellation_leaves_neither_half_state_nor_an_open_transaction(
    tmp_path: Path,
) -> None:
    """Cancelled at every point in turn, twice in a row too: two rooms always agree."""
    path = tmp_path / "a.db"

    async def write(store: Store, value: str) -> None:
        async with store.transaction():
            await set_room_meta(store, "!a", name=value)
            await set_room_meta(store, "!b", name=value)
            await store.carry_out([change((await store.rows())["!a"], reason=value)])

    landed = set()
    async with Store.open(path) as store:
        await write(store, "first")
        for number in range(1000):
            task = asyncio.create_task(write(store, str(number)))
            # By turns of the loop, which end early, and by time, which reaches the end.
            for _ in range(number % 10):
                await asyncio.sleep(0)
            await asyncio.sleep(number % 20 / 10_000)
            task.cancel()
            if number % 3 == 0:
                await asyncio.sleep(0)
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            rows = await store.rows()
            assert rows["!a"].name == rows["!b"].name == rows["!a"].reason
            landed.add(rows["!a"].name)
        assert len(landed) > 1
        await write(store, "last")
    async with Store.open(path) as store:
        assert {row.name for row in (await store.rows()).values()} == {"last"}


async def test_opening_can_be_cancelled(tmp_path: Path) -> None:
    """However early or late it is cancelled, the lock is free afterwards."""
    path = tmp_path / "a.db"

    async def visit() -> None:
        async with Store.open(path) as store:
            await store.rows()

    for number in range(30):
        task = asyncio.create_task(visit())
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with Store.open(path):
            pass


# Memory


async def test_unread_rooms_keep_the_time_they_were_first_unread(store: Store) -> None:
    """A room that is unread again keeps its time; one that was read is forgotten."""
    await store.remember_unread({"!a": False, "!b": False}, 10)
    await store.remember_unread({"!b": False, "!c": True}, 20)
    assert await store.unread() == {"!b": Unread(10), "!c": Unread(20, 20)}
    await store.remember_unread({}, 30)
    assert await store.unread() == {}


async def test_absence_has_a_time_of_its_own(store: Store) -> None:
    """It begins when the bot is known not to be in the room, and ends with a doubt."""
    await store.remember_unread({"!a": False}, 10)
    await store.remember_unread({"!a": True}, 20)
    await store.remember_unread({"!a": True}, 30)
    assert await store.unread() == {"!a": Unread(10, 20)}
    await store.remember_unread({"!a": False}, 40)
    assert await store.unread() == {"!a": Unread(10)}
    await store.remember_unread({"!a": True}, 50)
    assert await store.unread() == {"!a": Unread(10, 50)}


async def test_a_time_that_is_still_to_come_is_of_a_clock_that_was_wrong(
    store: Store,
) -> None:
    """Whoever was unread then is so since now, and not for as long as it was ahead."""
    await store.remember_unread({"!a": True, "!b": False}, 1_000)
    await store.remember_unread({"!a": True, "!b": True}, 20)
    assert await store.unread() == {"!a": Unread(20, 20), "!b": Unread(20, 20)}


async def test_the_last_hundred_passes_are_kept(store: Store) -> None:
    """The newest is the last pass, with its report as it was given."""
    report = {"names": ["é", "\ud83d", None], "nested": {"a": 1.5}}
    for number in range(105):
        await store.record_pass(number, "in sync", {"n": number, **report})
    last = await store.last_pass()
    assert last is not None
    assert (last.at, last.result, last.report) == (104, "in sync", {"n": 104, **report})
    counted = await store._db.fetch("SELECT count(*), min(at) FROM passes")
    assert counted == [(100, 5)]


async def test_a_condition_changes_when_its_status_does(store: Store) -> None:
    """A new message at the same status keeps the time; other types are left alone."""
    other = Condition("Observed", "Unknown", "Starting", "", 1)
    await store.set_conditions([Condition("Ready", "False", "Starting", "", 1), other])
    await store.set_conditions([Condition("Ready", "False", "Waiting", "soon", 2)])
    same = Condition("Ready", "False", "Waiting", "soon", 1)
    assert await store.conditions() == [other, same]
    await store.set_conditions([Condition("Ready", "True", "Done", "", 3)])
    assert await store.conditions() == [
        other,
        Condition("Ready", "True", "Done", "", 3),
    ]


async def test_publications_are_forgotten_after_a_week(store: Store) -> None:
    """What is older than a week before the newest is gone; `since` is inclusive."""
    days = [
        Publication("!a", "binding", n * DAY, "published", str(n)) for n in range(9)
    ]
    for publication in days:
        await store.note_publication(publication)
    assert await store.publications(0) == days[1:]
    assert await store.publications(8 * DAY) == days[8:]


# The fixed names


async def test_setting_a_row_merges_into_it(store: Store) -> None:
    """What is not named keeps its value; None takes one away; the mapping comes first."""
    assert await get_room_meta(store, "!a") is None
    await set_room_meta(store, "!a", {"room_type": CHAT, "name": "A"}, chat_id="C1")
    await set_room_meta(store, "!a", name=None, updated_at=7)
    assert await get_room_meta(store, "!a") == {
        "room_id": "!a",
        "room_type": CHAT,
        "chat_id": "C1",
        "space_id": None,
        "matrix_user_id": None,
        "platform_chat_id": None,
        "name": None,
        "status": ACTIVE,
        "reason": None,
        "evidence": None,
        "revision": 2,
        "updated_at": 7,
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"colour": "red"},
        {"revision": 9},
        {"room_id": "!b"},
        {"status": "gone"},
        {"status": None},
        {"room_type": "lounge"},
        {"name": 5},
        {"updated_at": "now"},
        {"name": "\ud83d"},
    ],
)
async def test_a_column_that_cannot_be_set_is_refused(
    store: Store, columns: dict[str, Any]
) -> None:
    """An unknown column or a bad value is a ValueError in words; nothing is written."""
    with pytest.raises(BadValue, match=r"leave it out|use |replace") as caught:
        await set_room_meta(store, "!a", columns)
    assert isinstance(caught.value, ValueError)
    assert await store.rows() == {}


async def test_a_taken_place_is_refused(store: Store) -> None:
    """One room per user and chat id, one per platform id; detached ones hold none."""
    await become(store, chat("!a", 1, "p1"))
    mine = {"room_type": CHAT, "matrix_user_id": ALICE}
    with pytest.raises(PlaceTaken, match="detach that one first"):
        await set_room_meta(store, "!b", mine, chat_id="C1")
    with pytest.raises(PlaceTaken):
        await set_room_meta(store, "!b", room_type=CHAT, platform_chat_id="p1")
    await set_room_meta(store, "!a", status="detached")
    await set_room_meta(store, "!b", mine, chat_id="C1", platform_chat_id="p1")


async def test_a_user_has_one_space(store: Store) -> None:
    """The newest takes the place; the one before is detached as its duplicate."""
    assert await get_user_meta(store, ALICE) is None
    await set_user_meta(store, ALICE, {"space_id": "!one"})
    await set_user_meta(store, ALICE, space_id="!two")
    await set_user_meta(store, BOB, space_id="!bob")
    meta = {"matrix_user_id": ALICE, "space_id": "!two"}
    assert await get_user_meta(store, ALICE) == meta
    space = Row("!one", SPACE, matrix_user_id=ALICE)
    assert await seen(store) == {
        "!bob": space._replace(room_id="!bob", matrix_user_id=BOB),
        "!one": space._replace(status="detached", reason="duplicate"),
        "!two": space._replace(room_id="!two"),
    }
    await set_user_meta(store, ALICE, space_id="!one")
    assert (await seen(store))["!one"] == space


@pytest.mark.parametrize(
    ("reason", "holds"),
    [
        ("owner_left", True),
        ("owner_banned", True),
        ("bot_kicked", False),
        (None, False),
    ],
)
async def test_a_space_that_its_owner_left_holds_the_place(
    store: Store, reason: str | None, holds: bool
) -> None:
    """Only as long as no other Space does, and for no other reason."""
    await set_user_meta(store, ALICE, space_id="!z")
    await set_room_meta(store, "!z", status="detached", reason=reason)
    found = await get_user_meta(store, ALICE)
    assert (found or {}).get("space_id") == ("!z" if holds else None)
    await set_user_meta(store, ALICE, space_id="!zz")
    assert ((await get_user_meta(store, ALICE)) or {})["space_id"] == "!zz"


async def test_a_chat_room_does_not_become_a_space(store: Store) -> None:
    """Neither does another user's Space change hands."""
    await become(store, chat("!chat", 1, "p1"), Row("!bob", SPACE, matrix_user_id=BOB))
    before = await store.rows()
    for room_id in ("!chat", "!bob"):
        with pytest.raises(BadValue, match="name another Space"):
            await set_user_meta(store, ALICE, space_id=room_id)
    for columns in ({}, {"space_id": None}, {"space_id": "!s", "name": "x"}):
        with pytest.raises(BadValue, match="give a room id"):
            await set_user_meta(store, ALICE, columns)
    assert await store.rows() == before


async def test_the_chats_of_outside_tools_are_those_that_are_routed_or_were(
    store: Store,
) -> None:
    """The view leaves out upgraded and duplicate rooms, and no other."""
    reasons = [None, "upgraded", "duplicate", "unlinked"]
    rows = [
        chat(f"!{n}", n, f"p{n}")._replace(
            status="detached" if reason else "active", reason=reason
        )
        for n, reason in enumerate(reasons)
    ]
    await become(store, *rows)
    found = await store._db.fetch(
        "SELECT platform_chat_id, matrix_user_id, chat_id, room_id"
        " FROM chats ORDER BY room_id"
    )
    assert found == [("p0", ALICE, "C0", "!0"), ("p3", ALICE, "C3", "!3")]


async def test_each_conversation_is_one_chat_of_outside_tools(store: Store) -> None:
    """A room that the bot is out of is left out where another took its place."""

    def given_up(room_id: str, reason: str, chat_id: int, platform: str) -> Row:
        row = chat(room_id, chat_id, platform)
        return row._replace(status="detached", reason=reason)

    await become(
        store,
        given_up("!1", "bot_left", 1, "p1"),
        chat("!2", 1, "p1"),
        given_up("!3", "bot_kicked", 2, "p2"),
        given_up("!4", "unlinked", 2, "p2"),
        given_up("!5", "bot_banned", 3, "p3"),
    )
    found = await store._db.fetch(
        "SELECT platform_chat_id, room_id FROM chats ORDER BY room_id"
    )
    assert found == [("p1", "!2"), ("p2", "!4"), ("p3", "!5")]


async def test_a_platform_chat_id_is_issued_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is random, and none that a row has, detached or not."""
    taken, free = uuid.uuid4(), uuid.uuid4()
    await become(store, chat("!a", 1, str(taken))._replace(status="detached"))
    issued = {await next_platform_chat_id(store) for _ in range(50)}
    assert len(issued) == 50
    assert all(str(uuid.UUID(one, version=4)) == one for one in issued)
    ids = iter([taken, free])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(ids))
    assert await next_platform_chat_id(store) == str(free)
