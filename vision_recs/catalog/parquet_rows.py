"""Rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vision_recs.catalog.rows import Rows
from vision_recs.errors import CatalogError

_BATCH = 4096


def parquet_rows(path: str) -> Rows:
    """Return the rows of a Parquet file, read batch by batch and numbered from 1.

    Nanoseconds are cut to microseconds, times with a zone are given in UTC. Raises CatalogError, here or while
    iterating, where it is not a Parquet file, is damaged or holds a time beyond the year 9999, and where two columns
    have one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise CatalogError("two columns have this name; rename one", path=path, column=twice)
    return Rows(path, columns, _body(path), unit="row")


def _body(path: str) -> Iterator[tuple[int, list[object]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for cells in zip(*map(_values, batch.columns), strict=True):
                    number += 1
                    yield number, list(cells)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _values(column: Any) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    import pyarrow as pa

    kind = column.type
    # Python's own times end at microseconds, and zones other than UTC need data that may not be installed.
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None), safe=False)
    elif getattr(kind, "unit", None) == "ns":
        column = column.cast(pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us"), safe=False)
    values: list[object] = column.to_pylist()
    return values


def _unreadable(path: str, error: Exception) -> CatalogError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return CatalogError(f"cannot be read as Parquet ({reason}); write the table again", path=path)
