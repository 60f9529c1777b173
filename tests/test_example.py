"""The example of the documents is a program that runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from adapter.cli.account import Account

EXAMPLE = Path(__file__).parents[1] / "docs" / "example.py"


async def test_the_example_recovers_a_room(
    bot: Account, person: Account, tmp_path: Path
) -> None:
    """Run as documented, it makes the database and prints the room's row."""
    identity = {"v": 1, "kind": "space", "owner": person.user_id}
    space = await bot.create_room(
        room_type="m.space", creation_content={"io.spacekeeper.identity": identity}
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        bot.url,
        bot.user_id,
        bot.login.access_token,
        str(tmp_path / "bot.db"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=EXAMPLE.parents[1],
    )
    out, err = await done.communicate()
    assert (done.returncode, err.decode()) == (0, "")
    assert f"+ room {space}" in out.decode()
    member = await bot.state_event(space, "m.room.member", person.user_id)
    assert member["content"]["membership"] == "invite"
