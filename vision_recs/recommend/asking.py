"""From a query to its questions: every part of it as vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vision_recs.recommend.encoding import QueryEncoder
from vision_recs.recommend.query import UNLIKE_WEIGHT, Query, Weighted, weighted
from vision_recs.recommend.questions import Part, Question
from vision_recs.store import Store
from vision_recs.types import Vectors


def ask(query: Query, store: Store, encoder: QueryEncoder) -> list[Question]:
    """Return what *query* asks: one question, or for a history one for each interest, the greatest share first.

    Raises UnknownItem, and for pictures and texts what `QueryEncoder` does.
    """
    parts = [_item(store, item, weight) for item, weight in _together(query.items, 1.0)]
    unlike = tuple(_item(store, item, weight, kind="not") for item, weight in _together(query.unlike, UNLIKE_WEIGHT))
    if query.pictures:
        given = list(weighted(query.pictures))
        names = [picture.name or f"picture {number}" for number, picture in enumerate(given, 1)]
        vectors = encoder.pictures([picture.what for picture in given])
        parts += _singles("picture", names, [picture.weight for picture in given], vectors)
    if query.texts:
        words = list(weighted(query.texts))
        texts = [text.what for text in words]
        parts += _singles("text", texts, [text.weight for text in words], encoder.texts(texts))
    if query.history is None:
        return [Question(tuple(parts), unlike)]
    from vision_recs.recommend.interests import find_interests

    return [
        Question((*parts, _item(store, interest.medoid, 1.0, kind="interest")), unlike, interest.share)
        for interest in find_interests(store, query.history)
    ]


def _together(values: Sequence[str | Weighted[str]], default: float) -> list[tuple[str, float]]:
    """Return each item once; one that is named twice has both weights."""
    sums: dict[str, float] = {}
    for item, weight, _ in weighted(values, default):
        sums[item] = sums.get(item, 0.0) + weight
    return list(sums.items())


def _item(store: Store, item: str, weight: float, *, kind: str = "item") -> Part:
    picture_at = {picture.position: picture.picture for picture in reversed(store.pictures(item))}
    positions = sorted(picture_at)
    vectors = store.vectors(np.array(positions, dtype=np.int64))
    return Part(kind, item, weight, vectors, tuple(picture_at[position] for position in positions))


def _singles(kind: str, names: Sequence[str], weights: Sequence[float], vectors: Vectors) -> Iterator[Part]:
    for name, weight, vector in zip(names, weights, vectors, strict=True):
        yield Part(kind, name, weight, vector[None], (None,))
