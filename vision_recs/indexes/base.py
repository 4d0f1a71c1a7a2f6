"""What all index types share: the table of types, the manifest of an index directory, and the way to matches.

An index type writes its files into a directory, and opens them as a `VectorIndex`. `index_dir` adds `index.json`, the
manifest, which names the store generation, the configuration and the digest of each file. `open_index` reads it, so
that an index type need not.

A search has three steps: `unit_queries` scales the queries, the index finds positions with their exact scores, and
`matches` turns positions into images of items. `search_by_position` does all three, and `exclude` and `group_by` too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import SpaceMismatch, StoreDamaged, UnknownFormat, UnknownIndexType, ZeroVector, read_error
from vision_recs.file_formats import dump_checksummed, is_newer, load_checksummed
from vision_recs.types import (
    Attribute,
    FilteredSource,
    ItemSource,
    Match,
    Row,
    SearchRequest,
    VectorIndex,
    VectorReader,
    Vectors,
    VectorSource,
)
from vision_recs.vectors import normalize_or_raise

if TYPE_CHECKING:  # a query needs neither
    from vision_recs.indexes.config import IndexConfig, IndexStats
    from vision_recs.store import IndexPending, Store

INDEX_TYPES = {
    "faiss": "vision_recs.indexes.hnsw:FaissIndexType",
    "flat": "vision_recs.indexes.flat:FlatIndexType",
    "hnsw": "vision_recs.indexes.hnsw:HnswIndexType",
    "ivf-pq": "vision_recs.indexes.ivf_pq:IvfPqIndexType",
}
"""The index types by name, and the class of each as "module:Class"."""

ENTRY_POINTS = "visrec.index_types"
"""The group of entry points by which an installed package offers index types."""

FAISS_PREFIX = "faiss:"
"""What stands before a factory string of FAISS where an index type is named: `faiss:IVF256,Flat`."""

MANIFEST = "index.json"
FORMAT = 1

_REBUILD = "rebuild it with `visrec index`"

_UNIT_TOLERANCE = 0.01
"""How far the length of a vector may be from 1. Vectors that were stored as float16 are much closer."""


class IndexType(Protocol):
    """A kind of index: how its files are built, updated, opened and verified.

    A class that has these methods, and can be called without arguments, becomes usable by `register_index_type`.
    """

    @property
    def name(self) -> str:
        """The name in `INDEX_TYPES`."""
        ...

    def build(self, source: VectorSource, directory: Path, config: IndexConfig) -> IndexStats:
        """Write the files of an index of all vectors of *source* into *directory*, and return what was measured.

        *directory* exists and is empty. Write plain files only, not `index.json`; nothing has to be flushed to the
        disk. Equal vectors and an equal *config* give the same index. Raises ZeroVector for a vector in *source* that
        is not of unit length.
        """
        ...

    def update(self, source: VectorSource, previous: Path, directory: Path, config: IndexConfig) -> IndexStats | None:
        """Write into *directory* what the index in *previous* becomes for *source*, and return what was measured.

        *previous* was made with an equal *config* from an earlier generation in the same space, and must stay as it
        is; its files may be linked into *directory*. They may be altered: a file that could end the process if a byte
        of it has changed is checked here. Returns None where the index has to be built anew; the files written so far
        are then removed. Raises StoreDamaged where *previous* cannot be read, which leads to a new index, too.
        """
        ...

    def open(self, source: VectorSource, directory: Path) -> VectorIndex:
        """Return the index in *directory*, which was made from *source*, for as long as *source* is open.

        The sizes of the files were checked, their contents were not: a file that could end the process if a byte of it
        has changed is checked here. Raises StoreDamaged.
        """
        ...

    def verify(self, directory: Path) -> list[str]:
        """Return a sentence for each fault of the files in *directory* that their digests do not show."""
        ...


@runtime_checkable
class SharedFiles(Protocol):
    """What an opened index has that can lend its open files to another generation."""

    def with_source(self, source: VectorSource) -> VectorIndex | None:
        """Return the same index over *source*, of a generation with the same vectors; None where that cannot be."""
        ...


def register_index_type(name: str, location: str) -> None:
    """Let `IndexConfig` and `--index-type` use *name* for the class at *location*, which is "module:Class".

    The module is imported when the index type is first used. An installed package does the same for every program by an
    entry point in the group `visrec.index_types`. Raises ValueError for a *name* that visrec uses itself.
    """
    if name in ("auto", "exact") or INDEX_TYPES.get(name, location) != location or ":" in name:
        raise ValueError(f"the index type {name!r} cannot be registered: the name is taken or holds a colon")
    INDEX_TYPES[name] = location


def find_index_type(name: str) -> IndexType:
    """Return the index type with that *name*, or the one of a factory string of FAISS; raises UnknownIndexType."""
    location = require_index_type(name)
    module, _, attribute = location.partition(":")
    index_type: IndexType = getattr(import_module(module), attribute)()
    if index_type.name != name.partition(":")[0]:
        raise UnknownIndexType(f"{location} is named {index_type.name!r}, not {name!r}; register it by its own name")
    return index_type


def require_index_type(name: str) -> str:
    """Return where the class of the index type *name* is, as "module:Class"; raises UnknownIndexType."""
    found = INDEX_TYPES.get("faiss" if name.startswith(FAISS_PREFIX) else name)
    if found is None:
        from importlib.metadata import entry_points

        others = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
        found = others.get(name)
        if found is None:
            names = ", ".join(sorted({"auto", *INDEX_TYPES, *others} - {"faiss"}))
            raise UnknownIndexType(
                f"there is no index type {name!r}; use {names}, or faiss: and a factory string of FAISS, as "
                f"{FAISS_PREFIX}IVF256,Flat"
            )
    return found


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The size of a file in bytes, and the SHA-256 of its contents in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """What `index.json` says: what an index was made from, how, and its other files by name.

    *type* is the name of the index type, *space* the fingerprint of the space, *vectors* the number of vectors and
    *dim* that of their columns. *config* is the `IndexConfig` and *stats* are the `IndexStats`, both as dictionaries.
    """

    type: str
    space: str
    generation: int
    vectors: int
    dim: int
    files: Mapping[str, FileEntry]
    config: Mapping[str, Any]
    stats: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Return the checksummed JSON text."""
        return dump_checksummed({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> IndexManifest:
        """Return what `to_bytes` wrote; raises StoreDamaged, or UnknownFormat for the text of a newer visrec."""
        value = load_checksummed(data)
        if is_newer(value.pop("format", None), FORMAT):
            raise UnknownFormat("it was written by a newer visrec; upgrade visrec, or rebuild it with `visrec index`")
        try:
            return cls(**{**value, "files": {name: FileEntry(**entry) for name, entry in value["files"].items()}})
        except (AttributeError, LookupError, TypeError) as error:  # another file with a checksum took its place
            raise StoreDamaged(f"it does not describe an index; {_REBUILD}") from error


def read_manifest(directory: Path) -> IndexManifest:
    """Return the manifest of the index in *directory*; raises StoreDamaged or UnknownFormat."""
    path = directory / MANIFEST
    try:
        return IndexManifest.from_bytes(path.read_bytes())
    except OSError as error:
        raise read_error(path, error, "rebuild it with `visrec index`") from error
    except UnknownFormat as error:
        raise UnknownFormat(f"{path}: {error}") from error
    except StoreDamaged as error:
        raise StoreDamaged(f"{path} was altered, or another file took its place; {_REBUILD}") from error


def open_index(  # noqa: PLR0913 - what is beyond the third belongs to generations that share an index
    name: str,
    source: VectorSource,
    directory: Path,
    *,
    made_from: int | None = None,
    pending: IndexPending | None = None,
    previous: VectorIndex | None = None,
) -> VectorIndex:
    """Return the index of type *name* in *directory*, which was made from *source*, for as long as *source* is open.

    *made_from* is the generation from which the index was made, where that is an earlier one than that of *source*, and
    *pending* is how the two differ. *previous* is an index that is open in the same directory, whose files are then not
    opened again where it has `SharedFiles`. Raises UnknownIndexType, and what `check_index` raises.
    """
    index_type = find_index_type(name)
    check_index(name, source, directory, made_from=made_from)

    def opened(known: VectorSource) -> VectorIndex:
        shared = previous.with_source(known) if isinstance(previous, SharedFiles) else None
        return shared or index_type.open(known, directory)

    if made_from is None or pending is None or not (pending.added or pending.removed):
        return opened(source)
    from vision_recs.indexes.lagging import lagging_index

    return lagging_index(opened, source, pending, made_from=made_from)


def check_index(name: str, source: VectorReader, directory: Path, *, made_from: int | None = None) -> None:
    """Raise an error unless *directory* holds an index of type *name* that was made from *source*: see `open_index`.

    Raises SpaceMismatch for an index of another space; StoreDamaged for an index of another type or generation, and
    where a file is missing or has another size. What the files hold is not read here: see `index_dir.verify`.
    """
    manifest = read_manifest(directory)
    if manifest.type != name:
        raise StoreDamaged(
            f"{directory} holds an index of type {manifest.type!r}, not {name!r}; rebuild it with `visrec index`"
        )
    if (manifest.space, manifest.dim) != (source.fingerprint, source.dim):
        raise SpaceMismatch(
            f"{directory} holds vectors of the space {manifest.space} ({manifest.dim} columns), the store those of "
            f"{source.fingerprint} ({source.dim} columns); rebuild it with `visrec index`"
        )
    expected = source.generation if made_from is None else made_from
    if manifest.generation != expected:
        raise StoreDamaged(
            f"{directory} was built from generation {manifest.generation}, the store is at {expected}; "
            "rebuild it with `visrec index`"
        )
    for problem in wrong_sizes(directory, manifest):
        raise StoreDamaged(f"{problem}; rebuild it with `visrec index`")


def open_published(
    store: Store, source: VectorSource | None = None, *, previous: VectorIndex | None = None
) -> VectorIndex:
    """Return the published index of *store*, or exact search over its vectors where there is no index directory.

    The index reads vectors and rows from *source*, such as a cache of *store*, or without it from *store* itself.
    *previous* is the open index of another generation that is searched by the same files.
    """
    source = source or store
    manifest, directory = store.manifest, store.layout.index_of(store.manifest)
    if directory is not None and directory.is_dir():
        made_from, pending = manifest.index_generation, manifest.index_pending
        return open_index(
            manifest.index_type, source, directory, made_from=made_from, pending=pending, previous=previous
        )
    from vision_recs.indexes.exact import ExactIndex

    return ExactIndex(source)


def wrong_sizes(directory: Path, manifest: IndexManifest) -> Iterator[str]:
    """Yield a sentence for each file of *manifest* that is missing in *directory* or has another size."""
    for name, entry in manifest.files.items():
        path = directory / name
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            yield f"{path} is missing"
            continue
        except OSError as error:
            raise read_error(path, error, "rebuild it with `visrec index`") from error
        if size != entry.size:
            yield f"{path} has {size} bytes, not {entry.size}"


def require_unaltered(directory: Path, name: str) -> None:
    """Raise StoreDamaged where the file *name* of the index in *directory* is not the one that was written.

    The whole file is read, a millisecond for each megabyte. That is for files that FAISS takes as they are: a byte that
    changed in one of them could end the process.
    """
    path, entry = directory / name, read_manifest(directory).files.get(name)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise read_error(path, error, "rebuild it with `visrec index`") from error
    if entry is None or found != entry.sha256:
        raise StoreDamaged(f"{path} was altered; rebuild it with `visrec index`")


class Scored(NamedTuple):
    """Positions (n,) and the score of each, in the same order."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]


NOTHING = Scored(np.empty(0, np.int64), np.empty(0, np.float32))
"""No position at all."""

Nearest: TypeAlias = Callable[[Vectors, int, FilteredSource | None], list[Scored]]
"""(unit queries, k, filter) -> for each query its *k* nearest positions, and all whose score equals the k-th."""


@runtime_checkable
class PositionIndex(Protocol):
    """What an opened index has that knows positions of its source: rules then work on arrays, not on matches."""

    def nearest(self, queries: Vectors, k: int, within: FilteredSource | None = None) -> list[Scored]:
        """Return the *k* nearest positions to each unit query, and all whose score equals the k-th."""
        ...


LASTS = 15
"""So many images around the k-th nearest say together what its score is."""


class Near(NamedTuple):
    """Positions (n,) among which the k nearest to a query are, and some of them (m,) that are about as far as the k-th.

    None is as far as that where these are all that there are.
    """

    positions: NDArray[np.int64]
    lasts: NDArray[np.int64]


@runtime_checkable
class RoughIndex(Protocol):
    """What an opened index has that finds what is near without comparing it, so that few need be compared."""

    def near(self, queries: Vectors, k: int) -> list[Near]:
        """Return what may be among the *k* nearest positions to each unit query, no vector of which is compared."""
        ...


def search_by_position(source: VectorSource, request: SearchRequest, nearest: Nearest) -> list[list[Match]]:
    """Return the matches of *request* in *source*, found by *nearest*: what `VectorIndex.search` promises."""
    queries = unit_queries(request.vectors, request.k, dim=source.dim)
    within = None if request.where is None else source.filtered(request.where)
    shown = source if within is None else within
    if not request.exclude and request.group_by is None:
        return matches(shown, nearest(queries, request.k, within), request.k)
    results: list[list[Match]] = [[] for _ in queries]
    wanting = list(range(len(queries)))
    count = request.k + len(request.exclude)
    while wanting:
        found = matches(shown, nearest(queries[wanting], count, within), count)
        incomplete = []
        for number, candidates in zip(wanting, found, strict=True):
            results[number] = allowed(candidates, source, request)
            if len(results[number]) < request.k and len(candidates) == count:
                incomplete.append(number)
        wanting, count = incomplete, 4 * count
    return results


Group: TypeAlias = tuple[bool, Attribute]
"""The value of an attribute by which items are grouped; the first part keeps true from being equal to 1."""


def group_of(attributes: Mapping[str, Attribute], name: str | None) -> Group | None:
    """Return the group of an item with *attributes*: its value for the attribute *name*, or None where it has none."""
    value = None if name is None else attributes.get(name)
    return None if value is None else (isinstance(value, bool), value)


def allowed(candidates: Sequence[Match], source: VectorSource | ItemSource, request: SearchRequest) -> list[Match]:
    """Return the first `request.k` of *candidates* that are not excluded, the best one of each group."""
    kept = [match for match in candidates if match.id not in request.exclude]
    if request.group_by is None:
        return kept[: request.k]
    attributes = source.attributes_of(list({match.id: None for match in kept}))
    seen: set[Group | None] = set()
    results: list[Match] = []
    for match in kept:
        group = group_of(attributes.get(match.id, {}), request.group_by)
        if group is None or group not in seen:
            seen.add(group)
            results.append(match)
            if len(results) == request.k:
                break
    return results


def unit_queries(vectors: NDArray[np.floating], k: int, *, dim: int) -> Vectors:
    """Return the queries *vectors* (n, dim) scaled to length 1.

    Raises ValueError for *k* below 1 and for another shape, ZeroVector for a query without a direction.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least 1 match")
    if vectors.shape[1:] != (dim,):
        raise ValueError(f"the queries have the shape {vectors.shape}, the index takes (n, {dim})")
    return normalize_or_raise(vectors)


def blocks(
    source: VectorReader, size: int, positions: NDArray[np.int64] | None = None
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Yield *positions*, or all positions of *source*, with their vectors (n, dim), at most *size* at a time.

    Raises ZeroVector for a vector that is not of unit length, since its inner products are not cosines.
    """
    alive = source.positions() if positions is None else positions
    for start in range(0, len(alive), size):
        positions = alive[start : start + size]
        vectors = np.ascontiguousarray(source.vectors(positions), dtype=np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = ~(np.abs(lengths - 1) <= _UNIT_TOLERANCE)  # also true for NaN
        if wrong.any():
            first = int(np.argmax(wrong))
            raise ZeroVector(
                f"the vector at position {positions[first]} has the length {lengths[first]}, not 1; "
                "embed it again with `visrec index`"
            )
        yield positions, vectors


def is_marked(mask: NDArray[np.bool_], positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether *mask* marks each of *positions*, which an index stores.

    An index keeps vectors that were deleted since it was built; where they were the last ones of the store, the mask
    ends before their positions. Raises StoreDamaged for a position below 0.
    """
    if positions.min(initial=0) < 0:  # which would count from the end
        raise StoreDamaged("a position of the index is below 0; rebuild it with `visrec index`")
    try:
        return mask[positions]
    except IndexError:
        marked = np.zeros(positions.shape, np.bool_)
        is_inside = positions < len(mask)
        marked[is_inside] = mask[positions[is_inside]]
        return marked


def top_k_with_ties(scored: Scored, k: int) -> Scored:
    """Return the *k* highest scores of *scored*, and all that equal the lowest of those, in the given order."""
    if len(scored.scores) <= k:
        return scored
    keep = scored.scores >= np.partition(scored.scores, -k)[-k]
    return Scored(scored.positions[keep], scored.scores[keep])


def matches(source: VectorSource | FilteredSource, found: Sequence[Scored], k: int) -> list[list[Match]]:
    """Return the *k* best images for each of *found*, which are positions of *source* with all ties of the k-th.

    Raises StoreDamaged for a position that no row shows.
    """
    if not found:
        return []
    positions = sorted({position for scored in found for position in scored.positions.tolist()})
    rows = source.rows(positions, limit=k)
    if not all(rows.values()):
        raise StoreDamaged("the index names a vector that no item shows; rebuild it with `visrec index`")
    return [_ranked(scored, rows, k) for scored in found]


def _ranked(scored: Scored, rows: Mapping[int, list[Row]], k: int) -> list[Match]:
    pairs = zip(scored.positions.tolist(), scored.scores.tolist(), strict=True)
    images = [Match(row.id, score, row.image, row.digest) for position, score in pairs for row in rows[position]]
    images.sort(key=lambda match: (-match.score, match.id, match.image))
    return images[:k]
