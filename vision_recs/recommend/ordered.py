"""The candidates of a pool in the order of their ranks, after what was learned, or averaged, has moved them.

A pool has forty candidates, of which an answer shows ten. So they are moved as arrays, and only what is shown becomes a
`Candidate` that says what moved it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.eligibility import AttributesOf, Candidate, ids_of, ranks_of, scores_of
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.types import RuleEffect

_DIGITS = 6
"""Of a rank, and of an effect: what differs by less is equal, whatever the last bits say."""


class Order(Protocol):
    """Moves the candidates of a pool, beside their scores and the rules: an effect on the rank of each."""

    @property
    def name(self) -> str:
        """The name of the effect in an explanation."""
        ...

    @property
    def needs_images(self) -> bool:
        """Whether it asks more of a candidate than its item and its score; then it has to be read before."""
        ...

    def moves(
        self, candidates: Sequence[Candidate], subquery: SubQuery, attributes_of: AttributesOf
    ) -> NDArray[np.float64]:
        """Return what is added to the rank of each of *candidates* (n,), one at least, of one pool for *subquery*."""
        ...


@dataclass(frozen=True, slots=True)
class Ordered:
    """*candidates* in the order of their *ranks*: *places* has their numbers, the best one first.

    *moves* has, for each order that moved them, its name, and by how much it moved each candidate.
    """

    candidates: Sequence[Candidate]
    ranks: Sequence[float]
    places: Sequence[int]
    moves: tuple[tuple[str, Sequence[float]], ...] = ()

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        orders: Sequence[Order],
        subquery: SubQuery,
        attributes_of: AttributesOf,
    ) -> Ordered:
        """Return *candidates*, which are those of one pool for *subquery*, as *orders* move them; equal ones by score.

        Without any order they are in order.
        """
        ranks = ranks_of(candidates)
        if not orders or not candidates:
            return cls(candidates, ranks, range(len(candidates)))
        moves, total = [], np.array(ranks, np.float64)
        for order in orders:
            moved = order.moves(candidates, subquery, attributes_of)
            total = (total + moved).round(_DIGITS)
            moves.append((order.name, moved.round(_DIGITS).tolist()))
        found = total.tolist()
        if len(set(found)) < len(found):
            return cls(candidates, found, _in_order(found, candidates), tuple(moves))
        return cls(candidates, found, sorted(range(len(found)), key=found.__getitem__, reverse=True), tuple(moves))

    def __len__(self) -> int:
        """Return how many candidates there are."""
        return len(self.places)

    @property
    def ids(self) -> list[str]:
        """The id of each candidate, the best one first."""
        ids = ids_of(self.candidates)
        return [ids[number] for number in self.places]

    @property
    def scores(self) -> list[float]:
        """The score of each candidate, the best one first."""
        scores = scores_of(self.candidates)
        return [scores[number] for number in self.places]

    def after(self, count: int) -> Ordered:
        """Return all but the best *count* of them."""
        return Ordered(self.candidates, self.ranks, self.places[count:], self.moves)

    def best(self, count: int) -> Sequence[Candidate]:
        """Return the best *count* of them, with their effects."""
        if not self.moves and count >= len(self.candidates) == len(self.places):
            return self.candidates
        return [self.candidate(number) for number in self.places[:count]]

    def candidate(self, number: int) -> Candidate:
        """Return the candidate with *number*, with its rank and effects."""
        candidate = self.candidates[number]
        if not self.moves:
            return candidate
        effects = (RuleEffect(name, score_delta=moved[number]) for name, moved in self.moves)
        return candidate._replace(rank=self.ranks[number], effects=(*candidate.effects, *effects))


def _in_order(ranks: Sequence[float], candidates: Sequence[Candidate]) -> list[int]:
    """Return the numbers of *candidates* by their *ranks*, the best one first; equal ones by score, then by id."""
    ids, scores = ids_of(candidates), scores_of(candidates)

    def key(number: int) -> tuple[float, float, str]:  # each is another item
        return -ranks[number], -scores[number], ids[number]

    return sorted(range(len(candidates)), key=key)
