"""What the words of items bring beside their images, by evaluate's own paired tests on the sample catalog.

    python benchmarks/words.py [--work DIR]

Three questions: whether titles beside images find similar items better, at which weight; what `visrec tune --words`
learns; and how well items are found, and find others, that have lost their image. Writes words.json and words.md beside
itself; takes two minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from machine import provenance

from vision_recs.catalog import open_catalog
from vision_recs.catalog.judgments import Pair, read_pairs
from vision_recs.evaluate import Comparison, EvaluationTask, compare_stores
from vision_recs.jobs import embed, retune
from vision_recs.store import Store
from vision_recs.tune import Tuned, TuneOptions, tune
from vision_recs.types import ImageSource, Item

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "sample_images"
PLAIN = "efficientnet-lite0"
WEIGHTS = (0.1, 0.2, 0.4, 1.0, 2.0)
SHOWN = ("precision_at_1", "precision_at_10", "ndcg_at_10")


@dataclass(frozen=True)
class Row:
    """A measure of *what* by *task*, and its difference to the baseline, query by query, with 95 % bounds."""

    section: str
    task: str
    what: str
    measure: str
    value: float
    difference: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class Bare:
    """The sample catalog, but the items *bare* name no image."""

    items: Sequence[Item]
    bare: frozenset[str]
    location: str
    root: str
    images: ImageSource

    def __iter__(self) -> Iterator[Item]:
        """Yield each item."""
        for item in self.items:
            yield replace(item, images=(), image_attributes=()) if item.id in self.bare else item


def named(weight: float) -> str:
    """Return the encoder with the words of titles at *weight*."""
    return f"{PLAIN}+words:title@{weight:g}"


def rows_of(section: str, task: str, what: str, found: Comparison) -> Iterator[Row]:
    """Yield the rows of a comparison."""
    for measure in SHOWN:
        each = found.differences[measure]
        value = found.candidate.measures[measure].value
        yield Row(section, task, what, measure, value, each.value, each.low, each.high, found.candidate.queries)


def beside(work: Path, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield the rows of several weights, compared with images alone."""
    tasks = {
        "pairs": EvaluationTask(pairs=pairs),
        "category": EvaluationTask(labels="category"),
        "color": EvaluationTask(labels="color"),
        "material": EvaluationTask(labels="material"),
        "style": EvaluationTask(labels="style"),
        "own item by image": EvaluationTask(per_image=True),
    }
    plain = stored(work, PLAIN)
    for weight in WEIGHTS:
        store = stored(work, named(weight))
        for task, how in tasks.items():
            found = compare_stores(plain, store, how)
            yield from rows_of("beside images, against images alone", task, f"words:title@{weight:g}", found)


def learned(work: Path, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield what `tune --words` finds on items that it has not seen, compared with the weight of the name."""
    for weight in (0.1, 0.4):
        store = stored(work, named(weight))
        for task, options in {
            "pairs": TuneOptions(pairs=pairs, words=True),
            "category": TuneOptions(labels="category", words=True),
            "color": TuneOptions(labels="color", words=True),
        }.items():
            yield from rows_of_tune(task, f"@{weight:g}", tune(store, options))


def rows_of_tune(task: str, what: str, tuned: Tuned) -> Iterator[Row]:
    """Yield the rows of what `tune --words` learned."""
    share = tuned.projection.provenance["words"]
    what = f"words:title{what}, tuned to a share of {share}" + ("" if tuned.is_better else ", not published")
    for measure in SHOWN:
        each, value = tuned.differences[measure], tuned.after[measure].value
        section = "tune --words, held out, against the weight of the name"
        yield Row(section, task, what, measure, value, each.value, each.low, each.high, tuned.queries)


def bare(work: Path, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield how well items without an image are found, and find others, compared with the same items with theirs."""
    catalog = open_catalog(SAMPLES / "catalog.csv")
    items = list(catalog)
    chosen = np.random.default_rng(0).permutation(len(items))[: len(items) // 2].tolist()
    without = frozenset(items[number].id for number in chosen)
    shop = Bare(items, without, catalog.location, catalog.root, catalog.images)
    tasks = {
        "found by items with images": [p for p in pairs if p.relevant in without and p.query not in without],
        "find items with images": [p for p in pairs if p.query in without and p.relevant not in without],
    }
    for weight in (0.4, 1.0):
        folder = work / f"bare-{weight:g}"
        embed(shop, folder, encoder=named(weight))
        with Store.open(folder) as store:
            for task, judged in tasks.items():
                found = compare_stores(stored(work, named(weight)), store, EvaluationTask(pairs=judged))
                section = "half of the items have no image, against all with theirs"
                yield from rows_of(section, task, f"words:title@{weight:g}", found)
            tuned = tune(store, TuneOptions(pairs=pairs, words=True))
            yield from rows_of_tune("pairs, half of the items without an image", f"@{weight:g}", tuned)


def stored(work: Path, name: str) -> Store:
    """Return the store of the sample catalog by the encoder *name*."""
    folder = work / name
    embed(SAMPLES / "catalog.csv", folder, encoder=name)
    if Store.open(folder).manifest.projection is not None:
        retune(folder, None)
    return Store.open(folder)


def table(rows: Sequence[Row]) -> str:
    """Return the tables of *rows* in Markdown."""
    lines = ["# Words beside images", "", "Made by `python benchmarks/words.py`; never edited. Items of the sample"]
    lines += ["catalog, `words:title`: each measure, and its difference query by query, with 95 % bounds of a paired"]
    lines += ["bootstrap.", ""]
    for section in dict.fromkeys(row.section for row in rows):
        lines += [f"## {section.capitalize()}", "", "| task | queries | | P@1 | P@10 | nDCG@10 |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        own = [row for row in rows if row.section == section]
        for task, what in dict.fromkeys((row.task, row.what) for row in own):
            of = [row for row in own if (row.task, row.what) == (task, what)]
            cells = [f"{row.value:.3f}, {row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})" for row in of]
            lines.append(f"| {task} | {of[0].queries} | {what} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    pairs = read_pairs(SAMPLES / "pairs.csv")
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(exist_ok=True, parents=True)
        rows = [*beside(work, pairs), *learned(work, pairs), *bare(work, pairs)]
    print(table(rows))
    (HERE / "words.md").write_text(table(rows), encoding="utf-8")
    value = {"provenance": provenance("numpy", "torch", "openvino"), "rows": [asdict(row) for row in rows]}
    (HERE / "words.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
