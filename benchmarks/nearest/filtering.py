"""Queries under filters that leave less and less of a shop."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from nearest.shop import CATEGORIES
from numpy.typing import NDArray

from vision_recs.filters import Filter
from vision_recs.indexes import open_published
from vision_recs.indexes.rescoring import ApproximateIndex
from vision_recs.recommend import Recommender
from vision_recs.store import FilteredStore, Store
from vision_recs.types import Vectors

_K = 10
_ITEMS = [f"item{number:08d}" for number in range(0, 5_000, 50)]


def measure_filters(store: Store, queries: Vectors, rounds: int) -> list[dict[str, Any]]:
    """Return recall and time of single queries under filters that leave less and less, against those without.

    "similar" is a whole query by the id of an item: its vectors, the search, the items and their attributes.
    """
    index = open_published(store)
    if not isinstance(index, ApproximateIndex):
        raise TypeError(f"the index type {store.manifest.index_type!r} is exact")
    recommender, search = Recommender(store, index), index.approximate
    shares = [("part >= 0", 1.0), *((f"part < {round(share * 10_000)}", share) for share in (0.3, 0.1, 0.03, 0.01))]
    shares += [("part < 10", 0.001), ("part < 1", 0.0001), (f'category == "{CATEGORIES[0]}"', 0.125)]
    kept: list[dict[str, Any]] = []
    for expression, share in shares:
        within = store.filtered(Filter.parse(expression))
        exact = _exact(store, within, queries)
        with_, without = [], []
        similar_with, similar_without = [], []
        for _ in range(rounds):
            similar_with.append(_seconds(recommender, expression))
            similar_without.append(_seconds(recommender, None))
            started = perf_counter()
            found = [search.nearest(query[None], _K, within)[0] for query in queries]
            middle = perf_counter()
            for query in queries:
                search.nearest(query[None], _K)
            with_.append(middle - started)
            without.append(perf_counter() - middle)
        right = sum(int((own.scores >= last - 1e-5).sum()) for own, last in zip(found, exact, strict=True))
        wanted = min(_K, len(within.positions())) * len(queries)
        kept.append(
            {
                "filter": expression,
                "share": share,
                "recall_at_10": round(min(1.0, right / wanted), 4),
                "ms": round(1e3 * min(with_) / len(queries), 3),
                "times_unfiltered": round(min(with_) / min(without), 2),
                "similar_ms": round(1e3 * min(similar_with) / len(_ITEMS), 3),
                "similar_times_unfiltered": round(min(similar_with) / min(similar_without), 2),
            }
        )
    return kept


def _seconds(recommender: Recommender, where: str | None) -> float:
    """Return how many seconds it takes to query for a hundred items, one after the other."""
    started = perf_counter()
    for item in _ITEMS:
        recommender.similar(item, where=where)
    return perf_counter() - started


def _exact(store: Store, within: FilteredStore, queries: Vectors) -> NDArray[np.float32]:
    """Return the score of the last of the exact answers to each query."""
    best = np.full((len(queries), _K), -2, np.float32)
    positions = within.positions()
    for start in range(0, len(positions), 50_000):
        scores = queries @ store.vectors(positions[start : start + 50_000]).T
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :_K]
    return best[:, min(_K, len(positions)) - 1]
