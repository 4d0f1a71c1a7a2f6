"""The best candidates of a question, found through the index and yet exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import islice
from operator import and_
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from vision_recs.recommend.candidates import Candidate, Sieve
from vision_recs.recommend.scoring import Question
from vision_recs.store import Store
from vision_recs.types import Match, Vectors

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter

_SLACK = 3.0
"""How many times the images needed are fetched at first at most: an item may be near by several of its images."""

_NARROW = 4_096
"""From how many fetched images on the index looks at matching items alone, in place of all being tested here."""

SearchWithin: TypeAlias = "Callable[[Vectors, int, Filter | None], list[list[Match]]]"
"""Returns for each vector up to so many images, of items that match the filter alone: see `VectorIndex.search`."""


class Search(NamedTuple):
    """Asks an index for more and more images until those not seen can change nothing (Fagin's threshold algorithm).

    Where the index is exact, so are the candidates, for any number of parts and with every rule.
    """

    store: Store
    within: SearchWithin

    def candidates(self, question: Question, sieve: Sieve, count: int, where: Filter | None) -> list[Candidate]:
        """Return the best *count* candidates that *sieve* lets through, of items that match *where*, best first."""
        vectors, searched = question.vectors, where
        fetch = self.first_fetch(question, count)
        while True:
            found = self.within(vectors, fetch, searched)
            ranked = found[0] if question.is_single else self._ranked(found, question)
            candidates = list(islice(sieve.candidates(ranked), count))
            is_all = any(len(answer) < fetch for answer in found)
            if is_all or _is_settled(candidates, count, question, found, sieve):
                return candidates
            fetch *= 4
            if fetch > _NARROW and sieve.tests:
                searched = reduce(and_, sieve.tests) & where

    def first_fetch(self, question: Question, count: int) -> int:
        """Return how many images are fetched at first for *count* candidates of *question*."""
        each = self.store.manifest.images / max(1, self.store.manifest.items)
        return round(min(_SLACK, 1 + each / 2) * (count + sum(len(part.vectors) for part in question.parts)))

    def vectors(self, matches: Sequence[Match]) -> Vectors:
        """Return the vectors of the images of *matches* (n, dim)."""
        position_of = self.store.positions_of({match.digest for match in matches})
        return self.store.vectors(np.array([position_of[match.digest] for match in matches], dtype=np.int64))

    def _ranked(self, found: Sequence[Sequence[Match]], question: Question) -> list[Match]:
        """Return every image of *found* once, with its score for the whole question, best first."""
        seen = list({(match.id, match.image): match for answer in found for match in answer}.values())
        position_of = self.store.positions_of({match.digest for match in seen})
        vectors = self.store.vectors(np.array(list(position_of.values()), dtype=np.int64))
        score_of = dict(zip(position_of, question.scores(vectors).tolist(), strict=True))
        scored = [match._replace(score=score_of[match.digest]) for match in seen]
        return sorted(scored, key=lambda match: (-match.score, match.id, match.image))


def _is_settled(
    candidates: Sequence[Candidate], count: int, question: Question, found: Sequence[Sequence[Match]], sieve: Sieve
) -> bool:
    """Whether no image outside *found* can be among the best *count*.

    An image that the search for a vector did not reach has at most the last score of that search.
    """
    bound = question.bound([answer[-1].score for answer in found])
    if sieve.is_through(bound):
        return True
    if len(candidates) < count:
        return False
    if question.is_single and not sieve.moves_any:
        return True  # the rest of a single search comes after what it gave, equal scores too
    return candidates[-1].rank > bound + (0.0 if sieve.ruling is None else sieve.ruling.most)


def images_of(store: Store, item: str) -> Iterator[tuple[str, str, int]]:
    """Yield each image of *item*, the digest of its bytes, and the position of its vector."""
    for image in store.images(item):
        (row,) = store.rows([image.position], limit=1)[image.position]
        yield image.image, row.digest, image.position
