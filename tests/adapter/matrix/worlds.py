"""Random worlds: a homeserver as a value, changed by small operations.

It speaks raw events, as a server does, so that the parser of facts is part of every
property. Nothing here knows a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from adapter.matrix.desired import Desired
from adapter.matrix.facts import EventTypes, Facts, fact
from adapter.matrix.rows import Row, topology
from controller.diff import diff
from controller.model import Key, Resource, Topology

ME = "@bot:hs"
OWNERS = ("@alice:hs", "@bob:hs", "@carol:hs")
GUEST = "@guest:elsewhere"
PEOPLE = (*OWNERS, GUEST)
TYPES = EventTypes()

Event = dict[str, Any]


@dataclass
class World:
    """Rooms as their current state: room id -> (type, state key) -> event."""

    rooms: dict[str, dict[tuple[str, str], Event]] = field(default_factory=dict)
    clock: int = 0

    def put(
        self, room: str, sender: str, kind: str, key: str, content: dict[str, Any]
    ) -> None:
        self.clock += 1
        self.rooms[room][kind, key] = {
            "type": kind,
            "state_key": key,
            "sender": sender,
            "content": content,
            "event_id": f"$e{self.clock}",
            # Coarse, so that ties are common.
            "origin_server_ts": self.clock // 4,
        }

    def create(
        self,
        creator: str = ME,
        room_type: str | None = None,
        identity: Any = None,
        predecessor: str | None = None,
    ) -> str:
        # Not in order of making: a room id says nothing about age.
        room = f"!r{(self.clock * 7919) % 1009:04}x{len(self.rooms)}"
        self.rooms[room] = {}
        content: dict[str, Any] = {"room_version": "11"}
        if room_type:
            content["type"] = room_type
        if identity is not None:
            content[TYPES.identity] = identity
        if predecessor:
            content["predecessor"] = {"room_id": predecessor}
        self.put(room, creator, "m.room.create", "", content)
        self.member(room, creator, "join", creator)
        self.member(room, ME, "join", ME)
        return room

    def member(self, room: str, user: str, membership: str, by: str) -> None:
        self.put(room, by, "m.room.member", user, {"membership": membership})

    def child(self, space: str, room: str, content: dict[str, Any], by: str) -> None:
        self.put(space, by, "m.space.child", room, content)

    def content(self, room: str, kind: str, key: str = "") -> Any:
        event = self.rooms[room].get((kind, key))
        return event["content"] if event else None

    # What a bot makes, whole.

    def space(self, owner: str, *, named: bool = True, joined: bool = True) -> str:
        """A Space of `owner`; `named` by an identity, or legacy."""
        identity = {"v": 1, "kind": "space", "owner": owner}
        room = self.create(room_type="m.space", identity=identity if named else None)
        if joined:
            self.welcome(room, owner)
        return room

    def chat(
        self,
        owner: str,
        number: int,
        space: str | None = None,
        *,
        named: bool = True,
        joined: bool = True,
    ) -> str:
        """A chat of `owner`, linked into `space`; `named` by an identity, or legacy."""
        identity = {
            "v": 1,
            "kind": "chat",
            "owner": owner,
            "chat_id": f"C{number}",
            "platform_chat_id": platform(owner, number),
        }
        room = self.create(identity=identity if named else None)
        if joined:
            self.welcome(room, owner)
        if space:
            self.child(space, room, {"via": ["hs"]}, ME)
        return room

    def welcome(self, room: str, user: str) -> None:
        """Invite somebody, who comes."""
        self.member(room, user, "invite", ME)
        self.member(room, user, "join", user)

    def upgrade(self, old: str, creator: str = ME) -> str:
        """Replace a room, as a server does it: type and children move, nobody else."""
        before = self.rooms[old]
        room_type = before["m.room.create", ""]["content"].get("type")
        new = self.create(creator, room_type, predecessor=old)
        self.put(old, creator, "m.room.tombstone", "", {"replacement_room": new})
        for (kind, key), event in list(before.items()):
            if kind == "m.space.child" and event["content"].get("via"):
                self.child(new, key, event["content"], creator)
        return new

    def facts(self) -> Facts:
        rooms = {
            room: fact(room, state.values(), ME) for room, state in self.rooms.items()
        }
        joined = frozenset(
            room
            for room in self.rooms
            if self.content(room, "m.room.member", ME) == {"membership": "join"}
        )
        return Facts(rooms, joined)

    def publish(self, desired: Desired) -> None:
        """Write the bot's own state events, as the Matrix target would."""
        for change in diff(desired.own_have, desired.own_want):
            assert change.new is not None
            for name, content in change.new.fields.items():
                kind, key = name.split("|", 1)
                self.put(change.key.name, ME, kind, key, dict(content))


def platform(owner: str, number: int) -> str:
    """The conversation that `World.chat` names."""
    return f"{owner[1:].partition(':')[0]}-{number}"


def rows(found: Topology) -> dict[str, Row]:
    """The rows that a cache holds after `found` was written to it."""
    return {
        key.name: Row(room_id=key.name, **dict(resource.fields))
        for key, resource in found.items()
    }


def resources(found: Mapping[str, Row]) -> dict[Key, Resource]:
    return topology(found)


# --- operations --------------------------------------------------------------

OPERATIONS = (
    "space", "space", "chat", "chat", "chat", "chat", "twin", "link", "link", "empty",
    "member", "member", "bot", "upgrade", "upgrade", "tombstone", "rebind", "redact",
    "foreign", "name", "hook",
)  # fmt: skip

STEP = st.tuples(
    st.sampled_from(OPERATIONS), st.integers(0, 7), st.integers(0, 7), st.integers(0, 7)
)


def worlds(max_size: int = 22) -> st.SearchStrategy[World]:
    return st.lists(STEP, min_size=2, max_size=max_size).map(build)


def build(steps: Iterable[tuple[str, int, int, int]]) -> World:
    world = World()
    for step in steps:
        take(world, step)
    return world


def take(world: World, step: tuple[str, int, int, int]) -> None:
    """Change the world by one operation; one that has nothing to work on does nothing."""
    name, a, b, c = step
    _STEPS[name](world, a, b, c)


def _pick(found: list[str], index: int) -> str | None:
    return found[index % len(found)] if found else None


def _of_type(world: World, room_type: str | None) -> list[str]:
    return [
        room
        for room in world.rooms
        if world.content(room, "m.room.create").get("type") == room_type
    ]


def _invite(world: World, room: str, owner: str, how: int) -> None:
    if how % 4 == 3:
        return
    world.member(room, owner, "invite", ME)
    if how % 4 < 2:
        world.member(room, owner, "join", owner)


def _space(world: World, a: int, b: int, c: int) -> None:
    owner = OWNERS[a % 3]
    marked = b % 3
    identity = {"v": 1, "kind": "space", "owner": owner} if marked else None
    if b == 7:
        identity = {"v": 2, "kind": "space", "owner": owner}
    room = world.create(room_type="m.space", identity=identity)
    _invite(world, room, owner, c)
    if c == 7:
        world.member(room, GUEST, "join", GUEST)


def _chat(world: World, a: int, b: int, c: int) -> None:
    owner = OWNERS[a % 3]
    number = 1 + sum(1 for _ in _of_type(world, None))
    full = {
        "v": 1,
        "kind": "chat",
        "owner": owner,
        "chat_id": f"C{number}",
        "platform_chat_id": f"p{number}",
        "request": "q",
    }
    identity: Any = full if b < 4 else None
    if b == 6:
        identity = {**full, "v": 2}
    if b == 7:
        identity = {**full, "owner": 5}
    room = world.create(identity=identity)
    if b == 5:
        world.put(room, ME, TYPES.binding, ME, full)
    _invite(world, room, owner, c)
    space = _pick(_of_type(world, "m.space"), a)
    if space and c != 5:
        world.child(space, room, {"via": ["hs"]}, ME)


def _twin(world: World, a: int, b: int, _: int) -> None:
    """Another room with the identity of an existing one, as two instances make it."""
    twin = _pick(list(world.rooms), a)
    if twin is None:
        return
    content = world.content(twin, "m.room.create")
    identity = content.get(TYPES.identity)
    room = world.create(room_type=content.get("type"), identity=identity)
    if isinstance(identity, dict) and isinstance(identity.get("owner"), str):
        _invite(world, room, identity["owner"], b)


def _link(world: World, a: int, b: int, c: int) -> None:
    space, room = _pick(_of_type(world, "m.space"), a), _pick(list(world.rooms), b)
    if space and room:
        by = PEOPLE[c % 4] if c > 4 else ME
        order = {"order": chr(97 + c)} if c % 2 else {}
        world.child(space, room, {"via": ["hs"], **order}, by)


def _empty(world: World, a: int, b: int, c: int) -> None:
    space, room = _pick(_of_type(world, "m.space"), a), _pick(list(world.rooms), b)
    if space and room:
        world.child(space, room, {}, ME if c % 2 else PEOPLE[c % 4])


def _member(world: World, a: int, b: int, c: int) -> None:
    room = _pick(list(world.rooms), a)
    if room:
        user = PEOPLE[b % 4]
        membership = ("join", "leave", "ban", "invite")[c % 4]
        world.member(room, user, membership, user if c < 4 else ME)


def _bot(world: World, a: int, b: int, _: int) -> None:
    room = _pick(list(world.rooms), a)
    if room:
        membership, by = (
            ("leave", ME),
            ("leave", PEOPLE[0]),
            ("ban", PEOPLE[0]),
            ("join", ME),
        )[b % 4]
        world.member(room, ME, membership, by)


def _upgrade(world: World, a: int, b: int, c: int) -> None:
    """By the bot, as Synapse does it: children copied, members and markers not."""
    old = _pick(list(world.rooms), a)
    if old is None or world.content(old, "m.room.tombstone"):
        return
    room_type = world.content(old, "m.room.create").get("type")
    identity = world.content(old, "m.room.create").get(TYPES.identity)
    creator = ME if b < 6 else PEOPLE[0]
    new = world.create(
        creator, room_type, identity if c == 7 else None, predecessor=old
    )
    world.put(old, creator, "m.room.tombstone", "", {"replacement_room": new})
    for (kind, key), event in list(world.rooms[old].items()):
        if kind == "m.space.child" and event["content"].get("via") and b % 2:
            world.child(new, key, event["content"], creator)
    if c < 2:
        world.member(new, OWNERS[c], "invite", ME)
        world.member(new, OWNERS[c], "join", OWNERS[c])


def _tombstone(world: World, a: int, b: int, c: int) -> None:
    room, target = _pick(list(world.rooms), a), _pick(list(world.rooms), b)
    if room and target:
        content = {"replacement_room": target} if c else {}
        world.put(room, PEOPLE[c % 4], "m.room.tombstone", "", content)


def _rebind(world: World, a: int, b: int, c: int) -> None:
    room = _pick(_of_type(world, None), a)
    if room is None:
        return
    if world.content(room, "m.room.create").get(TYPES.identity) is None and c < 4:
        return
    content: dict[str, Any] = {"v": 1, "platform_chat_id": f"p{b}"}
    if c == 6:
        content["v"] = 3
    if c == 7:
        content = {"v": "x"}
    world.put(room, ME, TYPES.binding, ME, content)


def _redact(world: World, a: int, b: int, _: int) -> None:
    room = _pick(list(world.rooms), a)
    if room is None:
        return
    state = world.rooms[room]
    kinds = [key for key in state if key[0] in {TYPES.binding, "m.space.child"}]
    if kinds:
        chosen = kinds[b % len(kinds)]
        state[chosen] = {**state[chosen], "content": {}}


def _foreign(world: World, a: int, b: int, _: int) -> None:
    owner = PEOPLE[a % 4]
    identity = {"v": 1, "kind": "space", "owner": owner} if b % 2 else None
    room = world.create(
        owner, ("m.space", None, "com.example.odd")[b % 3], identity=identity
    )
    chat = _pick(_of_type(world, None), a)
    if chat:
        world.child(room, chat, {"via": ["hs"]}, owner)


def _name(world: World, a: int, b: int, _: int) -> None:
    room = _pick(list(world.rooms), a)
    if room:
        world.put(room, PEOPLE[b % 4], "m.room.name", "", {"name": f"n{b}"})


def _hook(world: World, a: int, b: int, _: int) -> None:
    """A guest of a chat links it into a Space of their own that the bot made."""
    room, user = _pick(_of_type(world, None), a), PEOPLE[b % 4]
    if room:
        world.member(room, user, "join", user)
        for space in _of_type(world, "m.space")[:2]:
            world.child(space, room, {"via": ["hs"]}, user)


_STEPS = {
    "space": _space, "chat": _chat, "twin": _twin, "link": _link, "empty": _empty,
    "member": _member, "bot": _bot, "upgrade": _upgrade, "tombstone": _tombstone,
    "rebind": _rebind, "redact": _redact, "foreign": _foreign, "name": _name,
    "hook": _hook,
}  # fmt: skip
