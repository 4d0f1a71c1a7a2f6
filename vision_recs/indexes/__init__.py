"""Searchable projections of one store generation, each of which can be thrown away and built again.

exact    compares with every vector of the store, slowly and obviously; needs no files
flat     compares with every vector too, through FAISS, memory-mapped
ivf-pq   scans a part of the vectors as 4-bit codes, and scores the best of them exactly
hnsw     walks a graph over 8 bits of each principal component, and scores the best of them exactly
faiss    whatever a factory string of FAISS describes, scored exactly too

Nothing heavy is imported before an engine is built or opened.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vision_recs._lazy import lazy_names
from vision_recs.errors import VisionRecsError
from vision_recs.indexes.index_dir import verify
from vision_recs.types import VectorIndex, VectorSource

if TYPE_CHECKING:
    from vision_recs.indexes.autoselect import build_or_update
    from vision_recs.indexes.config import IndexConfig, IndexStats

__all__ = ["ENGINES", "IndexStats", "IndexConfig", "build_index", "build_or_update", "open_index", "verify"]

__getattr__ = lazy_names(__name__, {"IndexStats": "config", "IndexConfig": "config", "build_or_update": "autoselect"})

ENGINES = {
    "exact": "vision_recs.indexes.exact:ExactIndex",
    "faiss": "vision_recs.indexes.hnsw:GraphEngine",
    "flat": "vision_recs.indexes.flat:FlatIndex",
    "hnsw": "vision_recs.indexes.hnsw:HnswEngine",
    "ivf-pq": "vision_recs.indexes.ivf_pq:InvertedEngine",
}
"""The engines by name, and where each is defined."""


class _Engine(Protocol):
    def build(self, source: VectorSource, directory: Path) -> None: ...

    def open(self, source: VectorSource, directory: Path) -> VectorIndex: ...


def build_index(name: str, source: VectorSource, directory: Path) -> None:
    """Write the files of engine *name* into *directory*, which exists and is empty.

    The files are not flushed to the disk: publishing them is the caller's part. Raises VisionRecsError for a name that
    no engine has, ZeroVector where *source* gives a vector that is not of unit length.
    """
    _engine(name).build(source, directory)


def open_index(name: str, source: VectorSource, directory: Path) -> VectorIndex:
    """Return the index that `build_index` wrote to *directory* for the same *source*.

    It reads *source* for as long as it is used. Raises VisionRecsError for a name that no engine has, SpaceMismatch or
    StoreDamaged where the files belong to another space or generation, or are missing or cut off. What they hold is
    not read here: see `verify`.
    """
    return _engine(name).open(source, directory)


def _engine(name: str) -> _Engine:
    if name not in ENGINES:
        raise VisionRecsError(f"there is no engine {name!r}; use one of {', '.join(sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: _Engine = getattr(import_module(module), attribute)
    return engine
