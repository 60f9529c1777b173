"""What the import contracts of pyproject.toml cannot say: a list of what is allowed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import controller

FILES = sorted(Path(controller.__file__).parent.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports, at its head or later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_generic_half_needs_nobody_else(path: Path) -> None:
    """Each module imports the standard library and the controller, and nothing more."""
    others = set(imported(ast.parse(path.read_text("utf-8")))) - {"controller"}
    assert others <= sys.stdlib_module_names
    assert not others & {"http", "socket", "sqlite3", "ssl", "urllib"}
