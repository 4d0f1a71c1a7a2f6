"""Reclaiming the space of generations that are not published any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_recs.store.atomic_files import atomic_remove, disk_errors, fsync_path
from vision_recs.store.bucket.mark import folder_of
from vision_recs.store.layout import Layout, Manifest, read_current, read_manifest
from vision_recs.store.shards import shard_problems
from vision_recs.store.writer import open_writer


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What `garbage_collect` removed: generations, shards and bytes."""

    generations: int
    shards: int
    bytes: int


def garbage_collect(path: str | Path) -> Reclaimed:
    """Remove everything from the store in *path* that its published generation does not use.

    A process that opened an older generation keeps the files that it holds open. Shards newer than the published
    generation are the unpublished work of a run that was stopped, and stay, unless they are damaged. Raises
    StoreNotFound, StoreLocked, StoreDamaged.
    """
    layout = Layout(folder_of(path))
    read_current(layout)  # a folder without a store is refused before it is locked
    with open_writer(layout.root) as writer, disk_errors(layout.root):
        current, digest = read_current(layout)
        manifest = read_manifest(layout, current, digest)
        used = {shard.name for shard in manifest.shards}
        old = [generation for generation in layout.known_generations() if generation != current]
        freed = _remove(map(layout.manifest, old), layout)
        fsync_path(layout.generations)  # manifests first: what a manifest names exists as long as the manifest does
        freed += _remove(_leftovers(layout, manifest), layout)
        freed += _remove(_unused_indexes(layout, manifest), layout)
        freed += _remove(_unused_projections(layout, manifest), layout)
        freed += _remove(_unused_models(layout, manifest), layout)
        freed += _remove(_old_ledgers(layout), layout)
        shards = list(_unused_shards(layout, used))
        freed += _remove(shards, layout)
        if writer.bucket is not None:
            freed += writer.bucket.garbage_collect()
    return Reclaimed(len(old), len(shards), freed)


def _leftovers(layout: Layout, manifest: Manifest) -> Iterator[Path]:
    items = {layout.items(entry.generation).stem for entry in manifest.items_files}
    for folder in (layout.items(0).parent, layout.attributes(0).parent, layout.skipped(0).parent):
        yield from [path for path in folder.iterdir() if path.stem not in items]


def _unused_indexes(layout: Layout, manifest: Manifest) -> Iterator[Path]:
    used = layout.index_of(manifest)
    yield from [path for path in layout.indexes.iterdir() if path != used]


def _unused_projections(layout: Layout, manifest: Manifest) -> Iterator[Path]:
    used = layout.projection(manifest.projection.digest) if manifest.projection else None
    yield from [path for path in layout.projections.iterdir() if path != used]


def _unused_models(layout: Layout, manifest: Manifest) -> Iterator[Path]:
    used = layout.model(manifest.model) if manifest.model else None
    yield from [path for path in layout.models.iterdir() if path != used]


def _unused_shards(layout: Layout, used: set[str]) -> Iterator[Path]:
    published = layout.current.stat().st_mtime_ns
    for folder in layout.shards.iterdir():
        if folder.name in used:
            continue
        if folder.stat().st_mtime_ns <= published or any(shard_problems(folder)):
            yield folder


def _old_ledgers(layout: Layout) -> Iterator[Path]:
    """Yield the ledgers that are older than the published generation, and what workers of ended runs have left."""
    published = layout.current.stat().st_mtime_ns
    yield from [path for path in layout.ledgers.glob("*") if path.stat().st_mtime_ns <= published]
    yield from [path for path in layout.runs.glob("*") if path.stat().st_mtime_ns <= published]


def _remove(paths: Iterable[Path], layout: Layout) -> int:
    """Remove the files and folders *paths* and return how many bytes they took."""
    size = 0
    for path in paths:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size += sum(each.st_size for each in map(Path.stat, files) if each.st_nlink == 1)  # else another one has it
        atomic_remove(path, layout.tmp)
    return size
