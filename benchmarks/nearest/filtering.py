"""Queries under filters that leave less and less of a shop."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from nearest.shop import CATEGORIES
from numpy.typing import NDArray

from vision_recs.filters import Filter
from vision_recs.indexes import open_index
from vision_recs.recommend import Recommender
from vision_recs.store import Selection, Store
from vision_recs.types import Vectors

_K = 10
_ASKED = [f"item{number:08d}" for number in range(0, 5_000, 50)]


def measure_filters(store: Store, queries: Vectors, rounds: int) -> list[dict[str, Any]]:
    """Return recall and time of single queries under filters that leave less and less, against those without.

    "similar" is the whole question of a shop by an item's id: its vectors, the search, the items and their attributes.
    """
    folder = store.layout.index_dir(store.manifest.index_type, store.generation)
    index = open_index(store.manifest.index_type, store, folder)
    recommender = Recommender(store, index)
    shares = [("part >= 0", 1.0), *((f"part < {round(share * 10_000)}", share) for share in (0.3, 0.1, 0.03, 0.01))]
    shares += [("part < 10", 0.001), ("part < 1", 0.0001), (f'category == "{CATEGORIES[0]}"', 0.125)]
    kept: list[dict[str, Any]] = []
    for expression, share in shares:
        within = Selection(store, Filter.parse(expression))
        exact = _exact(store, within, queries)
        with_, without = [], []
        shop_with, shop_without = [], []
        for _ in range(rounds):
            shop_with.append(_asking(recommender, expression))
            shop_without.append(_asking(recommender, None))
            started = perf_counter()
            found = [index.nearest(query[None], _K, within=within)[0] for query in queries]
            middle = perf_counter()
            for query in queries:
                index.nearest(query[None], _K)
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
                "similar_ms": round(1e3 * min(shop_with) / len(_ASKED), 3),
                "similar_times_unfiltered": round(min(shop_with) / min(shop_without), 2),
            }
        )
    return kept


def _asking(recommender: Recommender, where: str | None) -> float:
    """Return how many seconds it takes to ask for every item of a hundred."""
    started = perf_counter()
    for item in _ASKED:
        recommender.similar(item, where=where)
    return perf_counter() - started


def _exact(store: Store, within: Selection, queries: Vectors) -> NDArray[np.float32]:
    """Return the score of the last of the exact answers to each query."""
    best = np.full((len(queries), _K), -2, np.float32)
    positions = within.positions()
    for start in range(0, len(positions), 50_000):
        scores = queries @ store.vectors(positions[start : start + 50_000]).T
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :_K]
    return best[:, min(_K, len(positions)) - 1]
