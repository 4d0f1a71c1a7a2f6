"""What is another list than it was before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from vision_recs.batch.neighbors.formats import Row, lists_of, table_of_rows

if TYPE_CHECKING:
    import pyarrow as pa

_ITEMS = 4_096  # of a table that is yielded

_Listed: TypeAlias = tuple[str, list[tuple[str, float]]]


def changed(before: Iterable[pa.Table], now: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the lists *now* of the items whose ids or scores *before* were others, by item.

    An item that is gone has an empty list, as one whose last similar item is gone; both tables come by item.
    """
    lists = _different(lists_of(before), lists_of(now))
    while some := list(islice(lists, _ITEMS)):
        yield table_of_rows([row for item, found in some for row in _rows(item, found)])


def _different(before: Iterator[_Listed], now: Iterator[_Listed]) -> Iterator[_Listed]:
    old, new = next(before, None), next(now, None)
    while old or new:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None
            if old[1]:
                yield old[0], []
            old = next(before, None)
        elif old is None or new[0] < old[0]:
            yield new
            new = next(now, None)
        else:
            if old != new:
                yield new
            old, new = next(before, None), next(now, None)


def _rows(item: str, found: list[tuple[str, float]]) -> Iterator[Row]:
    if not found:
        yield item, None, None, None
    for rank, (similar, score) in enumerate(found, 1):
        yield item, rank, similar, score
