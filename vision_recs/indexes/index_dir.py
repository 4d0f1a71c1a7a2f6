"""Building, updating and verifying an index directory: the files of an index type, and their manifest `index.json`."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping
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
    config: IndexConfig,
    source: VectorSource,
    directory: Path,
    *,
    previous: Path | None = None,
    trust: bool = False,
) -> tuple[str, IndexStats]:
    """Write an index of *source* into the empty *directory*; return the name of its type, and what was measured.

    *previous* is the directory of the index of an earlier generation. Where it was made with an equal *config*, it is
    updated rather than built anew, unless too much has changed or it no longer reaches its recall. Every byte of it is
    compared with its digest first, unless it is to *trust*: files that stay as they are keep the digests that they had.
    The files are not flushed to the disk: publishing them is left to the caller. Raises UnknownIndexType,
    IndexBuildError where FAISS cannot build the index, and ZeroVector for a vector that is not of unit length.
    """
    if previous is not None:
        updated = _update(config, source, previous, directory, trust=trust)
        if updated is not None:
            return updated
    chosen = autoselect.choose(config, source)
    stats = chosen.build(source, directory, config)
    _write_manifest(directory, source, chosen.name, config, stats, shared={})
    return chosen.name, stats


def _update(
    config: IndexConfig, source: VectorSource, previous: Path, directory: Path, *, trust: bool
) -> tuple[str, IndexStats] | None:
    """Return what `build_or_update` does after updating the index in *previous*, or None where that cannot be done."""
    try:
        before = read_manifest(previous)
        is_same = (before.space, before.dim) == (source.fingerprint, source.dim)
        another = config.index_type == "auto" and autoselect.prefers_flat(config, source) != (before.type == "flat")
        if not is_same or IndexConfig(**before.config) != config or another:
            return None
        if not trust:
            _raise_first(verify(previous))  # else an update would keep the damage
        stats = find_index_type(before.type).update(source, previous, directory, config)
        shared = _shared_files(before, previous, directory)
        if trust and stats is not None:  # what is not shared was read, to be written anew
            _raise_first(_altered_files(previous, before, without=shared))
    except (StoreDamaged, UnknownFormat, UnknownIndexType) as error:
        log.warning("the index in %s cannot be updated, so that it is built anew: %s", previous, error)
        stats = None
    if stats is None or (before.stats["target_recall_met"] and not stats.target_recall_met):
        for path in directory.iterdir():
            path.unlink()
        return None
    _write_manifest(directory, source, before.type, config, stats, shared=shared)
    return before.type, stats


def _raise_first(problems: Iterable[str]) -> None:
    """Raise StoreDamaged with the first of *problems*, if there is one."""
    for problem in problems:
        raise StoreDamaged(problem)


def _shared_files(before: IndexManifest, previous: Path, directory: Path) -> dict[str, FileEntry]:
    """Return the files in *directory* that are those of the index in *previous*, whose manifest is *before*."""
    names = [path.name for path in directory.iterdir() if path.name in before.files]
    return {name: before.files[name] for name in names if (directory / name).samefile(previous / name)}


def _verified_files(manifest: IndexManifest, directory: Path, verified: Path | None) -> set[str]:
    """Return which files of *manifest*, in *directory*, are those of the index in *verified*, if there is one."""
    if verified is None:
        return set()
    try:
        shared = _shared_files(read_manifest(verified), verified, directory)
    except (StoreDamaged, UnknownFormat, OSError):  # it may have been removed
        return set()
    return {name for name, entry in shared.items() if manifest.files.get(name) == entry}


def _write_manifest(  # noqa: PLR0913 - what an index is made from, how, and its files
    directory: Path,
    source: VectorSource,
    name: str,
    config: IndexConfig,
    stats: IndexStats,
    *,
    shared: Mapping[str, FileEntry],
) -> None:
    """Write `index.json` for the files in *directory*: an index of type *name* that was made from *source*.

    The *shared* ones, which another index has too, are not read.
    """
    files = {
        path.name: shared.get(path.name) or FileEntry(path.stat().st_size, sha256_file(path))
        for path in directory.iterdir()
    }
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


def verify(directory: Path, *, verified: Path | None = None) -> list[str]:
    """Return a sentence for each fault of the index in *directory*; an empty list says that there is none.

    Every byte is read, and compared with the digest that was taken when the index was built; but not those of files
    that it shares with the index in the folder *verified*.
    """
    try:
        manifest = read_manifest(directory)
        index_type = find_index_type(manifest.type)
    except (StoreDamaged, UnknownFormat, UnknownIndexType) as error:
        return [str(error)]
    problems = [*wrong_sizes(directory, manifest), *_unknown_files(directory, manifest)]
    problems = problems or list(
        _altered_files(directory, manifest, without=_verified_files(manifest, directory, verified))
    )
    return problems or index_type.verify(directory)


def _unknown_files(directory: Path, manifest: IndexManifest) -> Iterator[str]:
    for name in sorted(path.name for path in directory.iterdir()):
        if name not in manifest.files and name != MANIFEST:
            yield f"{directory / name} does not belong to the index"


def _altered_files(directory: Path, manifest: IndexManifest, *, without: Container[str] = frozenset()) -> Iterator[str]:
    for name, entry in manifest.files.items():
        problem = None if name in without else digest_problem(directory / name, entry.sha256)
        if problem is not None:
            yield problem
