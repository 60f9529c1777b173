"""How long a library for differences takes for two nested worlds.

python diffs.py LIBRARY WORLDS

WORLDS is a JSON file with two objects of objects. What is printed is CPU seconds, of the
difference as a whole and nothing else.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _of(library: str) -> Callable[[Any, Any], int]:
    """The function, which is made to find all that differs; imported only if asked for."""
    if library == "kopf":
        from kopf._cogs.structs.diffs import diff

        return lambda old, new: len(diff(old, new))
    if library == "dictdiffer":
        import dictdiffer

        return lambda old, new: len(list(dictdiffer.diff(old, new)))
    if library == "jsonpatch":
        import jsonpatch

        return lambda old, new: len(list(jsonpatch.make_patch(old, new)))
    from deepdiff import DeepDiff

    return lambda old, new: len(DeepDiff(old, new)["values_changed"])


def main(library: str, worlds: Path) -> None:
    old, new = json.loads(worlds.read_bytes())
    work = _of(library)
    gc.disable()  # as for ours
    began = time.process_time()
    found = work(old, new)
    took = time.process_time() - began
    wanted = sum(old[name] != new[name] for name in old)
    if found != wanted:
        msg = f"{library} found {found} differences of {wanted}"
        raise SystemExit(msg)
    print(json.dumps({"seconds": took}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
