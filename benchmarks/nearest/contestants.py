"""Indexes that are searched with more and more effort until they find enough: visrec's and those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import open_index
from vision_recs.store import Store
from vision_recs.types import Vectors

Search = Callable[[Vectors, int, int], NDArray[np.int64]]
"""(queries, k, effort) -> (n, k) positions."""

_EFFORTS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class Contestant:
    """An index that was built: its name, how it is searched, and what it took."""

    name: str
    search: Search
    efforts: Sequence[int]
    build_seconds: float
    bytes_per_vector: float
    open_seconds: float


def visrec(store: Store) -> Contestant:
    """Return the index of *store*, which was built and tuned with it: it has one effort, its own."""
    folder = store.layout.engine(store.manifest.engine, store.generation)
    started = perf_counter()
    index = open_index(store.manifest.engine, store, folder)
    opened = perf_counter() - started
    figures = store.manifest.index or {}

    def search(queries: Vectors, k: int, _effort: int) -> NDArray[np.int64]:
        found = np.full((len(queries), k), -1, np.int64)
        for number, scored in enumerate(index.nearest(queries, k)):
            best = np.argsort(-scored.scores, kind="stable")[:k]
            found[number, : len(best)] = scored.positions[best]
        return found

    name = f"visrec {store.manifest.engine}"
    return Contestant(name, search, (0,), figures["build_seconds"], figures["bytes_per_vector"], opened)


def faiss_ivf(vectors: Vectors, work: Path) -> Contestant:
    """Return FAISS's inverted lists of whole vectors, as many lists as visrec takes."""
    lists = round(4 * len(vectors) ** 0.5)
    return _faiss("faiss IVF-flat", f"IVF{lists},Flat", vectors, work, "nprobe")


def faiss_hnsw(vectors: Vectors, work: Path) -> Contestant:
    """Return FAISS's HNSW graph with its usual 32 neighbours."""
    return _faiss("faiss HNSW", "HNSW32,Flat", vectors, work, "efSearch")


def _faiss(name: str, factory: str, vectors: Vectors, work: Path, effort: str) -> Contestant:
    started = perf_counter()
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if effort == "nprobe":
        index.cp.niter = 10
    index.train(vectors[: min(len(vectors), 40 * round(4 * len(vectors) ** 0.5))])
    index.add(vectors)
    built = perf_counter() - started
    file = work / "other.faiss"
    faiss.write_index(index, str(file))
    size = file.stat().st_size / len(vectors)
    started = perf_counter()
    faiss.read_index(str(file))
    opened = perf_counter() - started
    file.unlink()
    kind = faiss.SearchParametersIVF if effort == "nprobe" else faiss.SearchParametersHNSW

    def search(queries: Vectors, k: int, value: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = index.search(queries, k, params=kind(**{effort: value}))[1]
        return found

    return Contestant(name, search, _EFFORTS, built, size, opened)


def hnswlib(vectors: Vectors, work: Path) -> Contestant:
    """Return hnswlib's graph with the parameters of its examples."""
    import hnswlib as library

    started = perf_counter()
    index = library.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200, random_seed=0)
    index.add_items(vectors)
    built = perf_counter() - started
    file = work / "other.hnsw"
    index.save_index(str(file))
    size = file.stat().st_size / len(vectors)
    started = perf_counter()
    library.Index(space="ip", dim=vectors.shape[1]).load_index(str(file))
    opened = perf_counter() - started
    file.unlink()

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        index.set_ef(max(effort, k))
        return index.knn_query(queries, k)[0].astype(np.int64)

    return Contestant("hnswlib", search, _EFFORTS, built, size, opened)


def usearch(vectors: Vectors, work: Path) -> Contestant:
    """Return usearch's graph as it comes: 16 neighbours, vectors in bfloat16."""
    from usearch.index import Index

    started = perf_counter()
    index = Index(ndim=vectors.shape[1], metric="ip")
    index.add(np.arange(len(vectors)), vectors)
    built = perf_counter() - started
    file = work / "other.usearch"
    index.save(str(file))
    size = file.stat().st_size / len(vectors)
    started = perf_counter()
    Index.restore(str(file), view=True)
    opened = perf_counter() - started
    file.unlink()

    def search(queries: Vectors, k: int, effort: int) -> NDArray[np.int64]:
        index.expansion_search = max(effort, k)
        found = index.search(queries, k)
        return np.asarray(found.keys, dtype=np.int64).reshape(len(queries), -1)[:, :k]

    return Contestant("usearch", search, _EFFORTS, built, size, opened)


OTHERS: dict[str, Callable[[Vectors, Path], Contestant]] = {
    "faiss-ivf": faiss_ivf,
    "faiss-hnsw": faiss_hnsw,
    "hnswlib": hnswlib,
    "usearch": usearch,
}
