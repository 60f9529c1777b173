"""What the bot's own side of a pass costs: no server, a generated world (rows 6 to 9).

    .venv/bin/python benchmarks/client_side.py [--rooms 100000] [--rounds 3]

Each row in a process of its own, beside what it is measured against, in turn. Times are
CPU seconds, medians of the rounds; only the block of the event loop is by the clock.
The garbage collector is kept out of both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
import yaml

from adapter.matrix.channels import WINDOW
from adapter.matrix.desired import Desired
from adapter.matrix.document import document, to_yaml
from adapter.matrix.facts import EventTypes
from adapter.matrix.following import Follower
from adapter.matrix.reconciler import Reconciler
from adapter.matrix.rows import Row, topology
from adapter.matrix.settings import ReconcileSettings
from adapter.matrix.store import Store
from adapter.matrix.wire import Whoami, Wire
from controller.diff import diff
from controller.model import Key, Resource
from schemas import problems

ME, SERVER = "@bot:hs.test", "hs.test"
CHATS = 5
AGE = 1_700_000_000_000
BEAT = 0.005
"""Seconds between two signs of life of the event loop."""

Figures = dict[str, float]


# --- the world ---------------------------------------------------------------


class Windows(NamedTuple):
    """The answers of a server to a sliding sync of everything, in one file."""

    path: Path
    starts: tuple[int, ...]
    rooms: int

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
    with path.open("wb") as file:
        for number, (room_id, state) in enumerate(world(rooms), 1):
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
    return Windows(path, tuple(starts), rooms)


class CannedWire:
    """A wire that answers from the file, as far as a first pass asks."""

    origin = "https://hs.test"

    def __init__(self, windows: Windows) -> None:
        self.requests = self.received = 0
        self._joined: frozenset[str] = frozenset()
        self._windows = windows
        self._bodies = windows.bodies()

    async def live_token(self) -> str:
        return "s1"

    async def whoami(self) -> Whoami:
        return Whoami(ME, "D")

    async def supports_sliding_sync(self) -> bool:
        return True

    async def joined_rooms(self) -> frozenset[str]:
        return self._joined

    async def sliding_sync(self, body: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0)
        self.requests += 1
        content = next(self._bodies)
        self.received += len(content)
        return orjson.loads(content)

    def prepare(self) -> None:
        """Know the joined rooms, which is no part of what is measured."""
        ids: set[str] = set()
        for body in self._windows.bodies():
            ids.update(orjson.loads(body)["rooms"])
        self._joined = frozenset(ids)


# --- rows 6 and 7: a pass ----------------------------------------------------


def a_pass(windows: Windows, folder: Path) -> Figures:
    """A first pass over everything: CPU seconds, and the longest block of the loop."""
    wire = CannedWire(windows)
    wire.prepare()
    with unsearched():
        return asyncio.run(_a_pass(wire, folder))


async def _a_pass(wire: CannedWire, folder: Path) -> Figures:
    base = _memory("VmRSS")
    async with Store.open(folder / "pass.db", user_id=ME) as store:
        reconciler = Reconciler(
            cast("Wire", wire), store, ME, ReconcileSettings(), EventTypes()
        )
        follower = Follower(reconciler)
        async with _heartbeat() as beats:
            began, clock = time.process_time(), time.perf_counter()
            await follower.look_again()
            cpu, wall = time.process_time() - began, time.perf_counter() - clock
        ((rows,),) = await store.connection.fetch("SELECT count(*) FROM room_meta")
    return {
        "cpu": cpu,
        "wall": wall,
        "block_ms": max(late for late, _ in beats) * 1000,
        "block_cpu_ms": max(worked for _, worked in beats) * 1000,
        "memory": _memory("VmHWM") - base,
        "rows": rows,
    }


@contextlib.asynccontextmanager
async def _heartbeat() -> Any:
    """Measure how late the loop comes back to a task that only sleeps, by the clock and in
    CPU seconds of this process: other processes delay the one and not the other."""
    late: list[tuple[float, float]] = []

    async def beat() -> None:
        before, worked = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(BEAT)
            now, done = time.perf_counter(), time.process_time()
            late.append((now - before - BEAT, done - worked))
            before, worked = now, done

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    yield late
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """Nothing inside is searched for cycles: when that comes is chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def a_bare_pass(windows: Windows, folder: Path) -> Figures:
    """Read the same answers, compare as many rows as dicts, write them by one executemany.

    What should be in the rows is a gift here."""
    columns = Row._fields
    database = sqlite3.connect(folder / "pass.db")
    given = [
        dict(zip(columns, row, strict=True))
        for row in database.execute(
            f"SELECT {', '.join(columns)} FROM room_meta"  # noqa: S608 - constants
        )
    ]
    database.execute("DELETE FROM room_meta")
    database.commit()
    database.execute("VACUUM")
    want = {row["room_id"]: row for row in given}
    have = {room: {**row, "revision": 0} for room, row in want.items()}
    insert = (
        f"INSERT INTO room_meta ({', '.join(columns)})"  # noqa: S608 - constants
        f" VALUES ({', '.join('?' * len(columns))})"
    )
    with unsearched():
        began = time.process_time()
        for body in windows.bodies():
            orjson.loads(body)
        loaded = time.process_time()
        changed = [row for room, row in want.items() if have[room] != row]
        compared = time.process_time()
        with database:
            database.executemany(insert, [tuple(row.values()) for row in changed])
        ended = time.process_time()
    database.close()
    return {
        "cpu": ended - began,
        "loads": loaded - began,
        "compare": compared - loaded,
        "write": ended - compared,
    }


def parsed_size(windows: Windows) -> Figures:
    """How much memory the whole parsed payload takes."""
    base = _memory("VmRSS")
    held = [orjson.loads(body) for body in windows.bodies()]
    return {"memory": _memory("VmRSS") - base, "windows": len(held)}


def _memory(name: str) -> float:
    """MB of this process, now (VmRSS) or at its highest (VmHWM)."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise AssertionError(name)


# --- row 8: the diff ---------------------------------------------------------


def nested(count: int) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Two equal plain worlds with nested fields, but for one in a hundred."""

    def one(number: int) -> dict[str, Any]:
        return {
            "status": "active",
            "owner": f"@user{number}:hs",
            "links": [f"!{number}", f"!{number + 1}"],
            "via": {"servers": ["hs", "other"], "order": {"name": "a", "at": number}},
        }

    old = {("room", f"!room{n}"): one(n) for n in range(count)}
    new = {("room", f"!room{n}"): one(n) for n in range(count)}
    for number in range(0, count, 100):
        new["room", f"!room{number}"]["via"]["order"]["name"] = "b"
    return old, new


def the_diff(count: int) -> Figures:
    """The diff engine and the others on the same worlds: CPU seconds."""
    old, new = nested(count)
    have = {Key(*key): Resource(fields) for key, fields in old.items()}
    want = {Key(*key): Resource(fields) for key, fields in new.items()}
    expected = count // 100 + (count % 100 > 0)

    def plain() -> int:
        changed = [key for key, fields in new.items() if old.get(key) != fields]
        return len(changed) + len(old.keys() - new.keys())

    def ours() -> int:
        return len(list(diff(have, want)))

    found = {}
    for name, work in {"plain": plain, "ours": ours, **_others(old, new)}.items():
        gc.collect()
        began = time.process_time()
        got = work()
        found[name] = time.process_time() - began
        if name in {"plain", "ours"} and got != expected:
            msg = f"{name} found {got} of {expected}"
            raise AssertionError(msg)
    return found


def _others(old: dict[Any, Any], new: dict[Any, Any]) -> dict[str, Callable[[], int]]:
    """What else there is, as far as it is installed."""
    left = {name: fields for (_, name), fields in old.items()}
    right = {name: fields for (_, name), fields in new.items()}
    calls: dict[str, tuple[str, str, Callable[[Any], int]]] = {
        "kopf": ("kopf._cogs.structs.diffs", "diff", len),
        "dictdiffer": ("dictdiffer", "diff", lambda changes: len(list(changes))),
        "jsonpatch": ("jsonpatch", "make_patch", lambda patch: len(list(patch))),
        "deepdiff": ("deepdiff", "DeepDiff", len),
    }
    found: dict[str, Callable[[], int]] = {}
    for name, (module, function, size) in calls.items():
        with contextlib.suppress(ImportError):
            diff_of = getattr(import_module(module), function)
            found[name] = partial(lambda of, n: n(of(left, right)), diff_of, size)
    return found


# --- row 9: the export -------------------------------------------------------


def exported(database: Path) -> Figures:
    """Rows to valid YAML, beside PyYAML's C emitter with the document as a gift."""
    connection = sqlite3.connect(database)
    rows = {
        row[0]: Row(*row)
        for row in connection.execute(
            f"SELECT {', '.join(Row._fields)} FROM room_meta"  # noqa: S608 - constants
        )
    }
    connection.close()
    want = Desired(topology(rows))
    gc.collect()
    began = time.process_time()
    made = document(
        want, account=ME, homeserver="https://hs.test", complete=True, observed_at=0
    )
    documented = time.process_time()
    if found := problems("topology", made):
        raise AssertionError(found[:3])
    validated = time.process_time()
    text = to_yaml(made)
    ended = time.process_time()
    bare = yaml.dump(made, Dumper=yaml.CSafeDumper)
    return {
        "cpu": ended - began,
        "document": documented - began,
        "validate": validated - documented,
        "write": ended - validated,
        "bare": time.process_time() - ended,
        "bytes": len(text) + 0 * len(bare),
    }


# --- all of them -------------------------------------------------------------


def alone(work: Callable[..., Figures], *args: Any) -> Figures:
    """Run in a fresh process: no other row's heap, no other row's caches."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def medians(rounds: list[Figures]) -> Figures:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure(rooms: int, rounds: int) -> dict[str, Figures]:
    """Every row: the figures, and the ratio that its goal is about."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        windows = written(rooms, folder / "windows.json")
        passes, bares, diffs, exports = [], [], [], []
        for number in range(rounds):
            here = folder / str(number)
            here.mkdir()
            passes.append(alone(a_pass, windows, here))
            exports.append(alone(exported, here / "pass.db"))
            bares.append(alone(a_bare_pass, windows, here))
            diffs.append(alone(the_diff, rooms))
        size = alone(parsed_size, windows)
    done, bare, differ, export = map(medians, (passes, bares, diffs, exports))
    return {
        "pass": {**done, "ratio": done["cpu"] / bare["cpu"]},
        "bare pass": bare,
        "memory": {**size, "ratio": done["memory"] / size["memory"]},
        "block": {"ms": done["block_ms"]},
        "diff": {**differ, "ratio": differ["ours"] / differ["plain"]},
        "export": {**export, "ratio": export["cpu"] / export["bare"]},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for name, figures in measure(args.rooms, args.rounds).items():
        print(name, json.dumps({k: round(v, 3) for k, v in figures.items()}))
