"""The commands one after the other, against a real homeserver."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess

from adapter.cli.account import Account
from schemas import problems
from tests.adapter.cli.runs import configured, is_one_sentence, run_apart


async def test_plan_reconcile_export_and_a_recovery_drill(
    bot: Account, person: Account, tmp_path: Path
) -> None:
    """What the cache holds after a pass is what Matrix alone shows, also without it."""
    config = configured(
        tmp_path,
        f"homeserver: {bot.url}\nuser_id: '{bot.user_id}'\n"
        f"access_token: {bot.login.access_token}\n",
    )
    space = await bot.create_room(
        room_type="m.space", name="\u202e", invite=[person.user_id]
    )
    chat = await bot.create_room(name="Chat", invite=[person.user_id])
    await bot.link(space, chat)

    async def run(*args: str) -> CompletedProcess[str]:
        done = await asyncio.to_thread(run_apart, "--config", str(config), *args)
        assert bot.login.access_token not in done.stdout + done.stderr
        return done

    planned = await run("plan", "--output", "json")
    assert planned.returncode == 2
    found = json.loads(planned.stdout)
    assert problems("plan", found) == []
    assert found["summary"]["create"] == 2
    assert not (tmp_path / "spacekeeper.db").exists()

    done = await run("reconcile", "--output", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert problems("plan", found) == []
    assert (found["applied"], found["failed"]) == (4, 0)
    assert (await run("plan")).stdout == "in sync\n"
    assert "last pass" in (await run("status")).stdout

    matrix, cache = str(tmp_path / "matrix.yaml"), str(tmp_path / "cache.json")
    assert (await run("export", "--file", matrix)).returncode == 0
    await run("export", "--from", "cache", "--output", "json", "--file", cache)
    for file in (matrix, cache):
        assert (await run("validate", file)).returncode == 0
    assert (await run("diff", matrix, cache)).returncode == 0

    # The drill: lose the cache, rebuild it, compare with what was exported.
    (tmp_path / "spacekeeper.db").unlink()
    assert (await run("reconcile")).returncode == 0
    await run("export", "--from", "cache", "--file", cache)
    assert (await run("diff", matrix, cache)).stdout == "the same topology\n"

    config.write_text(config.read_text().replace("access_token: ", "access_token: x"))
    refused = await run("plan")
    assert refused.returncode == 1
    assert is_one_sentence(refused.stderr)
