"""What is asked of the server for a new room (pure): its identity, its number, its name.

A `private_chat` made by the bot gives it all the power that it needs in every room version
from 11 on, and guests none. So power levels are not mentioned: version 12 refuses a
creator in them, and what overrides them drops defaults that it does not name."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any, Final

from adapter.matrix.facts import SPACE_TYPE, EventTypes
from adapter.matrix.identity import VERSION, Chain, is_chat_id
from adapter.matrix.memory import Intent
from adapter.matrix.phrases import clean_title
from adapter.matrix.rows import SPACE, Row

Json = dict[str, Any]

PARENT: Final = "m.space.parent"

_PLACEHOLDER: Final = re.compile(r"\{(n|name|user)\}")


def request_of(asked: str, kind: str) -> str:
    """What names the one room of this kind that the event `asked` makes."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{asked}/{kind}"))


def create_body(  # noqa: PLR0913 - all that a room is made of
    intent: Intent,
    name: str,
    *,
    version: str,
    types: EventTypes,
    space_id: str | None,
    via: str,
) -> Json:
    """The body of createRoom. Nobody is invited: that can fail, and leaves a room behind."""
    identity = {
        "v": VERSION,
        "kind": intent.kind,
        "owner": intent.owner,
        "chat_id": intent.chat_id,
        "platform_chat_id": intent.platform_chat_id,
        "request": intent.request,
    }
    creation: Json = {types.identity: {k: v for k, v in identity.items() if v}}
    if intent.kind == SPACE:
        creation["type"] = SPACE_TYPE
    body: Json = {
        "preset": "private_chat",
        "visibility": "private",
        "room_version": version,
        "creation_content": creation,
        "name": name,
    }
    if space_id is not None:
        body["initial_state"] = [
            {
                "type": PARENT,
                "state_key": space_id,
                "content": {"via": [via], "canonical": True},
            }
        ]
    return body


def chat_ids(
    owner: str, chains: Iterable[Chain], rows: Iterable[Row], intents: Iterable[Intent]
) -> set[str]:
    """Every chat_id of the owner, also of rooms given up and of later versions (rule 11)."""
    said = [(one.owner, one.chat_id) for chain in chains for one in chain.statements()]
    had = [(row.matrix_user_id, row.chat_id) for row in rows]
    begun = [(intent.owner, intent.chat_id) for intent in intents]
    return {
        chat_id
        for user_id, chat_id in (*said, *had, *begun)
        if user_id == owner and chat_id is not None and is_chat_id(chat_id)
    }


def next_chat_id(taken: Iterable[str]) -> str:
    """One more than the highest of those that were ever given."""
    return f"C{max((int(chat_id[1:]) for chat_id in taken), default=0) + 1}"


def room_name(
    template: str, user_id: str, display_name: str | None, chat_id: str | None = None
) -> str:
    """The template with `{name}`, `{user}` and `{n}` filled in, as one line.

    What people typed is put in as it is: braces in it mean nothing."""
    localpart = user_id[1:].partition(":")[0]
    values = {
        "name": clean_title(display_name or "") or localpart,
        "user": user_id,
        "n": (chat_id or "C")[1:],
    }
    filled = _PLACEHOLDER.sub(lambda found: values[found[1]], template)
    return clean_title(filled) or localpart
