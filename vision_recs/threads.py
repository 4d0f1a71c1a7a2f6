"""How many threads this process really has.

A query is computed by the thread that asks: to wake a pool takes longer than the query, and on a busy machine threads
that wait for each other spin. What is built, and many queries at once, use as many threads as there are here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from math import ceil, inf
from pathlib import Path
from time import monotonic

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")
_KEPT = 10  # seconds: who is given another quota is heard that soon


def available_threads() -> int:
    """Return how many threads can run at a time: by the cores of this process, and by the time its cgroup is given.

    What the cgroup gives is read every ten seconds at most.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, ceil(min(_quota(int(monotonic() // _KEPT)), cores))))


@lru_cache(1)
def _quota(_time: int) -> float:
    """Return how many cores' time the cgroup of this process, or one that it is in, may use at *_time*."""
    quotas = [inf]
    try:
        lines = _OWN_GROUP.read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return inf
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):  # noqa: PLR2004 - its columns
        root = _GROUPS if not controllers else _GROUPS / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            quotas.append(_quota_of(folder))
            if folder == root:
                break
    return min(quotas)


def _quota_of(folder: Path) -> float:
    """Return what the cgroup in *folder* sets: version 2 has it in one file, version 1 in two."""
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text("utf-8").split()
        else:
            most, period = ((folder / f"cpu.cfs_{name}_us").read_text("utf-8").strip() for name in ("quota", "period"))
        return inf if most in {"max", "-1"} else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return inf
