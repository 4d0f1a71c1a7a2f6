"""The order of an answer by what `visrec learn` published: a bounded effect on the candidates of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vision_recs.feedback.model import Learned, read_model
from vision_recs.recommend.eligibility import AttributesOf, Candidate
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.types import ItemSource, LearnedSource, RuleEffect

LEARNED = "learned"
"""The name of the effect in an explanation."""


_DIGITS = 6
"""Of a rank: items that are expected to get the same clicks are equal, whatever the last bits say."""


class LearnedOrder(NamedTuple):
    """Moves candidates by what *model* expects of them, each by at most *most*, as a score."""

    model: Learned
    most: float

    def order(
        self, candidates: Sequence[Candidate], subquery: SubQuery, attributes_of: AttributesOf
    ) -> list[Candidate]:
        """Return *candidates*, which are those of one pool for *subquery*, by their new rank; equal ones by score."""
        asked = asked_of(subquery)
        pool = [candidate.match.id for candidate in candidates]
        attributes_of.load([*pool, asked] if asked else pool)
        scores = np.array([candidate.match.score for candidate in candidates], np.float64)
        known = (asked, attributes_of(asked) if asked else {})
        clicks = self.model.clicks_of_pool(known, [(item, attributes_of(item)) for item in pool], scores)
        deltas = self.model.deltas(clicks, scores, most=self.most) if pool else scores
        moved = [_moved(*each) for each in zip(candidates, deltas.tolist(), strict=True)]
        return sorted(moved, key=lambda each: (-each.rank, -each.match.score, each.match.id, each.match.image))


def asked_of(subquery: SubQuery) -> str:
    """Return the id of the item to which *subquery* searches similar ones; empty for a query of another kind."""
    return subquery.items[0] if len(subquery.terms) == 1 and subquery.items and not subquery.negatives else ""


def model_of(items: ItemSource) -> Learned | None:
    """Return the model that was published with *items*, or None; raises StoreDamaged where it was altered."""
    file = items.model_file if isinstance(items, LearnedSource) else None
    return None if file is None else read_model(file[0], digest=file[1])


def _moved(candidate: Candidate, delta: float) -> Candidate:
    effect = RuleEffect(LEARNED, score_delta=round(delta, _DIGITS))
    rank = round(candidate.rank + delta, _DIGITS)
    return Candidate(candidate.match, rank, candidate.group, (*candidate.effects, effect))
