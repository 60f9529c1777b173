"""Where settings come from: a file, and the environment, which wins.

Both are read into one nested mapping; each problem is told at the place where the
person who can correct it wrote the value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from adapter.strict_yaml import StrictYamlError, load
from schemas.validation import Problem, near, place, schema

PREFIX = "SPACEKEEPER_"

Place = tuple[str, ...]


class Setting(NamedTuple):
    """A leaf of the config schema: where it stands, and of which JSON type it is."""

    path: Place
    types: tuple[str, ...]

    @property
    def variable(self) -> str:
        return PREFIX + "__".join(self.path).upper()


def settings() -> list[Setting]:
    """Every single setting, as the schema has them."""
    return list(_leaves(schema("config"), (), schema("config")["$defs"]))


def read_file(path: Path) -> Mapping[str, Any]:
    """Read the config file; what is missing reads as `FileNotFoundError`.

    Raises `StrictYamlError` for what is no YAML and no mapping."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        msg = "it is not UTF-8 text"
        raise StrictYamlError(msg) from None
    found = load(text)
    if found is None:
        return {}
    if not isinstance(found, dict):
        msg = "expected settings such as `homeserver: https://matrix.your.server`"
        raise StrictYamlError(msg)
    return found


def overlaid(
    data: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """Lay the environment's settings over `data`.

    Returns the whole, the place of every setting that the environment decides, and
    what cannot be read in the environment at all."""
    known = {setting.variable: setting for setting in settings()}
    whole: dict[str, Any] = _copied(data)
    places: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if name not in known:
            message = f"unknown setting{near(name, known, begin=PREFIX)}"
            problems.append(Problem(name, message))
            continue
        setting = known[name]
        try:
            value = _read(environ[name], setting.types)
        except StrictYamlError:
            message = "expected a value in YAML or JSON, such as '[\"@user:server\"]'"
            problems.append(Problem(name, message))
            continue
        _put(whole, setting.path, value)
        places[place(setting.path)] = name
    return whole, places, problems


def samples(data: Mapping[str, Any]) -> list[Problem]:
    """List the sample values that somebody forgot to replace, wherever they decide."""
    found = []
    for path, value in _texts(data, ()):
        if path[0] in _NAMED_FREELY or path[:2] in _NAMED_FREELY:
            continue
        if is_sample(value):
            found.append(Problem(place(path), "a sample value: put your own here"))
    return found


def is_sample(value: str) -> bool:
    """True for example.org and its like, `.example`, and what stands in `<...>`."""
    return bool(_BRACKETS.search(value)) or bool(_SAMPLE_HOST.search(_host(value)))


_NAMED_FREELY: frozenset[str | Place] = frozenset(
    {("rooms", "space_name"), ("rooms", "chat_name"), "database", ("platform", "path")}
)
"""What people may call as they like."""

_BRACKETS = re.compile(r"<[^<>]*>")
_SAMPLE_HOST = re.compile(r"(^|\.)(example|example\.(org|com|net))\.?$", re.IGNORECASE)


def _host(value: str) -> str:
    """The host in a URL, a user id or a pattern of user ids; "" where there is none."""
    if "://" in value:
        try:
            return urlsplit(value).hostname or ""
        except ValueError:
            return ""
    _, _, server = value.partition(":")
    return re.sub(r":\d*$", "", server)


def _leaves(
    rules: Mapping[str, Any], path: Place, defs: Mapping[str, Any]
) -> Iterator[Setting]:
    for name, inner in rules["properties"].items():
        if "$ref" in inner:
            inner = defs[inner["$ref"].rpartition("/")[2]]
        if "properties" in inner:
            yield from _leaves(inner, (*path, name), defs)
        else:
            types = inner.get("type", "string")
            types = (types,) if isinstance(types, str) else tuple(types)
            yield Setting((*path, name), types)


def _read(text: str, types: tuple[str, ...]) -> Any:
    # As it is, where text is expected: `@bot:your.server` is no YAML.
    return text if "string" in types else load(text)


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _copied(value) if isinstance(value, dict) else value
        for key, value in data.items()
    }


def _put(data: dict[str, Any], path: Place, value: Any) -> None:
    for step in path[:-1]:
        inner = data.get(step)
        if inner is None:
            inner = data[step] = {}
        if not isinstance(inner, dict):
            return  # The file is wrong there, and will be told so.
        data = inner
    data[path[-1]] = value


def _texts(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from _texts(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, (*path, index))
        case _:
            pass
