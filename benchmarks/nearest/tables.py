"""The results of ann.py as tables of README.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from readme import put


def write_tables(results: Sequence[Mapping[str, Any]]) -> None:
    """Put the tables of all *results*, one for each number of rows and dim, into README.md."""
    ordered = sorted(results, key=lambda each: (each["dim"], -each["rows"], each["processor"]))
    put("ann.json", "\n\n".join("\n".join(_tables(each)) for each in ordered))


def _tables(result: Mapping[str, Any]) -> Iterator[str]:
    index, grown = result["index"], result["local_dimension"]
    yield (
        f"**{result['rows']:,} x {result['dim']}**, {result['when'][:10]}, {result['cores']} cores of "
        f"{result['processor']}; local dimension {grown['real']} (real), {grown['grown']} (grown); "
        f"visrec's index: {index['index_factory']}."
    )
    for name, rows in {"contest": _contest, "filters": _filters, "update": _update}.items():
        if name in result:
            yield ""
            yield from rows(result[name])


def _contest(contest: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| at recall@10 >= 0.95 | recall | batch/s | visrec's | single/s | visrec's | build s | bytes | open ms |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    yield _side(contest[0]["visrec"], "", "")
    for each in contest:
        yield _side(each["other"], f"{each['batch_ratio']:.2f} x", f"{each['single_ratio']:.2f} x")


def _filters(filters: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| filter | of the items | recall@10 | ms | x unfiltered | whole query, ms | x unfiltered |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for each in filters:
        yield (
            f"| `{each['filter']}` | {each['share']:.2%} | {each['recall_at_10']:.4f} | {each['ms']:.2f} "
            f"| {each['times_unfiltered']:.1f} | {each['similar_ms']:.2f} | {each['similar_times_unfiltered']:.1f} |"
        )


def _update(update: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{update['came_and_went']:,} items gone and as many new: {update['index_seconds']} s for the index, "
        f"{update['share_of_build']:.1%} of building it; {update['run_seconds']} s for the whole run but for the "
        f"embedding; recall@10 then {update['recall_at_10']}."
    )


def _side(side: Mapping[str, Any], batch: str, single: str) -> str:
    return (
        f"| {side['name']} | {side['recall_at_10']:.4f} | {side['batch_per_second']:,} | {batch} "
        f"| {side['single_per_second']:,} | {single} | {side['build_seconds']:,.0f} | {side['bytes_per_vector']:,.0f} "
        f"| {side['open_ms']:,.1f} |"
    )
