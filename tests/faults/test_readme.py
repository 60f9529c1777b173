"""What the README shows is what tests run, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from adapter.cli.account import Account
from tests.faults import FAULTS, Drop, Proxy

HERE = Path(__file__).parent


def solid(text: str) -> str:
    """Without white space: what is indented less is broken into lines elsewhere."""
    return "".join(text.split())


def test_what_it_shows_stands_in_tests() -> None:
    """Each piece of code; `...` stands for what is left out."""
    tests = [solid(file.read_text()) for file in HERE.glob("test_*.py")]
    blocks = re.findall(
        r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL
    )
    pieces = [
        solid(piece)
        for block in blocks
        for piece in re.split(r"^ *\.\.\.$", block, flags=re.MULTILINE)
    ]
    assert len(blocks) >= 5
    assert [one for one in pieces if not any(one in test for test in tests)] == []


async def test_a_fault_between_the_two(
    proxy: Proxy, through: Account, bot: Account
) -> None:
    lost = proxy.at("POST .*/createRoom", Drop())
    proxy.at("GET .*/joined_rooms", FAULTS["502, HTML"](), nth=2, times=3)
    with pytest.raises(aiohttp.ClientError):
        await through.create_room()
    await lost.struck()
    assert len(await bot.joined_rooms()) == 1
