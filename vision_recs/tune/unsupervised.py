"""The projection that needs no label: the vectors, centered, along their principal axes, and whether it does harm.

Most vectors of a network point the same way, as far as they are of images at all; what is left of them without that
tells products apart. The axes beyond the first few hundred hold noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics import RankingResult, evaluate_rankings
from vision_recs.store import Projection
from vision_recs.tune.cross_fitting import TuningTask
from vision_recs.tune.learning import PrincipalAxes
from vision_recs.types import Vectors
from vision_recs.vectors import normalize_rows

DIM = 256
"""The columns of the result: more bring nothing on any task in benchmarks/quality.md."""

MAY_LOSE = 0.01
"""How much held-out structure may lose at most, at the lower bound of the difference: what nobody can see."""


def principal_projection(vectors: Vectors) -> Projection:
    """Return the projection of *vectors* to their principal axes, at most DIM of them."""
    axes = PrincipalAxes.of(vectors)
    return axes.projection(axes.initial_map(DIM, whitening=0.0))


def held_out(task: TuningTask, folds: NDArray[np.int64]) -> tuple[RankingResult, RankingResult]:
    """Return the rankings before and after; for the items of each of *folds* (n,), by axes of the others alone."""
    before: list[RankingResult] = []
    after: list[RankingResult] = []
    items, owners = task.items, task.items.owners()
    for fold in range(int(folds.max()) + 1):
        queries = np.flatnonzero(folds == fold)
        projection = principal_projection(task.inputs[folds[owners] != fold])
        projected = items.with_vectors(normalize_rows(projection.apply(task.inputs))[0])
        for found, vectors in ((before, items), (after, projected)):
            found.append(evaluate_rankings(vectors.take(queries), vectors, task.judgments, per_image=task.per_image))
    return RankingResult.joined(before), RankingResult.joined(after)
