"""A shop for the page: items with titles, brands, colors and sales, and photos that are written when needed."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from nearest.shop import plain_item, write_shop
from nearest.vectors import crops, grow, reduce
from PIL import Image

from vision_recs.indexes import IndexConfig
from vision_recs.types import Item

COLORS = ("black", "white", "navy", "green", "terracotta", "beige", "coral", "teal", "grey", "brown", "mustard")
_BRANDS = tuple(f"Brand {number}" for number in range(60))
_SAMPLES = Path(__file__).parent.parent.parent / "sample_images"
_PHOTOS, _SIDE = 24, 1_000  # as many looks, in pixels as a shop has them
_COMMENT = b"\xff\xd8\xff\xfe\x00\x0a%08d"  # the begin of a JPEG, and a comment of eight letters: no two are the same


def page_shop(folder: Path, rows: int, dim: int) -> Path:
    """Return the folder of a store of *rows* items, which is made if it is not there."""
    if not (folder / "CURRENT").exists():
        blocks = list(grow(reduce(crops([_SAMPLES], each=20), dim), rows, neighbors=32, spread=1.0))
        images = folder.parent / "photos"
        write_shop(
            folder, blocks, config=IndexConfig(), numbers=range(rows), item=_item, image=_photo, images=images
        ).close()
    return folder


def write_photos(folder: Path, items: Iterable[str]) -> None:
    """Put the photos of *items* where the store in *folder* finds them."""
    images = folder.parent / "photos"
    images.mkdir(exist_ok=True)
    for item in items:
        number = int(item.removeprefix("item"))
        (images / f"{number}.jpg").write_bytes(_photo(number))


def _item(number: int) -> Item:
    plain = plain_item(number)
    color, price = COLORS[number % len(COLORS)], float(str(plain.attributes["price"]))
    attributes = {
        **plain.attributes,
        "title": f"{color.capitalize()} {plain.attributes['category']}, model {number // 3}",
        "brand": _BRANDS[number // 3 % len(_BRANDS)],
        "color": color,
        "currency": "EUR",
        "variant_group": f"model-{number // 3}",
        "created_at": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}",
        **({"sale_price": round(price * 0.8, 2)} if number % 7 == 0 else {}),
    }
    return Item(plain.id, plain.images, attributes)


def _photo(number: int) -> bytes:
    return _COMMENT % number + _look(number % _PHOTOS)[2:]


@cache
def _look(number: int) -> bytes:
    """Return a photo as a JPEG."""
    path = sorted(_SAMPLES.glob("*-1.jpg"))[number]
    with Image.open(path) as image:
        data = io.BytesIO()
        image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS).save(data, "jpeg", quality=88)
    return data.getvalue()
