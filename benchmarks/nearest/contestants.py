"""Indexes that are searched with more and more effort until they find enough: visrec's and those of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes import open_published
from vision_recs.indexes.config import SearchParams, SearchProfile
from vision_recs.indexes.rescoring import ApproximateIndex
from vision_recs.store import Store
from vision_recs.types import Vectors

Search = Callable[[Vectors, int, int], NDArray[np.int64]]
"""(queries, k, effort) -> (n, k) positions."""

_EFFORTS = (4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024)


_NUM_CANDIDATES = (11, 12, 13, 14, 16, 18, 20, 24, 28, 33, 44, 66)


@dataclass(frozen=True, slots=True)
class Contestant:
    """An index that was built: its name, how it is searched, and what it took."""

    name: str
    search: Search
    efforts: Sequence[int]
    build_seconds: float
    bytes_per_vector: float
    open_seconds: float


@dataclass(frozen=True, slots=True)
class Other:
    """An index of somebody else: how it is built into a file, and how that is opened to be searched."""

    name: str
    build: Callable[[Vectors, Path], None]
    open: Callable[[Path, int], Search]

    def build_once(self, vectors: Vectors, file: Path) -> None:
        """Build it over *vectors* unless *file* has it already, and keep how long that took."""
        times = file.with_suffix(".json")
        if times.exists():
            return
        started = perf_counter()
        self.build(vectors, file)
        times.write_text(json.dumps({"build_seconds": perf_counter() - started}), "utf-8")

    def contestant(self, file: Path, rows: int, dim: int) -> Contestant:
        """Open what was built."""
        started = perf_counter()
        search = self.open(file, dim)
        opened = perf_counter() - started
        built = json.loads(file.with_suffix(".json").read_text("utf-8"))["build_seconds"]
        return Contestant(self.name, search, _EFFORTS, built, file.stat().st_size / rows, opened)


def visrec(store: Store) -> Contestant:
    """Return the index of *store*; an effort stands for how far it looks and how many it scores exactly."""
    started = perf_counter()
    index = open_published(store)
    opened = perf_counter() - started
    if not isinstance(index, ApproximateIndex):
        raise TypeError(f"the index type {store.manifest.index_type!r} is exact")
    stats, approximate = store.manifest.index_stats or {}, index.approximate
    params = [SearchParams(10, effort, count) for effort in _EFFORTS for count in _NUM_CANDIDATES]
    params.sort(key=lambda each: approximate.candidates.cost(each.search_effort, each.num_candidates))
    searches = [approximate.with_profile(SearchProfile((each,))) for each in params]

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        found = np.full((len(queries), k), -1, np.int64)
        for number, scored in enumerate(searches[effort].nearest(queries, k)):
            found[number, : len(scored.positions)] = scored.positions[:k]  # the best first
        return found

    name = f"visrec {store.manifest.index_type}"
    efforts = range(len(params))
    return Contestant(name, search, efforts, stats["build_seconds"], stats["bytes_per_vector"], opened)


def _build_faiss(factory: str, vectors: Vectors, file: Path) -> None:
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if isinstance(index, faiss.IndexIVF):
        index.cp.niter = 10
        index.train(vectors[: min(len(vectors), 40 * index.nlist)])
    index.add(vectors)
    faiss.write_index(index, str(file))


def _build_ivf(vectors: Vectors, file: Path) -> None:
    _build_faiss(f"IVF{round(4 * len(vectors) ** 0.5)},Flat", vectors, file)  # as many lists as visrec takes


def _open_faiss(file: Path, _dim: int) -> Search:
    index = faiss.read_index(str(file))

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        if isinstance(index, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(nprobe=effort)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=effort)
        found: NDArray[np.int64] = index.search(queries, k, params=parameters)[1]
        return found

    return search


def _build_hnswlib(vectors: Vectors, file: Path) -> None:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200, random_seed=0)  # as in its examples
    index.add_items(vectors)
    index.save_index(str(file))


def _open_hnswlib(file: Path, dim: int) -> Search:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=dim)
    index.load_index(str(file))

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        index.set_ef(max(effort, k))
        return index.knn_query(queries, k)[0].astype(np.int64)

    return search


def _build_usearch(vectors: Vectors, file: Path) -> None:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip")  # as it comes: 16 neighbors, vectors in bfloat16
    index.add(np.arange(len(vectors)), vectors)
    index.save(str(file))


def _open_usearch(file: Path, _dim: int) -> Search:
    from usearch.index import Index

    index = Index.restore(str(file))

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        index.expansion_search = max(effort, k)
        found = index.search(queries, k)
        return np.asarray(found.keys, dtype=np.int64).reshape(len(queries), -1)[:, :k]

    return search


def _build_hnsw(vectors: Vectors, file: Path) -> None:
    _build_faiss("HNSW32,Flat", vectors, file)


OTHERS: dict[str, Other] = {
    "faiss-ivf": Other("faiss IVF-flat", _build_ivf, _open_faiss),
    "faiss-hnsw": Other("faiss HNSW", _build_hnsw, _open_faiss),
    "hnswlib": Other("hnswlib", _build_hnswlib, _open_hnswlib),
    "usearch": Other("usearch", _build_usearch, _open_usearch),
}
"""By the name that the command line gives them."""
