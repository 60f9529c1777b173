"""A plan is a value: the steps that may be taken, and those that a guard blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from controller.model import Action, Change

SIGNS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.DETACH: "-",
    Action.RESTORE: "+",
    Action.PUBLISH: "^",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """Blocks every change that `counts`, as a whole, when there are more than `limit`."""

    counts: Callable[[Change], bool]
    limit: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in key order, and the changes that a guard holds back."""

    steps: tuple[Change, ...] = ()
    blocked: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        """True when the world differs from what is wanted, blocked or not."""
        return bool(self.steps or self.blocked)

    def __str__(self) -> str:
        lines = [line(change) for change in self.steps]
        lines += [f"{line(change)}   (blocked)" for change in self.blocked]
        return "\n".join(lines)


def plan(changes: Iterable[Change], guard: Guard | None = None) -> Plan:
    """Divide `changes` into steps and what `guard` blocks: all that it counts, or none."""
    every = tuple(changes)
    if guard is None:
        return Plan(every)
    steps: list[Change] = []
    blocked: list[Change] = []
    for change in every:
        (blocked if guard.counts(change) else steps).append(change)
    if len(blocked) <= guard.limit:
        return Plan(every)
    return Plan(tuple(steps), tuple(blocked))


def line(change: Change) -> str:
    """One line for people: sign, key, each field as `name: old -> new`, who made it so.

    Who stands behind a resource that is new would be whoever touched it last.

    Whatever has no glyph of its own is escaped, in names too."""
    fields = change.fields.items()
    if change.new is None:
        details = [change.reason]
    elif change.action is Action.CREATE:
        details = [f"{name}={_text(new)}" for name, (_, new) in fields]
    else:
        details = [f"{n}: {_text(old)} -> {_text(new)}" for n, (old, new) in fields]
    text = f"{SIGNS[change.action]} {change.key}  {', '.join(details)}"
    if change.cause and change.cause.sender and change.action is not Action.CREATE:
        text += f"   by {change.cause.sender}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _text(value: Any) -> str:
    return (
        "nothing"
        if value is None
        else json.dumps(value, ensure_ascii=False, default=repr)
    )
