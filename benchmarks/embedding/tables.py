"""The results as tables, for the terminal and for README.md, where they stand between markers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from readme import put

from embedding.workers import BENCHMARKS

_BASELINE = "visrec / Pillow + torch"
_ALLOWED = "visrec / allowed"
_LEAST = {
    ("EfficientNet-Lite0", 500, _BASELINE): 12,
    ("ResNet-50", 500, _BASELINE): 8,
    ("CLIP ViT-B/32", 500, _BASELINE): 3.5,
    ("EfficientNet-Lite0", 2000, "read, decode, resize / read, decode in full, resize"): 4,
}
"""What the ratios have to be on two cores with AMX; besides, every one to what is allowed 0.8."""

_LEAST_OF_ALLOWED = 0.8
_MOST_MEGABYTES = 1500


def write() -> None:
    """Put the tables of embed.json and embed_memory.json into README.md, where there are results."""
    for name, tables in (("embed.json", embed_tables), ("embed_memory.json", memory_table)):
        file = BENCHMARKS / name
        if file.exists():
            put(name, tables(json.loads(file.read_text("utf-8"))))


def embed_tables(results: dict[str, Any]) -> str:
    """Return the tables of `embed.py`'s *results* as Markdown."""
    parts = []
    if results.get("cases"):
        parts += [_machine(results), _rates(results["cases"]), _ratios(results["cases"])]
        parts += [f"- {peer}: {reason}" for peer, reason in results["peers_missing"].items()]
    if results.get("quality"):
        parts.append(_quality(results["quality"]))
    return "\n\n".join(parts)


def case_line(case: dict[str, Any]) -> str:
    """Return one model with one size of images as a line."""
    rates = ", ".join(f"{name} {rate['best']:,.0f}" for name, rate in case["rates"].items())
    return f"{case['model']}, {case['size']} px, images a second: {rates}; allowed {case['allowed']:,.0f}"


def memory_table(result: dict[str, Any]) -> str:
    """Return the *result* of `embed_memory.py` as Markdown."""
    rows = [
        ("peak resident memory, MB", f"{result['peak_mb']:,.0f}", f"< {_MOST_MEGABYTES:,}"),
        ("after a tenth of the time, MB", f"{result['resident_mb'][0]:,.0f}", ""),
        ("at the end, MB", f"{result['resident_mb'][-1]:,.0f}", ""),
        ("peak of the first start, which converts the model, MB", f"{result['first_start_peak_mb']:,.0f}", ""),
        ("images a second", f"{result['images_per_second']:,.0f}", ""),
    ]
    head = f"{result['images']:,} images, {result['encoder']}"
    return _table((head, "measured", "target"), rows)


def _machine(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items() if number)
    peers = {name: number for each in results["peers"].values() for name, number in each.items()}
    others = ", ".join(f"{name} {number}" for name, number in peers.items())
    runtime = results["cases"][0]["runtime"]
    return (
        f"{results['when'][:10]}, {results['cores']} cores of {results['processor']} ({' '.join(results['flags'])}), "
        f"visrec on {runtime}, best of {results['rounds']} rounds. {versions}. Others: {others or 'none'}."
    )


def _rates(cases: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for case in cases for name in case["rates"]))
    rows = [
        (name, *(f"{case['rates'][name]['best']:,.0f}" if name in case["rates"] else "" for case in cases))
        for name in names
    ]
    rows.append(("allowed by the stages", *(f"{case['allowed']:,.0f}" for case in cases)))
    return _table(("images a second", *(f"{case['model']}, {case['size']} px" for case in cases)), rows)


def _ratios(cases: list[dict[str, Any]]) -> str:
    rows = [
        (f"{case['model']}, {case['size']} px", name, f"{ratio['best']:.2f}", f"{ratio['median']:.2f}", least)
        for case in cases
        for name, ratio in case["ratios"].items()
        for least in [_least(case, name)]
    ]
    return _table(("images", "ratio", "of the best rounds", "median of the rounds", "target"), rows)


def _least(case: dict[str, Any], name: str) -> str:
    least = _LEAST_OF_ALLOWED if name == _ALLOWED else _LEAST.get((case["model"], case["size"], name))
    return "" if least is None else f">= {least}"


def _quality(result: dict[str, Any]) -> str:
    away = 100 * abs(result["recall_at_1"] - result["reference_recall_at_1"])
    rows = [
        ("R@1 by category, leave-one-out", f"{result['recall_at_1']:.4f}", ""),
        ("R@1 of the float32 path", f"{result['reference_recall_at_1']:.4f}", ""),
        ("how far apart, points", f"{away:.2f}", "<= 0.2"),
        ("mean cosine of the two vectors of a photo", f"{result['mean_cosine']:.4f}", ">= 0.995"),
        ("least cosine", f"{result['min_cosine']:.4f}", ""),
        ("images a second, visrec", f"{result['images_per_second']:,.0f}", ""),
        ("images a second, float32 path", f"{result['reference_images_per_second']:,.0f}", ""),
    ]
    return _table((f"{result['images']:,} photos, {result['encoder']}", "measured", "target"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)
