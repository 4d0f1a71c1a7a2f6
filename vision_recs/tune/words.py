"""How much the words of items count beside their images: one number, learned from what is similar.

The encoder's name has a weight of its words, and every vector has both parts. Another weight is a projection that
multiplies the two parts by other numbers, so that nothing is embedded again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.encoders.words import Words
from vision_recs.metrics import RankingResult, evaluate_rankings
from vision_recs.store import Projection
from vision_recs.tune.cross_fitting import MEASURE, TuningTask
from vision_recs.vectors import normalize_rows

SHARES: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""What words may count in a score, beside the image; both count something, since items may have only one of them."""


class Weighed(NamedTuple):
    """The rankings *before* and *after*, and the *share* of the words that is best for all items together."""

    before: RankingResult
    after: RankingResult
    share: float


def weigh_words(task: TuningTask, words: Words, folds: NDArray[np.int64]) -> Weighed:
    """Return the rankings with the encoder's share of words, and for each of *folds* with the best share of the others.

    *folds* (n,) are those of the items of *task*, whose vectors are the encoder's.
    """
    before = _by_fold(task, folds)
    tried = {share: _by_fold(_with_share(task, words, share), folds) for share in SHARES}

    def best(numbers: list[int]) -> float:
        values = {
            share: np.concatenate([found[number].of(MEASURE) for number in numbers]) for share, found in tried.items()
        }
        return max(SHARES, key=lambda share: float(values[share].mean()) if len(values[share]) else 0.0)

    every = list(range(len(before)))
    after = [tried[best([other for other in every if other != number])][number] for number in every]
    return Weighed(RankingResult.joined(before), RankingResult.joined(after), best(every))


def projection_to(words: Words, dim: int, share: float) -> Projection:
    """Return the projection of vectors with *dim* columns after which *words* count *share* of a score."""
    return Projection(np.zeros(dim, np.float32), words.scales(dim, share))


def _with_share(task: TuningTask, words: Words, share: float) -> TuningTask:
    plain = task.items.vectors
    vectors = normalize_rows(plain * words.scales(plain.shape[1], share))[0]
    return TuningTask(task.items.with_vectors(vectors), task.positives, task.judgments, task.per_image)


def _by_fold(task: TuningTask, folds: NDArray[np.int64]) -> list[RankingResult]:
    return [
        evaluate_rankings(task.items.take(np.flatnonzero(folds == fold)), task.items, task.judgments)
        for fold in range(int(folds.max()) + 1)
    ]
