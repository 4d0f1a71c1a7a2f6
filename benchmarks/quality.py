"""How relevant neighbors are, by encoder, and what transforms of the vectors without training bring.

    python benchmarks/quality.py [--clothing CATALOG] [--only encoders|methods|colors] [--work DIR]

With `--only`, this part is measured, and the rows of the others stay. Stores in `--work` are kept, and used again.

Every image is read from the catalog; nothing is downloaded: encoders whose weights are not at hand are left out and
named. Writes quality.json and quality.md beside itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from color_names import ColorCost, ColorRow, color_rows, color_table
from machine import provenance
from numpy.typing import NDArray
from reranking import query_expansion, reciprocal

from vision_recs import encoders, images
from vision_recs.catalog import open_catalog
from vision_recs.catalog.image_files import image_bytes
from vision_recs.encoders.registry import DEFAULT_ENCODER
from vision_recs.encoders.timm import load_efficientnet_lite
from vision_recs.errors import EncoderError
from vision_recs.evaluate import EvaluationTask, compare_stores
from vision_recs.filters import Filter
from vision_recs.jobs import IndexOptions, embed, retune
from vision_recs.metrics import (
    ItemVectors,
    Judgments,
    LabelJudgments,
    OwnItemJudgments,
    compare,
    evaluate_rankings,
    interval,
)
from vision_recs.store import Store, attributes_where, load_item_vectors
from vision_recs.tune import TuneOptions, tune
from vision_recs.types import Encoder, Pixels, Vectors
from vision_recs.vectors import normalize_or_raise, normalize_rows

HERE = Path(__file__).parent
ENCODERS = (
    "efficientnet-lite0",
    "best-offline",
    "resnet50",
    "clip",
    "siglip2",
    "timm:vit_small_patch14_dinov2.lvd142m",
)
COMPARED = (
    "best-offline",
    "activations:efficientnet-lite0",
    "best-offline+color@0.1",
    "efficientnet-lite1",
    "efficientnet-lite2",
)
"""Encoders that are compared with the default by `evaluate`."""

Transform = Callable[["Task", Vectors, Vectors], tuple[Vectors, Vectors]]


@dataclass(frozen=True)
class Task:
    """Queries, targets and the relevance judgments; where *per_image*, both are the same items."""

    name: str
    queries: ItemVectors
    targets: ItemVectors
    judgments: Judgments
    per_image: bool = False


@dataclass(frozen=True)
class Row:
    """The measures of one task by one method, compared with the plain vectors of the same encoder."""

    encoder: str
    task: str
    method: str
    queries: int
    precision_at_1: float
    precision_at_10: float
    ndcg_at_10: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p: float

    @property
    def pays(self) -> bool:
        """Whether nDCG@10 rises beyond its bounds."""
        return self.difference_low > 0


def plain(_: Task, queries: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:
    """Return the vectors as they are."""
    return queries, targets


def pca(dim: int | None, *, whitening: float) -> Transform:
    """Return a transform to the first *dim* principal axes of the targets; a *whitening* of 1 makes them equal."""

    def transform(_: Task, queries: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:
        mean = targets.mean(axis=0)
        _, spread, axes = np.linalg.svd(targets - mean, full_matrices=False)
        kept = min(dim or len(spread), int(np.sum(spread > spread[0] * 1e-4)))
        scale = np.power(spread[:kept] / spread[0], -whitening)
        return tuple(normalize_or_raise(((side - mean) @ axes[:kept].T) * scale) for side in (queries, targets))  # type: ignore[return-value]

    return transform


def database_side(neighbors: int) -> Transform:
    """Return a transform that moves each target towards its nearest ones (Gordo et al., 2017)."""

    def transform(_: Task, queries: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:
        cosines = targets @ targets.T
        nearest = np.argpartition(-cosines, neighbors, axis=1)[:, : neighbors + 1]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0) ** 3
        return queries, normalize_or_raise(np.einsum("nk,nkd->nd", weights, targets[nearest]))

    return transform


TRANSFORMS: dict[str, Transform] = {
    "plain": plain,
    "PCA to 256, centered": pca(256, whitening=0.0),
    "PCA to 128, centered": pca(128, whitening=0.0),
    "PCA to 256, half whitened": pca(256, whitening=0.5),
    "PCA to 256, whitened": pca(256, whitening=1.0),
    "database side, 3 neighbors": database_side(3),
    "database side, 10 neighbors": database_side(10),
    "query expansion, 3 neighbors": query_expansion(3, power=3.0),
    "query expansion, 10 neighbors": query_expansion(10, power=3.0),
    "k-reciprocal re-ranking, 20, 6, 0.3": reciprocal(20, 6, 0.3),
    "k-reciprocal re-ranking, 10, 3, 0.7": reciprocal(10, 3, 0.7),
}


class Gem:
    """EfficientNet-Lite0 with generalised-mean pooling (Radenovic et al., 2018) in place of the average."""

    of = "efficientnet-lite0"
    power = 3.0

    def __init__(self) -> None:
        """Load the architecture and its weights, without OpenVINO."""
        self._backbone = load_efficientnet_lite(self.of, None)

    def encode(self, pixels: Pixels) -> Vectors:
        """Return one unit vector an image."""
        import torch

        config = self._backbone.preprocess
        scaled = (pixels.astype(np.float32) / 255 - np.float32(config.mean)) / np.float32(config.std)
        with torch.inference_mode():
            maps = self._backbone.module.forward_features(torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous())
            pooled = maps.clamp(min=1e-6).pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)
        return normalize_or_raise(pooled.numpy())


class Flipped:
    """An encoder that gives the mean of an image and its mirror image."""

    def __init__(self, encoder: Encoder) -> None:
        """Encode with *encoder*, twice for each image."""
        self._encoder = encoder

    def encode(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Return the unit vectors of *pixels* and their mirror images together."""
        mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
        return normalize_rows(self._encoder.encode(pixels) + self._encoder.encode(mirrored))[0]


def tasks(store: Store, vectors: dict[int, NDArray[np.float32]], kind: str) -> Iterator[Task]:
    """Yield the tasks of a catalog with *vectors* by position: clothes by category, samples by three kinds."""

    def items(where: str | None = None) -> ItemVectors:
        ids = attributes_where(store, None if where is None else Filter.parse(where))
        found = load_item_vectors(store, ids)
        return found.with_vectors(np.stack([vectors[position] for position in found.positions.tolist()]))

    attributes = attributes_where(store)

    def labels(name: str, targets: ItemVectors) -> LabelJudgments:
        return LabelJudgments({item: known.get(name) for item, known in attributes.items()}, targets.ids)

    if kind == "clothing":
        targets = items('split == "train"')
        yield Task("clothing: test by category", items('split == "test"'), targets, labels("category", targets))
        every = items()
        yield Task("clothing: each against all others", every, every, labels("category", every))
        return
    every = items()
    yield Task("samples: category", every, every, labels("category", every))
    yield Task("samples: variants", every, every, labels("variant_group", every))
    yield Task("samples: own item by image", every, every, OwnItemJudgments(every.ids), per_image=True)


def rows(encoder: str, methods: dict[str, Task]) -> Iterator[Row]:
    """Yield the row of each of *methods* for one task; the first method is plain."""
    base = None
    for method, task in methods.items():
        result = evaluate_rankings(task.queries, task.targets, task.judgments, per_image=task.per_image)
        quality = result.of("ndcg_at_10")
        base = quality if base is None else base
        clusters = np.unique(result.queries, return_inverse=True)[1].astype(np.int64)
        bounds, difference = interval(quality, clusters), compare(base, quality, clusters)
        yield Row(
            *(encoder, task.name, method, len(result.queries)),
            *(float(result.of(name).mean()) for name in ("precision_at_1", "precision_at_10")),
            *(bounds.value, bounds.low, bounds.high),
            *(difference.value, difference.low, difference.high, difference.p),
        )


def transformed(task: Task) -> dict[str, Task]:
    """Return *task* with the vectors of each transform, by its name."""
    found = {}
    for name, transform in TRANSFORMS.items():
        queries, targets = transform(task, task.queries.vectors, task.targets.vectors)
        found[name] = Task(
            task.name,
            task.queries.with_vectors(queries),
            task.targets.with_vectors(targets),
            task.judgments,
            task.per_image,
        )
    return found


def of_store(store: Store) -> dict[int, NDArray[np.float32]]:
    """Return the vectors of *store* by position."""
    return dict(zip(store.positions().tolist(), store.vectors(store.positions()), strict=True))


def encoded(store: Store, encoder: Flipped | Gem, catalog: Path) -> dict[int, NDArray[np.float32]]:
    """Return the vectors that *encoder* gives the images of *store*, by position."""
    source = open_catalog(catalog)
    image_of = {image.digest: image.image for item in store.items.ids() for image in store.images(item)}
    position_of = store.positions_of(image_of)
    shown = {position_of[digest]: image for digest, image in image_of.items()}
    found: dict[int, NDArray[np.float32]] = {}
    positions = sorted(shown)
    for start in range(0, len(positions), 64):
        some = positions[start : start + 64]
        pixels = [
            images.load(image_bytes(source.images, shown[position]), store.manifest.encoder.preprocess)
            for position in some
        ]
        found.update(zip(some, encoder.encode(np.stack(pixels)), strict=True))
    return found


def concatenated(stores: Sequence[Store]) -> dict[int, NDArray[np.float32]]:
    """Return the vectors of two stores of one catalog side by side, by the positions of the first."""
    first, second = (load_item_vectors(store, store.items.ids()) for store in stores)
    both = normalize_or_raise(np.concatenate([first.vectors, second.vectors], axis=1))
    return dict(zip(first.positions.tolist(), both, strict=True))


def measure(kind: str, catalog: Path, work: Path) -> Iterator[Row | str]:
    """Yield a row for each method and encoder on *catalog*, or a sentence for an encoder that is not at hand."""
    stores: dict[str, Store] = {}
    for name in ENCODERS:
        folder = work / f"{kind}-{len(stores)}"
        try:
            embed(catalog, folder, encoder=name, options=IndexOptions())
        except EncoderError:
            yield f"{name}, alone and concatenated with another: its weights are not at hand"
            continue
        store = stores[name] = Store.open(folder)
        others: dict[str, Flipped | Gem] = {}
        if name == Gem.of:
            others = {"flip averaging": Flipped(encoders.load_encoder(name)), "GeM pooling, p = 3": Gem()}
        found_by = {label: encoded(store, encoder, catalog) for label, encoder in others.items()}
        by_method = {
            method: {task.name: task for task in tasks(store, found, kind)} for method, found in found_by.items()
        }
        learned = _tuned(store, kind) if name == DEFAULT_ENCODER else {}
        for task in tasks(store, of_store(store), kind):
            methods = transformed(task) | {method: named[task.name] for method, named in by_method.items()}
            yield from rows(name, methods | {method: _projected(task, found) for method, found in learned.items()})
    alone = [name for name in stores if name != "best-offline"]
    if len(alone) > 1:
        one, other = alone[:2]
        first = stores[one]
        pair = concatenated([first, stores[other]])
        for task, both in zip(tasks(first, of_store(first), kind), tasks(first, pair, kind), strict=True):
            yield from list(rows(one, {"plain": task, f"and {other} concatenated": both}))[1:]


@dataclass(frozen=True)
class EncoderRow:
    """One measure of *encoder* for a task of `evaluate`, and its difference to the default encoder, query by query."""

    encoder: str
    task: str
    measure: str
    value: float
    difference: float
    low: float
    high: float
    p: float


TRAIN, TEST = Filter.parse('split == "train"'), Filter.parse('split == "test"')
EVALUATIONS = {
    "clothing": {
        "clothing: each against all others": EvaluationTask(labels="category", sample=10_000),
        "clothing: test against train": EvaluationTask(
            labels="category", query_filter=TEST, target_filter=TRAIN, sample=10_000
        ),
    },
    "samples": {
        "samples: own item by image": EvaluationTask(per_image=True),
        "samples: category": EvaluationTask(labels="category"),
        "samples: color": EvaluationTask(labels="color"),
    },
}
MEASURES_SHOWN = ("precision_at_1", "precision_at_10", "ndcg_at_10")


def compared(kind: str, catalog: Path, work: Path) -> Iterator[EncoderRow | str]:
    """Yield the rows of encoders that are compared on *catalog*; a sentence for one that is not at hand."""
    base = _embedded(kind, catalog, work, DEFAULT_ENCODER)
    for name in (DEFAULT_ENCODER, *COMPARED):
        try:
            store = _embedded(kind, catalog, work, name)
        except EncoderError as error:
            yield f"{name}: {error}"
            continue
        if name != DEFAULT_ENCODER:
            yield from _encoder_rows(name, base, store, EVALUATIONS[kind])
        if name not in {DEFAULT_ENCODER, "best-offline"}:
            continue
        alone = _projected_store(store, work / kind, TuneOptions(unsupervised=True))
        yield from _encoder_rows(f"{name}, tune --unsupervised", base, alone, EVALUATIONS[kind])
        if kind == "clothing":
            held_out = {task: how for task, how in EVALUATIONS[kind].items() if how.query_filter is not None}
            learned = _projected_store(store, work / kind, TuneOptions(labels="category", where=TRAIN))
            yield from _encoder_rows(f"{name}, tune --labels on train", base, learned, held_out)


def _embedded(kind: str, catalog: Path, work: Path, name: str) -> Store:
    folder = work / kind / name
    embed(catalog, folder, encoder=name)
    return Store.open(folder)


def _projected_store(store: Store, work: Path, options: TuneOptions) -> Store:
    """Return a copy of *store* with the projection that *options* teach, published whatever it brings."""
    folder = work / "projected"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(store.layout.root, folder)
    retune(folder, tune(store, options).projection, encoder=store.encoder.fingerprint)
    return Store.open(folder)


def _encoder_rows(
    label: str, base: Store, store: Store, evaluations: dict[str, EvaluationTask]
) -> Iterator[EncoderRow]:
    for task, how in evaluations.items():
        found = compare_stores(base, store, how)
        for measure in MEASURES_SHOWN:
            difference = found.differences[measure]
            value = found.candidate.measures[measure].value
            yield EncoderRow(
                label, task, measure, value, difference.value, difference.low, difference.high, difference.p
            )


def encoder_table(rows: Sequence[EncoderRow]) -> list[str]:
    """Return the section on encoders: a table for each task."""
    lines = [
        "## Encoders against efficientnet-lite0",
        "",
        "By `compare_stores` of `vision_recs.evaluate`, no label known.",
        "",
    ]
    for task in dict.fromkeys(row.task for row in rows):
        lines += [f"### {task}", "", "| encoder | P@1 | P@10 | nDCG@10 |", "| --- | --- | --- | --- |"]
        own = [row for row in rows if row.task == task]
        for encoder in dict.fromkeys(row.encoder for row in own):
            cells = [
                f"{row.value:.3f}, {row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
                for row in own
                if row.encoder == encoder
            ]
            lines.append(f"| {encoder} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _tuned(store: Store, kind: str) -> dict[str, Callable[[Vectors], NDArray[np.float64]]]:
    """Return, for the clothes, the projection that `visrec tune` learns from the train photos."""
    if kind != "clothing":
        return {}  # every query would have been learned from; `visrec tune` itself evaluates by folds
    options = TuneOptions(labels="category", where=Filter.parse('split == "train"'))
    return {"visrec tune, for comparison": tune(store, options).projection.apply}


def _projected(task: Task, apply: Callable[[Vectors], NDArray[np.float64]]) -> Task:
    queries, targets = (
        side.with_vectors(normalize_or_raise(apply(side.vectors))) for side in (task.queries, task.targets)
    )
    return Task(task.name, queries, targets, task.judgments, task.per_image)


def table(
    found: Sequence[Row],
    compared_rows: Sequence[EncoderRow],
    colors: Sequence[ColorRow | ColorCost],
    missing: Sequence[str],
) -> str:
    """Return the page quality.md."""
    lines = [
        "# Quality",
        "",
        "Made by `python benchmarks/quality.py`; never edited. The difference is query by query, with 95 % bounds of a",
        "paired bootstrap: of encoders to the default, and of methods to the plain vectors of the same encoder.",
        "",
        *encoder_table(compared_rows),
        "## Methods without training",
        "",
        "A method *pays* where the difference is above 0 beyond its bounds.",
        "",
    ]
    for task in dict.fromkeys(row.task for row in found):
        lines += [
            f"### {task}",
            "",
            "| encoder | method | P@1 | P@10 | nDCG@10 | difference | pays |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in found if row.task == task]
        lines.append("")
    lines += color_table(
        [row for row in colors if isinstance(row, ColorRow)], [row for row in colors if isinstance(row, ColorCost)]
    )
    lines += ["## Left out", ""]
    lines += [f"- {sentence}" for sentence in missing]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    difference = f"{row.difference:+.3f} ({row.difference_low:+.3f} to {row.difference_high:+.3f})"
    quality = f"{row.ndcg_at_10:.3f} ({row.low:.3f} to {row.high:.3f})"
    shown = "" if row.method == "plain" else difference
    return (
        f"| {row.encoder} | {row.method} | {row.precision_at_1:.3f} | {row.precision_at_10:.3f} | {quality} "
        f"| {shown} | {'yes' if row.pays else ''} |"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clothing", type=Path, default=HERE.parents[1] / "shared" / "data" / "clothing" / "catalog.csv"
    )
    parser.add_argument("--only", choices=["encoders", "methods", "colors"])
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    parts = {"encoders": compared, "methods": measure, "colors": _colors}
    chosen = parts if given.only is None else {given.only: parts[given.only]}
    results = Results.read(HERE / "quality.json", without=set(chosen))
    catalogs = {"clothing": given.clothing, "samples": HERE.parent / "sample_images" / "catalog.csv"}
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        for kind, catalog in catalogs.items():
            if not catalog.exists():
                results.missing[f"{kind}: there is no {catalog.name} beside the project"] = None
                continue
            for row in chain.from_iterable(part(kind, catalog, work) for part in chosen.values()):
                print(row, flush=True)
                results.add(row)
                results.write()  # a run takes an hour on a busy machine


def _colors(kind: str, catalog: Path, _: Path) -> Iterator[ColorRow | ColorCost]:
    return color_rows(catalog) if kind == "samples" else iter(())


@dataclass
class Results:
    """What was found: `quality.json`, and the page that shows it; *missing* are sentences on what was left out."""

    methods: list[Row]
    encoders: list[EncoderRow]
    colors: list[ColorRow | ColorCost]
    missing: dict[str, None]

    @classmethod
    def read(cls, file: Path, *, without: set[str]) -> Results:
        """Return what *file* holds, without the parts that are measured again."""
        known = json.loads(file.read_text("utf-8"))
        kinds = {"rows": "methods", "encoders": "encoders", "colors": "colors"}
        kept = {key: [] if part in without else known.get(key, []) for key, part in kinds.items()}
        return cls(
            [Row(**row) for row in kept["rows"]],
            [EncoderRow(**row) for row in kept["encoders"]],
            [ColorRow(**row) if "of" in row else ColorCost(**row) for row in kept["colors"]],
            {} if "methods" in without else dict.fromkeys(known.get("missing", [])),
        )

    def add(self, row: Row | EncoderRow | ColorRow | ColorCost | str) -> None:
        """Add *row* to its part."""
        match row:
            case Row():
                self.methods.append(row)
            case EncoderRow():
                self.encoders.append(row)
            case ColorRow() | ColorCost():
                self.colors.append(row)
            case _:
                self.missing[row] = None

    def write(self) -> None:
        """Write quality.md and quality.json."""
        page = table(self.methods, self.encoders, self.colors, list(self.missing))
        (HERE / "quality.md").write_text(page, encoding="utf-8")
        value = {
            "provenance": provenance("numpy", "torch", "openvino"),
            "rows": [asdict(row) for row in self.methods],
            "encoders": [asdict(row) for row in self.encoders],
            "colors": [asdict(row) for row in self.colors],
            "missing": list(self.missing),
        }
        (HERE / "quality.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
