"""YAML as far as JSON goes, read strictly: what a person cannot have meant is refused.

No aliases (so no bombs), no tags, no dates, no doubled keys, no keys that are no text.
The values are built from the parser's events: the C loader's own building recurses
and takes the whole process down on deep nesting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from adapter.plain_text import whole

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEEPEST = 64
"""Levels of nesting that are read."""

_BITS = 256
_LONGEST = 100
"""Characters of a number: in base 2 or 60 there may be as many as one likes, and what
comes of them is slow to work out, or cannot even be written down again."""

_TAG = "tag:yaml.org,2002:"
_AS_TEXT = {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"}
_resolver: Any = yaml.resolver.Resolver()
_constructor = yaml.constructor.SafeConstructor()


class StrictYamlError(ValueError):
    """The text is not YAML, or YAML that is not read here: one clause, with its line.

    It never quotes the text, which may hold a secret."""


def load(text: str) -> Any:
    """Read the one document in `text` as dicts, lists, str, int, float, bool and None.

    What YAML would take for a date stays text. An empty text is None."""
    events = _events(text)
    values: list[Any] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if values:
                raise _refused(event, "a second document begins here")
            values.append(_value(next(events), events, 0))
    return values[0] if values else None


def _events(text: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=LOADER)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # The parsers quote what they found; only what they say by themselves is safe.
        problem = str(exc.problem or "")
        why = f" ({problem})" if problem and not set(problem) & set("'\"*&!") else ""
        msg = f"{where}this is not valid YAML{why}"
        raise StrictYamlError(msg) from None
    except (yaml.YAMLError, UnicodeError):
        msg = "it holds a character that YAML does not allow"
        raise StrictYamlError(msg) from None


def _value(event: Any, events: Iterator[Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise _refused(event, "nested too deeply")
    match event:
        case yaml.ScalarEvent():
            return _scalar(event)
        case yaml.MappingStartEvent():
            _untagged(event, "map")
            return _mapping(events, depth + 1)
        case yaml.SequenceStartEvent():
            _untagged(event, "seq")
            return _sequence(events, depth + 1)
        case _:
            raise _refused(event, "aliases are not read; write the value out")


def _mapping(events: Iterator[Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for event in events:
        if isinstance(event, yaml.MappingEndEvent):
            break
        key = _value(event, events, depth)
        if not isinstance(key, str):
            raise _refused(event, "a key must be text; put it in quotes")
        if key in found:
            raise _refused(event, "a key that is here twice")
        found[key] = _value(next(events), events, depth)
    return found


def _sequence(events: Iterator[Any], depth: int) -> list[Any]:
    found: list[Any] = []
    for event in events:
        if isinstance(event, yaml.SequenceEndEvent):
            break
        found.append(_value(event, events, depth))
    return found


def _scalar(event: Any) -> str | int | float | bool | None:
    tag = event.tag
    if tag is None or tag == "!":
        tag = _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag in _AS_TEXT:
        return str(event.value)
    node = yaml.ScalarNode(tag, event.value)
    try:
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return bool(_constructor.construct_yaml_bool(node))
            case "int" if len(event.value) <= _LONGEST:
                number = int(_constructor.construct_yaml_int(node))
                if number.bit_length() <= _BITS:
                    return number
            case "float" if len(event.value) <= _LONGEST:
                fraction = float(_constructor.construct_yaml_float(node))
                if math.isfinite(fraction):
                    return fraction
            case _:
                pass
    except (ValueError, KeyError, IndexError):
        pass
    raise _refused(event, "a value that is not read here; put it in quotes")


def _untagged(event: Any, kind: str) -> None:
    if event.tag not in {None, "!", f"{_TAG}{kind}"}:
        raise _refused(event, "tags are not read")


def _refused(event: Any, why: str) -> StrictYamlError:
    mark = event.start_mark
    return StrictYamlError(f"line {mark.line + 1}, column {mark.column + 1}: {why}")


def dump(data: Any) -> str:
    """Write `data` as YAML, keys sorted: the same data, the same bytes.

    What has no glyph of its own, and could turn the line around or clear the screen,
    is escaped; letters of every script and emoji are not."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        allow_unicode=True,
        sort_keys=True,
        default_flow_style=False,
        width=1 << 30,
    )
    return _TO_REWRITE.sub(_rewritten, text)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, text: str) -> Any:
        # Double quotes wherever an escape may be needed: only there is it one.
        plain = text.isprintable() and not _ESCAPED.search(text)
        style = None if plain else '"'
        return self.represent_scalar(f"{_TAG}str", whole(text), style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

_ESCAPED = re.compile(r"[\\\U00010000-\U0010ffff]")
"""What has a glyph, and is an escape or becomes one."""

_TO_REWRITE = re.compile(r"\\(?:U([0-9A-F]{8})|.)|[^\x00-\x7f]")
r"""An escape (all of `\\`, so that what follows is none), or a character."""


def _rewritten(match: re.Match[str]) -> str:
    # Emitters escape emoji, and leave marks of direction as they are: the reverse is
    # wanted. A backslash stands in double quotes only, and so does what is not plain.
    if match[1] is not None:
        char = chr(int(match[1], 16))
        return char if char.isprintable() else match[0]
    char = match[0]
    if len(char) > 1 or char.isprintable():
        return char
    return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"
