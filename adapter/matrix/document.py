"""A topology as a document, and back (pure): what people and programs pass around.

`spec` says what is, `status` how it was seen. The same world makes the same bytes,
whoever looks and whenever, as far as `spec` and its digest go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from adapter.matrix.desired import Desired, Finding
from adapter.matrix.rows import FIELDS, SPACE, Row, topology
from adapter.plain_text import HALVES, whole
from adapter.strict_yaml import StrictYamlError, dump, load
from controller.diff import diff
from controller.model import DETACHED, Change, Key, Resource, Topology

API_VERSION = "spacekeeper/v1"
KIND = "Topology"

KEEPS_PLACE = frozenset({"owner_left", "owner_banned"})
"""Why a Space may be detached and still hold its owner's place."""


class DocumentError(ValueError):
    """The text is no document: one sentence that says why."""


def document(
    desired: Desired,
    *,
    account: str,
    homeserver: str,
    complete: bool,
    observed_at: datetime | int | None,
) -> dict[str, Any]:
    """Write `desired` as a document. `observed_at` in ms, or `None`: never looked.

    Halves of surrogate pairs, which no file can hold, become U+FFFD."""
    spec = {
        "rooms": {
            whole(key.name): _fields(resource)
            for key, resource in sorted(desired.rooms.items())
        },
        "users": {
            whole(user): {"space_id": whole(space)}
            for user, space in sorted(desired.users.items())
        },
    }
    status: dict[str, Any] = {
        "complete": complete,
        "findings": [
            finding(found)
            for found in sorted(desired.findings, key=attrgetter("place"))
        ],
    }
    if observed_at is not None:
        status["observed_at"] = timestamp(observed_at)
    status["unknown"] = {
        whole(room): whole(why) for room, why in sorted(desired.unknown.items())
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "account": whole(account),
            "digest": digest(spec),
            "homeserver": whole(homeserver),
        },
        "spec": spec,
        "status": status,
    }


def digest(spec: Mapping[str, Any]) -> str:
    """Hash `spec` as compact, key-sorted JSON. Any text at all can be hashed."""
    text = json.dumps(
        spec, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=dict
    )
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def rows(document: Mapping[str, Any]) -> dict[str, Row]:
    """Read the rooms of a valid document as rows. What a row has no column for is left.

    Raises `DocumentError` where the document is not shaped like one."""
    return {
        room_id: Row(
            room_id,
            **{name: room.get(name) for name in FIELDS if name in _mapping(room)},
        )
        for room_id, room in _part(document, "rooms").items()
    }


def users(document: Mapping[str, Any]) -> dict[str, str]:
    """Read who has which Space from a valid document."""
    return {
        user: _mapping(place).get("space_id", "")
        for user, place in _part(document, "users").items()
    }


def places(rows: Mapping[str, Row]) -> dict[str, str]:
    """Say which Space holds each owner's place, as far as rows alone can tell."""
    spaces = [
        row
        for row in rows.values()
        if row.room_type == SPACE
        and row.matrix_user_id is not None
        and (row.status != DETACHED or row.reason in KEEPS_PLACE)
    ]
    # The best last, where it overwrites: in use before left, then the lower id.
    spaces.sort(key=lambda row: row.room_id, reverse=True)
    spaces.sort(key=lambda row: row.status != DETACHED)
    return {str(row.matrix_user_id): row.room_id for row in spaces}


def documents_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Say what turns the topology of one document into that of another.

    Whose document it is and how it was seen does not matter."""
    return list(diff(_everything(old), _everything(new)))


def to_yaml(document: Mapping[str, Any]) -> str:
    """Write a document for people: the same document, the same bytes."""
    return dump(document)


def to_json(document: Mapping[str, Any]) -> str:
    """Write a document for programs: ASCII alone, as it may end up on a terminal."""
    text = json.dumps(document, indent=2, sort_keys=True, default=dict)
    return text.replace("\x7f", "\\u007f") + "\n"


def from_text(text: str) -> dict[str, Any]:
    """Read a document from YAML or JSON. It is a mapping then; whether it is valid,
    `schemas.problems("topology", ...)` says.

    Read strictly: whatever is doubled, refers to something else or is no plain data
    is refused, and nothing in `text` can make this slow."""
    try:
        found = _read_json(text) if text.lstrip()[:1] == "{" else None
        if found is None:
            found = load(text)
    except StrictYamlError as exc:
        msg = f"it cannot be read: {exc}"
        raise DocumentError(msg) from exc
    if not isinstance(found, dict):
        msg = "expected apiVersion, kind, metadata and spec in it"
        raise DocumentError(msg)
    return found


def timestamp(at: datetime | int) -> str:
    """Write a time, of ms since 1970 or with a zone, as UTC to the second."""
    when = datetime.fromtimestamp(at // 1000, UTC) if isinstance(at, int) else at
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def finding(found: Finding) -> dict[str, str]:
    """Write a finding as documents and plans show it."""
    shown = {"code": found.code, "message": whole(found.message), "room": found.room}
    if found.cause is not None and found.cause.event_id:
        shown["evidence"] = whole(found.cause.event_id)
    return dict(sorted(shown.items()))


def _fields(resource: Resource) -> dict[str, Any]:
    return {
        name: whole(value) if isinstance(value, str) else value
        for name, value in sorted(resource.fields.items())
        if value is not None
    }


def _everything(document: Mapping[str, Any]) -> Topology:
    owners = users(document).items()
    return {
        **topology(rows(document)),
        **{Key("user", user): Resource({"space_id": space}) for user, space in owners},
    }


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(document.get("spec")).get(name, {}))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        msg = (
            "its spec is not shaped like a topology: `spacekeeper validate` says where"
        )
        raise DocumentError(msg)
    return value


def _read_json(text: str) -> Any:
    """Read JSON, or return `None` for what may still be YAML's own braces."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (json.JSONDecodeError, RecursionError):
        return None
    except ValueError as exc:
        raise _unreadable(str(exc)) from exc
    # An escape may spell what the text itself cannot hold.
    if "\\u" in text and HALVES.search(json.dumps(found, ensure_ascii=False)):
        why = "it holds half of a surrogate pair"
        raise _unreadable(why)
    return found


def _unreadable(why: str) -> DocumentError:
    return DocumentError(f"it cannot be read: {why}")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f"the key {json.dumps(key)} is in it twice"
            raise ValueError(msg)
        found[key] = value
    return found


def _no_number(word: str) -> Any:
    msg = f"{word} is no number in JSON"
    raise ValueError(msg)
