"""What the page of `visrec serve` asks for: the requests of visits, mixed as they come, and the slowest ones alone."""

from __future__ import annotations

import random
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from nearest.shop import CATEGORIES

from vision_recs.serve.handlers.admin import page_files

_STEPS = 6  # items that a visitor opens one after the other
_REPEATED = 5


def visits(rows: int, count: int) -> list[str]:
    """Return the paths of *count* visits to a shop of *rows* items: the page, the catalog, words, filters, items."""
    draw = random.Random(0)  # noqa: S311 - visitors, no secrets
    return [path for _ in range(count) for path in _visit(rows, draw)]


def _visit(rows: int, draw: random.Random) -> Iterator[str]:
    yield "/"
    yield from (f"/page/{name}" for name in page_files() if name.endswith((".js", ".css")))
    yield from ("/v1/info", "/v1/items?limit=48", "/v1/facets")
    where = f'category == "{draw.choice(CATEGORIES)}" and price < {draw.randint(20, 200)}'
    for filtered in ({"where": where}, {"where": where, "sort": "price"}, {"q": f"item{draw.randrange(rows):08d}"[:8]}):
        yield "/v1/items?" + urlencode({**filtered, "limit": 48})
        yield "/v1/facets?" + urlencode({name: filtered[name] for name in filtered if name != "sort"})
    for _ in range(_STEPS):
        item = f"item{draw.randrange(rows):08d}"
        yield "/v1/similar?" + urlencode({"id": item, "k": 24, "explain": "true", "cover": "true"})
        yield "/v1/item?" + urlencode({"id": item})


def slowest(port: int, rows: int) -> dict[str, list[float]]:
    """Return the seconds of what takes the server longest, the first time and then, each another time."""
    asked = {
        "facets": "/v1/facets",
        "facets of a filter": "/v1/facets?" + urlencode({"where": "price < 100 and in_stock"}),
        "a filtered page": "/v1/items?" + urlencode({"where": "in_stock", "limit": 48}),
        "a deep filtered page": "/v1/items?" + urlencode({"where": "in_stock", "limit": 48, "offset": rows * 8 // 10}),
        "a sorted deep page": "/v1/items?" + urlencode({"sort": "-price", "limit": 48, "offset": rows * 8 // 10}),
    }
    return {name: [_seconds(port, path) for _ in range(_REPEATED)] for name, path in asked.items()}


def _seconds(port: int, path: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        answer.read()
    return round(time.perf_counter() - began, 4)


def _browser_table(views: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "| in a browser, ms after the HTML | first image painted | all in the window | facets | layout shift |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, seen in views.items():
        times = (_both(**seen, key=key) for key in ("first_image_ms", "all_images_ms", "facets_ms"))
        shift = max(each["layout_shift"] for each in seen.values())
        yield f"| {name} | {' | '.join(times)} | {shift:.3f} |"


def _both(first: dict[str, float], then: dict[str, float], key: str) -> str:
    return f"{first[key]:.0f}, then {then[key]:.0f}"


def table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of what `slowest` and the mixed load measured."""
    if "page" not in results:
        return
    page = results["page"]
    yield ""
    yield f"| the page, {page['rows']:,} items | first, ms | then, ms |"
    yield "| --- | ---: | ---: |"
    for name, seconds in page["slowest"].items():
        yield f"| {name} | {1e3 * seconds[0]:.0f} | {1e3 * sorted(seconds[1:])[len(seconds) // 2 - 1]:.0f} |"
    if "browser" in page:
        yield from _browser_table(page["browser"])
    load = page["load"]
    yield ""
    yield (
        f"Visits to the page, mixed: {load['per_second']:,.0f} requests a second by one process, "
        f"p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.1f} ms, {load['failures']} failed."
    )
