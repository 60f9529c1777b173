"""What Spacekeeper costs beside what the wire costs: `python -m benchmarks --help`."""
