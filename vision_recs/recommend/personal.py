"""What a shopper looks at moves the candidates of an answer: each by at most so much, as a score.

An item is moved by its highest cosine with an interest of the shopper, compared with the pool on average. So it is what
a history in the query does, which adds that cosine to the score, but within one pool and within a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.feedback.records import Event as ShopperEvent
from vision_recs.recommend.eligibility import AttributesOf, Candidate
from vision_recs.recommend.history import Event, History
from vision_recs.recommend.interests import Interest, mean_vector
from vision_recs.recommend.query import Learn
from vision_recs.recommend.retrieve import SubQuery
from vision_recs.types import ItemSource, Vectors

INTERESTS = "interests"
"""The name of the effect in an explanation."""

_MOST = 8
"""Interests that count: those with the greatest shares."""

_WEIGHTS = {"click": 1.0, "cart": 2.0, "buy": 3.0}


class Shopping(NamedTuple):
    """What is known of whoever asks: three random *numbers*, each from 0 to below 1, and *interests*.

    Without *numbers* an answer tries nothing.
    """

    numbers: tuple[float, float, float] | None = None
    interests: tuple[Interest, ...] = ()


NOBODY = Shopping()
"""Nothing is known, and nothing is tried."""


class Deeds(NamedTuple):
    """What a shopper did: the *history* of it, None where there is none, and what is *never* shown to them."""

    history: History | None
    never: frozenset[str]


NO_DEEDS = Deeds(None, frozenset())


def deeds_of(events: Sequence[ShopperEvent]) -> Deeds:
    """Return what *events* of one shopper say; what was bought or dismissed is never shown."""
    if not events:
        return NO_DEEDS
    never = frozenset(event.item for event in events if event.type in {"buy", "dismiss"})
    found = tuple(Event(event.item, event.time, _WEIGHTS[event.type]) for event in events if event.type in _WEIGHTS)
    return Deeds(History(found) if found else None, never)


@dataclass(frozen=True, slots=True, eq=False)
class PersonalOrder:
    """Moves candidates towards *interests*, unit vectors (n, dim), each by at most *most*, as a score."""

    items: ItemSource
    interests: Vectors
    most: float

    name: ClassVar = INTERESTS
    needs_images: ClassVar = True

    def moves(
        self,
        candidates: Sequence[Candidate],
        subquery: SubQuery,  # noqa: ARG002 - an `Order`
        attributes_of: AttributesOf,  # noqa: ARG002 - an `Order`
    ) -> NDArray[np.float64]:
        """Return by how much each of *candidates* is moved."""
        vectors = self.items.vectors_of([candidate.match.digest for candidate in candidates])
        liked = (vectors.astype(np.float64) @ self.interests.astype(np.float64).T).max(axis=1)
        return np.asarray(np.clip(liked - liked.mean(), -self.most, self.most))


def personal_order(interests: Sequence[Interest], learn: Learn | None, items: ItemSource) -> PersonalOrder | None:
    """Return the order that *learn* allows for a shopper with *interests*, or None where it allows none."""
    if learn is None or not learn.interests or not interests:
        return None
    vectors = [mean_vector(items, interest.medoid) for interest in interests[:_MOST]]
    return PersonalOrder(items, np.concatenate(vectors), learn.interests)
