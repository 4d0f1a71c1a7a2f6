"""How relevant the neighbors in a store are, by exact search, and whether one store is better than another.

How much of the exact neighbors an index finds is measured apart from this: see `index_quality`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import OpenedEngine
from vision_recs.errors import EvaluationError
from vision_recs.evaluate.provenance import Measured, Provenance
from vision_recs.evaluate.task import EvaluationTask, ResolvedTask, resolve
from vision_recs.evaluate.words import load_queries
from vision_recs.metrics import (
    MEASURES,
    Difference,
    Exposure,
    Interval,
    RankingResult,
    compare,
    evaluate_rankings,
    expose,
    intervals,
)
from vision_recs.recommend.joined import JoinedStores
from vision_recs.store import Store, load_item_vectors
from vision_recs.store.whole_items import WholeItems
from vision_recs.types import Attribute

_MOST_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Group:
    """The measures of the queries that have one *value* of the attribute that groups them."""

    value: Attribute
    queries: int
    measures: Mapping[str, Interval]


@dataclass(frozen=True)
class Relevance:
    """How relevant the neighbors are.

    *judged_by* says what the judgments are. *queries* were measured, a sample of *eligible*; *skipped* more have no
    relevant target and are in no measure. *groups* has the largest groups first. *result* has the queries one by one,
    and *clusters* (n,) says which of them belong to the same item.
    """

    judged_by: str
    queries: int
    targets: int
    eligible: int
    skipped: int
    measures: Mapping[str, Interval]
    grouped_by: str | None
    groups: Sequence[Group]
    exposure: Exposure
    provenance: Provenance
    result: RankingResult
    clusters: NDArray[np.int64]
    target_ids: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """Two stores, or a store and an engine, measured by the same task on the items that both have.

    A difference is the measure of *candidate* less that of *baseline*.
    """

    baseline: Relevance
    candidate: Relevance
    differences: Mapping[str, Difference]


def measure_relevance(opened: Measured, task: EvaluationTask, *, group_by: str | None = None) -> Relevance:
    """Return how relevant the neighbors are in what is *opened*, by *task*, also for each value of *group_by*.

    *group_by* is the name of an attribute. Without it, the queries are grouped by the labels of the task, if it has
    any. Raises FilterError, and EvaluationError where there is no query, no target, or nothing relevant.
    """
    items = _whole(opened)
    return _measure(items, Provenance.of(opened), task, resolve(items, task), group_by or task.labels)


def compare_stores(
    baseline: Store, candidate: Store | OpenedEngine, task: EvaluationTask, *, group_by: str | None = None
) -> Comparison:
    """Return how much better *candidate* is than *baseline* by *task*, query by query; attributes are of *baseline*.

    Raises as `measure_relevance` does, and EvaluationError where the two stores have no items in common.
    """
    common = frozenset(baseline.items.ids()) & frozenset(candidate.items.ids())
    both = f"{baseline.place} and {_whole(candidate).place}"
    if not common:
        raise EvaluationError(f"{both} have no item in common; index the same catalog in both")
    task = replace(task, among=common)
    before = measure_relevance(baseline, task, group_by=group_by)
    after = measure_relevance(candidate, task, group_by=group_by)
    if list(before.result.queries) != list(after.result.queries):
        raise EvaluationError(
            f"{both} do not agree on the attributes or images of their items; index the same catalog in both"
        )
    differences = {
        name: compare(before.result.of(name), after.result.of(name), np.asarray(before.clusters)) for name in MEASURES
    }
    return Comparison(before, after, differences)


def _whole(opened: Measured) -> WholeItems:
    if isinstance(opened, OpenedEngine):
        return opened.items
    return opened if isinstance(opened, Store) else JoinedStores(opened.stores)


def _measure(
    store: WholeItems, provenance: Provenance, task: EvaluationTask, resolved: ResolvedTask, group_by: str | None
) -> Relevance:
    targets = load_item_vectors(store, resolved.targets)
    queries = load_queries(store, resolved.queries, per_image=task.per_image)
    result = evaluate_rankings(queries, targets, resolved.judgments, per_image=task.per_image)
    if not result.queries:
        raise EvaluationError(
            f"nothing is relevant to any of the {len(resolved.queries)} queries by {task.judged_by}; "
            "the judgments have to name targets"
        )
    clusters = _clusters(result.queries)
    return Relevance(
        judged_by=task.judged_by,
        queries=len(result.queries),
        targets=len(targets.ids),
        eligible=resolved.eligible,
        skipped=result.skipped,
        measures=_by_name(result.values, clusters),
        grouped_by=group_by,
        groups=_groups(result, clusters, resolved, group_by) if group_by else [],
        exposure=expose(result, targets),
        provenance=provenance,
        result=result,
        clusters=clusters,
        target_ids=targets.ids,
    )


def _clusters(queries: Sequence[str]) -> NDArray[np.int64]:
    ordinals = {query: ordinal for ordinal, query in enumerate(dict.fromkeys(queries))}
    return np.array([ordinals[query] for query in queries], np.int64)


def _by_name(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> dict[str, Interval]:
    return dict(zip(MEASURES, intervals(values, clusters), strict=True))


def _groups(result: RankingResult, clusters: NDArray[np.int64], resolved: ResolvedTask, name: str) -> list[Group]:
    members: dict[Attribute, list[int]] = defaultdict(list)
    for row, query in enumerate(result.queries):
        members[resolved.attributes[query].get(name)].append(row)
    largest = sorted(members.items(), key=lambda entry: (-len(entry[1]), str(entry[0])))[:_MOST_GROUPS]
    return [Group(value, len(rows), _by_name(result.values[rows], clusters[rows])) for value, rows in largest]
