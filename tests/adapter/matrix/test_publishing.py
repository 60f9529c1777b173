"""Publishing: in the order of need, within the server's limits, each write once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.errors import (
    Forbidden,
    NotAHomeserver,
    NotFound,
    ServerFault,
    Unexpected,
    WireError,
)
from adapter.matrix.facts import EventTypes
from adapter.matrix.publishing import Pace, Publisher, event, is_refusal, urgency
from adapter.matrix.rows import Publication, Row
from adapter.matrix.rules.ids import derived
from controller.apply import Outcome, Result, apply
from controller.model import Action, Change, Key, Resource
from controller.plan import Plan
from tests.adapter.matrix.test_wire import (
    HANG,
    HTML,
    RESET,
    Server,
    http,
    refusal,
    server,
    wire_to,
)

__all__ = ["server"]

ME, ALICE = "@bot:hs", "@alice:hs"
TYPES = EventTypes()
BINDING, CHILD, MEMBER = f"{TYPES.binding}|{ME}", "m.space.child", "m.room.member"
INVITE = f"{MEMBER}|{ALICE}"

SPACE = Row("!s", "space", matrix_user_id=ALICE)
CHAT = Row("!r", "chat", "C1", "!s", ALICE, "p1")
RECORD = {
    "v": 1,
    "kind": "chat",
    "owner": ALICE,
    "chat_id": "C1",
    "platform_chat_id": "p1",
}
DONE = http(200, {"event_id": "$new"})
WAIT = refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=0)


def step(room: str, name: str, content: Mapping[str, Any]) -> Change:
    new = Resource({name: content})
    return Change(Key("room", room), Action.PUBLISH, Resource({}), new)


BIND = step("!r", BINDING, {"v": 1, "platform_chat_id": "p1"})
WRITE_DOWN = step("!r", BINDING, RECORD)
LINK = step("!s", f"{CHILD}|!r", {"via": ["hs"]})
ASK = step("!r", INVITE, {"membership": "invite"})
EACH = {"binding": BIND, "record": WRITE_DOWN, "link": LINK, "invite": ASK}


@dataclass
class Memory:
    """Rows, and what is noted."""

    rows: dict[str, Row] = field(default_factory=lambda: {"!s": SPACE, "!r": CHAT})
    notes: list[Publication] = field(default_factory=list)

    async def row(self, room_id: str) -> Row | None:
        return self.rows.get(room_id)

    async def note_publication(self, publication: Publication) -> None:
        self.notes.append(publication)


@dataclass
class Office:
    """A server, a memory and a clock that nobody waits for."""

    server: Server
    memory: Memory = field(default_factory=Memory)
    state: list[dict[str, Any]] | WireError = field(default_factory=list)
    """What is said when a room is asked for its state."""
    slept: list[float] = field(default_factory=list)
    rate: float = 0.1
    patience: float | None = None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def publish(self, *steps: Change) -> list[Outcome]:
        async with self.publisher() as target:
            return [*(await apply(Plan(steps), target)).outcomes]

    @asynccontextmanager
    async def publisher(
        self, types: EventTypes = TYPES, **how: Any
    ) -> AsyncIterator[Publisher]:
        async def state(_room_id: str) -> list[dict[str, Any]]:
            if isinstance(self.state, WireError):
                raise self.state
            return self.state

        pace = Pace(self.rate, self.patience, self.sleep)
        async with wire_to(self.server.url, **how) as wire:
            wire.state = state  # type: ignore[assignment, method-assign]
            yield Publisher(wire, self.memory, pace, types, lambda: 77)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Method and path of what was asked, without what all paths have."""
        return [
            (method, unquote(path.removeprefix("/_matrix/client/v3/rooms/")))
            for method, path, _, _ in self.server.asked
        ]


@pytest.fixture
def office(server: Server) -> Office:
    """A homeserver that says what the test wants it to say; at first, yes."""
    server.script = [DONE]
    return Office(server)


def results(outcomes: list[Outcome]) -> list[Result]:
    return [outcome.result for outcome in outcomes]


def noted(office: Office) -> list[tuple[str, str, str]]:
    return [(one.room_id, one.field, one.result) for one in office.memory.notes]


# --- what is sent -------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "method", "path", "body"),
    [
        (BIND, "PUT", f"!r/state/{TYPES.binding}/{ME}", {"v": 1, "platform_chat_id": "p1"}),
        (WRITE_DOWN, "PUT", f"!r/state/{TYPES.binding}/{ME}", RECORD),
        (LINK, "PUT", "!s/state/m.space.child/!r", {"via": ["hs"]}),
        (ASK, "POST", "!r/invite", {"user_id": ALICE}),
    ],
    ids=EACH,
)  # fmt: skip
async def test_each_step_is_one_request(
    office: Office, one: Change, method: str, path: str, body: Any
) -> None:
    """It is sent, said to be published, and noted with its time."""
    assert await office.publish(one) == [Outcome(one.key, Result.PUBLISHED)]
    assert office.asked == [(method, path)]
    assert orjson.loads(office.server.asked[0][3]) == body
    room, name, _ = event(one)
    assert office.memory.notes == [Publication(room, name, 77, "published")]


@pytest.mark.parametrize("one", EACH.values(), ids=EACH)
@pytest.mark.parametrize(
    "said",
    [http(500, b""), http(503, HTML), refusal(403, "M_FORBIDDEN"), RESET, HANG],
    ids=["500", "503", "403", "reset", "silence"],
)
async def test_each_write_is_sent_exactly_once(
    office: Office, one: Change, said: bytes
) -> None:
    """Whatever comes back, a later pass looks first."""
    office.server.script = [said]
    async with office.publisher() as target:
        (outcome,) = await target.carry_out([one])
    assert outcome.result is Result.FAILED
    assert outcome.detail
    assert len(office.asked) == 1


async def test_no_steps_are_no_requests(office: Office) -> None:
    """There is nothing to wait for, either."""
    assert await office.publish() == []
    assert (office.asked, office.slept) == ([], [])


@pytest.mark.parametrize(
    "kind",
    [
        "m.room.power_levels",
        "m.room.name",
        "m.room.tombstone",
        "io.spacekeeper.checkpoint",
        "m.space.parent",
        "",
    ],
)
async def test_another_event_cannot_be_written(office: Office, kind: str) -> None:
    """Not even where the row would say the same."""
    with pytest.raises(ValueError, match="no event that publishing may write"):
        await office.publish(step("!r", f"{kind}|", {}))
    assert (office.asked, office.memory.notes) == ([], [])


@pytest.mark.parametrize("membership", ["leave", "ban", "join", "knock"])
async def test_a_member_event_is_an_invite(office: Office, membership: str) -> None:
    """Whatever a step says, nobody is thrown out."""
    await office.publish(step("!r", INVITE, {"membership": membership}))
    assert office.asked == [("POST", "!r/invite")]
    assert orjson.loads(office.server.asked[0][3]) == {"user_id": ALICE}


async def test_the_name_of_the_binding_is_a_setting(office: Office) -> None:
    """Under another one, the usual one cannot be written."""
    types = TYPES._replace(binding="io.x.binding")
    async with office.publisher(types) as target:
        await target.carry_out([step("!r", f"io.x.binding|{ME}", RECORD)])
        assert office.asked == [("PUT", f"!r/state/io.x.binding/{ME}")]
        with pytest.raises(ValueError, match="may write"):
            await target.carry_out([BIND])


# --- the order ----------------------------------------------------------------


def chat(number: int, platform: str | None = None) -> Row:
    room = f"!r{number}"
    return Row(room, "chat", f"C{number}", "!s", ALICE, platform or derived(room))


async def test_ids_that_cannot_be_derived_go_first(office: Office) -> None:
    """Then records, links and invites; outcomes are in the order of the steps."""
    plain, own = chat(1), chat(2, "kept for years")
    office.memory.rows |= {"!r1": plain._replace(space_id="!a"), "!r2": own}
    steps = [
        step("!r1", INVITE, {"membership": "invite"}),
        step("!a", f"{CHILD}|!r1", {"via": ["hs"]}),
        step("!s", BINDING, {"v": 1, "kind": "space", "owner": ALICE}),
        step("!r1", BINDING, {"v": 1, "platform_chat_id": derived("!r1")}),
        step("!r2", BINDING, {"v": 1, "platform_chat_id": "kept for years"}),
    ]
    office.server.script = [DONE, DONE, DONE, refusal(403, "M_FORBIDDEN"), DONE]
    outcomes = await office.publish(*steps)
    assert [path for _, path in office.asked] == [
        f"!r2/state/{TYPES.binding}/{ME}",
        f"!r1/state/{TYPES.binding}/{ME}",
        f"!s/state/{TYPES.binding}/{ME}",
        "!a/state/m.space.child/!r1",
        "!r1/invite",
    ]
    assert [outcome.key for outcome in outcomes] == [one.key for one in steps]
    published = Result.PUBLISHED
    assert results(outcomes) == [published, Result.FAILED, *[published] * 3]


@given(st.permutations(sorted(EACH.values(), key=lambda one: one.key)))
def test_the_order_does_not_hang_on_the_order_of_steps(steps: list[Change]) -> None:
    """Two steps are never equally urgent, but for one and the same event."""
    names = [urgency(one)[0] for one in sorted(steps, key=urgency)]
    assert names == [0, 0, 2, 3]
    assert sorted(steps, key=urgency)[2:] == [LINK, ASK]


def test_rooms_of_one_urgency_go_in_the_order_of_their_ids() -> None:
    """And the events of one room in the order of theirs."""
    steps = [step(room, f"{CHILD}|{key}", {}) for room in "ba" for key in "dc"]
    found = [event(one)[:2] for one in sorted(steps, key=urgency)]
    assert found == [(room, f"{CHILD}|{key}") for room in "ab" for key in "cd"]


# --- limits -------------------------------------------------------------------


async def test_without_a_limit_nothing_waits(office: Office) -> None:
    """A server that does not mind gets all at once."""
    await office.publish(*EACH.values())
    assert set(office.slept) == {0.0}
    assert len(office.asked) == 4


async def test_the_first_429_is_a_pause_and_then_a_pace(office: Office) -> None:
    """A minute; the same step again; and from then on one in ten seconds."""
    office.server.script = [DONE, WAIT, DONE]
    outcomes = await office.publish(BIND, LINK, ASK)
    assert set(results(outcomes)) == {Result.PUBLISHED}
    assert office.slept == [0.0, 0.0, 60.0, 10.0]
    assert [path for _, path in office.asked] == [
        f"!r/state/{TYPES.binding}/{ME}",
        "!s/state/m.space.child/!r",
        "!s/state/m.space.child/!r",
        "!r/invite",
    ]
    assert len(office.memory.notes) == 3


@pytest.mark.parametrize(
    ("asked", "waited"), [(0, 60.0), (59_000, 60.0), (61_000, 61.0), (227_000, 227.0)]
)
async def test_a_server_may_ask_for_more_than_a_minute(
    office: Office, asked: int, waited: float
) -> None:
    """But not for less."""
    limited = refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=asked)
    office.server.script = [limited, DONE]
    await office.publish(BIND)
    assert office.slept == [0.0, waited]


async def test_each_429_is_a_pause(office: Office) -> None:
    """With all the patience of a running bot, until it is done."""
    office.server.script = [WAIT, WAIT, WAIT, DONE, DONE, WAIT, DONE]
    outcomes = await office.publish(BIND, LINK, ASK)
    assert set(results(outcomes)) == {Result.PUBLISHED}
    assert office.slept == [0.0, 60.0, 60.0, 60.0, 10.0, 10.0, 60.0]


@pytest.mark.parametrize("rate", [0.1, 1, 4])
async def test_the_pace_is_a_setting(office: Office, rate: float) -> None:
    """Steps in a second."""
    office.rate = rate
    office.server.script = [WAIT, DONE]
    await office.publish(BIND, LINK, ASK)
    assert office.slept == [0.0, 60.0, 1 / rate, 1 / rate]


@pytest.mark.parametrize(
    ("patience", "published"), [(9.9, 0), (10, 1), (19, 1), (20, 2), (30, 3)]
)
async def test_patience_ends(office: Office, patience: float, published: int) -> None:
    """Who waits for it waits as long as the server asks, not a minute; what patience
    does not reach is waiting, and nothing more is asked."""
    office.patience = patience
    office.server.script = [WAIT, DONE]
    outcomes = await office.publish(BIND, LINK, ASK)
    done, left = [Result.PUBLISHED] * published, [Result.WAITING] * (3 - published)
    assert results(outcomes) == done + left
    assert len(office.asked) == 1 + published
    assert len(office.memory.notes) == published
    assert all(one.detail == "left to a later pass" for one in outcomes[published:])


async def test_patience_needs_no_waiting(office: Office) -> None:
    """With none at all, what a server takes at once is published."""
    office.patience = 0
    assert set(results(await office.publish(*EACH.values()))) == {Result.PUBLISHED}


async def test_a_row_is_looked_at_after_the_wait(office: Office) -> None:
    """In a minute much can change."""

    async def sleep(seconds: float) -> None:
        if seconds:
            office.memory.rows["!r"] = CHAT._replace(platform_chat_id="p2")

    office.server.script = [WAIT, DONE]
    office.sleep = sleep  # type: ignore[method-assign]
    assert results(await office.publish(BIND)) == [Result.STALE]
    assert len(office.asked) == 1


# --- refusals and failures ----------------------------------------------------

PUTS = {name: one for name, one in EACH.items() if name != "invite"}


@pytest.mark.parametrize("one", EACH.values(), ids=EACH)
@pytest.mark.parametrize(
    "said",
    [
        refusal(403, "M_FORBIDDEN"),
        refusal(413, "M_TOO_LARGE"),
        http(413, HTML),
    ],
    ids=["403", "413", "413 of a proxy"],
)
async def test_a_refusal_is_remembered(
    office: Office, one: Change, said: bytes
) -> None:
    """The step failed, and will not be tried for a day; others go on."""
    office.server.script = [said, DONE]
    later = step("!s", INVITE, {"membership": "invite"})
    office.memory.rows["!s"] = SPACE
    outcomes = await office.publish(one, later)
    assert results(outcomes) == [Result.FAILED, Result.PUBLISHED]
    room, name, _ = event(one)
    assert noted(office) == [(room, name, "refused"), ("!s", INVITE, "published")]
    assert office.memory.notes[0].detail == outcomes[0].detail != ""
    assert office.memory.notes[0].at == 77


@pytest.mark.parametrize("one", PUTS.values(), ids=PUTS)
@pytest.mark.parametrize(
    "said",
    [
        http(500, HTML),
        refusal(500, "M_UNKNOWN"),
        http(502, HTML),
        http(503, b""),
        http(504, HTML),
        refusal(400, "M_BAD_JSON"),
        refusal(404, "M_NOT_FOUND"),
        http(403, HTML),
        http(200, HTML),
        http(200, {}),
    ],
    ids=["500", "M_500", "502", "503", "504", "400", "404", "proxy", "html", "empty"],
)
async def test_a_fault_is_not_remembered(
    office: Office, one: Change, said: bytes
) -> None:
    """The next pass tries again; others go on."""
    office.server.script = [said, DONE]
    outcomes = await office.publish(one, ASK)
    assert results(outcomes) == [Result.FAILED, Result.PUBLISHED]
    assert outcomes[0].detail
    assert noted(office) == [("!r", INVITE, "published")]


@pytest.mark.parametrize(
    "said",
    [
        http(502, HTML),
        refusal(502, "M_UNKNOWN"),
        http(500, b""),
        refusal(403, "M_FORBIDDEN"),
        refusal(400, "M_INVALID_PARAM"),
        refusal(404, "M_NOT_FOUND"),
    ],
    ids=["502", "M_502", "500", "403", "400", "404"],
)
async def test_any_refused_invite_is_remembered(office: Office, said: bytes) -> None:
    """A dead server of an owner says 502, and will for long."""
    office.server.script = [said]
    other = step("!s", INVITE, {"membership": "invite"})
    assert results(await office.publish(ASK, other)) == [Result.FAILED] * 2
    assert noted(office) == [("!r", INVITE, "refused"), ("!s", INVITE, "refused")]


@pytest.mark.parametrize(
    "said",
    [
        refusal(401, "M_UNKNOWN_TOKEN"),
        refusal(401, "M_UNKNOWN_TOKEN", soft_logout=True),
        refusal(403, "M_USER_DEACTIVATED"),
        RESET,
        http(200, b'{"event_id": ', length=13),
    ],
    ids=["401", "soft", "deactivated", "reset", "cut"],
)
@pytest.mark.parametrize("first", [BIND, ASK], ids=["a put", "an invite"])
async def test_what_stops_everything_stops_the_run(
    office: Office, first: Change, said: bytes
) -> None:
    """The step failed and is not remembered, the rest waits, nothing more is asked."""
    office.server.script = [said]
    later = [step("!z", INVITE, {}), step("!zz", INVITE, {})]
    office.memory.rows |= {name: CHAT._replace(room_id=name) for name in ("!z", "!zz")}
    outcomes = await office.publish(*later, first)
    waiting = Result.WAITING
    assert results(outcomes) == [waiting, waiting, Result.FAILED]
    assert len(office.asked) == 1
    assert office.memory.notes == []


async def test_a_dead_server_stops_the_run() -> None:
    """Nobody listens there."""
    office = Office(Server(url="http://127.0.0.1:1"))
    outcomes = await office.publish(*EACH.values())
    assert results(outcomes) == [Result.FAILED] + [Result.WAITING] * 3
    assert office.memory.notes == []


async def test_what_stopped_in_the_middle_keeps_what_was_done(office: Office) -> None:
    """Published, failed, waiting."""
    office.server.script = [DONE, RESET]
    outcomes = await office.publish(ASK, LINK, BIND)
    assert results(outcomes) == [Result.WAITING, Result.FAILED, Result.PUBLISHED]
    assert noted(office) == [("!r", BINDING, "published")]


@pytest.mark.parametrize(
    ("error", "of_a_put"),
    [
        (Forbidden("no", status=403), True),
        (Unexpected("large", status=413), True),
        (NotAHomeserver("large", status=413), True),
        (ServerFault("fault", status=500), False),
        (NotFound("nothing", status=404), False),
        (Unexpected("odd", status=400), False),
    ],
)
def test_what_a_refusal_is(error: WireError, of_a_put: bool) -> None:
    """Of an invite, anything; of a state event, what trying again would not help."""
    assert is_refusal(INVITE, error)
    assert is_refusal(BINDING, error) is of_a_put
    assert is_refusal(f"{CHILD}|!r", error) is of_a_put


# --- stale steps --------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "row"),
    [
        (BIND, CHAT._replace(platform_chat_id="p2")),
        (BIND, CHAT._replace(platform_chat_id=None)),
        (WRITE_DOWN, CHAT._replace(platform_chat_id="p2")),
        (WRITE_DOWN, CHAT._replace(chat_id="C2")),
        (WRITE_DOWN, CHAT._replace(matrix_user_id="@bob:hs")),
        (WRITE_DOWN, CHAT._replace(room_type="space")),
        (LINK, CHAT._replace(space_id="!other")),
        (LINK, CHAT._replace(space_id=None)),
        (LINK, CHAT._replace(status="detached", reason="unlinked")),
        (LINK, CHAT._replace(status="unknown")),
        (ASK, CHAT._replace(matrix_user_id="@bob:hs")),
        (ASK, CHAT._replace(status="detached", reason="owner_left")),
        (ASK, CHAT._replace(status="unknown")),
    ],
)
async def test_a_step_whose_row_says_something_else_by_now_is_stale(
    office: Office, one: Change, row: Row
) -> None:
    """Nothing is sent or noted, and the others go on."""
    office.memory.rows["!r"] = row
    other = step("!s", BINDING, {"v": 1, "kind": "space", "owner": ALICE})
    outcomes = await office.publish(one, other)
    assert results(outcomes) == [Result.STALE, Result.PUBLISHED]
    assert outcomes[0].detail
    assert office.asked == [("PUT", f"!s/state/{TYPES.binding}/{ME}")]
    assert noted(office) == [("!s", BINDING, "published")]


@pytest.mark.parametrize("one", EACH.values(), ids=EACH)
async def test_a_step_without_a_row_is_stale(office: Office, one: Change) -> None:
    """Of a link, the row is the chat's."""
    del office.memory.rows["!r"]
    assert results(await office.publish(one)) == [Result.STALE]
    assert office.asked == []


@pytest.mark.parametrize(
    ("one", "row"),
    [
        (BIND, CHAT._replace(status="detached", reason="unlinked")),
        (BIND, CHAT._replace(name="News", space_id=None, chat_id="C7")),
        (WRITE_DOWN, CHAT._replace(status="detached", reason="owner_left")),
        (WRITE_DOWN, CHAT._replace(status="pending", name="News")),
        (LINK, CHAT._replace(status="pending", platform_chat_id="p2")),
        (ASK, CHAT._replace(status="pending", space_id=None)),
        (LINK, CHAT._replace(revision=9)),
    ],
)
async def test_a_change_that_a_step_does_not_speak_of_leaves_it_be(
    office: Office, one: Change, row: Row
) -> None:
    """A record is written whatever the room's status."""
    office.memory.rows["!r"] = row
    assert results(await office.publish(one)) == [Result.PUBLISHED]


async def test_a_link_needs_no_row_of_the_space(office: Office) -> None:
    """The chat's says where it belongs."""
    del office.memory.rows["!s"]
    assert results(await office.publish(LINK)) == [Result.PUBLISHED]


# --- what Matrix says by now ---------------------------------------------------


def stands(field: str, content: Any) -> list[dict[str, Any]]:
    kind, key = field.split("|", 1)
    other = {"type": kind, "state_key": "another", "content": {"other": True}}
    return [other, {"type": kind, "state_key": key, "content": content}]


@pytest.mark.parametrize("one", EACH.values(), ids=EACH)
@pytest.mark.parametrize("meanwhile", [{}, {"membership": "leave"}, {"via": ["hs"]}])
async def test_what_was_decided_since_the_look_is_not_undone(
    office: Office, one: Change, meanwhile: Any
) -> None:
    """An event that was not there when it was looked at stays as it is."""
    office.state = stands(event(one)[1], meanwhile)
    assert results(await office.publish(one)) == [Result.STALE]
    assert (office.asked, office.memory.notes) == ([], [])


async def test_what_is_to_be_replaced_is_replaced_if_it_is_as_it_was(
    office: Office,
) -> None:
    """A damaged record is written anew; one that changed meanwhile is looked at first."""
    damaged = Resource({BINDING: {"v": "?"}})
    one = Change(WRITE_DOWN.key, Action.PUBLISH, damaged, WRITE_DOWN.new)
    office.state = stands(BINDING, {"v": 1, "platform_chat_id": "after a reset"})
    assert results(await office.publish(one)) == [Result.STALE]
    office.state = stands(BINDING, {"v": "?"})
    assert results(await office.publish(one)) == [Result.PUBLISHED]


@pytest.mark.parametrize("one", EACH.values(), ids=EACH)
async def test_a_room_that_cannot_be_looked_at_is_left_alone(
    office: Office, one: Change
) -> None:
    """Nothing is sent, and no refusal is noted: it may be as it was."""
    office.state = Forbidden("no", status=403)
    assert results(await office.publish(one)) == [Result.FAILED]
    assert (office.asked, office.memory.notes) == ([], [])
