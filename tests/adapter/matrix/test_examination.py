"""What doctor finds in a world, and what it says settles it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix import checks
from adapter.matrix.checks.look import Diagnosis, Look
from adapter.matrix.decision import Withheld, decide
from adapter.matrix.desired import BACKLOG, Finding
from adapter.matrix.examination import GROUP_OF, examine
from adapter.matrix.facts import EventTypes, Facts
from adapter.matrix.power import Power, power, without_end
from adapter.matrix.rows import Row
from adapter.matrix.settings import ReconcileSettings
from controller.model import Cause
from tests.adapter.matrix.rules.conftest import city, world
from tests.adapter.matrix.rules.looking import (
    ABSENT,
    ALICE,
    BINDING,
    BOB,
    CAROL,
    LINKED,
    UNREAD,
    City,
    bind,
    child_field,
    facts,
    invite_field,
    last,
)
from tests.adapter.matrix.test_topology import converge, half_seen
from tests.adapter.matrix.worlds import ME, World, worlds

__all__ = ["city", "world"]

NOTHING = "nothing to do"


def looked(
    seen: Facts,
    cache: dict[str, Row],
    *,
    powers: dict[str, Power] | None = None,
    withheld: Withheld | None = None,
    settings: ReconcileSettings | None = None,
    findings: tuple[Finding, ...] = (),
) -> Look:
    decided = decide(seen, cache, ME, settings, withheld=withheld)
    want = decided.want._replace(findings=(*decided.want.findings, *findings))
    decided = replace(decided, want=want)
    return Look(seen, cache, ME, decided, EventTypes(), powers or {}, {})


def found(
    world: World, cache: dict[str, Row], *, hide: Any = None, **more: Any
) -> list[Diagnosis]:
    return list(examine(looked(facts(world, hide=hide), cache, **more)))


def told(diagnoses: list[Diagnosis]) -> list[tuple[str, str]]:
    return [(one.finding.code, one.finding.room) for one in diagnoses]


def alone(diagnoses: list[Diagnosis], code: str, room: str) -> Diagnosis:
    """The one thing that there is to say."""
    assert told(diagnoses) == [(code, room)]
    return diagnoses[0]


def test_a_world_in_order_has_no_findings(city: City) -> None:
    world, cache, _ = city
    assert found(world, cache) == []
    assert found(world, {}) == []


def test_an_archived_chat_is_no_trouble(city: City) -> None:
    world, cache, (space, chat, *_) = city
    world.child(space, chat, {}, ALICE)
    assert found(world, cache) == []


# --- links ------------------------------------------------------------------------------


def test_a_child_that_the_bot_did_not_make(city: City) -> None:
    world, cache, (space, *_) = city
    foreign = world.create(ALICE)
    world.child(space, foreign, LINKED, ALICE)
    one = alone(found(world, cache), "dangling_child", space)
    assert foreign in one.finding.message
    assert one.finding.cause == Cause(ALICE, last(world), world.clock // 4)
    assert one.remedy.startswith(NOTHING)


@pytest.mark.parametrize("named", ["!elsewhere", "not a room", ""])
def test_a_child_that_the_bot_is_not_in(city: City, named: str) -> None:
    world, cache, (space, *_) = city
    world.child(space, named, LINKED, ALICE)
    one = alone(found(world, cache), "dangling_child", space)
    assert "is not in that room" in one.finding.message
    # Joined and not read: nobody knows what it is.
    seen = facts(world)
    seen = seen._replace(joined=seen.joined | {named})
    codes = {one.finding.code for one in examine(looked(seen, cache))}
    assert "dangling_child" not in codes
    partial = facts(world)._replace(complete=False)
    assert examine(looked(partial, cache)) == ()


def test_a_nested_space_and_an_older_room_are_no_loose_ends(city: City) -> None:
    world, cache, (space, chat, *_) = city
    world.child(space, space, LINKED, ALICE)
    world.upgrade(chat)
    cache = converge(world, cache)
    assert told(found(world, cache)) == []


def test_an_event_without_via_is_not_taken_for_an_archived_chat(city: City) -> None:
    world, cache, (space, chat, *_) = city
    world.child(space, chat, {"order": "a"}, ALICE)
    world.child(space, "!other", {"via": "hs"}, ALICE)
    world.child(space, "!gone", {}, ALICE)
    diagnoses = found(world, cache)
    assert told(diagnoses) == [("missing_via", space)] * 2
    remedies = {
        room: one.remedy
        for one in diagnoses
        for room in (chat, "!other")
        if room in one.finding.message
    }
    assert "`!restore C1`" in remedies[chat]
    assert remedies["!other"].startswith(NOTHING)


def test_a_chat_that_two_spaces_of_its_owner_name(city: City) -> None:
    """The Space that holds the place counts; the other is a duplicate, and older."""
    world, cache, (space, chat, *_) = city
    second = world.space(ALICE)
    world.child(second, chat, LINKED, ALICE)
    link = last(world)
    cache = converge(world, cache)
    diagnoses = found(world, cache)
    assert told(diagnoses) == [("duplicate", second), ("two_parents", chat)]
    assert space in diagnoses[1].finding.message
    assert diagnoses[1].finding.cause is not None
    assert diagnoses[1].finding.cause.event_id == link


def test_a_link_of_somebody_elses_space(city: City) -> None:
    world, cache, (_, chat, _, bobs, *_) = city
    world.child(bobs, chat, LINKED, BOB)
    one = alone(found(world, cache), "foreign_link", chat)
    assert f"{BOB} can take it back" in one.remedy


# --- one place --------------------------------------------------------------------------


def test_why_a_space_holds_the_place(city: City) -> None:
    world, cache, (space, *_) = city
    second = world.space(ALICE)
    cache = converge(world, cache)
    one = alone(found(world, cache), "duplicate", second)
    assert "it links 2 of the owner's chats, this one 0" in one.finding.message
    assert one.finding.cause is not None
    assert (
        one.finding.cause.event_id
        == world.rooms[space]["m.room.create", ""]["event_id"]
    )


def test_why_a_chat_holds_the_place(city: City) -> None:
    """A valid link, then an emptied one, then age, then the room id."""
    world, cache, (space, chat, *_) = city
    unlinked = world.chat(ALICE, 1)
    messages = [one.finding.message for one in found(world, converge(world, cache))]
    assert [m for m in messages if "holds" in m] == [
        f"{chat} holds {ALICE}'s C1: a valid link of its owner's Space names it"
    ]
    world.child(space, chat, {}, ALICE)
    [one] = found(world, cache)
    assert one.finding.room == unlinked
    assert one.finding.message.endswith("an emptied link of its owner's Space names it")
    world.child(space, chat, LINKED, ME)
    world.child(space, unlinked, LINKED, ME)
    [one] = found(world, cache)
    assert one.finding.message.endswith("it is older")
    assert "pointer" in one.remedy


def test_a_winner_that_nobody_can_see(city: City) -> None:
    """Nothing is said of links and age where one of the owner's rooms was not read."""
    world, cache, (_, chat, other, *_) = city
    twin = world.chat(ALICE, 1)
    for unseen in (chat, other):
        diagnoses = found(world, cache, hide={unseen: UNREAD})
        assert ("duplicate", twin) in told(diagnoses)
        assert ("unread", unseen) in told(diagnoses)
        duplicate = next(one for one in diagnoses if one.finding.code == "duplicate")
        assert "its row stands" in duplicate.finding.message


# --- whose it is ------------------------------------------------------------------------


def test_a_room_of_which_nobody_knows_whose_it_is(world: World) -> None:
    room = world.create()
    assert alone(found(world, {}), "ambiguous_owner", room).remedy.startswith(NOTHING)
    world.welcome(room, ALICE)
    one = alone(found(world, {}), "ambiguous_owner", room)
    command = shlex.split(one.remedy.strip("`"))
    assert command == ["spacekeeper", "adopt", room, "--owner", ALICE]
    assert f"'{room}'" in one.remedy  # a shell does more than one thing with a !
    world.welcome(room, BOB)
    remedy = found(world, {})[0].remedy
    assert remedy.endswith(f"--owner ID`, where ID is one of {ALICE}, {BOB}")


def test_what_stands_in_a_room_and_cannot_be_read(city: City) -> None:
    world, cache, (_, first, second, *_) = city
    bind(world, first, {"v": "x"})
    bind(world, second, {"v": 2})
    diagnoses = found(world, cache)
    assert told(diagnoses) == [("malformed_binding", first), ("newer_version", second)]
    assert diagnoses[1].remedy == "upgrade this Spacekeeper"


def test_a_malformed_identity_of_a_room_that_is_bound_all_the_same(
    world: World,
) -> None:
    space = world.create(room_type="m.space", identity={"v": 1, "owner": 5})
    world.welcome(space, ALICE)
    cache = converge(world, {})
    one = alone(found(world, cache), "malformed_identity", space)
    assert one.remedy.startswith(NOTHING)


# --- who is there -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("membership", "by", "code", "says"),
    [
        ("leave", ALICE, "owner_left", "left it"),
        ("leave", BOB, "owner_left", "was put out"),
        ("ban", BOB, "owner_banned", "is banned"),
    ],
)
def test_an_owner_who_is_gone(
    city: City, membership: str, by: str, code: str, says: str
) -> None:
    world, cache, (space, chat, *_) = city
    world.member(chat, ALICE, membership, by)
    one = alone(found(world, cache), code, chat)
    assert says in one.finding.message
    assert "`!restore C1`" in one.remedy
    assert ("unbanned" in one.remedy) == (code == "owner_banned")
    assert one.finding.cause is not None
    assert (one.finding.cause.sender, one.finding.cause.event_id) == (by, last(world))
    world.member(chat, ALICE, "join", ALICE)
    world.member(space, ALICE, membership, by)
    assert "direct chat" in alone(found(world, cache), code, space).remedy


@pytest.mark.parametrize(
    ("membership", "by", "code"),
    [
        ("leave", ALICE, "bot_kicked"),
        ("leave", ME, "bot_left"),
        ("ban", ALICE, "bot_banned"),
    ],
)
def test_a_bot_that_is_out(city: City, membership: str, by: str, code: str) -> None:
    """Also when nothing is seen of the room any more; then the row has the evidence."""
    world, cache, (_, chat, *_) = city
    world.member(chat, ME, membership, by)
    one = alone(found(world, cache), code, chat)
    assert f"an invitation of the bot by {ALICE}" in one.remedy
    cache = converge(world, cache)
    again = alone(found(world, cache, hide={chat: ABSENT}), code, chat)
    assert again.finding.cause == Cause("", last(world), 0)


# --- upkeep -----------------------------------------------------------------------------


def test_rooms_that_nobody_finished(city: City) -> None:
    world, cache, (space, *_) = city
    chat = world.chat(ALICE, 3, joined=False)
    diagnoses = found(world, cache)
    assert told(diagnoses) == [("never_linked", chat), ("never_invited", chat)]
    assert all("spacekeeper reconcile" in one.remedy for one in diagnoses)
    made = world.rooms[chat]["m.room.create", ""]["event_id"]
    assert {one.finding.cause and one.finding.cause.event_id for one in diagnoses} == {
        made
    }
    # Where a room was not read, nothing is owed; what was refused is told otherwise.
    assert told(found(world, cache, hide={space: UNREAD})) == [("unread", space)]
    held = {
        (space, child_field(chat)): "403",
        (chat, invite_field(ALICE)): "403",
    }
    refused = found(world, cache, withheld=held)
    assert told(refused) == [("unpublishable", space), ("uninvitable", chat)]
    assert all(one.finding.cause for one in refused)


def test_what_the_bot_writes_in_vain_shows_what_stands_there(city: City) -> None:
    """And where nothing does, what keeps it from writing."""
    world, cache, (space, *_) = city
    old = world.chat(ALICE, 3, space, named=False)
    bind(world, old, {})  # as a redaction leaves it
    stands, held = last(world), {(old, f"{BINDING}|{ME}"): "403"}
    refused = {
        one.finding.room: one.finding for one in found(world, cache, withheld=held)
    }
    cause = refused[old].cause
    assert cause
    assert (refused[old].code, cause.event_id) == ("unpublishable", stands)
    new = world.chat(ALICE, 4, joined=False)
    held = {(space, child_field(new)): "403", (new, invite_field(ALICE)): "403"}
    powers = {space: power(levels(users={ME: 100}), ME)}
    every = found(world, cache, withheld=held, powers=powers)
    assert Cause(ALICE, "$levels", 5) in {
        one.finding.cause for one in every if one.finding.room == space
    }


def test_a_tombstone_that_is_not_followed(city: City) -> None:
    world, cache, (_, chat, *_) = city
    world.upgrade(chat, ALICE)
    one = alone(found(world, cache), "unfollowed_tombstone", chat)
    assert one.remedy.startswith(NOTHING)


def test_a_chat_that_no_space_can_hold(world: World) -> None:
    chat = world.chat(CAROL, 1)
    cache = converge(world, {})
    one = alone(found(world, cache), "no_space", chat)
    assert "`!new`" in one.remedy
    assert one.finding.cause


def test_what_a_guard_holds_back(city: City) -> None:
    world, cache, rooms = city
    for room in rooms:
        world.member(room, ME, "leave", ALICE)
    diagnoses = found(world, cache)
    assert told(diagnoses) == [("held_back", room) for room in sorted(rooms)]
    assert all("--allow-detach 6" in one.remedy for one in diagnoses)
    assert all(one.finding.cause for one in diagnoses)
    # What is held keeps its place, and that is why another room does not get it.
    twin = world.chat(ALICE, 1)
    duplicate = found(world, cache)[0]
    assert (duplicate.finding.code, duplicate.finding.room) == ("duplicate", twin)
    assert f"{rooms[1]} holds {ALICE}'s C1" in duplicate.finding.message


def test_a_room_that_could_not_be_read(city: City) -> None:
    world, cache, (_, chat, *_) = city
    one = alone(found(world, cache, hide={chat: UNREAD}), "unread", chat)
    assert "503" in one.finding.message
    overdue = UNREAD._replace(overdue=True)
    alone(found(world, cache, hide={chat: overdue}), "unreadable", chat)


def test_a_backlog_that_the_running_bot_found(city: City) -> None:
    world, cache, (_, chat, *_) = city
    backlog = Finding("backlog", chat, "more was said")
    alone(found(world, cache, findings=(backlog,)), "backlog", chat)


# --- power ------------------------------------------------------------------------------


def levels(sender: str = ALICE, **content: Any) -> list[dict[str, Any]]:
    return [
        {
            "type": "m.room.power_levels",
            "state_key": "",
            "sender": sender,
            "event_id": "$levels",
            "origin_server_ts": 5,
            "content": content,
        }
    ]


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ({"users": {ME: 100}}, []),
        ({"users": {ME: 49}}, [BINDING]),
        ({"users": {ME: "50"}}, []),
        ({"users": {ME: "high"}, "users_default": 50}, []),
        ({"users": {ME: True}}, [BINDING]),
        ({"users": [ME]}, [BINDING]),
        ({"events": {BINDING: 0}}, []),
        ({"events": {BINDING: 51}, "users": {ME: 50}}, [BINDING]),
        ({"invite": 1, "state_default": 0}, ["invite"]),
        ({"events_default": 1, "state_default": 0}, ["m.room.message"]),
        (
            {"events_default": 1, "events": {"m.room.message": 0}, "state_default": 0},
            [],
        ),
    ],
)
def test_what_power_levels_let_the_bot_do(
    city: City, content: dict[str, Any], lacking: list[str]
) -> None:
    world, cache, (_, chat, *_) = city
    powers = {chat: power(levels(**content), ME)}
    diagnoses = found(world, cache, powers=powers)
    assert told(diagnoses) == [("powerless", chat)] * bool(lacking)
    for one in diagnoses:
        assert all(kind in one.finding.message for kind in lacking)
        assert one.finding.cause == Cause(ALICE, "$levels", 5)


def test_a_space_that_the_bot_cannot_link_in(city: City) -> None:
    world, cache, (space, *_) = city
    powers = {space: power(levels(users={ME: 50}, events={"m.space.child": 60}), ME)}
    one = alone(found(world, cache, powers=powers), "powerless", space)
    assert one.finding.message.endswith("too little for m.space.child")


def test_who_makes_a_room_has_power(world: World) -> None:
    """Without the event all of it, and from version 12 on whatever the event says."""
    assert power([], ME).lacks([BINDING, "invite"], ["m.room.message"]) == []
    room = world.create()
    create = facts(world).rooms[room].room.create  # type: ignore[union-attr]
    assert create is not None
    assert not without_end(create, ME)
    for version in ("12", "13", "org.matrix.hydra.11"):
        assert without_end(create._replace(version=version), ME)
    assert not without_end(create._replace(version="12"), ALICE)


# --- everything -------------------------------------------------------------------------


def test_every_code_has_a_group_and_stands_in_the_documents() -> None:
    """Those of the passes and those of the checks."""
    source = "".join(
        path.read_text() for path in Path(checks.__file__).parents[1].rglob("*.py")
    )
    codes = set(re.findall(r"Finding\(\s*\"(\w+)\"", source))
    # Where the code is a row's reason, a constant, or one of two.
    codes.add(BACKLOG)
    codes |= {"owner_left", "owner_banned", "bot_kicked", "bot_banned", "bot_left"}
    codes |= {"malformed_identity", "malformed_binding", "unpublishable", "uninvitable"}
    assert codes == GROUP_OF.keys()
    text = Path(checks.__file__).parents[3].joinpath("docs", "doctor.md").read_text()
    assert [code for code in GROUP_OF if f"`{code}`" not in text] == []


UNSEEN = {"lost", "unread", "unreadable", "backlog"}
"""What no event shows: nobody saw anything."""


@given(worlds(), st.integers(0, 40), st.integers(0, 2))
def test_whatever_was_seen_is_shown_by_an_event(
    world: World, which: int, how: int
) -> None:
    cache = converge(world, {})
    for seen in (world.facts(), half_seen(world, cache, which, how)):
        every = [one.finding for one in examine(looked(seen, cache))]
        eventless = [one for one in every if one.cause is None]
        assert {one.code for one in eventless} <= UNSEEN


SIGHT = {"unread", "duplicate"}


@given(worlds(), st.integers(0, 40), st.integers(0, 2))
def test_half_a_look_finds_nothing_that_the_whole_look_does_not(
    world: World, which: int, how: int
) -> None:
    """But that it is half a look, and which duplicates stand."""
    cache = converge(world, {})
    whole = set(told(list(examine(looked(world.facts(), cache)))))
    half = set(told(list(examine(looked(half_seen(world, cache, which, how), cache)))))
    assert {one for one in half - whole if one[0] not in SIGHT} == set()
