"""From staged images to vectors: read -> prepare -> encode, all at the same time, each by a bounded number ahead."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders import StoreEncoder
from vision_recs.encoders.looking import Regions, boxes_of, look, no_regions
from vision_recs.encoders.words import words_of
from vision_recs.errors import EncoderError, ImageError
from vision_recs.images.crop import WHOLE, Crop
from vision_recs.jobs.progress import ShouldStop, never_stop
from vision_recs.jobs.reading import reading_pool
from vision_recs.ordered_map import ordered_map
from vision_recs.remote.images import Stopped
from vision_recs.store import Embedded, Staged
from vision_recs.store.added import added_text
from vision_recs.types import ImageSource, Unchanged, Vectors
from vision_recs.vectors import normalize_rows

NO_IMAGE = "words"
"""The signature in the place of that of an image, of an item that has none."""

_BATCHES_AHEAD = 1
"""Batches that are ready while one is encoded and the next is collected."""
_WINDOWS_AHEAD = 2
"""Batches of images that are read ahead, and batches that are prepared ahead."""


@dataclass(frozen=True, slots=True)
class Read:
    """An image that was read: *data* is None where its signature is that of the last run, or where *error* says why.

    It was *stopped* where nobody waited for it any more. *words* are those of its item that its vector gets, and *crop*
    is the part of the image that is embedded.
    """

    staged: Staged
    digest: bytes = b""
    signature: str | None = None
    data: bytes | None = None
    error: ImageError | None = None
    stopped: bool = False
    words: str = ""
    crop: Crop = WHOLE


class Decoded(NamedTuple):
    """The pixels (height, width, 3) of an image, and what is known of it beside them.

    *colors* are named by the store, *focus* is the part that is embedded where that is not all, and *size* is that of
    the image (width, height) where the encoder says itself at what it looks closer.
    """

    pixels: NDArray[np.uint8]
    colors: Sequence[str] = ()
    focus: Crop = WHOLE
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image to embed: *decoded*, or the *error* why it is not.

    *words* are those of its item. *added* is what the store adds to the image, where that is known already.
    """

    staged: Staged
    digest: bytes
    decoded: Decoded | None
    error: ImageError | None = None
    words: str = ""
    added: str | None = None

    def what_to_add(self, regions: Regions) -> str | None:
        """Return what the store adds to the image, at whose *regions* (r, 3) the encoder looked; None for nothing."""
        if self.decoded is None or self.added is not None:
            return self.added
        _, colors, focus, size = self.decoded
        boxes = boxes_of(regions, size) if size else [focus]
        seen = [box for box in boxes if box != WHOLE]
        return added_text(colors=colors, focus=seen) if colors or seen else None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch, a unit vector for each image that has pixels, which of the vectors are not zero, and the regions."""

    batch: list[Prepared]
    vectors: Vectors
    alive: NDArray[np.bool_]
    regions: Regions

    def outcomes(self, *, first: int) -> Iterator[Embedded]:
        """Yield what became of each image; the first vector that is not zero has the row *first* of its shard."""
        found = iter(zip(self.alive.tolist(), self.regions, strict=True))
        rows = count(first)
        for image in self.batch:
            staged, digest = image.staged, image.digest
            if image.error is not None:
                yield Embedded(staged.id, staged.image, digest, None, image.error.reason, str(image.error))
                continue
            is_alive, regions = next(found)
            if is_alive:
                yield Embedded(staged.id, staged.image, digest, next(rows), added=image.what_to_add(regions))
            else:
                reason, message = "zero-vector", "the encoder gives the image no direction: it is blank"
                if not staged.image:
                    reason, message = "no-image", "the item names no image, and has no words; give it one"
                yield Embedded(staged.id, staged.image, digest, None, reason, message)


class Pipeline:
    """Reads, decodes and encodes images; *stages* are the times that each of these takes."""

    def __init__(
        self,
        source: ImageSource,
        encoder: StoreEncoder,
        decode: Callable[[Read, bytes], Decoded],
        *,
        workers: int,
        batch_size: Callable[[], int],
    ) -> None:
        """Read from *source* and decode by *decode* with *workers* threads; give *encoder* batches of that size."""
        self._words = words_of(encoder.spec.name)
        self._source = source
        self._encoder = encoder
        self._decode = decode
        self._workers = workers
        self._batch_size = batch_size
        self.stages = {stage: Stopwatch() for stage in ("reading", "decoding", "encoding", "writing")}

    def run(
        self,
        images: Iterable[Staged],
        choose: Callable[[Iterable[Read]], Iterator[Read]],
        *,
        has_addresses: bool,
        should_stop: ShouldStop = never_stop,
    ) -> Generator[Encoded]:
        """Yield a batch after the other of those of *images* that *choose* leaves once they are read.

        Reading and preparing run ahead of encoding, and encoding runs ahead of the caller.
        """
        window = _WINDOWS_AHEAD * self._batch_size()
        with (
            ThreadPoolExecutor(self._workers) as pool,
            ThreadPoolExecutor(1) as encoding,
            reading_pool(self._source, pool, window, should_stop, has_addresses=has_addresses) as (reading, ahead),
        ):
            read = ordered_map(reading, self._read, images, window=ahead)
            prepared = ordered_map(pool, self._prepare, choose(read), window=window)
            yield from ordered_map(encoding, self._encode, self._batches(prepared), window=_BATCHES_AHEAD)

    def _read(self, staged: Staged) -> Read:
        with self.stages["reading"]:
            if not staged.image:
                none = ImageError("no-image", "the item names no image; give it one")
                return Read(staged, error=none) if self._words is None else Read(staged, signature=NO_IMAGE)
            if staged.is_kept and staged.digest is not None and not staged.stale:
                return Read(staged, staged.digest, staged.signature)
            known = None if staged.digest is None else staged.signature
            try:
                image = self._source.read(staged.image, known=known)
            except ImageError as error:
                return Read(staged, error=error)
            except Stopped:
                return Read(staged, stopped=True)
            if isinstance(image, Unchanged):
                assert staged.digest is not None
                return Read(staged, staged.digest, known)
            return Read(staged, hashlib.sha256(image.data).digest(), image.signature, image.data)

    def _prepare(self, read: Read) -> Prepared:
        assert read.data is not None
        with self.stages["decoding"]:
            try:
                return Prepared(read.staged, read.digest, self._decode(read, read.data), words=read.words)
            except ImageError as error:
                return Prepared(read.staged, read.digest, None, error=error)

    def _batches(self, images: Iterable[Prepared]) -> Iterator[list[Prepared]]:
        batch: list[Prepared] = []
        for image in images:
            batch.append(image)
            if len(batch) >= self._batch_size():  # which may grow when the encoder is loaded
                yield batch
                batch = []
        if batch:
            yield batch

    def _encode(self, batch: list[Prepared]) -> Encoded:
        pixels = [image.decoded.pixels for image in batch if image.decoded is not None]
        dim = self._encoder.spec.dim
        if not pixels:
            return Encoded(batch, np.empty((0, dim), np.float32), np.empty(0, np.bool_), no_regions(0))
        encoder = self._encoder.image_encoder()
        with self.stages["encoding"]:
            vectors, regions = look(encoder, np.stack(pixels))
        if vectors.shape != (len(pixels), dim):
            raise EncoderError(
                f"the encoder {self._encoder.spec.name} gave {len(pixels)} images vectors of the shape "
                f"{vectors.shape}; it must give {(len(pixels), dim)}, as its spec says"
            )
        if self._words is not None:
            vectors = self._words.joined(vectors, [image.words for image in batch if image.decoded is not None])
        return Encoded(batch, *normalize_rows(vectors), regions)


class Stopwatch:
    """Counts the *seconds* during which at least one thread is inside a `with` statement of it."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds = 0.0
        self._lock = threading.Lock()
        self._inside = 0
        self._since = 0.0

    def __enter__(self) -> None:
        """Start, unless another thread is inside."""
        with self._lock:
            if not self._inside:
                self._since = perf_counter()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, unless another thread is still inside."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.seconds += perf_counter() - self._since
