"""The results of serve.py as tables of README.md, where they stand between markers."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from readme import put
from serving import page


def write_tables(results: dict[str, Any]) -> None:
    """Put the tables of *results* into README.md."""
    put("serve.json", "\n".join([*contest(results), *frameworks(results), *page.table(results)]))


def contest(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of both servers."""
    if "peak" not in results:
        return
    what = f"{results['rows']:,} x {results['dim']}, k = 10"
    yield f"| {what} | a second | failed | p50 ms | p99 ms | p99 / p50 | random: p50 | p99 |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, rounds in results["peak"].items():
        best = max(each["per_second"] for each in rounds)
        half = results["half_of_peak"][name]
        failed = sum(each["failures"] for each in (*rounds, *(part for each in half for part in each.values())))
        p50, p99, random_p50, random_p99 = (
            median(each[moments][part] for each in half)
            for moments in ("even", "random")
            for part in ("p50_ms", "p99_ms")
        )
        yield (
            f"| {name} | {best:,.0f} | {failed} | {p50:.2f} | {p99:.2f} | {p99 / p50:.2f} "
            f"| {random_p50:.2f} | {random_p99:.2f} |"
        )
    yield f"| visrec / FastAPI, best rounds | {results['ratio_of_best']:.2f} | | | | | | |"
    yield f"| visrec / FastAPI, median within rounds | {results['median_ratio_within_rounds']:.2f} | | | | | | |"
    if "median_ratio_of_processor_time" in results:
        yield f"| visrec / FastAPI, by processor time | {results['median_ratio_of_processor_time']:.2f} | | | | | | |"
    yield ""


def frameworks(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of frameworks and servers."""
    if "frameworks" not in results:
        return
    yield "| the same answer every time | server | a second | p50 ms | p99 ms |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for each in sorted(results["frameworks"], key=lambda each: -each["per_second"]):
        name = each["framework"].replace("_", " + ")
        yield f"| {name} | {each['server']} | {each['per_second']:,.0f} | {each['p50_ms']:.2f} | {each['p99_ms']:.2f} |"
