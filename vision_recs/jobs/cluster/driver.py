"""The driver of a run on a cluster: it makes blocks, keeps a bounded number of them at work, and settles them.

It reads no image. Whoever is lost, a worker, a machine or the driver itself: what has a ledger is done, and all else is
given to somebody again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import monotonic, perf_counter
from typing import NamedTuple, Protocol

from vision_recs.encoders import StoreEncoder
from vision_recs.encoders.words import digest_with, words_of
from vision_recs.errors import ClusterError
from vision_recs.jobs.cluster.done import Done, asked_of, pages, signatures_of
from vision_recs.jobs.cluster.places import begin_run, end_runs
from vision_recs.jobs.cluster.worker import Block, BlockReport, Work
from vision_recs.jobs.embedding import Embedding
from vision_recs.jobs.options import ClusterOptions, IndexOptions
from vision_recs.jobs.pipeline import Stopwatch
from vision_recs.jobs.preparing import reads_attributes
from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.remote.addresses import is_address
from vision_recs.store import Staged, Staging, Writer
from vision_recs.store.ledgers import block_name
from vision_recs.types import Catalog, EncoderSpec, ImageSource

_POLL_S = 0.5
_APART_FROM = 2  # attempts at a block: two lost workers may be by chance, or by an image that ends its decoder
_MOST_ATTEMPTS = 6
_SILENT_S = 60.0  # without a block, after which it is looked whether there are machines
_SHOWN = 8  # machines of which progress shows the rate
_STRAGGLES = 3.0  # times as long as the median of the blocks

log = logging.getLogger(__name__)


class Lost(NamedTuple):
    """A task that ended without a report: its worker or its machine has gone."""

    why: str


class Refused(NamedTuple):
    """A task that its machine could not do, whatever the block: *node* names the machine."""

    node: str
    why: str


class Finished(NamedTuple):
    """A task that has ended, on the machine called *node*, if that is known."""

    task: int
    outcome: BlockReport | Lost | Refused
    node: str = ""


class Pool(Protocol):
    """The machines of a cluster, as the driver uses them."""

    def room(self) -> int:
        """Return how many tasks more can begin soon; 0 where enough of them wait."""
        ...

    def idle(self) -> bool:
        """Return whether a task would begin at once."""
        ...

    def submit(self, block: Block, *, apart: bool, avoid: Sequence[str]) -> int:
        """Have *block* embedded on a machine that is none of *avoid*, and return the number of the task."""
        ...

    def wait(self, seconds: float) -> list[Finished]:
        """Return the tasks that have ended since the last call, after at most *seconds*."""
        ...

    def cancel(self, task: int) -> None:
        """End *task*, whose block is done."""
        ...

    def usable(self, avoid: Sequence[str]) -> bool:
        """Return whether there is, or may yet come, a machine that is none of *avoid*."""
        ...

    def close(self) -> None:
        """End all tasks."""
        ...


@dataclass(slots=True)
class _Attempt:
    """A block that is given to workers: how often it was *lost*, and the *tasks* that are at it now."""

    block: Block
    since: float = 0.0
    lost: int = 0
    tasks: set[int] = field(default_factory=set)


class ClusterEmbedding:
    """One run over staged images by the workers of a cluster; the counterpart of `Embedding`."""

    def __init__(
        self,
        catalog: Catalog,
        writer: Writer,
        staging: Staging,
        encoder: StoreEncoder,
        options: IndexOptions,
    ) -> None:
        """Embed images of *catalog* for *writer*, and note in *staging* what becomes of each image."""
        assert options.cluster is not None
        self._catalog = catalog
        self._writer = writer
        self._staging = staging
        self._encoder = encoder
        self._options = options
        self._cluster = options.cluster
        self._planning = Planning(catalog.images, writer, staging, encoder.spec, options)
        self._at_work: dict[str, _Attempt] = {}
        self._of_task: dict[int, str] = {}
        self._again: deque[_Attempt] = deque()
        self._refused: list[str] = []
        self._rates = Rates()
        self.embedded = 0
        self.complete = True
        self.seconds = 0.0
        self.stages = {stage: Stopwatch() for stage in ("planning", "embedding", "settling")}

    def run(self, report: ProgressCallback) -> None:
        """Have the staged images embedded that nobody has embedded, until the options say stop."""
        started = perf_counter()
        with Done(self._writer, self._staging, self._encoder.spec) as done:
            try:
                self._have_embedded(done, report)
            finally:  # before anything is settled: a worker that was forgotten is too late from now on
                end_runs(self._writer)
            if self.complete:
                with self.stages["settling"]:
                    self.embedded = done.settle(keep_stale=self._options.keep_stale, progress=report)
        if self.complete and self._planning.is_left:
            with self.stages["settling"]:
                self._embed_words(report)
        self.seconds = perf_counter() - started

    def _embed_words(self, report: ProgressCallback) -> None:
        """Do here what needs no image: vectors of items without one, and of those of which only words are others."""
        rest = Embedding(self._catalog.images, self._writer, self._staging, self._encoder, self._options)
        rest.embed(report)
        self.embedded += rest.embedded
        self.complete = rest.complete

    def _have_embedded(self, done: Done, report: ProgressCallback) -> None:
        blocks = self._timed(self._planning.blocks(done))
        first = next(blocks, None)
        if first is not None:
            self._again.append(_Attempt(first))
            with self.stages["embedding"]:
                self._embed(blocks, done, report)

    def _timed(self, blocks: Iterator[Block]) -> Iterator[Block]:
        while True:
            with self.stages["planning"]:
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def _embed(self, blocks: Iterator[Block], done: Done, report: ProgressCallback) -> None:
        """Have *blocks* embedded, a bounded number of them at a time."""
        pool = _ray(work_of(self._catalog, self._writer, self._encoder), self._cluster)
        heard = monotonic()
        try:
            while self._keep_at_work(blocks, pool):
                for finished in pool.wait(_POLL_S):
                    self._take(finished, pool, done)
                    heard = monotonic()
                if monotonic() > heard + _SILENT_S and not pool.usable(self._refused):
                    log.warning("no machine of the cluster has room for a task; waiting until one comes")
                    heard = monotonic()
                total = self._planning.total
                report(Progress("embedding", self._planning.passed + self._rates.images, total, str(self._rates)))
        finally:
            pool.close()

    def _keep_at_work(self, blocks: Iterator[Block], pool: Pool) -> bool:
        """Give blocks to workers that have room; return whether any is at work."""
        while pool.room():
            attempt = self._next(blocks)
            if attempt is None:
                break
            self._submit(attempt, pool)
        else:
            return True
        for attempt in list(self._at_work.values()):
            if self._straggles(attempt) and pool.idle():
                log.info("block %s takes long, and is given to a second worker", attempt.block.name)
                self._submit(attempt, pool)
        return bool(self._at_work)

    def _next(self, blocks: Iterator[Block]) -> _Attempt | None:
        if self._options.should_stop():
            self.complete = self.complete and not self._again and next(blocks, None) is None
            return None
        if self._again:
            return self._again.popleft()
        block = next(blocks, None)
        self.complete = self.complete and not self._planning.is_cut
        return None if block is None else _Attempt(block)

    def _submit(self, attempt: _Attempt, pool: Pool) -> None:
        attempt.since = monotonic()
        task = pool.submit(attempt.block, apart=attempt.lost >= _APART_FROM, avoid=self._refused)
        attempt.tasks.add(task)
        self._at_work[attempt.block.name] = attempt
        self._of_task[task] = attempt.block.name

    def _straggles(self, attempt: _Attempt) -> bool:
        """Whether *attempt* takes so much longer than other blocks that a second worker may be faster."""
        usual = self._rates.usual_seconds()
        if usual is None or len(attempt.tasks) > 1:
            return False
        return monotonic() - attempt.since > max(self._cluster.straggler_s, _STRAGGLES * usual)

    def _take(self, finished: Finished, pool: Pool, done: Done) -> None:
        name = self._of_task.pop(finished.task, None)
        attempt = self._at_work.get(name) if name is not None else None
        if attempt is None or finished.task not in attempt.tasks:
            return  # its twin was faster
        attempt.tasks.discard(finished.task)
        outcome = finished.outcome
        if isinstance(outcome, BlockReport):
            done.add(outcome.block, (image.number for image in attempt.block.images))
            self._rates.add(finished.node, outcome)
        elif isinstance(outcome, Refused):
            self._refuse(outcome, pool)
        else:
            attempt.lost += 1
            log.info("block %s is given to a worker again: %s", attempt.block.name, outcome.why)
            if attempt.lost >= _MOST_ATTEMPTS:
                raise ClusterError(
                    f"{attempt.lost} workers in a row could not embed a block of {len(attempt.block.images)} images "
                    f"({outcome.why}); what was embedded is kept, and the same command goes on from there"
                )
        if isinstance(outcome, BlockReport) or not attempt.tasks:
            del self._at_work[attempt.block.name]
        if isinstance(outcome, BlockReport):
            for twin in attempt.tasks:
                pool.cancel(twin)
        elif not attempt.tasks:
            self._again.append(attempt)

    def _refuse(self, refused: Refused, pool: Pool) -> None:
        if refused.node not in self._refused:
            self._refused.append(refused.node)
            log.warning("a machine of the cluster is not used: %s", refused.why)
        if not pool.usable(self._refused):
            raise ClusterError(f"no machine of the cluster can embed: {refused.why}")


def _ray(work: Work, options: ClusterOptions) -> Pool:
    from vision_recs.jobs.cluster.on_ray import RayPool

    return RayPool(work, options)


def work_of(catalog: Catalog, writer: Writer, encoder: StoreEncoder) -> Work:
    """Begin a run, and return what its workers are told."""
    place = begin_run(writer)
    root = "" if is_address(catalog.root) else catalog.root
    return Work(place.run, place, encoder.for_workers(), catalog.images, root)


class Planning:
    """Makes blocks of the staged images that no ledger knows, and that have to be read."""

    def __init__(
        self, source: ImageSource, writer: Writer, staging: Staging, spec: EncoderSpec, options: IndexOptions
    ) -> None:
        """Make blocks of the images in *staging*, whose signatures *source* tells, for vectors of *spec*."""
        self._source = source
        self._writer = writer
        self._staging = staging
        self._spec = spec
        self._words = words_of(spec.name)
        self._options = options
        self.total = staging.image_count()
        self.passed = 0
        self.is_cut = False
        self.is_left = False  # something that needs no image, and no worker

    def blocks(self, done: Done) -> Iterator[Block]:
        """Yield the blocks, one when it is asked for: all of them would fill the memory."""
        has_addresses = self._staging.has_addresses()
        images: list[tuple[Staged, str | None]] = []

        def block() -> Block:
            named = self._staging.names_colors
            name = block_name(
                self._spec.fingerprint, ((image.id, image.image, asked) for image, asked in images), names_colors=named
            )
            staged, asked = zip(*images, strict=True)
            return Block(name, staged, asked, has_addresses, named)

        for begun, (image, asked) in enumerate(self._unknown(done)):
            if begun == self._options.limit:
                self.is_cut = True
                break
            images.append((image, asked))
            if len(images) == self._options.shard_size:
                yield block()
                images = []
        if images:
            yield block()

    def _unknown(self, done: Done) -> Iterator[tuple[Staged, str | None]]:
        for page in pages(self._staging.images(attributes=reads_attributes(self._spec))):
            signatures = signatures_of(self._source, page)
            asked = asked_of(self._spec, page, signatures)
            each = zip(page, signatures, asked, done.mark(page, asked), strict=True)
            for image, signature, of_image, is_done in each:
                if is_done or self._needs_no_worker(image, signature):
                    self.passed += 1
                else:
                    yield self._told(image), of_image

    def _needs_no_worker(self, image: Staged, signature: str | None) -> bool:
        """Settle *image* where its bytes are those of the last generation; return whether they are.

        Where the encoder reads words, so it is with an image of which only these are others, and with none: they are
        left.
        """
        if self._words is not None and not image.image:
            self.is_left = True
            return True
        if image.digest is None or signature is None or image.signature != signature:
            return False
        digest = self._digest(image, image.digest)
        if self._writer.is_known(self._staging, digest):
            self._staging.set_digest(image, digest, signature)
            return True
        self.is_left = self.is_left or self._words is not None
        return self._words is not None

    def _told(self, image: Staged) -> Staged:
        """Return *image* as a worker is told of it: one with other words has to be read, whatever its bytes."""
        if image.digest is None or self._digest(image, image.digest) == image.digest:
            return image
        return replace(image, signature=None, digest=None)

    def _digest(self, image: Staged, known: bytes) -> bytes:
        """Return the digest that *image* has with the words of its item now, where *known* is that of before."""
        return known if self._words is None else digest_with(known, self._words.text_of(image.attributes))


class Rates:
    """How many images each machine embeds in a second."""

    def __init__(self) -> None:
        """Begin to count."""
        self.images = 0
        self._nodes: dict[str, tuple[float, int]] = {}
        self._seconds: deque[float] = deque(maxlen=1_000)

    def add(self, node: str, report: BlockReport) -> None:
        """Count the block of *report*, which the machine *node* has embedded."""
        self.images += report.images
        self._seconds.append(report.seconds)
        since, images = self._nodes.get(node, (monotonic() - report.seconds, 0))
        self._nodes[node] = since, images + report.images

    def usual_seconds(self) -> float | None:
        """Return the median of the seconds that a block took, None before the first one."""
        return median(self._seconds) if self._seconds else None

    def __str__(self) -> str:
        """Return the rates of the fastest machines as text: `node-1 31/s, node-2 30/s`."""
        now = monotonic()
        rates = {node: images / max(now - since, 1e-3) for node, (since, images) in self._nodes.items()}
        first = sorted(rates, key=lambda node: (-rates[node], node))[:_SHOWN]
        others = f" and {len(rates) - len(first)} others" if len(rates) > len(first) else ""
        return ", ".join(f"{node} {rates[node]:,.0f}/s" for node in first) + others
