"""What `images.load` costs and what it changes, against `prepare(decode(...))`, which is exact.

python benchmarks/pixels.py             milliseconds an image (half a minute)
python benchmarks/pixels.py --vectors   and the vectors of both ways (minutes; needs ../shared/data/clothing)

Each round loads every image in both ways, in turn, so that a busy machine slows both; the best rounds are compared.
Prints a table and writes pixels.json beside this file, where vectors stay that this run did not compute.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
from machine import provenance
from numpy.typing import NDArray
from PIL import Image

from vision_recs.encoders import load_encoder
from vision_recs.images import decode, load, prepare
from vision_recs.types import Encoder, PreprocessConfig, Vectors

ROUNDS = 15
IMAGES = 12
ROOT = Path(__file__).parents[1]
CLOTHING = ROOT.parent / "shared" / "data" / "clothing" / "images"
RESULT = Path(__file__).with_suffix(".json")

Way = Callable[[bytes], NDArray[np.uint8]]


def main() -> None:
    """Time both ways, compare their vectors with --vectors, and write what came out."""
    encoder = load_encoder("efficientnet-lite0", device="cpu", runtime="torch", precision="f32")
    config = encoder.spec.preprocess
    ways: dict[str, Way] = {"reference": partial(exact, config=config), "load": partial(load, config=config)}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["milliseconds"] = {name: timed(images, ways) for name, images in corpora().items()}
    if "--vectors" in sys.argv:
        result["vectors"] = compared(encoder, ways)
        print(json.dumps(result["vectors"], indent=1))
    result |= {"rounds": ROUNDS, **provenance("pillow", "simplejpeg", "cykooz-resizer", "numpy", "torch")}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


def exact(data: bytes, config: PreprocessConfig) -> NDArray[np.uint8]:
    """Return the pixels that `load` is compared to."""
    return prepare(decode(data), config)


def corpora() -> dict[str, list[bytes]]:
    """Return the images that are timed: rendered ones in two sizes, and photos where they lie beside the project."""
    rendered = sorted((ROOT / "sample_images").glob("*.jpg"))[:: 240 // IMAGES]
    photos = sorted(CLOTHING.rglob("*.jpg"))[:: 1885 // IMAGES]
    found = {f"rendered, {side} px": [enlarged(path, side) for path in rendered] for side in (500, 2000)}
    return found | ({"photos, 400 x 533": [path.read_bytes() for path in photos]} if photos else {})


def enlarged(path: Path, side: int) -> bytes:
    """Return a square image as a JPEG of *side* pixels."""
    buffer = BytesIO()
    image = Image.open(path).resize((side, side), Image.Resampling.LANCZOS)
    image.save(buffer, "JPEG", quality=88, subsampling="4:2:0")
    return buffer.getvalue()


def timed(images: list[bytes], ways: dict[str, Way]) -> dict[str, dict[str, float]]:
    """Return milliseconds an image: of the processor and by the clock in one thread, by the clock in two."""
    best: dict[str, dict[str, float]] = {name: {} for name in ways}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            for name, way in ways.items():
                seconds = (*in_one_thread(way, images), in_two_threads(pool, way, images))
                for key, value in zip(("cpu", "wall", "wall_two_threads"), seconds, strict=True):
                    best[name][key] = min(best[name].get(key, 9e9), round(1000 * value / len(images), 3))
    best["ratio"] = {key: round(value / best["load"][key], 2) for key, value in best["reference"].items()}
    for name, values in best.items():
        print(f"{name:10}", *(f"{key} {value:7.3f}" for key, value in values.items()))
    return best


def in_one_thread(way: Way, images: list[bytes]) -> tuple[float, float]:
    """Return the seconds of the processor and of the clock."""
    cpu, wall = thread_time(), perf_counter()
    for data in images:
        way(data)
    return thread_time() - cpu, perf_counter() - wall


def in_two_threads(pool: ThreadPoolExecutor, way: Way, images: list[bytes]) -> float:
    """Return the seconds of the clock that two threads need."""
    started = perf_counter()
    list(pool.map(way, images))
    return perf_counter() - started


def compared(encoder: Encoder, ways: dict[str, Way]) -> dict[str, float]:
    """Return how near the vectors of both ways are, and how well each finds a photo of the same category."""
    paths = sorted(CLOTHING.rglob("*.jpg"))
    categories = np.array([path.parent.name for path in paths])
    vectors = {name: encoded(encoder, way, paths) for name, way in ways.items()}
    cosines = np.einsum("ij,ij->i", vectors["reference"], vectors["load"])
    scores = {f"recall_at_1_{name}": round(recall_at_1(each, categories), 4) for name, each in vectors.items()}
    mean, least = round(float(cosines.mean()), 5), round(float(cosines.min()), 5)
    return {"images": len(paths), "mean_cosine": mean, "least_cosine": least, **scores}


def encoded(encoder: Encoder, way: Way, paths: list[Path]) -> Vectors:
    """Return the vectors of the images at *paths*."""
    batches = [paths[start : start + 32] for start in range(0, len(paths), 32)]
    return np.concatenate([encoder.encode(np.stack([way(path.read_bytes()) for path in batch])) for batch in batches])


def recall_at_1(vectors: Vectors, labels: NDArray[np.str_]) -> float:
    """Return the share of vectors whose nearest other one has the same label."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    return float((labels[scores.argmax(axis=1)] == labels).mean())


if __name__ == "__main__":
    main()
