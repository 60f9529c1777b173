"""What an event is to the bot: something said to it, and what, or nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.matrix.handlers.message import (
    NAMES,
    Command,
    Encrypted,
    Media,
    Word,
    said,
)

ME, ALICE = "@bot:hs", "@alice:hs"
REPLY = {"m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}}}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def event(content: Any, kind: str = "m.room.message", **more: Any) -> dict[str, Any]:
    return {"type": kind, "sender": ALICE, "event_id": "$e", "content": content} | more


def text(body: Any, **more: Any) -> dict[str, Any]:
    return event({"msgtype": "m.text", "body": body} | more)


# --- what says nothing --------------------------------------------------------


@pytest.mark.parametrize(
    "unsaid",
    [
        text("hi") | {"sender": ME},
        text("hi") | {"sender": None},
        text("hi") | {"state_key": ""},
        text("hi") | {"type": "m.room.topic"},
        text("hi") | {"type": ["m.room.message"]},
        text("!reset") | {"sender": ME},
        event({"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted", sender=ME),
        event({}),
        event({}, "m.room.encrypted"),
        event(None),
        event("hi"),
        event({"body": "hi"}),
        event({"msgtype": "", "body": "hi"}),
        event({"msgtype": ["m.text"], "body": "hi"}),
        event({"msgtype": "m.text"}),
        text(None),
        text(["hi"]),
        text(""),
        text(" \n\t\u2003"),
        event({"msgtype": "m.notice", "body": "hi"}),
        event({"msgtype": "m.notice", "body": "!reset"}),
        event({"msgtype": "m.server_notice", "body": "hi"}),
        event({"msgtype": "m.key.verification.request", "body": "hi"}),
        event({"m.relates_to": {}}, "m.reaction"),
        None,
        [],
        "hi",
    ],
)
def test_what_is_not_said_to_the_bot(unsaid: Any) -> None:
    """Its own words, state, notices, and what is redacted or broken, are nothing."""
    assert said(unsaid, ME) is None


@pytest.mark.parametrize(
    "edit",
    [
        {"m.relates_to": {"rel_type": "m.replace", "event_id": "$e"}},
        {"m.new_content": {"msgtype": "m.text", "body": "!reset"}},
        {"m.new_content": None},
    ],
)
def test_an_edit_is_not_said_again(edit: dict[str, Any]) -> None:
    """Whatever was said before it was edited has been answered."""
    assert said(text("* !reset", **edit), ME) is None
    assert said(text("!reset", **edit), ME) is None
    secret = {"algorithm": "m.megolm.v1.aes-sha2", **edit}
    assert said(event(secret, "m.room.encrypted"), ME) is None


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["m.room.message", "m.room.encrypted"]) | JSON,
            "sender": st.just(ALICE) | JSON,
            "state_key": JSON,
            "content": JSON
            | st.fixed_dictionaries(
                {},
                optional={
                    "msgtype": st.sampled_from(["m.text", "m.emote"]) | JSON,
                    "body": JSON,
                    "m.relates_to": JSON
                    | st.dictionaries(
                        st.sampled_from(["rel_type", "m.in_reply_to"]), JSON
                    ),
                },
            ),
        },
    )
    | JSON
)
def test_no_event_is_too_broken(anything: Any) -> None:
    """Whatever JSON a server hands out is read, and a word is never blank."""
    heard = said(anything, ME)
    if isinstance(heard, Word):
        assert heard.text.strip()
    if isinstance(heard, Command):
        assert heard.name in NAMES


# --- words --------------------------------------------------------------------


def test_a_word_is_what_was_typed() -> None:
    """Blanks and lines stay: they may be code."""
    assert said(text("  if x:\n    y\n"), ME) == Word("  if x:\n    y\n")


def test_an_emote_tells_that_it_is_one() -> None:
    """The platform hears that somebody does something; it is never a command."""
    assert said(event({"msgtype": "m.emote", "body": "waves"}), ME) == Word("* waves")
    emote = event({"msgtype": "m.emote", "body": "!reset"})
    assert said(emote, ME) == Word("* !reset")


def test_half_a_character_is_mended() -> None:
    """UTF-8 could not hold it."""
    assert said(text("a\ud83d"), ME) == Word("a\ufffd")


@pytest.mark.parametrize("cut", ["hi <b>there</b>", "> hi", "m.notice"])
def test_other_fields_do_not_change_a_word(cut: str) -> None:
    """The body is what counts, also beside HTML and odd relations."""
    more = {"formatted_body": "<p>no</p>", "m.relates_to": "garbage"}
    assert said(text(cut, **more), ME) == Word(cut)


@pytest.mark.parametrize(
    "quoted",
    [
        "> <@bob:hs> how are you?\n\n",
        "> <@bob:hs> how\n> are\n>\n> you?\n\n",
        "> <@bob:hs> how\n> \n> you?\n",
        "> * <@bob:hs> waves\n\n",
        "> <@bob:hs>\n\n",
    ],
)
def test_a_reply_is_heard_without_what_it_quotes(quoted: str) -> None:
    """Older clients put the quotation before it; a command behind it is one."""
    assert said(text(quoted + "fine > good", **REPLY), ME) == Word("fine > good")
    assert said(text(quoted + "!help", **REPLY), ME) == Command("help")
    assert said(text(quoted, **REPLY), ME) is None
    in_thread = {
        "m.relates_to": {
            **REPLY["m.relates_to"],
            "rel_type": "m.thread",
            "event_id": "$t",
        }
    }
    assert said(text(quoted + "fine", **in_thread), ME) == Word("fine")


def test_what_somebody_quotes_themselves_stays() -> None:
    """Without a reply, or without a name in it, it belongs to the word."""
    assert said(text("> <@bob:hs> hi\n\nno"), ME) == Word("> <@bob:hs> hi\n\nno")
    assert said(text("> to be\n\nor not", **REPLY), ME) == Word("> to be\n\nor not")
    late = "well\n> <@bob:hs> hi\n\nno"
    assert said(text(late, **REPLY), ME) == Word(late)


@pytest.mark.parametrize(
    "long",
    [
        "> <@b:hs> x" + "\n>" * 30_000,
        "!new" + " " * 60_000 + "\x00",
        "!" + "a" * 60_000,
    ],
    ids=["quotation", "blanks", "name"],
)
def test_a_hostile_body_is_read_at_once(long: str) -> None:
    """No body makes the parser try again and again; an event holds 65,536 bytes."""
    began = time.process_time()
    said(text(long, **REPLY), ME)
    assert time.process_time() - began < 5


# --- commands -----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_command_and_its_argument(name: str) -> None:
    """Case and blanks around do not matter; within the argument both are kept."""
    assert said(text(f"!{name}"), ME) == Command(name)
    assert said(text(f" !{name.upper()} \n"), ME) == Command(name)
    assert said(text(f"!{name} My  Title\nx "), ME) == Command(name, "My  Title\nx")
    assert said(text(f"!{name}\nC2"), ME) == Command(name, "C2")


@pytest.mark.parametrize(
    "word",
    [
        "!",
        "!!reset",
        "! reset",
        "!resets",
        "!reset!",
        "!restoreC2",
        "!delete",
        "say !reset",
        "!important: read",
        "!=",
        "\u00a1reset",
        "`!reset`",
        "!reset\u0301",
    ],
)
def test_whatever_else_begins_with_an_exclamation_mark_is_a_word(word: str) -> None:
    """Platforms may have commands of their own; nearly a command is none."""
    assert said(text(word), ME) == Word(word)


# --- media, encrypted ---------------------------------------------------------


@pytest.mark.parametrize(
    "msgtype",
    ["m.image", "m.file", "m.audio", "m.video", "m.location", "com.example.x"],
)
def test_whatever_is_no_text_is_media(msgtype: str) -> None:
    """Also kinds that nobody knows yet, and captions do not make it a word."""
    assert said(event({"msgtype": msgtype, "body": "!reset"}), ME) == Media()
    assert said(event({"msgtype": msgtype}), ME) == Media()


def test_what_is_encrypted_is_told_apart() -> None:
    """It cannot be read, and is not media."""
    secret = event({"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted")
    assert said(secret, ME) == Encrypted()
    assert said(secret, ME) != Media()
    assert said(secret, ME)


# --- what was said is private -------------------------------------------------


@pytest.mark.parametrize("body", ["a secret", "!rename a secret"])
def test_no_repr_shows_what_was_said(body: str) -> None:
    """Values are logged; words are not."""
    heard = said(text(body), ME)
    assert heard is not None
    assert "secret" not in f"{heard!r} {heard}"
