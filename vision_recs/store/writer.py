"""Writing a store: one writer, whose work is invisible until the last file is replaced."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import numpy as np

from vision_recs.errors import StoreDamaged, StoreError, StoreLocked
from vision_recs.store.attributes.format import Columns
from vision_recs.store.attributes.write import write_columns
from vision_recs.store.files import (
    discard,
    flush,
    publish_bytes,
    publish_file,
    publish_folder,
    sha256_file,
    written_to,
)
from vision_recs.store.layout import Layout
from vision_recs.store.manifest import Manifest, ProjectionEntry, ShardEntry
from vision_recs.store.projections import Projection
from vision_recs.store.shards import Embedded, read_shard, shard_digests, write_shard
from vision_recs.store.staging import Counts, Staging
from vision_recs.store.store import Store, current_text
from vision_recs.store.vectors import map_vectors
from vision_recs.types import EncoderSpec, Vectors

_LEAST_IN_USE = 0.5  # of the vectors of a shard


@dataclass(frozen=True, slots=True)
class Draft:
    """The parts of a generation that are finished but not published: its number, counts, shards and digests."""

    generation: int
    counts: Counts
    shards: tuple[ShardEntry, ...]
    items_digest: str
    skipped_digest: str


class Writer:
    """The one writer of the store in a folder; made by `open_writer`, which holds the lock."""

    def __init__(self, layout: Layout, base: Store | None) -> None:
        """Continue from the generation *base*, if there is one."""
        self.layout = layout
        self.base = base
        self._shards: dict[str, ShardEntry] = {}
        self._spare_rows: dict[str, int] = {}
        self._next_position = 0

    @property
    def generation(self) -> int:
        """The number of the generation that comes next."""
        return self.base.generation + 1 if self.base else 1

    def stage(self) -> Staging:
        """Begin the items of a generation."""
        base_items = self.layout.items(self.base.generation) if self.base else None
        return Staging(self.layout.tmp / "items.sqlite", base_items)

    def enter(self, staging: Staging, spec: EncoderSpec) -> None:
        """Have *staging* use again what is known of the space of *spec*: the last generation and spare shards."""
        if self.base and self.base.manifest.encoder.fingerprint == spec.fingerprint:
            staging.reuse_base()
            self._shards = {shard.name: shard for shard in self.base.manifest.shards}
            self._next_position = max((shard.first + shard.rows for shard in self._shards.values()), default=0)
        for folder in sorted(self.layout.shards.iterdir()):
            if folder.name not in self._shards:
                images = read_shard(folder, spec)
                self._spare_rows[folder.name] = sum(image.vector is not None for image in images)
                staging.offer_spare(folder.name, images)

    def recall(self, staging: Staging, digest: bytes) -> bool:
        """Whether the image with *digest* is settled, by this generation, the last one or a shard on the disk."""
        if staging.knows(digest):
            return True
        spare = staging.spare(digest)
        if spare is None:
            return False
        shard, row = spare
        staging.settle(digest, position=self._first_position(shard, self._spare_rows[shard]) + row)
        return True

    def add_shard(self, staging: Staging, fingerprint: str, embedded: Sequence[Embedded], vectors: Vectors) -> None:
        """Write what was embedded as a shard, durably, and settle each image; without a vector there is no shard."""
        first = 0
        if len(vectors):
            with written_to(self.layout.root):
                name = write_shard(self.layout, fingerprint, embedded, vectors)
                first = self._first_position(name, len(vectors))
        for image in embedded:
            position = None if image.vector is None else first + image.vector
            staging.settle(image.digest, position=position, reason=image.reason, message=image.message)

    def compact(self, staging: Staging, spec: EncoderSpec) -> None:
        """Copy what is in use out of shards of which less than half is, so that `visrec gc` can remove them.

        To be called when every image is settled; the copied vectors get new positions.
        """
        used = np.array(staging.settled(), dtype=np.int64)
        for shard in list(self._shards.values()):
            begin, end = np.searchsorted(used, [shard.first, shard.first + shard.rows])
            if not 0 < end - begin < _LEAST_IN_USE * shard.rows:
                continue
            rows = staging.settled_between(shard.first, shard.first + shard.rows)
            vectors = map_vectors(self.layout.shard(shard.name), rows=shard.rows, dim=spec.dim)
            copied = vectors[[position - shard.first for position, *_ in rows]]
            embedded = [Embedded(item, image, digest, row) for row, (_, digest, item, image) in enumerate(rows)]
            with written_to(self.layout.root):
                name = write_shard(self.layout, spec.fingerprint, embedded, copied)
            first = self._first_position(name, len(rows))
            for row, (_, digest, *_) in enumerate(rows):
                staging.move(digest, first + row)

    def draft(self, staging: Staging, counts: Counts, *, anew: bool = False) -> Draft | None:
        """Put the finished items in place; unless *anew*, return None where they are those of the last generation."""
        shards = tuple(self._shards_in_use(staging.positions()))
        same_shards = self.base is not None and shards == self.base.manifest.shards
        if self.base and same_shards and not anew and not staging.differs_from_base():
            self._mend_columns(self.base)
            return None
        with written_to(self.layout.root):
            items, skipped = self.layout.tmp / "items.sqlite", self.layout.tmp / "skipped.jsonl"
            with skipped.open("w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in staging.skipped_lines())
            staging.close()
            draft = Draft(self.generation, counts, shards, sha256_file(items), sha256_file(skipped))
            self._withdraw()
            publish_file(items, self.layout.items(self.generation))
            publish_file(skipped, self.layout.skipped(self.generation))
            self._place_columns(self.generation, draft.items_digest)
        return draft

    def carry_over(self, base: Store) -> int:
        """Put the items of *base*, the last generation, in place for the next one too, and return its number."""
        with written_to(self.layout.root):
            self._withdraw()
            for path in (self.layout.items, self.layout.skipped):
                made = self.layout.tmp / path(self.generation).name
                shutil.copyfile(path(base.generation), made)
                publish_file(made, path(self.generation))
            self._place_columns(self.generation, base.manifest.items_digest)
        return self.generation

    def add_projection(self, projection: Projection) -> ProjectionEntry:
        """Write the file of *projection* durably and return what a manifest says of it."""
        data = projection.to_bytes()
        digest = hashlib.sha256(data).hexdigest()
        with written_to(self.layout.root):
            publish_bytes(data, self.layout.projection(digest), self.layout.tmp)
        return ProjectionEntry(digest, projection.dim)

    def publish(self, manifest: Manifest, index: Path | None) -> Store:
        """Publish the generation of *manifest*, with the files in the folder *index*, if any, as its index."""
        if index is not None:
            self.place_index(index, self.layout.index_dir(manifest.index_type, manifest.generation))
        data = manifest.to_bytes()
        text = current_text(manifest.generation, hashlib.sha256(data).hexdigest())
        with written_to(self.layout.root):
            publish_bytes(data, self.layout.manifest(manifest.generation), self.layout.tmp)
            publish_bytes(text.encode(), self.layout.current, self.layout.tmp)
        return Store(self.layout, manifest)

    def place_index(self, index: Path, target: Path) -> None:
        """Move the files in the folder *index* to *target*, in place of what is there."""
        with written_to(self.layout.root):
            discard(target, self.layout.tmp)
            publish_folder(index, target)

    def _place_columns(self, generation: int, items_digest: str) -> None:
        """Write the items of *generation*, which are in place, by column, too."""
        made = self.layout.tmp / "columns.bin"
        items = self.layout.items(generation)
        try:
            write_columns(items, made, items_digest=items_digest)
        except (TypeError, ValueError) as error:
            raise StoreDamaged(f"{items} cannot be read ({error}); run `visrec verify`") from error
        publish_file(made, self.layout.columns(generation))

    def _mend_columns(self, base: Store) -> None:
        """Write the columns of *base* again where they are gone or cannot be opened."""
        try:
            Columns(self.layout.columns(base.generation), items_digest=base.manifest.items_digest).check()
        except (FileNotFoundError, StoreError):
            with written_to(self.layout.root):
                self._place_columns(base.generation, base.manifest.items_digest)

    def _withdraw(self) -> None:
        """Remove the manifest that a run left which died before it published: it contradicts the files to come."""
        self.layout.manifest(self.generation).unlink(missing_ok=True)
        flush(self.layout.generations)

    def _first_position(self, name: str, rows: int) -> int:
        """Take the shard *name* of *rows* vectors into the generation, and return where it begins."""
        if name not in self._shards:
            folder = self.layout.shard(name)
            self._shards[name] = ShardEntry(name, self._next_position, rows, (), shard_digests(folder))
            self._next_position += rows
        return self._shards[name].first

    def _shards_in_use(self, positions: Sequence[int]) -> Iterator[ShardEntry]:
        used = np.asarray(positions, dtype=np.int64)
        for shard in sorted(self._shards.values(), key=lambda shard: shard.first):
            begin, end = np.searchsorted(used, [shard.first, shard.first + shard.rows])
            if begin < end:
                yield replace(shard, deleted=_gaps(used[begin:end] - shard.first, shard.rows))


@contextmanager
def open_writer(path: str | Path) -> Iterator[Writer]:
    """Hold the lock of the store in the folder *path*, made if it is not there, and yield its Writer.

    Raises StoreLocked where another process holds it, StoreError where the folder holds something else, cannot be
    written or runs out of room.
    """
    layout = Layout(Path(path))
    _refuse_foreign(layout)
    is_new = not layout.root.exists()
    with _locked(layout):
        try:
            _prepare_folders(layout)
            yield Writer(layout, Store.open(layout.root) if layout.current.exists() else None)
        except sqlite3.Error as error:  # a catalog reports its own
            raise StoreError(
                f"the items of {layout.root} cannot be read or written ({error}); make room, or run `visrec verify`"
            ) from error
        finally:  # while the lock is held: the moment it is free, the folder may be another's
            _tidy(layout, is_new=is_new)


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    lock = filelock.FileLock(layout.lock, timeout=0)
    with written_to(layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise StoreLocked(f"another process is writing to {layout.root}; wait until it is done") from None
    try:
        yield
    finally:
        lock.release()


def _prepare_folders(layout: Layout) -> None:
    with written_to(layout.root):
        if layout.tmp.exists():
            shutil.rmtree(layout.tmp)  # of a run that was killed
        layout.make_folders()
        flush(layout.root.parent)


def _tidy(layout: Layout, *, is_new: bool) -> None:
    shutil.rmtree(layout.tmp, ignore_errors=True)
    came_of_it = layout.current.exists() or (layout.shards.is_dir() and any(layout.shards.iterdir()))
    if is_new and not came_of_it:
        for path in layout.root.iterdir():
            if path != layout.lock:  # it goes last: a folder without it may be anybody's
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(layout.root, ignore_errors=True)


def _refuse_foreign(layout: Layout) -> None:
    own = {"CURRENT", "LOCK", "tmp", "generations", "items", "columns", "shards", "projections", "indexes", "skipped"}
    try:
        names = {entry.name for entry in layout.root.iterdir() if not entry.name.startswith(".")}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{layout.root} is a file; name a folder for the index with --store") from None
    # a folder of which nothing says that it is an index may hold somebody's own `tmp`
    foreign = names - own if names & {"CURRENT", "LOCK"} else names
    if foreign:
        raise StoreError(f"{layout.root} is no index: it holds {min(foreign)!r}; name another folder with --store")


def _gaps(used: np.ndarray[tuple[int], np.dtype[np.int64]], rows: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open ranges of 0..rows that *used* (ascending) leaves out."""
    bounds = np.concatenate(([-1], used, [rows]))
    holes = np.flatnonzero(np.diff(bounds) > 1)
    return tuple((int(bounds[hole]) + 1, int(bounds[hole + 1])) for hole in holes)
