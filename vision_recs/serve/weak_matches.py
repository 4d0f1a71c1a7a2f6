"""Weak matches: which scores are more like those of two items taken at random than like those of neighbors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.store.attributes.table import ItemTable
from vision_recs.types import ItemSource

_SAMPLED = 64  # items
_NEAREST = 3  # of each of them
_FEWEST = 12  # items: of fewer, no two are taken at random


def weak_below(recommender: Recommender, items: ItemSource, table: ItemTable) -> float | None:
    """Return the score below which a match is weak, or None where there are too few items to say.

    It parts the scores of the nearest items from those of random pairs as well as any score does.
    """
    rows = table.by_id
    if len(rows) < _FEWEST:
        return None
    sample = table.ids(rows[np.linspace(0, len(rows) - 1, min(_SAMPLED, len(rows))).astype(np.int64)])
    queries = [(Query(items=(item,), k=_NEAREST), Policy()) for item in sample]
    answers = recommender.query_batch(queries)
    near = np.sort([match.score for matches in answers if isinstance(matches, list) for match in matches])
    return None if not len(near) else _parting(near, np.sort(_random_scores(sample, items)))


def _random_scores(sample: list[str], items: ItemSource) -> NDArray[np.float64]:
    """Return the score of each pair of items of *sample*: that of the images that are most alike."""
    vectors = [items.vectors_of([image.digest for image in items.images(item)]) for item in sample]
    owners = np.repeat(np.arange(len(vectors)), [len(each) for each in vectors])
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    every = np.concatenate(vectors)
    best = np.maximum.reduceat(np.maximum.reduceat(every @ every.T, starts, axis=0), starts, axis=1)
    return best[np.triu_indices(len(vectors), 1)].astype(np.float64)


def _parting(near: NDArray[np.float64], random: NDArray[np.float64]) -> float:
    """Return the lowest score that parts *near* from *random*, both ascending, as well as any (Youden's index)."""
    scores = np.unique(np.concatenate([near, random]))
    parted = np.searchsorted(random, scores) / len(random) - np.searchsorted(near, scores) / len(near)
    return round(float(scores[np.argmax(parted)]), 4)
