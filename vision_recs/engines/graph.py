"""An index of FAISS in one file: the HNSW graph, or whatever a factory string describes.

The folder holds `index.faiss`, `positions.npy` (int64: ordinal of FAISS -> position of the store) and `dead.npy`, the
ordinals that are gone. FAISS compares by L2, which orders unit vectors as their cosine does, also behind a PCA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.approximate import ApproximateIndex, open_approximate
from vision_recs.engines.lists import among, missing, read_dead, save_dead
from vision_recs.engines.mapping import map_array
from vision_recs.engines.questions import Questions
from vision_recs.engines.ranking import blocks
from vision_recs.engines.recent import Recent
from vision_recs.engines.rotation import Rotation
from vision_recs.engines.tuning import Told, finish
from vision_recs.engines.wish import Built, Figures, Tuning, Wish
from vision_recs.errors import StoreDamaged, VisionRecsError
from vision_recs.types import Subset, Vectors, VectorSource


def graph_recipe(vectors: int, dim: int, *, components: int = 128) -> str:
    """Return the factory string that `hnsw` stands for: a graph over 8 bits of each of *components*.

    Fewer numbers make every step shorter; what they lose, exact scores of a few more candidates make good.
    """
    components = min(components, dim)
    reduced = f"PCAR{components}," if components < dim and vectors >= dim else ""
    return f"{reduced}HNSW16,SQ8"


_INDEX = "index.faiss"
_POSITIONS = "positions.npy"
_BLOCK = 16_384
_TRAINING = 100_000  # vectors at most
_EF_CONSTRUCTION = 100
_LARGEST_EF = 4_096
_DEAD_SHARE = 0.2  # from which on the index is built anew
_GROWTH = 2.0
_NEIGHBOURHOOD = 128  # vectors around a query, of which the share that a filter leaves is looked at
_TELLING = 8  # of them that the filter must leave on average, for the share to say something


class FaissFile:
    """Proposes candidates out of one index of FAISS; effort is efSearch or nprobe, where it has one of them."""

    def __init__(self, directory: Path) -> None:
        """Map the files of *directory*; raises StoreDamaged."""
        path = directory / _INDEX
        try:
            self._whole = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StoreDamaged(f"{path} cannot be read ({error}); rebuild it with `visrec index`") from error
        self._positions: NDArray[np.int64] = map_array(directory / _POSITIONS, np.int64)
        if len(self._positions) != self._whole.ntotal:
            raise StoreDamaged(f"the files of {directory} do not fit together; rebuild it with `visrec index`")
        self._dead = read_dead(directory)
        self._rotation, self._index = _peeled(self._whole)
        self._largest_effort, self._parameters = _searched(self._index)
        self._parameters = cache(self._parameters)
        self._alive: NDArray[np.uint8] | None = None
        self._marked: Recent[NDArray[np.uint8]] = Recent()

    @property
    def largest_effort(self) -> int:
        """The effort with which it does all that it can."""
        return self._largest_effort

    @property
    def scanned_if_far(self) -> int:
        """All of them: a graph is walked from the query outwards, and gives up before it is there."""
        return len(self._positions)

    def work(self, effort: int, fetch: int) -> float:
        """Return about how many bytes a query reads."""
        steps = max(effort, fetch) if isinstance(self._index, faiss.IndexHNSW) else effort
        return float(steps * _bytes_per_step(self._index) + 8 * fetch * self._whole.d)

    def misses(self, queries: Vectors, within: Subset) -> bool:
        """Whether fewer of the nearest vectors of a query are *within* than half of what chance would have it."""
        mask = within.mask()
        share = len(within.positions()) / max(1, len(self._positions))
        if share * _NEIGHBOURHOOD < _TELLING:
            return True
        near = self.propose(queries, _NEIGHBOURHOOD, _NEIGHBOURHOOD)
        return bool(((mask[near] & (near >= 0)).mean(axis=1) < share / 2).any())

    def propose(self, queries: Vectors, count: int, effort: int, within: Subset | None = None) -> NDArray[np.int64]:
        """Return (n, *count*) positions for *queries*, -1 where there are no more."""
        if count >= len(self._positions):  # a graph does not reach every one of many equal vectors
            return np.tile(self._every(within), (len(queries), 1))
        bits = self._bits(within)
        if bits is None:
            parameters = self._parameters(effort)
        else:  # not kept: it refers to the bits
            parameters = _searched(self._index)[1](effort, faiss.IDSelectorBitmap(bits))
        if self._rotation is not None:
            queries = self._rotation.apply(queries)
        ordinals = np.empty((len(queries), count), np.int64)
        distances = np.empty((len(queries), count), np.float32)
        arrays = (faiss.swig_ptr(each) for each in (distances, ordinals))
        self._index.search_c(len(queries), faiss.swig_ptr(queries), count, *arrays, parameters)
        if ordinals.min(initial=0) >= 0:
            return self._positions[ordinals]
        return np.where(ordinals >= 0, self._positions[ordinals], -1)

    def _every(self, within: Subset | None) -> NDArray[np.int64]:
        """Return all positions that may be proposed, ascending."""
        return within.positions() if within is not None else np.sort(np.delete(self._positions, self._dead))

    def _bits(self, within: Subset | None) -> NDArray[np.uint8] | None:
        """Return a bit for each ordinal that may be proposed, or None for all of them."""
        if within is not None:
            return self._marked.of(within.mask(), lambda mask: np.packbits(mask[self._positions], bitorder="little"))
        if self._alive is None and len(self._dead):
            bits = np.full(-(-len(self._positions) // 8), 255, np.uint8)
            np.bitwise_and.at(bits, self._dead >> 3, ~(1 << (self._dead & 7)).astype(np.uint8))
            self._alive = bits
        return self._alive


class GraphEngine:
    """Builds, changes and opens `faiss`, an index that a factory string describes."""

    name = "faiss"

    @classmethod
    def build(cls, source: VectorSource, directory: Path) -> None:
        """Build the graph, for the recall that is usual."""
        cls.make(source, directory, Wish(), graph_recipe(len(source.positions()), source.dim))

    @classmethod
    def make(cls, source: VectorSource, directory: Path, wish: Wish, recipe: str) -> Figures:
        """Write the index that the factory string *recipe* describes, over all vectors of *source*.

        Raises VisionRecsError where FAISS cannot.
        """
        started = perf_counter()
        positions = source.positions()
        try:
            index = _filled(source, positions, recipe, wish.seed)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise VisionRecsError(
                f"FAISS cannot build the index {recipe!r} ({reason}); use another --engine"
            ) from error
        _write(directory, index, positions, positions[:0])
        seconds = perf_counter() - started
        built = Built(cls.name, recipe, len(positions), _bytes_per_vector(directory), seconds)
        return finish(source, directory, FaissFile(directory), built=built, told=Told(wish))

    @classmethod
    def update(cls, source: VectorSource, old: Path, directory: Path, facts: Mapping[str, Any]) -> Figures | None:
        """Write into *directory* what the index in *old* becomes for *source*; None where it has to be built anew."""
        built, wish = Built(**facts["built"]), Wish(**facts["wish"])
        alive = source.positions()
        known: NDArray[np.int64] = map_array(old / _POSITIONS, np.int64)
        ordered = np.sort(known)
        fresh, dead = missing(alive, ordered), missing(ordered, alive)
        if len(dead) > _DEAD_SHARE * len(known) or len(alive) > _GROWTH * built.trained_for:
            return None
        index = faiss.read_index(str(old / _INDEX))
        for _, vectors in blocks(source, _BLOCK, fresh):
            index.add(vectors)
        _write(directory, index, np.concatenate([known, fresh]), np.flatnonzero(among(known, dead)))
        told = Told(wish, Tuning.from_dict(facts["tuning"]), Questions.load(old).after(source, fresh, dead))
        figures = finish(source, directory, FaissFile(directory), built=built, told=told)
        return figures if figures.reached or not facts["figures"]["reached"] else None

    @classmethod
    def open(cls, source: VectorSource, directory: Path) -> ApproximateIndex:
        """Map the files of *directory*."""
        return open_approximate(source, directory, name=cls.name, proposer=FaissFile)


class HnswEngine(GraphEngine):
    """Builds, changes and opens `hnsw`."""

    name = "hnsw"


def _filled(source: VectorSource, positions: NDArray[np.int64], recipe: str, seed: int) -> faiss.Index:
    index = faiss.index_factory(source.dim, recipe, faiss.METRIC_L2)
    inner = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index)
    if isinstance(inner, faiss.IndexHNSW):
        inner.hnsw.efConstruction = _EF_CONSTRUCTION
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.cp.min_points_per_centroid = 1  # FAISS would print a warning
    if not index.is_trained:
        count = min(len(positions), _TRAINING)
        random = np.random.default_rng(seed)
        sample = np.sort(random.choice(positions, count, replace=False)) if count else positions
        index.train(source.vectors(sample) if count else random.random((1, source.dim), np.float32))
    for _, vectors in blocks(source, _BLOCK, positions):
        index.add(vectors)
    return index


def _write(directory: Path, index: faiss.Index, positions: NDArray[np.int64], dead: NDArray[np.int64]) -> None:
    faiss.write_index(index, str(directory / _INDEX))
    np.save(directory / _POSITIONS, positions)
    save_dead(directory, dead)


Parameters = Callable[..., faiss.SearchParameters]
"""(effort, selector = None) -> what tells FAISS both."""


def _peeled(index: faiss.Index) -> tuple[Rotation | None, faiss.Index]:
    """Return what *index* does first, if that is one linear map, and the index behind it."""
    if isinstance(index, faiss.IndexPreTransform) and index.chain.size() == 1:
        transform = faiss.downcast_VectorTransform(index.chain.at(0))
        if isinstance(transform, faiss.LinearTransform):
            return Rotation.of(transform), faiss.downcast_index(index.index)
    return None, index


def _searched(index: faiss.Index) -> tuple[int, Parameters]:
    """Return the largest effort with which *index* can be searched, and what tells it an effort and a selection."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        largest, inner = _searched(index.index)
        return largest, lambda effort, sel=None: faiss.SearchParametersPreTransform(index_params=inner(effort, sel))
    if isinstance(index, faiss.IndexRefine):
        largest, inner = _searched(index.base_index)
        return largest, lambda effort, sel=None: faiss.IndexRefineSearchParameters(
            k_factor=4.0, base_index_params=inner(effort, sel), sel=sel
        )
    if isinstance(index, faiss.IndexIVF | faiss.IndexIVFFastScan):
        return index.nlist, lambda effort, sel=None: faiss.SearchParametersIVF(nprobe=effort, sel=sel)
    if isinstance(index, faiss.IndexHNSW):
        return _LARGEST_EF, lambda effort, sel=None: faiss.SearchParametersHNSW(efSearch=effort, sel=sel)
    return 1, lambda _, sel=None: faiss.SearchParameters(sel=sel)


def _bytes_per_step(index: faiss.Index) -> float:
    """Return about how many bytes an effort of 1 more reads."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _bytes_per_step(index.index)
    if isinstance(index, faiss.IndexRefine):
        return _bytes_per_step(index.base_index)
    if isinstance(index, faiss.IndexHNSW):
        return float(index.hnsw.nb_neighbors(0) * faiss.downcast_index(index.storage).sa_code_size())
    code = index.sa_code_size()
    return float(code * index.ntotal / getattr(index, "nlist", 1))


def _bytes_per_vector(directory: Path) -> float:
    """Return how large the file of the index is for each of its vectors."""
    count = len(map_array(directory / _POSITIONS, np.int64))
    return ((directory / _INDEX).stat().st_size + (directory / _POSITIONS).stat().st_size) / max(1, count)
