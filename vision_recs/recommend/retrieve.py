"""From a query to candidates: the sub-queries, their score, which items are eligible, and the search for the best ones.

SubQuery      what one search is for, as vectors, and the score that it gives to an image
Eligibility   from ranked images to candidates: each item once, and only items that the policy admits
Neighborhood  the images nearest to a sub-query, as far as they were searched
Retriever     searches a neighborhood as far as it takes to be sure of the best candidates
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from operator import and_
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group, group_of
from vision_recs.types import Attribute, ItemSource, Match, RuleEffect, SearchRequest, TermScore, Vectors
from vision_recs.vectors import exact_cosine

if TYPE_CHECKING:  # a query without a filter imports no filters, and most policies have no rules
    from vision_recs.filters import Filter
    from vision_recs.recommend.by_position import NearestPositions
    from vision_recs.recommend.rules import ActiveRules

_SLACK = 3.0
"""At most so many times the number of images that are needed are fetched at first: an item may be near by several."""

_NARROW = 4_096
"""From this many fetched images on, the index looks at matching items alone; before, every image is tested here."""

IN_STOCK = "in_stock"
"""The attribute that is true for an item that can be bought, and false for one that is sold out."""

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
        return np.concatenate([term.vectors for term in self.terms])

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


class AttributesOf:
    """The attributes of items, by id; each item is read once."""

    def __init__(self, items: ItemSource) -> None:
        """Read from *items*."""
        self._items = items
        self._known: dict[str, Mapping[str, Attribute] | None] = {}

    def __call__(self, item: str) -> Mapping[str, Attribute]:
        """Return the attributes of *item*, which an index has found; raises StoreDamaged where there is none."""
        found = self.get(item)
        if found is None:
            raise StoreDamaged(f"the item {item!r} was found, but is not in the store; run `visrec verify`")
        return found

    def get(self, item: str) -> Mapping[str, Attribute] | None:
        """Return the attributes of *item*, or None where no item has that id."""
        if item not in self._known:
            self.load([item])
        return self._known[item]

    def load(self, items: Iterable[str]) -> None:
        """Read the attributes of *items* at once, where they are not known yet."""
        missing = [item for item in dict.fromkeys(items) if item not in self._known]
        if missing:
            found = self._items.attributes_of(missing)
            self._known.update((item, found.get(item)) for item in missing)

    def add(self, item: str, attributes: Mapping[str, Attribute]) -> None:
        """Know the *attributes* of *item*, which were read already."""
        self._known[item] = attributes


class Candidate(NamedTuple):
    """An image that may become a match: *rank* is its score plus what rules add, *group* that of its item."""

    match: Match
    rank: float
    group: Group | None = None
    effects: tuple[RuleEffect, ...] = ()


@dataclass(slots=True)
class Seen:
    """What an answer shows already, or must never show: ids of items, groups, and digests of images.

    Without *images_once*, the images do not count: several items may show the same one.
    """

    items: set[str]
    groups: set[Group]
    images_once: bool
    digests: set[str] = field(default_factory=set)

    def copy(self) -> Seen:
        """Return a copy that can be added to by itself."""
        return Seen(set(self.items), set(self.groups), self.images_once, set(self.digests))

    def add(self, candidate: Candidate) -> None:
        """Add the item, the group and the image of *candidate*."""
        self.items.add(candidate.match.id)
        if candidate.group is not None:
            self.groups.add(candidate.group)
        if self.images_once:
            self.digests.add(candidate.match.digest)

    def shows(self, match: Match) -> bool:
        """Whether the item of *match* is seen, or its image, by the bytes."""
        return match.id in self.items or match.digest in self.digests


class Eligibility(NamedTuple):
    """The conditions that a candidate for one sub-query has to meet.

    Its item is not in *seen*, its score is at least *min_score*, and its item matches all *filters*. Its group, by the
    attribute *one_per*, is not seen either, unless *with_variants*. *rules* change its rank.
    """

    attributes_of: AttributesOf
    seen: Seen
    one_per: str | None
    with_variants: bool = False
    min_score: float | None = None
    filters: tuple[Filter, ...] = ()
    rules: ActiveRules | None = None

    @property
    def reorders(self) -> bool:
        """Whether candidates may come in another order than that of their scores."""
        return self.rules is not None and bool(self.rules.boosts)

    def excludes(self, bound: float) -> bool:
        """Whether no image with a score of *bound* or less is eligible."""
        return self.min_score is not None and bound < self.min_score

    def candidates(self, around: Neighborhood, count: int) -> list[Candidate]:
        """Return the first *count* candidates of *around*, the best rank first.

        Where images are shown once, those of equal rank that show one image come together, at the place of the first,
        and items in stock before the others.
        """
        eligible = self._eligible(around, count)
        if self.seen.images_once and around.repeats_images:
            eligible = self._in_stock_first(eligible)
        seen = self.seen.copy()
        found: list[Candidate] = []
        for candidate in eligible:
            if not seen.shows(candidate.match) and (self.with_variants or candidate.group not in seen.groups):
                seen.add(candidate)
                found.append(candidate)
                if len(found) == count:
                    break
        return found

    def _eligible(self, around: Neighborhood, count: int) -> Iterator[Candidate]:
        """Yield what *around* has that may be shown if nothing else is, the best rank first."""
        refused: set[str] = set()  # whose other images need not be looked at
        filters = () if around.is_filtered else self.filters
        for candidate in around.by_rank(self, count):
            match = candidate.match
            if self.seen.shows(match) or match.id in refused:
                continue
            if self.min_score is not None and match.score < self.min_score:
                continue
            attributes = self.attributes_of(match.id) if self.one_per is not None or filters else {}
            group = group_of(attributes, self.one_per)
            is_shown = group in self.seen.groups and not self.with_variants
            if is_shown or not all(each.matches(attributes, match.id) for each in filters):
                refused.add(match.id)
                continue
            yield candidate if group is None else Candidate(match, candidate.rank, group, candidate.effects)

    def _in_stock_first(self, eligible: Iterable[Candidate]) -> Iterator[Candidate]:
        for _, run in groupby(eligible, key=lambda candidate: candidate.rank):
            showing: dict[str, list[Candidate]] = {}
            for candidate in run:
                showing.setdefault(candidate.match.digest, []).append(candidate)
            for same in showing.values():
                yield from sorted(same, key=self.may_give_way) if len(same) > 1 else same

    def by_rank(self, ranked: Sequence[Match], count: int) -> Iterator[Candidate]:
        """Yield all of *ranked*, images by falling score, then by id, then by image, with their ranks, the best first.

        The attributes of their items are read before, for about *count* items at a time.
        """
        if self.reorders:
            self.attributes_of.load(match.id for match in ranked)
            yield from sorted(map(self.moved, ranked), key=place)
            return
        for start in range(0, len(ranked), count + 1):
            some = ranked[start : start + count + 1]
            if self.one_per is not None or self.filters:
                self.attributes_of.load(match.id for match in some if match.id not in self.seen.items)
            yield from map(self.moved, some)

    def may_give_way(self, candidate: Candidate) -> bool:
        """Whether an item in stock that shows the same image would be shown in place of *candidate*."""
        return self.seen.images_once and self.attributes_of(candidate.match.id).get(IN_STOCK) is not True

    def moved(self, match: Match) -> Candidate:
        """Return the candidate that *match* is by its score and by what the rules add to it."""
        if self.rules is None or not self.rules.boosts:
            return Candidate(match, match.score)
        effects = self.rules.effects(self.attributes_of(match.id), match.id)
        return Candidate(match, match.score + sum(effect.score_delta or 0.0 for effect in effects), None, effects)


def place(candidate: Candidate) -> tuple[float, str, str]:
    """Return what puts candidates into their order: the best rank first, equal ones by id, then by image."""
    return -candidate.rank, candidate.match.id, candidate.match.image


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

    def reach(self, fetch: int) -> None:
        """Have the nearest *fetch* images of each vector of the sub-query, or more."""
        ...

    def by_rank(self, eligibility: Eligibility, count: int) -> Iterator[Candidate]:
        """Yield the images with the ranks that *eligibility* gives them, the best first; about *count* are needed."""
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

    def around(self, subquery: SubQuery, where: Filter | None, *, is_sifted: bool, is_deep: bool) -> Neighborhood:
        """Return the images of items that match *where* around *subquery*, none of which was searched yet.

        Rules leave out or move many of them where it *is_sifted*; where it *is_deep*, many are needed.
        """
        positions = self.by_position() if is_deep or self.is_warm else None
        if positions is None:
            return MatchNeighborhood(self.items, self.search, subquery, where)
        return positions.around(subquery, where, is_sifted=is_sifted)

    def candidates(self, around: Neighborhood, eligibility: Eligibility, count: int) -> list[Candidate]:
        """Return the best *count* candidates of *around*, which is searched as far as it takes, the best first."""
        count = min(count, self.items.item_count)  # of any size: the index counts in 64 bits
        around.reach(self.first_fetch(around.subquery, count))
        while True:
            candidates = eligibility.candidates(around, count)
            if around.is_all or _is_settled(candidates, count, around, eligibility):
                return candidates
            around = around.further(eligibility, candidates, count, most=_NARROW)

    def first_fetch(self, subquery: SubQuery, count: int) -> int:
        """Return how many images are fetched at first for *count* candidates."""
        count = min(count, self.items.item_count)
        images_per_item = self.items.image_count / max(1, self.items.item_count)
        return round(min(_SLACK, 1 + images_per_item / 2) * (count + sum(len(term.vectors) for term in subquery.terms)))

    def vectors(self, matches: Sequence[Match]) -> Vectors:
        """Return the vectors of the images of *matches* (n, dim)."""
        return self.items.vectors_of([match.digest for match in matches])


def _is_settled(candidates: Sequence[Candidate], count: int, around: Neighborhood, eligibility: Eligibility) -> bool:
    """Whether no image outside *around* can be among the best *count* candidates."""
    bound = around.bound
    if eligibility.excludes(bound):
        return True
    if len(candidates) < count:
        return False
    if candidates[-1].rank > bound + (0.0 if eligibility.rules is None else eligibility.rules.max_boost):
        return True
    # what a single search did not reach comes after what it found, also where scores are equal
    is_in_order = around.subquery.is_single and not eligibility.reorders
    return is_in_order and not any(each.rank == bound and eligibility.may_give_way(each) for each in candidates)
