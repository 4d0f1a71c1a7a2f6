"""`EngineItems`: the items of a published generation, read from an engine; an `ItemSource`, and `WholeItems`."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.base import ColumnTest, Engine, Table
from vision_recs.engines.columns import column_name, element_code
from vision_recs.engines.published import Published
from vision_recs.engines.searching import unit_vectors
from vision_recs.errors import EngineDamaged, UnknownItem
from vision_recs.store import Layout, Store
from vision_recs.store.items import StoredRow
from vision_recs.store.layout import canary_vector
from vision_recs.types import Attribute, EncoderSpec, ItemImage, Row, Vectors
from vision_recs.vectors import normalize_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from vision_recs.filters import AttributeType, Filter
    from vision_recs.store.projections import Projection

K = TypeVar("K")
V = TypeVar("V")

_AT_ONCE = 2_000  # keys in one condition
_MAX_ENTRIES = 50_000  # items, and vectors, that are kept: some 100 MB of vectors
_NEAREST_AMONG = 50_000


class EngineItems:
    """The items of the generation *published*. What was read once is kept, up to a limit. Safe from several threads."""

    def __init__(self, engine: Engine, published: Published, table: Table) -> None:
        """Read the records in *table* and the documents of *engine*."""
        self.published = published
        self._engine = engine
        self._table = table
        self._lock = threading.Lock()
        self._attributes: dict[str, Mapping[str, Attribute]] = {}
        self._images: dict[str, Sequence[ItemImage]] = {}
        self._vectors: dict[str, Vectors] = {}
        self.model_file: tuple[Path, str] | None = None
        """The file of a learned model and its SHA-256; an engine holds none: see `learn_from`."""

    def learn_from(self, store: str | Path) -> None:
        """Use the model that was published with the *store*, if there is one on this machine, of the same space.

        Raises StoreError where the store cannot be opened.
        """
        if not Layout(Path(store)).current.is_file():
            return
        with Store.open(store) as opened:
            if opened.fingerprint == self.fingerprint:
                self.model_file = opened.model_file

    @property
    def generation(self) -> int:
        """The number of the generation."""
        return self.published.generation

    @property
    def fingerprint(self) -> str:
        """The space of the vectors."""
        return self.published.space

    @property
    def dim(self) -> int:
        """The number of columns of the vectors."""
        return self.published.dim

    @property
    def item_count(self) -> int:
        """How many items there are."""
        return self.published.items

    @property
    def image_count(self) -> int:
        """How many images the items have together."""
        return self.published.images

    @property
    def encoder(self) -> EncoderSpec:
        """The encoder that made the vectors."""
        return self.published.encoder

    @property
    def weights_file(self) -> str | None:
        """The path of the encoder's weights, where they are not the published ones."""
        return self.published.weights_file

    @property
    def canary(self) -> Vectors:
        """The vector (dim of the encoder,) of the canary image."""
        return canary_vector(self.published.canary)

    def attribute_types(self) -> Mapping[str, AttributeType]:
        """Return the types of the values that the items have for each attribute."""
        return self.published.attribute_types

    def ids(self, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the ids greater than *after*, ascending, the first *limit* of them."""
        tests = [_FIRST, ColumnTest(base.ITEM, ">", after)] if after else [_FIRST]
        found = self._table.read([base.ITEM], self._all_of(tests), order_by=base.ITEM, limit=limit)
        return _texts(found, base.ITEM)

    def ids_where(self, where: Filter) -> Iterator[str]:
        """Yield the ids of the items that match *where*, ascending; raises FilterError."""
        from vision_recs.engines.conditions import condition_of

        where.check(self.attribute_types())
        condition = condition_of(where, self.published.kinds, self._engine.dialect)
        if condition.is_never:
            return
        parts = [self._expression(_FIRST), *([condition.expression] if condition.expression else [])]
        columns = [base.ITEM, base.ATTRIBUTES] if condition.rest else [base.ITEM]
        found = self._table.read(columns, self._joined(parts), order_by=base.ITEM)
        texts = _texts(found, base.ATTRIBUTES) if condition.rest else []
        for number, item in enumerate(_texts(found, base.ITEM)):
            if condition.rest is None or condition.rest.matches(json.loads(texts[number]), item):
                yield item

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        from vision_recs.store.attributes.suggestions import MOST_TEXTS, sought_texts, unknown_value

        sentences: list[str] = []
        for name, value in sought_texts(where):
            kinds = self.published.kinds.get(name.text, frozenset())
            text, elements = (column_name(name.text, kind) for kind in ("text", "set"))
            tests = [ColumnTest(text, "==", value)] if "text" in kinds else []
            tests += [ColumnTest(elements, "has", element_code(value))] if "set" in kinds else []
            expressions = [self._engine.dialect.test(test) for test in tests]
            if not tests or None in expressions or any(map(self._table.count, expressions)):
                continue
            found = self._table.read([text], limit=MOST_TEXTS).column(text).to_pylist()
            sentences += unknown_value(name, value, {each for each in found if each is not None})
        return sentences

    @property
    def place(self) -> str:
        """The URI of the engine."""
        return self._engine.uri

    def positions(self) -> NDArray[np.int64]:
        """Return the positions of all vectors: their digests in ascending order have them."""
        return np.arange(len(self._digests))

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the unit vectors (n, dim) at *positions* (n,), in that order; raises EngineDamaged."""
        return self.vectors_of([self._digests[position] for position in positions.tolist()])

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have its vector, by id, then by image."""
        wanted = {self._digests[position]: position for position in positions}
        rows: dict[int, list[Row]] = {position: [] for position in positions}
        for found in self._where_in(base.DIGEST, list(wanted), [base.ITEM, base.IMAGE, base.DIGEST]):
            row = Row(found[base.ITEM], found[base.IMAGE], found[base.DIGEST])
            rows[wanted[row.digest]].append(row)
        return {position: sorted(some)[:limit] for position, some in rows.items()}

    def stored_rows(self) -> Iterator[StoredRow]:
        """Yield every image, by id, then by ordinal, with its position."""
        place_of = {digest: position for position, digest in enumerate(self._digests)}
        columns = (base.ITEM, base.ORDINAL, base.IMAGE, base.DIGEST)
        pages = ([page.column(name).to_pylist() for name in columns] for page in self._table.scan(columns))
        for item, ordinal, image, digest in sorted(row for page in pages for row in zip(*page, strict=True)):
            yield StoredRow(item, ordinal, image, place_of[digest])

    def all_attributes(self) -> Iterator[tuple[str, Mapping[str, Attribute]]]:
        """Yield each id with its attributes, by id."""
        columns = [base.ITEM, base.ATTRIBUTES]
        found = self._table.read(columns, self._expression(_FIRST), order_by=base.ITEM)
        for item, text in zip(*(_texts(found, name) for name in columns), strict=True):
            yield item, json.loads(text)

    @cached_property
    def _digests(self) -> list[str]:
        pages = self._table.scan([base.DIGEST])
        return sorted({digest for page in pages for digest in _texts(page, base.DIGEST)})

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        ids = self.ids()
        for start in range(0, len(ids), _AT_ONCE):
            yield ids[start : start + _AT_ONCE]

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        return self._get_all(self._attributes, items, self._read_attributes)

    def images(self, item: str) -> Sequence[ItemImage]:
        """Return the images of *item* in the order of the catalog; raises UnknownItem."""
        found = self.images_of([item]).get(item)
        if found is None:
            raise self._unknown(item)
        return found

    def images_of(self, items: Sequence[str]) -> dict[str, Sequence[ItemImage]]:
        """Return the images of each of *items*, by id, in the order of the catalog; an unknown id is left out."""
        return self._get_all(self._images, items, self._read_images)

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[Mapping[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        items = list(dict.fromkeys(item for item, _ in images))
        attributes = self.attributes_of(items)
        shown = self.images_of(items)
        own = {(item, each.image): each.attributes for item, several in shown.items() for each in several}
        return [{**attributes[pair[0]], **own[pair]} if pair in own else None for pair in images]

    def vectors_of(self, digests: Sequence[str]) -> Vectors:
        """Return the unit vectors (n, dim) of the n images with *digests*, in that order; raises EngineDamaged."""
        found = self._get_all(self._vectors, digests, self._read_vectors)
        missing = next((digest for digest in digests if digest not in found), None)
        if missing is not None:
            raise EngineDamaged(
                f"{self._engine.uri} has no vector of the image {missing}, which it names; run `visrec publish` again"
            )
        rows = [found[digest] for digest in digests]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def sample_vectors(self, count: int) -> Vectors:
        """Return at most *count* vectors (n, dim), always the same ones, spread evenly over all images."""
        return self._sample[:: max(1, -(-len(self._sample) // count))]

    def project(self, vectors: Vectors) -> Vectors:
        """Return *vectors* (n, dim of the encoder) in the space of the items, of unit length."""
        if self._projection is None:
            return vectors
        return normalize_rows(self._projection.apply(self._projection.completed(vectors)))[0]

    def image_with(self, digest: str) -> str | None:
        """Return the reference of the image with *digest*, or None where no item shows it."""
        test = self._expression(ColumnTest(base.DIGEST, "==", digest))
        found = self._table.read([base.IMAGE], test, order_by=base.IMAGE, limit=1)
        return next(iter(_texts(found, base.IMAGE)), None)

    @cached_property
    def _sample(self) -> Vectors:
        data = self._document(self.published.sample_document)
        return np.frombuffer(data, "<f4").reshape(-1, self.dim)

    @cached_property
    def _projection(self) -> Projection | None:
        from vision_recs.store.projections import parse_projection

        name, digest = self.published.projection_document, self.published.projection
        if name is None or digest is None:
            return None
        return parse_projection(
            self._document(name), digest=digest, dim=self.encoder.dim, path=f"{self._engine.uri} ({name})"
        )

    def _document(self, name: str) -> bytes:
        data = self._engine.documents.read([name]).get(name)
        if data is None:
            raise EngineDamaged(f"{self._engine.uri} lacks the document {name}; run `visrec publish` again")
        return data

    def _read_attributes(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        found = self._where_in(base.ITEM, items, [base.ITEM, base.ATTRIBUTES], _FIRST)
        return {row[base.ITEM]: json.loads(row[base.ATTRIBUTES]) for row in found}

    def _read_images(self, items: Sequence[str]) -> dict[str, Sequence[ItemImage]]:
        columns = [base.ITEM, base.ORDINAL, base.IMAGE, base.DIGEST, base.IMAGE_ATTRIBUTES]
        rows = sorted(self._where_in(base.ITEM, items, columns), key=lambda row: (row[base.ITEM], row[base.ORDINAL]))
        images: dict[str, list[ItemImage]] = {}
        for row in rows:
            image = ItemImage(row[base.IMAGE], row[base.DIGEST], json.loads(row[base.IMAGE_ATTRIBUTES]))
            images.setdefault(row[base.ITEM], []).append(image)
        return dict(images)

    def _read_vectors(self, digests: Sequence[str]) -> dict[str, Vectors]:
        found: dict[str, Vectors] = {}
        for start in range(0, len(digests), _AT_ONCE):
            condition = self._in(base.DIGEST, digests[start : start + _AT_ONCE])
            table = self._table.read([base.DIGEST, base.VECTOR], condition)
            found.update(zip(_texts(table, base.DIGEST), unit_vectors(table), strict=True))
        return found

    def _where_in(
        self, column: str, values: Sequence[str], columns: Sequence[str], test: ColumnTest | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield *columns* of the records whose *column* has one of *values*, and that pass *test*."""
        for start in range(0, len(values), _AT_ONCE):
            parts = [self._in(column, values[start : start + _AT_ONCE])]
            if test is not None:
                parts.append(self._expression(test))
            yield from self._table.read(columns, self._joined(parts)).to_pylist()

    def _in(self, column: str, values: Sequence[str]) -> str:
        return self._expression(ColumnTest(column, "in", tuple(values)))

    def _all_of(self, tests: Sequence[ColumnTest]) -> str:
        return self._joined([self._expression(test) for test in tests])

    def _joined(self, parts: Sequence[str]) -> str:
        return self._engine.dialect.all_of(parts) if len(parts) > 1 else parts[0]

    def _expression(self, test: ColumnTest) -> str:
        expression = self._engine.dialect.test(test)
        assert expression is not None, test  # a column that every record has
        return expression

    def _get_all(
        self, cache: dict[K, V], keys: Sequence[K], read: Callable[[Sequence[K]], Mapping[K, V]]
    ) -> dict[K, V]:
        """Return the value of each of *keys* that exists; those that are not in *cache* are read and kept."""
        known = {key: cache[key] for key in keys if key in cache}
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            values = read(missing)
            known.update(values)
            with self._lock:
                cache.update(values)
                while len(cache) > _MAX_ENTRIES:
                    del cache[next(iter(cache))]
        return known

    def _unknown(self, item: str) -> UnknownItem:
        nearest = tuple(difflib.get_close_matches(item, self._like(item), n=3, cutoff=0.0))
        hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
        return UnknownItem(f"no item has the id {item!r}{hint}", item=item, nearest=nearest)

    def _like(self, item: str) -> list[str]:
        """Return ids to compare with *item*: those that begin as it does, as far as there are any."""
        for length in sorted({0, *range(len(item), 0, -2)}, reverse=True):
            tests = [_FIRST, ColumnTest(base.ITEM, "startswith", item[:length])]
            found = self._table.read([base.ITEM], self._all_of(tests), limit=_NEAREST_AMONG)
            if len(found):
                return _texts(found, base.ITEM)
        return []


_FIRST = ColumnTest(base.ORDINAL, "==", 0)
"""Of each item, its first image alone."""


def _texts(found: pa.Table, column: str) -> list[str]:
    texts: list[str] = found.column(column).to_pylist()
    return texts
