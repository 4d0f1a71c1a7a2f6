"""Building the index of a generation and publishing both: after `index`, `tune` (`retune`) and `learn`."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vision_recs._version import __version__
from vision_recs.errors import SpaceMismatch, StoreError, StoreUnavailable
from vision_recs.indexes.base import check_index
from vision_recs.indexes.config import IndexConfig
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import Progress, ProgressCallback, silent
from vision_recs.store import IndexPending, Manifest, Projection, Store, Writer, open_writer, space_of
from vision_recs.store.atomic_files import disk_errors
from vision_recs.store.partitions import no_store
from vision_recs.store.pending import pending_after

_log = logging.getLogger(__name__)

_MOST_ADDED = 256  # vectors that every query compares directly: 4 % of its time
_MOST_REMOVED = 1_024
_LARGEST_SHARE = 0.005  # of the vectors: of more, each answer has some, and takes longer; small indexes are soon made

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


def publish(
    writer: Writer,
    manifest: Manifest,
    config: IndexConfig | None,
    progress: ProgressCallback,
    *,
    trust_index: bool = False,
) -> Manifest:
    """Bring the index up to date for the generation of *manifest*, and let readers see the generation.

    Where few vectors changed, the index of the generation before stays in use, and what it lacks is written into the
    manifest; else it is updated or built. Without a *config* no index is built; the configuration of the generation
    before is kept for the next one. With *trust_index*, the sizes of the files of an index that stays or is updated are
    compared, and not every byte of them.
    """
    if config is None:
        without = replace(manifest, index_generation=None, index_pending=IndexPending())
        return writer.publish(replace(without, index_config=asdict(index_config_of(writer.base))), None)
    lagging = _with_index_of_base(writer, manifest, config, trust_index=trust_index)
    if lagging is not None:
        return writer.publish(lagging, None)
    progress(Progress("building the index", 0, manifest.images))
    with disk_errors(writer.layout.root), Store(writer.layout, manifest) as source:
        previous = _folder_of(writer.base)
        index_type, stats, folder = _make(writer, source, config, previous=previous, trust=trust_index)
    manifest = replace(
        manifest,
        index_type=index_type,
        index_config=asdict(config),
        index_stats=stats,
        index_generation=manifest.generation,
        index_pending=IndexPending(),
    )
    merged = manifest.merged_since(writer.base.manifest if writer.base else None)
    detail = f"the {merged:,} vectors beside it are part of it now" if merged else ""
    progress(Progress("building the index", manifest.images, manifest.images, detail))
    return writer.publish(manifest, folder)


def _with_index_of_base(
    writer: Writer, manifest: Manifest, config: IndexConfig, *, trust_index: bool
) -> Manifest | None:
    """Return *manifest* with the index of the last generation, or None where that index cannot stay in use."""
    base, folder = writer.base, _folder_of(writer.base)
    if base is None or folder is None or base.manifest.space != manifest.space or index_config_of(base) != config:
        return None
    pending = pending_after(base.manifest, manifest.shards)
    if not _may_wait(pending, manifest):
        return None
    problem = _index_problem(base, folder, trust=trust_index)
    if problem is not None:
        _log.warning("the index in %s is not used any more: %s", folder, problem)
        return None
    return replace(
        manifest,
        index_type=base.manifest.index_type,
        index_config=base.manifest.index_config,
        index_stats=base.manifest.index_stats,
        index_generation=base.manifest.index_generation,
        index_pending=pending,
    )


def _may_wait(pending: IndexPending, manifest: Manifest) -> bool:
    """Return whether an index that lags by *pending* answers for the generation of *manifest* as fast as a new one."""
    most = _LARGEST_SHARE * sum(shard.in_use for shard in manifest.shards)
    return pending.added_count <= min(_MOST_ADDED, most) and pending.removed_count <= min(_MOST_REMOVED, most)


def repair_index(writer: Writer, base: Store) -> Manifest:
    """Build the index of *base* again where a file of it is gone or altered, and log a warning that says so.

    Return the manifest of the published generation: that of *base*, or of a new one where other generations may use the
    same index, so that it has to stay as it is.
    """
    target = writer.layout.index_of(base.manifest)
    problem = None if target is None else _index_problem(base, target, trust=False)
    if target is None or problem is None:
        return base.manifest
    _log.warning("the index of generation %d is built again: %s", base.generation, problem)
    if base.manifest.index_generation != base.generation:
        return publish(writer, _copied(writer, base), _config_again(base), silent)
    with disk_errors(writer.layout.root):
        _, _, folder = _make(writer, base, _config_again(base), previous=None)
    writer.place_index(folder, target)
    return base.manifest


def _index_problem(base: Store, folder: Path, *, trust: bool) -> str | None:
    """Return what is wrong with the index of *base* in *folder*; unless it is to *trust*, every byte is read."""
    try:
        check_index(base.manifest.index_type, base, folder, made_from=base.manifest.index_generation)
        if trust:  # as does an update of a few items, which shall not take the time to import FAISS
            return None
        from vision_recs.indexes import verify

        return next(iter(verify(folder)), None)
    except StoreUnavailable:
        raise
    except (StoreError, SpaceMismatch) as error:
        return str(error)


def _copied(writer: Writer, base: Store) -> Manifest:
    """Return the manifest of a new generation that has the items and vectors of *base*."""
    writer.check_base(base)
    return replace(
        base.manifest,
        generation=writer.generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        visrec=__version__,
    )


def _config_again(base: Store) -> IndexConfig:
    """Return the configuration with which the index of *base* becomes one of the same type again."""
    config = index_config_of(base)
    return replace(config, index_type=base.manifest.index_type) if config.index_type == "auto" else config


def _make(
    writer: Writer, source: Store, config: IndexConfig, *, previous: Path | None, trust: bool = False
) -> tuple[str, dict[str, Any], Path]:
    from vision_recs.indexes import build_or_update

    folder = writer.layout.tmp / "index"
    folder.mkdir()
    index_type, stats = build_or_update(config, source, folder, previous=previous, trust=trust)
    return index_type, asdict(stats), folder


def _folder_of(base: Store | None) -> Path | None:
    folder = None if base is None else base.layout.index_of(base.manifest)
    return folder if folder is not None and folder.is_dir() else None


def retune(
    store: str | Path, projection: Projection | None, *, encoder: str | None = None, progress: ProgressCallback = silent
) -> Manifest:
    """Publish a generation of the store in the folder *store* with *projection*, or None for the encoder's vectors.

    Nothing is embedded; the index is built anew. A model that `visrec learn` published goes: it knows the scores of the
    vectors before. *encoder* is the fingerprint of the encoder from whose vectors the projection was learned. Raises
    StoreError, also where there is no projection to remove, and SpaceMismatch where the store now has vectors of
    another encoder.
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
        space = space_of(base.manifest.encoder, entry)
        manifest = replace(_copied(writer, base), projection=entry, space=space, model=None)
        config = None if base.manifest.index_type == NO_INDEX else index_config_of(base)
        return publish(writer, manifest, config, progress)


def publish_model(
    store: str | Path, model: bytes | None, *, space: str | None = None, progress: ProgressCallback = silent
) -> Manifest:
    """Publish a generation of the store in the folder *store* with the file *model*, or None for plain answers.

    Vectors, items and index stay. *space* is that of the scores from which the model was learned. Raises StoreError,
    also where there is no model to remove, and SpaceMismatch where the store now has vectors of another space.
    """
    with open_writer(store) as writer:
        base = _base(writer)
        if space not in (None, base.manifest.space):
            raise SpaceMismatch(
                f"the model was learned from scores of vectors of [{space}], the store now has those of "
                f"[{base.manifest.space}]; run `visrec learn` again"
            )
        if model is None is base.manifest.model:
            raise StoreError(f"{writer.layout.root} has no learned model; there is nothing to undo")
        digest = None if model is None else writer.add_model(model)
        config = None if base.manifest.index_type == NO_INDEX else index_config_of(base)
        return publish(writer, replace(_copied(writer, base), model=digest), config, progress)


def _base(writer: Writer) -> Store:
    if writer.base is None:
        raise no_store(writer.layout.root)
    return writer.base
