"""Indexes: derived from one store generation to search it on this machine, and built again at any time.

A map of the room, from the door inwards:

base            the `IndexType` protocol and the table of types; opening an index; from positions to matches
index_dir       building, updating and verifying an index directory, which holds an index and its manifest
config          `IndexConfig` (what is wanted), `IndexStats` (what was measured), `SearchProfile` (how to search)

lagging         an index of an earlier generation, with what was added and removed since
exact           exact search without an index, and recall measured against it
flat            `flat`: compares with every vector through FAISS, memory-mapped; exact
hnsw            `hnsw`: a graph over principal components of one byte each; `faiss`: what a factory string describes
ivf_pq          `ivf-pq`: inverted lists of 4-bit codes

rescoring       approximate search: a candidate source proposes, the vectors of the store decide
faiss_search    candidates from one index of FAISS; hnsw_mmap keeps its graph in mapped files
ivf_search      candidates from inverted lists; inverted_lists keeps them in segments
faiss_files     files of FAISS, and arrays that FAISS reads where they are; _faiss is FAISS with threads that sleep

autoselect      which index to build
autotune        with what effort to search it
holdout         the queries for that, and their exact answers

An index type from outside the package is registered by `register_index_type`. FAISS is imported when an index is built
or opened, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.indexes.base import (
        INDEX_TYPES,
        IndexType,
        find_index_type,
        open_index,
        open_published,
        register_index_type,
        require_index_type,
    )
    from vision_recs.indexes.config import IndexConfig, IndexStats
    from vision_recs.indexes.exact import ExactIndex
    from vision_recs.indexes.index_dir import build_or_update, verify

_HOMES = {
    "INDEX_TYPES": "base",
    "ExactIndex": "exact",
    "IndexConfig": "config",
    "IndexStats": "config",
    "IndexType": "base",
    "build_or_update": "index_dir",
    "find_index_type": "base",
    "open_index": "base",
    "open_published": "base",
    "register_index_type": "base",
    "require_index_type": "base",
    "verify": "index_dir",
}

__all__ = [
    "INDEX_TYPES",
    "ExactIndex",
    "IndexConfig",
    "IndexStats",
    "IndexType",
    "build_or_update",
    "find_index_type",
    "open_index",
    "open_published",
    "register_index_type",
    "require_index_type",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
