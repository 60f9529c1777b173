"""What an event of a room's timeline is to the bot: a word, a command, or neither. Pure.

What was said is in no repr: it must not come into a log by way of a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapter.plain_text import whole

MESSAGE: Final = "m.room.message"
ENCRYPTED: Final = "m.room.encrypted"

NAMES: Final = ("new", "chats", "rename", "archive", "restore", "reset", "help")
"""The commands there are, without their exclamation mark."""


@dataclass(frozen=True, slots=True)
class Word:
    """Something for the platform to answer. An emote reads "* waves"."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Command:
    """One of `NAMES`, and the rest of what was typed, maybe nothing."""

    name: str
    argument: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a file, a location, or a kind of message that nobody knows yet."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """Something that the bot cannot read."""


Said = Word | Command | Media | Encrypted | None

_UNSAID: Final = frozenset(
    {
        # A notice is never answered (spec, m.notice): two bots would not stop.
        "m.notice",
        "m.server_notice",
        # One client asks another; its person said nothing.
        "m.key.verification.request",
    }
)

_COMMAND: Final = re.compile(r"!(\w+)(?:\s+(.*))?", re.DOTALL)

_FALLBACK: Final = re.compile(r"> (?:\* )?<@[^\n>]*>[^\n]*(?:\n>[^\n]*)*\n*")
"""What clients put before a reply until version 1.13 of the specification. It names who
is quoted, so that a quotation that somebody typed is none."""


def said(event: Any, me: str) -> Said:
    """Read one event; `None` for whatever is not said to the bot, and for what is broken.

    That is: state, notices, edits, redacted events and the bot's own. Nothing that an
    event holds makes this raise."""
    content = _content(event, me)
    if content is None or _is_edit(content):
        return None
    if event.get("type") == ENCRYPTED:
        return Encrypted()
    match content.get("msgtype"):
        case "m.text" | "m.emote" as msgtype:
            return _text(content, emote=msgtype == "m.emote")
        case str(msgtype) if msgtype and msgtype not in _UNSAID:
            return Media()
        case _:
            return None


def _content(event: Any, me: str) -> Mapping[str, Any] | None:
    """The content of a message that somebody else sent and nobody took back."""
    if not isinstance(event, dict) or "state_key" in event:
        return None
    if event.get("type") not in (MESSAGE, ENCRYPTED):
        return None
    sender, content = event.get("sender"), event.get("content")
    if not isinstance(sender, str) or sender == me:
        return None
    # A redacted event keeps its type, and its content is empty.
    return content if isinstance(content, dict) and content else None


def _is_edit(content: Mapping[str, Any]) -> bool:
    relation = content.get("m.relates_to")
    replaces = isinstance(relation, dict) and relation.get("rel_type") == "m.replace"
    return replaces or "m.new_content" in content


def _is_reply(content: Mapping[str, Any]) -> bool:
    relation = content.get("m.relates_to")
    return isinstance(relation, dict) and "m.in_reply_to" in relation


def _text(content: Mapping[str, Any], *, emote: bool) -> Word | Command | None:
    body = content.get("body")
    if not isinstance(body, str):
        return None
    text = whole(body)
    if _is_reply(content) and (fallback := _FALLBACK.match(text)):
        text = text[fallback.end() :]
    if not text.strip():
        return None
    if emote:
        # Never a command: it tells what somebody does.
        return Word(f"* {text}")
    return _command(text.strip()) or Word(text)


def _command(text: str) -> Command | None:
    found = _COMMAND.fullmatch(text)
    if found is None or (name := found[1].lower()) not in NAMES:
        return None
    return Command(name, (found[2] or "").strip())
