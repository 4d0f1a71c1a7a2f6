"""Embedding one block: what a worker does, wherever it runs, and whoever has started it.

Nothing here knows Ray: a task of Ray, a partition of Spark and a job of an array call the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from vision_recs import images
from vision_recs._version import __version__
from vision_recs.encoders import StoreEncoder
from vision_recs.errors import StoreError, VisionRecsError, WorkerRefused
from vision_recs.jobs.cluster.places import BlockPlace
from vision_recs.jobs.pipeline import Pipeline, Read
from vision_recs.jobs.preparing import Preparing
from vision_recs.store import Embedded, Staged
from vision_recs.store.ledgers import Ledger, LedgerRow
from vision_recs.store.shards import make_shard
from vision_recs.types import ImageSource, Vectors


@dataclass(frozen=True, slots=True)
class Block:
    """Some images that one worker embeds as a whole; *name* is that of its ledger.

    The images have the attributes of their items where the encoder reads some. With *names_colors* their colors are
    named.
    """

    name: str
    images: tuple[Staged, ...]
    asked: tuple[str | None, ...]
    has_addresses: bool = False
    names_colors: bool = False


@dataclass(frozen=True, slots=True)
class BlockReport:
    """What became of a block: of its *images*, *embedded* got a vector and *skipped* have a reason why they have none.

    *was_done* says that somebody had embedded it before.
    """

    block: str
    shard: str
    images: int
    embedded: int
    skipped: int
    seconds: float = 0.0
    was_done: bool = False


def embed_block(  # noqa: PLR0913 - what a worker has, and how it works
    block: Block,
    place: BlockPlace,
    encoder: StoreEncoder,
    source: ImageSource,
    *,
    workers: int = 1,
    apart: bool = False,
) -> BlockReport:
    """Embed *block*: a shard and its ledger lie at *place* when this returns; a block that is done is not read again.

    *encoder* proves first that it is that of the store. *workers* threads read from *source* and decode; with *apart*
    images are decoded in a process of their own, which is slow, since one of them may end the process that decodes it.
    Raises SpaceMismatch for another encoder, StoreError where *place* cannot be written.
    """
    started = perf_counter()
    place.require()
    done = place.ledger(block.name)
    if done is not None:
        return _report(done, perf_counter() - started, was_done=True)
    encoder.image_encoder()
    with place.work() as folder, closing(images.DecoderProcess()) as decoder:
        preparing = Preparing(encoder, _Apart(apart), decoder, names_colors=block.names_colors)
        embedding = _BlockEmbedding(block, encoder, preparing)
        embedding.run(source, workers)
        shard = folder / "shard" if embedding.vectors else None
        ledger = embedding.ledger(shard)
        kept = place.put(ledger, shard)
    return _report(kept, perf_counter() - started, was_done=kept != ledger)


def _report(ledger: Ledger, seconds: float, *, was_done: bool) -> BlockReport:
    skipped = sum(row.reason is not None for row in ledger.rows)
    return BlockReport(ledger.block, ledger.shard, len(ledger.rows), ledger.vectors, skipped, seconds, was_done)


@dataclass(frozen=True, slots=True)
class _Apart:
    """A `Guard`: *everything* is decoded apart, or nothing is. What ends a worker, the driver notices."""

    everything: bool

    def __contains__(self, digest: object) -> bool:
        return self.everything

    def decoding(self, _image: Staged, _digest: bytes) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass
class _BlockEmbedding:
    block: Block
    encoder: StoreEncoder
    preparing: Preparing
    reads: list[LedgerRow] = field(default_factory=list)
    embedded: list[Embedded] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    _begun: set[bytes] = field(default_factory=set)

    def run(self, source: ImageSource, workers: int) -> None:
        def batch_size() -> int:
            return self.encoder.batch_size

        def chosen(read: Iterable[Read]) -> Iterator[Read]:
            return self.preparing.with_products(self._unknown(read))

        pipeline = Pipeline(source, self.encoder, self.preparing.decode, workers=workers, batch_size=batch_size)
        batches = pipeline.run(self.block.images, chosen, has_addresses=self.block.has_addresses)
        with closing(batches):
            for encoded in batches:
                self.embedded += encoded.outcomes(first=sum(map(len, self.vectors)))
                if encoded.alive.any():
                    self.vectors.append(encoded.vectors[encoded.alive])

    def _unknown(self, read: Iterable[Read]) -> Iterator[Read]:
        """Yield the images that have to be embedded, each digest once; note what was read of all."""
        for image in read:
            staged, error = image.staged, image.error
            if error is not None:
                self.reads.append(LedgerRow(staged.id, staged.image, None, None, None, error.reason, str(error)))
                continue
            image = self.preparing.with_words(image)  # noqa: PLW2901 - the same image
            self.reads.append(LedgerRow(staged.id, staged.image, image.digest, image.signature, None))
            if image.data is not None and image.digest != staged.digest and image.digest not in self._begun:
                self._begun.add(image.digest)
                yield image

    def ledger(self, shard: Path | None) -> Ledger:
        """Write the folder *shard*, if there is one, and return the ledger."""
        space, rows = self.encoder.spec.fingerprint, sum(map(len, self.vectors))
        name = make_shard(shard, space, self.embedded, np.concatenate(self.vectors)) if shard else ""
        found = {image.digest: image for image in self.embedded}
        return Ledger(self.block.name, space, name, rows, list(self._rows(found)), self.block.names_colors)

    def _rows(self, found: dict[bytes, Embedded]) -> Iterator[LedgerRow]:
        for read, asked in zip(self.reads, self.block.asked, strict=True):
            outcome = found.get(read.digest) if read.digest is not None else None
            if outcome is not None:
                of_image = {name: getattr(outcome, name) for name in ("row", "reason", "message", "added")}
                read = read._replace(**of_image)  # noqa: PLW2901 - the same row
            yield read._replace(asked=asked)


@dataclass(frozen=True, slots=True)
class Work:
    """What the workers of a run are told, whoever starts them; it can be pickled.

    *run* names the run. *root* is the folder of the images, where they lie in files; every worker has to see it.
    *version* is that of the visrec that planned the run.
    """

    run: str
    place: BlockPlace
    encoder: StoreEncoder
    source: ImageSource
    root: str = ""
    version: str = __version__

    def embed(self, block: Block, *, apart: bool = False, workers: int = 1, device: str | None = None) -> BlockReport:
        """Do what `embed_block` does, with the encoder if this process has loaded it before.

        It computes on *device*, by default as the run says, and with *workers* threads on a CPU. Raises WorkerRefused
        where this machine cannot embed for the run, whatever the block.
        """
        encoder = self._ready(device, workers)
        return embed_block(block, self.place, encoder, self.source, workers=workers, apart=apart)

    def _ready(self, device: str | None, workers: int) -> StoreEncoder:
        try:
            if self.version != __version__:
                raise StoreError(f"it has visrec {__version__}, and the run is of visrec {self.version}")
            if self.root and not Path(self.root).is_dir():
                raise StoreError(f"it does not see the folder of the images, {self.root}")
            self.place.require()
            key = self.encoder.identity or self.run, device, workers
            if key not in _encoders:
                _encoders.clear()  # one is enough
                _encoders[key] = self.encoder.with_resources(device=device, threads=workers)
            encoder = _encoders[key]
            encoder.image_encoder()
            encoder.product_finder()
        except VisionRecsError as error:
            raise WorkerRefused(str(error)) from error
        return encoder


_encoders: dict[tuple[str, str | None, int], StoreEncoder] = {}
"""The encoder that this process has loaded, by what names it, the device and the threads."""
