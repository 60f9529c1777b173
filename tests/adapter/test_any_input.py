"""Whatever somebody puts in front of a reader, it ends in a value or in its own error.

The parsers of events, identities, bindings, invitations, answers and batches have their
own such tests, beside them: `grep -rn "@given" tests`. Here are those of files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.config import ConfigError, load, seconds
from adapter.config_sources import is_sample, settings
from adapter.matrix.document import (
    DocumentError,
    digest,
    documents_diff,
    from_text,
    rows,
    to_json,
    to_yaml,
    users,
)
from adapter.strict_yaml import DEEPEST, StrictYamlError
from adapter.strict_yaml import load as load_yaml
from schemas import problems

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats()
    | st.text(max_size=12)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *("a: ", "- ", "? ", ": ", "\n", "\n  ", "  ", "{", "}", "[", "]", ",", "|\n"),
        *("&a ", "*a", "<<: *a", "!!python/object:os.system ", "!<x> ", "--- ", "..."),
        *("%YAML 9.9\n", "0x_", "1e999", ".inf", "1:2:3", "2026-11-23", "=", "~", "#"),
        *('"\\ud800"', '"\\x', "'", '"', "\t", "\x00", "\x85", "\u2028", "\ud800"),
        *("apiVersion: ", "spec: ", "rooms: ", "users: ", '"!r": ', "room_type: "),
        *('{"spec":', '{"a":1,"a":2}', "NaN", "Infinity", "-0", "1" * 5_000, "é😀"),
    ]
)
TEXTS = (
    st.lists(PIECES, max_size=14).map("".join)
    | st.text(max_size=40)
    | JSON.map(lambda value: json.dumps(value, ensure_ascii=False))
    | st.builds(lambda what, n: what * n, PIECES, st.sampled_from([70, 2_000]))
)

SPECS = st.fixed_dictionaries(
    {},
    optional={
        "rooms": JSON
        | st.dictionaries(
            st.text(max_size=4),
            st.fixed_dictionaries(
                {},
                optional={
                    "room_type": st.sampled_from(["space", "chat"]) | JSON,
                    "status": st.sampled_from(["active", "detached"]) | JSON,
                    "matrix_user_id": JSON,
                    "space_id": JSON,
                    "revision": JSON,
                    "room_id": JSON,
                },
            )
            | JSON,
            max_size=3,
        ),
        "users": JSON | st.dictionaries(st.text(max_size=4), JSON, max_size=2),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("spacekeeper/v1") | JSON,
        "kind": st.just("Topology") | JSON,
        "metadata": JSON,
        "spec": SPECS | JSON,
        "status": JSON,
    },
)


@given(TEXTS)
def test_any_text_as_yaml(text: str) -> None:
    """It is plain data, not deeper than anybody can go through, or refused in a clause."""
    found, refusal = tried(load_yaml, text, StrictYamlError)
    assert refusal.isprintable()
    assert depth(found) <= DEEPEST + 1
    json.dumps(found, allow_nan=False)


def tried(call: Callable[[Any], Any], given: Any, error: type[Exception]) -> Any:
    """What `call` returns, and the sentence of its own error, of which one is empty."""
    try:
        return call(given), ""
    except error as refused:
        return None, str(refused) or "(nothing)"


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, inner), default=0)


@given(TEXTS)
def test_any_text_as_a_document(text: str) -> None:
    """It is a mapping, of which a list of problems can be told, or it is refused."""
    found, refusal = tried(from_text, text, DocumentError)
    assert "\n" not in refusal
    assert all(map(str, problems("topology", found)))


@given(DOCUMENTS, DOCUMENTS)
def test_any_structure_as_a_document(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Read, compared, hashed and written, valid or not; only its shape may be refused."""
    for found in (one, other):
        for read in (rows, users):
            _, refusal = tried(read, found, DocumentError)
            assert not refusal or "spacekeeper validate" in refusal
    valid = not problems("topology", one) and not problems("topology", other)
    try:
        documents_diff(one, other)
    except DocumentError:
        assert not valid
    assert digest(one).startswith("sha256:")
    assert from_text(to_yaml({"x": clean(one)}))
    assert from_text(to_json({"x": clean(one)}))


def clean(value: Any) -> Any:
    """What a file can hold: whole characters and finite numbers."""
    text = json.dumps(value, ensure_ascii=False)
    whole = text.encode("utf-8", "replace").decode()
    return json.loads(whole, parse_constant=lambda _: None)


SOUND = {
    "homeserver": "https://matrix.hs.test",
    "user_id": "@bot:hs.test",
    "access_token": "syt_secret",
}
PLATFORMS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["echo", "http"]) | JSON,
        "url": st.just("https://platform.hs.test") | JSON,
        "token": st.just("tok_secret") | JSON,
        "timeout": st.just("5s") | JSON,
        "path": JSON,
    },
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.just(sound) | JSON for name, sound in SOUND.items()},
        "device_id": JSON,
        "platform": PLATFORMS | JSON,
        **dict.fromkeys(
            ("database", "reconcile", "routing", "invites", "rooms", "events", "x"),
            JSON,
        ),
    },
)
VARIABLES = st.dictionaries(
    st.sampled_from([one.variable for one in settings()])
    | st.text("SPACEKR_X", max_size=9).map(lambda name: f"SPACEKEEPER_{name}"),
    TEXTS.map(lambda text: text.replace("\x00", "")),
    max_size=3,
)


@given(CONFIGS.map(lambda data: json.dumps(clean(data))) | TEXTS, VARIABLES)
def test_any_settings(text: str, environ: dict[str, str]) -> None:
    """They are settings, or refused in one printable line that gives no secret away."""
    judge(text, environ)


@given(PLATFORMS | JSON, st.just("DEVICE") | JSON)
def test_any_platform(platform: Any, device: Any) -> None:
    """The same of a file that is sound but for these."""
    judge(json.dumps(clean({**SOUND, "platform": platform, "device_id": device})), {})


def judge(text: str, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spacekeeper.yaml"
        path.touch(0o600)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            config = load(path, environ)
        except ConfigError as refused:
            told = str(refused)
            assert "syt_secret" not in told
            assert "tok_secret" not in told
            assert all(line.isprintable() for line in told.split("\n"))
        else:
            assert config.access_token.reveal() not in repr(config)
            assert "tok_secret" not in repr(config)


@given(st.text(max_size=20))
def test_any_word_of_the_settings(text: str) -> None:
    assert is_sample(text) in (True, False)
    found, refusal = tried(seconds, text, ValueError)
    assert refusal.startswith("expected a duration") or found >= 0
