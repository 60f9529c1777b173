"""Links that lead nowhere, that are none, and chats with more than one. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from adapter.matrix.checks.look import Diagnosis, Look, restore
from adapter.matrix.desired import Finding
from adapter.matrix.facts import Child, Gone, Present, Unknown
from adapter.matrix.identity import kind_of
from adapter.matrix.rows import CHAT, SPACE
from adapter.matrix.rules.cases import Case
from adapter.matrix.rules.links import link
from adapter.matrix.rules.places import holds_place

NO_LINK = "nothing to do if no link was meant"


def links(look: Look) -> Iterator[Diagnosis]:
    """What is wrong with the child events of the Spaces in use."""
    for room_id, row in look.rows.items():
        fact = look.facts.rooms.get(room_id)
        if row.room_type != SPACE or not holds_place(row):
            continue
        if isinstance(fact, Present) and fact.room.create.cause.sender == look.me:
            for child_id, child in fact.room.children.items():
                yield from _child(look, room_id, child_id, child)
    yield from _two_parents(look)


def _child(
    look: Look, space_id: str, child_id: str, child: Child
) -> Iterator[Diagnosis]:
    if child.broken:
        message = f"its child event for {child_id} has no valid via: it is no link"
        chat = look.rows.get(child_id)
        unlinked = chat is not None and chat.reason == "unlinked"
        yield Diagnosis(
            Finding("missing_via", space_id, message, child.cause),
            restore(chat) if chat and unlinked and chat.chat_id else NO_LINK,
        )
    elif child.via and (why := _leads_nowhere(look, child_id)):
        message = f"it names {child_id} as its child: {why}"
        yield Diagnosis(
            Finding("dangling_child", space_id, message, child.cause),
            "nothing to do: it never becomes a chat, and whoever has power in the Space "
            "can take it out",
        )


def _leads_nowhere(look: Look, child_id: str) -> str | None:
    """Why no chat stands behind a link; `None` also where that is not known."""
    match look.facts.rooms.get(child_id):
        case Present(room) if room.create.cause.sender != look.me:
            return "the bot did not make that room"
        case Present(room) if kind_of(room) is None:
            return "that room is neither a chat nor a Space"
        case Present():
            return None
        case Gone() | Unknown(absent=True) if child_id in look.rows:
            return None  # its row says more
        case Gone() | Unknown(absent=True):
            return "the bot is not in that room"
        case None if look.facts.complete and child_id not in look.facts.joined:
            return "the bot is not in that room"
        case _:
            return None


def _two_parents(look: Look) -> Iterator[Diagnosis]:
    """Chats that two Spaces of their owner name. Of others' Spaces, passes tell."""
    spaces: dict[str, list[Case]] = defaultdict(list)
    chats = []
    for case in look.view.every:
        if case.user_id and case.chain.kind == SPACE:
            spaces[case.user_id].append(case)
        elif case.user_id and case.chain.kind == CHAT:
            row = look.rows.get(case.key)
            chats += [case] if row and holds_place(row) else []
    for case in chats:
        decides = look.view.given.links.get(case.key)
        for space in spaces[case.user_id or ""]:
            found = link(case.chain, space.chain)
            if not found or not found.valid or not decides:
                continue
            if space.key != decides.space.key:
                message = (
                    f"{space.key} names it as well; {decides.space.key} is what counts"
                )
                yield Diagnosis(
                    Finding("two_parents", case.key, message, found.child.cause),
                    f"nothing to do, or take it out of {space.key}",
                )
