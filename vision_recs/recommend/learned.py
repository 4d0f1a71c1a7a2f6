"""The order of an answer by what `visrec learn` published: a bounded effect on the candidates of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.feedback.features import Rows
from vision_recs.feedback.model import Codes, Learned, read_model
from vision_recs.recommend.eligibility import AttributesOf, Candidate, CandidateColumns, ids_of, rows_of, scores_of
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.types import Attribute, ItemSource, LearnedSource

LEARNED = "learned"
"""The name of the effect in an explanation."""


@dataclass(frozen=True, slots=True, eq=False)
class LearnedOrder:
    """Moves candidates by what *model* expects of them, each by at most *most*, as a score.

    *rows* has what the model compares of items.
    """

    model: Learned
    rows: Rows
    most: float

    name: ClassVar = LEARNED
    needs_images: ClassVar = False

    def moves(
        self, candidates: Sequence[Candidate], subquery: SubQuery, attributes_of: AttributesOf
    ) -> NDArray[np.float64]:
        """Return by how much each of *candidates* is moved, which are those of one pool for *subquery*."""
        asked, scores = asked_of(subquery), np.array(scores_of(candidates), np.float64)

        def attributes(items: Sequence[str]) -> list[Mapping[str, Attribute]]:
            attributes_of.load(filter(None, items), rows_of(candidates))
            return [attributes_of(item) if item else {} for item in items]

        rows = self.rows.of([asked, *ids_of(candidates)], attributes)
        return self.model.deltas_of_pool(asked, self.codes(candidates), rows, scores, most=self.most)

    def codes(self, candidates: Sequence[Candidate]) -> Codes:
        """Return the code of each of *candidates* (n,) in the model."""
        known = candidates.codes if isinstance(candidates, CandidateColumns) else None
        return self.model.codes(ids_of(candidates)) if known is None else known


def asked_of(subquery: SubQuery) -> str:
    """Return the id of the item to which *subquery* searches similar ones; empty for a query of another kind."""
    items = subquery.items if len(subquery.terms) == 1 and not subquery.negatives else ()
    return items[0] if items else ""


def model_of(items: ItemSource) -> Learned | None:
    """Return the model that was published with *items*, or None; raises StoreDamaged where it was altered."""
    file = items.model_file if isinstance(items, LearnedSource) else None
    return None if file is None else read_model(file[0], digest=file[1])
