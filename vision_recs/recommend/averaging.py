"""The order of an answer by averaged vectors: each candidate together with the candidates that are most like it.

A candidate that only looks like the query by chance has neighbors that do not; one of the same kind has neighbors that
do. This is database-side averaging (Arandjelovic and Zisserman, CVPR 2012; weights of Gordo et al., 2017),
among the candidates of the answer alone: nothing is stored, so that it is current after every update. There are so many
candidates (`Policy.pool`) that it brings what averaging all vectors of a store does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.eligibility import AttributesOf, Candidate
from vision_recs.recommend.retrieve import Retriever, SubQuery
from vision_recs.vectors import normalize_rows

AVERAGED: Final = "averaging"
"""The name of the effect in an explanation."""

_POWER: Final = 3
"""The weight of a neighbor is its cosine to this power."""


@dataclass(frozen=True, slots=True, eq=False)
class AveragedOrder:
    """Ranks candidates by their score after each was averaged with its *neighbors* nearest candidates."""

    retriever: Retriever
    neighbors: int

    name: ClassVar = AVERAGED
    needs_images: ClassVar = True

    def moves(
        self,
        candidates: Sequence[Candidate],
        subquery: SubQuery,
        attributes_of: AttributesOf,  # noqa: ARG002 - of the protocol `Order`
    ) -> NDArray[np.float64]:
        """Return by how much each of *candidates* is moved, which are those of one pool for *subquery*."""
        vectors = self.retriever.vectors([candidate.match for candidate in candidates]).astype(np.float64)
        weights = np.maximum(vectors @ vectors.T, 0.0) ** _POWER
        kept = min(self.neighbors + 1, len(vectors))
        least = np.partition(weights, len(vectors) - kept, axis=1)[:, len(vectors) - kept, None]
        averaged = normalize_rows(np.where(weights >= least, weights, 0.0) @ vectors)[0]
        scores = np.array([candidate.match.score for candidate in candidates], np.float64)
        return np.asarray(subquery.scores(averaged) - scores)
