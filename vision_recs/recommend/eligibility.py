"""Which images may be candidates: of items that the policy admits, each item once, in the order of their ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import Group, group_of
from vision_recs.types import Attribute, ItemSource, Match, RuleEffect

if TYPE_CHECKING:  # a query without a filter imports no filters, and most policies have no rules
    from vision_recs.filters import Filter
    from vision_recs.recommend.retrieve import Neighborhood
    from vision_recs.recommend.rules import ActiveRules
    from vision_recs.store.recent_items import KnownItem

IN_STOCK = "in_stock"
"""The attribute that is true for an item that can be bought, and false for one that is sold out."""


_NO_ROWS: Mapping[str, int] = MappingProxyType({})
_Known: TypeAlias = "Callable[[Sequence[str], Sequence[int]], Mapping[str, KnownItem]]"  # as `Store.known`


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

    def load(self, items: Iterable[str], rows: Mapping[str, int] = _NO_ROWS) -> None:
        """Read the attributes of *items* at once, where they are not known yet.

        Those that are in *rows* of the attribute columns are read there, in a third of the time.
        """
        missing = [item for item in dict.fromkeys(items) if item not in self._known]
        by_row = {item: rows[item] for item in missing if item in rows} if rows else {}
        known: _Known | None = getattr(self._items, "known", None) if by_row else None
        if known is not None:
            found_by_row = known(list(by_row), list(by_row.values()))
            self._known.update((item, found_by_row[item].attributes) for item in by_row)
            missing = [item for item in missing if item not in by_row]
        if missing:
            found = self._items.attributes_of(missing)
            self._known.update((item, found.get(item)) for item in missing)

    def add(self, item: str, attributes: Mapping[str, Attribute]) -> None:
        """Know the *attributes* of *item*, which were read already."""
        self._known[item] = attributes


class Candidate(NamedTuple):
    """An image that may become a match: *rank* is its score plus what rules add, *group* that of its item.

    With a *position*, that of its vector, only the id and the score of *match* are known yet: see `Neighborhood.read`.
    *row* is then that of its item in the attribute columns.
    """

    match: Match
    rank: float
    group: Group | None = None
    effects: tuple[RuleEffect, ...] = ()
    position: int | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class CandidateColumns(Sequence[Candidate]):
    """Candidates at positions as columns: an object is made of those alone that are asked for.

    *codes* (n,) are those of their items in the learned model, where these are known.
    """

    ids: list[str]
    scores: list[float]
    positions: list[int]
    groups: Sequence[Group | None]
    effects: Sequence[tuple[RuleEffect, ...]]
    rows: Sequence[int | None]
    codes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ids)

    @overload
    def __getitem__(self, number: int) -> Candidate: ...
    @overload
    def __getitem__(self, number: slice) -> list[Candidate]: ...
    def __getitem__(self, number: int | slice) -> Candidate | list[Candidate]:
        """Return the candidate with *number*, or some of them."""
        if isinstance(number, slice):
            return [self[each] for each in range(len(self))[number]]
        match = Match(self.ids[number], self.scores[number], "")
        return Candidate(
            match,
            self.rank(number),
            self.groups[number],
            self.effects[number],
            self.positions[number],
            self.rows[number],
        )

    def __iter__(self) -> Iterator[Candidate]:
        """Yield each."""
        matches = [Match(item, score, "") for item, score in zip(self.ids, self.scores, strict=True)]
        columns = (matches, ranks_of(self), self.groups, self.effects, self.positions, self.rows)
        return map(Candidate, *columns)

    def rank(self, number: int) -> float:
        """Return the rank of the candidate with *number*."""
        effects = self.effects[number]
        return (
            self.scores[number] + sum(each.score_delta or 0.0 for each in effects) if effects else self.scores[number]
        )


def ids_of(candidates: Sequence[Candidate]) -> list[str]:
    """Return the id of each of *candidates*."""
    return candidates.ids if isinstance(candidates, CandidateColumns) else [each.match.id for each in candidates]


def rows_of(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Return, by id, the row in the attribute columns of each of *candidates* whose row is known."""
    if isinstance(candidates, CandidateColumns):
        pairs = zip(candidates.ids, candidates.rows, strict=True)
        return {item: row for item, row in pairs if row is not None}
    return {each.match.id: each.row for each in candidates if each.row is not None}


def scores_of(candidates: Sequence[Candidate]) -> list[float]:
    """Return the score of each of *candidates*."""
    return candidates.scores if isinstance(candidates, CandidateColumns) else [each.match.score for each in candidates]


def ranks_of(candidates: Sequence[Candidate]) -> list[float]:
    """Return the rank of each of *candidates*."""
    if not isinstance(candidates, CandidateColumns):
        return [each.rank for each in candidates]
    return candidates.scores if not any(candidates.effects) else [candidates.rank(n) for n in range(len(candidates))]


def have_effects(candidates: Sequence[Candidate]) -> bool:
    """Whether a rule moved any of *candidates*."""
    return any(
        candidates.effects if isinstance(candidates, CandidateColumns) else (each.effects for each in candidates)
    )


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
        if self.images_once and candidate.position is None:
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

    @property
    def max_boost(self) -> float:
        """The most that rules can add to the score of what matches the filters."""
        return 0.0 if self.rules is None else self.rules.max_boost(self.filters)

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
            yield candidate if group is None else candidate._replace(group=group)

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
