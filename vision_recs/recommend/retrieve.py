"""From a query to candidates: the sub-queries, their score, and the search for the best candidates.

SubQuery      what one search is for, as vectors, and the score that it gives to an image
Neighborhood  the images nearest to a sub-query, as far as they were searched
Retriever     searches a neighborhood as far as it takes to be sure of the best candidates
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.recommend.eligibility import Candidate, Eligibility, ranks_of
from vision_recs.types import ItemSource, Match, SearchRequest, TermScore, Vectors
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:  # a query without a filter imports no filters, and most policies have no rules
    from vision_recs.filters import Filter
    from vision_recs.recommend.by_position import NearestPositions

_SLACK = 3.0
"""At most so many times the number of images that are needed are fetched at first: an item may be near by several."""

_NARROW = 4_096
"""From this many fetched images on, the index looks at matching items alone; before, every image is tested here."""

Search: TypeAlias = Callable[[SearchRequest], list[list[Match]]]
"""`VectorIndex.search`, or a function that does the same."""


class QueryTerm(NamedTuple):
    """One item, image, text or interest of a query: its *vectors* (n, dim), n >= 1.

    *kind* and *query* are those of a `TermScore`. *images* names, for each vector, the image of the query item; it is
    None for an image or a text of the query.
    """

    kind: str
    query: str
    weight: float
    vectors: Vectors
    images: tuple[str | None, ...]

    def best_cosines(self, vectors: Vectors) -> NDArray[np.float64]:
        """Return, for each of *vectors* (n, dim), its highest cosine with a vector of this term (n,)."""
        cosines = [exact_cosine(vectors, own) for own in self.vectors]
        best: NDArray[np.float64] = np.max(cosines, axis=0).astype(np.float64)
        return best

    def explain(self, vector: Vectors) -> TermScore:
        """Return the score of *vector* (1, dim) for this term, and the image of the term that is nearest to it."""
        scores = [float(exact_cosine(vector, own)[0]) for own in self.vectors]
        best = scores.index(max(scores))
        return TermScore(self.kind, self.query, self.weight, scores[best], self.images[best])


class SubQuery(NamedTuple):
    """What one search is for: all of a query, or one interest of its history together with the rest of the query.

    *share* is the part of the answer that the sub-query gets, from 0 to 1. The score of an image x is

        ( sum over terms t of      weight(t) * max over v in t of cos(x, v)
          - sum over negatives u of  weight(u) * max(0, max over v in u of cos(x, v)) ) / sum over terms t of weight(t)

    For a single vector it is the cosine. A negative lowers the score of what is like it, and does not raise the score
    of what is its opposite. The score is at most 1; with heavy negatives it can be below -1.
    """

    terms: tuple[QueryTerm, ...]
    negatives: tuple[QueryTerm, ...] = ()
    share: float = 1.0

    @property
    def is_single(self) -> bool:
        """Whether the score is the cosine with one vector."""
        return len(self.terms) == 1 and len(self.terms[0].vectors) == 1 and not self.negatives

    @property
    def vectors(self) -> Vectors:
        """The vectors to search with (n, dim): those of all terms, in their order."""
        return self.terms[0].vectors if len(self.terms) == 1 else np.concatenate([term.vectors for term in self.terms])

    @property
    def items(self) -> tuple[str, ...]:
        """The ids of the items to which similar ones are searched; rules compare the answer with these."""
        return tuple(term.query for term in self.terms if term.kind in {"item", "interest"})

    def scores(self, vectors: Vectors) -> NDArray[np.float32]:
        """Return the score of each of *vectors* (n, dim)."""
        total = np.zeros(len(vectors))
        for term in self.terms:
            total += term.weight * term.best_cosines(vectors)
        for term in self.negatives:
            total -= term.weight * np.maximum(term.best_cosines(vectors), 0.0)
        return (total / self._weight).astype(np.float32)

    def upper_bound(self, lasts: Sequence[float]) -> float:
        """Return a score that no image exceeds whose cosine with vector i of `vectors` is at most *lasts[i]*.

        The operations are those of `scores`, in the same order, and each of them rounds monotonically.
        """
        left = iter(lasts)
        total = 0.0
        for term in self.terms:
            total += term.weight * max(next(left) for _ in term.vectors)
        return float(np.float32(total / self._weight))

    @property
    def _weight(self) -> float:
        return sum(term.weight for term in self.terms)


class Neighborhood(Protocol):
    """The images nearest to a sub-query, as far as they were searched. It is kept, and searched further when needed."""

    @property
    def subquery(self) -> SubQuery:
        """What the images are near to."""
        ...

    @property
    def is_all(self) -> bool:
        """Whether no image is outside."""
        ...

    @property
    def bound(self) -> float:
        """A score that no image outside exceeds."""
        ...

    @property
    def repeats_images(self) -> bool:
        """Whether it may hold the same image, by the bytes, more than once."""
        ...

    @property
    def is_filtered(self) -> bool:
        """Whether `by_rank` leaves out what does not match the filters."""
        ...

    def is_grouped(self, one_per: str | None) -> bool:
        """Whether some items may have the attribute *one_per*, by which an answer has one item of each group."""
        ...

    def reach(self, fetch: int) -> None:
        """Have the nearest *fetch* images of each vector of the sub-query, or more."""
        ...

    def by_rank(self, eligibility: Eligibility, count: int) -> Iterator[Candidate]:
        """Yield the images with the ranks that *eligibility* gives them, the best first; about *count* are needed."""
        ...

    def candidates(self, eligibility: Eligibility, count: int) -> Sequence[Candidate]:
        """Return what `Eligibility.candidates` finds here; what is not needed to choose them may not be read yet."""
        ...

    def read(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return *candidates* with all that is known of their matches."""
        ...

    def vectors(self, candidates: Sequence[Candidate]) -> Vectors:
        """Return the vectors of the images of *candidates* (n, dim)."""
        ...

    def further(
        self, eligibility: Eligibility, candidates: Sequence[Candidate], count: int, *, most: int
    ) -> Neighborhood:
        """Return this neighborhood, searched further, or beyond *most* images one of what *eligibility* admits.

        *candidates* are what was found so far in the place of *count*.
        """
        ...


class MatchNeighborhood:
    """A `Neighborhood` of the matches that an index of any kind finds."""

    is_filtered = False

    def __init__(self, items: ItemSource, search: Search, subquery: SubQuery, where: Filter | None) -> None:
        """Search for *subquery* with *search* among *items* that match *where*."""
        self.subquery = subquery
        self.is_all = False
        self._items, self._search, self._where = items, search, where
        self._fetch = 0
        self._found: list[list[Match]] = []
        self._ranked: Sequence[Match] = ()

    @property
    def bound(self) -> float:
        """A score that no image outside exceeds: the cosine with each vector is at most the last that was found."""
        return self.subquery.upper_bound([answer[-1].score for answer in self._found])

    @property
    def repeats_images(self) -> bool:
        """Whether it holds the same image, by the bytes, more than once."""
        return len({match.digest for match in self._ranked}) < len(self._ranked)

    def is_grouped(self, one_per: str | None) -> bool:
        """Whether some items may have the attribute *one_per*; what they have was not read yet."""
        return one_per is not None

    def reach(self, fetch: int) -> None:
        """Have the nearest *fetch* images of each vector of the sub-query, or more."""
        if self.is_all or fetch <= self._fetch:
            return
        self._fetch = fetch
        self._found = self._search(SearchRequest(self.subquery.vectors, fetch, self._where))
        self.is_all = any(len(answer) < fetch for answer in self._found)
        self._ranked = self._found[0] if self.subquery.is_single else self._scored()

    def by_rank(self, eligibility: Eligibility, count: int) -> Iterator[Candidate]:
        """Yield the images with the ranks that *eligibility* gives them, the best first; about *count* are needed."""
        return eligibility.by_rank(self._ranked, count)

    def candidates(self, eligibility: Eligibility, count: int) -> list[Candidate]:
        """Return what `Eligibility.candidates` finds here."""
        return eligibility.candidates(self, count)

    def read(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return *candidates*, of which all is known but the attributes."""
        return list(candidates)

    def vectors(self, candidates: Sequence[Candidate]) -> Vectors:
        """Return the vectors of the images of *candidates* (n, dim)."""
        return self._items.vectors_of([each.match.digest for each in candidates])

    def further(
        self,
        eligibility: Eligibility,
        candidates: Sequence[Candidate],  # noqa: ARG002 - a Neighborhood
        count: int,  # noqa: ARG002 - a Neighborhood
        *,
        most: int,
    ) -> Neighborhood:
        """Return this neighborhood, searched further, or beyond *most* images one of what *eligibility* admits."""
        fetch = 4 * self._fetch
        where = reduce(and_, eligibility.filters) & self._where if eligibility.filters else self._where
        if fetch <= most or where == self._where:
            self.reach(fetch)
            return self
        narrow = MatchNeighborhood(self._items, self._search, self.subquery, where)
        narrow.reach(fetch)
        return narrow

    def _scored(self) -> list[Match]:
        """Return every image that was found once, with its score for the sub-query, the best first."""
        unique = list({(match.id, match.image): match for answer in self._found for match in answer}.values())
        digests = list(dict.fromkeys(match.digest for match in unique))
        scores = self.subquery.scores(self._items.vectors_of(digests)).tolist()
        score_of = dict(zip(digests, scores, strict=True))
        scored = [match._replace(score=score_of[match.digest]) for match in unique]
        return sorted(scored, key=lambda match: (-match.score, match.id, match.image))


class Retriever(NamedTuple):
    """Finds the best candidates by fetching more and more images from an index (Fagin's threshold algorithm).

    It stops when no image that was not fetched can be among them. So the candidates are exact wherever the index is,
    for any number of vectors and with every rule. Where items and index know positions, *by_position* returns them:
    many candidates are then sifted as arrays, and with *is_warm*, when their arrays are there, few as well.
    """

    items: ItemSource
    search: Search
    by_position: Callable[[], NearestPositions | None] = lambda: None
    is_warm: bool = False

    def around(
        self, subquery: SubQuery, where: Filter | None, *, is_sifted: bool, is_fitted: bool, is_deep: bool
    ) -> Neighborhood:
        """Return the images of items that match *where* around *subquery*, none of which was searched yet.

        Rules leave out or move many of them where it *is_sifted*, and all but those that fit the query where it
        *is_fitted*; where it *is_deep*, many are needed.
        """
        positions = self.by_position() if is_deep or self.is_warm else None
        if positions is None:
            return MatchNeighborhood(self.items, self.search, subquery, where)
        from vision_recs.recommend.neighborhood import PositionNeighborhood

        return PositionNeighborhood(positions, subquery, where, is_sifted=is_sifted, is_fitted=is_fitted)

    def candidates(self, around: Neighborhood, eligibility: Eligibility, count: int) -> Sequence[Candidate]:
        """Return the best *count* candidates of *around*, which is searched as far as it takes, the best first.

        Not all may be known of them yet: see `Neighborhood.read`.
        """
        count = min(count, self.items.item_count)  # of any size: the index counts in 64 bits
        is_sifted = eligibility.rules is not None or around.is_grouped(eligibility.one_per)
        around.reach(first_fetch(self.items, around.subquery, count, is_sifted=is_sifted))
        while True:
            candidates = around.candidates(eligibility, count)
            if around.is_all or _is_settled(candidates, count, around, eligibility):
                return candidates
            around = around.further(eligibility, candidates, count, most=_NARROW)

    def vectors(self, matches: Sequence[Match]) -> Vectors:
        """Return the vectors of the images of *matches* (n, dim)."""
        return self.items.vectors_of([match.digest for match in matches])


def first_fetch(items: ItemSource, subquery: SubQuery, count: int, *, is_sifted: bool) -> int:
    """Return how many images around *subquery* are fetched at first for *count* candidates among *items*.

    Where it *is_sifted*, rules or groups leave some of them out. Else one more than are needed are enough where every
    item has one image: the last one says that no other is better.
    """
    count = min(count, items.item_count)
    needed = count + sum([len(term.vectors) for term in subquery.terms])
    if subquery.is_single and not is_sifted and items.image_count == items.item_count:
        return needed + 1
    return round(min(_SLACK, 1 + items.image_count / max(1, items.item_count) / 2) * needed)


def _is_settled(candidates: Sequence[Candidate], count: int, around: Neighborhood, eligibility: Eligibility) -> bool:
    """Whether no image outside *around* can be among the best *count* candidates."""
    bound = around.bound
    if eligibility.excludes(bound):
        return True
    if len(candidates) < count:
        return False
    if ranks_of(candidates)[-1] > bound + eligibility.max_boost:
        return True
    # what a single search did not reach comes after what it found, also where scores are equal
    is_in_order = around.subquery.is_single and not eligibility.reorders
    return is_in_order and not any(each.rank == bound and eligibility.may_give_way(each) for each in candidates)
