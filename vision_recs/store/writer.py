"""Writing a store: one writer, whose work is invisible until the last file, CURRENT, is replaced."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.errors import StoreDamaged, StoreError, StoreUnavailable, read_error
from vision_recs.store.atomic_files import (
    atomic_move_file,
    atomic_move_files,
    atomic_move_folder,
    atomic_remove,
    atomic_write,
    digest_problem,
    disk_errors,
    fsync_path,
    sha256_file,
)
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.attributes.write import write_attribute_columns
from vision_recs.store.bucket.mark import address_of, folder_of
from vision_recs.store.difference import Difference
from vision_recs.store.items import Items
from vision_recs.store.layers import MOST_DELTAS, SCHEMA, add_bitmap, merge
from vision_recs.store.layout import (
    ItemsEntry,
    Layout,
    Manifest,
    ProjectionEntry,
    ShardEntry,
    current_bytes,
    read_current,
    read_manifest,
)
from vision_recs.store.lock import locked_folder, restore_current
from vision_recs.store.projections import Projection
from vision_recs.store.repair import repair_derived, write_skipped
from vision_recs.store.shard_use import are_worth_a_base, copy_shards, groups_to_copy, shards_in_use
from vision_recs.store.shards import Embedded, read_images, read_shard_info, shard_problems, write_shard
from vision_recs.store.staging import Counts, Outcome, Staging
from vision_recs.store.store import Store
from vision_recs.store.stored_items import Skipped
from vision_recs.types import EncoderSpec, Vectors

if TYPE_CHECKING:  # a store in no bucket does without
    from vision_recs.store.bucket.pushing import BucketWriter

_FEW_ITEMS = 1_000  # of which a new base is written as quickly as a delta
_MOST_CHANGED = 0.05  # of the items: more deltas would slow readers down
_GROWTH = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of a generation that are finished but not published; the fields are those of the manifest."""

    generation: int
    counts: Counts
    shards: tuple[ShardEntry, ...]
    next_position: int
    items_files: tuple[ItemsEntry, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """Finished items that are not in place: the file *made*, which is a delta of *base*, unless that is None.

    *first_skipped* is the first of the images in the file that could not be used, if none could.
    """

    base: Store | None
    made: Path
    difference: Difference
    counts: Counts
    first_skipped: Skipped | None


class Writer:
    """The one writer of the store in a folder; made by `open_writer`, which holds the lock."""

    def __init__(self, layout: Layout, base: Store | None, bucket: BucketWriter | None = None) -> None:
        """Continue from the generation *base*, if there is one; *bucket* is where a copy of a bucket is pushed to."""
        self.layout = layout
        self.base = base
        self.bucket = bucket
        self.generation = 1 + (base.generation if base else max(layout.known_generations(), default=0))
        self._shards: dict[str, ShardEntry] = {}
        self._reusable_rows: dict[str, int] = {}
        self._next_position = 0
        self._distrusted: set[str] = set()
        self._trusts_base_items = True
        self._space = ""
        self._offered = False

    def stage(self, spec: EncoderSpec, *, retry_skipped: bool = False, names_colors: bool = False) -> Staging:
        """Begin to collect the items of a generation of vectors of the space of *spec*.

        What the last generation has is used again where it is of the same space and not damaged, and names colors if
        this one does; so are the vectors of shards that no generation uses.
        """
        base = self._usable_base(spec, names_colors=names_colors)
        if base is not None:
            problems = dict(_problems(self.layout, base.manifest.shards))
            if problems and self.bucket is not None:
                self.bucket.mend_copy()
                problems = dict(_problems(self.layout, base.manifest.shards))
            for shard, problem in problems.items():
                self._distrust(shard, problem)
        return self._begin(base, spec, is_whole=True, retry_skipped=retry_skipped, names_colors=names_colors)

    def stage_changes(self, spec: EncoderSpec) -> Staging:
        """Begin to collect changes of the last generation, which must be of the space of *spec*.

        Nothing is compared with its digest: an update costs what it changes. Vectors are not copied either, and
        `visrec verify` finds what was altered.
        """
        assert self.base is not None
        named = self.base.manifest.names_colors
        return self._begin(self.base, spec, is_whole=False, retry_skipped=False, names_colors=named)

    def _begin(
        self, base: Store | None, spec: EncoderSpec, *, is_whole: bool, retry_skipped: bool, names_colors: bool
    ) -> Staging:
        self._next_position = 0
        self._space, self._offered = spec.fingerprint, False
        if self.base and self.base.manifest.encoder == spec:
            self._next_position = self.base.manifest.next_position
        entries = base.manifest.shards if base else ()
        self._shards = {shard.name: shard for shard in entries if shard.name not in self._distrusted}
        damaged = [(each.first_position, each.stop_position) for each in entries if each.name in self._distrusted]
        return Staging(
            self.layout.tmp / "items.sqlite",
            base.items.stored if base else None,
            is_whole=is_whole,
            is_trusted=(lambda position: not any(first <= position < stop for first, stop in damaged))
            if damaged
            else None,
            retry_skipped=retry_skipped,
            names_colors=names_colors,
        )

    def _usable_base(self, spec: EncoderSpec, *, names_colors: bool) -> Store | None:
        """Return the last generation if it is of the space of *spec*, and its items files are what they were.

        One that names colors where this one does not, or the other way round, is none.
        """
        if self.base is None:
            return None
        for entry in self.base.manifest.items_files:
            problem = digest_problem(self.layout.items(entry.generation), entry.digest)
            if problem is not None:
                log.warning("%s; every image is read again", problem)
                self._trusts_base_items = False
                return None
        if (self.base.manifest.encoder, self.base.manifest.names_colors) != (spec, names_colors):
            return None
        with disk_errors(self.layout.root):
            repair_derived(self.layout, self.base.manifest.items_files)
        return self.base

    def _offer_spare_shards(self, staging: Staging) -> None:
        """Offer *staging* the vectors of the shards that the last generation does not use."""
        self._offered = True
        with disk_errors(self.layout.root):
            folders = sorted(folder for folder in self.layout.shards.iterdir() if folder.is_dir())
        for folder in folders:
            if folder.name in self._shards or folder.name in self._distrusted:
                continue
            try:
                info = read_shard_info(folder)
                if info.space == self._space:
                    staging.add_reusable(folder.name, read_images(folder, info))
                    self._reusable_rows[folder.name] = info.rows
            except StoreDamaged as error:
                self._distrust(folder.name, str(error))

    def crashed(self) -> list[bytes]:
        """Return the digests of the images that crashed their decoder in the last generation, or were too slow."""
        if self.base is None or not self._trusts_base_items:
            return []
        return self.base.items.stored.digests_skipped_for(["crashed", "too-slow"])

    def is_known(self, staging: Staging, digest: bytes) -> bool:
        """Whether the outcome of the images with *digest* is known: to *staging*, or because a shard has the vector."""
        if staging.has_outcome(digest):
            return True
        if not self._offered:  # which reads every one of them: only now that there is an image to embed
            self._offer_spare_shards(staging)
        while found := staging.reusable(digest):
            shard, row, added = found
            problem = None if shard in self._shards else next(shard_problems(self.layout.shard(shard)), None)
            if problem is None:
                position = self._first_position(shard, self._reusable_rows[shard]) + row
                staging.set_outcome(digest, position=position, added=added)
                return True
            self._distrust(shard, problem)
            staging.drop_reusable(shard)
        return False

    def add_shard(self, staging: Staging, space: str, embedded: Sequence[Embedded], vectors: Vectors) -> None:
        """Write what was embedded as a shard, durably, and record the outcomes; without vectors there is no shard."""
        first = 0
        if len(vectors):
            with disk_errors(self.layout.root):
                name = write_shard(self.layout, space, embedded, vectors)
                first = self._first_position(name, len(vectors))
        staging.set_outcomes(
            [
                Outcome(
                    image.digest,
                    None if image.row is None else first + image.row,
                    image.reason,
                    image.message,
                    image.added,
                )
                for image in embedded
            ]
        )

    def adopt_shard(self, name: str, rows: int) -> int:
        """Use the shard *name* of *rows* vectors, which a worker has written; return the position of its first one."""
        return self._first_position(name, rows)

    def settle(self, staging: Staging) -> Settled:
        """Return what the finished *staging*, which is closed, changes; call it when every image has an outcome."""
        base = self.base if staging.base is not None else None
        if base is None and self.base is not None and self._trusts_base_items:
            staging.keep_all_versions(self.base.items.stored)
        difference = staging.finish()
        staging.close()
        with closing(Items(staging.path)) as made:
            counts = self._counts(base, difference, made)
            first = None if counts.images else next(iter(made.skipped()), None)
            return Settled(base, staging.path, difference, counts, first)

    def draft(self, settled: Settled, spec: EncoderSpec, *, force: bool = False) -> Draft | None:
        """Put the items of *settled* in place; return None where they equal the last generation, unless *force*.

        Where deltas have grown large, or less than half of a shard is in use, a new base is written, and the vectors in
        use are copied out of such shards, so that `visrec gc` can remove them.
        """
        base = settled.base
        if base is None or settled.difference.changed:
            with disk_errors(self.layout.root):
                entries, shards = self._place(settled, spec)
            return Draft(self.generation, settled.counts, shards, self._next_position, entries)
        self._repair_attributes(base.manifest.items_files)
        if not force:
            return None
        manifest = base.manifest
        return Draft(self.generation, settled.counts, manifest.shards, self._next_position, manifest.items_files)

    def check_base(self, base: Store) -> None:
        """Raise StoreDamaged where a file of *base* was altered, whose vectors are about to be read as a whole."""
        for _, problem in _problems(self.layout, base.manifest.shards):
            raise StoreDamaged(f"{problem}; run `visrec index` again, which embeds its images again")
        for entry in base.manifest.items_files:
            for path, digest in (
                (self.layout.items(entry.generation), entry.digest),
                (self.layout.skipped(entry.generation), entry.skipped_digest),
            ):
                altered = digest_problem(path, digest)
                if altered is not None:
                    raise StoreDamaged(f"{altered}; run `visrec index` again")

    def _counts(self, base: Store | None, difference: Difference, made: Items) -> Counts:
        if base is not None:
            was = base.manifest
            return Counts(
                was.items + difference.items,
                was.images + difference.images,
                max(0, was.imageless + difference.imageless),  # a store of an early version did not count them
                was.skipped + difference.skipped,
                difference.removed,
            )
        removed = 0
        if self.base is not None and self._trusts_base_items:
            removed = sum(len(ids) - len(made.attributes_of(ids)) for ids in self.base.items.pages_of_ids())
        return Counts(difference.items, difference.images, difference.imageless, difference.skipped, removed)

    def _place(self, settled: Settled, spec: EncoderSpec) -> tuple[tuple[ItemsEntry, ...], tuple[ShardEntry, ...]]:
        """Put the items file of *settled* in place, merged with others where that pays."""
        base, made, difference = settled.base, settled.made, settled.difference
        below = list(base.manifest.items_files) if base else []
        known = {shard.name for shard in base.manifest.shards} if base else set()
        with closing(Items(*map(self._items_path, below), made)) as items:
            shards = tuple(self._shards_in_use(difference, items, known))
            everything = not below or are_worth_a_base(shards, settled.counts.images, _MOST_CHANGED)
            merged = _merged_with(below, difference.changed, settled.counts.items, everything=everything)
            kept = below[: len(below) - merged]
            # only a new base can name the vectors of items that did not change by other positions
            moved, shards = ({}, shards) if kept else self._compact(items, shards, spec)
        if merged or moved:
            for entry in below[len(kept) :]:  # what was altered must not be copied into a file that looks sound
                problem = digest_problem(self._items_path(entry), entry.digest)
                if problem is not None:
                    raise StoreDamaged(f"{problem}; run `visrec index`, which writes the items again")
            files = [*map(self._items_path, below[len(kept) :]), made]
            made = self.layout.tmp / "merged.sqlite"
            merge(files, made, is_base=not kept, moved=moved)
        self._repair_attributes(kept)
        changed = 0
        if kept:
            before = self._replaced_by(made, kept) if merged else difference.positions_before.tolist()
            changed = add_bitmap(made, before)
        return (*kept, self._place_items(made, kept, changed)), shards

    def _replaced_by(self, made: Path, kept: Sequence[ItemsEntry]) -> set[int]:
        """Return the positions that the items that the delta *made* replaces have in the files *kept*."""
        with closing(Items(*map(self._items_path, kept))) as below, closing(Items(made)) as delta:
            return {
                image.position
                for ids in delta.stored.pages_of_changed()
                for stored in below.stored.items(ids).values()
                for image in stored.images
                if image.position is not None
            }

    def _items_path(self, entry: ItemsEntry) -> Path:
        return self.layout.items(entry.generation)

    def _shards_in_use(self, difference: Difference, items: Items, known: set[str]) -> Iterator[ShardEntry]:
        """Return the shards that *items* use, which differ by *difference* from a generation of the *known* shards."""
        gone = np.setdiff1d(difference.positions_before, difference.positions, assume_unique=True).tolist()
        still = items.stored.positions_in_use(gone)
        dead = [position for position in gone if position not in still]
        return shards_in_use(self._shards.values(), known, used=difference.positions, dead=dead)

    def _compact(
        self, items: Items, shards: tuple[ShardEntry, ...], spec: EncoderSpec
    ) -> tuple[dict[int, int], tuple[ShardEntry, ...]]:
        """Copy the vectors that *items* use out of those of *shards* that are better copied.

        Return the new position of each copied vector, and the shards in use then.
        """
        moved: dict[int, int] = {}
        in_use = {shard.name: shard for shard in shards}
        for group in groups_to_copy(self.layout, shards):
            name, positions = copy_shards(self.layout, group, items, spec)
            for shard in group:
                del self._shards[shard.name], in_use[shard.name]
            first = self._first_position(name, len(positions))
            moved |= {position: first + row for row, position in enumerate(positions)}
            in_use[name] = self._shards[name]
        return moved, tuple(sorted(in_use.values(), key=lambda shard: shard.first_position))

    def add_projection(self, projection: Projection) -> ProjectionEntry:
        """Write the file of *projection* durably and return its entry in the manifest."""
        data = projection.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with disk_errors(self.layout.root):
            atomic_write(data, self.layout.projection(digest), self.layout.tmp)
        return ProjectionEntry(digest, projection.dim)

    def add_model(self, data: bytes) -> str:
        """Write the file *data* of a model durably and return its SHA-256, which the manifest names."""
        digest = hashlib.sha256(data).hexdigest()
        with disk_errors(self.layout.root):
            atomic_write(data, self.layout.model(digest), self.layout.tmp)
        return digest

    def publish(self, manifest: Manifest, index: Path | None) -> Manifest:
        """Publish the generation of *manifest*, with the files in the folder *index*, if any, as its new index."""
        target = self.layout.index_of(manifest)
        if index is not None and target is not None:
            self.place_index(index, target)
        data = manifest.to_bytes()
        with disk_errors(self.layout.root):
            atomic_write(data, self.layout.manifest(manifest.generation), self.layout.tmp)
        if self.bucket is not None:
            self.bucket.publish(manifest)  # first there: what is published is what the bucket says
        with disk_errors(self.layout.root):
            atomic_write(current_bytes(manifest.generation, data), self.layout.current, self.layout.tmp)
        return manifest

    def place_index(self, index: Path, target: Path) -> None:
        """Move the files in the folder *index* to *target*, which is replaced."""
        with disk_errors(self.layout.root):
            atomic_remove(target, self.layout.tmp)
            atomic_move_folder(index, target)

    def reasons(self, manifest: Manifest) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many images the generation of *manifest* skipped for each reason, and how many are stale."""
        with closing(Items(*map(self._items_path, manifest.items_files))) as items:
            return items.skipped_reasons(), items.stale_reasons()

    def _distrust(self, shard: str, problem: str) -> None:
        self._distrusted.add(shard)
        log.warning("%s; its images are embedded again", problem)

    def _place_items(self, made: Path, kept: Sequence[ItemsEntry], changed: int) -> ItemsEntry:
        """Move the items file *made* over the files *kept* in place, and write its attribute columns and list."""
        skipped = self.layout.tmp / "skipped.jsonl"
        write_skipped(made, skipped)
        entry = ItemsEntry(self.generation, sha256_file(made), sha256_file(skipped), changed)
        columns = self._write_attributes(made, entry, kept)
        manifest = self.layout.manifest(self.generation)
        if manifest.exists():  # a run that died before it published has left it, and it contradicts the files to come
            manifest.unlink()
            fsync_path(self.layout.generations)
        targets = self._items_path(entry), self.layout.skipped(self.generation), self.layout.attributes(self.generation)
        atomic_move_files(dict(zip((made, skipped, columns), targets, strict=True)))
        return entry

    def _write_attributes(self, items: Path, entry: ItemsEntry, below: Sequence[ItemsEntry]) -> Path:
        """Write the attribute columns of the file *items* of *entry*, which lies over the files *below*; return it."""
        made = self.layout.tmp / "attributes.bin"
        lower = [(self.layout.attributes(each.generation), each.digest) for each in below]
        try:
            write_attribute_columns(items, made, items_digest=entry.digest, below=lower, shows=True)
        except (TypeError, ValueError) as error:
            raise read_error(items, error) from error
        return made

    def _repair_attributes(self, entries: Sequence[ItemsEntry]) -> None:
        """Write attribute columns again where they are gone or cannot be opened."""
        for number, entry in enumerate(entries):
            try:
                AttributeColumns(self.layout.attributes(entry.generation), items_digest=entry.digest).check()
            except StoreUnavailable:
                raise
            except (FileNotFoundError, StoreError):
                with disk_errors(self.layout.root):
                    made = self._write_attributes(self._items_path(entry), entry, entries[:number])
                    atomic_move_file(made, self.layout.attributes(entry.generation))

    def _first_position(self, name: str, rows: int) -> int:
        """Use the shard *name* of *rows* vectors for the generation, and return the position of its first vector."""
        if name not in self._shards:
            self._shards[name] = ShardEntry(name, self._next_position, rows, ())
            self._next_position += rows
        return self._shards[name].first_position


def _problems(layout: Layout, shards: Sequence[ShardEntry]) -> Iterator[tuple[str, str]]:
    """Yield the name of each damaged shard of *shards*, and a sentence; every byte is read, by several threads."""
    with ThreadPoolExecutor() as pool:
        first_problems = pool.map(lambda shard: next(shard_problems(layout.shard(shard.name)), None), shards)
        for shard, problem in zip(shards, first_problems, strict=True):
            if problem is not None:
                yield shard.name, problem


@contextmanager
def open_writer(path: str | Path, *, reads_catalog: bool = False) -> Iterator[Writer]:
    """Hold the lock of the store in the folder *path*, made if it does not exist, and yield its Writer.

    A store in a bucket is one whose copy in the folder is pulled, and pushed when it is published.

    Where CURRENT is missing, the newest generation that is whole is published again. A run that *reads_catalog*, from
    its beginning, does without items that cannot be opened. Raises StoreLocked where another process holds the lock,
    StoreError where the folder holds something else, cannot be written or runs out of room.
    """
    layout = Layout(folder_of(path, pulled=False))
    with locked_folder(layout), _writer_of_bucket(layout) as bucket:
        with disk_errors(layout.root):
            if bucket is None:
                restore_current(layout)
            base = _open_base(layout, needs_items=not reads_catalog) if layout.current.exists() else None
        try:
            yield Writer(layout, base, bucket)
        except sqlite3.Error as error:  # a catalog reports its own
            raise read_error(f"the items file of {layout.root}", error) from error
        finally:
            if base is not None:
                base.close()


def _writer_of_bucket(layout: Layout) -> AbstractContextManager[BucketWriter | None]:
    """Return what holds the lease of the bucket of which *layout* is a copy, and yields None for a store in none."""
    address = address_of(layout.root)
    if address is None:
        return nullcontext()
    from vision_recs.store.bucket.pushing import bucket_writer

    return bucket_writer(layout, address)


def _open_base(layout: Layout, *, needs_items: bool) -> Store:
    """Return the published generation; without items where they are damaged and not needed."""
    try:
        return Store.open(layout.root)
    except StoreDamaged:
        manifest = read_manifest(layout, *read_current(layout))
        files = manifest.items_files
        if needs_items or not any(digest_problem(layout.items(each.generation), each.digest) for each in files):
            raise
    nothing = layout.tmp / "no-items.sqlite"
    with closing(sqlite3.connect(nothing)) as connection:
        connection.executescript(SCHEMA)
    return Store(layout, manifest, items=Items(nothing))


def _merged_with(below: Sequence[ItemsEntry], changed: int, items: int, *, everything: bool) -> int:
    """Return how many of the files *below*, the last ones, are merged with a delta that replaces *changed* items.

    All of them, which makes a new base, where the deltas together replace more than a twentieth of the *items*. Else as
    many deltas as are at most four times as large as what is merged with them, so that a change is written again a few
    times only, however many changes come.
    """
    deltas = [entry.changed for entry in below[1:]]
    total = changed + sum(deltas)
    if everything or items <= _FEW_ITEMS or total > items * _MOST_CHANGED:
        return len(below)
    merged = 0
    while deltas and (deltas[-1] < _GROWTH * changed or len(deltas) >= MOST_DELTAS):
        changed += deltas.pop()
        merged += 1
    return merged
