"""A mixed load for `serve.py`: ids, filters and images of the samples, without the rules of a shop and with them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

_IDS, _FILTERED, _IMAGES = 12, 6, 2  # of 20 requests


def prepare(work: Path, samples: Path, visrec: Path) -> Path:
    """Return the folder of a store of *samples*, which the program *visrec* makes unless it is there."""
    store = work.resolve() / "samples"
    if not (store / "CURRENT").exists():
        subprocess.run([visrec, "index", samples / "catalog.csv", "--store", store], check=True, capture_output=True)
    return store


def requests(samples: Path, items: list[str], count: int) -> dict[str, list[Any]]:
    """Return the order of *count* requests for `load.py`: their kinds, their paths, and the files that they bring."""
    draw = random.Random(0)  # noqa: S311 - a sample, no secret
    files = sorted(samples.glob("*.jpg"))
    found = list(_requests(draw, items, files, count))
    return dict(zip(("kinds", "paths", "files"), map(list, zip(*found, strict=True)), strict=True))


def _requests(
    draw: random.Random, items: list[str], files: list[Path], count: int
) -> Iterator[tuple[str, str, str | None]]:
    kinds = ["id"] * _IDS + ["filter"] * _FILTERED + ["image"] * _IMAGES
    for _ in range(count):
        kind = draw.choice(kinds)
        if kind == "image":
            yield kind, "/v1/similar/image?k=10", str(draw.choice(files))
            continue
        where = {"where": f"price < {draw.randint(20, 80)} and in_stock"} if kind == "filter" else {}
        yield kind, "/v1/similar?" + urlencode({"id": draw.choice(items), "k": 10, **where}), None
