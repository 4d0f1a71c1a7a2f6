"""Relevance judgments in a table: pairs of items that are similar, by clicks, co-purchases or given grades."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog.columns import id_text, same_name
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import extension_of
from vision_recs.catalog.readers import EXTENSIONS, Rows, open_rows
from vision_recs.errors import CatalogError

_QUERY = ("query", "query_id", "anchor", "item_a", "id_a", "source", "from")
_RELEVANT = ("relevant", "relevant_id", "positive", "item_b", "id_b", "target", "to", "match", "match_id")
_GRADE = ("grade", "weight", "relevance", "score", "count", "clicks", "purchases")


@dataclass(frozen=True, slots=True)
class Pair:
    """The item *relevant* is similar to the item *query*; a higher *grade* says that it is more similar."""

    query: str
    relevant: str
    grade: float


def read_pairs(path: str | Path) -> list[Pair]:
    """Return the pairs in the table *path* (CSV, TSV, JSON lines, Parquet), in its order.

    The columns are a query, a relevant item and, optionally, a grade or weight; without one, a grade is 1. The columns
    are found by their usual names, such as "query", "relevant" and "clicks"; without such names they are the first, the
    second and the third of two or three columns. Raises CatalogError.
    """
    location = str(path)
    if extension_of(location) not in EXTENSIONS:
        raise CatalogError(f"pairs come in a table; name a file that ends in {', '.join(EXTENSIONS)}", path=location)
    if not Path(location).is_file():
        raise CatalogError("the file does not exist; name the table of pairs", path=location)
    rows = open_rows(location, Findings(location))
    pairs = list(_pairs(rows))
    if not pairs:
        raise CatalogError("the table has no pairs below its header", path=location)
    return pairs


def _pairs(rows: Rows) -> Iterator[Pair]:
    known = 0
    query, relevant, grade = 0, 1, None
    for line, cells in rows.cells():
        if known != len(rows.columns):  # a table of JSON lines names its columns as it is read
            known = len(rows.columns)
            query, relevant, grade = _columns(rows)
        column = query
        try:
            first = id_text(cells[query])
            column = relevant
            second = id_text(cells[relevant])
            column = query if grade is None else grade
            yield Pair(first, second, _grade(None if grade is None or grade >= len(cells) else cells[grade]))
        except (ValueError, IndexError) as error:
            raise CatalogError(
                str(error) or "the cell is missing", path=rows.path, line=line, column=rows.columns[column]
            ) from error


def _columns(rows: Rows) -> tuple[int, int, int | None]:
    """Return the places of the columns of the query, of the relevant item, and of the grade."""
    query, relevant = _place(rows, _QUERY), _place(rows, _RELEVANT)
    if (query is None or relevant is None) and len(rows.columns) in (2, 3):
        return 0, 1, 2 if len(rows.columns) > 2 else None  # noqa: PLR2004 - a query, a relevant item, a grade
    if query is None or relevant is None:
        raise CatalogError(
            f"no columns of pairs among {', '.join(map(repr, rows.columns))}; call them query, relevant and grade",
            path=rows.path,
        )
    return query, relevant, _place(rows, _GRADE)


def _place(rows: Rows, names: tuple[str, ...]) -> int | None:
    return next((i for name in names for i, column in enumerate(rows.columns) if same_name(column, name)), None)


def _grade(cell: object) -> float:
    if cell is None or cell == "":
        return 1.0
    try:
        grade = float(str(cell))
    except ValueError:
        raise ValueError(f"{cell!r} is not a number; a grade or weight is one") from None
    if not math.isfinite(grade):
        raise ValueError(f"{cell!r} is not finite; a grade or weight is")
    return grade
