"""What is known of the controller's own state, for people and probes."""

from __future__ import annotations

from typing import NamedTuple


class Condition(NamedTuple):
    """One statement about the controller: "Observed is True since ..., because ...".

    `status` is "True", "False" or "Unknown"; `reason` is one CamelCase word, `message`
    a sentence; `changed_at` (ms) is when `status` last changed."""

    type: str
    status: str
    reason: str
    message: str
    changed_at: int


def following(old: Condition | None, new: Condition) -> Condition:
    """Say `new` after `old`: `changed_at` moves only with `status`."""
    if old is None or old.status != new.status:
        return new
    return new._replace(changed_at=old.changed_at)
