"""How often the colors that `visrec index --colors` names are the catalog's, on the samples; part of `quality.py`."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vision_recs import images
from vision_recs.encoders import load_encoder
from vision_recs.encoders.registry import DEFAULT_ENCODER
from vision_recs.images.named_colors import colors_in, named_in
from vision_recs.store.added import OF_ITEM, added_text, colors_of_item, with_added

MATERIALS = {
    "natural": {"tan", "beige", "brown"},
    "silver": {"grey", "white"},
    "gold": {"mustard", "tan", "beige"},
    "rose gold": {"pink", "coral", "terracotta", "tan"},
    "amber": {"orange", "mustard", "brown"},
}
"""What the words of the catalog that name materials look like."""


@dataclass(frozen=True)
class ColorRow:
    """The share of *of* whose first color, or one of all, is that of the catalog; *chance* is that of other items."""

    of: str
    count: int
    first: float
    any: float
    names: float
    chance: float


@dataclass(frozen=True)
class ColorCost:
    """Milliseconds of the processor that an image takes: to embed it, and to name its colors; and their ratio."""

    encoder: str
    embedding_ms: float
    naming_ms: float

    @property
    def share(self) -> float:
        """What naming takes of embedding."""
        return self.naming_ms / self.embedding_ms


def color_rows(catalog: Path) -> Iterator[ColorRow | ColorCost]:
    """Yield how right the names are, for packshots, for the other images, and for items; then what they cost."""
    with catalog.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    encoder = load_encoder(DEFAULT_ENCODER)
    recipe = encoder.spec.preprocess
    data = [(catalog.parent / row["image"]).read_bytes() for row in rows]
    pixels = [images.load(each, recipe) for each in data]
    named = [colors_in(each) for each in pixels]
    wanted = {row["id"]: _looks(row["color"]) for row in rows}
    for what, is_packshot in (("packshots", True), ("other images", False)):
        chosen = [
            (row["id"], found)
            for row, found in zip(rows, named, strict=True)
            if (row["view"] == "packshot") is is_packshot
        ]
        yield _row(what, chosen, wanted)
    of_items: dict[str, list[str]] = {}
    for row, found in zip(rows, named, strict=True):
        of_items.setdefault(row["id"], []).append(with_added("{}", added_text(colors=found)))
    added = {item: json.loads(colors_of_item(each) or "{}") for item, each in of_items.items()}
    yield _row("items", [(item, tuple(json.loads(each[OF_ITEM]))) for item, each in added.items()], wanted)
    batch = np.stack(pixels[:64])
    embedding = _cpu(lambda: [encoder.encode(batch), [images.load(each, recipe) for each in data[:64]]]) / 64
    yield ColorCost(DEFAULT_ENCODER, embedding, _cpu(lambda: [colors_in(each) for each in batch]) / 64)


def _looks(color: str) -> set[str]:
    return MATERIALS.get(color) or set(named_in(color))


def _row(of: str, found: Sequence[tuple[str, tuple[str, ...]]], wanted: dict[str, set[str]]) -> ColorRow:
    others = [
        bool(wanted[item] & set(colors)) for number in range(1, len(found)) for (item, _), (_, colors) in
        zip(found, found[number:] + found[:number], strict=True)
    ]  # fmt: skip
    return ColorRow(
        of,
        len(found),
        float(np.mean([colors[0] in wanted[item] for item, colors in found])),
        float(np.mean([bool(set(colors) & wanted[item]) for item, colors in found])),
        float(np.mean([len(colors) for _, colors in found])),
        float(np.mean(others)),
    )


def _cpu(work: Callable[[], object]) -> float:
    """Return the milliseconds of the processor of the fastest of five calls; the first call warms up."""
    found = []
    for _ in range(6):
        started = time.process_time()
        work()
        found.append(1000 * (time.process_time() - started))
    return min(found[1:])


def color_table(rows: Sequence[ColorRow], costs: Sequence[ColorCost]) -> list[str]:
    """Return the section of quality.md."""
    lines = [
        "## Colors by name",
        "",
        "The samples' own color against what `visrec index --colors` names by the pixels. Where a name ends was drawn",
        "on the packshots; the other images were not looked at. By chance: with the colors of other items.",
        "",
        "| of | count | first name right | one of them right | names | by chance |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.of} | {row.count} | {row.first:.3f} | {row.any:.3f} | {row.names:.2f} | {row.chance:.3f} |"
        for row in rows
    ]
    lines += [
        f"\nNaming takes {cost.naming_ms:.2f} ms of the processor an image, {100 * cost.share:.1f} % of the "
        f"{cost.embedding_ms:.1f} ms of decoding and {cost.encoder}."
        for cost in costs
    ]
    return [*lines, ""]
