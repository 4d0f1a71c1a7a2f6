"""Parquet files become rows; columns of images are not read, but named by the row that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vision_recs.catalog.cell_types import bare
from vision_recs.catalog.columns import ID_NAMES
from vision_recs.catalog.findings import Findings
from vision_recs.catalog.places import LARGE, MOST_TIMES, Place, bomb, open_parquet, size_of, version_of
from vision_recs.catalog.readers import Batch, Rows, require_few
from vision_recs.errors import CatalogError, first_line, machine_remedy

_BATCH = 4096
_BYTES_OF_BATCH = 1 << 27
_BYTES_OF_VALUE = 64  # of a value of a list, as an object of Python with its place in the list


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a file: which of them hold images as bytes, and the paths of those that are read."""

    names: list[str]
    images: frozenset[str]
    leaves: list[str] | None
    ids: bool  # no column holds ids, so that the images name their rows
    texts: list[str]  # paths of text and bytes, also within lists: a text that many rows have is read once
    batch: int  # rows that are read together


def parquet_rows(place: str | Place, findings: Findings) -> Rows:
    """Return the rows of the Parquet file at *place*: see `readers.parquet_rows`."""
    path, place = str(place), Path(place) if isinstance(place, str) else place
    layout = _layout(place)
    columns = list(layout.names)
    known: set[str] = set()
    for position, name in enumerate(columns):
        if name in known:
            findings.note(f"two columns have the name {name!r}; the first one is used")
            columns[position] = ""
        known.add(name)
    if layout.ids:
        columns.append("id")
    drops = layout.images
    return Rows(path, columns, _rows(place, layout, findings), unit="row", drops=drops)


def _layout(place: Place) -> _Layout:
    import pyarrow as pa

    path = str(place)
    try:
        with open_parquet(place, version_of(place)) as file:
            metadata = file.metadata
            names = list(file.schema_arrow.names)
        require_few(names, path)
        texts = text_leaves(metadata)
        with open_parquet(place, version_of(place), metadata=metadata, read_dictionary=texts) as file:
            images = frozenset(name for name in names if _holds_images(file, name, names))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    kept = [leaf for leaf in leaves if leaf.partition(".")[0] not in images or leaf.endswith(".path")]
    batch = _rows_of_batch(place, metadata, frozenset(kept))
    if not images:
        return _Layout(names, images, None, ids=False, texts=texts, batch=batch)
    has_ids = {bare(name) for name in names} & set(map(bare, ID_NAMES))
    return _Layout(names, images, kept, ids=not has_ids, texts=texts, batch=batch)


def text_leaves(metadata: Any) -> list[str]:  # noqa: ANN401 - pyarrow ships no types
    """Return the paths of text and bytes in a Parquet file; read as dictionaries, an equal value takes memory once."""
    columns = map(metadata.schema.column, range(metadata.num_columns))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def batches(file: Any, groups: Iterable[int], rows: int, columns: list[str] | None) -> Iterator[Any]:  # noqa: ANN401
    """Yield batches of *columns*, of at most so many *rows*, from the row groups of *file*.

    Each group has dictionaries of its own, and pyarrow cannot join those of texts in lists.
    """
    for group in groups:
        yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=columns)


def _rows_of_batch(place: Place, metadata: Any, leaves: frozenset[str]) -> int:  # noqa: ANN401
    """Return how many rows of the columns *leaves* to read at once; raises CatalogError for a bomb.

    A row may hold any number of values in lists, which take next to nothing in the file if they are equal.
    """
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    repeated = [number for number, each in enumerate(columns) if each.max_repetition_level and each.path in leaves]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    in_lists = [_BYTES_OF_VALUE * sum(group.column(number).num_values for number in repeated) for group in groups]
    unpacked = sum(group.total_byte_size for group in groups)
    if max([unpacked, *in_lists]) > max(LARGE, MOST_TIMES * size_of(place)):
        raise bomb(str(place), "split it into several files")
    of_row = max((size / max(1, group.num_rows) for size, group in zip(in_lists, groups, strict=True)), default=0)
    return max(1, min(_BATCH, int(_BYTES_OF_BATCH / max(1, of_row))))


def _holds_images(file: Any, name: str, names: list[str]) -> bool:  # noqa: ANN401 - pyarrow ships no types
    """Return whether the column *name* has images: {bytes, path} as Hugging Face has it, or bytes that are no text."""
    from pyarrow import types

    kind = file.schema_arrow.field(name).type if names.count(name) == 1 else None
    if kind is None:
        return False
    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
        return types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}
    if types.is_struct(kind):
        return "bytes" in {field.name for field in kind}
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_binary(kind) or types.is_large_binary(kind)) or not file.metadata.num_rows:
        return False
    first = next(file.iter_batches(batch_size=64, columns=[name])).column(0).drop_null()
    return bool(len(first)) and _is_no_text(first[0].as_py())


def _is_no_text(value: bytes) -> bool:
    try:
        return b"\0" in value or not value.decode()
    except UnicodeDecodeError:
        return True


def _rows(place: Place, layout: _Layout, findings: Findings) -> Iterator[Batch]:
    import pyarrow as pa

    path, number = str(place), 0
    values = partial(_values, findings=findings)
    try:
        with open_parquet(place, version_of(place), read_dictionary=layout.texts) as file:
            for batch in batches(file, range(file.num_row_groups), layout.batch, layout.leaves):
                _require_memory(path, batch, number)
                if layout.leaves is None:
                    columns = list(map(values, batch.columns, batch.schema.names))
                else:
                    columns = _with_images(path, layout, batch, number, values)
                yield Batch(range(number + 1, number + batch.num_rows + 1), columns)
                number += batch.num_rows
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _require_memory(path: str, batch: Any, first: int) -> None:  # noqa: ANN401 - pyarrow ships no types
    """Raise CatalogError where a text that many of the rows have makes the *batch* far larger than it is packed."""
    import pyarrow as pa
    from pyarrow import compute

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        sizes = (
            compute.sum(compute.binary_length(texts.dictionary).cast(pa.int64()).take(texts.indices)).as_py()
            for texts in _texts(column)
        )
        if sum(size or 0 for size in sizes) > LARGE:
            why = f"{batch.num_rows:,} rows hold over {LARGE:,} bytes of text; shorten it"
            raise CatalogError(why, path=path, line=first + 1, column=name)


def _texts(column: Any) -> Iterator[Any]:  # noqa: ANN401 - pyarrow ships no types
    """Yield the texts and bytes in *column*, at any depth."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        value = kind.value_type
        if types.is_string(value) or types.is_binary(value) or types.is_large_string(value):
            yield column
    elif types.is_map(kind):
        yield from _texts(column.keys)
        yield from _texts(column.items)
    elif types.is_struct(kind):
        for field in column.flatten():
            yield from _texts(field)
    elif types.is_nested(kind):  # lists of every kind
        yield from _texts(column.flatten())


def _with_images(path: str, layout: _Layout, batch: Any, first: int, values: Any) -> list[list[Any]]:  # noqa: ANN401
    read = {name: values(column, name) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    numbers = range(first + 1, first + batch.num_rows + 1)
    file = Path(path).name
    table: list[list[Any]] = []
    paths: list[object] = [None] * len(numbers)
    for name in layout.names:
        column = read.get(name, [None] * len(numbers))
        if name in layout.images:
            table.append([_members(f"{file}#{name}/{row}", cell) for row, cell in zip(numbers, column, strict=True)])
            paths = [cell.get("path") if isinstance(cell, dict) else None for cell in column]
        else:
            table.append(column)
    if layout.ids:
        stem = Path(file.removesuffix(".gz")).stem
        table.append(
            [
                str(Path(str(name)).with_suffix("")) if name else f"{stem}/{row}"
                for name, row in zip(paths, numbers, strict=True)
            ]
        )
    return table


def _members(reference: str, cell: object) -> list[str]:
    if isinstance(cell, list):
        return [f"{reference}/{place}" for place in range(len(cell))]
    return [reference]


def _values(column: Any, name: str, *, findings: Findings) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    """Return the cells of *column*; they are None where its type, or a value, is none of Python's."""
    import pyarrow as pa

    kind = column.type
    try:
        # Python's own times end at microseconds, and zones other than UTC need data that may not be installed.
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", tz="UTC" if kind.tz else None), safe=False)
        elif getattr(kind, "unit", None) == "ns":
            column = column.cast(pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us"), safe=False)
        values = _objects(column)
    except (ValueError, OverflowError, pa.ArrowException, NotImplementedError) as error:
        findings.note(f"the column {name!r} is left out: its type {kind} cannot be read ({first_line(error)})")
        return [None] * len(column)
    return values


def _objects(column: Any) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    """Return what `column.to_pylist()` does, without an object of pyarrow for each cell of the usual types."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        texts = [*column.dictionary.to_pylist(), None]
        return [texts[number] for number in column.indices.fill_null(len(texts) - 1).to_numpy().tolist()]
    if not column.null_count and (types.is_integer(kind) or types.is_float64(kind) or types.is_boolean(kind)):
        cells: list[object] = column.to_numpy(zero_copy_only=False).tolist()
        return cells
    objects: list[object] = column.to_pylist()
    return objects


def _unreadable(path: str, error: Exception) -> CatalogError:
    remedy = machine_remedy(error) or "write the table again"
    return CatalogError(f"cannot be read as Parquet ({first_line(error)}); {remedy}", path=path)
