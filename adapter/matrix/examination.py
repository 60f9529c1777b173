"""examine: one look at Matrix -> everything that a person should look at. Pure.

The findings of the pass, and those of the checks, each with what settles it, in the
order of a checklist. What could not be seen is said to be so, and nothing follows
from it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from adapter.matrix.checks.duplicates import why_it_won
from adapter.matrix.checks.links import links
from adapter.matrix.checks.look import Diagnosis, Look
from adapter.matrix.checks.people import people
from adapter.matrix.checks.upkeep import held_back, powerless, unfinished, unread
from adapter.matrix.desired import Finding
from adapter.matrix.facts import CHILD, shown
from controller.model import Cause

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "owner": (
            "Whose room it is",
            (
                "ambiguous_owner",
                "malformed_identity",
                "malformed_binding",
                "newer_version",
            ),
        ),
        "place": ("Two rooms for one place", ("duplicate",)),
        "links": (
            "Links",
            (
                "no_space",
                "two_parents",
                "foreign_link",
                "dangling_child",
                "missing_via",
            ),
        ),
        "unfinished": (
            "Unfinished",
            ("never_linked", "never_invited", "unpublishable", "uninvitable"),
        ),
        "replaced": ("Replaced rooms", ("unfollowed_tombstone", "upgrade_cycle")),
        "gone": ("Owners who are gone", ("owner_left", "owner_banned")),
        "out": (
            "Rooms that the bot is out of",
            ("bot_kicked", "bot_banned", "bot_left", "lost"),
        ),
        "power": ("Rooms that the bot cannot write to", ("powerless",)),
        "guard": ("Held back by a guard", ("held_back",)),
        "sight": ("Not seen", ("unreadable", "unread", "backlog")),
    }
)
"""Group -> its heading, and the codes that belong to it, in order."""

GROUP_OF: Mapping[str, str] = MappingProxyType(
    {code: group for group, (_, codes) in GROUPS.items() for code in codes}
)


def examine(look: Look) -> tuple[Diagnosis, ...]:
    """Everything that a person should look at, ordered by group, code and room."""
    order = {code: number for number, code in enumerate(GROUP_OF)}
    every = dict.fromkeys((*_of_the_pass(look), *_of_the_checks(look)))
    return tuple(
        sorted(
            every,
            key=lambda one: (
                order[one.finding.code],
                one.finding.room,
                one.finding.message,
            ),
        )
    )


def _of_the_checks(look: Look) -> Iterator[Diagnosis]:
    for check in (links, unfinished, people, powerless, held_back, unread):
        yield from check(look)


def _of_the_pass(look: Look) -> Iterator[Diagnosis]:
    for found in look.decided.want.findings:
        told = found._replace(cause=found.cause or _evidence(look, found))
        if found.code == "duplicate":
            told = told._replace(message=why_it_won(look, found.room))
        remedy = _REMEDIES[found.code]
        yield Diagnosis(told, remedy if isinstance(remedy, str) else remedy(look, told))


# --- what shows the findings of a pass --------------------------------------------------


def _evidence(look: Look, found: Finding) -> Cause | None:
    """The event behind a finding for which no pass needs one.

    `None` of what nobody could see: there is none then."""
    if found.code == "duplicate":
        return look.evidence(found.room)
    if found.code in {"unpublishable", "uninvitable"}:
        power = look.powers.get(found.room)
        stands = _in_its_place(look, found)
        return stands or (power and power.cause) or look.created(found.room)
    return look.created(found.room) if found.code == "no_space" else None


def _in_its_place(look: Look, found: Finding) -> Cause | None:
    """The event that stands where the bot may not write, or writes in vain."""
    kind, _, state_key = found.message.partition(": ")[0].partition("|")
    room = shown(look.facts.rooms.get(found.room))
    if room is None:
        return None
    if kind == look.types.binding:
        return room.binding and room.binding.cause
    stands = room.children if kind == CHILD else room.members
    known = stands.get(state_key)
    return known and known.cause


# --- what settles the findings of a pass ------------------------------------------------


def adopt(room_id: str, owner: str) -> str:
    """The command that says whose room it is, for a shell: ids may hold anything."""
    return f"spacekeeper adopt {shlex.quote(room_id)} --owner {shlex.quote(owner)}"


def _ambiguous_owner(look: Look, found: Finding) -> str:
    members = sorted(look.view.cases[found.room].chain.members() - {look.me})
    if not members:
        return "nothing to do: nobody was ever in it"
    if len(members) == 1:
        return f"`{adopt(found.room, members[0])}`"
    return f"`{adopt(found.room, 'ID')}`, where ID is one of {', '.join(members)}"


def _malformed_identity(look: Look, found: Finding) -> str:
    if look.rows.get(found.room):
        return "nothing to do: something else says what the room is"
    return "if it is bound to nobody, see what is said of its owner"


def _foreign_link(_: Look, found: Finding) -> str:
    who = found.cause.sender if found.cause else "whoever made it"
    return f"nothing to do: the link does not count, and {who} can take it back"


def _no_space(look: Look, found: Finding) -> str:
    owner = look.owner(found.room)
    return f"`!new`, said by {owner} in a chat of theirs, makes a Space if it can"


def _uninvitable(look: Look, found: Finding) -> str:
    return (
        "nothing to do: it is tried again after a day, or at once when "
        f"{look.owner(found.room)} says a word in their direct chat with the bot"
    )


def _lost(look: Look, found: Finding) -> str:
    return (
        "nothing to do if it is gone; else an invitation of the bot by "
        f"{look.owner(found.room)}, which it accepts"
    )


_REMEDIES: Mapping[str, str | Callable[[Look, Finding], str]] = MappingProxyType(
    {
        "ambiguous_owner": _ambiguous_owner,
        "backlog": "nothing to do: who still wants an answer asks again; it is told "
        "until the bot is started again",
        "duplicate": "nothing to do: it is left alone, and a word in a chat is answered "
        "with a pointer to the other",
        "foreign_link": _foreign_link,
        "lost": _lost,
        "malformed_binding": "nothing to do: a pass writes it again where it is needed",
        "malformed_identity": _malformed_identity,
        "newer_version": "upgrade this Spacekeeper",
        "no_space": _no_space,
        "unfollowed_tombstone": "nothing to do: the old room stays in use",
        "uninvitable": _uninvitable,
        "unpublishable": "give the bot the power that it lacks, or stop whoever undoes "
        "it; it is tried again after a day",
        "unreadable": "look at the homeserver's log; nothing waits for it any more",
        "upgrade_cycle": "nothing to do: its rooms stay in use",
    }
)
