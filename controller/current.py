"""Which pass the code runs in, for whoever writes logs."""

from __future__ import annotations

from contextvars import ContextVar

current_pass: ContextVar[int] = ContextVar("current_pass", default=0)
"""The number of the pass, from 1 in each process; 0 outside of any."""
