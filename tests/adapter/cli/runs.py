"""Running the command line in a test: in this process, or as a person would."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapter.cli.main import main
from tests.adapter.matrix.city import City
from tests.bots import write_config

ROOT = Path(__file__).parents[3]
TOKEN = "syt_very_secret"  # noqa: S105 - it opens nothing
CONFIG = f"""\
homeserver: http://127.0.0.1:1
user_id: "@bot:hs.test"
access_token: {TOKEN}
"""


def configured(folder: Path, text: str = CONFIG) -> Path:
    """Write a config file, and return its path."""
    path = folder / "spacekeeper.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def run(*args: str, **given: Any) -> Result:
    """Run it in this process; whatever it prints, the token is not in it."""
    result = CliRunner().invoke(main, args, **given)
    assert TOKEN not in result.output
    return result


async def run_in(city: City, *args: str, url: str | None = None) -> Result:
    """Run it as the city's bot, at its homeserver or at `url`, beside this event loop."""
    config = write_config(
        city.path.parent, city.bot, url or city.bot.url, database=city.path.name
    )
    result = await asyncio.to_thread(run, "--config", str(config), *args)
    assert city.bot.login.access_token not in result.output
    return result


def run_apart(
    *args: str, environ: Mapping[str, str] | None = None, **given: Any
) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, without the settings of this one."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("SPACEKEEPER_")}
    result = subprocess.run(  # noqa: S603 - this very program
        [sys.executable, "-m", "adapter.cli.main", *args],
        env={**mine, "PYTHONPATH": str(ROOT), **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **given,
    )
    assert TOKEN not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


def is_one_sentence(text: str) -> bool:
    """One line on stderr that begins with the program's name."""
    return text.startswith("spacekeeper: ") and text.count("\n") == 1


def with_reconciliation(
    monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., Any]
) -> SimpleNamespace:
    """Put `functions` where the commands look for the parts that need a homeserver.

    Returns what they were called with, by their names."""
    calls = SimpleNamespace()
    module = types.ModuleType("adapter.matrix.reconciliation")
    for name, function in functions.items():

        async def called(
            *args: Any,
            _name: str = name,
            _does: Callable[..., Any] = function,
            **kw: Any,
        ) -> Any:
            setattr(calls, _name, (args, kw))
            return _does()

        setattr(module, name, called)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls
