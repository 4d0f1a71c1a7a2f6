"""The images that are embedded: JPEG files of one size, made from `sample_images/`, no two alike.

Each is a sample image, upscaled with Lanczos and saved in quality 88 with 4:2:0 subsampling, as a shop would get it.
There are 240 samples; from the 241st on they come again with some pixels of their borders cut off, so that every file
has a digest of its own.
"""

from __future__ import annotations

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

SAMPLES = Path(__file__).parents[2] / "sample_images"
_CUT = 4
"""Pixels that each repetition loses at its left and upper border."""


def make_images(folder: Path, *, size: int, count: int) -> None:
    """Fill *folder* with *count* files of *size* x *size* pixels; those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(count) if not (folder / _name(number)).exists()]
    if missing:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(partial(_make, folder, size), missing, chunksize=8))


def first_files(folder: Path, count: int) -> list[Path]:
    """Return the first *count* images of *folder*."""
    return [folder / _name(number) for number in range(count)]


def write_catalog(folder: Path, count: int) -> Path:
    """Return a catalog beside the images that names the first *count* of them."""
    return _write(folder / f"first-{count}.csv", [file.name for file in first_files(folder, count)])


def write_bad_catalog(folder: Path, count: int) -> tuple[Path, int]:
    """Return the catalog of `write_catalog` with bad images sprinkled in, and how many: 1 in 100, at least 3.

    They are, in turn, half of a JPEG file, a file without bytes, and a text; each has bytes of its own but the empty.
    """
    bad = max(3, round(count / 100))
    names = [file.name for file in first_files(folder, count)]
    (folder / "bad").mkdir(exist_ok=True)
    for number in range(bad):
        file = folder / "bad" / f"{number:05d}.jpg"
        file.write_bytes(_bad_bytes(folder / names[number], number))
        names.insert(number * (count // bad) + number + 1, f"bad/{file.name}")
    return _write(folder / f"bad-{count}.csv", names), bad


def _bad_bytes(good: Path, number: int) -> bytes:
    data = good.read_bytes()
    return (data[: len(data) // 2], b"", f"no image, {number}\n".encode())[number % 3]


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def _make(folder: Path, size: int, number: int) -> None:
    samples = sorted(SAMPLES.glob("*.jpg"))
    cut = number // len(samples) * _CUT
    with Image.open(samples[number % len(samples)]) as sample:
        image = sample.convert("RGB").crop((cut, cut, sample.width, sample.height))
    made = folder / f".{_name(number)}"
    image.resize((size, size), Image.Resampling.LANCZOS).save(made, "JPEG", quality=88, subsampling="4:2:0")
    made.replace(folder / _name(number))


def _write(file: Path, names: list[str]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([("id", "image"), *((name.removesuffix(".jpg"), name) for name in names)])
    return file
