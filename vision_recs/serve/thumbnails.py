"""Thumbnails: small JPEGs of the images of the store, made on demand and cached on disk.

~/.cache/visrec/thumbnails/<side>/<digest[:2]>/<digest>.jpg

A client names an image by the digest of its bytes, never by a path, and a file is shown only if it still has that
digest. The cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from vision_recs.cache_dir import cache_dir
from vision_recs.catalog.image_files import ImageFiles, image_bytes
from vision_recs.errors import REASONS, ImageError, RequestError, StoreDamaged
from vision_recs.images import DecoderProcess
from vision_recs.store import Store
from vision_recs.types import ImageSource

CACHE_BYTES = 1 << 30
"""The size of the cache on disk, of all stores together."""

_SWEEP_INTERVAL = 2_000  # new thumbnails
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class Thumbnails:
    """Makes and caches thumbnails; for one thread."""

    def __init__(
        self,
        decoder: DecoderProcess,
        *,
        max_pixels: int,
        images_below: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Decode images of at most *max_pixels* by *decoder*, and keep at most *cache_bytes* on disk.

        Of image files, only those below *images_below* are read, by default those below the folder of the catalog.
        """
        self._images_below = images_below
        self._decoder = decoder
        self._max_pixels = max_pixels
        self._cache_bytes = cache_bytes
        self._written = 0

    def get(self, store: Store, digest: str, side: int) -> bytes:
        """Return the image with *digest* as a JPEG whose longer side has at most *side* pixels.

        Raises RequestError 404 if the store has no such image, and ImageError if its file cannot be used any more.
        """
        reference = _reference(store, digest)
        images = store.image_source
        if isinstance(images, ImageFiles):  # a catalog may name any file of this machine
            images = images.below(str(self._images_below or store.image_root))
            if not images.may_read(reference):
                raise ImageError("outside", f"the image cannot be shown: {REASONS['outside']}")
        path = cache_dir() / "thumbnails" / str(side) / digest[:2] / f"{digest}.jpg"
        with suppress(OSError):
            cached = path.read_bytes()
            if cached.startswith(_JPEG_START) and cached.endswith(_JPEG_END):  # else it was not written completely
                return cached
        data = self._make(images, reference, digest, side)
        with suppress(OSError):  # a disk that is full or read-only costs time, and nothing else
            self._write(path, data)
        return data

    def _make(self, images: ImageSource, reference: str, digest: str, side: int) -> bytes:
        try:
            image = _read(images, reference, digest)
            return self._decoder.thumbnail(image, max_side=side, max_pixels=self._max_pixels)
        except ImageError as error:  # its message may name a path of this machine
            raise ImageError(error.reason, f"the image cannot be shown: {REASONS[error.reason]}") from error

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._written += 1
        if self._written % _SWEEP_INTERVAL == 0:
            self.sweep()

    def sweep(self) -> None:
        """Delete the oldest thumbnails if the cache is too large, until nine tenths of its size are left."""
        paths = (cache_dir() / "thumbnails").glob("*/*/*.jpg")
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in paths]
        total = sum(size for _, size, _ in files)
        if total <= self._cache_bytes:
            return
        for _, size, path in sorted(files):
            if total <= self._cache_bytes * 9 // 10:
                return
            path.unlink(missing_ok=True)
            total -= size


def _reference(store: Store, digest: str) -> str:
    """Return the reference of the image with *digest* in the catalog."""
    try:
        position = store.positions_of([digest])[digest]
    except StoreDamaged:
        raise RequestError(f"no image of the store has the digest {digest}", status=404) from None
    rows = store.rows([position], limit=1)[position]
    if not rows:  # the vector is kept, but no item shows the image any more
        raise RequestError(f"no item shows the image {digest} any more", status=404)
    return rows[0].image


def _read(images: ImageSource, reference: str, digest: str) -> bytes:
    """Return the bytes of an image, if they still have *digest*; raises ImageError."""
    data = image_bytes(images, reference)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ImageError("missing", "the image has changed since it was indexed; run `visrec index`")
    return data
