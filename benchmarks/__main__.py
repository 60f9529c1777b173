"""Measure what the bot costs beside what the wire costs; see `suite`."""

from __future__ import annotations

if __name__ == "__main__":
    # In here: each process of its own that a row starts imports this module first.
    from benchmarks.suite import main

    main()
