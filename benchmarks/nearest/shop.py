"""A store of vectors that no images were embedded for: as `visrec index` would write it, but for the embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vision_recs.indexes import IndexConfig
from vision_recs.jobs.progress import ProgressCallback, silent
from vision_recs.jobs.publish import publish
from vision_recs.store import CatalogEntry, Embedded, Manifest, Store, canary_text, open_writer
from vision_recs.types import EncoderSpec, Item, PreprocessConfig, Vectors

CATEGORIES = ("dress", "shirt", "shoe", "hat", "bag", "mug", "lamp", "vase")
_SHARD = 65_536


def spec_of(dim: int) -> EncoderSpec:
    """Return the spec of an encoder that made these vectors."""
    half = (0.5, 0.5, 0.5)
    return EncoderSpec("grown", "none", dim, PreprocessConfig((224, 224), "crop", 256, "bilinear", half, half), "none")


def plain_item(number: int) -> Item:
    """Return an item whose attributes select shares of the catalog: `part < 100` of ten thousand is a hundredth."""
    attributes = {
        "category": CATEGORIES[number % len(CATEGORIES)],
        "part": number * 7919 % 10_000,
        "price": round(5 + number * 104_729 % 20_000 / 100, 2),
        "in_stock": number % 10 != 0,
    }
    return Item(f"item{number:08d}", (f"{number}.jpg",), attributes)


def write_shop(  # noqa: PLR0913 - what most of them say has a default
    folder: Path,
    blocks: Sequence[Vectors],
    *,
    config: IndexConfig | None,
    numbers: range,
    progress: ProgressCallback = silent,
    item: Callable[[int], Item] = plain_item,
    image: Callable[[int], bytes] = b"%d".__mod__,
    images: Path = Path("/nowhere"),
) -> Store:
    """Publish a generation whose item n shows the vector n of *blocks*, for n in *numbers*; others are gone.

    Vectors that the store holds already are not looked at. *item* gives the item of a number, *image* the bytes of its
    image, which would be in the folder *images*.
    """
    dim = blocks[0].shape[1]
    with open_writer(folder) as writer:
        staging = writer.stage(spec_of(dim))
        for number in numbers:
            staging.add(item(number))
        for ids in staging.base.pages() if staging.base else ():
            staging.remove([item for item in ids if int(item.removeprefix("item")) not in numbers])
        listed = staging.images()
        for first, vectors in _numbered(blocks):
            embedded, rows = [], []
            for number in range(max(first, numbers.start), min(first + len(vectors), numbers.stop)):
                staged = next(listed)
                digest = hashlib.sha256(image(number)).digest()
                staging.set_digest(staged, digest, None)
                if not writer.is_known(staging, digest):
                    embedded.append(Embedded(staged.id, staged.image, digest, len(rows)))
                    rows.append(number - first)
            for start in range(0, len(rows), _SHARD):
                some = [
                    Embedded(each.id, each.image, each.digest, row)
                    for row, each in enumerate(embedded[start : start + _SHARD])
                ]
                writer.add_shard(staging, spec_of(dim).fingerprint, some, vectors[rows[start : start + _SHARD]])
        counts = (settled := writer.settle(staging)).counts
        draft = writer.draft(settled, spec_of(dim), force=True)
        if draft is None:
            raise ValueError(f"{folder} holds these items already")
        manifest = Manifest(
            generation=draft.generation,
            created="2026-01-01T00:00:00+00:00",
            visrec="benchmark",
            space=spec_of(dim).fingerprint,
            encoder=spec_of(dim),
            weights_file=None,
            catalog=CatalogEntry(str(images), str(images)),
            items=counts.items,
            images=counts.images,
            skipped=0,
            shards=draft.shards,
            next_position=draft.next_position,
            items_files=draft.items_files,
            canary=canary_text(np.eye(1, dim, dtype=np.float32)[0]),
            index_type="exact",
        )
        return Store(writer.layout, publish(writer, manifest, config, progress))


def _numbered(blocks: Iterable[Vectors]) -> Iterator[tuple[int, Vectors]]:
    first = 0
    for vectors in blocks:
        yield first, vectors
        first += len(vectors)
