"""Every sentence that the bot says in rooms (pure): short, and it says what to do next.

Each is a `Message` in Markdown, to be sent as a notice. Whatever people typed, titles above
all, is escaped in it: it cannot become a link, a mention or HTML. `via` is the server that
links to rooms go through: the bot's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from adapter.matrix.rows import PENDING, Row
from adapter.plain_text import whole
from adapter.platform.base import Format, Message, PlatformError
from controller.model import DETACHED

LONGEST_TITLE: Final = 255
"""Characters of a room's name."""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are no blanks
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\u200b\u2060-\u2064\ufeff]"  # no width; not the joiners: emoji need them
)
_SPACE: Final = re.compile(r"\s+")

_MARKUP: Final = re.compile(r"[\\`*_~|<>\[\]]|&(?=[#\w])")
_OPENING: Final = re.compile(r"^([0-9]*)([-+=#.)])")
"""What makes a line a list, a heading or a rule."""


# --- what people typed -----------------------------------------------------------


def clean_title(text: str) -> str | None:
    """One line of at most 255 characters, without controls; `None` if nothing is left."""
    return _trimmed(_line(text)[:LONGEST_TITLE]) or None


def escaped_markdown(text: str) -> str:
    """Markdown for exactly these words, on one line, wherever they stand in a text."""
    return _OPENING.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", _line(text)))


def _line(text: str) -> str:
    return _trimmed(_SPACE.sub(" ", _UNSEEN.sub("", whole(text))))


def _trimmed(line: str) -> str:
    return line.strip(" \u200c\u200d")  # a joiner alone is not to be seen, either


# --- links -----------------------------------------------------------------------


def room_link(room_id: str, via: str) -> str:
    """Where a click leads to the room (spec, matrix.to navigation)."""
    return f"https://matrix.to/#/{quote(room_id, safe='')}?via={quote(via, safe='')}"


def _linked(row: Row, via: str) -> str:
    title = clean_title(row.name or "") or row.chat_id or "a room without a name"
    return f"[{escaped_markdown(title)}]({room_link(row.room_id, via)})"


def _chat(row: Row, via: str) -> str:
    """A chat as it stands in a sentence: "C1 [Chat 1](...)"."""
    return " ".join(filter(None, (row.chat_id, _linked(row, via))))


def _listed(rows: Iterable[Row], via: str, here: str | None = None) -> str:
    return "\n".join(
        f"- {_chat(row, via)}{_remark(row, here)}" for row in sorted(rows, key=_number)
    )


def _number(row: Row) -> tuple[int, str, str]:
    chat_id = row.chat_id or ""
    return len(chat_id), chat_id, row.room_id


def _remark(row: Row, here: str | None) -> str:
    remarks = []
    if row.room_id == here:
        remarks.append("this room")
    if row.status == PENDING:
        remarks.append("not joined yet")
    if _is_archived(row):
        remarks.append("archived")
    if _was_left(row) and row.chat_id:
        remarks.append(f"left; `!restore {row.chat_id}` invites you again")
    return f" ({', '.join(remarks)})" if remarks else ""


def _is_archived(row: Row) -> bool:
    return row.status == DETACHED and row.reason == "unlinked"


def _was_left(row: Row) -> bool:
    return row.status == DETACHED and row.reason == "owner_left"


def _in_use(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.status != DETACHED]


def _said(*paragraphs: str) -> Message:
    return Message("\n\n".join(filter(None, paragraphs)), Format.MARKDOWN)


# --- in the direct chat ------------------------------------------------------------

_UNREADABLE: Final = (
    "I cannot read encrypted messages yet; this notice is not encrypted."
)
_CANNOT_READ_HERE: Final = (
    "I cannot read encrypted messages yet, so neither what you write here nor any "
    "command; this notice is not encrypted."
)
_NO_CHAT: Final = "You have no chat in use. `!new` makes one."


def welcome(
    space: Row, chats: Sequence[Row], via: str, *, encrypted: bool = False
) -> Message:
    """To somebody whose Space was just made."""
    return _said(
        _CANNOT_READ_HERE if encrypted else "",
        f"Hello! I have made a Space for you: {_linked(space, via)}. "
        "Accept the invitations, and write to me in your chat:",
        _listed(chats, via),
        "" if encrypted else "`!new` makes another chat; `!help` lists what else I do.",
    )


def welcome_back(
    space: Row | None, chats: Sequence[Row], via: str, *, encrypted: bool = False
) -> Message:
    """To somebody who has a Space and began a new direct chat."""
    hello = "Welcome back!"
    if space is not None:
        hello += f" Your Space is {_linked(space, via)}."
    return _said(
        _CANNOT_READ_HERE if encrypted else "", hello, _where_to_write(chats, via)
    )


def where_to_go(chats: Sequence[Row], via: str) -> Message:
    """To a word in the direct chat, where nothing is answered."""
    return _said("I only answer in your chats.", _where_to_write(chats, via))


def _where_to_write(chats: Sequence[Row], via: str) -> str:
    usable = _in_use(chats)
    if not usable:
        return _NO_CHAT
    return f"Please write to me in one of your chats:\n\n{_listed(usable, via)}"


# --- in rooms that are not answered ------------------------------------------------


def go_to_winner(winner: Row, via: str) -> Message:
    """In a duplicate: which room of the two is in use."""
    return _said(
        "There are two rooms for this chat, and this one is not in use. "
        f"Please write in {_chat(winner, via)}."
    )


def still_archived(chat: Row) -> Message:
    """In an archived chat, or about one."""
    return _said(f"This chat is archived: nothing is answered in it. {_restore(chat)}")


def media() -> Message:
    """To an image, a file, a voice message..."""
    return _said("I can only read text so far. Please say it in words.")


def encrypted(chats: Sequence[Row], via: str) -> Message:
    """To what could not be read; `chats`: others of the owner's, to write in instead."""
    usable = _in_use(chats)
    if usable:
        instead = (
            f"Please write in a chat without encryption:\n\n{_listed(usable, via)}"
        )
    else:
        instead = "Please begin a direct chat with me without encryption."
    return _said(_UNREADABLE, instead)


# --- when something does not work ---------------------------------------------------


def try_later() -> Message:
    """While not everything of the owner's can be seen, so that nothing may be made."""
    return _said(
        "I cannot see all of your rooms right now, so I make nothing new. "
        "Please try again in a few minutes."
    )


def not_seen_yet() -> Message:
    """After a command that was carried out, while its room does not show it."""
    return _said(
        "That is written down, but the server does not show it to me yet. It holds as "
        "soon as it does, in a few minutes as a rule."
    )


def takes_a_moment() -> Message:
    """While it is not certain whether a room was made."""
    return _said(
        "The server has not said whether the room was made, so this takes a moment. "
        "If there is no invitation in a few minutes, please ask again."
    )


def no_power() -> Message:
    """To a command that the server forbids the bot to carry out."""
    return _said(
        "The server does not let me do that: I have too little power in this room, or in "
        "your Space. Nothing was changed; somebody with power there can give it to me."
    )


def unsure() -> Message:
    """While a room and its row contradict each other."""
    return _said(
        "I am not certain which conversation this room belongs to, so I passed nothing "
        "on. Please say it again in a few minutes. If it stays like this, tell whoever "
        "runs this bot."
    )


def platform_failure(error: PlatformError) -> Message:
    """What the platform's error has for the room: it is no Markdown."""
    return Message(error.for_room)


def internal_failure() -> Message:
    """After an error that nobody foresaw; its details are in the log."""
    return _said(
        "Something went wrong, and this was not done. Please try again. If it happens "
        "again, tell whoever runs this bot."
    )


# --- commands ------------------------------------------------------------------------

_COMMANDS: Final = (
    ("!new [title]", "make a new chat"),
    ("!chats", "list your chats"),
    ("!rename title", "give this chat another title"),
    ("!archive", "take this chat out of your Space"),
    ("!restore C2", "bring back a chat that you archived or left"),
    ("!reset", "begin a new conversation in this chat"),
    ("!help", "show this list"),
)


def commands() -> Message:
    """What `!help` says."""
    listed = "\n".join(f"- `{usage}`: {what}" for usage, what in _COMMANDS)
    return _said("This is what I do:", listed)


def created(chat: Row, via: str) -> Message:
    """After `!new`."""
    return _said(
        f"I have made {_chat(chat, via)}. Accept the invitation, and write there."
    )


def chats(rows: Sequence[Row], here: str | None, via: str) -> Message:
    """After `!chats`: chats in use, left and archived ones of `rows`, by number.

    `here` is the room that the list is said in. Duplicates and the like are left out."""
    listed = [
        row
        for row in rows
        if row.status != DETACHED or _is_archived(row) or _was_left(row)
    ]
    head = "Your chats:" if listed else ""
    return _said(head, _listed(listed, via, here), "" if _in_use(listed) else _NO_CHAT)


def renamed(chat: Row, via: str) -> Message:
    """After `!rename`; `chat` has its new title."""
    return _said(f"This chat is now {_chat(chat, via)}.")


def archived(chat: Row) -> Message:
    """After `!archive`."""
    return _said(
        f"This chat is archived, and nothing is answered in it any more. {_restore(chat)}"
    )


def restored(chat: Row, via: str) -> Message:
    """After `!restore`."""
    if chat.status == PENDING:
        return _said(
            f"{_chat(chat, via)} is back, and you are invited again: accept the "
            "invitation, and write there."
        )
    return _said(f"{_chat(chat, via)} is in use again. Please write there.")


def reset() -> Message:
    """After `!reset`."""
    return _said(
        "A new conversation begins here. What was said before stays in the room, but it "
        "is no longer part of the conversation."
    )


def rename_how() -> Message:
    """To `!rename` without a title."""
    return _said("Please say which title: `!rename My title`.")


def restore_how() -> Message:
    """To `!restore` without a number."""
    return _said("Please say which chat: `!restore C2`. `!chats` lists them.")


def no_such_chat(asked: str) -> Message:
    """To `!restore` with something that is none of the owner's chats."""
    title = escaped_markdown(clean_title(asked) or "")
    return _said(f'You have no chat "{title}". `!chats` lists them.')


def still_in_use(chat: Row, via: str) -> Message:
    """To `!restore` of a chat that is not archived."""
    if chat.status == PENDING:
        return _said(
            f"You are invited to {_chat(chat, via)}: accept the invitation, and write there."
        )
    return _said(f"{_chat(chat, via)} is not archived. Please write there.")


def cannot_be_restored(chat: Row) -> Message:
    """To `!restore` of a chat that was given up for another reason than `!archive`."""
    named = chat.chat_id or "This chat"
    return _said(f"{named} cannot be restored. `!new` makes a new chat.")


def not_here(name: str) -> Message:
    """To a command that means the chat it is said in, anywhere else."""
    return _said(f"`!{name}` is for a chat that is in use: say it in the one you mean.")


def alone(name: str) -> Message:
    """To a command with words after it that would be about the chat it is said in."""
    return _said(
        f"`!{name}` is about the chat that it is said in, and takes nothing after it. "
        "Nothing was changed."
    )


def _restore(chat: Row) -> str:
    which = (
        f"`!restore {chat.chat_id}`" if chat.chat_id else "`!restore` with its number"
    )
    return f"{which} brings it back: say that here, in our direct chat, or in another chat."
