"""Who gets which place: one Space per owner, one room per chat (rules 4, 7, 11). Pure.

A place is an owner's Space, an owner's chat_id, or a platform_chat_id. Rows that
stand keep theirs; the rest is given by what Matrix shows, never by the cache.
"""

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
from adapter.matrix.rows import CHAT, SPACE, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.links import LAST_ORDER, Link, deciding, link
from controller.model import DETACHED, Cause

Place = tuple[str, str]
"""An owner and a chat_id, or "" and a platform_chat_id."""

HOLDS_PLACE = frozenset({"owner_left", "owner_banned", "unlinked"})
"""Reasons of detached rows that take part in rule 7 all the same."""


class Id(NamedTuple):
    """An id, and the event that gives it, where one does."""

    value: str
    cause: Cause | None = None


class Winner(NamedTuple):
    """The room that holds a place which another wanted; `create` if that was seen."""

    room_id: str
    create: Cause | None = None


class Places(NamedTuple):
    """Every place given: what each chain is called, where it belongs, who lost to whom."""

    holders: Mapping[str, str]
    """Owner -> Space, standing ones included."""
    links: Mapping[str, Link]
    """Chat chain -> the child event that decides about it."""
    chat_ids: Mapping[str, Id]
    platform_ids: Mapping[str, Id]
    losers: Mapping[str, Winner]


def _value(found: Id | None) -> str | None:
    return found.value if found else None


def holds_place(row: Row) -> bool:
    return row.status != DETACHED or row.reason in HOLDS_PLACE


def places(
    every: Sequence[Case], chains: Sequence[Chain], standing: Mapping[str, Row]
) -> Places:
    """Give the places. `standing`: rows that nothing is decided about, by who holds them."""
    spaces = [case for case in every if case.chain.kind == SPACE and case.owner]
    chats = [case for case in every if case.chain.kind == CHAT and case.owner]
    holders, losers = _spaces(spaces, chats, standing)
    links = _links(chats, _in_order(spaces, holders))
    claims = _claims(chains)
    platform_ids = {
        case.key: found for case in chats if (found := platform_chat_id(case, claims))
    }
    chat_ids = _chat_ids(chats, links, chains, standing)
    wanted = {
        case.key: _places(
            case.user_id,
            _value(chat_ids.get(case.key)),
            _value(platform_ids.get(case.key)),
        )
        for case in chats
    }
    closeness = {
        case.key: _closeness(links.get(case.key), holders.get(case.user_id or ""))
        for case in chats
    }
    losers |= _chats(chats, wanted, closeness, standing)
    return Places(holders, links, chat_ids, platform_ids, losers)


# --- Spaces (rule 7) ---------------------------------------------------------


def _spaces(
    spaces: Sequence[Case], chats: Sequence[Case], standing: Mapping[str, Row]
) -> tuple[dict[str, str], dict[str, Winner]]:
    holders = _standing_spaces(standing)
    creates = {case.key: case.chain.root.create.cause for case in spaces}
    rivals: dict[str, list[Case]] = defaultdict(list)
    for case in spaces:
        if case.takes_part and case.user_id:
            rivals[case.user_id].append(case)
    chats_of: dict[str | None, list[Chain]] = defaultdict(list)
    for case in chats:
        if case.joined:
            chats_of[case.user_id].append(case.chain)
    losers: dict[str, Winner] = {}
    for owner, candidates in rivals.items():
        if owner not in holders:
            holders[owner] = _best(candidates, chats_of[owner]).key
        holder = holders[owner]
        for case in candidates:
            if case.key != holder:
                losers[case.key] = Winner(holder, creates.get(holder))
    return holders, losers


def _standing_spaces(standing: Mapping[str, Row]) -> dict[str, str]:
    """Of several standing rows of one owner, one that is not detached goes first."""
    holders: dict[str, str] = {}
    for room_id, row in sorted(
        standing.items(), key=lambda item: (item[1].status == DETACHED, item[0])
    ):
        if row.room_type == SPACE and row.matrix_user_id and holds_place(row):
            holders.setdefault(row.matrix_user_id, room_id)
    return holders


def _best(candidates: Sequence[Case], chats: Sequence[Chain]) -> Case:
    """More of the owner's chats validly linked, else the oldest."""
    if len(candidates) == 1:
        return candidates[0]

    def rank(case: Case) -> tuple[int, tuple[int, str]]:
        linked = sum(
            found is not None and found.valid
            for found in (link(chat, case.chain) for chat in chats)
        )
        return (-linked, case.chain.age)

    return min(candidates, key=rank)


def _in_order(
    spaces: Sequence[Case], holders: Mapping[str, str]
) -> dict[str, list[Chain]]:
    """Owner -> the Spaces to look a child event up in: the place's first (rule 3)."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in spaces:
        if case.user_id:
            found[case.user_id].append(case)
    return {
        owner: [
            case.chain
            for case in sorted(
                cases,
                key=lambda case: (
                    holders.get(owner) != case.key,
                    not case.joined,
                    case.chain.age,
                ),
            )
        ]
        for owner, cases in found.items()
    }


def _links(
    chats: Sequence[Case], spaces: Mapping[str, Sequence[Chain]]
) -> dict[str, Link]:
    return {
        case.key: found
        for case in chats
        if (found := deciding(case.chain, spaces.get(case.user_id or "", ())))
    }


# --- platform_chat_id (rule 4) -----------------------------------------------


def derived(room_id: str) -> str:
    """The id of a room that never got one: from the first room of its upgrade chain."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"matrix:roomid/{room_id[1:]}"))


def _claims(chains: Iterable[Chain]) -> dict[str, set[str]]:
    """platform_chat_id -> the chains that claim it in Matrix, readable newer ones too."""
    claims: dict[str, set[str]] = defaultdict(set)
    for chain in chains:
        if chain.kind != CHAT:
            continue
        found = {
            said.platform_chat_id
            for said in chain.statements()
            if said.platform_chat_id
        }
        for value in found or {derived(chain.root.room_id)}:
            claims[value].add(chain.key)
    return claims


def platform_chat_id(case: Case, claims: Mapping[str, set[str]]) -> Id | None:
    """Binding, else identity, else the row's if no other room claims it, else derived.

    Where a binding stands that cannot be read, the row's goes before the identity's:
    the binding may have said what only the row still knows."""
    row = _from_row(case, claims)
    if case.keeps_row and case.row and case.row.platform_chat_id:
        return Id(case.row.platform_chat_id)
    if isinstance(case.claim, Newer):
        return None
    for marked in case.chain.rooms:
        if isinstance(marked.binding, Marker) and marked.binding.platform_chat_id:
            return Id(marked.binding.platform_chat_id, marked.binding.cause)
        if isinstance(marked.binding, Malformed) and row:
            return row
        if isinstance(marked.identity, Marker) and marked.identity.platform_chat_id:
            return Id(marked.identity.platform_chat_id, marked.identity.cause)
    return row or Id(derived(case.chain.root.room_id))


def _from_row(case: Case, claims: Mapping[str, set[str]]) -> Id | None:
    value = case.row.platform_chat_id if case.row else None
    if value is None or not is_platform_chat_id(value):
        return None
    return None if claims.get(value, set()) - {case.key} else Id(value)


# --- chat_id (rule 11) -------------------------------------------------------


def _chat_ids(
    chats: Sequence[Case],
    links: Mapping[str, Link],
    chains: Iterable[Chain],
    standing: Mapping[str, Row],
) -> dict[str, Id]:
    given: dict[str, Id] = {}
    unnamed: dict[str, list[Case]] = defaultdict(list)
    taken = _taken(chains, standing)
    for case in chats:
        if case.user_id is None:
            continue
        if case.keeps_row and case.row and case.row.chat_id:
            given[case.key] = Id(case.row.chat_id)
            taken[case.user_id].add(case.row.chat_id)
        elif isinstance(case.claim, Marker) and case.claim.chat_id:
            given[case.key] = Id(case.claim.chat_id, case.claim.cause)
        elif case.legacy:
            unnamed[case.user_id].append(case)
    for owner, cases in unnamed.items():
        given |= _number(_by_child_order(cases, links), taken[owner])
    return given


def _taken(
    chains: Iterable[Chain], standing: Mapping[str, Row]
) -> defaultdict[str, set[str]]:
    """Owner -> every chat_id that a room or a standing row of theirs has."""
    taken: defaultdict[str, set[str]] = defaultdict(set)
    for chain in chains:
        for said in chain.statements():
            if said.owner and said.chat_id:
                taken[said.owner].add(said.chat_id)
    for row in standing.values():
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


# --- chats (rule 7) ----------------------------------------------------------


def _chats(
    chats: Sequence[Case],
    wanted: Mapping[str, tuple[Place, ...]],
    closeness: Mapping[str, int],
    standing: Mapping[str, Row],
) -> dict[str, Winner]:
    """Give chats their places in order of rank; who finds one taken has lost."""
    creates = {case.key: case.chain.root.create.cause for case in chats}
    holder = _standing_chats(standing)
    losers: list[str] = []
    for case in sorted(
        (case for case in chats if case.takes_part),
        key=lambda case: (closeness[case.key], case.chain.age),
    ):
        if holder.keys().isdisjoint(wanted[case.key]):
            holder.update(dict.fromkeys(wanted[case.key], case.key))
        else:
            losers.append(case.key)
    # Only now: who wants two places names the same winner whatever came first.
    winners = {
        loser: next(holder[place] for place in wanted[loser] if place in holder)
        for loser in losers
    }
    return {key: Winner(won, creates.get(won)) for key, won in winners.items()}


def _standing_chats(standing: Mapping[str, Row]) -> dict[Place, str]:
    """Of several standing rows with one place, one that is not detached goes first."""
    holder: dict[Place, str] = {}
    for room_id, row in sorted(
        standing.items(), key=lambda item: (item[1].status == DETACHED, item[0])
    ):
        if row.room_type == CHAT and holds_place(row):
            for place in _places(row.matrix_user_id, row.chat_id, row.platform_chat_id):
                holder.setdefault(place, room_id)
    return holder


def chat_places(row: Row) -> tuple[Place, ...]:
    """The places that a chat takes: its owner's chat_id, and its conversation."""
    return _places(row.matrix_user_id, row.chat_id, row.platform_chat_id)


def _places(
    owner: str | None, chat_id: str | None, platform: str | None
) -> tuple[Place, ...]:
    found: list[Place] = []
    if owner and chat_id:
        found.append((owner, chat_id))
    if platform:
        found.append(("", platform))
    return tuple(found)


def _closeness(found: Link | None, holder: str | None) -> int:
    """Named by its owner's Space, by an emptied child of it, or by neither."""
    if found is None or holder not in {None, found.space.key}:
        return 2
    return 0 if found.valid else 1
