"""What a change of a large shop costs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from nearest.shop import write_shop

from vision_recs.jobs.progress import Progress
from vision_recs.jobs.publish import index_config_of
from vision_recs.store import Store
from vision_recs.types import Vectors


def measure_update(store: Store, fresh: Vectors, copy: Path) -> dict[str, Any]:
    """Return what it takes when as many of the first items are gone as there are *fresh* ones (n, dim).

    *store* holds the items 0 to rows - 1 and is not changed: *copy* is where a copy of it is, meanwhile.
    """
    some, rows = len(fresh), store.manifest.items
    known = np.broadcast_to(np.float32(0), (rows, store.dim))  # which are not looked at
    times: list[float] = []

    def progress(step: Progress) -> None:
        if step.stage == "building the index":
            times.append(perf_counter())

    shutil.copytree(store.layout.root, copy, copy_function=os.link)
    started = perf_counter()
    numbers = range(some, rows + some)
    changed = write_shop(copy, [known, fresh], config=index_config_of(store), numbers=numbers, progress=progress)
    run = perf_counter() - started
    shutil.rmtree(copy)
    before, after = store.manifest.index_stats or {}, changed.manifest.index_stats or {}
    index = times[-1] - times[0]
    return {
        "came_and_went": some,
        "index_seconds": round(index, 2),
        "share_of_build": round(index / before["build_seconds"], 4),
        "run_seconds": round(run, 2),
        "recall_at_10": after["recall_at_10"],
    }
