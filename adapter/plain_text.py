"""Text that other people typed, made safe to print (pure).

A name can hold control characters and marks that turn the direction of writing: they
could rewrite the line that they stand in."""

from __future__ import annotations

import re
from collections.abc import Iterable

HALVES = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs: JSON may hold them alone, UTF-8 may not."""


def escaped(text: str) -> str:
    """Write whatever has no glyph of its own as `\\x1b` or `\\u202e`; never raises."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def whole(text: str) -> str:
    """Put U+FFFD for the halves of surrogate pairs, so that UTF-8 can hold it."""
    return HALVES.sub("\ufffd", text)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Put `***` for every one of `secrets`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
