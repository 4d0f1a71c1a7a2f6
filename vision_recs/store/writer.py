"""Writing a store: one writer, whose work is invisible until the last file, CURRENT, is replaced."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vision_recs.errors import StoreDamaged, StoreError, StoreUnavailable, read_error
from vision_recs.store.atomic_files import (
    atomic_move_file,
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
from vision_recs.store.items import Items
from vision_recs.store.layout import Layout, Manifest, ProjectionEntry, ShardEntry, current_bytes
from vision_recs.store.lock import locked_folder, restore_current
from vision_recs.store.projections import Projection
from vision_recs.store.shards import Embedded, read_images, read_shard_info, shard_problems, write_shard
from vision_recs.store.staging import Counts, Staging
from vision_recs.store.store import Store
from vision_recs.store.vectors import map_vectors
from vision_recs.types import EncoderSpec, Vectors

_LEAST_IN_USE = 0.5  # of the vectors of a shard

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of a generation that are finished but not published; the fields are those of the manifest."""

    generation: int
    counts: Counts
    shards: tuple[ShardEntry, ...]
    next_position: int
    items_digest: str
    skipped_digest: str


class Writer:
    """The one writer of the store in a folder; made by `open_writer`, which holds the lock."""

    def __init__(self, layout: Layout, base: Store | None) -> None:
        """Continue from the generation *base*, if there is one."""
        self.layout = layout
        self.base = base
        self.generation = 1 + (base.generation if base else max(layout.known_generations(), default=0))
        self._shards: dict[str, ShardEntry] = {}
        self._reusable_rows: dict[str, int] = {}
        self._next_position = 0
        self._distrusted: set[str] = set()
        self._trusts_base_items = True

    def stage(self) -> Staging:
        """Begin to collect the items of a generation; damaged items of the last generation are not used."""
        base_items = None
        if self.base:
            base_items = self.layout.items(self.base.generation)
            problem = digest_problem(base_items, self.base.manifest.items_digest)
            if problem is not None:
                log.warning("%s; every image is read again", problem)
                self._trusts_base_items, base_items = False, None
        return Staging(self.layout.tmp / "items.sqlite", base_items)

    def use_space(self, staging: Staging, spec: EncoderSpec) -> None:
        """Have *staging* use the vectors of the space of *spec* again: of the last generation and of other shards."""
        self._shards, self._next_position = {}, 0
        if self.base and self.base.manifest.encoder == spec:
            self._next_position = self.base.manifest.next_position
            if self._trusts_base_items:
                self._use_base(staging, self.base.manifest.shards)
        with disk_errors(self.layout.root):
            folders = sorted(folder for folder in self.layout.shards.iterdir() if folder.is_dir())
        for folder in folders:
            if folder.name in self._shards or folder.name in self._distrusted:
                continue
            try:
                info = read_shard_info(folder)
                if info.space == spec.fingerprint:
                    staging.add_reusable(folder.name, read_images(folder, info))
                    self._reusable_rows[folder.name] = info.rows
            except StoreDamaged as error:
                self._distrust(folder.name, str(error))

    def is_known(self, staging: Staging, digest: bytes) -> bool:
        """Whether the outcome of the images with *digest* is known: to *staging*, or because a shard has the vector."""
        if staging.has_outcome(digest):
            return True
        while found := staging.reusable(digest):
            shard, row = found
            problem = None if shard in self._shards else next(shard_problems(self.layout.shard(shard)), None)
            if problem is None:
                staging.set_outcome(digest, position=self._first_position(shard, self._reusable_rows[shard]) + row)
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
        for image in embedded:
            position = None if image.row is None else first + image.row
            staging.set_outcome(image.digest, position=position, reason=image.reason, message=image.message)

    def compact(self, staging: Staging, spec: EncoderSpec) -> None:
        """Copy the vectors in use out of shards of which less than half is in use, so that `visrec gc` can remove them.

        Call it when every image has an outcome; the copied vectors get new positions.
        """
        used = np.array(staging.positions_in_use(), dtype=np.int64)
        for shard in list(self._shards.values()):
            begin, end = np.searchsorted(used, [shard.first_position, shard.stop_position])
            if not 0 < end - begin < _LEAST_IN_USE * shard.rows:
                continue
            folder = self.layout.shard(shard.name)
            rows = staging.vectors_between(shard.first_position, shard.stop_position)
            embedded = [Embedded(item, image, digest, row) for row, (_, digest, item, image) in enumerate(rows)]
            with disk_errors(self.layout.root):
                vectors = map_vectors(folder, rows=shard.rows, dim=spec.dim)
                copied = vectors[[position - shard.first_position for position, *_ in rows]]
                name = write_shard(self.layout, spec.fingerprint, embedded, copied)
            first = self._first_position(name, len(rows))
            for row, (_, digest, *_) in enumerate(rows):
                staging.move(digest, first + row)

    def draft(self, staging: Staging, counts: Counts, *, force: bool = False) -> Draft | None:
        """Put the finished items in place; return None where they equal the last generation, unless *force*."""
        shards = tuple(self._shards_in_use(staging.positions()))
        same_shards = self.base is not None and shards == self.base.manifest.shards
        if self.base and same_shards and not force and not staging.differs_from_base():
            self._repair_attributes(self.base)
            return None
        with disk_errors(self.layout.root):
            items, skipped = self.layout.tmp / "items.sqlite", self.layout.tmp / "skipped.jsonl"
            with skipped.open("w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in staging.skipped_lines())
            staging.close()
            digests = sha256_file(items), sha256_file(skipped)
            self._place_items(items, skipped, digests[0])
        return Draft(self.generation, counts, shards, self._next_position, *digests)

    def copy_items(self, base: Store) -> int:
        """Use the items of *base*, the last generation, for the next one too, and return its number.

        Raises StoreDamaged where a file of *base* was altered: its vectors are about to be read.
        """
        for _, problem in _problems(self.layout, base.manifest.shards):
            raise StoreDamaged(f"{problem}; run `visrec index` again, which embeds its images again")
        manifest, made = base.manifest, []
        with disk_errors(self.layout.root):
            for path, digest in (
                (self.layout.items, manifest.items_digest),
                (self.layout.skipped, manifest.skipped_digest),
            ):
                copy = self.layout.tmp / path(self.generation).name
                shutil.copyfile(path(base.generation), copy)
                if sha256_file(copy) != digest:
                    raise StoreDamaged(f"{path(base.generation)} was altered; run `visrec index` again")
                made.append(copy)
            self._place_items(made[0], made[1], manifest.items_digest)
        return self.generation

    def add_projection(self, projection: Projection) -> ProjectionEntry:
        """Write the file of *projection* durably and return its entry in the manifest."""
        data = projection.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with disk_errors(self.layout.root):
            atomic_write(data, self.layout.projection(digest), self.layout.tmp)
        return ProjectionEntry(digest, projection.dim)

    def publish(self, manifest: Manifest, index: Path | None) -> Manifest:
        """Publish the generation of *manifest*, with the files in the folder *index*, if any, as its new index."""
        target = self.layout.index_of(manifest)
        if index is not None and target is not None:
            self.place_index(index, target)
        data = manifest.to_bytes()
        with disk_errors(self.layout.root):
            atomic_write(data, self.layout.manifest(manifest.generation), self.layout.tmp)
            atomic_write(current_bytes(manifest.generation, data), self.layout.current, self.layout.tmp)
        return manifest

    def place_index(self, index: Path, target: Path) -> None:
        """Move the files in the folder *index* to *target*, which is replaced."""
        with disk_errors(self.layout.root):
            atomic_remove(target, self.layout.tmp)
            atomic_move_folder(index, target)

    def skipped_reasons(self, manifest: Manifest) -> dict[str, int]:
        """Return how many images the generation of *manifest* skipped for each reason, the most frequent first."""
        with closing(Items(self.layout.items(manifest.generation))) as items:
            return items.skipped_reasons()

    def _use_base(self, staging: Staging, shards: Sequence[ShardEntry]) -> None:
        """Have *staging* use the outcomes of the last generation, but for the vectors of damaged shards."""
        for shard, problem in _problems(self.layout, shards):
            self._distrust(shard, problem)
        self._shards = {shard.name: shard for shard in shards if shard.name not in self._distrusted}
        staging.reuse_base(
            [(each.first_position, each.stop_position) for each in shards if each.name in self._distrusted]
        )

    def _distrust(self, shard: str, problem: str) -> None:
        self._distrusted.add(shard)
        log.warning("%s; its images are embedded again", problem)

    def _place_items(self, items: Path, skipped: Path, items_digest: str) -> None:
        """Move the files of the next generation in place, and write its attribute columns."""
        # a run that died before it published may have left a manifest, which contradicts the files to come
        self.layout.manifest(self.generation).unlink(missing_ok=True)
        fsync_path(self.layout.generations)
        atomic_move_file(items, self.layout.items(self.generation))
        atomic_move_file(skipped, self.layout.skipped(self.generation))
        self._place_attributes(self.generation, items_digest)

    def _place_attributes(self, generation: int, items_digest: str) -> None:
        """Write the attribute columns of *generation*, whose items are in place."""
        made = self.layout.tmp / "attributes.bin"
        items = self.layout.items(generation)
        try:
            write_attribute_columns(items, made, items_digest=items_digest)
        except (TypeError, ValueError) as error:
            raise read_error(items, error) from error
        atomic_move_file(made, self.layout.attributes(generation))

    def _repair_attributes(self, base: Store) -> None:
        """Write the attribute columns of *base* again where they are gone or cannot be opened."""
        try:
            AttributeColumns(self.layout.attributes(base.generation), items_digest=base.manifest.items_digest).check()
        except StoreUnavailable:
            raise
        except (FileNotFoundError, StoreError):
            with disk_errors(self.layout.root):
                self._place_attributes(base.generation, base.manifest.items_digest)

    def _first_position(self, name: str, rows: int) -> int:
        """Use the shard *name* of *rows* vectors for the generation, and return the position of its first vector."""
        if name not in self._shards:
            self._shards[name] = ShardEntry(name, self._next_position, rows, ())
            self._next_position += rows
        return self._shards[name].first_position

    def _shards_in_use(self, positions: Sequence[int]) -> Iterator[ShardEntry]:
        used = np.asarray(positions, dtype=np.int64)
        for shard in sorted(self._shards.values(), key=lambda shard: shard.first_position):
            begin, end = np.searchsorted(used, [shard.first_position, shard.stop_position])
            if begin < end:
                yield replace(shard, deleted=_gaps(used[begin:end] - shard.first_position, shard.rows))


def _problems(layout: Layout, shards: Sequence[ShardEntry]) -> Iterator[tuple[str, str]]:
    """Yield the name of each damaged shard of *shards*, and a sentence; every byte is read, by several threads."""
    with ThreadPoolExecutor() as pool:
        first_problems = pool.map(lambda shard: next(shard_problems(layout.shard(shard.name)), None), shards)
        for shard, problem in zip(shards, first_problems, strict=True):
            if problem is not None:
                yield shard.name, problem


@contextmanager
def open_writer(path: str | Path) -> Iterator[Writer]:
    """Hold the lock of the store in the folder *path*, made if it does not exist, and yield its Writer.

    Where CURRENT is missing, the newest generation that is whole is published again. Raises StoreLocked where another
    process holds the lock, StoreError where the folder holds something else, cannot be written or runs out of room.
    """
    layout = Layout(Path(path))
    with locked_folder(layout):
        with disk_errors(layout.root):
            restore_current(layout)
            base = Store.open(layout.root) if layout.current.exists() else None
        try:
            yield Writer(layout, base)
        except sqlite3.Error as error:  # a catalog reports its own
            raise read_error(f"the items file of {layout.root}", error) from error
        finally:
            if base is not None:
                base.close()


def _gaps(used: np.ndarray[tuple[int], np.dtype[np.int64]], rows: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open ranges of 0..rows that *used* (ascending) leaves out."""
    bounds = np.concatenate(([-1], used, [rows]))
    holes = np.flatnonzero(np.diff(bounds) > 1)
    return tuple((int(bounds[hole]) + 1, int(bounds[hole + 1])) for hole in holes)
