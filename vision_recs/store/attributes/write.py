"""Writing the columns of a generation from its items; the format is described in `columns`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.attributes.build import Column, narrow
from vision_recs.store.attributes.format import ALIGNMENT, FORMAT, MAGIC, Extent

_GROUP = 1 << 17  # items, of which the distinct texts are in memory together
_BATCH = 1 << 12  # items that are taken apart at once


def write_columns(items: Path, target: Path, *, items_digest: str) -> None:
    """Write the columns of the items file *items*, whose SHA-256 is *items_digest*, to *target*, in bounded memory.

    It is not flushed to the disk. Raises sqlite3.Error, ValueError or TypeError where *items* is no such file.
    """
    types: dict[str, int] = {}
    uri = f"{items.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection, target.open("wb") as file:
        output = _Output(file)
        groups = list(_groups(connection, output, types))
        output.finish({"format": FORMAT, "items": items_digest, "types": types, "groups": groups})


def _groups(connection: sqlite3.Connection, output: _Output, types: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Write the items, and yield what the footer says of each group of them; add to *types* what they hold."""
    texts = _values(connection, "SELECT attributes FROM items ORDER BY id")
    counts = _values(connection, "SELECT count(*) FROM rows GROUP BY id ORDER BY id")
    positions = _values(connection, "SELECT position FROM rows ORDER BY id, ordinal")
    while group := list(islice(counts, _GROUP)):
        rows = {"positions": narrow(np.fromiter(islice(positions, sum(group)), np.int64))}
        if len(rows["positions"]) > len(group):
            rows["counts"] = narrow(np.array(group))
        columns = _columns(islice(texts, len(group)))
        attributes: dict[str, dict[str, Extent]] = {}
        for name, column in columns.items():
            types[name] = types.get(name, 0) | column.held.value
            if arrays := column.arrays(len(group)):
                attributes[name] = output.write_all(arrays)
        yield {"items": len(group), "arrays": output.write_all(rows), "attributes": attributes}


def _values(connection: sqlite3.Connection, query: str) -> Iterator[Any]:
    return chain.from_iterable(connection.execute(query))


def _columns(texts: Iterator[str]) -> Mapping[str, Column]:
    """Return the attributes of the items whose JSON is *texts*, by name."""
    columns: dict[str, Column] = {}
    first = 0
    while batch := list(islice(texts, _BATCH)):
        items: list[dict[str, Any]] = json.loads(f"[{','.join(batch)}]")
        of_names: dict[tuple[str, ...], list[int]] = {}  # most items have the same names, and so make a rectangle
        for number, attributes in enumerate(items):
            of_names.setdefault(tuple(attributes), []).append(number)
        for names, numbers in of_names.items():
            rectangle = zip(*(items[number].values() for number in numbers), strict=True)
            for name, values in zip(names, rectangle, strict=True):
                columns.setdefault(name, Column()).add(np.array(numbers) + first, values)
        first += len(items)
    return columns


class _Output:
    """A file of columns as it grows."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._length = 0

    def write_all(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Extent]:
        return {name: self._write_array(array) for name, array in arrays.items()}

    def finish(self, footer: Mapping[str, Any]) -> None:
        text = json.dumps({**footer, "data": self._digest.hexdigest()}, separators=(",", ":")).encode()
        self._write(text + len(text).to_bytes(8, "little") + hashlib.sha256(text).digest() + MAGIC)

    def _write_array(self, array: NDArray[Any]) -> Extent:
        self._write(bytes(-self._length % ALIGNMENT))
        ordered = array.astype(array.dtype.newbyteorder("<"), copy=False)
        extent = (ordered.dtype.str, self._length, len(ordered))
        self._write(ordered.data)
        return extent

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._length += memoryview(data).nbytes
