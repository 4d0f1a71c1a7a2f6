"""The vectors of queries: an image that is a query of its own has no words, as a shopper's photo has none."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from vision_recs.encoders.words import Words, words_of
from vision_recs.errors import EvaluationError
from vision_recs.metrics import ItemVectors
from vision_recs.store import Store, load_encoder_vectors, load_item_vectors
from vision_recs.store.whole_items import WholeItems


def load_queries(store: WholeItems, items: Collection[str], *, per_image: bool) -> ItemVectors:
    """Return the vectors of *items* as queries, which with *per_image* are single images without the words of the item.

    With its words, an image would find its own item by these alone. Raises EvaluationError where the vectors without
    words cannot be had.
    """
    words = words_of(store.encoder.name) if per_image else None
    if words is None:
        return load_item_vectors(store, items)
    if isinstance(store, Store):
        images = _images_of(load_encoder_vectors(store, items), words)
        is_projected = store.projection is not None
        vectors = store.project(words.not_known(images.vectors)) if is_projected else images.vectors
        return images.with_vectors(vectors)
    if store.fingerprint != store.encoder.fingerprint:
        raise EvaluationError(f"{store.place} has no vectors of images without words; evaluate each store by itself")
    return _images_of(load_item_vectors(store, items), words)


def _images_of(found: ItemVectors, words: Words) -> ItemVectors:
    """Return each image of *found* by itself, without words; of an item without an image there is none."""
    single = found.per_image()
    single = single.with_vectors(words.left_out(single.vectors))
    return single.take(np.flatnonzero(np.any(single.vectors, axis=1)))
