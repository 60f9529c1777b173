"""What every platform has in common: a turn goes in, messages come out, errors say who acts.

    PlatformError            it did not answer, and asking again will not help
    ├── PlatformBusy            nobody: it is worth asking again later
    │   └── PlatformUnreachable   whoever looks after the network, or the platform
    ├── PlatformMisconfigured   whoever wrote `platform` in the configuration
    ├── PlatformRefused         whoever runs the platform: its log says why
    ├── BadAnswer               the platform's authors: an answer against the contract
    └── FileUnusable            whoever looks after the disk

The text of each is one sentence for the operator that says what to do; `for_room` is
what the person who wrote may read. Neither holds a token or a word of the conversation.
"""

# ruff: noqa: N818 - the names say what happened; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Format(StrEnum):
    """How the text of a message is to be read."""

    MARKDOWN = "markdown"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Turn:
    """One word of a person in one conversation. What was said is in no repr."""

    platform_chat_id: str
    matrix_user_id: str
    room_id: str
    event_id: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an answer. What is said is in no repr."""

    text: str = field(repr=False)
    format: Format = Format.PLAIN


class Platform(Protocol):
    """The backend that answers. `adapter.platform.platform` opens and closes it."""

    async def answer(self, turn: Turn) -> tuple[Message, ...]:
        """Answer one turn, maybe with nothing; raises `PlatformError`.

        The same event asked again is the same turn: it goes on with the conversation
        once, also when the first answer never arrived."""
        ...


class PlatformError(Exception):
    """The platform did not answer, and the same question again would not help."""

    for_room = "This could not be answered. Whoever runs this bot can find out why."

    advice = ""
    """What to do, as a clause that ends the sentence."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: {self.advice}" if self.advice else what)


class PlatformBusy(PlatformError):
    """It cannot answer just now, and was asked as often as makes sense for now.

    `retry_after` is how many seconds it wants to be left alone, if it said so."""

    for_room = "Nobody can answer just now. Please say it again in a few minutes."
    advice = "it is worth asking again later"

    def __init__(self, what: str, retry_after: float | None = None) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class PlatformUnreachable(PlatformBusy):
    """No whole answer came. The platform may have heard the question all the same."""

    advice = "check that it runs, and `platform.url` and `platform.timeout`"


class PlatformMisconfigured(PlatformError):
    """The address or the token is not the platform's."""

    advice = "correct `platform` in the configuration"


class PlatformRefused(PlatformError):
    """The platform heard the question and refused it, or broke on it."""

    advice = "the platform's log says why"


class BadAnswer(PlatformError):
    """The platform sent something that is no answer by the contract."""

    advice = "docs/platform-http.md says what an answer looks like"


class FileUnusable(PlatformError):
    """The file of `echo` cannot be opened, read or written."""

    advice = "correct that, or set another `platform.path`"
