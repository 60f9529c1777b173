"""adopt: which record says of a room whose it is, when a person decides. Pure.

A record is the bot's word for good (rule 2), so whatever could make it a wrong one is
a refusal: a claim that is there already, an id that is taken, a room that nobody could
read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

from adapter.matrix.blueprints import chat_ids, next_chat_id
from adapter.matrix.desired import Desired
from adapter.matrix.facts import EventTypes, Facts, Gone, Own, Present, Unknown
from adapter.matrix.identity import Chain, Newer, is_chat_id, is_user_id
from adapter.matrix.memory import Intent
from adapter.matrix.rows import CHAT, SPACE, Row, key, rows_of, topology
from adapter.matrix.rules.finishing import record
from adapter.matrix.rules.ids import platform_ids
from adapter.matrix.rules.view import View
from adapter.matrix.topology import render, viewed
from controller.diff import diff
from controller.model import Cause
from controller.plan import line


class AdoptionRefused(Exception):  # noqa: N818 - it says what happened
    """Why no record is written, in one sentence."""


class Asked(NamedTuple):
    """What a person decides of a room. Without `chat_id` a chat gets the next one."""

    room_id: str
    owner: str
    chat_id: str | None = None


class Adoption(NamedTuple):
    """The record to write, the row that a pass then makes, and what else a pass does."""

    room_id: str
    content: Mapping[str, Any]
    row: Row
    follows: tuple[str, ...]
    """One line each, as a plan prints them."""


def adoption(  # noqa: PLR0913 - all that one decision hangs on
    asked: Asked,
    facts: Facts,
    rows: Mapping[str, Row],
    me: str,
    *,
    intents: Collection[Intent] = (),
    types: EventTypes | None = None,
) -> Adoption:
    """Decide on the record of a room that the bot made. Raises `AdoptionRefused`."""
    types = types or EventTypes()
    view = viewed(facts, rows, me)
    _refuse_a_malformed(asked, me)
    chain = _chain(asked, view)
    _refuse_a_claimed(asked, chain)
    if asked.owner not in chain.members():
        _refuse(f"{asked.owner} was never in {asked.room_id}, not even invited to it")
    before = render(facts, rows, me, types=types)
    _refuse_half_a_look(before, view)
    row = Row(
        asked.room_id,
        chain.kind,
        chat_id=_chat_id(asked, chain, view, before, intents),
        matrix_user_id=asked.owner,
        platform_chat_id=_platform_chat_id(chain, view),
    )
    content = record(row)
    then = render(_with(facts, chain, content, me), rows, me, types=types)
    return Adoption(
        asked.room_id, content, _placed(asked, then), _more(rows, before, then)
    )


def _refuse(why: str) -> NoReturn:
    raise AdoptionRefused(why)


# --- refusals ---------------------------------------------------------------------------


def _refuse_a_malformed(asked: Asked, me: str) -> None:
    if not is_user_id(asked.owner) or asked.owner == me:
        _refuse(f"{asked.owner} cannot be an owner: give the id of a user")
    if asked.chat_id is not None and not is_chat_id(asked.chat_id):
        _refuse(f"{asked.chat_id} is no chat_id: give one such as C3")


def _chain(asked: Asked, view: View) -> Chain:
    """The room with those that it replaced, if the bot made it and it can be seen."""
    room_id = asked.room_id
    match view.facts.rooms.get(room_id):
        case None | Unknown(absent=True):
            _refuse(f"the bot is not in {room_id}: look at the id again")
        case Unknown(why=why):
            _refuse(f"{room_id} could not be read ({why}): try again")
        case Gone():
            _refuse(f"the bot is not in {room_id} any more: {asked.owner} invites it")
        case Present(room) if room.create.cause.sender != view.me:
            _refuse(f"the bot did not make {room_id}: it can never be a working room")
        case _:
            pass
    for chain in view.kin.chains:
        if room_id == chain.key:
            return chain
        if room_id in chain.ids:
            _refuse(f"{room_id} was replaced: adopt {chain.key} in its place")
    _refuse(f"{room_id} is neither a chat nor a Space by its type")


def _refuse_a_claimed(asked: Asked, chain: Chain) -> None:
    said = chain.claim
    if chain.is_newer or isinstance(said, Newer):
        _refuse(f"a newer Spacekeeper wrote in {asked.room_id}: upgrade this one")
    elif said is not None and said.owner == asked.owner:
        which = f"their {said.chat_id}" if said.chat_id else "their Space"
        _refuse(f"{asked.room_id} is {asked.owner}'s already, as {which}")
    elif said is not None:
        _refuse(f"{asked.room_id} says of itself that it is {said.owner}'s")


def _refuse_half_a_look(before: Desired, view: View) -> None:
    """What was not read may say that the place is its own."""
    if view.seen.whole and view.facts.complete and not before.waiting:
        return
    unseen = [f", {room_id} for one ({why})" for room_id, why in before.unknown.items()]
    which = "".join(unseen[:1])
    _refuse(
        f"not every room could be read{which}, and it may be in its place: try again"
    )


# --- what the record says ---------------------------------------------------------------


def _chat_id(
    asked: Asked,
    chain: Chain,
    view: View,
    before: Desired,
    intents: Collection[Intent],
) -> str | None:
    """The one that was asked for, else that of the owner's row, else the next."""
    if chain.kind == SPACE:
        if asked.chat_id is not None:
            _refuse(f"{asked.room_id} is a Space, which has no chat_id")
        return None
    every = rows_of(before.rooms)  # as they should be: old rooms have numbers, too
    others = [one for one in view.kin.chains if one is not chain]
    rows = [row for row in every.values() if row.room_id not in chain.ids]
    taken = chat_ids(asked.owner, others, rows, intents)
    if asked.chat_id in taken:
        holder = next((r.room_id for r in rows if _has(r, asked)), "another room")
        _refuse(f"{holder} is {asked.owner}'s {asked.chat_id}: give another --chat-id")
    own = every.get(chain.key)
    kept = own.chat_id if own and own.matrix_user_id == asked.owner else None
    if asked.chat_id:
        return asked.chat_id
    return kept if kept and kept not in taken else next_chat_id(taken)


def _has(row: Row, asked: Asked) -> bool:
    return (row.matrix_user_id, row.chat_id) == (asked.owner, asked.chat_id)


def _platform_chat_id(chain: Chain, view: View) -> str | None:
    """By rule 4: what a binding says, else the row's, else the derived one."""
    if chain.kind != CHAT:
        return None
    found = platform_ids([view.cases[chain.key]], view.kin.chains)
    return found[chain.key].value


# --- what follows -----------------------------------------------------------------------


def _with(facts: Facts, chain: Chain, content: Mapping[str, Any], me: str) -> Facts:
    """The facts as they are once the record is written."""
    written = chain.tip._replace(binding=Own(Cause(me, "", 0), content))
    return facts._replace(rooms={**facts.rooms, chain.key: Present(written)})


def _placed(asked: Asked, then: Desired) -> Row:
    row = rows_of({key(asked.room_id): then.rooms[key(asked.room_id)]})[asked.room_id]
    if row.reason == "duplicate":
        winner = next(
            (one.message for one in then.findings if one.room == asked.room_id), ""
        )
        _refuse(f"{asked.room_id} would be a duplicate: {winner}")
    return row


def _more(rows: Mapping[str, Row], before: Desired, then: Desired) -> tuple[str, ...]:
    known = set(_lines(rows, before))
    return tuple(one for one in _lines(rows, then) if one not in known)


def _lines(rows: Mapping[str, Row], want: Desired) -> Iterator[str]:
    for change in diff(topology(rows), want.rooms):
        yield line(change)
    for change in diff(want.own_have, want.own_want):
        yield line(change)
