"""Why one of two rooms holds the place that both want (rule 7). Pure."""

from __future__ import annotations

from adapter.matrix.checks.look import Look
from adapter.matrix.identity import Chain
from adapter.matrix.rows import CHAT, SPACE
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.places import closeness, linked
from adapter.matrix.rules.sight import Mode

CLOSENESS = (
    "a valid link of its owner's Space names it",
    "an emptied link of its owner's Space names it",
    "",
)


def why_it_won(look: Look, loser: str) -> str:
    """The winner, which place it holds, and why, as far as it can be seen."""
    view = look.view
    given = view.given.losers.get(loser)
    lost = view.cases.get(loser)
    if given is None or lost is None:
        return "another room holds its place"
    won = view.cases.get(given.room_id)
    place = f"{given.room_id} holds {_place(look, lost, given.room_id)}"
    if won is None or won.mode is not Mode.OPEN or not won.takes_part:
        return f"{place}: its row stands, as too little of Matrix can be seen"
    chosen = _space(look, won, lost) if _is_space(won) else _chat(look, won, lost)
    return f"{place}: {chosen or _age(won.chain, lost.chain)}"


def _is_space(case: Case) -> bool:
    return case.chain.kind == SPACE


def _place(look: Look, lost: Case, winner: str) -> str:
    if _is_space(lost):
        return f"the place of {lost.user_id}'s Space"
    given = look.view.given
    name = given.chat_ids.get(lost.key)
    if name and given.taken.get((lost.user_id or "", name.value)) == winner:
        return f"{lost.user_id}'s {name.value}"
    return "its conversation"


def _space(look: Look, won: Case, lost: Case) -> str:
    chats = [
        case.chain
        for case in look.view.every
        if case.chain.kind == CHAT and case.user_id == won.user_id and case.joined
    ]
    more, fewer = linked(won.chain, chats), linked(lost.chain, chats)
    return f"it links {more} of the owner's chats, this one {fewer}" * (more > fewer)


def _chat(look: Look, won: Case, lost: Case) -> str:
    given = look.view.given
    mine, other = (
        closeness(given.links.get(case.key), given.holders.get(case.user_id or ""))
        for case in (won, lost)
    )
    return CLOSENESS[mine] if mine < other else ""


def _age(won: Chain, lost: Chain) -> str:
    if won.age[0] != lost.age[0]:
        return "it is older"
    return "they are of one age, and its room id comes first"
