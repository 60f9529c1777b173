"""Who gets which place: one Space per owner, one room per chat (rules 3 and 7). Pure.

A place is an owner's Space, an owner's chat_id, or a platform_chat_id. Rows that
stand keep theirs; the rest is given by what Matrix shows, never by the cache.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from adapter.matrix.identity import Chain
from adapter.matrix.rows import CHAT, SPACE, Row
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.ids import Id, chat_ids, platform_ids
from adapter.matrix.rules.links import Link, deciding, link
from controller.model import DETACHED, Cause

Place = tuple[str, str]
"""An owner and "", an owner and a chat_id, or "" and a platform_chat_id."""

HOLDS_PLACE = frozenset({"owner_left", "owner_banned", "unlinked"})
"""Reasons of detached rows that take part in rule 7 all the same."""


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
    taken: Mapping[Place, str]
    """Place -> the room that has it now."""
    losers: Mapping[str, Winner]

    def keeps(self, room_id: str, row: Row) -> bool:
        """All places of the row are this room's."""
        return all(self.taken.get(place) == room_id for place in row_places(row))


def places(
    every: Sequence[Case],
    chains: Sequence[Chain],
    standing: Mapping[str, Row],
    rows: Mapping[str, Row],
) -> Places:
    """Give the places. `standing`: rows that nothing is decided about, by who holds them."""
    spaces = [case for case in every if case.chain.kind == SPACE and case.owner]
    chats = [case for case in every if case.chain.kind == CHAT and case.owner]
    taken = _kept(standing, rows)
    holders, losers = _spaces(spaces, chats, taken)
    links = _links(chats, _in_order(spaces, holders))
    platforms = platform_ids(chats, chains)
    names = chat_ids(chats, links, chains, rows)
    wanted = {
        case.key: _chat_places(
            case.user_id, _value(names, case.key), _value(platforms, case.key)
        )
        for case in chats
    }

    def rank(case: Case) -> tuple[int, tuple[int, str]]:
        near = closeness(links.get(case.key), holders.get(case.user_id or ""))
        return (near, case.chain.age)

    losers |= _chats(chats, wanted, rank, taken)
    return Places(holders, links, names, platforms, taken, losers)


def holds_place(row: Row) -> bool:
    return row.status != DETACHED or row.reason in HOLDS_PLACE


def row_places(row: Row) -> tuple[Place, ...]:
    """The places that a row takes while it is in use."""
    if row.room_type == SPACE:
        return ((row.matrix_user_id, ""),) if row.matrix_user_id else ()
    if row.room_type == CHAT:
        return _chat_places(row.matrix_user_id, row.chat_id, row.platform_chat_id)
    return ()


def _chat_places(
    owner: str | None, chat_id: str | None, platform: str | None
) -> tuple[Place, ...]:
    found: list[Place] = []
    if owner and chat_id:
        found.append((owner, chat_id))
    if platform:
        found.append(("", platform))
    return tuple(found)


def _value(ids: Mapping[str, Id], key: str) -> str | None:
    found = ids.get(key)
    return found.value if found else None


def _kept(standing: Mapping[str, Row], rows: Mapping[str, Row]) -> dict[Place, str]:
    """The places of the rows that stand. A detached one keeps none that a row in use has."""
    in_use = {
        place: row.room_id
        for row in rows.values()
        if row.status != DETACHED
        for place in row_places(row)
    }
    kept: dict[Place, str] = {}
    for holder, row in sorted(
        standing.items(), key=lambda item: (item[1].status == DETACHED, item[0])
    ):
        if not holds_place(row):
            continue
        for place in row_places(row):
            if row.status != DETACHED or in_use.get(place, row.room_id) == row.room_id:
                kept.setdefault(place, holder)
    return kept


# --- Spaces ------------------------------------------------------------------


def _spaces(
    spaces: Sequence[Case], chats: Sequence[Case], taken: dict[Place, str]
) -> tuple[dict[str, str], dict[str, Winner]]:
    rivals: dict[str, list[Case]] = defaultdict(list)
    for case in spaces:
        if case.takes_part and case.user_id:
            rivals[case.user_id].append(case)
    chats_of: dict[str | None, list[Chain]] = defaultdict(list)
    for case in chats:
        if case.joined:
            chats_of[case.user_id].append(case.chain)
    lost: dict[str, str] = {}
    for owner, candidates in rivals.items():
        if (owner, "") not in taken:
            taken[owner, ""] = _best(candidates, chats_of[owner]).key
        holder = taken[owner, ""]
        lost |= {case.key: holder for case in candidates if case.key != holder}
    holders = {owner: room for (owner, name), room in taken.items() if not name}
    return holders, _winners(lost, spaces)


def _winners(lost: Mapping[str, str], every: Sequence[Case]) -> dict[str, Winner]:
    """Who lost to which room, with the create event of that, if it was seen."""
    won = frozenset(lost.values())
    creates = {
        case.key: case.chain.root.create.cause for case in every if case.key in won
    }
    return {key: Winner(holder, creates.get(holder)) for key, holder in lost.items()}


def _best(candidates: Sequence[Case], chats: Sequence[Chain]) -> Case:
    """More of the owner's chats validly linked, else the oldest."""
    if len(candidates) == 1:
        return candidates[0]

    def rank(case: Case) -> tuple[int, tuple[int, str]]:
        return (-linked(case.chain, chats), case.chain.age)

    return min(candidates, key=rank)


def linked(space: Chain, chats: Iterable[Chain]) -> int:
    """How many of `chats` the Space validly links."""
    return sum(
        found is not None and found.valid
        for found in (link(chat, space) for chat in chats)
    )


def _in_order(
    spaces: Sequence[Case], holders: Mapping[str, str]
) -> dict[str, list[Chain]]:
    """Owner -> the Spaces to look a child event up in: the place's first (rule 3)."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in spaces:
        if case.user_id:
            found[case.user_id].append(case)
    for owner, cases in found.items():
        if len(cases) > 1:
            holder = holders.get(owner)
            cases.sort(key=lambda c: (c.key != holder, not c.joined, c.chain.age))
    return {owner: [case.chain for case in cases] for owner, cases in found.items()}


def _links(
    chats: Sequence[Case], spaces: Mapping[str, Sequence[Chain]]
) -> dict[str, Link]:
    return {
        case.key: found
        for case in chats
        if (found := deciding(case.chain, spaces.get(case.user_id or "", ())))
    }


# --- chats -------------------------------------------------------------------


def _chats(
    chats: Sequence[Case],
    wanted: Mapping[str, tuple[Place, ...]],
    rank: Callable[[Case], tuple[int, tuple[int, str]]],
    taken: dict[Place, str],
) -> dict[str, Winner]:
    """Give chats their places in order of rank; who finds one taken has lost."""
    candidates = [case for case in chats if case.takes_part]
    times = Counter([place for case in candidates for place in wanted[case.key]])
    # What nobody else wants needs no order, and that is nearly everything.
    rivals = [
        case
        for case in candidates
        if any(times[place] > 1 or place in taken for place in wanted[case.key])
    ]
    ordered = {case.key for case in rivals}
    for case in candidates:
        if case.key not in ordered:
            taken.update(dict.fromkeys(wanted[case.key], case.key))
    losers: list[str] = []
    for case in sorted(rivals, key=rank):
        if taken.keys().isdisjoint(wanted[case.key]):
            taken.update(dict.fromkeys(wanted[case.key], case.key))
        else:
            losers.append(case.key)
    # Only now: who wants two places names the same winner whatever came first.
    lost = {
        loser: next(taken[place] for place in wanted[loser] if place in taken)
        for loser in losers
    }
    return _winners(lost, chats)


def closeness(found: Link | None, holder: str | None) -> int:
    """0: named by its owner's Space, 1: by an emptied child of it, 2: by neither."""
    if found is None or holder not in {None, found.space.key}:
        return 2
    return 0 if found.valid else 1
