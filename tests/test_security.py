"""Behind each claim of SECURITY.md stands a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLAIM_NOTHING = {"Telling us of a hole", "What is protected", "What is left"}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_claim_has_its_test() -> None:
    named = NAMED.findall((ROOT / "SECURITY.md").read_text())
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert missing == []


def test_no_claim_stands_alone() -> None:
    """Each item of a section that claims something ends in the tests behind it."""
    _, *sections = (ROOT / "SECURITY.md").read_text().split("\n## ")
    claims = {
        title: re.split(r"\n- ", text)[1:]
        for title, _, text in (section.partition("\n") for section in sections)
        if title not in CLAIM_NOTHING
    }
    assert all(claims.values()), claims
    alone = [
        claim
        for items in claims.values()
        for claim in items
        if not NAMED.search(claim.partition("\n\n")[0])
    ]
    assert alone == []


def names_in(path: str) -> set[str]:
    file = ROOT / path
    tree = ast.parse(file.read_text() if file.exists() else "")
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in tree.body if isinstance(node, kinds)}
