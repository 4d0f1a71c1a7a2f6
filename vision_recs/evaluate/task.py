"""What is asked of a store: which items, against which others, and who says what is similar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from vision_recs.catalog.judgements import Pair
from vision_recs.errors import VisionRecsError
from vision_recs.metrics import Labels, OwnItem, Pairs, Truth
from vision_recs.store import Store, attributes_where
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not needed
    from vision_recs.filters import Filter

Attributes: TypeAlias = Mapping[str, Attribute]

_SEED = 7


@dataclass(frozen=True, slots=True)
class Question:
    """Which items ask, which may answer, and the truth: *labels* or *pairs*, and without either each item's images.

    *labels* is an attribute: items with equal values are similar. *pairs* say it themselves. Where *per_image*, each
    image of an item asks by itself, as a shopper's photo would, and has to find the item by its other images, too:
    that alone is the truth without labels. *queries* and *targets* select items; without *queries* every
    target asks all the others (leave one out), without *targets* every item may answer. At most *sample* items ask,
    drawn evenly at random, always the same ones. *among* leaves all other items out, whatever else they match.
    """

    labels: str | None = None
    pairs: Sequence[Pair] | None = None
    queries: Filter | None = None
    targets: Filter | None = None
    per_image: bool = False
    sample: int = 5_000
    among: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Refuse two truths, and a sample of nothing, with a ValueError."""
        if self.labels is not None and self.pairs is not None:
            raise ValueError("labels and pairs are two truths; measure by one at a time")
        if self.per_image and self.pairs is not None:
            raise ValueError("pairs are of items, so images cannot ask; measure by labels, or by items")
        if not self.per_image and self.labels is None is self.pairs:
            raise ValueError("there is no truth; name labels or pairs, or let each image ask for its item")
        if self.sample < 1:
            raise ValueError(f"sample is {self.sample}; let 1 or more items ask")

    @property
    def name(self) -> str:
        """What the truth is, in a few words."""
        if self.labels is not None:
            return f"equal {self.labels}" + (", asked by each image" if self.per_image else "")
        return "the item of each image" if self.pairs is None else f"{len(self.pairs):,} pairs"


@dataclass(frozen=True)
class Asked:
    """The items that ask and those that may answer, ids ascending, what is known of the former, and the truth.

    *eligible* is how many items could have asked, of which *queries* are a sample.
    """

    queries: Sequence[str]
    targets: Sequence[str]
    truth: Truth
    attributes: Mapping[str, Attributes]
    eligible: int


def ask(store: Store, question: Question) -> Asked:
    """Return what *question* means for *store*.

    Raises FilterError, and VisionRecsError where no item asks, answers or has the label.
    """
    answering = _among(question.among, attributes_where(store, question.targets))
    asking = answering
    if question.queries is not None:
        asking = _among(question.among, attributes_where(store, question.queries))
    targets = list(answering)
    known = {**answering, **asking}
    eligible = list(asking)
    if question.labels is not None:
        eligible = _labeled(asking, question.labels)
    elif question.pairs is not None:
        eligible = _paired(asking, question.pairs)
    for ids, what in ((eligible, "query"), (targets, "target")):
        if not ids:
            raise VisionRecsError(f"no item is a {what}; select others with --query-filter and --target-filter")
    return Asked(_sample(eligible, question.sample), targets, _truth(question, known, targets), known, len(eligible))


def _among(ids: frozenset[str] | None, items: dict[str, Attributes]) -> dict[str, Attributes]:
    return items if ids is None else {item: attributes for item, attributes in items.items() if item in ids}


def _truth(question: Question, known: Mapping[str, Attributes], targets: Sequence[str]) -> Truth:
    if question.labels is not None:
        name = question.labels
        return Labels(
            {item: attributes.get(name) for item, attributes in known.items()}, targets, itself=question.per_image
        )
    if question.pairs is not None:
        return Pairs(((pair.query, pair.relevant, pair.grade) for pair in question.pairs), targets)
    return OwnItem(targets)


def _labeled(asking: Mapping[str, Attributes], name: str) -> list[str]:
    labeled = [item for item, attributes in asking.items() if attributes.get(name) is not None]
    if asking and not labeled:
        names = sorted({attribute for attributes in asking.values() for attribute in attributes})
        raise VisionRecsError(f"no query has the attribute {name!r}; name one of {', '.join(names) or 'none'}")
    return labeled


def _paired(asking: Mapping[str, Attributes], pairs: Sequence[Pair]) -> list[str]:
    named = {pair.query for pair in pairs}
    found = [item for item in asking if item in named]
    if asking and not found:
        raise VisionRecsError(
            f"none of the {len(named)} queries of the pairs, the first of them {pairs[0].query!r}, is among the items; "
            "name the ids of the index"
        )
    return found


def _sample(ids: Sequence[str], size: int) -> list[str]:
    if len(ids) <= size:
        return list(ids)
    chosen = np.random.default_rng(_SEED).choice(len(ids), size, replace=False)
    return [ids[ordinal] for ordinal in sorted(chosen.tolist())]
