"""How passes behave: settings of the reconciler, usable without any configuration file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """When passes run, and what they may do. All defaults suit a bot of any size."""

    interval: float = 300.0
    """Seconds between two passes."""
    full_interval: float = 3600.0
    """Seconds between two passes that read every room afresh; also how long a room may
    be unknown before it is given up."""
    jitter: float = 0.1
    """Share of `interval` by which a pass may come earlier or later."""
    max_detach: int = 3
    """Rows that one pass may always give up."""
    max_detach_percent: float = 20
    """Per cent of the rows in use that one pass may give up, where that is more."""
    publish_rate: float = 0.1
    """State events per second, once the server has set a limit."""
    publish_patience: float = 30.0
    """Seconds that `reconcile` waits for the server's limits."""
