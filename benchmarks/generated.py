"""A generated world, and a wire that shows it: what a pass costs without any server.

The same rooms every time, as Synapse would answer a sliding sync of all of them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from adapter.matrix.channels import WINDOW
from adapter.matrix.wire import Whoami, joined

ME: Final = "@bot:hs.test"
SERVER: Final = "hs.test"
CHATS: Final = 5
"""Of each Space."""
AGE: Final = 1_700_000_000_000
"""When the first event happened, in ms."""


class Windows(NamedTuple):
    """The answers of a server to a sliding sync of everything, in one file, and beside it
    that to /joined_rooms."""

    path: Path
    starts: tuple[int, ...]
    rooms: int

    @property
    def joined(self) -> Path:
        return self.path.with_suffix(".joined")

    def bodies(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for start, end in zip(self.starts, self.starts[1:], strict=False):
                file.seek(start)
                yield file.read(end - start)


class Scribe:
    """Writes state events as Synapse shows them."""

    def __init__(self, seed: int = 5) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same world every time
        self._count = 0

    def id(self, sigil: str) -> str:
        digits = self._random.choices(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=43
        )
        return sigil + "".join(digits)

    def room(self, number: int) -> str:
        """One in four has an id of room version 12, without a server."""
        return self.id("!") if number % 4 == 0 else f"!{self.id('')[:18]}:{SERVER}"

    def event(
        self, kind: str, key: str, sender: str, content: dict[str, Any]
    ) -> dict[str, Any]:
        self._count += 1
        unsigned: dict[str, Any] = {"age": 12345 + self._count}
        if content.get("membership") == "join" and sender != ME:
            unsigned["replaces_state"] = self.id("$")
            unsigned["prev_sender"] = ME
            unsigned["prev_content"] = {**content, "membership": "invite"}
        return {
            "type": kind,
            "state_key": key,
            "sender": sender,
            "content": content,
            "event_id": self.id("$"),
            "origin_server_ts": AGE + self._count * 7,
            "unsigned": unsigned,
        }

    def state(  # noqa: PLR0913 - what a room's create event may say
        self,
        owner: str,
        name: str,
        *,
        creator: str = ME,
        room_type: str | None = None,
        identity: dict[str, Any] | None = None,
        predecessor: str | None = None,
    ) -> list[dict[str, Any]]:
        content: dict[str, Any] = {"room_version": "11", "creator": creator}
        if room_type:
            content["type"] = room_type
        if identity:
            content["io.spacekeeper.identity"] = identity
        if predecessor:
            content["predecessor"] = {"room_id": predecessor}
        return [
            self.event("m.room.create", "", creator, content),
            self.member(ME),
            self.member(owner),
            self.event("m.room.name", "", creator, {"name": name}),
        ]

    def member(self, user: str) -> dict[str, Any]:
        content = {"membership": "join", "displayname": user[1:].partition(":")[0]}
        return self.event("m.room.member", user, user, content)

    def child(self, room: str) -> dict[str, Any]:
        return self.event("m.space.child", room, ME, {"via": [SERVER]})


def world(rooms: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Owners with a Space and five chats each, as rooms with their state.

    Of a hundred owners, five are legacy (their rooms say nothing of themselves), two
    have an upgraded chat, one a chat unlinked, and one is in a foreign room."""
    scribe, made, number = Scribe(), 0, 0
    while made < rooms:
        number += 1
        for room_id, state in _home(scribe, number):
            if made < rooms:
                made += 1
                yield room_id, state


def _home(scribe: Scribe, number: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    owner, special = f"@user{number}:{SERVER}", number % 100
    marked = special >= 5
    who = {"v": 1, "owner": owner}
    identity = {**who, "kind": "space"} if marked else None
    space = scribe.state(
        owner, f"User {number}", room_type="m.space", identity=identity
    )
    for count in range(1, CHATS + 1):
        chat = scribe.room(number + count)
        identity = {
            **who,
            "kind": "chat",
            "chat_id": f"C{count}",
            "platform_chat_id": f"{number:08x}-0000-4000-8000-{count:012x}",
            "request": f"{number:08x}-0000-5000-8000-{count:012x}",
        }
        state = scribe.state(
            owner, f"Chat {count}", identity=identity if marked else None
        )
        space.append(scribe.child(chat))
        if special in {10, 11} and count == 1:
            newer = scribe.room(number)
            moved = {"replacement_room": newer, "body": "moved"}
            state.append(scribe.event("m.room.tombstone", "", ME, moved))
            yield newer, scribe.state(owner, "Chat 1", predecessor=chat)
        if special == 12 and count == 2:
            space[-1]["content"] = {}
        yield chat, state
    yield scribe.room(number), space
    if special == 13:
        yield scribe.room(number), scribe.state(owner, "Foreign", creator=owner)


def written(rooms: int, path: Path) -> Windows:
    """Write the world as a server would answer."""
    starts, batch = [0], {}
    joined: list[str] = []
    with path.open("wb") as file:
        for number, (room_id, state) in enumerate(world(rooms), 1):
            joined.append(room_id)
            batch[room_id] = {
                "name": "x",
                "initial": True,
                "required_state": state,
                "joined_count": 2,
                "bump_stamp": number,
            }
            if number % WINDOW == 0 or number == rooms:
                body = {
                    "pos": str(number),
                    "lists": {"all": {"count": rooms}},
                    "rooms": batch,
                }
                file.write(orjson.dumps(body))
                starts.append(file.tell())
                batch = {}
    made = Windows(path, tuple(starts), rooms)
    made.joined.write_bytes(orjson.dumps({"joined_rooms": joined}))
    return made


def kept(rooms: int, folder: Path) -> Windows:
    """What an earlier part of a run wrote into the folder, or written now."""
    path, marks = folder / f"{rooms}-rooms.json", folder / f"{rooms}-rooms.marks"
    if marks.exists():
        return Windows(path, tuple(orjson.loads(marks.read_bytes())), rooms)
    made = written(rooms, path)
    marks.write_bytes(orjson.dumps(made.starts))
    return made


class CannedWire:
    """A wire that answers from the file, as far as a first pass asks."""

    origin = "https://hs.test"

    def __init__(self, windows: Windows) -> None:
        self.requests = self.received = 0
        self._windows = windows
        self._bodies = windows.bodies()
        self._renamed: dict[str, list[dict[str, Any]]] = {}

    async def live_token(self) -> str:
        return "s1"

    async def whoami(self) -> Whoami:
        return Whoami(ME, "D")

    async def supports_sliding_sync(self) -> bool:
        return True

    async def joined_rooms(self) -> frozenset[str]:
        found = orjson.loads(self._windows.joined.read_bytes())
        return await asyncio.to_thread(joined, found)  # as the wire does

    async def state(self, room_id: str) -> list[dict[str, Any]]:
        """Of a room that was renamed."""
        return self._renamed[room_id]

    def rename(self, name: str) -> str:
        """From now on the first chat of all is called so; which that is."""
        rooms = orjson.loads(next(self._windows.bodies()))["rooms"]
        chats = {
            room_id: room["required_state"]
            for room_id, room in rooms.items()
            if "type" not in room["required_state"][0]["content"]
        }
        room_id: str = next(iter(chats))
        renamed = {"content": {"name": name}, "event_id": f"${name}"}
        self._renamed[room_id] = [
            event | renamed if event["type"] == "m.room.name" else event
            for event in chats[room_id]
        ]
        return room_id

    async def sliding_sync(self, body: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0)
        self.requests += 1
        content = next(self._bodies)
        self.received += len(content)
        return orjson.loads(content)

    async def changes(self, since: str, sync_filter: Mapping[str, Any]) -> Any:
        """Nothing ever happens here."""
        del sync_filter
        return {"next_batch": since}
