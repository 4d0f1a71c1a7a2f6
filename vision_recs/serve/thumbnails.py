"""Thumbnails of images of the index, made once and kept in the cache.

~/.cache/visrec/thumbnails/<side>/<digest[:2]>/<digest>.jpg

An image is named by the digest of its bytes, never by a path, and its file is shown only if it still has that digest.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from vision_recs.catalog.files import ImageFiles
from vision_recs.encoders.model_cache import cache_folder
from vision_recs.errors import ImageError, RequestError, StoreDamaged
from vision_recs.store import Store

KEPT_BYTES = 1 << 30
"""How much of the disk the thumbnails may take, all stores together."""

_SWEPT_AFTER = 2_000  # new thumbnails


class Thumbnails:
    """Makes and keeps thumbnails; for one thread."""

    def __init__(self, *, pixels: int, kept_bytes: int = KEPT_BYTES) -> None:
        """Decode images of at most *pixels*."""
        self._pixels = pixels
        self._kept_bytes = kept_bytes
        self._made = 0

    def get(self, store: Store, digest: str, side: int) -> bytes:
        """Return the image with *digest* as a JPEG; raises RequestError 404, and ImageError for a file gone bad."""
        reference = _reference(store, digest)
        path = cache_folder() / "thumbnails" / str(side) / digest[:2] / f"{digest}.jpg"
        with suppress(OSError):
            return path.read_bytes()
        small = self._make(store, reference, digest, side)
        with suppress(OSError):  # a full or read-only disk costs time, and nothing else
            self._keep(path, small)
        return small

    def _make(self, store: Store, reference: str, digest: str, side: int) -> bytes:
        from vision_recs import images

        data = ImageFiles(store.manifest.catalog.root).read(reference)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ImageError("missing", "the image was replaced since it was indexed; run `visrec index`")
        return images.thumbnail(images.decode(data, max_pixels=self._pixels), max_side=side)

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
        self._made += 1
        if self._made % _SWEPT_AFTER == 0:
            self.sweep()

    def sweep(self) -> None:
        """Throw the oldest thumbnails away until the rest takes nine tenths of the room."""
        files = [(file.stat().st_mtime, file.stat().st_size, file) for file in _all_thumbnails()]
        total = sum(size for _, size, _ in files)
        if total <= self._kept_bytes:
            return
        for _, size, file in sorted(files):
            if total <= self._kept_bytes * 9 // 10:
                return
            file.unlink(missing_ok=True)
            total -= size


def _all_thumbnails() -> list[Path]:
    return list((cache_folder() / "thumbnails").glob("*/*/*.jpg"))


def _reference(store: Store, digest: str) -> str:
    """Return where the catalog has the image with *digest*."""
    try:
        position = store.positions_of([digest])[digest]
    except StoreDamaged:
        raise RequestError(f"no image of the index has the digest {digest}", status=404) from None
    rows = store.rows([position], limit=1)[position]
    if not rows:  # the vector is kept, but no item shows it any more
        raise RequestError(f"no item shows the image {digest} any more", status=404)
    return rows[0].image
