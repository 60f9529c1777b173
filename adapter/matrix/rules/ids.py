"""Which ids a chat has: chat_id and platform_chat_id (rules 4 and 11). Pure."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from adapter.matrix.identity import (
    Chain,
    Malformed,
    Marker,
    Newer,
    is_chat_id,
    is_platform_chat_id,
)
from adapter.matrix.rows import CHAT, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.links import LAST_ORDER, Link
from controller.model import Cause


class Id(NamedTuple):
    """An id, and the event that gives it, where one does."""

    value: str
    cause: Cause | None = None


# --- platform_chat_id (rule 4) -----------------------------------------------


def derived(room_id: str) -> str:
    """The id of a room that never got one: from the first room of its upgrade chain."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"matrix:roomid/{room_id[1:]}"))


def _claims(chains: Iterable[Chain], contested: frozenset[str]) -> dict[str, set[str]]:
    """Which chains claim each of `contested` in Matrix, readable newer ones too."""
    claims: dict[str, set[str]] = defaultdict(set)
    if not contested:
        return claims
    for chain in chains:
        if chain.kind != CHAT:
            continue
        found = {
            said.platform_chat_id
            for said in chain.statements()
            if said.platform_chat_id
        }
        for value in contested & (found or {derived(chain.root.room_id)}):
            claims[value].add(chain.key)
    return claims


def platform_ids(chats: Sequence[Case], chains: Iterable[Chain]) -> dict[str, Id]:
    """Chain -> its conversation; none for what only a later version could read."""
    by_rows = frozenset(
        case.row.platform_chat_id
        for case in chats
        if case.row and case.row.platform_chat_id and not _says(case)
    )
    claims = _claims(chains, by_rows)
    return {
        case.key: found for case in chats if (found := platform_chat_id(case, claims))
    }


def _says(case: Case) -> bool:
    """Its newest room says its id itself, so that no row is asked."""
    newest = case.chain.rooms[0]
    return (
        isinstance(newest.binding, Marker)
        and newest.binding.platform_chat_id is not None
    ) or (
        newest.binding is None
        and isinstance(newest.identity, Marker)
        and newest.identity.platform_chat_id is not None
    )


def platform_chat_id(case: Case, claims: Mapping[str, set[str]]) -> Id | None:
    """Binding, else identity, else the row's if no other room claims it, else derived.

    Where a binding stands that cannot be read, the row's goes before the identity's:
    the binding may have said what only the row still knows."""
    if case.keeps_row and case.row and case.row.platform_chat_id:
        return Id(case.row.platform_chat_id)
    if isinstance(case.claim, Newer):
        return None
    for _, identity, binding in case.chain.rooms:
        if isinstance(binding, Marker) and binding.platform_chat_id:
            return Id(binding.platform_chat_id, binding.cause)
        if isinstance(binding, Malformed) and (row := _from_row(case, claims)):
            return row
        if isinstance(identity, Marker) and identity.platform_chat_id:
            return Id(identity.platform_chat_id, identity.cause)
    return _from_row(case, claims) or Id(derived(case.chain.root.room_id))


def _from_row(case: Case, claims: Mapping[str, set[str]]) -> Id | None:
    value = case.row.platform_chat_id if case.row else None
    if value is None or not is_platform_chat_id(value):
        return None
    return None if claims.get(value, set()) - {case.key} else Id(value)


# --- chat_id (rule 11) -------------------------------------------------------


def chat_ids(
    chats: Sequence[Case],
    links: Mapping[str, Link],
    chains: Iterable[Chain],
    rows: Mapping[str, Row],
) -> dict[str, Id]:
    """Chain -> its chat_id: what it says, or the row's, or the next number."""
    given: dict[str, Id] = {}
    unnamed: dict[str, list[Case]] = defaultdict(list)
    for case in chats:
        if case.user_id is None:
            continue
        if case.keeps_row and case.row and case.row.chat_id:
            given[case.key] = Id(case.row.chat_id)
        elif isinstance(case.claim, Marker) and case.claim.chat_id:
            given[case.key] = Id(case.claim.chat_id, case.claim.cause)
        elif case.legacy:
            unnamed[case.user_id].append(case)
    if not unnamed:
        return given
    numbered = {r for cases in unnamed.values() for c in cases for r in c.chain.ids}
    taken = _taken(chains, (rows[room] for room in rows if room not in numbered))
    for owner, cases in unnamed.items():
        given |= _number(_by_child_order(cases, links), taken[owner])
    return given


def _taken(chains: Iterable[Chain], rows: Iterable[Row]) -> defaultdict[str, set[str]]:
    """Owner -> every chat_id that a room or a row of theirs has or had."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    for chain in chains:
        for said in chain.statements():
            if said.owner and said.chat_id:
                taken[said.owner].add(said.chat_id)
    for row in rows:
        if row.matrix_user_id and row.chat_id:
            taken[row.matrix_user_id].add(row.chat_id)
    return taken


def _by_child_order(cases: Iterable[Case], links: Mapping[str, Link]) -> list[Case]:
    """In the order of the spec: order, then the child event's time, then room id."""

    def place(case: Case) -> tuple[bool, str, int, str]:
        found = links.get(case.key)
        order, at = found.place if found else (LAST_ORDER, 0)
        return (found is None, order, at, case.key)

    return sorted(cases, key=place)


def _number(cases: Sequence[Case], taken: set[str]) -> Iterator[tuple[str, Id]]:
    """Rows keep a chat_id that is valid and free; the rest gets the numbers left."""
    rest = []
    for case in cases:
        old = case.row.chat_id if case.row else None
        if old is not None and is_chat_id(old) and old not in taken:
            taken.add(old)
            yield case.key, Id(old)
        else:
            rest.append(case)
    numbers = (name for number in count(1) if (name := f"C{number}") not in taken)
    for case, name in zip(rest, numbers, strict=False):
        yield case.key, Id(name)
