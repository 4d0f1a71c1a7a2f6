"""The page of `visrec evaluate`: measures, plots and the worst queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.store import Store
from vision_recs.types import ImageSource

from ..output import READ_FIRST
from . import charts
from .page import data_url, images_of, render

if TYPE_CHECKING:
    from vision_recs.evaluate import Comparison, IndexQuality, Relevance

_WORST = 12
_NEIGHBORS = 5
_GROUPS = 30
_SIDE = 160
_HEADLINE = ("precision_at_1", "precision_at_10", "recall_at_10", "map_at_r", "mrr", "ndcg_at_10")


@dataclass(frozen=True, slots=True)
class Neighbor:
    """An item in the ranking of a query, and whether the item is relevant."""

    title: str
    source: str | None
    score: float
    is_relevant: bool


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query whose nearest items are mostly irrelevant."""

    title: str
    source: str | None
    neighbors: Sequence[Neighbor]


def write_page(
    path: Path, store: Store, relevance: Relevance, comparison: Comparison | None, quality: Sequence[IndexQuality]
) -> None:
    """Write to *path* the page of *relevance* and of the *quality* of each index, with the images of *store*."""
    render(
        path,
        "evaluate.html",
        relevance=relevance,
        headline=[(name.replace("_", " "), relevance.measures[name]) for name in _HEADLINE],
        comparison=comparison,
        quality=quality,
        bars=charts.bars(relevance.groups[:_GROUPS], "precision_at_10") if relevance.groups else None,
        histogram=charts.histogram(relevance.result),
        scatter=charts.scatter(quality),
        worst=_worst_queries(store, relevance),
        width=charts.WIDTH,
    )


def _worst_queries(store: Store, relevance: Relevance) -> list[WorstQuery]:
    """Return the queries of the lowest nDCG; among equal ones first that whose nearest item has the highest score."""
    result = relevance.result
    ndcg = result.of("ndcg_at_10").tolist()
    nearest = result.scores[:, 0].tolist()
    images = images_of(store)
    worst: dict[str, WorstQuery] = {}
    for row in sorted(range(len(ndcg)), key=lambda row: (ndcg[row], -nearest[row])):
        if len(worst) == _WORST:
            break
        query = result.queries[row]
        if query not in worst:
            neighbors = _neighbors(store, images, relevance, row)
            worst[query] = WorstQuery(_title(store, query), _image(store, images, query), neighbors)
    return list(worst.values())


def _neighbors(store: Store, images: ImageSource, relevance: Relevance, row: int) -> list[Neighbor]:
    result = relevance.result
    neighbors = []
    for column in range(_NEIGHBORS):
        target = int(result.nearest[row, column])
        if target < 0:
            continue  # there are fewer targets than columns
        item = relevance.target_ids[target]
        score, is_relevant = float(result.scores[row, column]), bool(result.is_relevant[row, column])
        neighbors.append(Neighbor(_title(store, item), _image(store, images, item), score, is_relevant))
    return neighbors


def _title(store: Store, item: str) -> str:
    attributes = store.attributes(item)
    return " · ".join(str(attributes[name]) for name in READ_FIRST if attributes.get(name) is not None) or item


def _image(store: Store, images: ImageSource, item: str) -> str | None:
    return data_url(images, store.images(item)[0].image, side=_SIDE)
