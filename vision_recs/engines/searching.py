"""`EngineIndex`: searches of a published generation, whose answers are as right as those of an index on this machine.

Engines lose matches to a filter at their defaults, without a word. So the matching records are counted first; where
they are few, all of them are compared; else the search goes on with the effort that the publication has measured.
The engine only proposes: every score is computed here from the vector of the candidate, as everywhere in visrec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.base import EXACT_UP_TO, Dialect, Table
from vision_recs.engines.conditions import Condition, condition_of
from vision_recs.engines.published import Published
from vision_recs.errors import EngineDamaged
from vision_recs.indexes.base import Group, group_of, unit_queries
from vision_recs.types import Attribute, Match, SearchRequest, Vectors
from vision_recs.vectors import exact_cosine, normalize_rows

if TYPE_CHECKING:
    import pyarrow as pa

_SLACK = 8
"""Records that are fetched beyond those that are wanted: the engine may order the last ones differently."""

_GROWTH = 4

_COLUMNS = [base.ITEM, base.IMAGE, base.DIGEST, base.VECTOR]


_READ_FOR_MANY = 4
"""For so many queries of one request, records that are all compared are read once, not for each query."""


class Searched(Protocol):
    """What a search needs of a `Table`."""

    @property
    def tolerance(self) -> float:
        """See `Table`."""
        ...

    def nearest(
        self, query: Vectors, k: int, columns: Sequence[str], condition: str | None, *, effort: int | None
    ) -> pa.Table:
        """See `Table`."""
        ...


class Candidates(NamedTuple):
    """Records that the engine has found: *matches* by falling score, and their *attributes*, where these were asked."""

    matches: list[Match]
    attributes: list[Mapping[str, Attribute]]


class EngineIndex:
    """An index that an engine searches. Safe to use from several threads."""

    def __init__(self, published: Published, table: Table, dialect: Dialect) -> None:
        """Search the records in *table*, whose engine writes conditions in *dialect*."""
        self._published = published
        self._table = table
        self._dialect = dialect

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that are searched."""
        return self._published.space, self._published.generation

    def search(self, request: SearchRequest) -> list[list[Match]]:
        """Return up to `request.k` images for each query: see `VectorIndex`. Raises EngineError."""
        queries = unit_queries(request.vectors, request.k, dim=self._published.dim)
        condition = self.condition_of(request)
        count = self._count(condition)
        if not count:
            return [[] for _ in queries]
        effort = None if count <= EXACT_UP_TO else self._published.effort
        search = _Search(self._table, request, condition, count, effort)
        if count <= EXACT_UP_TO and search.reads_all:
            search = replace(search, table=self._all)
        elif count <= EXACT_UP_TO and len(queries) >= _READ_FOR_MANY:
            search = search.read_once(self._table)
        return [search.nearest(query) for query in queries]

    def count(self, request: SearchRequest) -> int:
        """Return how many images meet the filter of *request*, or a few more where the engine cannot test all of it."""
        return self._count(self.condition_of(request))

    @cached_property
    def _all(self) -> _ReadRecords:
        """All records, where they are few."""
        return _ReadRecords(self._table.read(_COLUMNS, None))

    def _count(self, condition: Condition) -> int:
        if condition.is_never:
            return 0
        return self._published.images if condition.expression is None else self._table.count(condition.expression)

    def condition_of(self, request: SearchRequest) -> Condition:
        """Return the condition of the filter of *request*; raises FilterError where it does not fit the attributes."""
        if request.where is None:
            return Condition()
        request.where.check(self._published.attribute_types)
        return condition_of(request.where, self._published.kinds, self._dialect)


@dataclass(frozen=True, slots=True)
class _Search:
    """The search of a *request* among the *count* records in *table* that meet *condition*."""

    table: Searched
    request: SearchRequest
    condition: Condition
    count: int
    effort: int | None

    def read_once(self, table: Table) -> _Search:
        """Return the same search, for which the records are read once."""
        return replace(self, table=_ReadRecords(table.read(self._columns, self.condition.expression)))

    def nearest(self, query: Vectors) -> list[Match]:
        """Return the matches for one unit *query* (dim,)."""
        request, expression = self.request, self.condition.expression
        wanted = request.k + len(request.exclude) + _SLACK
        tolerance = self.table.tolerance if self.effort is None else 0.0
        while True:
            wanted = min(wanted, self.count)
            found = self.table.nearest(query, wanted, self._columns, expression, effort=self.effort)
            candidates = scored(found, query)
            kept = _kept(candidates, request, self.condition)
            is_all = len(candidates.matches) < wanted or wanted == self.count
            if is_all or _is_settled(kept, candidates.matches, request.k, tolerance):
                return kept[: request.k]
            wanted *= _GROWTH

    @property
    def reads_all(self) -> bool:
        """Whether the search is among all records, of which no attributes are needed."""
        return self.condition.expression is None and self._columns == _COLUMNS

    @property
    def _columns(self) -> list[str]:
        needs_attributes = self.condition.rest is not None or self.request.group_by is not None
        return [*_COLUMNS, base.ATTRIBUTES] if needs_attributes else _COLUMNS


class _ReadRecords:
    """Records in memory, of which the nearest ones are found here."""

    tolerance = 0.0

    def __init__(self, found: pa.Table) -> None:
        self._found = found
        self._vectors = unit_vectors(found)

    def nearest(
        self, query: Vectors, k: int, columns: Sequence[str], condition: str | None, *, effort: int | None
    ) -> pa.Table:
        """Return the *k* records nearest to *query* (dim,), and all whose score equals that of the last."""
        del columns, condition, effort  # they decided what was read
        scores = exact_cosine(self._vectors, query)
        if k >= len(scores):
            return self._found
        return self._found.take(np.flatnonzero(scores >= np.partition(scores, -k)[-k]))


def _is_settled(kept: Sequence[Match], fetched: Sequence[Match], k: int, tolerance: float) -> bool:
    """Whether no record that was not *fetched* can be among the best *k* of those that are *kept*.

    The engine's own scores of those are at most that of the last one it gave, and may err by *tolerance* each.
    """
    return len(kept) >= k and kept[k - 1].score > fetched[-1].score + 2 * tolerance


def scored(found: pa.Table, query: Vectors) -> Candidates:
    """Return the records *found* with their scores for the unit *query* (dim,); raises EngineDamaged."""
    scores = exact_cosine(unit_vectors(found), query).tolist()
    columns = [found.column(name).to_pylist() for name in (base.ITEM, base.IMAGE, base.DIGEST)]
    matches = [Match(item, score, image, digest) for item, image, digest, score in zip(*columns, scores, strict=True)]
    order = sorted(range(len(matches)), key=lambda n: (-matches[n].score, matches[n].id, matches[n].image))
    texts = found.column(base.ATTRIBUTES).to_pylist() if base.ATTRIBUTES in found.column_names else None
    attributes = [] if texts is None else [json.loads(texts[number]) for number in order]
    return Candidates([matches[number] for number in order], attributes)


def _kept(candidates: Candidates, request: SearchRequest, condition: Condition) -> list[Match]:
    """Return the candidates that are not excluded and match what the engine could not test, the best of each group."""
    kept: list[Match] = []
    groups: set[Group | None] = set()
    for number, match in enumerate(candidates.matches):
        if match.id in request.exclude:
            continue
        attributes = candidates.attributes[number] if candidates.attributes else {}
        if condition.rest is not None and not condition.rest.matches(attributes, match.id):
            continue
        group = group_of(attributes, request.group_by)
        if group is None or group not in groups:
            groups.add(group)
            kept.append(match)
    return kept


def unit_vectors(found: pa.Table) -> Vectors:
    """Return the vectors (n, dim) of the records *found* as the store gives them; raises EngineDamaged.

    Those of float16 are scaled to unit length, as the store does it when it reads them; those of float32 are already.
    """
    column = found.column(base.VECTOR).combine_chunks()
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    if flat.size != len(found) * column.type.list_size:
        raise EngineDamaged("the engine has a record without a vector; run `visrec publish --rewrite`")
    vectors = flat.reshape(len(found), column.type.list_size)
    if vectors.dtype == np.float32:
        return vectors
    scaled, alive = normalize_rows(vectors)
    if not alive.all():
        raise EngineDamaged("the engine has a vector without a direction; run `visrec publish --rewrite`")
    return scaled
