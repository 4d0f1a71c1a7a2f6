"""Embedding the images that are new to a store: they run through the pipeline, and shards are written meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vision_recs import images
from vision_recs.encoders import StoreEncoder
from vision_recs.encoders.grounding import BATCH
from vision_recs.encoders.looking import no_regions
from vision_recs.encoders.words import Words, digest_with, words_of
from vision_recs.errors import ImageError, StoreDamaged
from vision_recs.images.named_colors import colors_in
from vision_recs.jobs.cluster.done import Done, may_have_ledgers
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.outcomes import without_bytes
from vision_recs.jobs.pipeline import Decoded, Encoded, Pipeline, Prepared, Read
from vision_recs.jobs.progress import Progress, ProgressCallback, silent
from vision_recs.jobs.suspects import Suspects
from vision_recs.store import Embedded, Staging, Writer
from vision_recs.types import CompositePreprocess, ImageSource, Preprocess, Vectors

if TYPE_CHECKING:
    from PIL import Image

_REWORDED_AT_ONCE = 256
_NOWHERE = -1
"""The position of an image that is not there."""
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_DETECTED: Final = 1333
"""The longer side, in pixels, of an image that a detector sees, at most: it would scale a larger one itself."""


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
        self._pipeline = Pipeline(source, encoder, self._load, workers=options.workers, batch_size=self._batch_size)
        self._suspects = Suspects(writer.layout.suspects, writer.crashed())
        self._apart = images.DecoderProcess()
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
        """Embed the staged images that no shard holds, until the options say stop."""
        started = perf_counter()
        options, space = self._options, self._encoder.spec.fingerprint
        if may_have_ledgers(self._writer) and not self._staging.names_colors:  # which ledgers do not
            with Done(self._writer, self._staging, space) as done:
                self.embedded = done.settle_known(self._source, keep_stale=options.keep_stale, progress=report)
        self._report, self._total = report, self._staging.image_count()
        self._tell()  # the clock of whoever shows it starts now
        batches = self._pipeline.run(
            self._staging.images(attributes=self._words is not None or bool(self._encoder.spec.focus)),
            lambda read: self._with_products(self._unknown(self._counted(read))),
            has_addresses=self._staging.has_addresses(),
            should_stop=options.should_stop,
        )
        with closing(self._apart), self._suspects.watched(), closing(batches):
            for encoded in batches:
                self._take(encoded)
        self._write_reworded()
        self._write()
        self.seconds = perf_counter() - started

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
            if self._words is not None:
                image = _with_words(image, self._words)  # noqa: PLW2901 - the same image
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

    def _with_products(self, images: Iterator[Read]) -> Iterator[Read]:
        """Yield *images*, each with the part that shows its item, if a detector finds these; some at a time."""
        finder = self._encoder.product_finder()
        if finder is None:
            yield from images
            return
        while some := list(islice(images, BATCH)):
            shown = [self._shown(read) for read in some]
            seen = [(read, image) for read, image in zip(some, shown, strict=True) if image is not None]
            items = [json.loads(read.staged.attributes) for read, _ in seen]
            crops = iter(finder.find([image for _, image in seen], items))
            yield from (
                read if image is None else replace(read, crop=next(crops))
                for read, image in zip(some, shown, strict=True)
            )

    def _shown(self, read: Read) -> Image.Image | None:
        """Return the image that a detector is to see; None for one that cannot be decoded, or not in this process."""
        if read.digest in self._suspects or read.data is None:
            return None
        try:
            with self._suspects.decoding(read.staged, read.digest):
                image = images.decode(read.data)
        except ImageError:
            return None  # which is said when it is prepared
        image.thumbnail((_DETECTED, _DETECTED))
        return image

    def _counted(self, images: Iterable[Read]) -> Iterator[Read]:
        for image in images:
            self._read += 1
            self._tell()
            yield image

    def _tell(self) -> None:
        """Report what is done: an image is when it was embedded, or when it is known that it need not be."""
        known = self._read - self._begun
        self._report(Progress("embedding", known + self._encoded, self._total, known=known))

    def _load(self, read: Read, data: bytes) -> Decoded:
        """Return the pixels of an image; decoded apart, which takes longer, where it may have ended a run."""
        preprocess = self._encoder.spec.preprocess
        if read.digest in self._suspects:
            pixels = self._apart.load(data, preprocess, crop=read.crop)
        else:
            with self._suspects.decoding(read.staged, read.digest):
                pixels = images.load(data, preprocess, crop=read.crop)
        colors = _colors_of(pixels, preprocess) if self._staging.names_colors else ()
        needs_size = self._encoder.looks_closer and read.digest not in self._suspects
        return Decoded(pixels, colors, read.crop, images.size_of(data) if needs_size else None)

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


def _colors_of(pixels: NDArray[np.uint8], preprocess: Preprocess) -> Sequence[str]:
    """Return the names of the colors in *pixels*, of a composite encoder those in the pixels of its first part."""
    first = preprocess.recipes[0] if isinstance(preprocess, CompositePreprocess) else preprocess
    height, width = first.size
    return colors_in(pixels[:height, :width])


def _with_words(image: Read, words: Words) -> Read:
    """Return *image* with the words of its item, and with the digest of both."""
    text = words.text_of(image.staged.attributes)
    return replace(image, digest=digest_with(image.digest, text), words=text)
