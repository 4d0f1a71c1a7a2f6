"""Embedding the images that are new to a store: they run through the pipeline, and shards are written meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from time import perf_counter

import numpy as np

from vision_recs import images
from vision_recs.encoders import StoreEncoder
from vision_recs.encoders.looking import no_regions
from vision_recs.encoders.words import words_of
from vision_recs.errors import StoreDamaged
from vision_recs.jobs.cluster.done import Done, may_have_ledgers
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.outcomes import without_bytes
from vision_recs.jobs.pipeline import Decoded, Encoded, Pipeline, Prepared, Read
from vision_recs.jobs.preparing import Preparing, reads_attributes
from vision_recs.jobs.progress import Progress, ProgressCallback, silent
from vision_recs.jobs.suspects import Suspects
from vision_recs.store import Embedded, Staging, Writer
from vision_recs.types import ImageSource, Vectors

_REWORDED_AT_ONCE = 256
_NOWHERE = -1
"""The position of an image that is not there."""
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class Embedding:
    """One run over staged images; it decides what becomes of each image, unless it is stopped."""

    def __init__(
        self, source: ImageSource, writer: Writer, staging: Staging, encoder: StoreEncoder, options: IndexOptions
    ) -> None:
        """Read images from *source*, write shards with *writer*, and note in *staging* what becomes of each image."""
        self._source = source
        self._writer = writer
        self._staging = staging
        self._encoder = encoder
        self._options = options
        self._words = words_of(encoder.spec.name)
        self._suspects = Suspects(writer.layout.suspects, writer.crashed())
        self._apart = images.DecoderProcess()
        self._preparing = Preparing(encoder, self._suspects, self._apart, names_colors=staging.names_colors)
        decode, size = self._preparing.decode, self._batch_size
        self._pipeline = Pipeline(source, encoder, decode, workers=options.workers, batch_size=size)
        self._planned: list[Embedded] = []
        self._vectors: list[Vectors] = []
        self._pending: set[bytes] = set()
        self._reworded: list[tuple[Prepared, int]] = []
        self._read = self._begun = self._encoded = self._total = 0
        self._report: ProgressCallback = silent
        self.embedded = 0
        self.complete = True
        self.seconds = 0.0
        self.stages = self._pipeline.stages

    def run(self, report: ProgressCallback) -> None:
        """Settle the staged images that ledgers know, then do what `embed` does with the others."""
        started = perf_counter()
        if may_have_ledgers(self._writer):
            with Done(self._writer, self._staging, self._encoder.spec) as done:
                keep_stale = self._options.keep_stale
                self.embedded = done.settle_known(self._source, keep_stale=keep_stale, progress=report)
        self.embed(report)
        self.seconds = perf_counter() - started

    def embed(self, report: ProgressCallback) -> None:
        """Embed the staged images that no shard holds, until the options say stop."""
        options = self._options
        self._report, self._total = report, self._staging.image_count()
        self._tell()  # the clock of whoever shows it starts now
        batches = self._pipeline.run(
            self._staging.images(attributes=reads_attributes(self._encoder.spec)),
            lambda read: self._preparing.with_products(self._unknown(self._counted(read))),
            has_addresses=self._staging.has_addresses(),
            should_stop=options.should_stop,
        )
        with closing(self._apart), self._suspects.watched(), closing(batches):
            for encoded in batches:
                self._take(encoded)
        self._write_reworded()
        self._write()

    def settle(self) -> None:
        """Forget which images may have ended a run: call it when the outcome of all is published."""
        self._suspects.settle()

    def _batch_size(self) -> int:
        return min(self._options.batch_size or self._encoder.batch_size, self._options.shard_size)

    def _unknown(self, images: Iterable[Read]) -> Iterator[Read]:
        """Yield the images that have to be embedded, each digest once; note what becomes of the others."""
        for image in images:
            if image.stopped:
                self.complete = False
                return
            if image.error is not None:
                without_bytes(
                    self._writer,
                    self._staging,
                    image.staged,
                    (image.error.reason, str(image.error)),
                    keep_stale=self._options.keep_stale,
                )
                continue
            image = self._preparing.with_words(image)  # noqa: PLW2901 - the same image
            self._staging.set_digest(image.staged, image.digest, image.signature)
            if image.digest in self._pending or self._writer.is_known(self._staging, image.digest):
                continue
            if self._begun == self._options.limit or self._options.should_stop():
                self.complete = False
                return
            if image.data is None:
                self._reword(image)
                continue
            self._begun += 1
            self._pending.add(image.digest)
            yield image

    def _reword(self, image: Read) -> None:
        """Give *image*, whose bytes are as they were, a vector with the words that its item has now."""
        position, digest, added = _NOWHERE, image.staged.digest, None
        if image.staged.image or self._words is None:
            known = self._staging.base.outcome(digest) if self._staging.base and digest else None
            if self._words is None or known is None:  # the signature was known, so the store must hold the vector
                raise StoreDamaged(
                    f"the store holds no vector of {image.staged.image}, though an item shows it; run `visrec verify`"
                )
            if known.position is None:
                self._staging.set_outcome(image.digest, reason=known.reason, message=known.message)
                return
            position, added = known.position, known.added
        self._begun += 1
        self._pending.add(image.digest)
        reworded = Prepared(image.staged, image.digest, Decoded(_NO_PIXELS), words=image.words, added=added)
        self._reworded.append((reworded, position))
        if len(self._reworded) == min(_REWORDED_AT_ONCE, self._options.shard_size):
            self._write_reworded()

    def _write_reworded(self) -> None:
        """Add the images to the current shard of which only the words are others; none is decoded."""
        if not self._reworded or self._words is None:
            return
        batch, places = zip(*self._reworded, strict=True)
        positions = np.array(places, np.int64)
        is_known = positions != _NOWHERE
        vectors = np.zeros((len(batch), self._encoder.spec.dim), np.float32)
        if self._writer.base is not None and is_known.any():
            vectors[is_known] = self._writer.base.encoder_vectors(positions[is_known])
        with self.stages["encoding"]:
            joined = self._words.joined(vectors, [image.words for image in batch])
        self._reworded = []
        self._take(Encoded(list(batch), joined, np.any(joined, axis=1), no_regions(len(batch))))

    def _counted(self, images: Iterable[Read]) -> Iterator[Read]:
        for image in images:
            self._read += 1
            self._tell()
            yield image

    def _tell(self) -> None:
        """Report what is done: an image is when it was embedded, or when it is known that it need not be."""
        known = self._read - self._begun
        self._report(Progress("embedding", known + self._encoded, self._total, known=known))

    def _take(self, encoded: Encoded) -> None:
        """Add a batch to the current shard: its vectors, and what became of each image, without the pixels."""
        outcomes = list(encoded.outcomes(first=sum(map(len, self._vectors))))
        self._planned += outcomes
        self._encoded += len(outcomes)
        self._tell()
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
