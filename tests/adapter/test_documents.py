"""What the documents say is what the product has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapter.matrix.rules import findings as rules
from schemas import schema

DOCS = Path(__file__).parents[2] / "docs"


def test_every_setting_is_documented_and_nothing_else() -> None:
    """docs/settings.md has a row for each key of the configuration's schema."""
    documented = re.findall(
        r"^\| `([\w.]+)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(_keys(schema("config")))


def _keys(part: Any, prefix: str = "") -> Iterator[str]:
    for name, inner in part["properties"].items():
        if "properties" in inner:
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_finding_is_documented() -> None:
    """Each code that a pass can tell stands in docs/how-it-decides.md.

    Those of doctor's own checks stand in docs/doctor.md: see test_examination.py."""
    text = (DOCS / "how-it-decides.md").read_text()
    source = "".join(
        path.read_text()
        for path in Path(rules.__file__).parents[1].rglob("*.py")
        if path.parent.name != "checks"
    )
    codes = set(re.findall(r"Finding\(\s*\"(\w+)\"", source))
    assert codes
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []
