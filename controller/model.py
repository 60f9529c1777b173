"""The values that everything else passes around: keys, resources, changes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

DETACHED = "detached"
"""The value of a resource's field `status` that says: given up, but not forgotten."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Key(NamedTuple):
    """What a resource is called; keys order first by kind, then by name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Cause(NamedTuple):
    """What in the observed world stands behind a field: who, by which event, when (ms)."""

    sender: str
    event_id: str
    at: int


class Resource(NamedTuple):
    """One thing of a topology. Two resources are equal when their `fields` are.

    An absent value has no key in `fields`; `None` is never stored. `revision` is
    what a target compares before it swaps; `causes` say where a field comes from.
    """

    fields: Mapping[str, Any]
    revision: int = 0
    causes: Mapping[str, Cause] = NOTHING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and self.fields == other.fields

    def __ne__(self, other: object) -> bool:
        return not self == other


Topology = Mapping[Key, Resource]


class Action(StrEnum):
    """What a change does. Nothing is ever deleted: it is detached, and can be restored."""

    CREATE = "create"
    UPDATE = "update"
    DETACH = "detach"
    RESTORE = "restore"
    PUBLISH = "publish"


class Fields(NamedTuple):
    """One field on both sides of a change; `None` is absence."""

    old: Any
    new: Any


class Change(NamedTuple):
    """The step from `old` to `new` at `key`; `None` is absence, and never on both sides."""

    key: Key
    action: Action
    old: Resource | None
    new: Resource | None

    @property
    def fields(self) -> dict[str, Fields]:
        """The fields that differ, by name, in order."""
        old = self.old.fields if self.old else NOTHING
        new = self.new.fields if self.new else NOTHING
        return {
            name: Fields(old.get(name), new.get(name))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        }

    @property
    def cause(self) -> Cause | None:
        """The newest event behind the changed fields, if any is known."""
        known = self.new.causes if self.new else NOTHING
        causes = [known[name] for name in self.fields if name in known]
        return max(causes, key=lambda cause: (cause.at, cause.event_id), default=None)

    @property
    def reason(self) -> str:
        """Why, in a few words: the new resource's own `reason`, or what is different."""
        given = self.new.fields.get("reason") if self.new else None
        match self.action:
            case Action.DETACH:
                return str(given or "no longer there")
            case Action.CREATE:
                return str(given or "not known yet")
            case Action.RESTORE:
                return "there again"
            case Action.UPDATE | Action.PUBLISH:
                names = [*self.fields]
                return f"{', '.join(names)} differ{'s' if len(names) == 1 else ''}"
