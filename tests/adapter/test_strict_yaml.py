"""YAML, read strictly and written so that a terminal can show it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.plain_text import escaped
from adapter.strict_yaml import StrictYamlError, dump, load

TEXT = st.text(
    st.sampled_from(
        "a\\u202eU0001F600: -#'\"!&*|>\n\t\x00\x7f\u202e\u3000\x85\u2028\ufeff😀é漢"
    )
    | st.characters(exclude_categories=["Cs"])
)
DATA = st.dictionaries(
    TEXT,
    st.recursive(
        TEXT
        | st.integers()
        | st.booleans()
        | st.none()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
        max_leaves=8,
    ),
)


@given(DATA)
def test_what_is_written_reads_back(data: dict[str, object]) -> None:
    """Every text comes back, and nothing in the output could move a cursor."""
    text = dump(data)
    assert load(text) == data
    assert all(char.isprintable() or char == "\n" for char in text)


def test_letters_and_emoji_stay_readable() -> None:
    text = dump({"name": "Zoë 漢字 😀 \u202e \\U0001F600"})
    assert text == 'name: "Zoë 漢字 😀 \\u202E \\\\U0001F600"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "a: &x 1\nb: *x",
            "line 2, column 4: aliases are not read; write the value out",
        ),
        ("a: 1\na: 2", "line 2, column 1: a key that is here twice"),
        ("1: a", "line 1, column 1: a key must be text; put it in quotes"),
        ("yes: a", "line 1, column 1: a key must be text; put it in quotes"),
        ("? [a]\n: b", "line 1, column 3: a key must be text; put it in quotes"),
        (
            "<<: {a: 1}",
            "line 1, column 1: a value that is not read here; put it in quotes",
        ),
        ("a: !!python/name:os.system x", "line 1, column 4: a value that is not read"),
        ("a: !x [b]", "line 1, column 4: tags are not read"),
        (
            "a: .inf",
            "line 1, column 4: a value that is not read here; put it in quotes",
        ),
        ("a: " + "9" * 5000, "line 1, column 4: a value that is not read here"),
        ("a: 0x" + "f" * 5000, "line 1, column 4: a value that is not read here"),
        ("a: 1" + ":2" * 500_000, "line 1, column 4: a value that is not read here"),
        ("a: 1" + ":2" * 900 + ".5", "line 1, column 4: a value that is not read here"),
        ("a: 1\n---\nb: 1", "line 2, column 1: a second document begins here"),
        ("a: [\n", "line 2, column 1: this is not valid YAML"),
        ("a: \x00", "it holds a character that YAML does not allow"),
        ("[" * 200_000, "line 1, column 66: nested too deeply"),
        ("{" * 200_000, "line 1, column 66: nested too deeply"),
        ("a: b\n c: syt_secret: d", "line 2, column"),
        ("a: *syt_secret", "line 1, column 4: aliases"),
        ("a: %syt_secret", "line 1, column 4: this is not valid YAML"),
    ],
)
def test_what_nobody_can_have_meant_is_refused(text: str, why: str) -> None:
    """In one clause with its place, and never in the words of the text."""
    with pytest.raises(StrictYamlError) as caught:
        load(text)
    assert str(caught.value).startswith(why)
    assert "syt_secret" not in str(caught.value)


def test_a_date_stays_text() -> None:
    assert load("at: 2026-11-22T10:00:00Z") == {"at": "2026-11-22T10:00:00Z"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 漢字 😀", "Zoë 漢字 😀"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb", "a\\x0ab"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
