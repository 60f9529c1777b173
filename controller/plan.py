"""A plan is a value: the steps that may be taken, and those that a guard blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
    """One line for people: sign, key, and each field as `name: old -> new`.

    Whatever has no glyph of its own is escaped, in names too."""
    fields = change.fields.items()
    if change.new is None:
        details = [change.reason]
    elif change.action is Action.CREATE:
        details = [f"{name}={new!r}" for name, (_, new) in fields]
    else:
        details = [f"{name}: {old!r} -> {new!r}" for name, (old, new) in fields]
    text = f"{SIGNS[change.action]} {change.key}  {', '.join(details)}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
