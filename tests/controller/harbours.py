"""Random harbours: ships, lighthouses and berths, which no adapter has ever heard of.

Names and values come from small sets, so that two harbours overlap and ties are common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from controller.model import Action, Cause, Change, Key, Resource, Topology

KINDS = ("berth", "lighthouse", "ship")
FIELDS = ("cargo", "flag", "reason", "status")


def ship(name: str) -> Key:
    return Key("ship", name)


def resource(**fields: Any) -> Resource:
    return Resource(fields)


def change(
    name: str,
    old: Resource | None = None,
    new: Resource | None = None,
    action: Action = Action.UPDATE,
) -> Change:
    return Change(ship(name), action, old, new)


def applied(have: Topology, changes: Iterable[Change]) -> dict[Key, Resource]:
    """The topology that `have` becomes; what has no new resource is not in it."""
    after = dict(have)
    for step in changes:
        if step.new is None:
            del after[step.key]
        else:
            after[step.key] = step.new
    return after


keys = st.builds(Key, st.sampled_from(KINDS), st.sampled_from("abcd"))
causes = st.builds(
    Cause, st.sampled_from(("ann", "bob")), st.sampled_from("xyz"), st.integers(0, 3)
)
values = st.sampled_from(("active", "detached", "red", "", 0, 1, ["tea"], ["tea", 2]))
fields: st.SearchStrategy[Mapping[str, Any]] = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(FIELDS, values)
)
known: st.SearchStrategy[Mapping[str, Cause]] = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(FIELDS, causes)
)
resources = st.builds(
    Resource,
    fields,
    revision=st.integers(0, 3),
    causes=st.sampled_from(({}, {"flag": Cause("ann", "x", 1)})),
)
topologies: st.SearchStrategy[dict[Key, Resource]] = st.dictionaries(
    keys, resources, max_size=6
)
