"""Are the neighbors what the shop calls similar? By exact search: the index is another question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import VisionRecsError
from vision_recs.evaluate.provenance import Provenance
from vision_recs.evaluate.task import Asked, Question, ask
from vision_recs.metrics import MEASURES, Exposure, Interval, Judged, expose, intervals, judge
from vision_recs.store import Store, gather
from vision_recs.types import Attribute

_MOST_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Group:
    """The measures of the queries with one *value* of the attribute that groups them."""

    value: Attribute
    queries: int
    measures: Mapping[str, Interval]


@dataclass(frozen=True)
class Relevance:
    """How relevant the neighbors are.

    *queries* are those judged, *eligible* those of which they are a sample, *skipped* those to which no target is
    relevant, and which are in no figure. *groups* are the largest first. *judged* and *clusters* are what the figures
    come from: the queries one by one, and which of them belong to one item.
    """

    truth: str
    queries: int
    targets: int
    eligible: int
    skipped: int
    measures: Mapping[str, Interval]
    grouped_by: str | None
    groups: Sequence[Group]
    exposure: Exposure
    provenance: Provenance
    judged: Judged
    clusters: NDArray[np.int64]
    target_ids: Sequence[str]


def measure_relevance(store: Store, question: Question, *, group_by: str | None = None) -> Relevance:
    """Return how relevant the neighbors in *store* are by *question*, also by the attribute *group_by*.

    Without *group_by*, queries are grouped by the labels of the question, if it has any. Raises FilterError, and
    VisionRecsError where nothing asks, answers or is relevant.
    """
    return _measure(store, question, ask(store, question), group_by or question.labels)


def _measure(store: Store, question: Question, asked: Asked, group_by: str | None) -> Relevance:
    targets = gather(store, asked.targets)
    queries = gather(store, asked.queries)
    judged = judge(queries, targets, asked.truth, per_image=question.per_image)
    if not judged.queries:
        raise VisionRecsError(
            f"nothing is relevant to any of the {len(asked.queries)} queries by {question.name}; "
            "the truth has to name targets"
        )
    clusters = _clusters(judged.queries)
    return Relevance(
        truth=question.name,
        queries=len(judged.queries),
        targets=len(targets.ids),
        eligible=asked.eligible,
        skipped=judged.skipped,
        measures=_named(judged.values, clusters),
        grouped_by=group_by,
        groups=_groups(judged, clusters, asked, group_by) if group_by else [],
        exposure=expose(judged, targets),
        provenance=Provenance.of(store),
        judged=judged,
        clusters=clusters,
        target_ids=targets.ids,
    )


def _clusters(queries: Sequence[str]) -> NDArray[np.int64]:
    ordinals = {query: ordinal for ordinal, query in enumerate(dict.fromkeys(queries))}
    return np.array([ordinals[query] for query in queries], np.int64)


def _named(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> dict[str, Interval]:
    return dict(zip(MEASURES, intervals(values, clusters), strict=True))


def _groups(judged: Judged, clusters: NDArray[np.int64], asked: Asked, name: str) -> list[Group]:
    members: dict[Attribute, list[int]] = defaultdict(list)
    for row, query in enumerate(judged.queries):
        members[asked.attributes[query].get(name)].append(row)
    largest = sorted(members.items(), key=lambda entry: (-len(entry[1]), str(entry[0])))[:_MOST_GROUPS]
    return [Group(value, len(rows), _named(judged.values[rows], clusters[rows])) for value, rows in largest]
