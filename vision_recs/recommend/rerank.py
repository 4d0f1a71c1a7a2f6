"""An answer, place by place: what is pinned, then each question's best in turn, then what relaxed rules let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vision_recs.recommend.candidates import Candidate, Claims, Facts, Sieve, group_of
from vision_recs.recommend.diversity import DiversePool, Pool
from vision_recs.recommend.policy import Policy
from vision_recs.recommend.query import Query
from vision_recs.recommend.retrieve import Search, images_of
from vision_recs.recommend.scoring import Question
from vision_recs.types import Attribute, Match, RuleEffect, Vectors

if TYPE_CHECKING:  # most policies have neither filters nor rules
    from vision_recs.filters import Filter
    from vision_recs.recommend.rules import Pin, Ruling

_IN_STOCK = "in_stock"
"""The attribute that is false for an item that is sold out: such a one is not pinned."""


class Choice(NamedTuple):
    """A match of an answer, for the question of that number; *relaxed* are the rules that it breaks."""

    match: Match
    question: int
    effects: tuple[RuleEffect, ...] = ()
    relaxed: tuple[str, ...] = ()


class Chooser:
    """Chooses the answer to one query under one policy."""

    def __init__(
        self, search: Search, facts: Facts, query: Query, policy: Policy, questions: Sequence[Question]
    ) -> None:
        """Answer *questions*, which are those of *query*."""
        self._search = search
        self._facts = facts
        self._policy = policy
        self._questions = questions
        self._places = query.k
        self._where = policy.matching(query.where)
        self._rulings = [self._ruling(question) for question in questions]
        self._claims = Claims(items=set(query.asked).union(policy.exclude))
        self._given = [0] * len(questions)
        self._chosen: list[Choice] = []
        self._shown: list[Vectors] = []  # the vectors of what is chosen or pinned, where diversity asks for them

    def choose(self) -> list[Choice]:
        """Return at most k choices in the order of their places."""
        pinned = self._pinned()
        self._places -= len(pinned)
        chain = self._chain()
        for count in range(len(chain) + 1):
            is_worth_it = True
            while is_worth_it and len(self._chosen) < self._places:
                is_worth_it = self._fill(chain[:count])
        return _arranged(pinned, self._chosen)

    def _ruling(self, question: Question) -> Ruling | None:
        if self._policy.rules is None:
            return None
        return self._policy.rules.ruling({item: self._facts(item) for item in question.asked})

    def _chain(self) -> list[str]:
        """Return what may be relaxed and has a say here, in order."""
        if self._policy.rules is None:
            return []
        binding = {name for ruling in self._rulings if ruling for name in ruling.to_be}
        binding |= {"one_per"} if self._policy.one_per is not None else set()
        binding |= {"min_score"} if self._policy.min_score is not None else set()
        return [name for name in self._policy.rules.relax if name in binding]

    def _fill(self, relaxed: Sequence[str]) -> bool:
        """Choose until all places are taken or nothing is left, with the rules of *relaxed* given up.

        Returns whether another turn may find more: an item whose best image another question showed has others.
        """
        if self._is_simple:
            for candidate in self._candidates(0, relaxed, self._places - len(self._chosen)):
                self._choose(candidate, 0, relaxed)
            return False
        before = len(self._chosen)
        pools = [self._pool(number, relaxed) for number in range(len(self._questions))]
        turns = set(range(len(pools)))
        while turns and len(self._chosen) < self._places:
            turn = max(turns, key=lambda number: (self._due(number), -number))
            taken = pools[turn].take(lambda candidate: self._is_open(candidate, relaxed))
            if taken is None:
                turns.remove(turn)
                continue
            candidate, vector = taken
            self._choose(candidate, turn, relaxed)
            if vector is not None:
                self._shown.append(vector)
                for pool in pools:
                    pool.move_away_from(vector)
        return len(self._questions) > 1 and len(self._chosen) > before

    @property
    def _is_simple(self) -> bool:
        """Whether the best candidates are the answer."""
        return len(self._questions) == 1 and not self._policy.diversity

    def _choose(self, candidate: Candidate, turn: int, relaxed: Sequence[str]) -> None:
        broken = tuple([name for name in relaxed if self._breaks(name, candidate, turn)])
        self._chosen.append(Choice(candidate.match, turn, candidate.effects, broken))
        self._given[turn] += 1
        self._claims.add(candidate)

    def _due(self, number: int) -> float:
        """Return whose turn it is: each prefix of the answer is shared as nearly as can be (Sainte-Lague)."""
        return self._questions[number].share / (2 * self._given[number] + 1)

    def _is_open(self, candidate: Candidate, relaxed: Sequence[str]) -> bool:
        taken = candidate.group in self._claims.groups and "one_per" not in relaxed
        return not taken and not self._claims.shows(candidate.match)

    def _candidates(self, number: int, relaxed: Sequence[str], count: int) -> list[Candidate]:
        return self._search.candidates(self._questions[number], self._sieve(number, relaxed), count, self._where)

    def _pool(self, number: int, relaxed: Sequence[str]) -> Pool:
        diversity = self._policy.diversity
        candidates = self._candidates(number, relaxed, self._policy.pool(self._places - len(self._chosen)))
        if not diversity or not candidates:
            return Pool(candidates)
        vectors = self._search.vectors([candidate.match for candidate in candidates])
        pool = DiversePool(candidates, diversity=diversity, vectors=vectors)
        for shown in self._shown:
            pool.move_away_from(shown)
        return pool

    def _sieve(self, number: int, relaxed: Sequence[str]) -> Sieve:
        ruling = self._rulings[number]
        tests: tuple[Filter, ...] = ()
        if ruling is not None:
            tests = (*ruling.allowed, *(test for name, test in ruling.to_be.items() if name not in relaxed))
        return Sieve(
            facts=self._facts,
            claims=self._claims,
            one_per=self._policy.one_per,
            variants="one_per" in relaxed,
            floor=None if "min_score" in relaxed else self._policy.min_score,
            tests=tests,
            ruling=ruling,
        )

    def _breaks(self, name: str, candidate: Candidate, number: int) -> bool:
        if name == "one_per":
            return candidate.group in self._claims.groups
        if name == "min_score":
            return self._policy.min_score is not None and candidate.match.score < self._policy.min_score
        ruling = self._rulings[number]
        test = None if ruling is None else ruling.to_be.get(name)
        return test is not None and not test.matches(self._facts(candidate.match.id))

    def _pinned(self) -> dict[int, Choice]:
        """Return what is pinned, by place; a pin whose place is taken moves to the next one that is free."""
        placed: dict[int, Choice] = {}
        if self._policy.rules is None:
            return placed
        asked = {item: self._facts(item) for question in self._questions for item in question.asked}
        for pin in self._policy.rules.pinned(asked):
            place = next((place for place in range(pin.at, self._places + 1) if place not in placed), None)
            choice = None if place is None else self._pin(pin, place)
            if place is not None and choice is not None:
                placed[place] = choice
        return placed

    def _pin(self, pin: Pin, place: int) -> Choice | None:
        """Return the item of *pin*, by its best image that is not shown, or None where it must not be shown."""
        if pin.item in self._claims.items or self._search.store.items.attributes(pin.item) is None:
            return None
        attributes = self._facts(pin.item)
        group = group_of(attributes, self._policy.one_per)
        is_sold_out = attributes.get(_IN_STOCK) is False
        if is_sold_out or group in self._claims.groups or not self._is_allowed(attributes):
            return None
        images = [row for row in images_of(self._search.store, pin.item) if row[1] not in self._claims.digests]
        if not images:
            return None
        vectors = self._search.store.vectors(np.array([position for _, _, position in images], dtype=np.int64))
        scores = np.stack([question.scores(vectors) for question in self._questions])
        best = min(range(len(images)), key=lambda row: (-scores[:, row].max(), images[row][0]))
        match = Match(pin.item, float(scores[:, best].max()), *images[best][:2])
        self._claims.add(Candidate(match, match.score, group))
        if self._policy.diversity:
            self._shown.append(vectors[best])
        return Choice(match, int(np.argmax(scores[:, best])), (RuleEffect(pin.name, position=place),))

    def _is_allowed(self, attributes: Mapping[str, Attribute]) -> bool:
        """Whether an item with *attributes* may be shown at all, by the filters and by no exclusion."""
        tests = [test for ruling in self._rulings if ruling is not None for test in ruling.allowed]
        tests += [] if self._where is None else [self._where]
        return all(test.matches(attributes) for test in tests)


def _arranged(pinned: Mapping[int, Choice], others: Sequence[Choice]) -> list[Choice]:
    """Return *others* in order, with *pinned* at their places, or at the end where those are beyond it."""
    left = iter(others)
    last = max(pinned, default=0)
    arranged = [pinned.get(place) or next(left, None) for place in range(1, max(last, len(others)) + 1)]
    return [choice for choice in (*arranged, *left) if choice is not None]
