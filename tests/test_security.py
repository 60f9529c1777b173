"""Behind each claim of SECURITY.md stands a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_claim_has_its_test() -> None:
    named = NAMED.findall((ROOT / "SECURITY.md").read_text())
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert missing == []


def test_no_claim_stands_alone() -> None:
    """Each line of what others can and cannot do ends in the tests behind it."""
    text = (ROOT / "SECURITY.md").read_text()
    section = text.partition("## What others can")[2].partition("\n## ")[0]
    claims = re.split(r"\n- ", section)[1:]
    assert claims
    assert [claim for claim in claims if not NAMED.search(claim)] == []


def names_in(path: str) -> set[str]:
    file = ROOT / path
    tree = ast.parse(file.read_text() if file.exists() else "")
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in tree.body if isinstance(node, kinds)}
