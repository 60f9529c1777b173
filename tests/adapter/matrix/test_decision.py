"""What a pass decides: the guard, what is withheld, what stays unseen too long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.decision import (
    DAY,
    Pass,
    aged,
    decide,
    detach_guard,
    withheld,
)
from adapter.matrix.desired import Desired
from adapter.matrix.facts import Fact, Facts, Gone, Unknown
from adapter.matrix.rendering import Renderer
from adapter.matrix.rows import Publication, Row, Unread, key, resource
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.topology import render
from controller.diff import diff
from controller.model import Action, Cause, Change
from tests.adapter.matrix.test_topology import converge
from tests.adapter.matrix.worlds import (
    GUEST,
    ME,
    STEP,
    TYPES,
    World,
    build,
    platform,
    resources,
    rows,
    worlds,
)

ALICE, BOB = "@alice:hs", "@bob:hs"
Rows = dict[str, Row]
Step = tuple[str, int, int, int]


def settled(chats: int, world: World | None = None) -> tuple[World, Rows, list[str]]:
    """Alice's Space and so many chats, all in order; the chats, in order."""
    world = world or World()
    space = world.space(ALICE)
    made = [world.chat(ALICE, number, space) for number in range(1, chats + 1)]
    converge(world, {})
    return world, converge(world, {}), made


def pass_over(world: World, cache: Rows, **more: Any) -> Pass:
    return decide(world.facts(), cache, ME, **more)


def names(changes: tuple[Change, ...], action: Action) -> set[str]:
    return {change.key.name for change in changes if change.action is action}


def kick(world: World, room: str, user: str = ME, by: str = GUEST) -> None:
    world.member(room, user, "leave", by)


# --- the guard ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_use", "lost", "blocked"),
    [
        (1, 0, False),
        (2, 1, False),
        (4, 3, False),
        (5, 4, True),
        (15, 3, False),
        (15, 4, True),
        (19, 3, False),
        (19, 4, True),
        (20, 4, False),
        (20, 5, True),
        (24, 5, True),
        (25, 5, False),
        (100, 19, False),
        (100, 20, False),
        (100, 21, True),
    ],
)
def test_a_pass_gives_up_three_rooms_or_a_fifth(
    in_use: int, lost: int, blocked: bool
) -> None:
    """Whichever is more, rounded down; one more, and it gives up none of them."""
    world, cache, chats = settled(in_use - 1)
    for room in chats[:lost]:
        kick(world, room)
    found = pass_over(world, cache)
    gone = set(chats[:lost])
    assert names(found.cache.blocked, Action.DETACH) == (gone if blocked else set())
    assert names(found.cache.steps, Action.DETACH) == (set() if blocked else gone)


def test_only_rows_in_use_make_the_fifth() -> None:
    """Rows that were given up before, or are unknown, weigh nothing."""
    world, cache, chats = settled(20)
    for room in chats[:4]:
        kick(world, room)
    for room in chats[10:]:
        cache[room] = cache[room]._replace(status="detached", reason="bot_kicked")
        kick(world, room)
    cache[chats[9]] = cache[chats[9]]._replace(status="unknown")
    assert names(pass_over(world, cache).cache.blocked, Action.DETACH) == set(chats[:4])


def test_pending_rows_count_as_those_in_use() -> None:
    """Owners who were thrown out before they came are given up, too."""
    world = World()
    space = world.space(ALICE)
    chats = [world.chat(ALICE, n, space, joined=False) for n in range(1, 5)]
    cache = converge(world, {})
    assert {cache[room].status for room in chats} == {"pending"}
    for room in chats:
        world.member(room, ALICE, "ban", GUEST)
    assert names(pass_over(world, cache).cache.blocked, Action.DETACH) == set(chats)


def test_both_limits_are_settings() -> None:
    """Two rooms, and half of those in use."""
    world, cache, chats = settled(9)
    for room in chats[:5]:
        kick(world, room)
    for number, percent, blocked in (
        (2, 50, False),
        (2, 49, True),
        (5, 0, False),
        (4, 0, True),
        (0, 100, False),
    ):
        settings = ReconcileSettings(max_detach=number, max_detach_percent=percent)
        found = pass_over(world, cache, settings=settings)
        assert bool(found.cache.blocked) is blocked, (number, percent)


@pytest.mark.parametrize(
    ("allowed", "blocked"), [(None, True), (0, True), (3, True), (4, False), (9, False)]
)
def test_a_person_may_let_more_through(allowed: int | None, blocked: bool) -> None:
    """The number raises the limit, and never lowers it."""
    world, cache, chats = settled(4)
    for room in chats:
        kick(world, room)
    found = pass_over(world, cache, allow_detach=allowed)
    assert bool(found.cache.blocked) is blocked
    kept = rows(found.want.rooms)
    assert {kept[room].status for room in chats} == {
        "active" if blocked else "detached"
    }
    settings = ReconcileSettings(max_detach=9)
    assert not pass_over(world, cache, settings=settings, allow_detach=0).cache.blocked


def test_what_is_blocked_stands_and_the_rest_is_applied() -> None:
    """Blocked rows are as they were; others are created, updated and finished."""
    world, cache, chats = settled(4)
    for room in chats:
        kick(world, room)
    bobs = world.space(BOB)
    chat = world.chat(BOB, 1)
    found = pass_over(world, cache)
    after = rows(found.want.rooms)
    assert names(found.cache.blocked, Action.DETACH) == set(chats)
    assert {room: after[room] for room in cache} == cache
    assert names(found.cache.steps, Action.CREATE) == {bobs, chat}
    assert [(step.key.name, *step.fields) for step in found.publish.steps] == [
        (bobs, f"m.space.child|{chat}")
    ]


def test_nothing_follows_from_what_is_blocked() -> None:
    """No twin takes its place, and nothing is written for its owner."""
    world, cache, chats = settled(4)
    for room in chats:
        kick(world, room)
    twin = world.chat(ALICE, 1)
    unfinished = world.chat(ALICE, 9)
    found = pass_over(world, cache)
    after = rows(found.want.rooms)
    assert (after[twin].status, after[twin].reason) == ("detached", "duplicate")
    assert after[unfinished].status == "active"
    assert found.publish.steps == ()
    let_through = pass_over(world, cache, allow_detach=4)
    assert rows(let_through.want.rooms)[twin].status == "active"
    assert len(let_through.publish.steps) == 2


def test_a_room_that_would_lose_to_a_held_one_is_blocked_with_it() -> None:
    """It says by now what a room said that the bot was thrown out of."""
    world, cache, chats = settled(5)
    for room in chats[:4]:
        kick(world, room)
    said = {"v": 1, "platform_chat_id": platform(ALICE, 1)}
    world.put(chats[4], ME, TYPES.binding, ME, said)
    found = pass_over(world, cache)
    assert [change.key.name for change in found.cache.blocked] == sorted(chats)
    assert found.cache.steps == ()
    assert rows(found.want.rooms) == cache
    let_through = pass_over(world, cache, allow_detach=4)
    after = rows(let_through.want.rooms)[chats[4]]
    assert (after.status, after.platform_chat_id) == ("active", platform(ALICE, 1))


def test_what_is_blocked_stays_due() -> None:
    """Until it is let through, or was a mistake."""
    world, cache, chats = settled(4)
    for room in chats:
        kick(world, room)
    first = pass_over(world, cache)
    again = pass_over(world, rows(first.want.rooms))
    assert again.cache.blocked == first.cache.blocked
    assert not again.in_sync
    for room in chats:
        world.member(room, ME, "join", ME)
    assert pass_over(world, rows(first.want.rooms)).in_sync


def test_rows_that_become_unknown_are_counted() -> None:
    """A server that forgot everything takes nothing away."""
    world, cache, _ = settled(4)
    nowhere: dict[str, Fact] = {
        room: Unknown("state: 403", absent=True) for room in cache
    }
    found = decide(Facts(nowhere), cache, ME)
    assert {change.key.name for change in found.cache.blocked} == set(cache)
    assert found.cache.steps == ()
    assert rows(found.want.rooms) == cache
    facts = world.facts()
    three = dict(sorted(nowhere.items())[:3])
    part = Facts({**facts.rooms, **three}, facts.joined - three.keys())
    found = decide(part, cache, ME)
    assert found.cache.blocked == ()
    assert {step.key.name for step in found.cache.steps} == three.keys()


# Not counted: one's own leaving, and upgrades.


def test_an_owners_own_leaving_is_not_counted() -> None:
    """However many rooms they leave or decline."""
    world, cache, chats = settled(8)
    for room in chats:
        world.member(room, ALICE, "leave", ALICE)
    found = pass_over(world, cache)
    assert names(found.cache.steps, Action.DETACH) == set(chats)
    assert found.cache.blocked == ()


@pytest.mark.parametrize("how", ["kicked", "banned", "unlinked", "the bot"])
def test_everything_else_is_counted(how: str) -> None:
    """Also what the owner did to the bot, or to the links."""
    world, cache, chats = settled(4)
    space = next(room for room in cache if room not in chats)
    for room in chats:
        match how:
            case "kicked":
                world.member(room, ALICE, "leave", ME)
            case "banned":
                world.member(room, ALICE, "ban", ALICE)
            case "unlinked":
                world.child(space, room, {}, ALICE)
            case _:
                world.member(room, ME, "leave", ALICE)
    assert names(pass_over(world, cache).cache.blocked, Action.DETACH) == set(chats)


def test_leaving_and_being_thrown_out_are_counted_apart() -> None:
    """Three thrown out are within the limit, whoever else leaves."""
    world, cache, chats = settled(9)
    for room in chats[:3]:
        kick(world, room)
    for room in chats[3:]:
        world.member(room, ALICE, "leave", ALICE)
    assert names(pass_over(world, cache).cache.steps, Action.DETACH) == set(chats)
    world.member(chats[3], ALICE, "leave", GUEST)
    found = pass_over(world, cache)
    assert names(found.cache.blocked, Action.DETACH) == set(chats[:4])
    assert names(found.cache.steps, Action.DETACH) == set(chats[4:])


def test_upgrades_whose_new_room_is_in_use_are_not_counted() -> None:
    """Forty of sixty rooms: one move each, whether their owner is there yet or not."""
    world, cache, chats = settled(59)
    new = [world.upgrade(room) for room in chats[:40]]
    world.welcome(new[0], ALICE)
    found = pass_over(world, cache)
    assert names(found.cache.steps, Action.DETACH) == set(chats[:40])
    assert names(found.cache.steps, Action.CREATE) == set(new)
    after = rows(found.want.rooms)
    assert [after[room].status for room in new] == ["active"] + ["pending"] * 39


def test_upgrades_whose_new_room_is_not_in_use_are_counted() -> None:
    """Blocked, the new room is held with the old one: it gets no row."""
    world, cache, chats = settled(4)
    new = [world.upgrade(room) for room in chats]
    for room in new:
        kick(world, room)
    found = pass_over(world, cache)
    assert names(found.cache.blocked, Action.DETACH) == set(chats)
    assert found.cache.steps == ()
    assert rows(found.want.rooms) == cache
    assert found.publish.steps == ()


def test_upgrades_are_counted_one_by_one() -> None:
    """A new room that is in use excuses no other."""
    world, cache, chats = settled(8)
    new = [world.upgrade(room) for room in chats]
    for room in new[:4]:
        kick(world, room)
    found = pass_over(world, cache)
    assert names(found.cache.blocked, Action.DETACH) == set(chats[:4])
    assert names(found.cache.steps, Action.DETACH) == set(chats[4:])
    assert names(found.cache.steps, Action.CREATE) == set(new[4:])


OLD = Row("!r", "chat", "C1", "!s", ALICE, "p1")
LEFT = Cause(ALICE, "$left", 9)


@pytest.mark.parametrize(
    ("old", "new", "counted"),
    [
        (OLD, OLD._replace(status="detached", reason="unlinked"), True),
        (OLD, OLD._replace(status="unknown", reason="403"), True),
        (OLD._replace(status="pending"), OLD._replace(status="detached"), True),
        (OLD, OLD._replace(status="pending"), False),
        (OLD, OLD._replace(name="A"), False),
        (OLD._replace(status="unknown"), OLD._replace(status="detached"), False),
        (OLD._replace(status="detached"), OLD._replace(status="detached"), False),
        (OLD._replace(status="detached"), OLD, False),
        (None, OLD._replace(status="detached"), False),
        (None, OLD, False),
        (OLD, OLD._replace(status="detached", reason="upgraded"), True),
    ],
)
def test_what_the_guard_counts(old: Row | None, new: Row, counted: bool) -> None:
    """Only what was in use and is no more."""
    guard = detach_guard({}, Desired({}), ReconcileSettings())
    before = resource(old) if old else None
    change = Change(key("!r"), Action.UPDATE, before, resource(new))
    assert guard.counts(change) is counted


@pytest.mark.parametrize(
    ("reason", "cause", "counted"),
    [
        ("owner_left", LEFT, False),
        ("owner_left", LEFT._replace(sender=BOB), True),
        ("owner_left", None, True),
        ("owner_banned", LEFT, True),
        ("unlinked", LEFT, True),
        ("bot_kicked", LEFT, True),
    ],
)
def test_who_left_is_told_by_the_event(
    reason: str, cause: Cause | None, counted: bool
) -> None:
    """Without it nobody knows that it was the owner."""
    new = OLD._replace(status="detached", reason=reason)
    causes = {"status": cause} if cause else {}
    change = Change(key("!r"), Action.DETACH, resource(OLD), resource(new, causes))
    guard = detach_guard({}, Desired({}), ReconcileSettings())
    assert guard.counts(change) is counted


@pytest.mark.parametrize(
    ("room", "status", "counted"),
    [
        ("!new", "active", False),
        ("!new", "pending", False),
        ("!new", "detached", True),
        ("!new", "unknown", True),
        ("!other", "active", True),
    ],
)
def test_an_upgraded_room_needs_its_own_successor_in_use(
    room: str, status: str, counted: bool
) -> None:
    """Another room with the same place, such as a twin, excuses nothing."""
    new = OLD._replace(status="detached", reason="upgraded")
    change = Change(key("!r"), Action.DETACH, resource(OLD), resource(new))
    rooms = {key(room): resource(OLD._replace(room_id=room, status=status))}
    want = Desired(rooms, successors={"!r": "!new"})
    guard = detach_guard({}, want, ReconcileSettings())
    assert guard.counts(change) is counted


# Over any world: a cache that was right once, and what happened since.

NOTHING_MAY_GO = ReconcileSettings(max_detach=0, max_detach_percent=0)


@st.composite
def histories(draw: st.DrawFn) -> tuple[World, Rows]:
    """A world, and the cache of some time ago."""
    steps: list[Step] = draw(st.lists(STEP, min_size=3, max_size=25))
    then = build(steps[: draw(st.integers(1, len(steps)))])
    cache = rows(render(then.facts(), {}, ME).rooms)
    return build(steps), cache


@given(histories())
def test_what_the_guard_blocks_is_not_done_in_any_other_way(
    history: tuple[World, Rows],
) -> None:
    """Where nothing may go, no step gives anything up; blocked rows stand."""
    world, cache = history
    found = pass_over(world, cache, settings=NOTHING_MAY_GO)
    guard = detach_guard(cache, found.want, NOTHING_MAY_GO)
    counted = [step for step in found.cache.steps if guard.counts(step)]
    assert [f"{step.key.name}: {step.fields}" for step in counted] == []
    after = rows(found.want.rooms)
    for change in found.cache.blocked:
        assert after[change.key.name] == cache[change.key.name]


@given(histories())
def test_what_a_pass_does_is_what_it_wants(history: tuple[World, Rows]) -> None:
    """Its steps lead from the cache to the topology, blocked or not."""
    world, cache = history
    found = pass_over(world, cache, settings=NOTHING_MAY_GO)
    have = resources(cache)
    assert list(diff(have, found.want.rooms)) == list(found.cache.steps)
    held = {change.key.name for change in found.cache.blocked}
    assert held.isdisjoint(change.key.name for change in found.cache.steps)
    free = pass_over(world, cache, allow_detach=10**6)
    assert free.cache.blocked == ()
    assert free.want.rooms == render(world.facts(), cache, ME).rooms


@given(histories())
def test_after_a_blocked_pass_nothing_is_left_but_what_is_blocked(
    history: tuple[World, Rows],
) -> None:
    """The next pass blocks the same, and has nothing else to do."""
    world, cache = history
    found = pass_over(world, cache, settings=NOTHING_MAY_GO)
    world.publish(found.want)
    after = rows(found.want.rooms)
    again = pass_over(world, after, settings=NOTHING_MAY_GO)
    assert [str(step.key) for step in again.cache.steps] == []
    assert [str(step.key) for step in again.publish.steps] == []
    assert again.cache.blocked == found.cache.blocked


# --- what a pass is -----------------------------------------------------------


def test_a_pass_over_what_is_in_order_is_in_sync() -> None:
    """Neither the cache nor Matrix needs a change."""
    world, cache, chats = settled(2)
    assert pass_over(world, cache).in_sync
    # The cache alone, ...
    assert not pass_over(world, {}).in_sync
    # ... Matrix alone, ...
    del world.rooms[chats[0]]["m.room.member", ALICE]
    found = pass_over(world, rows(pass_over(world, cache).want.rooms))
    assert found.cache.steps == ()
    assert found.publish.steps
    assert not found.in_sync
    # ... and the guard alone.
    world, cache, chats = settled(1)
    kick(world, chats[0])
    found = pass_over(world, cache, settings=NOTHING_MAY_GO)
    assert (found.cache.steps, found.publish.steps) == ((), ())
    assert not found.in_sync


def test_a_pass_says_what_it_saw() -> None:
    """Whether all of it, when, and which rooms it looked at in vain."""
    unread = Unknown("state: 503")
    absent = Unknown("state: 403", absent=True)
    facts = Facts({"!a": unread, "!b": Gone("bot_left", LEFT), "!c": absent})
    found = decide(facts._replace(complete=False), {}, ME, observed_at=7)
    assert (found.complete, found.observed_at) == (False, 7)
    assert found.unread == {"!a": False, "!c": True}
    assert decide(facts, {}, ME).complete


def test_the_names_of_the_bots_events_are_settings() -> None:
    """What is written goes under the names that are set."""
    world = World()
    world.chat(ALICE, 1, world.space(ALICE, named=False), named=False)
    types = TYPES._replace(binding="io.x.binding")
    found = pass_over(world, {}, renderer=Renderer(ME, types))
    assert {field for step in found.publish.steps for field in step.fields} == {
        "io.x.binding|@bot:hs"
    }


@given(worlds())
def test_each_step_of_publishing_is_one_state_event(world: World) -> None:
    """Together they are all that differs, in the order of rooms and events."""
    want = render(world.facts(), {}, ME)
    steps = pass_over(world, {}).publish.steps
    assert {step.action for step in steps} <= {Action.PUBLISH}
    expected = [
        (change.key, field, *pair)
        for change in diff(want.own_have, want.own_want)
        for field, pair in change.fields.items()
    ]
    assert expected == [
        (step.key, field, *pair)
        for step in steps
        for field, pair in step.fields.items()
    ]
    assert all(len(step.fields) == 1 for step in steps)
    assert all(pair.new is not None for s in steps for pair in s.fields.values())


# --- what is withheld ---------------------------------------------------------

NOW = 10 * DAY


def refused(age: int, field: str = "f", detail: str = "403") -> Publication:
    return Publication("!r", field, NOW - age, "refused", detail)


def written(age: int, field: str = "f", room: str = "!r") -> Publication:
    return Publication(room, field, NOW - age, "published")


TOO_OFTEN = "it was written 3 times within a day and undone"


@pytest.mark.parametrize(
    ("publications", "expected"),
    [
        ([], None),
        ([refused(0)], "403"),
        ([refused(1)], "403"),
        ([refused(DAY - 1)], "403"),
        ([refused(DAY)], None),
        ([refused(DAY + 1)], None),
        ([refused(9, detail="old"), refused(5, detail="new")], "new"),
        ([refused(9), written(5)], None),
        ([written(9), refused(5)], "403"),
        ([refused(9), written(5), refused(3)], "403"),
        ([written(3)], None),
        ([written(3), written(2)], None),
        ([written(3), written(2), written(1)], TOO_OFTEN),
        ([written(DAY - 1), written(2), written(1)], TOO_OFTEN),
        ([written(DAY), written(2), written(1)], None),
        ([refused(-1)], None),
        ([written(-1), written(2), written(1)], None),
        ([written(4), written(3), refused(2), written(1)], TOO_OFTEN),
    ],
)
def test_what_is_withheld(
    publications: list[Publication], expected: str | None
) -> None:
    """Refused within a day, unless it went through since; or written three times."""
    found = withheld(publications, NOW)
    assert found.get(("!r", "f")) == expected


def test_each_event_of_each_room_is_withheld_by_itself() -> None:
    """One that is refused keeps no other from being written."""
    found = withheld(
        [
            refused(9, "a"),
            written(8, "b"),
            written(7, "b"),
            written(6, "b", "!other"),
            written(5, "c"),
        ],
        NOW,
    )
    assert found == {("!r", "a"): "403"}


def test_more_than_three_times_is_told_as_it_is() -> None:
    """The number is the one of the last day."""
    found = withheld([written(age) for age in (9, 8, 7, 6, 5)], NOW)
    assert found == {("!r", "f"): TOO_OFTEN.replace("3", "5")}


def test_what_is_withheld_is_a_finding_and_no_drift() -> None:
    """An invite that nobody takes is `uninvitable`, the rest is `unpublishable`."""
    world = World()
    space = world.space(ALICE, joined=False)
    chat = world.chat(ALICE, 1)
    cache = rows(render(world.facts(), {}, ME).rooms)
    link, invite = f"m.space.child|{chat}", f"m.room.member|{ALICE}"
    due = pass_over(world, cache).publish.steps
    assert [[*step.fields] for step in due] == [[invite], [link]]
    held = {(space, link): "403", (space, invite): "502", (chat, link): "elsewhere"}
    found = pass_over(world, cache, withheld=held)
    assert found.in_sync
    told = {(f.code, f.room, f.message) for f in found.want.findings}
    assert told >= {
        ("unpublishable", space, f"{link}: 403"),
        ("uninvitable", space, f"{invite}: 502"),
    }
    one = pass_over(world, cache, withheld={(space, invite): "502"})
    assert [[*step.fields] for step in one.publish.steps] == [[link]]


# --- what stays unseen --------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "overdue"),
    [(None, False), (0, True), (999, True), (1000, True), (1001, False), (9000, False)],
)
def test_a_room_is_overdue_after_the_whole_limit(
    since: int | None, overdue: bool
) -> None:
    """Exactly then, and not the first time that it is not read."""
    facts = Facts({"!r": Unknown("503")}, frozenset({"!r"}), complete=False)
    unread = {} if since is None else {"!r": Unread(since)}
    found = aged(facts, unread, 4000, 3.0)
    assert found.rooms == {"!r": Unknown("503", overdue=overdue)}
    assert (found.joined, found.complete) == (facts.joined, False)


@pytest.mark.parametrize(
    ("unread", "overdue"),
    [
        (None, False),
        (Unread(0), False),
        (Unread(0, 0), True),
        (Unread(0, 1000), True),
        (Unread(0, 1001), False),
    ],
)
def test_of_an_absent_room_only_its_absence_counts(
    unread: Unread | None, overdue: bool
) -> None:
    """An hour of faults and one refusal are not an hour of absence."""
    facts = Facts({"!r": Unknown("403", absent=True)})
    found = aged(facts, {"!r": unread} if unread else {}, 4000, 3.0)
    assert found.rooms == {"!r": Unknown("403", absent=True, overdue=overdue)}


def test_what_was_seen_does_not_age() -> None:
    """However long it had not been seen before."""
    world, _, _ = settled(1)
    facts = world.facts()
    assert aged(facts, dict.fromkeys(facts.rooms, Unread(0, 0)), 10**9, 1.0) == facts
    gone = Facts({"!r": Gone("bot_left", LEFT)})
    assert aged(gone, {"!r": Unread(0, 0)}, 10**9, 1.0) == gone


def test_a_room_that_is_absent_ages_as_well() -> None:
    """Then it is lost."""
    facts = Facts({"!r": Unknown("403", absent=True)})
    late = aged(facts, {"!r": Unread(0, 0)}, 5000, 5.0)
    assert late.rooms["!r"] == Unknown("403", absent=True, overdue=True)
    cache = {"!r": OLD}
    for seen, status in ((facts, "unknown"), (late, "detached")):
        found = decide(seen, cache, ME)
        assert rows(found.want.rooms)["!r"].status == status
