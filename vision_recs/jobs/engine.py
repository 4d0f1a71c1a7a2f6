"""Building the engine of a generation, and publishing both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vision_recs.engines import Wish, make_index, open_index
from vision_recs.errors import SpaceMismatch, StoreError
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, Report
from vision_recs.store import Manifest, Store, Writer

NO_ENGINE = "exact"
"""What answers from a generation for which no engine was built; it has no files."""


def wish_of(base: Store | None) -> Wish:
    """Return what was last wished of the index of the store of *base*."""
    told: Mapping[str, Any] = (base.manifest.index if base else None) or {}
    return Wish(**told["wish"]) if "wish" in told else Wish()


def wish_for(options: IndexOptions, base: Store | None) -> Wish:
    """Return what *options* wish of the index; what they leave open stays as it was wished before."""
    before = wish_of(base)
    return replace(
        before,
        engine=options.engine or before.engine,
        memory=options.memory or before.memory,
        recall=options.recall or before.recall,
    )


def wants_engine(base: Store | None, wish: Wish) -> bool:
    """Whether an engine is to be built for a generation that, unchanged as its items may be, has none like it."""
    return base is not None and (base.manifest.engine == NO_ENGINE or wish_of(base) != wish)


def publish(writer: Writer, manifest: Manifest, wish: Wish | None, progress: Report) -> Store:
    """Build or change the engine for the generation of *manifest*, and let readers see the generation.

    Without a *wish* there is no engine; what was wished before is remembered.
    """
    if wish is None:
        return writer.publish(replace(manifest, index={"wish": asdict(wish_of(writer.base))}), None)
    source = Store(writer.layout, manifest)
    progress(Progress("building the index", 0, manifest.pictures))
    engine, figures, folder = _make(writer, source, wish, previous=_folder_of(writer.base))
    progress(Progress("building the index", manifest.pictures, manifest.pictures))
    index = {"wish": asdict(wish), **figures}
    manifest = replace(manifest, engine=engine, recall_at_10=figures["recall_at_10"], index=index)
    return writer.publish(manifest, folder)


def mend(writer: Writer, base: Store) -> None:
    """Build the engine of *base* again where it is gone or cannot be opened."""
    engine = base.manifest.engine
    target = writer.layout.engine(engine, base.generation)
    try:
        open_index(engine, base, target)
    except (StoreError, SpaceMismatch):
        _, _, folder = _make(writer, base, replace(wish_of(base), engine=engine), previous=None)
        writer.place_engine(folder, target)


def _make(writer: Writer, source: Store, wish: Wish, *, previous: Path | None) -> tuple[str, dict[str, Any], Path]:
    folder = writer.layout.tmp / "engine"
    folder.mkdir()
    engine, figures = make_index(wish, source, folder, previous=previous)
    return engine, asdict(figures), folder


def _folder_of(base: Store | None) -> Path | None:
    if base is None or base.manifest.engine == NO_ENGINE:
        return None
    folder = base.layout.engine(base.manifest.engine, base.generation)
    return folder if folder.is_dir() else None
