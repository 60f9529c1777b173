"""Does data keep its contract? Every problem at once, in the order of the data.

Messages say what is expected, never what was found: a value may be a secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

NAMES = ("binding", "config", "doctor", "drill", "identity", "plan", "topology")
"""The contracts that `problems` and `schema` know."""

DEEPEST = 64
"""Levels of nesting; no contract needs more than ten."""

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing wrong with a piece of data: where, and what is expected there."""

    place: str
    """`$.reconcile.interval`; `$` is the whole."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def problems(name: str, data: object) -> list[Problem]:
    """List everything that keeps `data` from being a valid `name`; empty if it is one.

    Nothing in `data` makes this raise. What JSON cannot hold at all (a date, a key
    that is no text) is reported alone, as the rest cannot be judged then."""
    if not _is_json(data):
        return [Problem(place(path), message) for path, message in _not_json(data)]
    found: dict[tuple[Path, str], None] = {}
    for error in _validator(name).iter_errors(data):
        at: Path = tuple(error.instance_path)
        kind: Any = error.kind
        if kind.name == "propertyNames":
            error = kind.error
            at = (*at, str(error.instance))
        for path, message in _told(error, schema(name)):
            found[at + path, message] = None
    places = _Places(data)
    return [
        Problem(place(path), message)
        for path, message in sorted(found, key=lambda item: places.rank(item[0]))
    ]


@cache
def schema(name: str) -> Mapping[str, Any]:
    """Read the schema `name` as it is shipped."""
    text = files(__package__).joinpath(f"{name}.v1.json").read_text("utf-8")
    loaded: Mapping[str, Any] = json.loads(text)
    return loaded


def place(path: Iterable[str | int]) -> str:
    """Write a path as `$.rooms["!r"].status`; whatever a key holds, it is printable."""
    parts = ["$"]
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", step):
            parts.append(f".{step}")
        else:
            parts.append(f"[{json.dumps(step)}]".replace("\x7f", "\\u007f"))
    return "".join(parts)


def near(word: str, known: Iterable[str], begin: str = "") -> str:
    """`; did you mean "interval"?`, or nothing where no known word is close.

    What all of them `begin` with does not make them any closer."""
    # Not at the top: only a mistake needs it.
    from difflib import get_close_matches

    rests = [one.removeprefix(begin) for one in known]
    close = get_close_matches(word.removeprefix(begin), rests, 1, 0.6)
    return f'; did you mean "{begin}{close[0]}"?' if close else ""


@cache
def _validator(name: str) -> Draft202012Validator:
    # Not at the top: most commands have nothing to validate.
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(dict(schema(name)))


def _is_json(data: object) -> bool:
    """Whether JSON can hold `data`, level by level; mostly it can.

    Where it cannot, `_not_json` says why, and takes five times as long."""
    level: list[Any] = [data]
    for _ in range(DEEPEST + 1):
        if any(_foreign(value) for value in level):
            return False
        level = [inner for value in level for _, inner in _inside(value)]
        if not level:
            return True
    return False


def _not_json(data: object) -> Iterator[tuple[Path, str]]:
    """Find what JSON cannot hold. A stack, for no depth may break it."""
    todo: list[tuple[Path, object]] = [((), data)]
    while todo:
        path, value = todo.pop()
        if len(path) > DEEPEST:
            yield path[:3], "nested too deeply"
            return
        if why := _foreign(value):
            yield path, why
        todo += reversed([((*path, step), inner) for step, inner in _inside(value)])


def _inside(value: object) -> Iterable[tuple[Any, Any]]:
    """The steps that lead on from `value`, and where to."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _foreign(value: object) -> str | None:
    """Why JSON cannot hold this value, whatever is inside it."""
    match value:
        case str():
            return None if _is_text(value) else "expected text, not half a character"
        case dict():
            for key in value:
                if not isinstance(key, str):
                    return f"expected text as every key, not {_kind(key)}"
                if not _is_text(key):
                    return "expected text as every key, not half a character"
            return None
        case float():
            return None if math.isfinite(value) else "expected a finite number"
        case int() | list() | None:
            return None
        case _:
            return f"expected plain data, not {_kind(value)}"


def _is_text(value: str) -> bool:
    # JSON can spell half of a surrogate pair, and nobody can write it down.
    return value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value)


def _told(
    error: ValidationError, root: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    """Say in plain words what `error` means, and where below its place."""
    *parents, keyword = error.schema_path
    rules: Any = root
    for step in parents:
        rules = rules[step]
    wanted: Any = rules[keyword]
    given: Any = error.instance
    known = rules.get("properties", {})
    match keyword:
        case "required":
            for name in (name for name in wanted if name not in given):
                hint = _hint(known.get(name, {}), root)
                yield (name,), f"missing: expected {hint}" if hint else "missing"
        case "dependentRequired":
            pairs = [(name, need) for name in wanted for need in wanted[name]]
            for name, need in pairs:
                if name in given and need not in given:
                    yield (need,), f"missing: {name} needs it"
        case "additionalProperties":
            for name in (name for name in given if name not in known):
                yield (name,), f"unknown key{near(name, known)}"
        case "type":
            yield (), f"expected {_hint(rules, root)}, not {_kind(given)}"
        case rule:
            hint = rules.get("x-expected") or _rule(str(rule), wanted)
            yield (), f"expected {hint}"


def _hint(rules: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a value of these rules is, for people; "" where they do not say."""
    if "$ref" in rules:
        rules = {**root["$defs"][rules["$ref"].rpartition("/")[2]], **rules}
    if "x-expected" in rules:
        return str(rules["x-expected"])
    for rule in ("const", "enum"):
        if rule in rules:
            return _rule(rule, rules[rule])
    kinds = rules.get("type", [])
    return " or ".join(
        _KINDS[k] for k in ([kinds] if isinstance(kinds, str) else kinds)
    )


def _rule(keyword: str, wanted: Any) -> str:
    match keyword:
        case "minimum":
            return f"at least {wanted}"
        case "maximum":
            return f"at most {wanted}"
        case "exclusiveMinimum":
            return f"more than {wanted}"
        case "minLength":
            return "text that is not empty"
        case "const":
            return json.dumps(wanted)
        case "enum":
            return "one of " + ", ".join(str(value) for value in wanted)
        case _:
            return f"what {keyword} of the schema says"


_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


class _Places:
    """Orders paths as their places stand in the data; what is missing comes last."""

    def __init__(self, data: object) -> None:
        self._data = data
        # By identity: a mapping with many problems is numbered once.
        self._numbers: dict[int, dict[str, int]] = {}

    def rank(self, path: Path) -> tuple[tuple[int, str], ...]:
        steps: list[tuple[int, str]] = []
        here: Any = self._data
        for step in path:
            match here:
                case dict() if step in here:
                    steps.append((self._number(here, str(step)), ""))
                    here = here[step]
                case list() if isinstance(step, int):
                    steps.append((step, ""))
                    here = here[step]
                case _:
                    steps.append((_LAST, str(step)))
                    here = None
        return tuple(steps)

    def _number(self, mapping: dict[str, Any], name: str) -> int:
        if id(mapping) not in self._numbers:
            self._numbers[id(mapping)] = {key: i for i, key in enumerate(mapping)}
        return self._numbers[id(mapping)][name]


_LAST = 1 << 30
