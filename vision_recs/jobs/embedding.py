"""Embedding what is new: read | prepare | encode -> shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from vision_recs import images
from vision_recs.encoders.space import Space
from vision_recs.errors import ImageError
from vision_recs.jobs.ahead import ahead
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, Report
from vision_recs.store import Embedded, Staged, Staging, Writer
from vision_recs.types import Catalog, Vectors


@dataclass(frozen=True, slots=True)
class Read:
    """A picture that was read: *data* is None where the last run's digest could be trusted, *error* says why not."""

    staged: Staged
    digest: bytes = b""
    signature: str | None = None
    data: bytes | None = None
    error: ImageError | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is to be embedded: its pixels (height, width, 3), or why it cannot be."""

    read: Read
    pixels: NDArray[np.uint8] | None
    error: ImageError | None = None


class Embedding:
    """One run over the pictures of a staged catalogue; afterwards each of them is settled."""

    def __init__(self, catalog: Catalog, writer: Writer, staging: Staging, space: Space, options: IndexOptions) -> None:
        """Read from *catalog*, write shards with *writer*, say in *staging* what became of each picture."""
        self._catalog = catalog
        self._writer = writer
        self._staging = staging
        self._space = space
        self._options = options
        self._planned: list[Prepared] = []
        self._vectors: list[Vectors] = []
        self._pending: set[bytes] = set()
        self.embedded = 0
        self.seconds = 0.0

    def run(self, total: int, report: Report) -> None:
        """Embed what no shard holds yet, of *total* pictures."""
        window = 2 * self._options.batch_size
        with ThreadPoolExecutor(self._options.workers) as pool:
            read = ahead(pool, self._read, self._staging.pictures(), window=window)
            counted = _counted(read, total, report)
            prepared = ahead(pool, self._prepare, self._unknown(counted), window=window)
            for batch in _batches(prepared, self._options.batch_size):
                started = perf_counter()
                self._encode(batch)
                self.seconds += perf_counter() - started
        self._write()

    def _read(self, staged: Staged) -> Read:
        signature = self._catalog.signature(staged.picture)
        if staged.digest is not None and signature is not None and signature == staged.signature:
            return Read(staged, staged.digest, signature)
        try:
            data = self._catalog.read(staged.picture)
        except ImageError as error:
            return Read(staged, error=error)
        return Read(staged, hashlib.sha256(data).digest(), signature, data)

    def _unknown(self, pictures: Iterable[Read]) -> Iterator[Read]:
        """Pass on the pictures that have to be embedded, each digest once; settle the others."""
        for picture in pictures:
            if picture.error is not None:
                self._staging.skip(picture.staged, picture.error.reason, str(picture.error))
                continue
            self._staging.resolve(picture.staged, picture.digest, picture.signature)
            if picture.digest in self._pending or self._writer.recall(self._staging, picture.digest):
                continue
            self._pending.add(picture.digest)
            yield picture

    def _prepare(self, read: Read) -> Prepared:
        try:
            data = self._catalog.read(read.staged.picture) if read.data is None else read.data
            _refuse_changed(read, data)
            return Prepared(read, images.prepare(images.decode(data), self._space.spec.recipe))
        except ImageError as error:
            return Prepared(read, None, error)

    def _encode(self, batch: list[Prepared]) -> None:
        pixels = [picture.pixels for picture in batch if picture.pixels is not None]
        if pixels:
            self._vectors.append(self._space.encoder().encode(np.stack(pixels)))
        self._planned += batch
        if len(self._planned) >= self._options.shard_size:
            self._write()

    def _write(self) -> None:
        """Write the pictures in hand as a shard."""
        if not self._planned:
            return
        dim = self._space.spec.dim
        vectors = np.concatenate([np.empty((0, dim), np.float32), *self._vectors])
        alive: NDArray[np.bool_] = np.any(vectors, axis=1)
        self._writer.add_shard(
            self._staging, self._space.spec.fingerprint, list(_outcomes(self._planned, alive)), vectors[alive]
        )
        self.embedded += int(alive.sum())
        self._planned, self._vectors = [], []
        self._pending.clear()


def _refuse_changed(read: Read, data: bytes) -> None:
    if read.data is None and hashlib.sha256(data).digest() != read.digest:
        raise ImageError("unreadable", f"{read.staged.picture} changed while it was read; run again")


def _outcomes(planned: Iterable[Prepared], alive: NDArray[np.bool_]) -> Iterator[Embedded]:
    """Yield what became of each picture; *alive* says which of the encoded ones have a direction."""
    encoded = vector = 0
    for picture in planned:
        staged, digest = picture.read.staged, picture.read.digest
        if picture.error is not None:
            yield Embedded(staged.id, staged.picture, digest, None, picture.error.reason, str(picture.error))
            continue
        if alive[encoded]:
            yield Embedded(staged.id, staged.picture, digest, vector)
            vector += 1
        else:
            message = "the encoder gives the picture no direction: it is blank"
            yield Embedded(staged.id, staged.picture, digest, None, "no-direction", message)
        encoded += 1


def _counted(pictures: Iterable[Read], total: int, report: Report) -> Iterator[Read]:
    done = 0
    for done, picture in enumerate(pictures, start=1):
        report(Progress("embedding", done, total))
        yield picture


def _batches(pictures: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
