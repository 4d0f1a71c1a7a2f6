"""Building the engine of a generation, and publishing both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vision_recs.engines import build_index, open_index
from vision_recs.engines.recall import measure_recall
from vision_recs.errors import SpaceMismatch, StoreError
from vision_recs.jobs.progress import Progress, Report
from vision_recs.store import Manifest, Store, Writer

NO_ENGINE = "exact"
"""What answers from a generation for which no engine was built; it has no files."""


def wants_engine(base: Store | None, engine: str) -> bool:
    """Whether *engine* is to be built for a generation that, unchanged as its items may be, has none."""
    return base is not None and base.manifest.engine == NO_ENGINE != engine


def publish(writer: Writer, manifest: Manifest, engine: str, progress: Report) -> Store:
    """Build *engine* for the generation of *manifest*, measure it, and let readers see the generation."""
    if engine == NO_ENGINE:
        return writer.publish(manifest, None)
    source = Store(writer.layout, manifest)
    progress(Progress("building the index", 0, manifest.pictures))
    folder = _build(writer, source, engine)
    recall = measure_recall(open_index(engine, source, folder), source, k=10)
    progress(Progress("building the index", manifest.pictures, manifest.pictures))
    return writer.publish(replace(manifest, engine=engine, recall_at_10=recall), folder)


def mend(writer: Writer, base: Store) -> None:
    """Build the engine of *base* again where it is gone or cannot be opened."""
    engine = base.manifest.engine
    target = writer.layout.engine(engine, base.generation)
    try:
        open_index(engine, base, target)
    except (StoreError, SpaceMismatch):
        writer.place_engine(_build(writer, base, engine), target)


def _build(writer: Writer, source: Store, engine: str) -> Path:
    folder = writer.layout.tmp / "engine"
    folder.mkdir()
    build_index(engine, source, folder)
    return folder
