"""A shop on the disk whose photos have a bright square each, and an encoder that looks closer at what is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_shop import GRID
from PIL import Image

from vision_recs.jobs import IndexOptions, index
from vision_recs.types import EncoderSpec, PreprocessConfig
from vision_recs.vectors import normalize_rows

SIDE = 16
PREPROCESS = PreprocessConfig((SIDE, SIDE), "pad", SIDE, "bilinear", (0.0,) * 3, (1.0,) * 3, (20, 20, 60))
BOXES = {"wide": [[0.625, 0.25, 0.25, 0.5]], "tall": [[0.25, 0.625, 0.5, 0.25]], "turned": [[0.25, 0.625, 0.5, 0.25]]}
"""Where the square is in the upright photo; "plain" has none."""


class Looking:
    """The mean colors of a grid; beside them the region around what is bright, or all where nothing is."""

    def __init__(self) -> None:
        self.spec = EncoderSpec("activations:fake", "0" * 64, 3 * GRID * GRID, PREPROCESS, "mean")
        self.encoded = 0

    def encode(self, pixels):
        self.encoded += len(pixels)
        cells = pixels.reshape(len(pixels), GRID, SIDE // GRID, GRID, SIDE // GRID, 3).mean(axis=(2, 4))
        return normalize_rows(cells.reshape(len(pixels), -1))[0]

    def look(self, pixels):
        return self.encode(pixels), np.array([[bright_region(each)] for each in pixels], np.float32)


def bright_region(pixels):
    down, across = np.nonzero(pixels[..., 0] > 135)
    if not len(down):
        return 0.0, 0.0, 1.0
    (left, right), (top, bottom) = ((each.min(), each.max() + 1) for each in (across, down))
    half = SIDE / 2
    return (left + right) / 2 / half - 1, (top + bottom) / 2 / half - 1, max(right - left, bottom - top) / 2 / half


def photo(size, square):
    image = Image.new("RGB", size, (20, 20, 60))
    if square is not None:
        image.paste((255, 60, 0), square)
    return image


def make_shop(folder: Path) -> Path:
    """Write the photos and the catalog into *folder*, and return the catalog."""
    folder.mkdir(exist_ok=True)
    tall = photo((32, 64), (8, 40, 24, 56))
    photo((64, 32), (40, 8, 56, 24)).save(folder / "wide.png")
    tall.save(folder / "tall.png")
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright
    tall.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=95, exif=exif)
    photo((32, 32), None).save(folder / "plain.png")
    catalog = folder / "catalog.csv"
    rows = [f"{file.stem},{file.name},Photo {file.stem}" for file in sorted(folder.glob("*.*g"))]
    catalog.write_text("\n".join(["id,image,title", *rows, ""]))
    return catalog


def index_shop(catalog: Path, store: Path, encoder=None, **options):
    return index(catalog, store, encoder=encoder or Looking(), options=IndexOptions(workers=1, **options))
