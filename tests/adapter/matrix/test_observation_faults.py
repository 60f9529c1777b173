"""What an observation makes of a homeserver that is broken, slow, or tells tales."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import nio
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adapter.matrix import channels
from adapter.matrix.channels import Channel
from adapter.matrix.errors import (
    NotAHomeserver,
    ObservationFailed,
    RateLimited,
    ServerFault,
    TokenRefused,
    Unexpected,
    Unreachable,
    WireError,
)
from adapter.matrix.facts import EventTypes, Facts, Gone, Present, Unknown
from adapter.matrix.observation import PATIENCE, ROUNDS, observe
from adapter.matrix.wire import Wire

ME, ALICE = "@bot:hs", "@alice:hs"
SHOWING = [Channel.SLIDING_SYNC, Channel.SYNC]
Event = dict[str, Any]


def event(kind: str, key: str, sender: str, **content: Any) -> Event:
    return {
        "type": kind,
        "state_key": key,
        "sender": sender,
        "content": content,
        "event_id": f"${kind}/{key}",
        "origin_server_ts": 1,
    }


def room(
    *more: Event,
    by: str = ME,
    membership: str = "join",
    sender: str = ME,
    create: Event | None = None,
) -> list[Event]:
    """The state of a room: who made it, and what the bot is in it."""
    return [
        event("m.room.create", "", by, **(create or {})),
        event("m.room.member", ME, sender, membership=membership),
        *more,
    ]


KICKED = room(membership="leave", sender=ALICE)


def tombstone(target: str) -> Event:
    return event("m.room.tombstone", "", ME, replacement_room=target)


class Said(NamedTuple):
    """One answer; what has the status `NEVER` is none."""

    status: int
    content: bytes
    kind: str = "application/json"

    def response(self) -> web.Response:
        return web.Response(
            status=self.status, body=self.content, content_type=self.kind
        )


NEVER = 299


@dataclass
class Fake:
    """A homeserver of one page: what it is told of its rooms, it says.

    `instead` answers in place of an endpoint, by its name or a room's id, of a single
    event by that and its type, the first answers first and the last one for good;
    `joined` is what /joined_rooms says."""

    rooms: dict[str, list[Event]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    joined: Sequence[str] | None = None
    invited: set[str] = field(default_factory=set)
    instead: dict[str, list[Said]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, list[Event]]:
        return {r: events for r, events in self.rooms.items() if r not in self.hidden}

    def member(self, room_id: str) -> str:
        for found in self.rooms[room_id]:
            if found["type"] == "m.room.member" and found["state_key"] == ME:
                return str(found["content"]["membership"])
        return "leave"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/_matrix/client/").removeprefix("v3/")
        name = name.removeprefix("rooms/").removesuffix("/state")
        name, _, single = name.partition("/state/")
        kind, _, key = single.partition("/")
        if request.method == "POST":
            name = "sliding"
        self.asked[name] += 1
        if waiting := self.instead.get(f"{name} {kind}") or self.instead.get(name):
            said = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if said.status != NEVER:
                return said.response()
            await asyncio.sleep(60)
        said = self.say(name)
        if single:
            shown = {(found["type"], found["state_key"]): found for found in said}
            if (kind, key) not in shown:
                return refusal(404, "M_NOT_FOUND").response()
            said = shown[kind, key]
        return says(said).response()

    def say(self, name: str) -> Any:
        match name:
            case "account/whoami":
                return {"user_id": ME}
            case "versions":
                return {"unstable_features": {"org.matrix.simplified_msc3575": True}}
            case "joined_rooms":
                mine = [r for r in self.rooms if self.member(r) == "join"]
                return {"joined_rooms": mine if self.joined is None else self.joined}
            case "sync":
                join = {
                    r: e for r, e in self.shown().items() if self.member(r) == "join"
                }
                leave = {r: e for r, e in self.shown().items() if r not in join}
                sections: dict[str, Any] = {
                    "join": {r: {"state": {"events": e}} for r, e in join.items()},
                    "leave": {r: {"timeline": {"events": e}} for r, e in leave.items()},
                    "invite": {
                        r: {"invite_state": {"events": []}} for r in self.invited
                    },
                }
                used = {name: section for name, section in sections.items() if section}
                return {"next_batch": "s1"} | ({"rooms": used} if used else {})
            case "sliding":
                rooms: dict[str, Any] = {
                    r: {"required_state": e} for r, e in self.shown().items()
                } | {r: {"invite_state": []} for r in self.invited}
                return {
                    "pos": "1",
                    "lists": {"all": {"count": len(rooms)}},
                    "rooms": rooms,
                }
            case _:
                if name in self.rooms:
                    return self.rooms[name]
                raise web.HTTPForbidden(
                    text='{"errcode": "M_FORBIDDEN"}', content_type="application/json"
                )

    def told(self, name: str, *answers: Said) -> None:
        self.instead[name] = list(answers)


def refusal(status: int, errcode: str = "M_UNKNOWN", **more: Any) -> Said:
    return Said(status, orjson.dumps({"errcode": errcode, **more}))


def says(body: Any) -> Said:
    return Said(200, orjson.dumps(body))


HTML = Said(502, b"<html>", "text/html")
SILENCE = Said(NEVER, b"")


@pytest.fixture
def fake() -> Fake:
    """A homeserver with a Space, a chat and a room that the bot was kicked from."""
    return Fake(
        {"!space": room(create={"type": "m.space"}), "!chat": room(), "!kicked": KICKED}
    )


@pytest.fixture
async def wire(fake: Fake) -> AsyncIterator[Wire]:
    """A wire to the fake, that waits for nothing."""
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", fake.handle)
    async with TestServer(app) as server:
        client = nio.AsyncClient(str(server.make_url("")).rstrip("/"))
        client.access_token = "t"  # noqa: S105 - of no server
        yield Wire(client, patience=0.0, timeout=0.5, snapshot_timeout=0.5)
        await client.close()  # type: ignore[no-untyped-call]


@contextmanager
def fails(kind: type[WireError]) -> Iterator[None]:
    with pytest.raises(WireError) as caught:
        yield
    assert type(caught.value) is kind


async def honest(wire: Wire, **how: Any) -> Facts:
    """What is seen while nothing is wrong; it is checked against the fake's rooms."""
    facts = await observe(wire, ME, **how)
    assert isinstance(facts.rooms["!space"], Present)
    assert isinstance(facts.rooms["!chat"], Present)
    return facts


@pytest.mark.parametrize("channel", [*SHOWING, Channel.STATE])
async def test_nothing_wrong(wire: Wire, channel: Channel) -> None:
    """The fake is a homeserver as far as it goes."""
    facts = await honest(wire, channel=channel, rows=["!kicked"])
    assert isinstance(facts.rooms["!kicked"], Gone)
    assert facts.complete


FATAL: list[tuple[str, Said, type[WireError]]] = [
    ("account/whoami", HTML, ServerFault),
    ("account/whoami", refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused),
    ("account/whoami", says({}), Unexpected),
    ("joined_rooms", HTML, ServerFault),
    ("joined_rooms", says({}), Unexpected),
    ("joined_rooms", says({"joined_rooms": [1]}), Unexpected),
    ("joined_rooms", says(["!chat"]), Unexpected),
    ("joined_rooms", SILENCE, Unreachable),
    ("sync", refusal(429, "M_LIMIT_EXCEEDED"), RateLimited),
    ("sync", refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused),
    ("sync", refusal(500), ServerFault),
    ("sync", HTML, ServerFault),
    (
        "sync",
        Said(200, b"<html>", "text/html"),
        NotAHomeserver,
    ),
    ("sync", Said(200, b'{"next_batch": "s1", "ro'), Unreachable),
    ("sync", SILENCE, Unreachable),
    ("sync", says({}), Unexpected),
    ("sync", says({"next_batch": "s1", "rooms": []}), Unexpected),
    ("sync", says({"next_batch": "s1", "rooms": {"join": 1}}), Unexpected),
    ("sync", says({"next_batch": "s1"}), ObservationFailed),
    ("sync", says({"next_batch": "s1", "rooms": {}}), ObservationFailed),
]


@pytest.mark.parametrize(("name", "said", "kind"), FATAL)
async def test_what_fails_it(
    fake: Fake, wire: Wire, name: str, said: Said, kind: type[WireError]
) -> None:
    """The account, the list of rooms and the snapshot: without them nothing is seen."""
    fake.told(name, said)
    with fails(kind):
        await observe(wire, ME, channel=Channel.SYNC)


async def test_second_list_of_rooms(fake: Fake, wire: Wire) -> None:
    """The list of rooms is needed afterwards, too."""
    fake.told("joined_rooms", says({"joined_rooms": ["!space", "!chat"]}), HTML)
    with fails(ServerFault):
        await observe(wire, ME, channel=Channel.SYNC)


SLIDING_FAULTS: list[Said] = [
    refusal(400, "M_UNKNOWN_POS"),
    refusal(404, "M_UNRECOGNIZED"),
    refusal(500),
    HTML,
    says({}),
    says({"lists": {"all": {"count": "3"}}, "rooms": {}}),
    says({"lists": {"all": {"count": 0}}, "rooms": {}}),
    says({"lists": {"all": {"count": 9}}, "rooms": {"!chat": {}}}),
]


@pytest.mark.parametrize("said", SLIDING_FAULTS)
async def test_the_next_channel(fake: Fake, wire: Wire, said: Said) -> None:
    """Where sliding sync fails, /sync shows the same; where that fails, each room."""
    whole = await honest(wire, rows=["!kicked"])
    assert fake.asked["sync"] == 0
    fake.told("sliding", said)
    assert await honest(wire, rows=["!kicked"]) == whole
    assert fake.asked["sync"] == 1
    fake.told("sync", HTML)
    assert await honest(wire, rows=["!kicked"]) == whole


@pytest.mark.parametrize("said", [HTML, says({}), refusal(404)])
async def test_not_offered(fake: Fake, wire: Wire, said: Said) -> None:
    """A server that does not say that it has sliding sync is not asked for it."""
    fake.told("versions", said)
    await honest(wire)
    assert (fake.asked["sliding"], fake.asked["sync"]) == (0, 1)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=61_000), RateLimited),
        (refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused),
        (SILENCE, Unreachable),
    ],
)
async def test_no_next_channel(
    fake: Fake, wire: Wire, said: Said, kind: type[WireError]
) -> None:
    """What is wrong with all channels is not tried with each."""
    fake.told("sliding", said)
    with fails(kind):
        await observe(wire, ME)
    assert fake.asked["sync"] == 0


async def test_no_joined_rooms(fake: Fake, wire: Wire) -> None:
    """A server that forgets the list of rooms is asked for each, and they are there."""
    fake.joined = []
    for channel in SHOWING:
        await honest(wire, channel=channel, rows=["!space"])
    assert fake.asked["!chat"] == 2


@pytest.mark.parametrize("channel", SHOWING)
async def test_rooms_left_out(fake: Fake, wire: Wire, channel: Channel) -> None:
    """What the snapshot leaves out is read: joined, or in a row, or by upgrade."""
    fake.rooms["!old"] = room(tombstone("!new"))
    fake.rooms["!new"] = room(create={"predecessor": {"room_id": "!old"}})
    fake.rooms["!older"] = room(membership="leave")
    fake.rooms["!old"][0]["content"]["predecessor"] = {"room_id": "!older"}
    fake.rooms["!rowed"] = room(membership="leave")
    fake.hidden = {"!chat", "!new", "!older", "!rowed"}
    fake.joined = ["!space", "!chat", "!old"]
    facts = await honest(wire, channel=channel, rows=["!rowed", "!not there"])
    assert isinstance(facts.rooms["!new"], Present)
    assert isinstance(facts.rooms["!older"], Gone)
    assert isinstance(facts.rooms["!rowed"], Gone)
    assert facts.rooms["!not there"] == Unknown("state: 403", absent=True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (refusal(403, "M_FORBIDDEN"), "state: 403"),
        (refusal(404, "M_NOT_FOUND"), "state: 404"),
        (refusal(500), "state: 500"),
        (HTML, "state: 502"),
        (refusal(503), "state: 503"),
        (says({}), "state: misshapen"),
        (says([1]), "state: misshapen"),
        (says([]), "state: misshapen"),
        (Said(200, b'[{"type": "m.room.cr'), "state: cut"),
        (Said(200, b"<html>"), "state: not JSON"),
        (SILENCE, "state: timeout"),
    ],
)
async def test_one_room(fake: Fake, wire: Wire, said: Said, why: str) -> None:
    """A room that cannot be read is unknown, and costs only itself.

    It is not absent: /joined_rooms has it. A room in a row that nobody lists is, if the
    server says so."""
    fake.rooms["!shy"] = room()
    fake.hidden = {"!shy"}
    fake.told("!shy", said)
    fake.told("!row", said)
    facts = await honest(wire, rows=["!row"])
    assert facts.rooms["!shy"] == Unknown(why)
    gone = "403" in why or "404" in why or "member" in why
    assert facts.rooms["!row"] == Unknown(why, absent=gone)
    assert facts.complete


async def test_a_strangers_room_that_keeps_its_state_back(
    fake: Fake, wire: Wire
) -> None:
    """Who made it, and that the bot is in it, is enough: it costs nobody anything."""
    fake.rooms["!theirs"] = room(tombstone("!chat"), by=ALICE)
    fake.hidden = {"!theirs"}
    fake.told("!theirs", SILENCE)
    create, member, _ = fake.rooms["!theirs"]
    fake.told("!theirs m.room.create", says(create))
    fake.told("!theirs m.room.member", says(member))
    found = (await honest(wire)).rooms["!theirs"]
    assert isinstance(found, Present)
    assert found.room.create.cause.sender == ALICE


@pytest.mark.parametrize(
    ("member", "found"),
    [
        (refusal(404, "M_NOT_FOUND"), Unknown("the bot has no member event")),
        (HTML, Unknown("state: 502")),
        (says({"membership": "join"}), Unknown("state: timeout")),
        (refusal(403, "M_FORBIDDEN"), Unknown("state: 403")),
    ],
)
async def test_a_strangers_room_without_the_bots_membership(
    fake: Fake, wire: Wire, member: Said, found: Unknown
) -> None:
    """Nobody knows then whether the bot is in it. A server that gives single events
    without their senders is asked for all of the state."""
    fake.rooms["!theirs"] = room(by=ALICE)
    fake.hidden = {"!theirs"}
    fake.told("!theirs", SILENCE)
    fake.told("!theirs m.room.create", says(fake.rooms["!theirs"][0]))
    fake.told("!theirs m.room.member", member)
    assert (await honest(wire)).rooms["!theirs"] == found


@pytest.mark.parametrize(
    "create",
    [
        event("m.room.create", "", ALICE, type="m.space"),
        {"room_version": "11"},
        {**event("m.room.create", "", ALICE), "type": "m.room.name"},
        {**event("m.room.create", "", ALICE), "sender": 7},
    ],
)
async def test_a_first_event_that_says_too_little(
    fake: Fake, wire: Wire, create: Event
) -> None:
    """A Space is read whole, whoever made it, and so is what shows no sender."""
    fake.rooms["!space of theirs"] = room(
        event("m.space.child", "!chat", ALICE, via=["hs"]),
        by=ALICE,
        create={"type": "m.space"},
    )
    fake.hidden = {"!space of theirs"}
    fake.told("!space of theirs m.room.create", says(create))
    found = (await honest(wire)).rooms["!space of theirs"]
    assert isinstance(found, Present)
    assert [*found.room.children] == ["!chat"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused),
        (refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=61_000), RateLimited),
    ],
)
async def test_one_room_that_speaks_for_all(
    fake: Fake, wire: Wire, said: Said, kind: type[WireError]
) -> None:
    """A refused token and a wait are about no room."""
    fake.told("!row", said)
    with fails(kind):
        await observe(wire, ME, rows=["!row"])


async def test_the_server_dies(fake: Fake, wire: Wire) -> None:
    """No answer about a room, and none about anything: the observation has failed."""
    mine = says({"joined_rooms": ["!space", "!chat"]})
    again = says({"joined_rooms": ["!space", "!chat"]})
    fake.told("joined_rooms", mine, again, HTML)
    fake.told("!row", SILENCE)
    with fails(ServerFault):
        await observe(wire, ME, rows=["!row"])


async def test_the_server_is_as_good_as_dead(fake: Fake, wire: Wire) -> None:
    """A server that keeps silent about room after room is not waited for any longer."""
    rows = [f"!row{number}" for number in range(4 * PATIENCE)]
    for row in rows:
        fake.told(row, SILENCE)
    with fails(Unreachable):
        await observe(wire, ME, rows=rows)
    assert fake.asked.total() < 3 * PATIENCE


@pytest.mark.parametrize("channel", SHOWING)
async def test_thrown_out_in_between(fake: Fake, wire: Wire, channel: Channel) -> None:
    """What /joined_rooms says after the snapshot is newer: the room is read again."""
    both, one = ["!space", "!chat"], ["!space"]
    fake.told("joined_rooms", says({"joined_rooms": both}), says({"joined_rooms": one}))
    fake.told("!chat", says(KICKED))
    facts = await observe(wire, ME, channel=channel)
    assert isinstance(facts.rooms["!chat"], Gone)
    assert facts.joined == {"!space", "!chat"}
    fake.told("joined_rooms", says({"joined_rooms": both}), says({"joined_rooms": one}))
    fake.told("!chat", refusal(403, "M_FORBIDDEN"))
    facts = await observe(wire, ME, channel=channel)
    assert facts.rooms["!chat"] == Unknown("state: 403")


@pytest.mark.parametrize("channel", SHOWING)
async def test_taken_back_in_between(fake: Fake, wire: Wire, channel: Channel) -> None:
    """The other way round: kicked in the snapshot, joined afterwards."""
    all_three = says({"joined_rooms": ["!space", "!chat", "!kicked"]})
    fake.told("joined_rooms", says({"joined_rooms": ["!space", "!chat"]}), all_three)
    fake.told("!kicked", says(room()))
    facts = await honest(wire, channel=channel)
    assert isinstance(facts.rooms["!kicked"], Present)
    fake.told("!kicked", refusal(503))
    facts = await honest(wire, channel=channel)
    assert facts.rooms["!kicked"] == Unknown("state: 503")


@pytest.mark.parametrize("channel", SHOWING)
async def test_evidence_is_kept(fake: Fake, wire: Wire, channel: Channel) -> None:
    """A ban that was seen is not forgotten because the room is closed now."""
    fake.rooms["!banned"] = room(membership="ban", sender=ALICE)
    fake.rooms["!another's"] = room(membership="leave", by=ALICE, sender=ALICE)
    for room_id in ("!banned", "!kicked"):
        fake.told(room_id, refusal(403, "M_FORBIDDEN"))
    facts = await honest(wire, channel=channel)
    reasons = {r: f.reason for r, f in facts.rooms.items() if isinstance(f, Gone)}
    assert reasons == {
        "!banned": "bot_banned",
        "!kicked": "bot_kicked",
        "!another's": "bot_kicked",
    }
    assert fake.asked["!another's"] == 0


@pytest.mark.parametrize("channel", SHOWING)
async def test_a_garbled_room(fake: Fake, wire: Wire, channel: Channel) -> None:
    """A room that the snapshot garbles is read by itself, and costs only itself."""
    fake.rooms["!garbled"] = [{"type": 3}, None, {}]  # type: ignore[list-item]
    fake.member = lambda room_id: "leave" if room_id == "!kicked" else "join"  # type: ignore[method-assign]
    fake.told("!garbled", says(room()))
    fake.told("!garbled m.room.create", says(room()[0]))
    facts = await honest(wire, channel=channel)
    assert isinstance(facts.rooms["!garbled"], Present)
    fake.told("!garbled", HTML)
    facts = await honest(wire, channel=channel)
    assert facts.rooms["!garbled"] == Unknown("state: 502")


async def test_only_invited(fake: Fake, wire: Wire) -> None:
    """An invitation is not read, and is not there unless somebody asks."""
    fake.invited = {"!asks", "!new"}
    fake.rooms["!chat"].append(tombstone("!new"))
    for channel in SHOWING:
        facts = await honest(wire, channel=channel, rows=["!asks"])
        invited = Unknown("the bot's membership is invite", absent=True)
        assert facts.rooms["!asks"] == facts.rooms["!new"] == invited
        assert "!asks" not in (await honest(wire, channel=channel)).rooms
    assert fake.asked["!asks"] == fake.asked["!new"] == 0


@pytest.mark.parametrize("again", [1, 2], ids=["at the top", "anywhere"])
async def test_windows(
    fake: Fake, wire: Wire, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    """A room that moves between two windows is had in the end: by asking for the top
    again, to which rooms move, or then for all."""
    monkeypatch.setattr(channels, "WINDOW", 1)
    await honest(wire, channel=Channel.SLIDING_SYNC)
    assert fake.asked["sliding"] == 3
    some = fake.say("sliding")
    del some["rooms"]["!kicked"]
    some["lists"]["all"]["count"] = 3
    short = [says(some)] * (2 + again)
    fake.told("sliding", *short, says(fake.say("sliding")))
    facts = await honest(wire, channel=Channel.SLIDING_SYNC)
    assert isinstance(facts.rooms["!kicked"], Gone)
    fake.told("sliding", says(some))
    with fails(Unexpected):
        await observe(wire, ME, channel=Channel.SLIDING_SYNC)


@pytest.mark.parametrize("channel", SHOWING)
async def test_more_is_shown_now(fake: Fake, wire: Wire, channel: Channel) -> None:
    """A room of the bot's own that threw it out is asked once more, by itself."""
    own = event(EventTypes().binding, ME, ME, v=1)
    fake.told("!kicked", says(room(own, membership="leave", sender=ALICE)))
    found = (await honest(wire, channel=channel)).rooms["!kicked"]
    assert isinstance(found, Gone)
    assert found.room
    assert found.room.binding


async def test_no_witness_of_absence(fake: Fake, wire: Wire) -> None:
    """Neither a room that the snapshot showed nor one with a trace of the bot is absent."""
    fake.joined = ["!space"]
    fake.told("!chat", refusal(403, "M_FORBIDDEN"))
    fake.told("!row", says(room()[1:]))
    facts = await observe(wire, ME, rows=["!row"])
    assert facts.rooms["!chat"] == Unknown("state: 403")
    assert facts.rooms["!row"] == Unknown("state: misshapen")


async def test_an_endless_chain(fake: Fake, wire: Wire) -> None:
    """Upgrades without end, and in a circle, come to one."""
    fake.rooms["!chat"].append(tombstone("!0"))
    for number in range(2 * ROUNDS):
        fake.rooms[f"!{number}"] = room(tombstone(f"!{number + 1}"), membership="leave")
    fake.hidden = {f"!{number}" for number in range(2 * ROUNDS)}
    fake.rooms["!space"].append(tombstone("!space"))
    facts = await honest(wire)
    assert len(facts.rooms) == 3 + ROUNDS + 1
    assert facts.rooms[f"!{ROUNDS}"] == Unknown("too many upgrades in a row")


PARTIAL: list[tuple[str, list[Said]]] = [
    ("sync", [SILENCE]),
    ("sync", [HTML]),
    ("sync", [says({"next_batch": "s1"})]),
    ("joined_rooms", [says({"joined_rooms": ["!space", "!chat"]}), HTML]),
]


@pytest.mark.parametrize(("name", "answers"), PARTIAL)
async def test_partial(fake: Fake, wire: Wire, name: str, answers: list[Said]) -> None:
    """Who asks for it gets what could be read, and nobody is absent in that."""
    fake.told(name, *answers)
    facts = await honest(
        wire, channel=Channel.SYNC, rows=["!kicked", "!row"], partial=True
    )
    assert not facts.complete
    assert isinstance(facts.rooms["!kicked"], Gone)
    assert facts.rooms["!row"] == Unknown("state: 403")


@pytest.mark.parametrize(
    ("name", "said", "kind"),
    [
        ("account/whoami", HTML, ServerFault),
        ("joined_rooms", HTML, ServerFault),
        ("sync", refusal(401, "M_UNKNOWN_TOKEN"), TokenRefused),
        ("sync", refusal(429, "M_LIMIT_EXCEEDED"), RateLimited),
    ],
)
async def test_not_even_partial(
    fake: Fake, wire: Wire, name: str, said: Said, kind: type[WireError]
) -> None:
    """Without the account or any list of rooms there is not even a part."""
    fake.told(name, said)
    with fails(kind):
        await observe(wire, ME, channel=Channel.SYNC, partial=True)


async def test_types_are_settings(fake: Fake, wire: Wire) -> None:
    """The bot's own event types come from the configuration."""
    types = EventTypes(identity="x.id", binding="x.bind")
    fake.rooms["!chat"] = room(event("x.bind", ME, ME, v=1), create={"x.id": {"v": 1}})
    for channel in (*SHOWING, Channel.STATE):
        facts = await honest(wire, channel=channel, types=types)
        found = facts.rooms["!chat"]
        assert isinstance(found, Present)
        assert found.room.binding
        assert found.room.create.identity == {"v": 1}
