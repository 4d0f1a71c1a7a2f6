"""Which index to build: the fastest that fits the memory and reaches the recall, tried on a part of the vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, UnknownFormat, VisionRecsError
from vision_recs.indexes.autotune import measure, questions_of, stats_of
from vision_recs.indexes.config import Built, IndexConfig, IndexStats
from vision_recs.indexes.flat import FlatIndex
from vision_recs.indexes.hnsw import GraphEngine, HnswEngine, graph_recipe, usual_components
from vision_recs.indexes.index_dir import read_label, write_label
from vision_recs.indexes.ivf_pq import InvertedEngine, recipe_for
from vision_recs.types import Row, Vectors, VectorSource

_FLAT_NUMBERS = 25_000_000
"""Numbers of which comparing with all takes a few milliseconds: 20,000 vectors of 1,280."""
_PILOT = 20_000  # vectors on which the ways are compared
_CLEARLY = 1.3  # times as fast: less is noise, and the first of the ways stays
_HNSW_LINKS = 2 * 16 * 4 + 16 + 8  # bytes a vector: neighbors on the lowest level, a little above, and the position
_GRAPH_VECTORS = 5_000_000  # of more, building a graph takes hours

_Make = Callable[[VectorSource, Path, IndexConfig], IndexStats]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to index: the engine's name, what makes it, and the bytes that each vector takes in memory."""

    engine: str
    make: _Make
    bytes_per_vector: float


def build_or_update(
    config: IndexConfig, source: VectorSource, directory: Path, *, previous: Path | None = None
) -> tuple[str, IndexStats]:
    """Write into the empty *directory* the index of *source* that *config* asks for; return the engine and its stats.

    *previous* is the folder of the index of an earlier generation: where the same was wished for, it is changed rather
    than built anew, unless too much has changed or it no longer reaches its recall. Raises VisionRecsError for an
    engine that there is not.
    """
    if previous is not None:
        changed = _change(config, source, previous, directory)
        if changed is not None:
            return changed
    way = _choose(config, source)
    return way.engine, way.make(source, directory, config)


def _change(
    config: IndexConfig, source: VectorSource, previous: Path, directory: Path
) -> tuple[str, IndexStats] | None:
    engines: Mapping[str, type[InvertedEngine | GraphEngine]] = {
        engine.name: engine for engine in (InvertedEngine, HnswEngine, GraphEngine)
    }
    try:
        label = read_label(previous)
        engine = engines.get(label.name)
        same = (label.fingerprint, label.dim) == (source.fingerprint, source.dim)
        if (
            engine is None
            or not same
            or IndexConfig(**label.facts["config"]) != config
            or _settles_for_flat(config, source)
        ):
            return None
        stats = engine.update(source, previous, directory, label.facts)
    except (StoreDamaged, UnknownFormat):
        stats = None
    if stats is None:
        for path in directory.iterdir():
            path.unlink()
        return None
    return label.name, stats


def _choose(config: IndexConfig, source: VectorSource) -> Way:
    named = _named(config, source)
    if named is not None:
        return named
    if _settles_for_flat(config, source):
        return _flat(source.dim)
    ways = _ways(config, source)
    return _fastest(ways, config, source) if ways else _smallest(len(source.positions()), source.dim)


def _settles_for_flat(config: IndexConfig, source: VectorSource) -> bool:
    numbers = len(source.positions()) * source.dim
    return (
        config.index_type == "auto"
        and numbers <= _FLAT_NUMBERS
        and (config.max_memory is None or 4 * numbers <= config.max_memory)
    )


def _named(config: IndexConfig, source: VectorSource) -> Way | None:
    """Return the way that *config* names, or None where the choice is left to us."""
    engine = config.index_type
    if engine == "auto":
        return None
    if engine == "flat":
        return _flat(source.dim)
    if engine == "hnsw":
        return _hnsw(source.dim, usual_components(source, source.positions(), seed=config.seed))
    if engine == "ivf-pq":
        return _inverted(len(source.positions()), source.dim)
    if not any(character.isdigit() or character.isupper() for character in engine):
        raise VisionRecsError(
            f"there is no engine {engine!r}; use auto, flat, hnsw, ivf-pq, or a factory string of FAISS as IVF256,Flat"
        )
    return Way("faiss", lambda source, directory, config: GraphEngine.make(source, directory, config, engine), 0.0)


def _ways(config: IndexConfig, source: VectorSource) -> list[Way]:
    """Return what fits the memory and is worth a trial, the likeliest first."""
    positions, dim = source.positions(), source.dim
    count = len(positions)

    def fitting(*ways: Way) -> list[Way]:
        return [way for way in ways if config.max_memory is None or way.bytes_per_vector * count <= config.max_memory]

    graphs: list[Way] = []
    if count <= _GRAPH_VECTORS:
        usual = usual_components(source, positions, seed=config.seed)
        graphs = fitting(*(_hnsw(dim, min(usual, most)) for most in (usual, 256, 128)))[:1]
    lists = [_inverted(count, dim), _inverted(count, dim, components=512)][: 1 + (dim > 256)]  # noqa: PLR2004
    return [*graphs, *fitting(*lists)]


def _inverted(count: int, dim: int, *, components: int = 256, bits: int = 2) -> Way:
    recipe = recipe_for(count, dim, components=components, bits=bits)

    def make(source: VectorSource, directory: Path, config: IndexConfig) -> IndexStats:
        own = recipe_for(len(source.positions()), dim, components=components, bits=bits)
        return InvertedEngine.make(source, directory, config, own)

    return Way(InvertedEngine.name, make, recipe.bytes_per_vector)


def _smallest(count: int, dim: int) -> Way:
    return _inverted(count, dim, components=128, bits=1)


def _hnsw(dim: int, components: int) -> Way:
    def make(source: VectorSource, directory: Path, config: IndexConfig) -> IndexStats:
        recipe = graph_recipe(len(source.positions()), dim, components)
        return HnswEngine.make(source, directory, config, recipe)

    return Way(HnswEngine.name, make, components + _HNSW_LINKS)


def _flat(dim: int) -> Way:
    def make(source: VectorSource, directory: Path, config: IndexConfig) -> IndexStats:
        started = perf_counter()
        FlatIndex.build(source, directory)
        count = len(source.positions())
        built = Built("flat", "Flat", count, 4.0 * dim + 8, perf_counter() - started)
        stats = stats_of(measure(FlatIndex.open(source, directory), questions_of(source, config)), config, built)
        facts = {"config": asdict(config), "built": asdict(built), "stats": asdict(stats)}
        write_label(directory, source, name="flat", vectors=count, facts=facts)
        return stats

    return Way("flat", make, 4.0 * dim + 8)


def _fastest(ways: Sequence[Way], config: IndexConfig, source: VectorSource) -> Way:
    """Return the fastest of *ways* that reaches the recall on a part of *source*; else the one of the best recall."""
    if len(ways) == 1:
        return ways[0]
    part = _Part(source, _PILOT, config.seed)
    tried: list[tuple[Way, IndexStats]] = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix="visrec-") as folder:
            tried.append((way, way.make(part, Path(folder), config)))
    enough = [each for each in tried if each[1].target_recall_met]
    if not enough:
        return max(tried, key=lambda each: each[1].recall_at_10)[0]
    chosen, stats = enough[0]
    for way, other in enough[1:]:
        if other.queries_per_second > _CLEARLY * stats.queries_per_second:
            chosen, stats = way, other
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
