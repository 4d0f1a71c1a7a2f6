"""Retrieval for many items at once: the nearest target vectors of each query vector.

A query vector belongs to an item that gets a list. A target vector belongs to an item that may stand in a list. Both
are exact vectors of a store; a vector that several items show appears once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import ItemArrays
from vision_recs.errors import StoreDamaged
from vision_recs.indexes.base import PositionIndex, Scored
from vision_recs.knn_join import Groups, KnnJoin
from vision_recs.knn_join.operands import places_in
from vision_recs.recommend.by_position import RowSource
from vision_recs.types import FilteredSource, Match, SearchRequest, VectorIndex, VectorReader, Vectors
from vision_recs.vectors import normalize_or_raise

if TYPE_CHECKING:  # most jobs have no filter
    from vision_recs.filters import Filter

_BATCH = 1_024
"""Query vectors that an index searches for at a time."""

_MANY_GROUPS = 4
"""The exact join tells groups apart where there are this many times as many groups as are needed."""

_NO_OWNER = -2
"""Stands for the item of a vector that several items show; no query vector has this number."""

_Find: TypeAlias = Callable[[Vectors, int], tuple[list[Scored], list[float]]]
"""(vectors, k) -> for each vector the nearest *k* images or more, and a score that all others are below."""


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """The vectors of the items that get a list, each once, at *positions* of the store.

    `item[i]` is the number of the item that shows vector i, or -1 where several items show it.
    """

    positions: NDArray[np.int64]
    item: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: ItemArrays, items: NDArray[np.int64]) -> QueryVectors:
        """Return the vectors of *items*."""
        positions, places, starts = query_positions(arrays, items)
        owners = np.repeat(items, np.diff(starts))
        lowest = np.full(len(positions), len(arrays.ids))
        highest = np.full(len(positions), -1)
        np.minimum.at(lowest, places, owners)
        np.maximum.at(highest, places, owners)
        return cls(positions, np.where(lowest == highest, lowest, -1))


def query_positions(
    arrays: ItemArrays, items: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the vectors of *items*, and which vectors belong to which item.

    The positions (n,) are distinct, in the order in which the items need them. The second array has, for each row of
    the items, the number of its vector in these positions; the rows of item i are starts[i] to starts[i + 1] of that
    array, where *starts* is the third array.
    """
    shown = arrays.positions[arrays.rows_of(items)]
    _, firsts, which = np.unique(shown, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    lengths = arrays.starts[items + 1] - arrays.starts[items]
    return shown[firsts[order]], place[which], np.concatenate([[0], np.cumsum(lengths)])


@dataclass(frozen=True, slots=True)
class TargetVectors:
    """The vectors of the items that may stand in a list, each once, numbered in the order of their first rows.

    Vector a is at `positions[a]` of the store, and the rows `rows[starts[a]:starts[a + 1]]` show it, ascending. Rows
    that can never be chosen are left out; `is_alone[a]` says that only one row shows vector a, with those that are left
    out. `item[a]` and `group[a]` are the item and the group of the first row. `has_group[g]` says that a row is of an
    item of group g.
    """

    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    is_alone: NDArray[np.bool_]
    item: NDArray[np.int64]
    group: NDArray[np.int64]
    has_group: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        arrays: ItemArrays,
        is_target: NDArray[np.bool_],
        groups: NDArray[np.int64],
        *,
        count: int,
        in_stock: NDArray[np.bool_] | None = None,
    ) -> TargetVectors:
        """Return the vectors of the items for which *is_target* holds; a list has at most *count* items.

        `groups[i]` is the group of item i. With *in_stock*, a list shows an image once: see `CandidateGenerator`.
        """
        rows = np.flatnonzero(is_target[arrays.item_of])
        _, firsts, which = np.unique(arrays.positions[rows], return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        number_of = np.empty_like(order)
        number_of[order] = np.arange(len(order))
        numbers = number_of[which]
        rows = rows[np.argsort(numbers, kind="stable")]
        counts = np.bincount(numbers, minlength=len(order))
        starts = np.concatenate([[0], np.cumsum(counts)])
        kept = np.ones(len(rows), dtype=np.bool_)
        for number in np.flatnonzero(counts > count).tolist():
            here = slice(starts[number], starts[number + 1])
            items = arrays.item_of[rows[here]]
            kept[here] = _choosable(groups[items], count, None if in_stock is None else in_stock[items])
        first = rows[starts[:-1]]
        item = arrays.item_of[first]
        starts = np.concatenate([[0], np.cumsum(kept)])[starts]
        has_group = np.zeros(len(groups), dtype=np.bool_)
        has_group[groups[arrays.item_of[rows]]] = True
        return cls(arrays.positions[first], starts, rows[kept], counts == 1, item, groups[item], has_group)

    @property
    def group_count(self) -> int:
        """How many groups the rows have."""
        return int(np.count_nonzero(self.has_group))

    @property
    def vectors_per_group(self) -> float:
        """The mean number of vectors of a group."""
        return len(self.positions) / self.group_count if self.group_count else 1.0

    def join_groups(self, queries: QueryVectors) -> Groups:
        """Return the groups for the exact join: of each group, only the nearest vector can stand in a list.

        A vector that several rows show is a group of its own.
        """
        apart = np.where(self.is_alone, self.group, self.group.max(initial=-1) + 1 + np.arange(len(self.group)))
        _, group = np.unique(apart, return_inverse=True)
        return Groups(group, np.where(self.is_alone, self.item, _NO_OWNER), queries.item)


class Hits(NamedTuple):
    """The nearest target vectors of some query vectors.

    Query vector i has the target vectors `numbers[starts[i]:starts[i + 1]]` with *scores*. A target vector that is not
    among them has a score below `bounds[i]`, or the score `bounds[i]` and a higher number than every hit with that
    score. A bound of -inf says that no target vector is missing.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]
    bounds: NDArray[np.float32]


class Retriever(Protocol):
    """Finds target vectors."""

    def nearest(self, positions: NDArray[np.int64], k: int) -> Iterator[Hits]:
        """Yield the nearest target vectors of the query vectors at *positions*, some query vectors at a time.

        The hits of a query vector come from about *k* groups. They may lack a target vector of a group that has a
        nearer one, and target vectors of the query item itself.
        """
        ...

    def rows_at(self, positions: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
        """Return a matrix, and the rows of it that are the target vectors at *positions*."""
        ...


class ExactRetriever:
    """Compares every query vector with every target vector, in memory."""

    def __init__(
        self, source: VectorReader, queries: QueryVectors, targets: TargetVectors, *, device: str = "auto"
    ) -> None:
        """Read the vectors of *source*. A search is fastest where it is for all *queries* at once."""
        self._queries = queries.positions
        groups = targets.join_groups(queries)
        self._pairs = KnnJoin(source, queries.positions, targets.positions, groups=groups, device=device)
        self._target_count, self._group_count = len(targets.positions), groups.count
        self._vectors_per_group = targets.vectors_per_group

    def nearest(self, positions: NDArray[np.int64], k: int) -> Iterator[Hits]:
        """Yield the nearest vector of each of the *k* nearest groups; or the nearest vectors, where groups are few."""
        by_group = _MANY_GROUPS * (k + 1) <= self._group_count < self._target_count
        count = k if by_group else ceil(k * self._vectors_per_group)
        is_all = np.array_equal(positions, self._queries)
        find = self._pairs.nearest if is_all else partial(self._pairs.nearest_to, positions)
        for _, numbers, scores in find(count, by_group=by_group):
            starts = np.arange(len(numbers) + 1) * numbers.shape[1]
            last = np.float32(-np.inf) if count >= self._target_count else scores[:, -1]
            yield Hits(starts, numbers.ravel(), scores.ravel(), np.broadcast_to(last, len(numbers)).astype(np.float32))

    def rows_at(self, positions: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
        """Return all target vectors, which are in memory, and the rows of those at *positions*."""
        return self._pairs.rows_at(positions)


class IndexRetriever:
    """Searches an index of the store."""

    def __init__(
        self,
        source: VectorReader,
        index: VectorIndex,
        arrays: ItemArrays,
        targets: TargetVectors,
        *,
        where: Filter | None = None,
    ) -> None:
        """Search *index* of *source* for *targets*, which show rows of *arrays*; all targets match *where*."""
        self._where = where
        self._vectors_per_group = targets.vectors_per_group
        self._source = source
        self._index = index
        self._arrays = arrays
        self._number_of = places_in(targets.positions)
        self._row_of = places_in(arrays.positions)

    def nearest(self, positions: NDArray[np.int64], k: int) -> Iterator[Hits]:
        """Yield the target vectors among as many images of the index as *k* groups usually have."""
        k = ceil(k * self._vectors_per_group)
        find = self._find
        for start in range(0, len(positions), _BATCH):
            found, bounds = find(self._source.vectors(positions[start : start + _BATCH]), k)
            yield self._hits(found, bounds)

    def rows_at(self, positions: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64]]:
        """Return the vectors at *positions*, each once, read from the source, and the rows of these."""
        each, rows = np.unique(positions, return_inverse=True)
        return self._source.vectors(each), rows

    @property
    def _find(self) -> _Find:
        """How the index is searched: by positions where it and the source know these, else by matches."""
        index, source = self._index, self._source
        if not isinstance(index, PositionIndex) or not isinstance(source, RowSource):
            return self._find_matches
        return partial(_find_positions, index, None if self._where is None else source.filtered(self._where))

    def _find_matches(self, vectors: Vectors, k: int) -> tuple[list[Scored], list[float]]:
        answers = self._index.search(SearchRequest(vectors, k, self._where))
        # Any vector with the last score may be missing, whatever its number: so the bound is just above that score.
        bounds = [_next_above(matches[-1].score) if len(matches) == k else -np.inf for matches in answers]
        return [self._scored(matches) for matches in answers], bounds

    def _scored(self, matches: Sequence[Match]) -> Scored:
        """Return the positions that *matches* show, each once."""
        rows = np.array([self._arrays.row(match) for match in matches], dtype=np.int64)
        positions, firsts = np.unique(self._arrays.positions[rows], return_index=True)
        return Scored(positions, np.array([match.score for match in matches], dtype=np.float32)[firsts])

    def _hits(self, found: Sequence[Scored], bounds: Sequence[float]) -> Hits:
        """Return the target vectors among *found*; all others have scores below *bounds*. Raises StoreDamaged."""
        positions = np.concatenate([scored.positions for scored in found])
        scores = np.concatenate([scored.scores for scored in found])
        numbers = self._number_of(positions)
        is_target = numbers >= 0
        if (self._row_of(positions[~is_target]) < 0).any():
            raise StoreDamaged("the index names a vector that no item shows; rebuild it with `visrec index`")
        ends = np.cumsum([0, *(len(scored.positions) for scored in found)])
        starts = np.concatenate([[0], np.cumsum(is_target)])[ends]
        return Hits(starts, numbers[is_target], scores[is_target], np.array(bounds, dtype=np.float32))


def _find_positions(
    index: PositionIndex, within: FilteredSource | None, vectors: Vectors, k: int
) -> tuple[list[Scored], list[float]]:
    """Return the nearest positions *within* what a filter leaves, and scores that all others are below."""
    found = index.nearest(normalize_or_raise(vectors), k, within)
    return found, [float(scored.scores.min()) if len(scored.scores) >= k else -np.inf for scored in found]


def _choosable(groups: NDArray[np.int64], count: int, in_stock: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return which rows of one image can matter to a list of *count* items; *groups* are those of all its rows.

    A list has one item of a group, and none of the group of the query item. So the first row of each of count + 1
    groups is enough. With *in_stock*, the rows in stock come first. The place of the image is then that of the first
    row that is not of the group of the query item, which is one of two.
    """
    order = np.arange(len(groups)) if in_stock is None else np.argsort(~in_stock, kind="stable")
    _, firsts = np.unique(groups[order], return_index=True)
    kept = np.zeros(len(groups), dtype=np.bool_)
    kept[order[np.sort(firsts)[: count + 1]]] = True
    if in_stock is not None:
        kept[0] = True
        kept[np.argmax(groups != groups[0])] = True
    return kept


def _next_above(score: float) -> float:
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))
