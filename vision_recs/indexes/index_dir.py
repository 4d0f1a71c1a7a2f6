"""Building, updating and verifying an index directory: the files of an index type, and their manifest `index.json`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from vision_recs.errors import StoreDamaged, UnknownFormat, UnknownIndexType
from vision_recs.indexes import autoselect
from vision_recs.indexes.base import MANIFEST, FileEntry, IndexManifest, find_index_type, read_manifest, wrong_sizes
from vision_recs.indexes.config import IndexConfig, IndexStats
from vision_recs.store.atomic_files import digest_problem, sha256_file
from vision_recs.types import VectorSource

log = logging.getLogger(__name__)


def build_or_update(
    config: IndexConfig, source: VectorSource, directory: Path, *, previous: Path | None = None
) -> tuple[str, IndexStats]:
    """Write an index of *source* into the empty *directory*; return the name of its type, and what was measured.

    *previous* is the directory of the index of an earlier generation. Where it was made with an equal *config*, it is
    updated rather than built anew, unless too much has changed or it no longer reaches its recall. The files are not
    flushed to the disk: publishing them is left to the caller. Raises UnknownIndexType, IndexBuildError where FAISS
    cannot build the index, and ZeroVector for a vector that is not of unit length.
    """
    if previous is not None:
        updated = _update(config, source, previous, directory)
        if updated is not None:
            return updated
    chosen = autoselect.choose(config, source)
    stats = chosen.build(source, directory, config)
    _write_manifest(directory, source, chosen.name, config, stats)
    return chosen.name, stats


def _update(
    config: IndexConfig, source: VectorSource, previous: Path, directory: Path
) -> tuple[str, IndexStats] | None:
    """Return what `build_or_update` does after updating the index in *previous*, or None where that cannot be done."""
    try:
        before = read_manifest(previous)
        is_same = (before.space, before.dim) == (source.fingerprint, source.dim)
        another = config.index_type == "auto" and autoselect.prefers_flat(config, source) != (before.type == "flat")
        if not is_same or IndexConfig(**before.config) != config or another:
            return None
        _require_sound(previous)
        stats = find_index_type(before.type).update(source, previous, directory, config)
    except (StoreDamaged, UnknownFormat, UnknownIndexType) as error:
        log.warning("the index in %s cannot be updated, so that it is built anew: %s", previous, error)
        stats = None
    if stats is None or (before.stats["target_recall_met"] and not stats.target_recall_met):
        for path in directory.iterdir():
            path.unlink()
        return None
    _write_manifest(directory, source, before.type, config, stats)
    return before.type, stats


def _require_sound(directory: Path) -> None:
    """Raise StoreDamaged where the index in *directory* is not what was written: an update would copy the damage."""
    for problem in verify(directory):
        raise StoreDamaged(problem)


def _write_manifest(directory: Path, source: VectorSource, name: str, config: IndexConfig, stats: IndexStats) -> None:
    """Write `index.json` for the files in *directory*: an index of type *name* that was made from *source*."""
    files = {path.name: FileEntry(path.stat().st_size, sha256_file(path)) for path in directory.iterdir()}
    manifest = IndexManifest(
        type=name,
        space=source.fingerprint,
        generation=source.generation,
        vectors=len(source.positions()),
        dim=source.dim,
        files=files,
        config=asdict(config),
        stats=asdict(stats),
    )
    (directory / MANIFEST).write_bytes(manifest.to_bytes())


def verify(directory: Path) -> list[str]:
    """Return a sentence for each fault of the index in *directory*; an empty list says that there is none.

    Every byte is read, and compared with the digest that was taken when the index was built.
    """
    try:
        manifest = read_manifest(directory)
        index_type = find_index_type(manifest.type)
    except (StoreDamaged, UnknownFormat, UnknownIndexType) as error:
        return [str(error)]
    problems = [*wrong_sizes(directory, manifest), *_unknown_files(directory, manifest)]
    problems = problems or list(_altered_files(directory, manifest))
    return problems or index_type.verify(directory)


def _unknown_files(directory: Path, manifest: IndexManifest) -> Iterator[str]:
    for name in sorted(path.name for path in directory.iterdir()):
        if name not in manifest.files and name != MANIFEST:
            yield f"{directory / name} does not belong to the index"


def _altered_files(directory: Path, manifest: IndexManifest) -> Iterator[str]:
    for name, entry in manifest.files.items():
        problem = digest_problem(directory / name, entry.sha256)
        if problem is not None:
            yield problem
