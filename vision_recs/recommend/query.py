"""What the shop asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter
    from vision_recs.recommend.history import History

T = TypeVar("T")

NEGATIVE_WEIGHT = 0.5
"""How much an item to move away from counts, unless its weight is given: it shades the query, but does not lead it."""


class Weighted(NamedTuple, Generic[T]):
    """*what* is asked for, and its *weight* beside the rest of the query: only the ratios of weights matter.

    *name* is what an `Explanation` calls an image, which has no id.
    """

    what: T
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """Items like all that is asked for together, and unlike the items of *negatives*; at most *k* of them.

    *items* and *negatives* are ids of the store, *images* the bytes of image files that need not be in it, *texts*
    words for an encoder with a text tower: each as it is, or `Weighted`. A *history* asks once for each interest of a
    shopper, together with all the rest, and each interest gets its share of the answer. Only items that match *where*
    are answers; those that ask need not match it. With *explain*, each match has an `Explanation`.

    Raises ValueError for a query that asks for nothing, a weight that is not above 0, and an item on both sides.
    """

    items: tuple[str | Weighted[str], ...] = ()
    images: tuple[bytes | Weighted[bytes], ...] = ()
    texts: tuple[str | Weighted[str], ...] = ()
    negatives: tuple[str | Weighted[str], ...] = ()
    history: History | None = None
    k: int = 10
    where: Filter | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        """Refuse a query that cannot be answered."""
        if not (self.items or self.images or self.texts or self.history):
            raise ValueError("the query asks for nothing; name an item, an image, a text or a history")
        if self.k < 1:
            raise ValueError(f"the query asks for k = {self.k} items; ask for 1 or more")
        for part in (self.items, self.images, self.texts, self.negatives):
            for _, weight, _ in weighted(part):
                if not 0 < weight < math.inf:
                    raise ValueError(
                        f"a weight of {weight} is not above 0; to ask for less of an item, name it in negatives"
                    )
        if any(not text.strip() for text, _, _ in weighted(self.texts)):
            raise ValueError("the text is empty; write what the items are like")
        both = {item for item, _, _ in weighted(self.items)} & {item for item, _, _ in weighted(self.negatives)}
        if both:
            raise ValueError(f"the item {min(both)!r} is asked for and asked against; leave one of the two out")

    @property
    def asked(self) -> frozenset[str]:
        """The ids that the query names, on either side or in its history; none of them is an answer."""
        known = () if self.history is None else (event.item for event in self.history.events)
        named = (item for part in (self.items, self.negatives) for item, _, _ in weighted(part))
        return frozenset([*named, *known])


def weighted(values: Sequence[T | Weighted[T]], default: float = 1.0) -> Iterator[Weighted[T]]:
    """Yield *values* with their weights; one that has none has the weight *default*."""
    for value in values:
        yield value if isinstance(value, Weighted) else Weighted(value, default)
