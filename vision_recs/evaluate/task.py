"""What is evaluated: which items are queries, which are targets, and which targets are relevant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from vision_recs.catalog.judgments import Pair
from vision_recs.errors import EvaluationError
from vision_recs.metrics import Judgments, LabelJudgments, OwnItemJudgments, PairJudgments
from vision_recs.store import attributes_where
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not needed
    from vision_recs.filters import Filter

Attributes: TypeAlias = Mapping[str, Attribute]

_SEED = 7


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """The queries, the targets, and the relevance judgments: *labels*, *pairs*, or each item's own images.

    *labels* names an attribute: items with equal values are relevant to each other. *pairs* judge single pairs of
    items. With *per_image*, each image of an item is a query of its own, as a shopper's photo would be, and has to find
    the item by its other images, too; without labels that is the only relevant item.

    *query_filter* and *target_filter* select items. Without *query_filter*, each target is a query against all the
    others (leave one out). Without *target_filter*, every item is a target. At most *sample* items are queries, drawn
    at random with a fixed seed. *among* leaves out all other items, before the filters.
    """

    labels: str | None = None
    pairs: Sequence[Pair] | None = None
    query_filter: Filter | None = None
    target_filter: Filter | None = None
    per_image: bool = False
    sample: int = 5_000
    among: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Refuse two kinds of judgments, none, and a sample of nothing, with a ValueError."""
        if self.labels is not None and self.pairs is not None:
            raise ValueError("labels and pairs are two kinds of judgments; evaluate by one at a time")
        if self.per_image and self.pairs is not None:
            raise ValueError("pairs are of items, so images cannot be queries; evaluate by labels, or by items")
        if not self.per_image and self.labels is None is self.pairs:
            raise ValueError("there are no judgments; name labels or pairs, or let each image be a query for its item")
        if self.sample < 1:
            raise ValueError(f"sample is {self.sample}; let 1 or more items be queries")

    @property
    def judged_by(self) -> str:
        """What the judgments are, in a few words."""
        if self.labels is not None:
            return f"equal {self.labels}" + (", per image" if self.per_image else "")
        return "the item of each image" if self.pairs is None else f"{len(self.pairs):,} pairs"


@dataclass(frozen=True)
class ResolvedTask:
    """A task for one store: the ids of the queries and of the targets, ascending, and the judgments.

    *attributes* are those of all these items. *queries* are a sample of *eligible* items.
    """

    queries: Sequence[str]
    targets: Sequence[str]
    judgments: Judgments
    attributes: Mapping[str, Attributes]
    eligible: int


def resolve(store: WholeItems, task: EvaluationTask) -> ResolvedTask:
    """Return the queries, targets and judgments of *task* in *store*.

    Raises FilterError, and EvaluationError where there is no query, no target, or no item with the label.
    """
    target_items = _among(task.among, attributes_where(store, task.target_filter))
    query_items = target_items
    if task.query_filter is not None:
        query_items = _among(task.among, attributes_where(store, task.query_filter))
    targets = list(target_items)
    attributes = {**target_items, **query_items}
    eligible = list(query_items)
    if task.labels is not None:
        eligible = _labeled(query_items, task.labels)
    elif task.pairs is not None:
        eligible = _paired(query_items, task.pairs)
    for ids, role in ((eligible, "query"), (targets, "target")):
        if not ids:
            raise EvaluationError(f"no item is a {role}; select others with --query-filter and --target-filter")
    judgments = _judgments(task, attributes, targets)
    return ResolvedTask(_sample(eligible, task.sample), targets, judgments, attributes, len(eligible))


def _among(ids: frozenset[str] | None, items: dict[str, Attributes]) -> dict[str, Attributes]:
    return items if ids is None else {item: attributes for item, attributes in items.items() if item in ids}


def _judgments(task: EvaluationTask, attributes: Mapping[str, Attributes], targets: Sequence[str]) -> Judgments:
    if task.labels is not None:
        labels = {item: own.get(task.labels) for item, own in attributes.items()}
        return LabelJudgments(labels, targets, include_self=task.per_image)
    if task.pairs is not None:
        return PairJudgments(((pair.query, pair.relevant, pair.grade) for pair in task.pairs), targets)
    return OwnItemJudgments(targets)


def _labeled(items: Mapping[str, Attributes], name: str) -> list[str]:
    """Return the ids of *items* that have the attribute *name*."""
    labeled = [item for item, attributes in items.items() if attributes.get(name) is not None]
    if items and not labeled:
        names = sorted({attribute for attributes in items.values() for attribute in attributes})
        raise EvaluationError(f"no query has the attribute {name!r}; name one of {', '.join(names) or 'none'}")
    return labeled


def _paired(items: Mapping[str, Attributes], pairs: Sequence[Pair]) -> list[str]:
    """Return the ids of *items* that are the query of one of *pairs*."""
    named = {pair.query for pair in pairs}
    found = [item for item in items if item in named]
    if items and not found:
        raise EvaluationError(
            f"none of the {len(named)} queries of the pairs, the first of them {pairs[0].query!r}, is among the items; "
            "name the ids of the store"
        )
    return found


def _sample(ids: Sequence[str], size: int) -> list[str]:
    if len(ids) <= size:
        return list(ids)
    chosen = np.random.default_rng(_SEED).choice(len(ids), size, replace=False)
    return [ids[ordinal] for ordinal in sorted(chosen.tolist())]
