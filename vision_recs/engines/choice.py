"""Which index to build: the fastest that fits the memory and reaches the recall, tried on a part of the vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.flat import FlatIndex
from vision_recs.engines.folder import read_label, write_label
from vision_recs.engines.graph import GraphEngine, HnswEngine, graph_recipe, usual_components
from vision_recs.engines.inverted import InvertedEngine, recipe_for
from vision_recs.engines.tuning import figures_of, measure, questions_of
from vision_recs.engines.wish import Built, Figures, Wish
from vision_recs.errors import StoreDamaged, UnknownFormat, VisionRecsError
from vision_recs.types import Row, Vectors, VectorSource

_FLAT_NUMBERS = 25_000_000
"""Numbers of which comparing with all takes a few milliseconds: 20,000 vectors of 1,280."""
_PILOT = 20_000  # vectors on which the ways are compared
_CLEARLY = 1.3  # times as fast: less is noise, and the first of the ways stays
_HNSW_LINKS = 2 * 16 * 4 + 16 + 8  # bytes a vector: neighbours on the lowest level, a little above, and the position
_GRAPH_VECTORS = 5_000_000  # of more, building a graph takes hours

_Make = Callable[[VectorSource, Path, Wish], Figures]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to index: the engine's name, what makes it, and the bytes that each vector takes in memory."""

    engine: str
    make: _Make
    bytes_per_vector: float


def make_index(
    wish: Wish, source: VectorSource, directory: Path, *, previous: Path | None = None
) -> tuple[str, Figures]:
    """Write into the empty *directory* the index of *source* that *wish* asks for; return the engine and its figures.

    *previous* is the folder of the index of an earlier generation: where the same was wished for, it is changed rather
    than built anew, unless too much has changed or it no longer reaches its recall. Raises VisionRecsError for an
    engine that there is not.
    """
    if previous is not None:
        changed = _change(wish, source, previous, directory)
        if changed is not None:
            return changed
    way = _choose(wish, source)
    return way.engine, way.make(source, directory, wish)


def _change(wish: Wish, source: VectorSource, previous: Path, directory: Path) -> tuple[str, Figures] | None:
    engines: Mapping[str, type[InvertedEngine | GraphEngine]] = {
        engine.name: engine for engine in (InvertedEngine, HnswEngine, GraphEngine)
    }
    try:
        label = read_label(previous)
        engine = engines.get(label.name)
        same = (label.fingerprint, label.dim) == (source.fingerprint, source.dim)
        if engine is None or not same or Wish(**label.facts["wish"]) != wish or _settles_for_flat(wish, source):
            return None
        figures = engine.update(source, previous, directory, label.facts)
    except (StoreDamaged, UnknownFormat):
        figures = None
    if figures is None:
        for path in directory.iterdir():
            path.unlink()
        return None
    return label.name, figures


def _choose(wish: Wish, source: VectorSource) -> Way:
    named = _named(wish, source)
    if named is not None:
        return named
    if _settles_for_flat(wish, source):
        return _flat(source.dim)
    ways = _ways(wish, source)
    return _fastest(ways, wish, source) if ways else _smallest(len(source.positions()), source.dim)


def _settles_for_flat(wish: Wish, source: VectorSource) -> bool:
    numbers = len(source.positions()) * source.dim
    return wish.engine == "auto" and numbers <= _FLAT_NUMBERS and (wish.memory is None or 4 * numbers <= wish.memory)


def _named(wish: Wish, source: VectorSource) -> Way | None:
    """Return the way that *wish* names, or None where the choice is left to us."""
    engine = wish.engine
    if engine == "auto":
        return None
    if engine == "flat":
        return _flat(source.dim)
    if engine == "hnsw":
        return _hnsw(source.dim, usual_components(source, source.positions(), seed=wish.seed))
    if engine == "ivf-pq":
        return _inverted(len(source.positions()), source.dim)
    if not any(character.isdigit() or character.isupper() for character in engine):
        raise VisionRecsError(
            f"there is no engine {engine!r}; use auto, flat, hnsw, ivf-pq, or a factory string of FAISS as IVF256,Flat"
        )
    return Way("faiss", lambda source, directory, wish: GraphEngine.make(source, directory, wish, engine), 0.0)


def _ways(wish: Wish, source: VectorSource) -> list[Way]:
    """Return what fits the memory and is worth a trial, the likeliest first."""
    positions, dim = source.positions(), source.dim
    count = len(positions)

    def fitting(*ways: Way) -> list[Way]:
        return [way for way in ways if wish.memory is None or way.bytes_per_vector * count <= wish.memory]

    graphs: list[Way] = []
    if count <= _GRAPH_VECTORS:
        usual = usual_components(source, positions, seed=wish.seed)
        graphs = fitting(*(_hnsw(dim, min(usual, most)) for most in (usual, 256, 128)))[:1]
    lists = [_inverted(count, dim), _inverted(count, dim, components=512)][: 1 + (dim > 256)]  # noqa: PLR2004
    return [*graphs, *fitting(*lists)]


def _inverted(count: int, dim: int, *, components: int = 256, bits: int = 2) -> Way:
    recipe = recipe_for(count, dim, components=components, bits=bits)

    def make(source: VectorSource, directory: Path, wish: Wish) -> Figures:
        own = recipe_for(len(source.positions()), dim, components=components, bits=bits)
        return InvertedEngine.make(source, directory, wish, own)

    return Way(InvertedEngine.name, make, recipe.bytes_per_vector)


def _smallest(count: int, dim: int) -> Way:
    return _inverted(count, dim, components=128, bits=1)


def _hnsw(dim: int, components: int) -> Way:
    def make(source: VectorSource, directory: Path, wish: Wish) -> Figures:
        recipe = graph_recipe(len(source.positions()), dim, components)
        return HnswEngine.make(source, directory, wish, recipe)

    return Way(HnswEngine.name, make, components + _HNSW_LINKS)


def _flat(dim: int) -> Way:
    def make(source: VectorSource, directory: Path, wish: Wish) -> Figures:
        started = perf_counter()
        FlatIndex.build(source, directory)
        count = len(source.positions())
        built = Built("flat", "Flat", count, 4.0 * dim + 8, perf_counter() - started)
        figures = figures_of(measure(FlatIndex.open(source, directory), questions_of(source, wish)), wish, built)
        facts = {"wish": asdict(wish), "built": asdict(built), "figures": asdict(figures)}
        write_label(directory, source, name="flat", vectors=count, facts=facts)
        return figures

    return Way("flat", make, 4.0 * dim + 8)


def _fastest(ways: Sequence[Way], wish: Wish, source: VectorSource) -> Way:
    """Return the fastest of *ways* that reaches the recall on a part of *source*; else the one of the best recall."""
    if len(ways) == 1:
        return ways[0]
    part = _Part(source, _PILOT, wish.seed)
    tried: list[tuple[Way, Figures]] = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="visrec-") as folder:
            tried.append((way, way.make(part, Path(folder), wish)))
    enough = [each for each in tried if each[1].reached]
    if not enough:
        return max(tried, key=lambda each: each[1].recall_at_10)[0]
    chosen, figures = enough[0]
    for way, other in enough[1:]:
        if other.queries_per_second > _CLEARLY * figures.queries_per_second:
            chosen, figures = way, other
    return chosen


class _Part:
    """A VectorSource of some of the vectors of another, in the same space."""

    def __init__(self, source: VectorSource, count: int, seed: int) -> None:
        alive = source.positions()
        chosen = np.random.default_rng(seed).choice(alive, min(count, len(alive)), replace=False)
        self._source = source
        self._positions: NDArray[np.int64] = np.sort(chosen)
        self.fingerprint, self.generation, self.dim = source.fingerprint, source.generation, source.dim

    def positions(self) -> NDArray[np.int64]:
        return self._positions

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        return self._source.vectors(positions)

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        return self._source.rows(positions, limit=limit)
