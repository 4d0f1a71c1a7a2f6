"""Two ways to change a ranking by the neighbors of the query, as transforms of `quality.py`; slow, and obvious."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Vectors
from vision_recs.vectors import normalize_or_raise

Transform = Callable[[Any, Vectors, Vectors], tuple[Vectors, Vectors]]
"""Takes a `Task` of quality.py, the vectors of its queries and those of its targets."""


def query_expansion(neighbors: int, *, power: float) -> Transform:
    """Return a transform that adds to each query its nearest targets, by cosine ** *power* (Radenovic et al., 2018).

    What an answer may not show, the item of the query itself, adds nothing.
    """

    def transform(task: Any, queries: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:  # noqa: ANN401
        cosines = np.where(_is_own(task), -1.0, queries @ targets.T)
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbors]
        weights = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0) ** power
        return normalize_or_raise(queries + np.einsum("nk,nkd->nd", weights, targets[nearest])), targets

    return transform


def reciprocal(near: int, mean: int, share: float) -> Transform:
    """Return a transform to k-reciprocal re-ranking (Zhong et al., 2017): *near* is k1, *mean* is k2, *share* lambda.

    Scores that no vectors have become products of vectors: a target is an axis, and a query has its scores as columns.
    """

    def transform(task: Any, queries: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:  # noqa: ANN401
        every = np.concatenate([queries, targets])
        cosines = every @ every.T
        sets = _reciprocal_sets(cosines, near)
        if mean > 1:
            nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :mean]
            sets = sets[nearest].mean(axis=1)
        scores = np.empty((len(queries), len(targets)))
        of_targets = sets[len(queries) :]
        for number, own in enumerate(sets[: len(queries)]):
            columns = np.flatnonzero(own)
            common = np.minimum(own[columns], of_targets[:, columns]).sum(axis=1)
            jaccard = 1 - common / (2 - common)
            scores[number] = 1 - (1 - share) * jaccard - share * (1 - cosines[number, len(queries) :])
        scores[_is_own(task)] = 0
        scores /= 2 * np.sqrt(len(targets))
        rest = np.sqrt(1 - np.sum(scores**2, axis=1, keepdims=True))
        axes = np.eye(len(targets), len(targets) + 1)
        return np.hstack([scores, rest]).astype(np.float32), axes.astype(np.float32)

    return transform


def _reciprocal_sets(cosines: NDArray[np.float32], near: int) -> NDArray[np.float32]:
    """Return the weight of each vector in the expanded k-reciprocal set of each, rows of the sum 1."""
    order = np.argsort(-cosines, axis=1, kind="stable")
    mutual = [_mutual(order, number, near) for number in range(len(order))]
    half = [_mutual(order, number, max(1, near // 2)) for number in range(len(order))]
    found = np.zeros(cosines.shape, np.float32)
    for number, own in enumerate(mutual):
        members = set(own)
        for each in own:
            theirs = half[each]
            if 3 * len(set(theirs) & set(own)) > 2 * len(theirs):
                members |= set(theirs)
        listed = sorted(members)
        weights = np.exp(cosines[number, listed] - 1)
        found[number, listed] = weights / weights.sum()
    return found


def _mutual(order: NDArray[np.intp], number: int, near: int) -> list[int]:
    """Return those of the nearest of *number*, itself among them, that have it among their own."""
    return [each for each in order[number, : near + 1].tolist() if number in order[each, : near + 1]]


def _is_own(task: Any) -> NDArray[np.bool_]:  # noqa: ANN401
    """Return which targets are the query itself: by their images where images are queries, else by their items."""
    queries, targets = task.queries, task.targets
    if task.per_image:
        return np.asarray(queries.positions[:, None] == targets.positions[None])
    ids = [np.array([each.ids[owner] for owner in each.owners().tolist()]) for each in (queries, targets)]
    return np.asarray(ids[0][:, None] == ids[1][None])
