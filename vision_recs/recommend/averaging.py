"""The order of an answer by averaged vectors: each candidate together with the candidates that are most like it.

A candidate that only looks like the query by chance has neighbors that do not; one of the same kind has neighbors that
do. This is database-side averaging (Arandjelovic and Zisserman, CVPR 2012; weights of Gordo et al., 2017),
among the candidates of the answer alone: nothing is stored, so that it is current after every update. There are so many
candidates (`Policy.pool`) that it brings what averaging all vectors of a store does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from vision_recs.recommend.eligibility import AttributesOf, Candidate
from vision_recs.recommend.retrieve import Retriever, SubQuery
from vision_recs.types import RuleEffect
from vision_recs.vectors import normalize_rows

AVERAGED: Final = "averaging"
"""The name of the effect in an explanation."""

_POWER: Final = 3
"""The weight of a neighbor is its cosine to this power."""

_DIGITS: Final = 6
"""Of a rank: what differs by less is equal, whatever the last bits say."""


class AveragedOrder(NamedTuple):
    """Ranks candidates by their score after each was averaged with its *neighbors* nearest candidates."""

    retriever: Retriever
    neighbors: int

    def order(
        self,
        candidates: Sequence[Candidate],
        subquery: SubQuery,
        attributes_of: AttributesOf,  # noqa: ARG002 - of the protocol `Order`
    ) -> list[Candidate]:
        """Return *candidates*, which are those of one pool for *subquery*, by their new rank; equal ones by score."""
        if not candidates:
            return []
        vectors = self.retriever.vectors([candidate.match for candidate in candidates]).astype(np.float64)
        weights = np.maximum(vectors @ vectors.T, 0.0) ** _POWER
        kept = min(self.neighbors + 1, len(vectors))
        least = np.partition(weights, len(vectors) - kept, axis=1)[:, len(vectors) - kept, None]
        averaged = normalize_rows(np.where(weights >= least, weights, 0.0) @ vectors)[0]
        scores = np.array([candidate.match.score for candidate in candidates], np.float64)
        deltas = (subquery.scores(averaged) - scores).tolist()
        moved = [_moved(candidate, delta) for candidate, delta in zip(candidates, deltas, strict=True)]
        return sorted(moved, key=lambda each: (-each.rank, -each.match.score, each.match.id, each.match.image))


def _moved(candidate: Candidate, delta: float) -> Candidate:
    effect = RuleEffect(AVERAGED, score_delta=round(delta, _DIGITS))
    return candidate._replace(rank=round(candidate.rank + delta, _DIGITS), effects=(*candidate.effects, effect))
