"""Building the index of a generation and publishing both: after `index`, and after `visrec tune` (`retune`)."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vision_recs._version import __version__
from vision_recs.errors import SpaceMismatch, StoreError, StoreNotFound, StoreUnavailable
from vision_recs.indexes import IndexConfig, build_or_update, open_index, verify
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, ProgressCallback, silent
from vision_recs.store import Manifest, Projection, Store, Writer, open_writer, space_of
from vision_recs.store.atomic_files import disk_errors

_log = logging.getLogger(__name__)

NO_INDEX = "exact"
"""What answers from a generation for which no index was built; it has no files."""


def index_config_of(base: Store | None) -> IndexConfig:
    """Return the configuration of the index of *base*, or the default one."""
    config = base.manifest.index_config if base else None
    return IndexConfig(**config) if config else IndexConfig()


def chosen_index_config(options: IndexOptions, base: Store | None) -> IndexConfig:
    """Return the configuration that *options* choose; what they leave open is as it was in *base*."""
    before = index_config_of(base)
    return replace(
        before,
        index_type=options.index_type or before.index_type,
        max_memory=options.max_memory or before.max_memory,
        target_recall=options.target_recall or before.target_recall,
    )


def needs_index(base: Store | None, config: IndexConfig) -> bool:
    """Return whether *base* has no index, or one with another configuration than *config*."""
    return base is not None and (base.manifest.index_type == NO_INDEX or index_config_of(base) != config)


def publish(writer: Writer, manifest: Manifest, config: IndexConfig | None, progress: ProgressCallback) -> Manifest:
    """Build or update the index for the generation of *manifest*, and let readers see the generation.

    Without a *config* no index is built; the configuration of the generation before is kept for the next one.
    """
    if config is None:
        return writer.publish(replace(manifest, index_config=asdict(index_config_of(writer.base))), None)
    progress(Progress("building the index", 0, manifest.images))
    with disk_errors(writer.layout.root), Store(writer.layout, manifest) as source:
        index_type, stats, folder = _make(writer, source, config, previous=_folder_of(writer.base))
    progress(Progress("building the index", manifest.images, manifest.images))
    manifest = replace(manifest, index_type=index_type, index_config=asdict(config), index_stats=stats)
    return writer.publish(manifest, folder)


def repair_index(writer: Writer, base: Store) -> None:
    """Build the index of *base* again where a file of it is gone or altered, and log a warning that says so."""
    index_type = base.manifest.index_type
    if index_type == NO_INDEX:
        return
    target = writer.layout.index_dir(index_type, base.generation)
    try:
        open_index(index_type, base, target)
        problem = next(iter(verify(target)), None)
    except StoreUnavailable:
        raise
    except (StoreError, SpaceMismatch) as error:
        problem = str(error)
    if problem is not None:
        _log.warning("the index of generation %d is built again: %s", base.generation, problem)
        with disk_errors(writer.layout.root):
            _, _, folder = _make(writer, base, _config_again(base), previous=None)
        writer.place_index(folder, target)


def _config_again(base: Store) -> IndexConfig:
    """Return the configuration with which the index of *base* becomes one of the same type again."""
    config = index_config_of(base)
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


def retune(
    store: str | Path, projection: Projection | None, *, encoder: str | None = None, progress: ProgressCallback = silent
) -> Manifest:
    """Publish a generation of the store in the folder *store* with *projection*, or None for the encoder's vectors.

    Nothing is embedded; the index is built anew. *encoder* is the fingerprint of the encoder from whose vectors the
    projection was learned. Raises StoreError, also where there is no projection to remove, and SpaceMismatch where the
    store now has vectors of another encoder.
    """
    with open_writer(store) as writer:
        base = _base(writer)
        current = base.manifest.encoder.fingerprint
        if encoder not in (None, current):
            raise SpaceMismatch(
                f"the projection was learned from vectors of [{encoder}], the store now has those of "
                f"{base.manifest.encoder.name} [{current}]; run `visrec tune` again"
            )
        if projection is None is base.manifest.projection:
            raise StoreError(f"{writer.layout.root} has no projection; there is nothing to undo")
        entry = None if projection is None else writer.add_projection(projection)
        manifest = replace(
            base.manifest,
            generation=writer.copy_items(base),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            visrec=__version__,
            projection=entry,
            space=space_of(base.manifest.encoder, entry),
        )
        config = None if base.manifest.index_type == NO_INDEX else index_config_of(base)
        return publish(writer, manifest, config, progress)


def _base(writer: Writer) -> Store:
    if writer.base is None:
        raise StoreNotFound(f"there is no store in {writer.layout.root}; make one with `visrec index CATALOG`")
    return writer.base
