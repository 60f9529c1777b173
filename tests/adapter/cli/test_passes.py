"""`plan` and `reconcile`: exit codes, the shape of their JSON, what people see."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapter.config import ReconcileSettings
from adapter.matrix.desired import Desired, Finding
from adapter.matrix.facts import EventTypes
from controller.apply import Outcome, Report, Result
from controller.model import Action, Cause, Change, Key, Resource
from controller.plan import Plan
from schemas import problems
from tests.adapter.cli.runs import (
    configured,
    is_one_sentence,
    run,
    run_apart,
    with_reconciliation,
)
from tests.adapter.matrix.city import City
from tests.adapter.matrix.live import PATIENCE
from tests.bots import running, write_config

BINDING = "io.spacekeeper.binding|@bot:hs.test"
CAUSE = Cause("@bot:hs.test", "$e", 1795341600000)
CREATE = Change(
    Key("room", "!r"),
    Action.CREATE,
    None,
    Resource({"chat_id": "C1", "name": "x\x1b[2J\u202e"}, causes={"chat_id": CAUSE}),
)
DETACH = Change(
    Key("room", "!q"),
    Action.DETACH,
    Resource({"status": "active"}),
    Resource({"status": "detached", "reason": "unlinked"}),
)
UPDATE = Change(
    Key("room", "!u"), Action.UPDATE, Resource({"name": "a"}), Resource({"name": "b"})
)
PUBLISH = Change(
    Key("room", "!r"),
    Action.PUBLISH,
    Resource({}),
    Resource({BINDING: {"v": 1, "platform_chat_id": "p"}}),
)


def seen(
    cache: Plan = Plan(),  # noqa: B008 - frozen
    publish: Sequence[Change] = (),
    *,
    complete: bool = True,
    **want: Any,
) -> Any:
    return SimpleNamespace(
        want=Desired({}, **want),
        cache=cache,
        publish=Plan(tuple(publish)),
        complete=complete,
        observed_at=CAUSE.at,
    )


def done(decided: Any, *cache: Result, publish: Sequence[Result] = ()) -> Any:
    def report(plan: Plan, results: Sequence[Result]) -> Report:
        steps = zip(plan.steps, results, strict=True)
        return Report(plan, tuple(Outcome(s.key, r, "no\nway") for s, r in steps))

    return SimpleNamespace(
        decided=decided,
        cache=report(decided.cache, cache),
        publish=report(decided.publish, publish),
    )


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(configured(tmp_path))


@pytest.mark.parametrize(
    ("decided", "code", "last"),
    [
        (seen(), 0, "in sync"),
        (seen(findings=(Finding("lost", "!x", "m"),)), 0, "in sync; 1 finding"),
        (seen(Plan((CREATE, UPDATE))), 2, "1 to create, 1 to update"),
        (seen(publish=(PUBLISH,)), 2, "1 to publish"),
        (seen(Plan((CREATE,), (DETACH,))), 3, "1 to create; 1 blocked"),
        (seen(Plan((), (DETACH,))), 3, "1 blocked"),
        (seen(complete=False), 1, "in sync"),
        (seen(Plan((CREATE,)), complete=False), 2, "1 to create"),
    ],
)
def test_plan_exits(
    decided: Any, code: int, last: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 in sync, 2 drift, 3 blocked before drift, 1 where in sync is not known."""
    with_reconciliation(monkeypatch, look=lambda: decided)
    result = run("--config", config, "plan")
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1] == last
    result = run("--config", config, "plan", "--output", "json")
    assert result.exit_code == code
    assert problems("plan", json.loads(result.stdout)) == []


def test_plan_as_json(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promised shape; what is blocked counts as blocked and as nothing else."""
    decided = seen(
        Plan((CREATE,), (DETACH,)),
        (PUBLISH,),
        findings=(Finding("duplicate", "!t", "m", CAUSE),),
        unknown={"!x": "state: 503"},
    )
    with_reconciliation(monkeypatch, look=lambda: decided)
    result = run("--config", config, "plan", "--output", "json")
    assert result.stdout.isascii()
    found = json.loads(result.stdout)
    assert problems("plan", found) == []
    assert found == {
        "format_version": "1.0",
        "summary": {
            "create": 1,
            "update": 0,
            "detach": 0,
            "restore": 0,
            "publish": 1,
            "blocked": 1,
        },
        "changes": [
            {
                "action": "create",
                "kind": "room",
                "name": "!r",
                "fields": {
                    "chat_id": {"from": None, "to": "C1"},
                    "name": {"from": None, "to": "x\x1b[2J\u202e"},
                },
                "reason": "not known yet",
                "cause": {
                    "sender": "@bot:hs.test",
                    "event_id": "$e",
                    "at": 1795341600000,
                },
                "blocked": False,
            },
            {
                "action": "publish",
                "kind": "room",
                "name": "!r",
                "fields": {
                    BINDING: {"from": None, "to": {"v": 1, "platform_chat_id": "p"}}
                },
                "reason": f"{BINDING} differs",
                "cause": None,
                "blocked": False,
            },
            {
                "action": "detach",
                "kind": "room",
                "name": "!q",
                "fields": {
                    "reason": {"from": None, "to": "unlinked"},
                    "status": {"from": "active", "to": "detached"},
                },
                "reason": "unlinked",
                "cause": None,
                "blocked": True,
            },
        ],
        "findings": [
            {"code": "duplicate", "evidence": "$e", "message": "m", "room": "!t"}
        ],
        "unknown": {"!x": "state: 503"},
    }


def test_plan_as_text(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a change; what people typed moves no cursor; no colour in a pipe."""
    decided = seen(
        Plan((CREATE, UPDATE), (DETACH,)),
        (PUBLISH,),
        findings=(Finding("duplicate", "!t", "m\nn"),),
        unknown={"!x": "state: 503"},
    )
    with_reconciliation(monkeypatch, look=lambda: decided)
    result = run("--config", config, "plan")
    assert result.stdout == (
        '+ room !r  chat_id="C1", name="x\\\\u001b[2J\\u202e"\n'.replace("\\\\", "\\")
        + '~ room !u  name: "a" -> "b"\n'
        f'^ room !r  {BINDING}: nothing -> {{"v": 1, "platform_chat_id": "p"}}\n'
        '- room !q  reason: nothing -> "unlinked", status: "active" -> "detached"'
        "   (blocked)\n"
        "! duplicate !t  m\\x0an\n"
        "? unknown !x  state: 503\n"
        "1 to create, 1 to update, 1 to publish; 1 blocked, 1 finding, 1 unknown\n"
    )


def test_colours(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, unless NO_COLOR says otherwise."""
    with_reconciliation(monkeypatch, look=lambda: seen(Plan((CREATE,))))
    result = run("--config", config, "plan", color=True)
    assert "\x1b[32m+ room !r" in result.stdout
    assert "\x1b[2J" not in result.stdout
    monkeypatch.setenv("NO_COLOR", "1")
    result = run("--config", config, "plan", color=True)
    assert "\x1b" not in result.stdout


def test_what_is_asked_for(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings go along, and a plan makes no database."""
    calls = with_reconciliation(
        monkeypatch, look=seen, reconcile_once=lambda: done(seen())
    )
    assert run("--config", config, "plan").exit_code == 0
    (client, store), given = calls.look
    assert (client.user_id, client.homeserver) == ("@bot:hs.test", "http://127.0.0.1:1")
    assert given == {"settings": ReconcileSettings(), "types": EventTypes()}
    assert store.empty_because
    assert [path.name for path in Path(config).parent.iterdir()] == ["spacekeeper.yaml"]

    result = run("--config", config, "reconcile", "--allow-detach", "40")
    assert result.exit_code == 0
    (_, database), given = calls.reconcile_once
    assert database == Path(config).parent / "spacekeeper.db"
    assert given["allow_detach"] == 40


@pytest.mark.parametrize(
    ("report", "code", "last"),
    [
        (done(seen()), 0, "in sync"),
        (
            done(seen(Plan((CREATE,))), Result.APPLIED),
            0,
            "1 to create; 1 applied, 0 failed",
        ),
        (
            done(seen(publish=(PUBLISH,)), publish=[Result.WAITING]),
            0,
            "1 to publish; 0 applied, 0 failed, 1 left to later passes",
        ),
        (
            done(seen(Plan((CREATE,), (DETACH,))), Result.STALE),
            3,
            "1 to create; 1 blocked, 0 applied, 0 failed, 1 left to later passes",
        ),
        (
            done(
                seen(Plan((CREATE,), (DETACH,)), (PUBLISH,)),
                Result.APPLIED,
                publish=[Result.FAILED],
            ),
            1,
            "1 to create, 1 to publish; 1 blocked, 1 applied, 1 failed",
        ),
        (done(seen(complete=False)), 1, "in sync"),
    ],
)
def test_reconcile_exits(
    report: Any, code: int, last: str, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 a failed step, else 3 a guard blocks, else 0."""
    with_reconciliation(monkeypatch, reconcile_once=lambda: report)
    result = run("--config", config, "reconcile")
    assert result.exit_code == code
    assert result.stdout.splitlines()[-1] == last


def test_reconcile_as_json(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It adds how many steps were carried out and failed; why is told on stderr."""
    report = done(
        seen(Plan((CREATE, UPDATE)), (PUBLISH,)),
        Result.APPLIED,
        Result.FAILED,
        publish=[Result.PUBLISHED],
    )
    with_reconciliation(monkeypatch, reconcile_once=lambda: report)
    result = run("--config", config, "reconcile", "--output", "json")
    found = json.loads(result.stdout)
    assert problems("plan", found) == []
    assert (found["applied"], found["failed"]) == (2, 1)
    assert result.stderr == "failed: room !u: no\\x0away\n"


def test_an_incomplete_look_is_told(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_reconciliation(monkeypatch, look=lambda: seen(complete=False))
    result = run("--config", config, "plan")
    assert is_one_sentence(result.stderr.splitlines(keepends=True)[-1])


async def test_what_a_guard_blocks(city: City) -> None:
    """Every command says so, by exit code 3, until a start lets it through; and what
    comes while that bot runs is blocked again."""
    _, space, chats = await city.home("alice", 4)
    first, later = chats[:2], chats[2:]
    await city.once()
    for chat in first:
        await city.bot.unlink(space, chat)
    config = write_config(
        city.path.parent,
        city.bot,
        city.bot.url,
        database=city.path.name,
        reconcile={"interval": "1s", "max_detach": 1, "max_detach_percent": 0},
    )

    async def reconciled(*arguments: str) -> int:
        given = ("--config", str(config), "reconcile", *arguments)
        return (await asyncio.to_thread(run, *given)).exit_code

    planned = await asyncio.to_thread(run_apart, "--config", str(config), "plan")
    assert (planned.returncode, planned.stdout.splitlines()[-1]) == (3, "2 blocked")
    assert "spacekeeper run --allow-detach 2" in planned.stderr
    assert await reconciled() == 3
    assert {city.status(chat) for chat in chats} == {"active"}

    async with running(config, "--allow-detach", "2") as bot:
        await bot.ready()
        assert {city.status(chat) for chat in first} == {"detached: unlinked"}
        # All at once: the bot reads the Space when they are through.
        os.kill(bot.pid, signal.SIGSTOP)
        for chat in later:
            await city.bot.unlink(space, chat)
        [[before]] = city.query("SELECT max(id) FROM passes")
        os.kill(bot.pid, signal.SIGCONT)
        passed: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while len(passed) < 3:
                await asyncio.sleep(0.1)
                passed = results(city, before)
        assert set(passed) == {"blocked"}
        assert await bot.terminate() == 0
    assert {city.status(chat) for chat in later} == {"active"}
    assert await reconciled("--allow-detach", "2") == 0
    assert {city.status(chat) for chat in later} == {"detached: unlinked"}


def results(city: City, after: int) -> list[str]:
    """How the passes ended that came after this one."""
    found = city.query("SELECT result FROM passes WHERE id > ?", (after,))
    return [result for (result,) in found]
