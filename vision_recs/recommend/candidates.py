"""From ranked images to candidates: each item once, by its best image, and only what the policy lets through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from vision_recs.types import Attribute, Match, RuleEffect

if TYPE_CHECKING:  # most policies have neither filters nor rules
    from vision_recs.filters import Filter
    from vision_recs.recommend.rules import Ruling

Facts: TypeAlias = Callable[[str], Mapping[str, Attribute]]
"""The attributes of an item, by its id."""

Group: TypeAlias = tuple[bool, Attribute]


class Candidate(NamedTuple):
    """An image that may answer a question: *rank* is its score with what rules add, *group* that of its item."""

    match: Match
    rank: float
    group: Group | None = None
    effects: tuple[RuleEffect, ...] = ()


@dataclass(slots=True)
class Claims:
    """What an answer shows already, or never shows: items, the digests of images, and groups of variants."""

    items: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)

    def copy(self) -> Claims:
        """Return claims that grow by themselves."""
        return Claims(set(self.items), set(self.digests), set(self.groups))

    def add(self, candidate: Candidate) -> None:
        """Claim what *candidate* shows."""
        self.items.add(candidate.match.id)
        self.digests.add(candidate.match.digest)
        if candidate.group is not None:
            self.groups.add(candidate.group)

    def shows(self, match: Match) -> bool:
        """Whether the item or the image of *match* is claimed; the same bytes count as the same image."""
        return match.id in self.items or match.digest in self.digests


def group_of(attributes: Mapping[str, Attribute], one_per: str | None) -> Group | None:
    """Return the group of an item with *attributes*; true is another one than 1."""
    value = None if one_per is None else attributes.get(one_per)
    return None if value is None else (isinstance(value, bool), value)


class Sieve(NamedTuple):
    """What a candidate for one question has to be: all of *tests* hold, its score is at least *floor*.

    *one_per* is the attribute of its group, which must be free unless *variants* are let through; *ruling* says what
    effects it.
    """

    facts: Facts
    claims: Claims
    one_per: str | None
    variants: bool = False
    floor: float | None = None
    tests: tuple[Filter, ...] = ()
    ruling: Ruling | None = None

    @property
    def moves_any(self) -> bool:
        """Whether the order of candidates may be another one than that of their scores."""
        return self.ruling is not None and bool(self.ruling.shifts)

    def is_through(self, bound: float) -> bool:
        """Whether no image with a score of at most *bound* is let through."""
        return self.floor is not None and bound < self.floor

    def candidates(self, ranked: Iterable[Match]) -> Iterator[Candidate]:
        """Yield the candidates among *ranked*, images by falling score, then id, then image; best rank first."""
        claims = self.claims.copy()
        for candidate in self._moved(ranked):
            match = candidate.match
            if claims.shows(match) or (self.floor is not None and match.score < self.floor):
                continue
            attributes = self.facts(match.id) if self.one_per is not None or self.tests else {}
            group = group_of(attributes, self.one_per)
            if (group in claims.groups and not self.variants) or not all(t.matches(attributes) for t in self.tests):
                claims.items.add(match.id)  # so that its other images are not looked at again
                continue
            found = candidate if group is None else Candidate(match, candidate.rank, group, candidate.effects)
            claims.add(found)
            yield found

    def _moved(self, ranked: Iterable[Match]) -> Iterable[Candidate]:
        if self.ruling is None or not self.ruling.shifts:
            return (Candidate(match, match.score) for match in ranked)
        moved = (Candidate(match, *self._rank(match, self.ruling)) for match in ranked)
        return sorted(moved, key=lambda candidate: (-candidate.rank, candidate.match.id, candidate.match.image))

    def _rank(self, match: Match, ruling: Ruling) -> tuple[float, None, tuple[RuleEffect, ...]]:
        effects = ruling.effects(self.facts(match.id))
        return match.score + sum(effect.score_delta or 0.0 for effect in effects), None, effects
