"""What a record is in Milvus: a row of which no field is null.

row        the primary key: the key of the record and the serial in which it was born
born died  the serials from which, and until which, it is one of the records
NAME__KIND the attribute columns, as many as a collection may have fields; others are left out, and their tests to us
"""

from __future__ import annotations

import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.base import Column, Schema
from vision_recs.engines.milvus.dialect import LONGEST_TEXT, NO_NUMBER, NO_SET, NO_TEXT, STAND_INS, kind_of
from vision_recs.errors import PublishRefused

if TYPE_CHECKING:
    import pyarrow as pa

ROW, BORN, DIED = "row", "born", "died"
NEVER = 2**62
"""The serial in which a record has died that is still there."""

MOST_BYTES_OF_FIELD = 65_535
TEXTS = {
    base.KEY: 64,
    base.HASH: 64,
    base.ITEM: MOST_BYTES_OF_FIELD,
    base.IMAGE: MOST_BYTES_OF_FIELD,
    base.DIGEST: 128,
}
JSONS = {base.ATTRIBUTES: MOST_BYTES_OF_FIELD, base.IMAGE_ATTRIBUTES: MOST_BYTES_OF_FIELD}
"""The fields with text, and how many bytes they hold."""

MOST_ELEMENTS = 4_096
_MOST_FIELDS = 64  # of a collection; 12 are those that every record has
_PACKED = frozenset({base.IMAGE, *JSONS})
_FIRST_KINDS = ("text", "number", "boolean", "set", "integer", "other")


def typed(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return those of *columns* that become fields: all, or the most useful ones where there are too many."""
    free = _MOST_FIELDS - len(TEXTS) - len(JSONS) - len((ROW, BORN, DIED, base.ORDINAL, base.VECTOR))
    ordered = sorted(columns, key=lambda column: (_FIRST_KINDS.index(column.kind), column.name))
    return tuple(sorted(ordered[:free], key=lambda column: column.name))


def rows_of(records: pa.Table, columns: Sequence[Column], serial: int, vectors: np.dtype[Any]) -> list[dict[str, Any]]:
    """Return *records* as rows born in *serial*, with vectors of the type *vectors*; raises PublishRefused.

    Milvus bounds what a field holds. A long JSON text is compressed; what is longer even so cannot be published.
    """
    held: dict[str, list[Any]] = {name: records.column(name).to_pylist() for name in [*TEXTS, *JSONS, base.ORDINAL]}
    items = held[base.ITEM]
    for name, most in (TEXTS | JSONS).items():
        held[name] = [_text(name, text, most, item) for text, item in zip(held[name], items, strict=True)]
    for column in columns:
        known = column.name in records.column_names
        values = records.column(column.name).to_pylist() if known else [None] * len(items)
        held[column.name] = [_cell(column.kind, value, item) for value, item in zip(values, items, strict=True)]
    held[ROW] = [f"{key}{serial:08x}" for key in held[base.KEY]]
    flat = records.column(base.VECTOR).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    held[base.VECTOR] = list(flat.astype(vectors).reshape(len(items), -1))
    fixed = {BORN: serial, DIED: NEVER}
    return [dict(zip(held, values, strict=True)) | fixed for values in zip(*held.values(), strict=True)]


def table_of_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str], schema: Schema) -> pa.Table:
    """Return the columns *names* of *rows* as columns of *schema*, null where a row has a stand-in."""
    import pyarrow as pa

    arrow = schema.arrow()
    arrays = []
    for name in names:
        if name == base.VECTOR:
            vectors = [vector_of(row[name]) for row in rows] or [np.empty(0)]
            flat = np.concatenate(vectors).astype(schema.vector_type)
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), schema.dim))
            continue
        own = kind_of(name)
        arrays.append(pa.array([_value(name, own, row[name]) for row in rows], arrow.field(name).type))
    return pa.table(arrays, schema=pa.schema([arrow.field(name) for name in names]))


def vector_of(cell: Any) -> NDArray[Any]:  # noqa: ANN401 - numbers, or bytes, alone or in a list
    """Return the vector (dim,) in the field of a row as the client reads it, with the numbers that the server keeps."""
    found = cell[0] if isinstance(cell, list) and isinstance(cell[0], bytes) else cell
    return np.frombuffer(found, np.float16) if isinstance(found, bytes) else np.asarray(found, np.float32)


def _text(name: str, text: str, most: int, item: str) -> str:
    size = len(text.encode())
    if name in _PACKED and (size > most or text.startswith(NO_TEXT)):
        text = NO_TEXT + b85encode(zlib.compress(text.encode())).decode()
        size = len(text.encode())
    if size > most:
        raise _refused(item, f"its {name} takes {size:,} bytes, of {most:,} that a field has")
    return text


def _cell(kind: str, value: Any, item: str) -> Any:  # noqa: ANN401 - what a column of that kind has
    match kind, value:
        case _, None:
            return STAND_INS[kind]
        case "text", str() if value == NO_TEXT:
            raise _refused(item, f"the text {value!r} stands for none there")
        case "number", float() if value == NO_NUMBER:
            raise _refused(item, f"the number {value!r} stands for none there")
        case "set", list() if len(value) > MOST_ELEMENTS:
            raise _refused(item, f"a set has {len(value):,} elements, of {MOST_ELEMENTS:,} that a field has")
        case "text", str():
            return value[:LONGEST_TEXT]
        case "set", list():
            return [element[:LONGEST_TEXT] for element in value]
        case (("boolean" | "other"), _):
            return int(value)
        case _:
            return value


def _value(name: str, kind: str | None, cell: Any) -> Any:  # noqa: ANN401 - what a column of that kind has
    if kind is None:
        is_packed = name in _PACKED and cell.startswith(NO_TEXT)
        return zlib.decompress(b85decode(cell[len(NO_TEXT) :])).decode() if is_packed else cell
    if kind == "set":
        return None if NO_SET in cell else list(cell)
    if cell == STAND_INS[kind]:
        return None
    return bool(cell) if kind in {"boolean", "other"} else cell


def _refused(item: str, reason: str) -> PublishRefused:
    return PublishRefused(f"Milvus cannot hold the item {item[:80]!r}: {reason}; change it, and index again")
