"""`Query`, what is searched for, and `Policy`, what holds for every answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from vision_recs.errors import PolicyError
from vision_recs.types import normal_form

if TYPE_CHECKING:  # a query without a filter imports no filters, and a policy without rules imports no rules
    from collections.abc import Mapping

    from vision_recs.feedback.exploration import Exploration
    from vision_recs.filters import AttributeType, Filter
    from vision_recs.images.crop import Crop
    from vision_recs.recommend.history import History
    from vision_recs.recommend.rules import Rules

T = TypeVar("T")

NEGATIVE_WEIGHT = 0.5
"""The weight of an item to move away from, where no weight is given: it changes the query, but does not lead it."""

VARIANTS = "variant_group"
"""The attribute that the variants of one product have in common, in a catalog that has it."""

EVERY_ITEM = "item"
"""The word that stands for `one_per=None`, all variants are shown, where only text can be given."""

DEFAULT_DIVERSITY = 0.3
"""A diversity to begin with."""

_POOL, _POOL_FOR_EACH = 40, 2
_POOL_FOR_EACH_NEIGHBOR = 40
"""Candidates for each neighbor of averaging: then it brings what averaging the whole database does."""


class Weighted(NamedTuple, Generic[T]):
    """A *value* of a query and its *weight* beside the rest of the query; only the ratios of weights matter.

    *name* is what an `Explanation` calls an image, which has no id. Of an image, only the part *crop* is meant.
    """

    value: T
    weight: float = 1.0
    name: str = ""
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """Find at most *k* items that are similar to everything that the query names, and not to the *negatives*.

    *items* and *negatives* are ids of items. *images* are the bytes of image files, which need not belong to an item.
    *texts* are words, for an encoder that reads text. Each value stands alone or in a `Weighted`. A *history* searches
    once for each interest of a shopper, each time together with the rest of the query, and each interest gets its share
    of the answer. Every item of the answer matches *where*; the query items need not match it. With *explain*, each
    match has an `Explanation`.

    With *apart*, each image is an interest, as several objects of one picture are: it is searched for together with the
    rest of the query, but without the other images. A query with a history has its interests in place of that.

    Raises ValueError for a query without anything to search for, for a weight that is not above 0, and for an item that
    is in *items* and in *negatives*.
    """

    items: tuple[str | Weighted[str], ...] = ()
    images: tuple[bytes | Weighted[bytes], ...] = ()
    texts: tuple[str | Weighted[str], ...] = ()
    negatives: tuple[str | Weighted[str], ...] = ()
    history: History | None = None
    k: int = 10
    where: Filter | None = None
    explain: bool = False
    apart: bool = False

    def __post_init__(self) -> None:
        """Bring ids to their normal form, and check the values."""
        for name, items in (("items", self.items), ("negatives", self.negatives)):
            object.__setattr__(self, name, tuple(map(_normal, items)))
        if not (self.items or self.images or self.texts or self.history):
            raise ValueError("the query is empty; name an item, an image, a text or a history")
        if self.k < 1:
            raise ValueError(f"the query has k = {self.k}; use 1 or more")
        for part in (self.items, self.images, self.texts, self.negatives):
            for each in part:
                if isinstance(each, Weighted) and not 0 < each.weight < math.inf:
                    raise ValueError(
                        f"a weight of {each.weight} is not above 0; to move away from an item, name it in negatives"
                    )
        if any(not text.value.strip() for text in weighted(self.texts)):
            raise ValueError("the text is empty; write what the items look like")
        both = self.negatives and {*_values(self.items)} & {*_values(self.negatives)}
        if both:
            raise ValueError(f"the item {min(both)!r} is in items and in negatives; remove it from one of them")

    @property
    def positives(self) -> frozenset[str]:
        """The ids of the items to which similar ones are searched: *items*, and those of the *history*."""
        events = () if self.history is None else self.history.events
        return frozenset([*_values(self.items), *[event.item for event in events]])

    @property
    def query_items(self) -> frozenset[str]:
        """The ids of all items that the query names; none of them is in the answer."""
        return self.positives.union(_values(self.negatives))


def _normal(item: str | Weighted[str]) -> str | Weighted[str]:
    if isinstance(item, Weighted):
        return item._replace(value=normal_form(item.value))
    return normal_form(item)


def _values(items: Sequence[str | Weighted[str]]) -> list[str]:
    return [item.value if isinstance(item, Weighted) else item for item in items]


def weighted(values: Sequence[T | Weighted[T]], default: float = 1.0) -> Iterator[Weighted[T]]:
    """Yield each of *values* with its weight, which is *default* for a value that has none."""
    for value in values:
        yield value if isinstance(value, Weighted) else Weighted(value, default)


@dataclass(frozen=True, slots=True)
class Learn:
    """Answers are ordered by what `visrec learn` found as well, if it was published.

    An item is moved as if at most *most*, from 0 to 2, were added to its score, or taken off; and by at most
    *interests* for being like what the shopper looks at, where that is known. The candidates are those of
    `Policy.pool`. `offer` explores as *exploration* says. A server gives such answers to the *share*, from 0 to 1, of
    its shoppers, and plain ones to the others. Raises PolicyError.
    """

    most: float = 0.2
    interests: float = 0.2
    exploration: Exploration | None = None
    share: float = 0.9

    def __post_init__(self) -> None:
        """Check the values."""
        for moved in (self.most, self.interests):
            if not 0 <= moved <= 2:  # noqa: PLR2004 - as far as two scores can be apart
                raise PolicyError(f"moving an item by up to {moved} is not from 0 to 2; try 0.2")
        if not 0 <= self.share <= 1:
            raise PolicyError(f"a share of {self.share} of the shoppers is not from 0 to 1; try 0.9")


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for every answer, whatever the query is.

    *one_per* names an attribute, and an answer has at most one item for each value of it: the best one. The values of
    the items to which similar ones are searched count as shown already, so an answer has no other variant of them. An
    item without the attribute is not limited. With *one_per* = None, every item is shown.

    Items that show the same image, byte by byte, are different items. Where a filter is given, here or in the query, or
    *one_per* is None, all of them are shown. Elsewhere one of them stands for all, at the place of the first by id: an
    item whose attribute `in_stock` is true, if there is one, or else the first.

    Every item of an answer matches *where* as well as the filter of the query. No item has an id of *exclude* or a
    score below *min_score*. *rules* are those of a shop. With *learn*, what shoppers did changes the order.

    *diversity*, from 0 to below 1, lowers the value of a candidate that is like the matches before it. The next match
    is the candidate with the highest

        (1 - diversity) * rank - diversity * (its highest cosine with a match that is already in the answer)

    where rank is the score plus what the rules add (maximal marginal relevance, Carbonell and Goldstein, 1998). The
    candidates are the best 40 or, for a k above 20, the best 2 * k; with *averaging*, 40 for each neighbor at least.

    With *averaging*, candidates are ranked by the score of their vector averaged with those of so many candidates that
    are most like it (see `averaging`): it helps where many items are of one kind, and harms where few are.

    Raises PolicyError for a value that is out of range.
    """

    one_per: str | None = VARIANTS
    where: Filter | None = None
    exclude: frozenset[str] = frozenset()
    min_score: float | None = None
    diversity: float = 0.0
    rules: Rules | None = None
    learn: Learn | None = None
    averaging: int = 0

    def __post_init__(self) -> None:
        """Bring ids to their normal form, and check the values."""
        object.__setattr__(self, "exclude", frozenset(map(normal_form, self.exclude)))
        if not 0 <= self.diversity < 1:
            raise PolicyError(f"a diversity of {self.diversity} is not from 0 to below 1; try {DEFAULT_DIVERSITY}")
        if self.averaging < 0:
            raise PolicyError(f"averaging with {self.averaging} others is below 0; try 10")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise PolicyError(f"a minimum score of {self.min_score} is not from -1 to 1; try 0.5")

    def matching(self, where: Filter | None) -> Filter | None:
        """Return the filter that an answer has to match, for a query with the filter *where*; None: no filter."""
        return self.where if where is None else where & self.where

    def shows_images_once(self, where: Filter | None) -> bool:
        """Whether one item stands for all items that show the same image, for a query with the filter *where*."""
        return self.one_per is not None and self.matching(where) is None

    def pool(self, k: int) -> int:
        """Return how many candidates *k* matches are chosen from, where the best *k* are not simply taken."""
        return max(_POOL, _POOL_FOR_EACH * k, _POOL_FOR_EACH_NEIGHBOR * self.averaging)

    @property
    def has_rules(self) -> bool:
        """Whether there is a rule, or a fallback; a file may have neither."""
        return self.rules is not None and not self.rules.is_empty

    @property
    def is_by_query(self) -> bool:
        """Whether rules, what was learned, or averaging make each answer one of its own."""
        return self.has_rules or self.learn is not None or self.averaging > 0

    @property
    def names_attributes(self) -> bool:
        """Whether the policy names attributes that `check` has to compare with those of the items."""
        return self.rules is not None or self.one_per not in {None, VARIANTS}

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Raise PolicyError where a rule, or *one_per*, does not fit items with the attributes of *schema*."""
        from vision_recs.recommend.rules import require_attribute

        if self.one_per not in {None, VARIANTS}:
            path = None if self.rules is None else self.rules.path
            require_attribute(str(self.one_per), schema, path=path, key="one_per" if path is None else "key 'one_per'")
        if self.rules is not None:
            self.rules.check(schema)
