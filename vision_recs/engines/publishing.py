"""`publish`: a generation of a store goes into an engine; run again, only the difference is written.

What was done is not written down anywhere but in the engine itself: the keys and hashes of its records are read, and
what differs from the store is written. So a first publication, one that goes on after a kill, the next generation and a
repair are the same run. Readers keep the generation that they have until the new one is proved; then one document is
replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from vision_recs._version import __version__
from vision_recs.engines.allocator import give_back_large_blocks
from vision_recs.engines.base import Engine, Report, Stage, connect
from vision_recs.engines.known import Content, KnownRecords, Pairs
from vision_recs.engines.published import CURRENT, Known, Published, read_known
from vision_recs.engines.records import StoreRecords
from vision_recs.engines.verifying import Proof, prove, require_content
from vision_recs.errors import EngineDamaged, EngineError, NothingPublished, PublishRefused
from vision_recs.indexes.exact import ExactIndex
from vision_recs.ordered_map import ordered_map
from vision_recs.store import Store
from vision_recs.store.layout import Layout
from vision_recs.store.layout import read_current as read_current_file
from vision_recs.types import ItemSource, VectorIndex

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_RECALL = 0.95
"""The recall@10 that is wished where the store does not say."""

_SAMPLE = 1_024  # vectors, of which a history needs 256
_DELETED_AT_ONCE = 1_000
_MADE_AT_ONCE = 10_000  # records: more would not stay in the caches of the processor
_WINDOW = 3  # times so many are made while others are written


def _silent(stage: str, done: int, total: int | None) -> None:
    del stage, done, total


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How a generation is published.

    With *dry_run*, nothing is written. With *rewrite*, every record is written again, also those that look right. The
    newest *keep* generations are kept to go back to. *batch_size* records are written at once, and up to three times as
    many are in memory.
    """

    dry_run: bool = False
    rewrite: bool = False
    keep: int = 2
    batch_size: int = 30_000

    def __post_init__(self) -> None:
        """Raise ValueError for a value that is out of range."""
        if self.keep < 1 or self.batch_size < 1:
            raise ValueError(f"keep is {self.keep} and batch_size {self.batch_size}; use 1 or more")


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What was published, or would be with a *dry_run*.

    *inserted*, *replaced*, *deleted* and *unchanged* count records, one for each image of an item. *before* is the
    generation that readers had before. *recall* is recall@10 of searches in the engine, *filtered_recall* the lowest of
    those with a filter, and *effort* what a search needs for it; they are None where nothing was proved. *kept* are the
    generations to which one can go back, with the published one. *notes* are sentences of what was not as it should be.
    """

    uri: str
    generation: int
    before: int | None
    space: str
    items: int
    images: int
    inserted: int
    replaced: int
    deleted: int
    unchanged: int
    recall: float | None
    filtered_recall: float | None
    effort: int | None
    kept: list[int]
    notes: list[str]
    dry_run: bool
    seconds: float


def publish(
    uri: str, store: str | Path = ".visrec", *, options: PublishOptions | None = None, progress: Report = _silent
) -> PublishReport:
    """Publish the generation of the store in the folder *store* to the engine at *uri*, and return what was done.

    A run that was killed goes on where it was. The engine switches to the generation when all of its records are there
    and searches find what exact search in the store finds. Raises StoreError, EngineError, and PublishRefused where the
    engine has a newer generation, or one of another store.

    From then on, the C library of this process gives freed memory back sooner: see `give_back_large_blocks`.
    """
    give_back_large_blocks()
    with Store.open(store) as opened, closing(connect(uri)) as engine:
        opened.pin()
        return Publication(engine, Source.of_store(opened), options or PublishOptions(), progress).run()


def rollback(uri: str) -> tuple[int, int]:
    """Let readers of the engine at *uri* open the generation before the one they have; return the two, old and new.

    One that was gone back from before, or that does not open, is passed over. Raises NothingPublished where no older
    generation is kept.
    """
    with closing(connect(uri)) as engine:
        with ThreadPoolExecutor(1) as reader:  # a server of Milvus takes .2 s for each read
            names = reader.submit(engine.documents.names)
            known = read_known(engine)
        # the newest was published last: it is the one that a damaged document named
        current = known.current or next((each for each in known.kept if not each.withdrawn), None)
        older = [] if current is None else known.before(current.generation)
        chosen = next((each for each in older if _opens(engine, each, names.result())), None)
        if current is None or chosen is None:
            why = f"{engine.uri} keeps no generation before the one that is published"
            for lost in older[:1]:
                why += f": generation {lost.generation} is lost: somebody has removed its records or documents"
            raise NothingPublished(f"{why}; readers keep what they have" if older else why)
        if not engine.documents.swap(CURRENT, chosen.to_bytes(), known.document):
            raise _another_publishes(engine)
        engine.documents.write(current.document, replace(current, withdrawn=True).to_bytes())
        return current.generation, chosen.generation


def _another_publishes(engine: Engine) -> PublishRefused:
    return PublishRefused(f"somebody else publishes to {engine.uri} at the same time; run it again")


def _opens(engine: Engine, published: Published, documents: Sequence[str]) -> bool:
    """Tell whether all that readers need of *published* is there; *documents* are the names of those that are."""
    needed = {published.sample_document, published.projection_document or published.sample_document}
    try:
        engine.open(published.token).close()
    except EngineDamaged:
        return False
    return needed <= set(documents)


@dataclass(frozen=True, slots=True)
class Source:
    """The generation to publish: its *records*, what is said of it, and what its answers are compared with.

    *digests* are those of the manifests that the store still has, by generation.
    """

    records: StoreRecords
    published: Published
    items: ItemSource
    exact: VectorIndex
    digests: Mapping[int, str]
    projection: bytes | None = None
    target_recall: float = DEFAULT_RECALL

    @classmethod
    def of_store(cls, store: Store) -> Source:
        """Return the generation of *store*."""
        manifest = store.manifest
        projection = manifest.projection
        published = Published(
            generation=store.generation,
            source=read_current_file(store.layout)[1],
            token="",
            created=manifest.created,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            visrec=__version__,
            space=store.fingerprint,
            dim=store.dim,
            encoder=store.encoder,
            weights_file=store.weights_file,
            canary=manifest.canary,
            projection=None if projection is None else projection.digest,
            catalog=manifest.catalog.location,
            items=store.item_count,
            images=store.image_count,
            content="",
            kinds={},
            attribute_types=store.attribute_types(),
            store=manifest.store,
        )
        data = None if projection is None else store.layout.projection(projection.digest).read_bytes()
        target = float((manifest.index_config or {}).get("target_recall", DEFAULT_RECALL))
        return cls(StoreRecords(store), published, store, ExactIndex(store), _digests(store.layout), data, target)


def _digests(layout: Layout) -> dict[int, str]:
    """Return the SHA-256 of each manifest of the store, by generation."""
    manifests = {number: layout.manifest(number) for number in layout.known_generations()}
    return {number: hashlib.sha256(path.read_bytes()).hexdigest() for number, path in manifests.items()}


class _Gathered:
    """Records that are to be written: they are gathered until there are enough for one write."""

    def __init__(self, write: Callable[[pa.Table], None], options: PublishOptions) -> None:
        """Let *write* write them; nothing is written in a dry run."""
        self.count = 0
        self._write = write
        self._options = options
        self._tables: list[pa.Table] = []

    def add(self, table: pa.Table, rows: list[int]) -> None:
        """Add these *rows* of *table*."""
        self.count += len(rows)
        if rows and not self._options.dry_run:
            self._tables.append(table if len(rows) == len(table) else table.take(rows))
            if sum(map(len, self._tables)) >= self._options.batch_size:
                self.write()

    def write(self) -> None:
        """Write what was gathered."""
        import pyarrow as pa

        tables, self._tables = self._tables, []
        if tables:
            self._write(pa.concat_tables(tables))


class Publication:
    """One run of `publish`."""

    def __init__(self, engine: Engine, source: Source, options: PublishOptions, report: Report) -> None:
        """Publish *source* to *engine*."""
        self._engine = engine
        self._source = source
        self._options = options
        self._report = report
        self._counts = {"inserted": 0, "replaced": 0, "deleted": 0, "unchanged": 0}
        self._notes: list[str] = []

    def run(self) -> PublishReport:
        """Publish, and return what was done."""
        started = perf_counter()
        known = self._require_newer()
        self._notes += [f"the document {name!r} was damaged and is left out" for name in known.unreadable]
        current = known.current
        old = frozenset([*self._engine.tokens(), *self._engine.documents.names()])
        records = self._source.records
        stage = self._engine.stage(records.schema, None if current is None else current.token)
        content = self._write(stage)
        published, proof = replace(self._source.published, content=content, kinds=records.kinds), None
        if not self._options.dry_run:
            token = stage.seal(published.document, self._report)
            published, proof = self._prove(replace(published, token=token))
            self._switch(published)
            self._forget(old)
        return self._summary(current, published, proof, perf_counter() - started)

    def _require_newer(self) -> Known:
        """Return what the engine knows; raises PublishRefused where the generation must not replace what is there."""
        mine, known = self._source.published, read_known(self._engine)
        newest = known.newest
        if newest is None:
            return known
        is_other = newest.store != mine.store and "" not in {newest.store, mine.store}
        if is_other or self._source.digests.get(newest.generation, newest.source) != newest.source:
            raise PublishRefused(
                f"{self._engine.uri} has generation {newest.generation} of another store; publish to another URI"
            )
        if newest.generation > mine.generation:
            raise PublishRefused(
                f"{self._engine.uri} has generation {newest.generation}, newer than generation {mine.generation} of "
                "the store; go back with --rollback, or publish a new store to another URI"
            )
        return known

    def _write(self, stage: Stage) -> str:
        """Write what differs, and return the digest of all records."""
        self._report("reading what is there", 0, None)
        known = KnownRecords(stage.known())
        self._delete(stage, known.strange)
        content, done = Content(), 0
        new = _Gathered(stage.insert, self._options)
        changed = _Gathered(stage.replace, self._options)

        def write(table: pa.Table) -> int:
            pairs = Pairs.of(table)
            content.add(pairs)
            different = known.difference(pairs, rewrite=self._options.rewrite)
            new.add(table, different.new)
            changed.add(table, different.changed)
            return len(table)

        with ThreadPoolExecutor(1) as writer:  # the engine writes some records while the next ones are made
            tables = self._source.records.tables(min(_MADE_AT_ONCE, self._options.batch_size))
            for count in ordered_map(writer, write, tables, window=_WINDOW):
                done += count
                self._report("publishing", done, self._source.published.images)
        new.write()
        changed.write()
        self._counts |= {"inserted": new.count, "replaced": changed.count}
        self._counts["unchanged"] = done - new.count - changed.count
        self._delete(stage, known.unmet())
        return content.digest()

    def _delete(self, stage: Stage, keys: list[str]) -> None:
        self._counts["deleted"] += len(keys)
        for start in range(0, 0 if self._options.dry_run else len(keys), _DELETED_AT_ONCE):
            stage.delete(keys[start : start + _DELETED_AT_ONCE])

    def _prove(self, published: Published) -> tuple[Published, Proof]:
        """Return *published* with what its searches need, and how well it answers; raises EngineDamaged."""
        sample = self._source.items.sample_vectors(_SAMPLE)
        self._engine.documents.write(published.sample_document, sample.astype("<f4").tobytes())
        if published.projection_document is not None and self._source.projection is not None:
            self._engine.documents.write(published.projection_document, self._source.projection)
        with closing(self._engine.open(published.token)) as table:
            require_content(table, published.content, self._engine.uri, self._report)
            proof = prove(
                self._engine,
                published,
                table,
                self._source,
                target=self._source.target_recall,
                report=self._report,
            )
        return published.with_search(proof.effort, min(proof.recall, proof.filtered_recall)), proof

    def _switch(self, published: Published) -> None:
        """Let readers open *published*, unless a newer generation was published meanwhile, or this one dropped."""
        known = self._require_newer()
        current = known.current
        if current is not None and replace(published, published=current.published) == current:
            published = current  # the same again: no document changes
        for each in [] if current is None else known.unsettled(current):
            self._engine.documents.write(each.document, each.to_bytes())
        data, is_whole = published.to_bytes(), _opens(self._engine, published, self._engine.documents.names())
        is_there = data == known.document
        if not is_whole or not (is_there or self._engine.documents.swap(CURRENT, data, known.document)):
            raise _another_publishes(self._engine)
        self._engine.documents.write(published.document, published.to_bytes())

    def _forget(self, old: frozenset[str]) -> None:
        """Give up the generations that are not to be kept, and what stopped runs have left.

        *old* are the tokens and documents that were there at the beginning: what is younger may be of a publication
        that is not at its end. What cannot be removed is left to the next run: readers have their generation.
        """
        try:
            known = read_known(self._engine)
            if (current := known.current) is None:
                return
            stays = [current, *known.before(current.generation)[: self._options.keep - 1]]
            stays += [each for each in known.kept if each.generation >= current.generation]
            tokens = {each.token for each in stays}
            names = {CURRENT}
            for each in stays:
                names |= {each.document, each.sample_document, each.projection_document or CURRENT}
            self._engine.documents.delete([each for each in self._engine.documents.names() if each in old - names])
            self._engine.drop([each for each in self._engine.tokens() if each in old - tokens])
        except EngineError as error:
            self._notes.append(f"older generations could not be removed, and are tried again next time: {error}")

    def _summary(
        self, current: Published | None, published: Published, proof: Proof | None, seconds: float
    ) -> PublishReport:
        return PublishReport(
            uri=self._engine.uri,
            generation=published.generation,
            before=None if current is None else current.generation,
            space=published.space,
            items=published.items,
            images=published.images,
            **self._counts,
            recall=None if proof is None else proof.recall,
            filtered_recall=None if proof is None else proof.filtered_recall,
            effort=None if proof is None else proof.effort,
            kept=sorted(each.generation for each in read_known(self._engine).kept if not each.withdrawn),
            notes=self._notes,
            dry_run=self._options.dry_run,
            seconds=round(seconds, 3),
        )
