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
    counted = [change for change in every if guard.counts(change)]
    if len(counted) <= guard.limit:
        return Plan(every)
    blocked = {change.key for change in counted}
    return Plan(
        tuple(change for change in every if change.key not in blocked),
        tuple(counted),
    )


def line(change: Change) -> str:
    """One line for people: sign, key, and each field as `name: old -> new`."""
    sign = SIGNS[change.action]
    if change.action is Action.CREATE:
        details = [f"{name}={new!r}" for name, (_, new) in change.fields.items()]
    else:
        details = [
            f"{name}: {old!r} -> {new!r}" for name, (old, new) in change.fields.items()
        ]
    return f"{sign} {change.key}  {', '.join(details)}"
