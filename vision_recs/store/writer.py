"""Writing a store: one writer, whose work is invisible until the last file is replaced."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import numpy as np

from vision_recs.errors import StoreError, StoreLocked
from vision_recs.store.files import publish_bytes, publish_file, publish_folder, sha256_file
from vision_recs.store.layout import VECTORS_FILE, Layout
from vision_recs.store.manifest import Manifest, ShardEntry
from vision_recs.store.shards import Embedded, read_shard, shard_digests, write_shard
from vision_recs.store.staging import Counts, Staging
from vision_recs.store.store import Store, current_text
from vision_recs.types import Vectors


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
        self._next_position = 0

    @property
    def generation(self) -> int:
        """The number of the generation that comes next."""
        return self.base.generation + 1 if self.base else 1

    def stage(self) -> Staging:
        """Begin the items of a generation."""
        base_items = self.layout.items(self.base.generation) if self.base else None
        return Staging(self.layout.tmp / "items.sqlite", base_items)

    def enter(self, staging: Staging, fingerprint: str) -> None:
        """Have *staging* use again what is known of the space *fingerprint*: the last generation and spare shards."""
        if self.base and self.base.fingerprint == fingerprint:
            staging.reuse_base()
            self._shards = {shard.name: shard for shard in self.base.manifest.shards}
            self._next_position = max((shard.first + shard.rows for shard in self._shards.values()), default=0)
        for folder in sorted(self.layout.shards.iterdir()):
            if folder.name not in self._shards:
                space, pictures = read_shard(folder)
                if space == fingerprint:
                    staging.offer_spare(folder.name, pictures)

    def recall(self, staging: Staging, digest: bytes) -> bool:
        """Whether the picture with *digest* is settled, by this generation, the last one or a shard on the disk."""
        if staging.knows(digest):
            return True
        spare = staging.spare(digest)
        if spare is None:
            return False
        shard, row = spare
        staging.settle(digest, position=self._first_position(shard) + row)
        return True

    def add_shard(self, staging: Staging, fingerprint: str, embedded: Sequence[Embedded], vectors: Vectors) -> None:
        """Write what was embedded as a shard, durably, and settle each picture; without a vector there is no shard."""
        first = 0
        if len(vectors):
            first = self._first_position(write_shard(self.layout, fingerprint, embedded, vectors))
        for picture in embedded:
            position = None if picture.vector is None else first + picture.vector
            staging.settle(picture.digest, position=position, reason=picture.reason, message=picture.message)

    def draft(self, staging: Staging, counts: Counts) -> Draft | None:
        """Put the finished items in place, or return None where the generation would be the same as the last one."""
        shards = tuple(self._shards_in_use(staging.positions()))
        if self.base and shards == self.base.manifest.shards and not staging.differs_from_base():
            return None
        skipped = self.layout.tmp / "skipped.jsonl"
        with skipped.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in staging.skipped_lines())
        staging.close()
        items = self.layout.tmp / "items.sqlite"
        draft = Draft(self.generation, counts, shards, sha256_file(items), sha256_file(skipped))
        publish_file(items, self.layout.items(self.generation))
        publish_file(skipped, self.layout.skipped(self.generation))
        return draft

    def publish(self, manifest: Manifest, engine: Path) -> Store:
        """Publish the generation of *manifest*, with the files in the folder *engine* as its index."""
        self.place_engine(engine, self.layout.engine(manifest.engine, manifest.generation))
        data = manifest.to_bytes()
        publish_bytes(data, self.layout.manifest(manifest.generation), self.layout.tmp)
        text = current_text(manifest.generation, hashlib.sha256(data).hexdigest())
        publish_bytes(text.encode(), self.layout.current, self.layout.tmp)
        return Store(self.layout, manifest)

    def place_engine(self, engine: Path, target: Path) -> None:
        """Move the files in the folder *engine* to *target*."""
        shutil.rmtree(target, ignore_errors=True)  # left by a run that died before it published
        publish_folder(engine, target)

    def _first_position(self, name: str) -> int:
        if name not in self._shards:
            folder = self.layout.shard(name)
            rows = len(np.load(folder / VECTORS_FILE, mmap_mode="r"))
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

    Raises StoreLocked where another process holds it, StoreError where the folder holds something else.
    """
    layout = Layout(Path(path))
    _refuse_foreign(layout)
    is_new = not layout.root.exists()
    layout.make_folders()
    lock = filelock.FileLock(layout.lock, timeout=0)
    try:
        with lock:
            shutil.rmtree(layout.tmp)
            layout.tmp.mkdir()
            base = Store.open(layout.root) if layout.current.exists() else None
            yield Writer(layout, base)
    except filelock.Timeout:
        raise StoreLocked(f"another process is writing to {layout.root}; wait until it is done") from None
    finally:
        if is_new and not layout.current.exists() and not any(layout.shards.iterdir()):
            shutil.rmtree(layout.root)  # nothing came of it: leave nothing behind


def _refuse_foreign(layout: Layout) -> None:
    own = {"CURRENT", "LOCK", "tmp", "generations", "items", "shards", "engines", "skipped"}
    try:
        foreign = sorted({entry.name for entry in layout.root.iterdir()} - own)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{layout.root} is a file; name a folder for the index with --index") from None
    if foreign:
        raise StoreError(f"{layout.root} is no index: it holds {foreign[0]!r}; name another folder with --index")


def _gaps(used: np.ndarray[tuple[int], np.dtype[np.int64]], rows: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open ranges of 0..rows that *used* (ascending) leaves out."""
    bounds = np.concatenate(([-1], used, [rows]))
    holes = np.flatnonzero(np.diff(bounds) > 1)
    return tuple((int(bounds[hole]) + 1, int(bounds[hole + 1])) for hole in holes)
