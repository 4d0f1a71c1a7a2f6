"""Reclaiming the space of generations that are no longer wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_recs.errors import StoreNotFound
from vision_recs.store.files import discard, flush, written_to
from vision_recs.store.layout import Layout
from vision_recs.store.manifest import Manifest
from vision_recs.store.store import read_current, read_manifest
from vision_recs.store.verification import generations
from vision_recs.store.writer import open_writer


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What `collect` removed: generations, shards and bytes."""

    generations: int
    shards: int
    bytes: int


def collect(path: str | Path) -> Reclaimed:
    """Remove from the store in *path* all that its published generation does not use.

    A reader that opened an older generation keeps the files that it holds open. Shards newer than the published
    generation are the unpublished work of a run that was stopped, and stay. Raises StoreNotFound, StoreLocked.
    """
    layout = Layout(Path(path))
    if not layout.current.exists():
        raise StoreNotFound(f"there is no index in {layout.root}; make one with `visrec index CATALOG`")
    with open_writer(path), written_to(layout.root):
        current, digest = read_current(layout)
        manifest = read_manifest(layout, current, digest)
        used = {shard.name for shard in manifest.shards}
        old = [generation for generation in generations(layout) if generation != current]
        freed = _remove(map(layout.manifest, old), layout)
        flush(layout.generations)  # manifests first: what a manifest names is there as long as the manifest is
        freed += _remove(_leftovers(layout, current), layout)
        freed += _remove(_unused_projections(layout, manifest), layout)
        shards = list(_unused_shards(layout, used))
        freed += _remove(shards, layout)
    return Reclaimed(len(old), len(shards), freed)


def _leftovers(layout: Layout, current: int) -> Iterator[Path]:
    for folder, kept in (
        (layout.items(0).parent, layout.items(current).stem),
        (layout.columns(0).parent, layout.columns(current).stem),
        (layout.skipped(0).parent, layout.skipped(current).stem),
        (layout.indexes, f"-{current:06d}"),
    ):
        yield from [path for path in folder.iterdir() if not path.stem.endswith(kept)]


def _unused_projections(layout: Layout, manifest: Manifest) -> Iterator[Path]:
    used = layout.projection(manifest.projection.digest) if manifest.projection else None
    yield from [path for path in layout.projections.iterdir() if path != used]


def _unused_shards(layout: Layout, used: set[str]) -> Iterator[Path]:
    published = layout.current.stat().st_mtime_ns
    for folder in layout.shards.iterdir():
        if folder.name not in used and folder.stat().st_mtime_ns <= published:
            yield folder


def _remove(paths: Iterable[Path], layout: Layout) -> int:
    """Remove the files and folders *paths* and return how many bytes they took."""
    size = 0
    for path in paths:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size += sum(file.stat().st_size for file in files)
        discard(path, layout.tmp)
    return size
