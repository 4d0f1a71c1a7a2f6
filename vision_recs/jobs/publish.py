"""Building the index of a generation, and publishing both."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vision_recs.errors import SpaceMismatch, StoreError, StoreUnavailable
from vision_recs.indexes import IndexConfig, build_or_update, open_index
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, Report
from vision_recs.store import Manifest, Store, Writer
from vision_recs.store.atomic_files import disk_errors

NO_INDEX = "exact"
"""What answers from a generation for which no index was built; it has no files."""


def config_of(base: Store | None) -> IndexConfig:
    """Return the configuration of the index of *base*."""
    config = base.manifest.index_config if base else None
    return IndexConfig(**config) if config else IndexConfig()


def config_for(options: IndexOptions, base: Store | None) -> IndexConfig:
    """Return the configuration that *options* ask for; what they leave open stays as it was before."""
    before = config_of(base)
    return replace(
        before,
        index_type=options.index_type or before.index_type,
        max_memory=options.max_memory or before.max_memory,
        target_recall=options.target_recall or before.target_recall,
    )


def wants_index(base: Store | None, config: IndexConfig) -> bool:
    """Whether an index is to be built although the items may be unchanged: there is none, or one with another configuration."""
    return base is not None and (base.manifest.index_type == NO_INDEX or config_of(base) != config)


def publish(writer: Writer, manifest: Manifest, config: IndexConfig | None, progress: Report) -> Manifest:
    """Build or update the index for the generation of *manifest*, and let readers see the generation.

    Without a *config* there is no index; the configuration of before is remembered.
    """
    if config is None:
        return writer.publish(replace(manifest, index_config=asdict(config_of(writer.base))), None)
    progress(Progress("building the index", 0, manifest.images))
    with disk_errors(writer.layout.root), Store(writer.layout, manifest) as source:
        index_type, stats, folder = _make(writer, source, config, previous=_folder_of(writer.base))
    progress(Progress("building the index", manifest.images, manifest.images))
    manifest = replace(manifest, index_type=index_type, index_config=asdict(config), index_stats=stats)
    return writer.publish(manifest, folder)


def mend(writer: Writer, base: Store) -> None:
    """Build the index of *base* again where it is gone or cannot be opened."""
    index_type = base.manifest.index_type
    if index_type == NO_INDEX:
        return
    target = writer.layout.index_dir(index_type, base.generation)
    try:
        open_index(index_type, base, target)
    except StoreUnavailable:
        raise
    except (StoreError, SpaceMismatch):
        with disk_errors(writer.layout.root):
            _, _, folder = _make(writer, base, _config_again(base), previous=None)
        writer.place_index(folder, target)


def _config_again(base: Store) -> IndexConfig:
    """Return the configuration with which the index of *base* becomes one of the same type again."""
    config = config_of(base)
    return replace(config, index_type=base.manifest.index_type) if config.index_type == "auto" else config


def _make(
    writer: Writer, source: Store, config: IndexConfig, *, previous: Path | None
) -> tuple[str, dict[str, Any], Path]:
    folder = writer.layout.tmp / "index"
    folder.mkdir()
    index_type, stats = build_or_update(config, source, folder, previous=previous)
    return index_type, asdict(stats), folder


def _folder_of(base: Store | None) -> Path | None:
    if base is None or base.manifest.index_type == NO_INDEX:
        return None
    folder = base.layout.index_dir(base.manifest.index_type, base.generation)
    return folder if folder.is_dir() else None
