"""Writing the attribute columns of a generation from its items; the format is described in `format`."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.attributes.build import ColumnBuilder, narrow
from vision_recs.store.attributes.format import ALIGNMENT, FORMAT, MAGIC, AttributeColumns, Extent
from vision_recs.store.layers import blob

_GROUP = 1 << 17  # items: their distinct texts are in memory together
_BATCH = 1 << 12  # items whose JSON is parsed at once

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write_attribute_columns(
    items: Path,
    target: Path,
    *,
    items_digest: str,
    below: Sequence[tuple[Path, str]] = (),
    shows: bool = False,
) -> None:
    """Write the attribute columns of the items file *items*, whose SHA-256 is *items_digest*, to the file *target*.

    *below* are the attribute columns of the items files that *items*, a delta, lies over, with the SHA-256 of these
    items files. With *shows*, what answers show of each item is written, too. The memory is bounded. The file is not
    flushed to the disk. Raises sqlite3.Error, ValueError or TypeError where *items* is damaged, and StoreDamaged or
    FileNotFoundError where the columns *below* are.
    """
    types: dict[str, int] = {}
    uri = f"{items.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection, target.open("wb") as file:
        output = _Output(file)
        groups = list(_groups(connection, output, types, _shown(connection) if shows else None))
        replaced = list(_replaced(connection, output, below))
        content = {"items_digest": items_digest, "types": types, "replaced": replaced, "groups": groups}
        output.finish({"format": FORMAT, **content})


def _replaced(
    connection: sqlite3.Connection, output: _Output, below: Sequence[tuple[Path, str]]
) -> Iterator[tuple[str, Extent]]:
    """Write which items of the files *below* the delta replaces, and yield the footer's entry of each."""
    changed = list(_values(connection, "SELECT item_id FROM changed ORDER BY item_id")) if below else []
    for path, digest in below:
        numbers = AttributeColumns(path, items_digest=digest).item_numbers(changed)
        yield digest, output.write_all({"items": narrow(numbers)})["items"]


def _groups(
    connection: sqlite3.Connection, output: _Output, types: dict[str, int], shown: Iterator[bytes] | None
) -> Iterator[dict[str, Any]]:
    """Write the items, and yield the footer's entry of each group of items; add the types of the values to *types*.

    *shown* yields what is shown of each item, by id.
    """
    ids = _values(connection, "SELECT item_id FROM items ORDER BY item_id")
    texts = _values(connection, "SELECT attributes FROM items ORDER BY item_id")
    counts = _values(connection, "SELECT count(*) FROM images GROUP BY item_id ORDER BY item_id")
    positions = _values(connection, "SELECT position FROM images ORDER BY item_id, ordinal")
    while group := list(islice(counts, _GROUP)):
        names = [item.encode() for item in islice(ids, len(group))]
        arrays = {
            "ids": np.frombuffer(b"".join(names), np.uint8),
            "id_ends": narrow(np.cumsum([len(name) for name in names])),
            "positions": narrow(np.fromiter(islice(positions, sum(group)), np.int64)),
        }
        if len(arrays["positions"]) > len(group):
            arrays["image_counts"] = narrow(np.array(group))
        columns = _columns(islice(texts, len(group)))
        attributes: dict[str, dict[str, Extent]] = {}
        for name, column in columns.items():
            types[name] = types.get(name, 0) | column.held.value
            if of_attribute := column.arrays(len(group)):
                attributes[name] = output.write_all(of_attribute)
        extents = output.write_all(arrays)
        if shown is not None:
            extents |= output.write_texts("shown", "shown_ends", islice(shown, len(group)))
        yield {"items": len(group), "arrays": extents, "attributes": attributes}


def _shown(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Yield what answers show of each item, by id: see `format`."""
    attributes = _values(connection, "SELECT attributes FROM items ORDER BY item_id")
    images = connection.execute(
        "SELECT item_id, image, digest, attributes, position FROM images LEFT JOIN vectors USING (position)"
        " ORDER BY item_id, ordinal"
    )
    for text, (_, own) in zip(attributes, groupby(images, itemgetter(0)), strict=True):
        parts = [
            f'[{_encode(image)},"{blob(digest).hex()}",{more},{position}]' for _, image, digest, more, position in own
        ]
        yield f"[{text},[{','.join(parts)}]]".encode()


def _values(connection: sqlite3.Connection, query: str) -> Iterator[Any]:
    return chain.from_iterable(connection.execute(query))


def _columns(texts: Iterator[str]) -> Mapping[str, ColumnBuilder]:
    """Return the attributes of the items whose JSON is *texts*, by name."""
    columns: dict[str, ColumnBuilder] = {}
    first = 0
    while batch := list(islice(texts, _BATCH)):
        items: list[dict[str, Any]] = json.loads(f"[{','.join(batch)}]")
        of_names: dict[tuple[str, ...], list[int]] = {}  # most items have the same names, and make a rectangle
        for number, attributes in enumerate(items):
            of_names.setdefault(tuple(attributes), []).append(number)
        for names, numbers in of_names.items():
            rectangle = zip(*(items[number].values() for number in numbers), strict=True)
            for name, values in zip(names, rectangle, strict=True):
                columns.setdefault(name, ColumnBuilder()).add(np.array(numbers) + first, values)
        first += len(items)
    return columns


class _Output:
    """A file of attribute columns while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._length = 0

    def write_all(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Extent]:
        return {name: self._write_array(array) for name, array in arrays.items()}

    def write_texts(self, name: str, ends_name: str, texts: Iterable[bytes]) -> dict[str, Extent]:
        """Write *texts* one after the other, as they come, and where each ends."""
        self._write(bytes(-self._length % ALIGNMENT))
        first, ends = self._length, []
        for text in texts:
            self._write(text)
            ends.append(self._length - first)
        extent = ("|u1", first, self._length - first)
        return {name: extent, ends_name: self._write_array(narrow(np.array(ends, np.int64)))}

    def finish(self, footer: Mapping[str, Any]) -> None:
        text = json.dumps({**footer, "data_digest": self._digest.hexdigest()}, separators=(",", ":")).encode()
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
