"""Thumbnails: small JPEGs of the images of the store, made on demand and cached on disk.

~/.cache/visrec/thumbnails/<side>/<digest[:2]>/<digest>.jpg

A client names an image by the digest of its bytes, never by a path or an address, and an image is shown only if it
still has that digest. The cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from vision_recs.cache_dir import cache_dir
from vision_recs.catalog.image_files import ImageFiles, image_bytes
from vision_recs.errors import REASONS, ImageError, RequestError
from vision_recs.images import DecoderProcess
from vision_recs.serve.served import ServedItems
from vision_recs.types import ImageSource

CACHE_BYTES = 1 << 30
"""The size of the cache on disk, of all stores together."""

_SWEEP_INTERVAL = 2_000  # new thumbnails
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class Fetch(NamedTuple):
    """An image that *images* have to fetch, by its *reference*, and the *digest* that it should have."""

    images: ImageFiles
    reference: str
    digest: str

    def image(self) -> bytes:
        """Return the bytes of the image; raises ImageError. It may take seconds."""
        with _for_client():
            return _with_digest(image_bytes(self.images, self.reference), self.digest)


class Thumbnails:
    """Makes and caches thumbnails; for one thread."""

    def __init__(
        self,
        decoder: DecoderProcess,
        *,
        max_pixels: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Decode images of at most *max_pixels* by *decoder*, and keep at most *cache_bytes* on disk."""
        self._decoder = decoder
        self._max_pixels = max_pixels
        self._cache_bytes = cache_bytes
        self._written = 0

    def get(self, items: ServedItems, images: ImageSource, digest: str, side: int) -> bytes | Fetch:
        """Return the image with *digest*, which *images* reads, as a JPEG whose longer side has at most *side* pixels.

        Where the image has to be fetched, return how; `make` is for its bytes. Raises RequestError 404 if no item
        shows it, and ImageError if its file cannot be used any more.
        """
        reference = _reference(items, digest)
        if isinstance(images, ImageFiles) and not images.may_read(reference):
            raise ImageError("outside", f"the image cannot be shown: {REASONS['outside']}")
        with suppress(OSError):
            cached = _path(digest, side).read_bytes()
            if cached.startswith(_JPEG_START) and cached.endswith(_JPEG_END):  # else it was not written completely
                return cached
        if isinstance(images, ImageFiles) and images.fetched_by(reference) is not None:
            return Fetch(images, reference, digest)
        with _for_client():
            image = _with_digest(image_bytes(images, reference), digest)
        return self.make(image, digest, side)

    def make(self, image: bytes, digest: str, side: int) -> bytes:
        """Return *image*, which has *digest*, as `get` does; raises ImageError."""
        with _for_client():
            data = self._decoder.thumbnail(image, max_side=side, max_pixels=self._max_pixels)
        with suppress(OSError):  # a disk that is full or read-only costs time, and nothing else
            self._write(_path(digest, side), data)
        return data

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # one that is left is swept with the others
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
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
        files = []
        for path in (cache_dir() / "thumbnails").glob("*/*/*.jpg"):
            with suppress(FileNotFoundError):  # another worker has it finished, or swept, meanwhile
                found = path.stat()
                files.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._cache_bytes:
            return
        for _, size, path in sorted(files):
            if total <= self._cache_bytes * 9 // 10:
                return
            path.unlink(missing_ok=True)
            total -= size


def _reference(items: ServedItems, digest: str) -> str:
    """Return the reference of the image with *digest* in the catalog."""
    reference = items.image_with(digest)
    if not reference:  # also that of an item without an image
        raise RequestError(f"no image of the store has the digest {digest}", status=404)
    return reference


def _path(digest: str, side: int) -> Path:
    return cache_dir() / "thumbnails" / str(side) / digest[:2] / f"{digest}.jpg"


@contextmanager
def _for_client() -> Iterator[None]:
    """Keep from clients what the message of an ImageError says: it may name a path of this machine, or a host."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.reason, f"the image cannot be shown: {REASONS[error.reason]}") from error


def _with_digest(data: bytes, digest: str) -> bytes:
    """Return the bytes of an image, if they still have *digest*; raises ImageError.

    Beside the words of an item, only the first half of a digest is that of the bytes.
    """
    if not digest.startswith(hashlib.sha256(data).hexdigest()[:32]):
        raise ImageError("changed", "the image has changed since it was indexed; run `visrec index`")
    return data
