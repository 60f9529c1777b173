"""Messages of a platform -> contents of Matrix events (pure).

What a platform says is not trusted. Markdown becomes HTML with raw HTML switched off,
and a sanitiser has the last word, with the tags that the Matrix specification lets
clients show. Whatever would be too much for a client is sent as the plain text it is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Final

import nh3
import orjson
from markdown_it import MarkdownIt
from markdown_it.token import Token

from adapter.plain_text import whole
from adapter.platform.base import Format, Message

Json = dict[str, Any]

MOST_BYTES: Final = 56_000
"""The largest content, as JSON. An event may have 65,536 bytes, and the server's own
part of it, and a relation to the event that asked, come on top."""

_PIECE: Final = 8_000
"""Characters of one event: at most 32 kB, and what slow Markdown costs stays bounded."""

_LONGEST: Final = 64_000
"""Characters of a message that is read as Markdown: the longest of chat answers, and
less than a second of work at its most hostile."""

_MOST_CELLS: Final = 5_000
"""Lines times columns. A table is filled up to its widest row, so that few characters
can be many cells."""

_DEEPEST: Final = 50
"""Levels of HTML. The specification asks clients for 100 and no more."""

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but tab and newline
    "\u202a-\u202e\u2066-\u2069]"  # what turns the direction of writing around
)
_NEWLINE: Final = re.compile("\r\n?|[\u2028\u2029]")
_FENCE: Final = re.compile(r"^ {0,3}(`{3,20}|~{3,20})([^`~\n]{0,40})$", re.MULTILINE)
_RULE: Final = re.compile(r"^[^\w\n]*$", re.MULTILINE)
_LANGUAGE: Final = re.compile(r"language-[A-Za-z0-9_+#.-]{1,40}")

# Pictures are left out: only those on a homeserver may be shown. The rule being off,
# `![a](url)` becomes a link.
_MARKDOWN: Final = (
    MarkdownIt("commonmark", {"html": False, "breaks": True})
    .enable(["table", "strikethrough"])
    .disable("image")
)


def contents(message: Message, msgtype: str = "m.text") -> tuple[Json, ...]:
    """The contents of the `m.room.message` events that say `message`.

    A long one is several, cut between paragraphs; one of nothing but blanks is none.
    The same message gives the same contents. Nobody is mentioned, whatever it says."""
    text = _cleaned(whole(message.text))
    markdown = message.format is Format.MARKDOWN and len(text) <= _LONGEST
    return tuple(
        _content(piece, msgtype, markdown) for piece in _pieces(text, markdown)
    )


def rendered(markdown: str) -> str | None:
    """Safe HTML of a short text in Markdown; `None` where plain text does as well.

    That is also the answer to what gets too deep, and to tables that are too large."""
    columns = max(line[0].count("|") for line in _RULE.finditer(markdown + "\n"))
    if columns * markdown.count("\n") > _MOST_CELLS:
        return None
    tokens = _MARKDOWN.parse(markdown)
    if max(map(_depth, tokens), default=0) > _DEEPEST:
        return None
    drawn = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    # Here once more: `&#x202e;` has become a character on the way.
    safe = _SANITISER.clean(_cleaned(drawn)).strip()
    if safe in ("", f"<p>{html.escape(markdown.strip(), quote=False)}</p>"):
        return None
    return safe


def _content(text: str, msgtype: str, markdown: bool) -> Json:
    # Empty mentions: without them, clients look for names and "@room" in the body.
    content: Json = {"msgtype": msgtype, "body": text, "m.mentions": {}}
    drawn = rendered(text) if markdown else None
    if drawn is not None:
        more = {"format": "org.matrix.custom.html", "formatted_body": drawn}
        if len(orjson.dumps(content | more)) <= MOST_BYTES:
            return content | more
    return content


def _depth(token: Token) -> int:
    return token.level + max((t.level for t in token.children or ()), default=0)


def _attribute(tag: str, name: str, value: str) -> str | None:
    match tag, name:
        case "code", "class":
            return value if _LANGUAGE.fullmatch(value) else None
        case "ol", "start":
            return value if value.isascii() and value.isdigit() else None
        case _:
            return value


def _cleaned(text: str) -> str:
    return _INVISIBLE.sub("", _NEWLINE.sub("\n", text))


def _pieces(text: str, markdown: bool) -> Iterator[str]:
    """Cut `text` where it hurts least: between paragraphs, lines, words, characters.

    A fence that is cut is closed, and opened again in the next piece."""
    opening = ""
    while len(text) > _PIECE:
        end = _border(text[:_PIECE])
        fence = _open_fence(opening + text[:end]) if markdown else None
        if fence and (start := fence.start() - len(opening)) > _PIECE // 2:
            end, fence = start, None
        piece, text = opening + text[:end], text[end:]
        opening = ""
        if fence:
            piece = f"{piece.rstrip()}\n{fence[1]}"
            opening = f"{fence[1]}{fence[2]}\n"
        if piece.strip():
            yield piece.strip("\n")
    if text.strip():
        yield (opening + text).strip("\n")


def _border(text: str) -> int:
    """Where to cut: at the last border in the second half, the kindest kind first."""
    half = len(text) // 2
    for border in ("\n\n", "\n", " "):
        found = text.rfind(border, half)
        if found > 0:
            return found + len(border)
    return len(text)


def _open_fence(text: str) -> re.Match[str] | None:
    """The line that opened the fence which is still open at the end of `text`."""
    opened: re.Match[str] | None = None
    for line in _FENCE.finditer(text):
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2].strip():
            opened = None
    return opened


_SANITISER: Final = nh3.Cleaner(
    tags={
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote"),
        *("strong", "em", "s", "del", "code", "pre", "a", "ul", "ol", "li"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    },
    # "*": else it adds `title` and `lang`, which clients need not know.
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}, "code": {"class"}},
    attribute_filter=_attribute,
    url_schemes={"http", "https", "ftp", "mailto", "magnet"},
    url_relative="deny",  # it would lead into the client
    link_rel=None,
)
