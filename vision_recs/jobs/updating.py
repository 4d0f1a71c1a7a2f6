"""`update`: changes of a catalog become the next generation, at the price of the changes."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_recs._version import __version__
from vision_recs.catalog.changes import Change, changes_of, read_changes
from vision_recs.catalog.value_types import ValueTypes
from vision_recs.errors import EmptyCatalog, SpaceMismatch, StoreError
from vision_recs.filters import AttributeType
from vision_recs.jobs.options import IndexOptions, UpdateReport
from vision_recs.jobs.progress import Progress, ProgressCallback, silent
from vision_recs.jobs.publish import NO_INDEX, index_config_of, publish
from vision_recs.store import Manifest, Staging, Store, Writer, canary_vector, open_writer
from vision_recs.store.difference import Difference
from vision_recs.store.partitions import Partition, Stores, is_several, no_store, store_folders
from vision_recs.store.staging import attributes_text
from vision_recs.store.stored_items import StoredItem
from vision_recs.store.writer import Settled
from vision_recs.types import Attribute, Encoder, ImageSource, Item

if TYPE_CHECKING:  # a change of attributes needs no encoder
    from vision_recs.encoders import StoreEncoder
    from vision_recs.encoders.words import Words
    from vision_recs.jobs.embedding import Embedding

_AT_ONCE = 2_000


def update(  # noqa: PLR0913 - one more than `index` takes
    changes: str | Path | Iterable[Mapping[str, object]],
    store: Stores = ".visrec",
    *,
    encoder: Encoder | None = None,
    images: ImageSource | None = None,
    options: IndexOptions | None = None,
    progress: ProgressCallback = silent,
) -> UpdateReport:
    """Change items of the store in the folder *store*, publish that as one generation, and return what was done.

    *changes* is the path of a table (see `read_changes`), or mappings as its lines would be. `{"id": "mug-01", "price":
    12.9}` changes an attribute, and `{"id": "mug-01", "deleted": True}` removes the item. A change with an image adds
    an item that is new; one that there is shows that image instead of those it had. All changes are made or none. A
    change whose `version` is not higher than that of the item does nothing, so changes may come twice and in any order.

    New images are embedded by the encoder of the store, or by *encoder*, which must be the same one; *images* reads
    them where they do not lie in files. Of *options*, those of reading, embedding and stopping count.

    In a catalog that is split, where *store* names its partitions, each change is made in the partition of its item,
    and each partition publishes by itself.

    Raises CatalogError, EncoderError, StoreError, SpaceMismatch, and EmptyCatalog where no item would be left.
    """
    how = How(encoder, images, options or IndexOptions(), progress)
    notes: dict[str, None] = {}
    seen = [ValueTypes()]
    if is_several(store):
        from vision_recs.jobs.partitioned import changes_in, update_partitions

        reports = update_partitions([changes_in(changes, how.options, notes)], store, how, seen)
    else:

        def read(base: Store) -> Iterator[Change]:
            if isinstance(changes, str | Path):
                return read_changes(changes, how.options.catalog, base.attribute_types, notes)
            return changes_of(changes, how.options.catalog, notes)

        reports = update_store([read], store_folders(store)[0], how, seen)
    return _noted(reports, seen, notes)[0]


def update_together(
    parts: Sequence[Sequence[Change]],
    store: Stores,
    *,
    encoder: Encoder | None = None,
    images: ImageSource | None = None,
    options: IndexOptions | None = None,
) -> list[UpdateReport]:
    """Do what `update` does for all *parts* in one generation: first all changes of the first part, and so on.

    Return a report for each part: its *changes*, *stale*, *unknown* and *notes* are those of the part, all else is that
    of the parts together.
    """
    readers = [lambda _, part=part: iter(part) for part in parts]
    how = How(encoder, images, options or IndexOptions(), silent)
    seen = [ValueTypes() for _ in parts]
    if is_several(store):
        from vision_recs.jobs.partitioned import update_partitions

        reports = update_partitions(readers, store, how, seen)
    else:
        reports = update_store(readers, store_folders(store)[0], how, seen)
    return _noted(reports, seen)


def _noted(
    reports: Sequence[UpdateReport], seen: Sequence[ValueTypes], notes: Iterable[str] = ()
) -> list[UpdateReport]:
    """Return *reports* with *notes*, and with what there is to say of the values that were *seen* in each part."""
    return [
        replace(report, notes=(*notes, *types.notes("attribute", "change")))
        for report, types in zip(reports, seen, strict=True)
    ]


class How(NamedTuple):
    """How an update embeds new images, and to what it tells how far it is: see `update`."""

    encoder: Encoder | None
    images: ImageSource | None
    options: IndexOptions
    progress: ProgressCallback


def update_store(
    parts: Sequence[Callable[[Store], Iterable[Change]]], store: Path, how: How, seen: Sequence[ValueTypes]
) -> list[UpdateReport]:
    """Make the changes of all *parts* one generation of the store in the folder *store*; return a report for each part.

    *seen* counts, for each part, the values that were changed, and knows the types of those that there were. Raises
    StoreError for an item of another partition.
    """
    started = perf_counter()
    encoder, images, options, progress = how
    with open_writer(store) as writer, closing(_Queue()) as queue:
        base = _base(writer)
        reports = [
            UpdateReport(changes=queue.fill(part, _own_changes(base, read(base)), progress))
            for part, read in enumerate(parts)
        ]
        staging = writer.stage_changes(base.manifest.encoder)
        try:
            staged = _stage(queue, staging, base, reports, seen)
            embedding = None
            if staging.image_count():
                chosen = _encoder_of(base.manifest, encoder, options)
                source = images or _images_of(base, options.catalog.images_below)
                embedding = _embed(source, chosen, (writer, staging, options), progress)
            complete = embedding is None or embedding.complete
            settled = writer.settle(staging) if complete else None
            manifest = _publish(writer, settled, progress) if settled else None
            if embedding is not None and complete:
                embedding.settle()
        finally:
            staging.close()
    published = manifest or base.manifest
    skipped = settled.difference.skipped_reasons if settled else {}
    return [
        replace(
            report,
            **_counts(settled.difference, report) if settled else {},
            items=published.items,
            images=published.shown_images,
            skipped=sum(skipped.values()),
            skipped_in_store=published.skipped,
            merged_in_index=published.merged_since(base.manifest),
            skipped_reasons=skipped,
            stale_images=settled.difference.stale_reasons if settled else {},
            generation=published.generation,
            embedded=embedding.embedded if embedding else 0,
            complete=complete,
            seconds=round(perf_counter() - started, 3),
        )
        for report in staged
    ]


def _own_changes(base: Store, changes: Iterable[Change]) -> Iterator[Change]:
    """Yield *changes*; raises StoreError for an item of another partition than that of *base*."""
    if base.manifest.partition is None:
        yield from changes
        return
    own = Partition(*base.manifest.partition)
    for change in changes:
        if not own.has(change.id):
            raise StoreError(
                f"the item {change.id!r} belongs to another partition of the catalog than {base.layout.root}, which is "
                f"{own}; update the folder of all partitions"
            )
        yield change


def _counts(difference: Difference, report: UpdateReport) -> dict[str, Any]:
    """Return what became of the items; *report* says how many of those that there were are named, as `unchanged`."""
    changed, removed = difference.altered, difference.removed
    unchanged = max(0, report.unchanged - changed - removed)
    return {"changed": changed, "added": difference.added, "removed": removed, "unchanged": unchanged}


def _images_of(base: Store, below: str | None) -> ImageSource:
    """Return what reads the images of *base*: files only *below* a folder, if one is named."""
    from vision_recs.catalog.image_files import ImageFiles

    source = base.image_source
    return source if below is None or not isinstance(source, ImageFiles) else source.below(below).in_own_bucket()


def _base(writer: Writer) -> Store:
    if writer.base is None:
        raise no_store(writer.layout.root)
    return writer.base


class _Queue:
    """Changes that were read, in a temporary database: those of an item together, in the order in which they came."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute(
            "CREATE TABLE changes (number INTEGER PRIMARY KEY, part INTEGER, id TEXT, content TEXT)"
        )

    def fill(self, part: int, changes: Iterator[Change], progress: ProgressCallback) -> int:
        """Take all *changes*, those of *part*, and return how many there are; so an error in them costs nothing."""
        count = 0
        while some := list(islice(changes, _AT_ONCE)):
            rows = (
                (part, each.id, json.dumps([each.version, each.deleted, each.images, each.attributes, each.is_row]))
                for each in some
            )
            self._connection.executemany("INSERT INTO changes (part, id, content) VALUES (?, ?, ?)", rows)
            count += len(some)
            progress(Progress("reading the changes", count, None))
        return count

    def items(self) -> Iterator[tuple[str, list[tuple[int, Change]]]]:
        """Yield each item that changes, with the part and the content of its changes; by id."""
        ordered = self._connection.execute("SELECT id, part, content FROM changes ORDER BY id, number")
        for item, rows in groupby(ordered, key=itemgetter(0)):
            yield item, [(part, _change(item, json.loads(content))) for _, part, content in rows]

    def close(self) -> None:
        self._connection.close()


def _change(item: str, content: Sequence[Any]) -> Change:
    version, deleted, images, attributes, is_row = content
    return Change(item, version, deleted, None if images is None else tuple(images), attributes, is_row)


class _Fate(Enum):
    """What became of a change."""

    MADE = auto()
    STALE = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class _State:
    """An item while its changes are made: *item* is None where it is gone; *images* where they are as stored."""

    attributes: dict[str, Attribute] | None
    images: tuple[str, ...] | None
    version: int | None

    def make(self, change: Change, words: Words | None) -> _Fate:
        """Make *change*, unless it is stale or of an item that is not known.

        An item is added that has an image, or one of the *words* that are in the vectors of the store, if any are.
        """
        if change.version is not None and self.version is not None and change.version <= self.version:
            return _Fate.STALE
        can_be_added = change.images is not None or (words is not None and words.text_of(change.attributes) != "")
        is_unknown = self.attributes is None and (change.deleted or not can_be_added)
        if is_unknown and not change.deleted:
            return _Fate.UNKNOWN
        if change.deleted:
            self.attributes = self.images = None
        else:
            self.attributes = {**(self.attributes or {}), **change.attributes}
            together = (*(self.images or ()), *change.images) if change.is_row and change.images else change.images
            self.images = tuple(dict.fromkeys(together)) if together else self.images
        self.version = self.version if change.version is None else change.version
        return _Fate.UNKNOWN if is_unknown else _Fate.MADE


def _stage(
    queue: _Queue, staging: Staging, base: Store, reports: Sequence[UpdateReport], seen: Sequence[ValueTypes]
) -> list[UpdateReport]:
    """Stage the items of *queue* as they are after their changes; return *reports* with what became of the changes.

    Every item that there was and that is named counts as unchanged, until that is known better.
    """
    fates: Counter[tuple[int, _Fate]] = Counter()
    named = 0
    known = _types_of(base)
    for types in seen:
        types.know(known)
    words = _words_of(base)
    items = queue.items()
    while some := list(islice(items, _AT_ONCE)):
        ids = [item for item, _ in some]
        stored, versions = base.items.stored.items(ids), base.items.stored.versions(ids)
        for item, changes in some:
            before = stored.get(item)
            attributes = None if before is None else json.loads(before.attributes)
            state = _State(attributes, None, versions.get(item))
            for part, change in changes:
                fate = state.make(change, words)
                fates[part, fate] += 1
                if fate is _Fate.MADE:
                    seen[part].see(item, change.attributes)
            named += before is not None and any(image.position is not None for image in before.images)
            _stage_item(staging, item, before, _After(state, versions.get(item), words))
    return [
        replace(
            report,
            stale=fates[part, _Fate.STALE],
            unknown=fates[part, _Fate.UNKNOWN],
            unchanged=named,
        )
        for part, report in enumerate(reports)
    ]


def _types_of(base: Store) -> Mapping[str, AttributeType]:
    """Return the types of the attributes of *base*; none where their columns are damaged, which are then mended."""
    try:
        columns = base.attribute_columns()
        if not columns:
            return base.attribute_types()
        types = ValueTypes()
        for each in columns:
            types.know(each.attribute_types)
    except StoreError:
        return {}
    return types.known


class _After(NamedTuple):
    """The *state* of an item that had *version*, in a store whose vectors have the *words* of items, if any."""

    state: _State
    version: int | None
    words: Words | None


def _words_of(base: Store) -> Words | None:
    """Return what puts the words of items into the vectors of *base*; encoders are not imported for others."""
    if "+words:" not in base.encoder.name:
        return None
    from vision_recs.encoders.words import words_of

    return words_of(base.encoder.name)


def _stage_item(staging: Staging, item: str, before: StoredItem | None, after: _After) -> None:
    """Stage *item*, which was *before*, as it is *after* its changes, if that is anything else."""
    state, version, words = after
    if state.attributes is None:
        if before is not None or state.version != version:
            staging.remove([item], {item: state.version} if state.version is not None else {})
        return
    text = attributes_text(state.attributes)
    if before is not None and state.images is None:
        if text != before.attributes or state.version != version:
            has_other_words = words is not None and words.text_of(text) != words.text_of(before.attributes)
            stored = StoredItem(text, before.images)
            staging.add_stored(item, stored, version=state.version, has_other_words=has_other_words)
        return
    images = state.images or ()
    own = {each.image: json.loads(each.attributes) for each in before.images} if before else {}
    of_images = tuple(own.get(image, {}) for image in images) if any(own.values()) else ()
    staging.add(Item(item, images, state.attributes, of_images), before, version=state.version)


def _encoder_of(base: Manifest, encoder: Encoder | None, options: IndexOptions) -> StoreEncoder:
    """Return the encoder of the generation *base*; raises SpaceMismatch for another one."""
    from vision_recs.jobs.indexing import named_encoder

    chosen = named_encoder(encoder, options, base)
    if chosen.spec != base.encoder:
        raise SpaceMismatch(
            f"the store holds vectors of {base.encoder.name} [{base.encoder.fingerprint}], these would be of "
            f"{chosen.spec.name} [{chosen.spec.fingerprint}]; give the same encoder, or run `visrec index`"
        )
    chosen.expect_canary(canary_vector(base.canary))
    return chosen


def _embed(
    source: ImageSource,
    encoder: StoreEncoder,
    run: tuple[Writer, Staging, IndexOptions],
    progress: ProgressCallback,
) -> Embedding:
    from vision_recs.jobs.embedding import Embedding

    writer, staging, options = run
    embedding = Embedding(source, writer, staging, encoder, options)
    embedding.run(progress)
    return embedding


def _publish(writer: Writer, settled: Settled, progress: ProgressCallback) -> Manifest | None:
    """Publish what is settled; return None where it changes nothing."""
    base = _base(writer)
    if settled.counts.images == 0:
        raise EmptyCatalog("the changes leave no item with an image; the store is as it was")
    draft = writer.draft(settled, base.manifest.encoder)
    if draft is None:
        return None
    manifest = replace(
        base.manifest,
        generation=draft.generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        visrec=__version__,
        items=draft.counts.items,
        images=draft.counts.images,
        imageless=draft.counts.imageless,
        skipped=draft.counts.skipped,
        shards=draft.shards,
        next_position=draft.next_position,
        items_files=draft.items_files,
    )
    config = None if base.manifest.index_type == NO_INDEX else index_config_of(base)
    return publish(writer, manifest, config, progress, trust_index=True)
