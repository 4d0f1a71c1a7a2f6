"""The proof of a generation before readers see it: nothing is missing, and searches find what is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np

from vision_recs.engines import base
from vision_recs.engines.base import EXACT_UP_TO, Engine, Report, Table
from vision_recs.engines.items import EngineItems
from vision_recs.engines.known import Content, Pairs
from vision_recs.engines.published import Published
from vision_recs.engines.searching import EngineIndex
from vision_recs.errors import EngineDamaged
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import Compare, Name, Not, Value
from vision_recs.indexes.exact import recall_at, scores_of
from vision_recs.types import Attribute, ItemSource, Match, SearchRequest, VectorIndex

QUERIES, K = 32, 10
"""A sample: so many queries for so many images each, and as many again with filters."""

_MOST_FILTERS = 6
_SAMPLED_ITEMS = 64


class Proof(NamedTuple):
    """What was found: the least *effort* that reaches the wished recall, and recall@10 without and with filters."""

    effort: int | None
    recall: float
    filtered_recall: float


class Checked(Protocol):
    """What a generation in an engine is compared with: the same generation on this machine."""

    @property
    def items(self) -> ItemSource:
        """The items."""
        ...

    @property
    def exact(self) -> VectorIndex:
        """Exact search."""
        ...


def require_content(table: Table, expected: str, uri: str, report: Report) -> None:
    """Raise EngineDamaged unless the records in *table* are those whose `Content` is *expected*."""
    total, done = int(expected.partition("-")[0]), 0
    content = Content()
    for page in table.scan([base.KEY, base.HASH]):
        content.add(Pairs.of(page))
        done += len(page)
        report("verifying records", done, total)
    if content.digest() != expected:
        raise EngineDamaged(
            f"{uri} has other records ({done:,}) than were written ({total:,}): somebody else writes there, too; run "
            "`visrec publish` again"
        )


def prove(  # noqa: PLR0913 - what is proved, against what, and how well
    engine: Engine, published: Published, table: Table, checked: Checked, *, target: float, report: Report
) -> Proof:
    """Return how well *published* in *table* answers, compared with *checked*; raises EngineDamaged where it does not.

    The items of a sample must be equal, the canary and other vectors must find what exact search finds, and no answer
    may be short. *target* is the recall to reach.
    """
    items = EngineItems(engine, published, table)
    _require_equal_items(items, checked.items, engine.uri)
    sample = checked.items.sample_vectors(QUERIES)
    queries = np.concatenate([checked.items.project(checked.items.canary[None]), sample])
    requests = [SearchRequest(queries, K)]
    requests += [SearchRequest(queries, K, where) for where in sample_filters(checked.items)]
    report("verifying answers", 0, None)
    exact = [checked.exact.search(request) for request in requests]
    efforts: Sequence[int | None] = table.efforts if published.images > EXACT_UP_TO else [None]
    proof = Proof(None, 0.0, 0.0)
    for effort in efforts:
        index = EngineIndex(published.with_search(effort, 1.0), table, engine.dialect)
        found = [index.search(request) for request in requests]
        _require_whole(found, exact, engine.uri)
        recalls = [recall_at(K, scores_of(one), scores_of(other)) for one, other in zip(found, exact, strict=True)]
        proof = Proof(effort, recalls[0], min(recalls[1:], default=1.0))
        if min(recalls) >= target:
            return proof
    raise EngineDamaged(
        f"{engine.uri} finds {proof.recall:.3f} of the nearest images, {proof.filtered_recall:.3f} with a filter, and "
        f"{target} is wished; readers keep the generation that they have"
    )


def sample_filters(items: ItemSource) -> list[Filter]:
    """Return filters that some items match and others do not: by numbers, texts, booleans, and what they exclude."""
    ids = items.ids(limit=_SAMPLED_ITEMS)
    held = [attributes for _, attributes in sorted(items.attributes_of(ids).items())]
    return list(islice(_filters(held), _MOST_FILTERS))


def _filters(held: Sequence[Mapping[str, Attribute]]) -> Iterator[Filter]:
    """Yield filters by attributes that tell items apart: first by numbers, then by the rarest value and all others."""
    others: list[Filter] = []
    for name in sorted({name for attributes in held for name in attributes}):
        values = [value for attributes in held if AttributeType.of(value := attributes.get(name))]
        numbers = sorted(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
        if numbers and numbers[0] < numbers[-1]:
            middle = Value(AttributeType.NUMBER, numbers[len(numbers) // 2])
            yield Filter(Compare(Name(name), "<", middle))
            continue
        rarest = min(values, key=lambda value: (values.count(value), str(value)), default=None)
        if rarest is not None and values.count(rarest) < len(held):
            is_rarest = Compare(Name(name), "==", Value(AttributeType.of(rarest), rarest))
            others += [Filter(is_rarest), Filter(Not(is_rarest))]
    yield from others


def _require_equal_items(items: EngineItems, expected: ItemSource, uri: str) -> None:
    """Raise EngineDamaged where a sample of the items is not what was published."""
    ids = expected.ids(limit=_SAMPLED_ITEMS)
    wanted, images = expected.attributes_of(ids), {item: expected.images(item) for item in ids}
    same_ids = items.ids(limit=_SAMPLED_ITEMS) == ids
    if not same_ids or items.attributes_of(ids) != wanted or items.images_of(ids) != images:
        raise EngineDamaged(f"{uri} has items that were altered; run `visrec publish {uri} --rewrite`")
    digests = list(dict.fromkeys(image.digest for shown in images.values() for image in shown))
    if not np.array_equal(items.vectors_of(digests), expected.vectors_of(digests)):
        raise EngineDamaged(f"{uri} has vectors that were altered; run `visrec publish {uri} --rewrite`")


def _require_whole(found: list[list[list[Match]]], exact: list[list[list[Match]]], uri: str) -> None:
    for answers, others in zip(found, exact, strict=True):
        for answer, other in zip(answers, others, strict=True):
            if len(answer) < len(other):
                raise EngineDamaged(f"{uri} answers with {len(answer)} of {len(other)} images; nothing was switched")
