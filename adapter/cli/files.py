"""Files that are whole or as they were: written beside their place, then moved there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Replace the file at `path`, for its owner alone (mode 0600), or leave it alone.

    Links are followed; what is no regular file, such as a terminal, is written to."""
    path = path.resolve()
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)
        return
    try:
        _write_beside(path, content)
    except OSError as exc:
        # Of the two files, the one that people know.
        raise OSError(exc.errno, exc.strerror, str(path)) from exc


def _write_beside(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
