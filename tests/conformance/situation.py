"""What every scenario asserts: `holds` says what a pass must leave, and nothing else.

    alice, space, (one,) = await city.home()
    emptied = await city.bot.unlink(space, one)
    await holds(
        city,
        {
            space: a_space(alice),
            one: a_chat(alice, space, 1, status="detached: unlinked", evidence=emptied),
        },
    )

Everything is exact: a row, a finding or a write that is not named is a failure.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from adapter.cli.account import Account
from adapter.matrix.channels import Channel
from adapter.matrix.document import document
from adapter.matrix.observation import observe
from adapter.matrix.reconciler import PassReport
from adapter.matrix.rows import FIELDS, Row
from adapter.matrix.topology import render
from adapter.matrix.wire import Wire
from schemas import problems
from tests.adapter.matrix.city import (
    BINDING,
    CHILD,
    IDENTITY,
    City,
    Json,
    State,
    conversation,
)
from tests.adapter.matrix.landlord import home_of

CHANNELS = [channel for channel in Channel if channel is not Channel.AUTO]

REMEMBERED = frozenset({"unpublishable", "uninvitable", "lost", "unreadable"})
"""Codes of findings that come from what the cache remembers, not from Matrix alone."""

Finding = tuple[str, str]
"""Code and room."""
Write = tuple[str, str, str]
"""Room, event type and state key."""


class Bound(NamedTuple):
    """One row: what the room is bound to, and how it is."""

    room_type: str | None
    owner: str | None
    space_id: str | None = None
    chat_id: str | None = None
    platform_chat_id: str | None = None
    status: str = "active"
    """With its reason: `detached: unlinked`."""
    evidence: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Bound:
        """What a row of the file, or a room of the document, says."""
        status, reason = row["status"], row.get("reason")
        return cls(
            row.get("room_type"),
            row.get("matrix_user_id"),
            row.get("space_id"),
            row.get("chat_id"),
            row.get("platform_chat_id"),
            f"{status}: {reason}" if reason else status,
            row.get("evidence"),
        )


def a_space(
    owner: Account, status: str = "active", evidence: str | None = None
) -> Bound:
    return Bound("space", owner.user_id, status=status, evidence=evidence)


def a_chat(
    owner: Account,
    space: str | None,
    number: int,
    status: str = "active",
    evidence: str | None = None,
    *,
    platform: str | None = None,
) -> Bound:
    """A chat, with the conversation that `City.chat` gives it if nothing else is said."""
    return Bound(
        "chat",
        owner.user_id,
        space,
        f"C{number}",
        platform or conversation(owner, number),
        status,
        evidence,
    )


Rows = Mapping[str, Bound]


async def made_for(
    city: City, owner: Account, status: str = "active"
) -> dict[str, Bound]:
    """The Space and the chats that the bot made, as they say since their first instant."""
    [space], chats = await home_of(city, owner)
    rows = {space: a_space(owner, status)}
    for chat in chats:
        created = await city.has(chat, "m.room.create")
        assert created is not None
        said = created[IDENTITY]
        number = int(said["chat_id"].removeprefix("C"))
        rows[chat] = a_chat(
            owner, space, number, status, platform=said["platform_chat_id"]
        )
    return rows


async def holds(
    city: City,
    rows: Rows,
    *,
    findings: Collection[Finding] = (),
    writes: Collection[Write] = (),
    cold: Rows | None = None,
    cold_findings: Collection[Finding] | None = None,
    apart: Collection[Channel] = (),
    unknown: Collection[str] = (),
    **how: Any,
) -> PassReport:
    """A pass over the cache as it is leaves these rows and findings, and these writes.

    So does one over no cache at all, unless `cold` says what Matrix alone tells; and it
    is the same whatever channel Matrix is seen through, but for those that stand `apart`:
    they show more or less of rooms that the bot is not in. Another pass changes nothing,
    anywhere, and no message is sent. `how` goes to the pass, whose report is returned."""
    alone = rows if cold is None else cold
    found = set(findings)
    if cold_findings is None:
        cold_findings = {one for one in found if one[0] not in REMEMBERED}
    await _shown_alike(city, alone, set(cold_findings), set(apart))
    await _decided_alike(city, set(apart))

    before, position = await city.server(), await city.position()
    spoken = await city.said()
    done = await city.once(**how)
    assert _unlike(_bound(city.rows()), rows) == {}
    assert city.users() == _users(rows)
    assert city.chats() == _chats(rows)
    made = written(before, await city.server())
    assert made == set(writes), made ^ set(writes)
    if writes:
        assert await city.said() == spoken
    else:
        assert await city.position() == position

    report = await city.settled(cold=False)
    assert _told(city) == found, _told(city) ^ found
    assert set(report.decided.want.unknown) == set(unknown)
    # What was written is in Matrix now, and a cache that is lost tomorrow needs it.
    rebuilt = _bound(await city.rebuilt())
    assert _unlike(rebuilt, rows if writes else alone) == {}
    return done


async def stays(city: City, rows: Rows, **how: Any) -> None:
    """The pass has nothing at all to write: the file, too, is the same byte for byte."""
    before = city.dump()
    await holds(city, rows, **how)
    assert city.dump() == before


def written(before: State, after: State) -> set[Write]:
    """The state events that are new or have changed, those of new rooms included."""
    return {
        (room, *place)
        for room, state in after.items()
        for place, event in state.items()
        if before.get(room, {}).get(place) != event
    }


def record_of(city: City, *rooms: str) -> set[Write]:
    return {(room, BINDING, city.bot.user_id) for room in rooms}


def link_of(space: str, *rooms: str) -> set[Write]:
    return {(space, CHILD, room) for room in rooms}


def invite_of(who: Account, *rooms: str) -> set[Write]:
    return {(room, "m.room.member", who.user_id) for room in rooms}


# --- the parts -------------------------------------------------------------------------


async def _shown_alike(
    city: City, rows: Rows, findings: set[Finding], apart: set[Channel]
) -> None:
    """Without any cache, each channel makes the same valid document: that of `rows`."""
    digests = set()
    for channel in CHANNELS:
        found = await _document(city, channel, {})
        assert problems("topology", found) == []
        if channel in apart:
            continue
        spec, status = found["spec"], found["status"]
        shown = {room: Bound.of(said) for room, said in spec["rooms"].items()}
        assert _unlike(shown, rows) == {}, channel
        users = {user: place["space_id"] for user, place in spec["users"].items()}
        assert users == _users(rows), channel
        told = {(one["code"], one["room"]) for one in status["findings"]}
        assert told == findings, (channel, told ^ findings)
        digests.add(found["metadata"]["digest"])
    assert len(digests) == 1


async def _decided_alike(city: City, apart: set[Channel]) -> None:
    """With the cache as it is, each channel makes the same valid document."""
    if not city.path.exists():
        return
    cached = {
        room: Row(room, **{name: row[name] for name in (*FIELDS, "revision")})
        for room, row in city.rows().items()
    }
    documents = [
        await _document(city, channel, cached)
        for channel in CHANNELS
        if channel not in apart
    ]
    first, *others = [(one["spec"], one["status"]) for one in documents]
    assert others == [first] * len(others)
    assert [problems("topology", one) for one in documents] == [[]] * len(documents)


async def _document(city: City, channel: Channel, rows: Mapping[str, Row]) -> Json:
    """What a pass over these rows would make of what the channel shows."""
    me = city.bot.user_id
    facts = await observe(Wire(city.client), me, rows=rows, channel=channel)
    return document(
        render(facts, rows, me),
        account=me,
        homeserver=city.bot.url,
        complete=facts.complete,
        observed_at=0,
    )


def _unlike(found: Rows, wanted: Rows) -> dict[str, tuple[Bound | None, Bound | None]]:
    """What is found of a room and what is wanted, where these differ."""
    return {
        room: (found.get(room), wanted.get(room))
        for room in found.keys() | wanted.keys()
        if found.get(room) != wanted.get(room)
    }


def _bound(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Bound]:
    return {room: Bound.of(row) for room, row in rows.items()}


def _users(rows: Rows) -> dict[str, str]:
    """Owner -> the Space that holds their place, also after they left it."""
    keep = {
        "active",
        "pending",
        "unknown",
        "detached: owner_left",
        "detached: owner_banned",
    }
    return {
        str(row.owner): room
        for room, row in rows.items()
        if row.room_type == "space" and row.status in keep
    }


def _chats(rows: Rows) -> dict[str, tuple[str, str, str]]:
    """What the view `chats` shows of the rows."""
    gone = {"detached: upgraded", "detached: duplicate"}
    return {
        str(row.platform_chat_id): (str(row.owner), str(row.chat_id), room)
        for room, row in rows.items()
        if row.room_type == "chat" and row.status not in gone
    }


def _told(city: City) -> set[Finding]:
    """The findings of the last pass, as `status` would show them."""
    [(report,)] = city.query("SELECT report FROM passes ORDER BY id DESC LIMIT 1")
    return {(one["code"], one["room"]) for one in json.loads(report)["findings"]}
