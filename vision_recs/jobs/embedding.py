"""Embedding the images that are new to a store: read -> prepare -> encode -> write shards, all at the same time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from vision_recs import images
from vision_recs.encoders import StoreEncoder
from vision_recs.errors import GONE, EncoderError, ImageError, StoreDamaged
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.jobs.reading import reading_pool
from vision_recs.jobs.suspects import Suspects
from vision_recs.ordered_map import ordered_map
from vision_recs.remote.images import Stopped
from vision_recs.store import Embedded, Staged, Staging, Writer
from vision_recs.types import ImageSource, Unchanged, Vectors
from vision_recs.vectors import normalize_rows

_BATCHES_AHEAD = 1
"""Batches that are ready while one is encoded and the next is collected."""
_WINDOWS_AHEAD = 2
"""Batches of images that are read ahead, and batches that are prepared ahead."""


@dataclass(frozen=True, slots=True)
class Read:
    """An image that was read: *data* is None where its signature is that of the last run, or where *error* says why.

    It was *stopped* where nobody waited for it any more.
    """

    staged: Staged
    digest: bytes = b""
    signature: str | None = None
    data: bytes | None = None
    error: ImageError | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image to embed: its pixels (height, width, 3), or the *error* why there are none."""

    staged: Staged
    digest: bytes
    pixels: NDArray[np.uint8] | None
    error: ImageError | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch, a unit vector for each image that has pixels, and which of the vectors are not zero."""

    batch: list[Prepared]
    vectors: Vectors
    alive: NDArray[np.bool_]


class Embedding:
    """One run over staged images; it decides what becomes of each image, unless it is stopped.

    Reading and preparing run ahead of encoding, and encoding runs ahead of writing, each by a bounded number of images.
    """

    def __init__(
        self, source: ImageSource, writer: Writer, staging: Staging, encoder: StoreEncoder, options: IndexOptions
    ) -> None:
        """Read images from *source*, write shards with *writer*, and note in *staging* what becomes of each image."""
        self._images = source
        self._writer = writer
        self._staging = staging
        self._encoder = encoder
        self._options = options
        self._suspects = Suspects(writer.layout.suspects, writer.crashed())
        self._apart = images.DecoderProcess()
        self._planned: list[Embedded] = []
        self._vectors: list[Vectors] = []
        self._pending: set[bytes] = set()
        self._begun = 0
        self.embedded = 0
        self.complete = True
        self.seconds = 0.0
        self.stages = {stage: Stopwatch() for stage in ("reading", "decoding", "encoding", "writing")}

    def run(self, report: ProgressCallback) -> None:
        """Embed the staged images that no shard holds, until the options say stop."""
        options = self._options
        window = _WINDOWS_AHEAD * self._batch_size()
        started = perf_counter()
        with (
            closing(self._apart),
            self._suspects.watched(),
            ThreadPoolExecutor(options.workers) as pool,
            ThreadPoolExecutor(1) as encoding,
            reading_pool(self._images, self._staging, pool, window, options.should_stop) as (reading, ahead),
        ):
            read = ordered_map(reading, self._read, self._staging.images(), window=ahead)
            counted = _counted(read, self._staging.image_count(), report)
            prepared = ordered_map(pool, self._prepare, self._unknown(counted), window=window)
            batches = _batches(prepared, self._batch_size)
            for encoded in ordered_map(encoding, self._encode, batches, window=_BATCHES_AHEAD):
                self._take(encoded)
        self._write()
        self.seconds = perf_counter() - started

    def settle(self) -> None:
        """Forget which images may have ended a run: call it when the outcome of all is published."""
        self._suspects.settle()

    def _batch_size(self) -> int:
        return min(self._options.batch_size or self._encoder.batch_size, self._options.shard_size)

    def _read(self, staged: Staged) -> Read:
        with self.stages["reading"]:
            known = None if staged.digest is None else staged.signature
            try:
                image = self._images.read(staged.image, known=known)
            except ImageError as error:
                return Read(staged, error=error)
            except Stopped:
                return Read(staged, stopped=True)
            if isinstance(image, Unchanged):
                assert staged.digest is not None
                return Read(staged, staged.digest, known)
            return Read(staged, hashlib.sha256(image.data).digest(), image.signature, image.data)

    def _unknown(self, images: Iterable[Read]) -> Iterator[Read]:
        """Yield the images that have to be embedded, each digest once; note what becomes of the others."""
        for image in images:
            if image.stopped:
                self.complete = False
                return
            if image.error is not None:
                self._without_bytes(image.staged, image.error)
                continue
            self._staging.set_digest(image.staged, image.digest, image.signature)
            if image.digest in self._pending or self._writer.is_known(self._staging, image.digest):
                continue
            if image.data is None:  # the signature was known, so the store must hold the vector
                raise StoreDamaged(
                    f"the store holds no vector of {image.staged.image}, though an item shows it; run `visrec verify`"
                )
            if self._begun == self._options.limit or self._options.should_stop():
                self.complete = False
                return
            self._begun += 1
            self._pending.add(image.digest)
            yield image

    def _without_bytes(self, staged: Staged, error: ImageError) -> None:
        """Skip an image that cannot be read; one that may be read again later keeps its vector for some runs."""
        if error.reason not in GONE and staged.digest and self._writer.is_known(self._staging, staged.digest):
            message = f"{error}; its vector of an earlier run stays"
            if self._staging.keep(staged, error.reason, message, runs=self._options.keep_stale):
                return
        self._staging.skip(staged, error.reason, str(error))

    def _prepare(self, read: Read) -> Prepared:
        assert read.data is not None
        with self.stages["decoding"]:
            try:
                return Prepared(read.staged, read.digest, self._load(read, read.data))
            except ImageError as error:
                return Prepared(read.staged, read.digest, None, error)

    def _load(self, read: Read, data: bytes) -> NDArray[np.uint8]:
        """Return the pixels of an image; decoded apart, which takes longer, where it may have ended a run."""
        preprocess = self._encoder.spec.preprocess
        if read.digest in self._suspects:
            return self._apart.load(data, preprocess)
        with self._suspects.decoding(read.staged, read.digest):
            return images.load(data, preprocess)

    def _encode(self, batch: list[Prepared]) -> Encoded:
        pixels = [image.pixels for image in batch if image.pixels is not None]
        dim = self._encoder.spec.dim
        if not pixels:
            return Encoded(batch, np.empty((0, dim), np.float32), np.empty(0, np.bool_))
        encoder = self._encoder.image_encoder()
        with self.stages["encoding"]:
            vectors = encoder.encode(np.stack(pixels))
        if vectors.shape != (len(pixels), dim):
            raise EncoderError(
                f"the encoder {self._encoder.spec.name} gave {len(pixels)} images vectors of the shape "
                f"{vectors.shape}; it must give {(len(pixels), dim)}, as its spec says"
            )
        return Encoded(batch, *normalize_rows(vectors))

    def _take(self, encoded: Encoded) -> None:
        """Add a batch to the current shard: its vectors, and what became of each image, without the pixels."""
        self._planned += _outcomes(encoded.batch, encoded.alive, first=sum(map(len, self._vectors)))
        self._vectors.append(encoded.vectors[encoded.alive])
        if len(self._planned) >= self._options.shard_size:
            self._write()

    def _write(self) -> None:
        """Write the current shard."""
        if not self._planned:
            return
        with self.stages["writing"]:
            vectors = np.concatenate(self._vectors)
            self._writer.add_shard(self._staging, self._encoder.spec.fingerprint, self._planned, vectors)
        self.embedded += len(vectors)
        self._pending.difference_update(image.digest for image in self._planned)
        self._planned, self._vectors = [], []


def _outcomes(batch: Iterable[Prepared], alive: NDArray[np.bool_], *, first: int) -> Iterator[Embedded]:
    """Yield what became of each image of *batch*; the first vector has the row *first* of its shard.

    *alive* says for each image that has pixels whether its vector is not zero.
    """
    is_alive = iter(alive.tolist())
    rows = count(first)
    for image in batch:
        staged, digest = image.staged, image.digest
        if image.error is not None:
            yield Embedded(staged.id, staged.image, digest, None, image.error.reason, str(image.error))
        elif next(is_alive):
            yield Embedded(staged.id, staged.image, digest, next(rows))
        else:
            message = "the encoder gives the image no direction: it is blank"
            yield Embedded(staged.id, staged.image, digest, None, "zero-vector", message)


def _counted(images: Iterable[Read], total: int, report: ProgressCallback) -> Iterator[Read]:
    done = 0
    for done, image in enumerate(images, start=1):
        report(Progress("embedding", done, total))
        yield image


def _batches(images: Iterable[Prepared], size: Callable[[], int]) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for image in images:
        batch.append(image)
        if len(batch) >= size():  # which may grow when the encoder is loaded
            yield batch
            batch = []
    if batch:
        yield batch


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
