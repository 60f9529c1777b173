"""A quick run fails exactly when something is worse than it ever was, twice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import suite
from benchmarks.harness import Outcome, Row, at_most
from benchmarks.registry import Part
from benchmarks.setting import Pace

GOOD, BAD = (1.0, 1.0, 1.0), (9.0, 9.0, 9.0)


def run(
    monkeypatch: pytest.MonkeyPatch, *rounds: tuple[float, ...] | Exception
) -> None:
    """A quick run of one part, which finds these values one time after the other."""
    found = iter(rounds)

    async def measured(setting: object) -> Outcome:
        values = next(found)
        if isinstance(values, Exception):
            raise values
        return Outcome((Row(1, "ours", "theirs", at_most(2), values, ""),))

    @contextlib.asynccontextmanager
    async def a_world(pace: Pace, cache: Path) -> AsyncIterator[object]:
        yield SimpleNamespace(pace=pace, large=SimpleNamespace(rooms=6))

    monkeypatch.setattr(suite, "PARTS", [Part((1,), measured)])
    monkeypatch.setattr(suite, "setting", a_world)
    monkeypatch.setattr(suite, "answer_soon", lambda: None)
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick"])
    suite.main()
    assert next(found, None) is None


def test_as_good_as_ever_is_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, GOOD)


def test_worse_once_is_a_bad_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, BAD, GOOD)


def test_worse_twice_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, BAD, BAD)
    assert ended.value.code not in {0, None, 2}
    assert "ours" in str(ended.value.code)


def test_what_cannot_be_measured_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, RuntimeError("no server"))
    assert ended.value.code == 2
