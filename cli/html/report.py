"""The report of `visrec evaluate`: one page with figures, plots and the worst misses, which needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.catalog.files import ImageFiles
from vision_recs.store import Store

from ..output import READ_FIRST
from . import charts
from .page import data_url

if TYPE_CHECKING:
    from vision_recs.evaluate import Comparison, IndexQuality, Relevance

_MISSES = 12
_ANSWERS = 5
_GROUPS = 30
_SIDE = 160
_HEADLINE = ("precision_at_1", "precision_at_10", "recall_at_10", "map_at_r", "mrr", "ndcg_at_10")


@dataclass(frozen=True, slots=True)
class Answer:
    """An item in the answer to a query, and whether it is relevant."""

    id: str
    title: str
    source: str | None
    score: float
    is_right: bool


@dataclass(frozen=True, slots=True)
class Miss:
    """A query whose answer is far from what is relevant to it."""

    id: str
    title: str
    source: str | None
    answers: Sequence[Answer]


def write_report(
    path: Path, store: Store, relevance: Relevance, comparison: Comparison | None, found: Sequence[IndexQuality]
) -> None:
    """Write to *path* the report of *relevance* and of what the indexes *found*, with the images of *store*."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader(__package__), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("evaluate.html").render(
        relevance=relevance,
        headline=[(name.replace("_", " "), relevance.measures[name]) for name in _HEADLINE],
        comparison=comparison,
        found=found,
        bars=charts.bars(relevance.groups[:_GROUPS], "precision_at_10") if relevance.groups else None,
        histogram=charts.histogram(relevance.judged),
        scatter=charts.scatter(found),
        misses=_worst(store, relevance),
        width=charts.WIDTH,
    )
    path.write_text(page, encoding="utf-8")


def _worst(store: Store, relevance: Relevance) -> list[Miss]:
    """Return the queries of the lowest nDCG, and of these the surest first: the nearest item is near, and wrong."""
    judged = relevance.judged
    quality = judged.of("ndcg_at_10").tolist()
    nearest = judged.scores[:, 0].tolist()
    order = sorted(range(len(quality)), key=lambda row: (quality[row], -nearest[row]))
    files = ImageFiles(store.manifest.catalog.root)
    misses: dict[str, Miss] = {}
    for row in order:
        if len(misses) == _MISSES:
            break
        query = judged.queries[row]
        if query not in misses:
            misses[query] = Miss(query, _title(store, query), _image(store, files, query), [])
            answers = [
                Answer(item, _title(store, item), _image(store, files, item), score, is_right)
                for item, score, is_right in _answers(relevance, row)
            ]
            misses[query] = Miss(query, misses[query].title, misses[query].source, answers)
    return list(misses.values())


def _answers(relevance: Relevance, row: int) -> list[tuple[str, float, bool]]:
    judged = relevance.judged
    columns = [column for column in range(_ANSWERS) if judged.nearest[row, column] >= 0]
    return [
        (
            relevance.target_ids[int(judged.nearest[row, column])],
            float(judged.scores[row, column]),
            bool(judged.right[row, column]),
        )
        for column in columns
    ]


def _title(store: Store, item: str) -> str:
    attributes = store.attributes(item)
    return " · ".join(str(attributes[name]) for name in READ_FIRST if attributes.get(name) is not None) or item


def _image(store: Store, files: ImageFiles, item: str) -> str | None:
    return data_url(files, store.images(item)[0].image, side=_SIDE)
