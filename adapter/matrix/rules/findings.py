"""What a person should look at: nothing here changes a row. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

from adapter.matrix.desired import Finding
from adapter.matrix.facts import Present, Room, Unknown, shown
from adapter.matrix.identity import Malformed, Newer
from adapter.matrix.rows import ACTIVE, CHAT, PENDING, SPACE, Row
from adapter.matrix.rules.sight import Mode
from adapter.matrix.rules.view import View
from controller.model import DETACHED


def findings(view: View, drawn: Mapping[str, Row]) -> tuple[Finding, ...]:
    """Every finding, ordered by code and room, each once."""
    every = {
        *view.kin.findings,
        *_markings(view),
        *_owners(view),
        *_rows(view, drawn),
        *_foreign_links(view, drawn),
        *_unreadable(view),
    }
    return tuple(sorted(every, key=attrgetter("place")))


def _markings(view: View) -> Iterator[Finding]:
    for chain in view.kin.chains:
        for marked in chain.rooms:
            room_id = marked.room.room_id
            for what, marking in (
                ("identity", marked.identity),
                ("binding", marked.binding),
            ):
                if isinstance(marking, Malformed) and marking.why:
                    code, message = f"malformed_{what}", f"its {what}: {marking.why}"
                    yield Finding(code, room_id, message, marking.cause)
                elif isinstance(marking, Newer):
                    message = (
                        f"a newer Spacekeeper wrote its {what}; nothing is written"
                    )
                    yield Finding("newer_version", room_id, message, marking.cause)


def _owners(view: View) -> Iterator[Finding]:
    for case in view.every:
        if case.owner is None and case.mode is Mode.OPEN and case.joined:
            users = sorted(case.chain.members() - {view.me})
            who = ", ".join(users) or "nobody"
            yield Finding(
                "ambiguous_owner",
                case.key,
                f"nothing tells whose {case.chain.kind} it is; ever in it: {who}",
                case.chain.tip.create.cause,
            )


def _rows(view: View, drawn: Mapping[str, Row]) -> Iterator[Finding]:
    for room_id, row in drawn.items():
        if row.reason == "duplicate":
            winner = view.given.losers.get(room_id)
            if winner:
                message = f"{winner.room_id} holds its place"
                yield Finding("duplicate", room_id, message, winner.create)
            else:
                yield Finding("duplicate", room_id, "another room holds its place")
        elif row.reason == "lost" and row.status == DETACHED:
            fact = view.facts.rooms.get(room_id)
            if not isinstance(fact, Present):
                yield Finding("lost", room_id, "it has not been seen for too long")
        elif (
            row.space_id is None
            and row.room_type == CHAT
            and row.status in {ACTIVE, PENDING}
        ):
            case = view.cases.get(room_id)
            if case and not view.is_blocked(case):
                yield Finding("no_space", room_id, "no Space of its owner can hold it")


def _foreign_links(view: View, drawn: Mapping[str, Row]) -> Iterator[Finding]:
    """Valid links to a chat from a Space that is not its owner's (rule 3)."""
    for room_id, fact in view.facts.rooms.items():
        room = shown(fact)
        if room is None or not room.children:
            continue
        owner = _owner_of_space(view, drawn, room)
        for child_id, child in room.children.items():
            chat = drawn.get(child_id)
            if chat is None or chat.room_type != CHAT or not child.via:
                continue
            if chat.matrix_user_id != owner and chat.reason != "not_ours":
                message = f"{room_id}, which is not a Space of its owner, names it"
                yield Finding("foreign_link", child_id, message, child.cause)


def _owner_of_space(view: View, drawn: Mapping[str, Row], room: Room) -> str | None:
    row = drawn.get(room.room_id)
    if room.create.cause.sender != view.me or row is None or row.room_type != SPACE:
        return None
    return row.matrix_user_id


def _unreadable(view: View) -> Iterator[Finding]:
    for room_id, fact in view.facts.rooms.items():
        if isinstance(fact, Unknown) and fact.overdue and not fact.absent:
            message = f"it could not be read for a long time ({fact.why})"
            yield Finding("unreadable", room_id, message)
