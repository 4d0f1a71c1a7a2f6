"""What a query under a policy has to be answered with: every image is looked at, every rule is a plain condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fake_shop import content

from vision_recs.recommend.interests import find_interests
from vision_recs.recommend.query import NEGATIVE_WEIGHT, weighted
from vision_recs.recommend.rules import Bounds, Differ, Same


@dataclass(frozen=True, eq=False)
class Row:
    """An image of an item."""

    item: str
    image: str
    digest: str
    vector: tuple
    attributes: dict


@dataclass(frozen=True)
class Place:
    """A place of an answer."""

    item: str
    image: str
    score: float
    effects: tuple
    relaxed: tuple


@dataclass(frozen=True)
class SubQuery:
    """Lists of (weight, vectors), for and against, and the items that rules look at."""

    terms: list
    negatives: list
    share: float
    items: list

    def score(self, vector):
        total = sum(weight * max(cosine(vector, other) for other in vectors) for weight, vectors in self.terms)
        for weight, vectors in self.negatives:
            total -= weight * max(0.0, *(cosine(vector, other) for other in vectors))
        return float(np.float32(total / sum(weight for weight, _ in self.terms)))


def cosine(one, other):
    """Return the inner product in steps of 2^-24, as engines give it: rounding decides ties."""
    return round(float(np.clip(np.multiply(one, other).sum(), -1, 1)) * 2**24) / 2**24


class SlowShop:
    """All of a store in memory, and the answer to a query."""

    def __init__(self, store, query, policy):
        held = content(store)
        self.attributes = {item: attributes for item, (attributes, _) in held.items.items()}
        self.rows = [
            Row(item, name, digest, vector, attributes)
            for item, (attributes, shown) in held.items.items()
            for name, digest, vector, _ in shown
        ]
        self.query, self.policy = query, policy
        self.subqueries = list(self.make_subqueries(store))
        self.items = set(query.query_items) | set(policy.exclude)
        self.digests = set()
        events = query.history.events if query.history else ()
        similar_to = {item for item, *_ in weighted(query.items)} | {event.item for event in events}
        self.groups = {self.group(self.attributes[item]) for item in similar_to if item in self.attributes} - {None}
        self.shows_images_once = policy.one_per is not None and query.where is None and policy.where is None
        self.shown_vectors = []

    def make_subqueries(self, store):
        def vectors(item):
            return [row.vector for row in self.rows if row.item == item]

        terms = list(weighted(self.query.items))
        negatives = [(weight, vectors(item)) for item, weight, *_ in weighted(self.query.negatives, NEGATIVE_WEIGHT)]
        own = [(weight, vectors(item)) for item, weight, *_ in terms]
        query_items = [item for item, *_ in terms]
        if self.query.history is None:
            yield SubQuery(own, negatives, 1.0, query_items)
            return
        for interest in find_interests(store, self.query.history):
            medoid = (1.0, vectors(interest.medoid))
            yield SubQuery([*own, medoid], negatives, interest.share, [*query_items, interest.medoid])

    # What a rule says of an item

    def group(self, attributes):
        value = attributes.get(self.policy.one_per)
        return None if value is None else (type(value) is bool, value)

    def holds(self, condition, query_items):
        if not condition.items and condition.when is None:
            return True
        return any(
            item in condition.items or (condition.when and condition.when.matches(self.attributes[item]))
            for item in query_items
        )

    def forbidden(self, attributes, query_items):
        if any(where is not None and not where.matches(attributes) for where in (self.query.where, self.policy.where)):
            return True
        return any(
            rule.where.matches(attributes) and self.holds(rule.condition, query_items)
            for rule in self.policy.rules.exclude
        )

    def broken(self, row, subquery):
        """Return the names of the attribute_rules, and of the minimum score, that the item breaks."""
        names = set()
        for rule in self.policy.rules.attribute_rules:
            own = row.attributes.get(rule.attribute)
            theirs = [self.attributes[item].get(rule.attribute) for item in subquery.items]
            theirs = [value for value in theirs if value is not None]
            if isinstance(rule, Bounds):
                theirs = [value for value in theirs if isinstance(value, int | float) and not isinstance(value, bool)]
                fits = isinstance(own, int | float) and any(
                    rule.low * value <= own <= rule.high * value for value in theirs
                )
            elif isinstance(rule, Same):
                fits = own in theirs
            else:
                assert isinstance(rule, Differ)
                fits = own not in theirs
            if theirs and not fits:
                names.add(rule.name)
        if self.policy.min_score is not None and subquery.score(row.vector) < self.policy.min_score:
            names.add("min_score")
        return names

    def effects(self, row, subquery):
        return [
            (rule.name, rule.score_delta)
            for rule in self.policy.rules.boosts
            if self.holds(rule.condition, subquery.items) and rule.where.matches(row.attributes)
        ]

    def rank(self, row, subquery):
        return subquery.score(row.vector) + sum(by for _, by in self.effects(row, subquery))

    def taken(self, row):
        return row.item in self.items or row.digest in self.digests

    def claim(self, row):
        self.items.add(row.item)
        if self.shows_images_once:
            self.digests.add(row.digest)
        self.groups.add(self.group(row.attributes))
        self.groups.discard(None)
        self.shown_vectors.append(row.vector)

    # The answer

    def answer(self):
        pinned = self.pinned()
        places = self.query.k - len(pinned)
        chosen, given = [], [0] * len(self.subqueries)
        for count in range(len(self.policy.rules.fallbacks) + 1):
            before = -1
            while before < len(chosen) < places:
                before = len(chosen)
                self.fill(chosen, given, places, self.policy.rules.fallbacks[:count])
        answer = []
        for place in range(1, self.query.k + 1):
            if place in pinned:
                answer.append(pinned.pop(place))
            elif chosen:
                answer.append(chosen.pop(0))
        return answer

    def pinned(self):
        pinned = {}
        everything = [item for subquery in self.subqueries for item in subquery.items]
        for pin in sorted(self.policy.rules.pins, key=lambda pin: pin.position):
            free = [place for place in range(pin.position, self.query.k + 1) if place not in pinned]
            rows = [row for row in self.rows if row.item == pin.item and not self.taken(row)]
            if not free or not rows or not self.holds(pin.condition, everything):
                continue
            if self.group(rows[0].attributes) in self.groups or rows[0].attributes.get("in_stock") is False:
                continue
            if any(self.forbidden(rows[0].attributes, subquery.items) for subquery in self.subqueries):
                continue

            def best(row):
                return max(subquery.score(row.vector) for subquery in self.subqueries)

            row = min(rows, key=lambda row: (-best(row), row.image))
            self.claim(row)
            pinned[free[0]] = Place(row.item, row.image, best(row), ((pin.name, None, free[0]),), ())
        return pinned

    def fill(self, chosen, given, places, relaxed):
        pools = [self.pool(subquery, places - len(chosen), relaxed) for subquery in self.subqueries]
        while len(chosen) < places:
            turns = sorted(range(len(pools)), key=lambda n: (-self.subqueries[n].share / (2 * given[n] + 1), n))
            for turn in turns:
                subquery = self.subqueries[turn]
                is_open = [
                    row
                    for row in pools[turn]
                    if not self.taken(row) and ("one_per" in relaxed or self.group(row.attributes) not in self.groups)
                ]
                if is_open:
                    row = max(is_open, key=lambda row: self.marginal(row, subquery))  # the first of equal ones
                    names = self.broken(row, subquery)
                    if self.group(row.attributes) in self.groups:
                        names.add("one_per")
                    effects = tuple((name, by, None) for name, by in self.effects(row, subquery))
                    broken = tuple(name for name in relaxed if name in names)
                    chosen.append(Place(row.item, row.image, subquery.score(row.vector), effects, broken))
                    given[turn] += 1
                    self.claim(row)
                    break
            else:
                return

    def marginal(self, row, subquery):
        diversity = self.policy.diversity
        nearest = max((float(np.float32(cosine(row.vector, other))) for other in self.shown_vectors), default=0.0)
        return (1 - diversity) * self.rank(row, subquery) - diversity * nearest

    def is_eligible(self, row, subquery, relaxed):
        if self.taken(row) or (self.group(row.attributes) in self.groups and "one_per" not in relaxed):
            return False
        return not self.forbidden(row.attributes, subquery.items) and not self.broken(row, subquery) - set(relaxed)

    def ordered(self, rows, subquery):
        """Return *rows* by rank, then by id; of those that show one image, one in stock comes before the others."""
        ranks = {row: self.rank(row, subquery) for row in rows}

        def place(row):
            same = [each for each in rows if each.digest == row.digest and ranks[each] == ranks[row]]
            first = min((each.item, each.image) for each in same) if self.shows_images_once else ()
            is_behind = self.shows_images_once and row.attributes.get("in_stock") is not True
            return -ranks[row], first, is_behind, row.item, row.image

        return sorted(rows, key=place)

    def pool(self, subquery, count, relaxed):
        """Return the best image of each item that is let through, each group and each image once."""
        pool, items, digests, groups = [], set(), set(), set()
        eligible = [row for row in self.rows if self.is_eligible(row, subquery, relaxed)]
        for row in self.ordered(eligible, subquery):
            group = self.group(row.attributes)
            if row.item in items or (self.shows_images_once and row.digest in digests):
                continue
            if group is not None and group in groups and "one_per" not in relaxed:
                continue
            items.add(row.item)
            digests.add(row.digest)
            groups.add(group)
            pool.append(row)
        is_simple = len(self.subqueries) == 1 and not self.policy.diversity
        return pool if is_simple else pool[: self.policy.pool(count)]
