"""What the bot says in rooms: safe whatever people typed, and it says what to do next."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.matrix import phrases
from adapter.matrix.handlers.message import NAMES, Command, said
from adapter.matrix.rows import Row
from adapter.matrix.text import contents
from adapter.platform.base import Format, Message, PlatformBusy, PlatformError
from tests.adapter.platform.test_text import Reader, read

ALICE, VIA = "@alice:example.org", "example.org"
SPACE = Row("!s:example.org", "space", matrix_user_id=ALICE, name="Alice")
C1 = Row("!one:example.org", "chat", "C1", SPACE.room_id, ALICE, "p1", "Chat 1")
C2 = C1._replace(room_id="!two", chat_id="C2", name="Trip to Rome")
C10 = C1._replace(room_id="!ten", chat_id="C10", name="Ten", status="pending")
ARCHIVED = C2._replace(status="detached", reason="unlinked")
LOST = C1._replace(
    room_id="!lost", chat_id="C3", name="L", status="detached", reason="duplicate"
)

HOSTILE = [
    *("[x](https://evil.example)", "![x](https://evil.example/x.png)"),
    *("<https://evil.example>", "<a href='https://evil.example'>x</a>"),
    *(
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "&lt;b&gt;",
        "&#64;",
    ),
    *("](https://evil.example) [", "x](y)", "[x][y]", "[x]: https://evil.example"),
    "[@alice:example.org](https://matrix.to/#/@alice:example.org)",
    *("@room", "@alice:example.org", "*x*", "__x__", "~~x~~", "`x`", "```x", "~~~x"),
    *(
        "# x",
        "> x",
        "- x",
        "+ x",
        "* x",
        "1. x",
        "12) x",
        "---",
        "===",
        "|a|b|",
        ":-|-",
    ),
    *("    x", "\tx", "x\n\n# y", "x\r> y", "x\u2028- y", "x\\", "\\[x](y)", "x  "),
    *(
        "a\x00b",
        "&\x00lt;",
        "1\x00. x",
        "&\u200blt;",
        "\u202eevil",
        "\u2066x",
        "x\ud83d",
    ),
    *("-\n-", "a|b\n-|-", "&amp;amp;", "\ufeff# x", "\u200b# x", "&copy", "1\u200b. x"),
]


def hostile(test: Any) -> Any:
    """What an attacker would try first, before chance does."""
    for text in HOSTILE:
        test = example(text)(test)
    return test


# Mostly of what means something in Markdown or HTML.
TYPED = st.text() | st.text(
    st.sampled_from(
        r"\`*_{}[]()<>#+-.!|~&=:;/@\"' ab1" + "\n\t\r\x00\u200b\u202e\u2028"
    )
)


def html(message: Message) -> Reader:
    """What a client shows of it; of plain text, the text."""
    (content,) = contents(message, "m.notice")
    assert content["m.mentions"] == {}
    if "formatted_body" in content:
        return read(content["formatted_body"])
    reader = Reader()
    reader.said = content["body"]
    return reader


def shown(message: Message) -> str:
    return " ".join(html(message).said.split())


def rooms(message: Message) -> list[str]:
    """The rooms that it links to; every link is one, through the bot's server."""
    found = []
    for link in html(message).links:
        url, fragment = link.split("#")
        room, query = fragment.split("?")
        assert url == "https://matrix.to/"
        assert parse_qs(query) == {"via": [VIA]}
        found.append(unquote(room.removeprefix("/")))
    return found


# --- what people typed --------------------------------------------------------


@hostile
@given(TYPED)
def test_typed_text_stays_text(text: str) -> None:
    """At the start of a line or within it, it is shown to the letter, and is no markup."""
    words = phrases.clean_title(text[:200])
    typed = phrases.escaped_markdown(text[:200])
    for before, after in (
        ("", ""),
        ("say ", " twice"),
        ("\n\n", "\n\nend"),
        ("a|b\n", ""),
    ):
        page = contents(Message(f"{before}{typed}{after}", Format.MARKDOWN))
        if words is None:
            assert typed == ""
            continue
        drawn = page[0].get("formatted_body")
        if drawn is None:  # plain text does as well
            assert typed == words
            continue
        assert set(re.findall(r"<(\w+)", drawn)) <= {"p", "br"}
        expected = " ".join(f"{before}{words}{after}".split())
        assert " ".join(read(drawn).said.split()) == expected


@hostile
@given(TYPED)
def test_a_title_cannot_break_out_of_its_link(text: str) -> None:
    """The link leads to the room, and is called as the room is."""
    page = html(phrases.renamed(C1._replace(name=text), VIA))
    title = phrases.clean_title(text) or "C1"
    assert page.said.strip() == f"This chat is now C1 {title}."
    assert rooms(phrases.renamed(C1._replace(name=text), VIA)) == [C1.room_id]


@hostile
@given(TYPED)
def test_what_was_asked_for_is_only_quoted(text: str) -> None:
    """What follows `!restore` is said back as it is."""
    message = phrases.no_such_chat(text)
    assert rooms(message) == []
    title = phrases.clean_title(text) or ""
    assert shown(message) == f'You have no chat "{title}". !chats lists them.'


@hostile
@given(TYPED)
def test_a_title_is_one_line_without_controls(text: str) -> None:
    """Cleaning it again changes nothing."""
    title = phrases.clean_title(text)
    if title is not None:
        assert title == title.strip() != ""
        assert len(title) <= 255
        assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(c) for c in title}
        assert not set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e") & set(title)
        assert not set("\u2066\u2067\u2068\u2069\ufeff") & set(title)
        assert phrases.clean_title(title) == title


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\x00", "\u202e \u200b", "\u200d"])
def test_a_title_of_nothing_is_none(blank: str) -> None:
    """Also one that nobody could see."""
    assert phrases.clean_title(blank) is None


def test_a_title_keeps_what_people_write() -> None:
    """Emoji of several characters, accents, other scripts; a long one is cut."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    for title in (
        f"Us {family}",
        "Zo\u00eb's #1 (& only!)",
        "\u0645\u0631\u062d\u0628\u0627",
    ):
        assert phrases.clean_title(f"  {title}\n") == title
    assert phrases.clean_title("two\n\n  lines") == "two lines"
    assert phrases.clean_title("x" * 254 + " yz") == "x" * 254


def test_ordinary_words_are_not_escaped() -> None:
    """Clients without HTML show the Markdown itself."""
    plain = "Zo\u00eb's trip, no. 2 (Rome & more!): a-b = c + d"
    assert phrases.escaped_markdown(plain) == plain


# --- links --------------------------------------------------------------------


@pytest.mark.parametrize("room_id", ["!a:example.org", "!x/?#&%()[]_*", "!31hneApx-_Z"])
def test_a_link_survives_any_room_id(room_id: str) -> None:
    """Those of version 12 name no server; others may hold any character."""
    assert rooms(phrases.created(C1._replace(room_id=room_id), VIA)) == [room_id]
    link = phrases.room_link(room_id, "[::1]:8448")
    assert urlsplit(link).netloc == "matrix.to"
    assert re.fullmatch(
        r"https://matrix\.to/#/[\w.%~-]+\?via=%5B%3A%3A1%5D%3A8448", link
    )


def test_a_room_without_a_name_is_called_by_its_number() -> None:
    """Something has to be there to click on."""
    assert (
        shown(phrases.renamed(C1._replace(name=None), VIA)) == "This chat is now C1 C1."
    )
    space = SPACE._replace(name="\u202e")
    assert rooms(phrases.welcome_back(space, [], VIA)) == [SPACE.room_id]


# --- what is said -------------------------------------------------------------


def test_a_welcome_leads_to_the_space_and_the_chat() -> None:
    """Where the direct chat is encrypted, no command is promised: it could not be read."""
    for encrypted in (False, True):
        message = phrases.welcome(SPACE, [C1], VIA, encrypted=encrypted)
        assert rooms(message) == [SPACE.room_id, C1.room_id]
        assert ("!new" in shown(message)) is not encrypted
        assert ("not encrypted" in shown(message)) is encrypted


@pytest.mark.parametrize(
    "say",
    [
        lambda chats: phrases.where_to_go(chats, VIA),
        lambda chats: phrases.welcome_back(None, chats, VIA),
        lambda chats: phrases.encrypted(chats, VIA),
    ],
    ids=["where to go", "welcome back", "encrypted"],
)
def test_a_pointer_leads_only_to_chats_in_use(say: Any) -> None:
    """Where there is none, it says how to get one."""
    assert rooms(say([C10, ARCHIVED, LOST, C1])) == [C1.room_id, C10.room_id]
    for chats in ([], [ARCHIVED, LOST]):
        assert rooms(say(chats)) == []
        assert "!new" in shown(say(chats)) or "direct chat" in shown(say(chats))


def test_whoever_comes_back_is_led_to_their_space() -> None:
    """And told if what they write there cannot be read."""
    message = phrases.welcome_back(SPACE, [C1], VIA, encrypted=True)
    assert rooms(message) == [SPACE.room_id, C1.room_id]
    assert "not encrypted" in shown(message)


def test_the_list_of_chats() -> None:
    """By number, not by letters; archived and left ones marked, duplicates left out."""
    left = LOST._replace(room_id="!left", name="Three", reason="owner_left")
    message = phrases.chats([C10, LOST, ARCHIVED, left, C1], C1.room_id, VIA)
    assert shown(message) == (
        "Your chats: C1 Chat 1 (this room) C2 Trip to Rome (archived)"
        " C3 Three (left; !restore C3 invites you again) C10 Ten (not joined yet)"
    )
    assert rooms(message) == [C1.room_id, C2.room_id, left.room_id, C10.room_id]
    here = phrases.chats([ARCHIVED], ARCHIVED.room_id, VIA)
    assert "C2 Trip to Rome (this room, archived)" in shown(here)


@pytest.mark.parametrize("rows", [[], [ARCHIVED], [LOST]])
def test_a_list_without_a_chat_in_use_says_how_to_get_one(rows: Sequence[Row]) -> None:
    """Archived ones stand in it all the same."""
    message = phrases.chats(rows, None, VIA)
    assert "`!new` makes one." in message.text
    assert len(rooms(message)) == (ARCHIVED in rows)


def test_a_duplicate_leads_to_the_room_in_use() -> None:
    """A word in it is not lost: it says where to say it."""
    assert rooms(phrases.go_to_winner(C1, VIA)) == [C1.room_id]


@pytest.mark.parametrize("say", [phrases.archived, phrases.still_archived])
def test_what_is_archived_says_how_to_restore_it(say: Any) -> None:
    """By a command that can be copied as it stands."""
    copied = re.findall(r"`([^`]+)`", say(ARCHIVED).text)
    event = {
        "type": "m.room.message",
        "sender": ALICE,
        "content": {"msgtype": "m.text", "body": copied[0]},
    }
    assert said(event, "@bot:example.org") == Command("restore", "C2")
    assert "C" not in say(ARCHIVED._replace(chat_id=None)).text


def test_help_names_every_command_once() -> None:
    """Each on a line of its own, and no other."""
    lines = phrases.commands().text.splitlines()[2:]
    named = [re.findall(r"!(\w+)", line) for line in lines]
    assert named == [[name] for name in NAMES]


@pytest.mark.parametrize("error", [PlatformError("secret"), PlatformBusy("secret", 7)])
def test_an_error_of_the_platform_says_only_what_is_for_the_room(
    error: PlatformError,
) -> None:
    """The rest is for whoever runs the bot."""
    assert shown(phrases.platform_failure(error)) == error.for_room


EVERYTHING = [
    phrases.welcome(SPACE, [C1], VIA, encrypted=True),
    phrases.welcome_back(SPACE, [C1, C10], VIA),
    phrases.where_to_go([C1], VIA),
    phrases.go_to_winner(C1, VIA),
    phrases.still_archived(ARCHIVED),
    phrases.media(),
    phrases.encrypted([C1], VIA),
    phrases.encrypted([], VIA),
    phrases.try_later(),
    phrases.not_seen_yet(),
    phrases.no_power(),
    phrases.alone("archive"),
    phrases.takes_a_moment(),
    phrases.unsure(),
    phrases.platform_failure(PlatformError("x")),
    phrases.internal_failure(),
    phrases.commands(),
    phrases.created(C1, VIA),
    phrases.chats([C1, ARCHIVED], C1.room_id, VIA),
    phrases.renamed(C1, VIA),
    phrases.archived(ARCHIVED),
    phrases.restored(C2, VIA),
    phrases.reset(),
    phrases.rename_how(),
    phrases.restore_how(),
    phrases.no_such_chat("C9"),
    phrases.still_in_use(C1, VIA),
    phrases.cannot_be_restored(LOST),
    phrases.not_here("rename"),
]


@pytest.mark.parametrize("message", EVERYTHING)
def test_every_sentence_is_one_short_safe_event(message: Message) -> None:
    """It is whole, shows no Markdown, and every command in it exists."""
    text = shown(message)
    assert 10 < len(text) < 600
    assert not re.search(r"None|\*\*|`|\]\(|\\", text)
    assert set(re.findall(r"!(\w+)", text)) <= set(NAMES)
    assert not html(message).open
