"""The policy that turns nearest pictures into similar items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.engines import open_index
from vision_recs.engines.ranking import cosines
from vision_recs.errors import ImageError, StoreDamaged
from vision_recs.recommend.query import Query
from vision_recs.store import Selection, Store, probe_vector
from vision_recs.types import Encoder, Match, VectorIndex, Vectors

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter

_SLACK = 3
"""How many times the pictures needed are fetched at first, since an item may be near by several of its pictures."""


class Recommender:
    """Answers queries from one generation of a store.

    The asked items are never in their own answer, an item appears once, by its best picture, and byte-identical
    pictures appear once, with the item of the lowest id. The score of a picture is the mean, over the parts of the
    query, of its best cosine with a picture of that part.
    """

    def __init__(self, store: Store, index: VectorIndex, *, weights: Path | None = None, device: str = "auto") -> None:
        """Answer from *store* by *index*; *weights* and *device* are for the encoder that pictures need."""
        self.store = store
        self.index = index
        self._weights = weights
        self._device = device
        self._encoder: Encoder | None = None

    def similar(self, *items: str, k: int = 10, where: str | Filter | None = None) -> list[Match]:
        """Return up to *k* items that are similar to all of *items* and match *where*, best first.

        Raises UnknownItem and FilterError.
        """
        return self.answer(Query(items=items, k=k, where=_filter(where)))

    def similar_to_picture(
        self, picture: str | Path | bytes, *, k: int = 10, where: str | Filter | None = None
    ) -> list[Match]:
        """Return up to *k* items that are similar to *picture* and match *where*, best first.

        *picture* is the path of a file, or its bytes. Raises ImageError and FilterError.
        """
        where = _filter(where)
        data = picture if isinstance(picture, bytes) else read_picture(picture)
        return self.answer(Query(pictures=(data,), k=k, where=where))

    def answer(self, query: Query) -> list[Match]:
        """Return the matches of *query*, best first, equal scores by id.

        Raises UnknownItem and FilterError, and for pictures ImageError, EncoderError and SpaceMismatch.
        """
        index = self.index if query.where is None else self._index_of(query.where)
        parts = [self._item_vectors(item) for item in query.items]
        if query.pictures:
            parts += np.split(self._encode(query.pictures), len(query.pictures))
        fetch = _SLACK * (query.k + sum(map(len, parts)))
        while True:
            found = index.search(np.concatenate(parts), fetch)
            ranked = found[0] if len(found) == 1 else self._rank(found, parts)
            matches = list(_distinct(ranked, set(query.items), query.k))
            exhausted = all(len(answer) < fetch for answer in found)
            if exhausted or (len(matches) == query.k and _is_settled(matches, found, parts)):
                return [replace(match, attributes=self._attributes(match)) for match in matches]
            fetch *= 4

    def _index_of(self, where: Filter) -> VectorIndex:
        """Return an exact index of the items that match *where*: whatever their share, it loses none of them."""
        return open_index("exact", Selection(self.store, where), self.store.layout.engines)

    def _item_vectors(self, item: str) -> Vectors:
        positions = sorted({picture.position for picture in self.store.pictures(item)})
        return self.store.vectors(np.array(positions, dtype=np.int64))

    def _rank(self, found: Sequence[Sequence[Match]], parts: Sequence[Vectors]) -> list[Match]:
        """Return every picture of *found* once, with its score for the whole query, best first."""
        candidates = {(match.id, match.picture): match for answer in found for match in answer}
        position_of = self.store.positions_of({match.digest for match in candidates.values()})
        vectors = self.store.vectors(np.array(list(position_of.values()), dtype=np.int64))
        best = [np.max([cosines(vectors, vector) for vector in part], axis=0) for part in parts]
        scores = np.mean(np.array(best, dtype=np.float64), axis=0).astype(np.float32)
        score_of = dict(zip(position_of, scores.tolist(), strict=True))
        scored = [replace(match, score=score_of[match.digest]) for match in candidates.values()]
        return sorted(scored, key=lambda match: (-match.score, match.id, match.picture))

    def _encode(self, pictures: Iterable[bytes]) -> Vectors:
        from vision_recs import images

        recipe = self.store.manifest.encoder.recipe
        pixels = [images.load(picture, recipe) for picture in pictures]  # bad ones cost no loading
        vectors = self._loaded_encoder().encode(np.stack(pixels))
        if not np.any(vectors, axis=1).all():
            raise ImageError("no-direction", "the encoder gives the picture no direction: it is blank; use another one")
        return vectors

    def _loaded_encoder(self) -> Encoder:
        from vision_recs.encoders import LoadOptions, Space

        if self._encoder is None:
            manifest = self.store.manifest
            weights = self._weights or (Path(manifest.weights_file) if manifest.weights_file else None)
            space = Space(manifest.encoder, LoadOptions(weights=weights, device=self._device))
            space.expect(probe_vector(manifest.probe))
            self._encoder = space.encoder()
        return self._encoder

    def _attributes(self, match: Match) -> dict[str, str | int | float | bool | None]:
        """Return the attributes of the item and of the picture by which it matched."""
        own = next((p.attributes for p in self.store.pictures(match.id) if p.picture == match.picture), None)
        if own is None:
            raise StoreDamaged(
                f"the item {match.id!r} has no picture {match.picture}, by which it was found; run `visrec verify`"
            )
        return {**self.store.attributes(match.id), **own}


def open(  # noqa: A001 - vision_recs.open is how a shop is opened
    store: str | Path = ".visrec", *, weights: Path | None = None, device: str = "auto"
) -> Recommender:
    """Open the published generation of the store in the folder *store*.

    *weights* and *device* are for the encoder, which is loaded when a query brings a picture. Raises StoreError.
    """
    recommender = open_recommender(store, weights=weights, device=device)
    recommender.store.pin()
    return recommender


def open_recommender(store: str | Path, *, weights: Path | None = None, device: str = "auto") -> Recommender:
    """Open *store* for a single query.

    A shard is opened when it is needed, which is quick; until then `visrec gc` may take it away.
    """
    opened = Store.open(store)
    name = opened.manifest.engine
    directory = opened.layout.engine(name, opened.generation)
    index = open_index(name if directory.is_dir() else "exact", opened, directory)
    return Recommender(opened, index, weights=weights, device=device)


def read_picture(path: str | Path) -> bytes:
    """Return the bytes of the picture in the file *path*; raises ImageError: missing, unreadable or empty."""
    from vision_recs.catalog.files import PictureFiles

    return PictureFiles(".").read(str(path))


def _filter(where: str | Filter | None) -> Filter | None:
    if isinstance(where, str):
        from vision_recs.filters import Filter

        return Filter.parse(where)
    return where


def _distinct(ranked: Iterable[Match], asked: set[str], k: int) -> Iterator[Match]:
    """Yield the first *k* of *ranked* that are not *asked* and show neither an item nor a picture again."""
    items = set(asked)
    pictures: set[str] = set()
    for match in ranked:
        if match.id in items or match.digest in pictures:
            continue
        items.add(match.id)
        pictures.add(match.digest)
        yield match
        if len(pictures) == k:
            return


def _is_settled(matches: Sequence[Match], found: Sequence[Sequence[Match]], parts: Sequence[Vectors]) -> bool:
    """Whether no picture outside *found* can score as much as the last of *matches* (Fagin's threshold).

    A picture that the search for a vector did not reach has at most the last score of that search.
    """
    if len(found) == 1:
        return True  # the rest of a single search comes after what it gave
    lasts = iter([answer[-1].score for answer in found])
    bound = np.float32(np.mean([max(next(lasts) for _ in part) for part in parts]))
    return bool(matches[-1].score > bound)
