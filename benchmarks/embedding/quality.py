"""Whether the fast path stays inside the reference, on photos: visrec against the float32 Pillow path.

The reference is what visrec's own documents call so: Pillow decodes every pixel and resizes as torchvision does, then
the network of the encoder's library computes in float32 with PyTorch.
"""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.workers import ROOT

CLOTHING = ROOT.parent / "shared" / "data" / "clothing"
_ENCODER = "efficientnet-lite0"
_BATCH = 32


def measure(work: Path, *, most: int) -> dict[str, Any]:
    """Return rates, cosines and the R@1 of both paths on the clothing photos, which have to be there.

    Of more than *most* photos every second, third ... is taken.
    """
    os.environ["VISREC_CACHE"] = str(work / "cache")
    with (CLOTHING / "catalog.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    rows = rows[:: -(-len(rows) // most)]
    labels = np.array([row["category"] for row in rows])
    ours, report = _embed(work, {row["id"]: CLOTHING / row["image"] for row in rows})
    started = perf_counter()
    reference = _reference([CLOTHING / row["image"] for row in rows])
    seconds = perf_counter() - started
    cosines = np.einsum("ij,ij->i", ours, reference)
    return {
        "encoder": _ENCODER,
        "images": len(rows),
        "runtime": report.runtime,
        "images_per_second": report.images_per_second,
        "reference_images_per_second": round(len(rows) / seconds, 1),
        "mean_cosine": round(float(cosines.mean()), 5),
        "min_cosine": round(float(cosines.min()), 5),
        "recall_at_1": round(recall_at_1(ours, labels), 5),
        "reference_recall_at_1": round(recall_at_1(reference, labels), 5),
    }


def recall_at_1(vectors: NDArray[np.float32], labels: NDArray[np.str_]) -> float:
    """Return how often the nearest other image has the same label: leave-one-out, over all images."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return float((labels[scores.argmax(axis=1)] == labels).mean())


def _embed(work: Path, images: dict[str, Path]) -> tuple[NDArray[np.float32], Any]:
    """Return visrec's vectors of *images*, by id, in their order."""
    import vision_recs

    with tempfile.TemporaryDirectory(dir=work) as folder:
        catalog = Path(folder, "catalog.csv")
        with catalog.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([("id", "image"), *images.items()])
        report = vision_recs.embed(catalog, Path(folder, "store"), encoder=_ENCODER)
        store = vision_recs.Store.open(Path(folder, "store"))
        shown = store.rows(store.positions().tolist(), limit=len(images))
        position = {row.id: at for at, rows in shown.items() for row in rows}
        return store.vectors(np.array([position[each] for each in images], dtype=np.int64)), report


def _reference(files: list[Path]) -> NDArray[np.float32]:
    import vision_recs
    from vision_recs.images import decode, prepare

    encoder = vision_recs.load_encoder(_ENCODER, device="cpu", precision="f32", runtime="torch")
    vectors = []
    for first in range(0, len(files), _BATCH):
        images = [decode(file.read_bytes()) for file in files[first : first + _BATCH]]
        pixels = np.stack([prepare(image, encoder.spec.preprocess) for image in images])
        vectors.append(encoder.encode(pixels))
    return np.concatenate(vectors)
