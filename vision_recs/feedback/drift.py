"""Drift: whether vectors of later differ from those of before, and whether an encoder still tells items apart.

A linear classifier learns from one half of both which is which, and is judged by the other half. Where nothing has
changed, it is right as often as a coin: its AUC is 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Vectors

_MOST = 2_000  # vectors of each side
_FEWEST = 20
_RIDGE = 0.01
_QUANTILE = 1.959964


@dataclass(frozen=True, slots=True)
class Drift:
    """How well a classifier tells *new* vectors from *old* ones (how many of each): its *auc*, with bounds."""

    old: int
    new: int
    auc: float
    low: float
    high: float

    @property
    def is_drift(self) -> bool:
        """Whether they differ, beyond the bounds."""
        return self.low > 0.5  # noqa: PLR2004 - what a coin has


@dataclass(frozen=True, slots=True)
class Health:
    """How well vectors tell images apart.

    *mean_cosine* is that of two images: near 1, all look alike to the encoder. *dimensions* is in how many of *dim*
    directions they spread (the participation ratio of the variances).
    """

    mean_cosine: float
    dimensions: float
    dim: int


def drift_of(old: Vectors, new: Vectors, *, seed: int = 0) -> Drift | None:
    """Return how *new* vectors (m, dim) differ from *old* ones (n, dim); None where one side has under 20."""
    random = np.random.default_rng(seed)
    sides = _sample(old, random), _sample(new, random)
    if min(map(len, sides)) < _FEWEST:
        return None
    folds = [(sides[0][half::2], sides[1][half::2]) for half in (0, 1)]
    aucs, variances = zip(*(_auc(*_scores(folds[1 - half], folds[half])) for half in (0, 1)), strict=True)
    auc, deviation = float(np.mean(aucs)), float(np.sqrt(np.sum(variances))) / 2
    return Drift(len(sides[0]), len(sides[1]), auc, auc - _QUANTILE * deviation, auc + _QUANTILE * deviation)


def health_of(vectors: Vectors) -> Health:
    """Return how well *vectors* (n, dim), n >= 2, tell images apart."""
    wide = vectors.astype(np.float64)
    whole, count = wide.sum(axis=0), len(wide)
    variances = np.linalg.svd(wide - wide.mean(axis=0), compute_uv=False) ** 2
    spread = float(variances.sum() ** 2 / (variances**2).sum()) if variances.any() else 0.0
    return Health(float((whole @ whole - count) / (count * (count - 1))), spread, vectors.shape[1])


def _sample(vectors: Vectors, random: np.random.Generator) -> NDArray[np.float64]:
    """Return at most 2,000 of *vectors*, in random order."""
    return vectors[random.permutation(len(vectors))[:_MOST]].astype(np.float64)


def _scores(
    known: tuple[NDArray[np.float64], NDArray[np.float64]], judged: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how new each of the old and of the new vectors *judged* seems to who learned from *known*."""
    within = np.concatenate([side - side.mean(axis=0) for side in known])
    scatter = within.T @ within / len(within)
    scatter += _RIDGE * np.trace(scatter) / len(scatter) * np.eye(len(scatter)) + 1e-12 * np.eye(len(scatter))
    direction = np.linalg.solve(scatter, known[1].mean(axis=0) - known[0].mean(axis=0))
    return judged[0] @ direction, judged[1] @ direction


def _auc(old: NDArray[np.float64], new: NDArray[np.float64]) -> tuple[float, float]:
    """Return how often one of *new* is above one of *old*, and the variance of that (DeLong et al., 1988)."""
    above = (new[:, None] > old).astype(np.float64) + 0.5 * (new[:, None] == old)
    by_new, by_old = above.mean(axis=1), above.mean(axis=0)
    variance = by_new.var(ddof=1) / len(new) + by_old.var(ddof=1) / len(old)
    return float(above.mean()), float(variance)
