"""The config file as `login` writes it: its own settings set, all else left as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adapter.cli.errors import CommandError
from adapter.cli.files import write
from adapter.config_sources import is_sample, read_file
from adapter.strict_yaml import StrictYamlError, dump, load


def existing(path: Path) -> Mapping[str, Any]:
    """Read the settings that are there; none where there is no file."""
    try:
        return read_file(path)
    except FileNotFoundError:
        return {}
    except StrictYamlError as exc:
        msg = f"{path} cannot be used: {exc}; correct it, or give another --config FILE"
        raise CommandError(msg) from exc


def refuse_another_account(path: Path, data: Mapping[str, Any], user_id: str) -> None:
    """Raise if the file holds an account other than `user_id`; a sample is none."""
    held = data.get("user_id")
    if isinstance(held, str) and held != user_id and not is_sample(held):
        msg = (
            f"{path} holds the account {held}: give another --config FILE for {user_id}"
        )
        raise CommandError(msg)


def refuse_unwritable(path: Path) -> None:
    """Raise if the file could not be written: better before a login than after it."""
    if path.is_dir():
        msg = f"{path} is a folder: give --config a file"
        raise CommandError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"{path} cannot be written: its folder does not exist"
        raise CommandError(msg)
    if not os.access(path.absolute().parent, os.W_OK):
        msg = f"{path} cannot be written: give --config a file in a folder that can be"
        raise CommandError(msg)


def save(path: Path, changed: Mapping[str, str]) -> None:
    """Write `changed` into the file, mode 0600. Comments and other settings stay."""
    text = path.read_text("utf-8") if path.exists() else ""
    whole = {**existing(path), **changed}
    new = _edited(text, changed)
    try:
        kept = load(new) == whole
    except StrictYamlError:
        kept = False
    # Where editing in place does not come out right, the settings count, not the look.
    write(path, (new if kept else dump(whole)).encode())


def _edited(text: str, changed: Mapping[str, str]) -> str:
    """Replace the values of `changed` where they stand; new ones go to the end."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    left = dict(changed)
    edits = []
    for name, value in pairs:
        if name.value in left:
            new = json.dumps(left.pop(name.value))
            edits.append((value.start_mark.index, value.end_mark.index, new))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    if left and text and not text.endswith("\n"):
        text += "\n"
    return text + "".join(f"{name}: {json.dumps(v)}\n" for name, v in left.items())
