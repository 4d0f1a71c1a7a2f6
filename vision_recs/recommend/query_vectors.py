"""From a query to its questions: every part of it as vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vision_recs.recommend.query import NEGATIVE_WEIGHT, Query, Weighted, weighted
from vision_recs.recommend.query_encoder import QueryEncoder
from vision_recs.recommend.scoring import Part, Question
from vision_recs.store import Store
from vision_recs.types import Vectors


def ask(query: Query, store: Store, encoder: QueryEncoder) -> list[Question]:
    """Return what *query* asks: one question, or for a history one for each interest, the greatest share first.

    Raises UnknownItem, and for images and texts what `QueryEncoder` does.
    """
    parts = [_item(store, item, weight) for item, weight in _together(query.items, 1.0)]
    negatives = tuple(
        _item(store, item, weight, kind="negative") for item, weight in _together(query.negatives, NEGATIVE_WEIGHT)
    )
    if query.images:
        given = list(weighted(query.images))
        names = [image.name or f"image {number}" for number, image in enumerate(given, 1)]
        vectors = encoder.images([image.what for image in given])
        parts += _singles("image", names, [image.weight for image in given], vectors)
    if query.texts:
        words = list(weighted(query.texts))
        texts = [text.what for text in words]
        parts += _singles("text", texts, [text.weight for text in words], encoder.texts(texts))
    if query.history is None:
        return [Question(tuple(parts), negatives)]
    from vision_recs.recommend.interests import find_interests

    return [
        Question((*parts, _item(store, interest.medoid, 1.0, kind="interest")), negatives, interest.share)
        for interest in find_interests(store, query.history)
    ]


def _together(values: Sequence[str | Weighted[str]], default: float) -> list[tuple[str, float]]:
    """Return each item once; one that is named twice has both weights."""
    sums: dict[str, float] = {}
    for item, weight, _ in weighted(values, default):
        sums[item] = sums.get(item, 0.0) + weight
    return list(sums.items())


def _item(store: Store, item: str, weight: float, *, kind: str = "item") -> Part:
    image_at = {image.position: image.image for image in reversed(store.images(item))}
    positions = sorted(image_at)
    vectors = store.vectors(np.array(positions, dtype=np.int64))
    return Part(kind, item, weight, vectors, tuple(image_at[position] for position in positions))


def _singles(kind: str, names: Sequence[str], weights: Sequence[float], vectors: Vectors) -> Iterator[Part]:
    for name, weight, vector in zip(names, weights, vectors, strict=True):
        yield Part(kind, name, weight, vector[None], (None,))
