"""What the cache remembers, read beside a running bot and without a lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter.matrix.desired import Finding
from adapter.matrix.rows import UNKNOWN, Row
from controller.conditions import Condition
from controller.model import Cause

if TYPE_CHECKING:
    from adapter.config import Config


class Memory(NamedTuple):
    """The cache at one moment. `at` and `result` are the last pass's, if there was one."""

    rows: Mapping[str, Row]
    at: int | None
    result: str | None
    error: str | None
    """Why the last pass saw nothing, where it failed."""
    complete: bool
    findings: tuple[Finding, ...]
    unknown: Mapping[str, str]
    conditions: tuple[Condition, ...]


async def remembered(config: Config) -> Memory:
    """Read the cache; one that is missing or corrupt is empty, with one warning."""
    from adapter.matrix.store import Store

    async with Store.read(config.database, user_id=config.user_id) as store:
        rows = await store.rows()
        last = await store.last_pass()
        conditions = tuple(await store.conditions())
    report: Mapping[str, Any] = last.report if last else {}
    return Memory(
        rows,
        last.at if last else None,
        last.result if last else None,
        str(report["error"]) if report.get("error") else None,
        report.get("complete") is True,
        tuple(findings(report.get("findings"))),
        _unknown(report.get("unknown"), rows),
        conditions,
    )


def findings(told: Any) -> list[Finding]:
    """Read findings as a plan writes them; what is something else is left out."""
    entries = told if isinstance(told, list) else []
    return [
        Finding(
            str(entry.get("code", "")),
            str(entry.get("room", "")),
            str(entry.get("message", "")),
            Cause("", str(entry["evidence"]), 0) if entry.get("evidence") else None,
        )
        for entry in entries
        if isinstance(entry, Mapping)
    ]


def _unknown(told: Any, rows: Mapping[str, Row]) -> dict[str, str]:
    found = {
        room_id: row.reason or "unknown"
        for room_id, row in rows.items()
        if row.status == UNKNOWN
    }
    if isinstance(told, Mapping):
        found |= {str(room): str(why) for room, why in told.items()}
    return found
