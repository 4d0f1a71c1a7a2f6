"""Is one store better than another, or is it chance? The same queries and targets, judged in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vision_recs.errors import VisionRecsError
from vision_recs.evaluate.relevance import Relevance, measure_relevance
from vision_recs.evaluate.task import Question
from vision_recs.metrics import MEASURES, Difference, compare
from vision_recs.store import Store


@dataclass(frozen=True)
class Comparison:
    """Two stores, judged by the same question on the items that both hold, and by how much *other* is higher."""

    one: Relevance
    other: Relevance
    differences: Mapping[str, Difference]


def compare_stores(one: Store, other: Store, question: Question, *, group_by: str | None = None) -> Comparison:
    """Return how *one* and *other* differ by *question*, query by query; attributes are those of *one*.

    Raises as `measure_relevance` does, and VisionRecsError where the two have no items in common.
    """
    common = frozenset(one.items.ids()) & frozenset(other.items.ids())
    if not common:
        raise VisionRecsError(
            f"{one.layout.root} and {other.layout.root} have no item in common; index the same catalog in both"
        )
    question = replace(question, among=common)
    of_one = measure_relevance(one, question, group_by=group_by)
    of_other = measure_relevance(other, question, group_by=group_by)
    if list(of_one.judged.queries) != list(of_other.judged.queries):
        raise VisionRecsError(
            f"{one.layout.root} and {other.layout.root} do not agree on the attributes or images of their items; "
            "index the same catalog in both"
        )
    differences = {
        name: compare(of_one.judged.of(name), of_other.judged.of(name), np.asarray(of_one.clusters))
        for name in MEASURES
    }
    return Comparison(of_one, of_other, differences)
