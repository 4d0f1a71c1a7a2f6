"""Images inside of other files: `shard.tar#000017.jpg`, `shard.parquet#image/17`, whose row is counted from 1."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, Protocol

from vision_recs.catalog.parquet import batches, text_leaves
from vision_recs.catalog.places import Place, extension_of, open_parquet, parts_of
from vision_recs.catalog.tar_index import tar_members
from vision_recs.errors import ImageError, first_line

MAX_IMAGE_BYTES: Final = 2**29
"""The largest file that is read: an uncompressed RGB image of 179 megapixels, more than are decoded."""

_OPEN_AT_MOST = 8  # files
_BATCH, _BATCHES_KEPT = 32, 4  # rows of a Parquet file: those that threads ask for a little out of order
_KINDS = {".tar", ".parquet"}


def container_of(reference: str) -> tuple[str, str] | None:
    """Return the file and the member that *reference* names, or None where it names a file of its own."""
    name, sign, member = reference.partition("#")
    return (name, member) if sign and member and extension_of(name) in _KINDS else None


class Members:
    """Reads members of the files that were read last, which stay open; safe to use from several threads."""

    def __init__(self) -> None:
        """Start without an open file."""
        self._open: OrderedDict[tuple[Place, str], _Container] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: Place, version: str, member: str) -> bytes:
        """Return the bytes of *member* in the file at *place*, of that *version*; raises ImageError, OSError."""
        with self._lock:
            container = self._open.pop((place, version), None)
            if container is None:
                container = (_Tar if extension_of(place.name) == ".tar" else _Parquet)(place, version)
            self._open[place, version] = container
            while len(self._open) > _OPEN_AT_MOST:
                self._open.popitem(last=False)  # it is closed when its last reader is done
        try:
            return container.read(member)
        except (KeyError, IndexError, TypeError) as error:
            raise ImageError("missing", f"{str(place)!r} has no image {member!r}; write the catalog anew") from error


class _Container(Protocol):
    def read(self, member: str) -> bytes: ...


class _Tar:
    def __init__(self, place: Place, version: str) -> None:
        self._places = {member.name: (member.offset, member.size) for member in tar_members(place, version)}
        self._parts = parts_of(place, version)

    def read(self, member: str) -> bytes:
        offset, size = self._places[member]
        if size > MAX_IMAGE_BYTES:
            raise ImageError("too-large", f"{member!r} has {size:,} bytes, over the limit of {MAX_IMAGE_BYTES:,}")
        return self._parts.part(offset, size) if size else b""


class _Parquet:
    """Reads rows mostly in ascending order: a batch is decoded once, whatever the size of a row group."""

    def __init__(self, place: Place, version: str) -> None:
        import pyarrow as pa

        self._lock = threading.Lock()
        try:
            with open_parquet(place, version) as file:
                metadata = file.metadata
            options = {"metadata": metadata, "read_dictionary": text_leaves(metadata), "memory_map": True}
            self._file: Any = open_parquet(place, version, **options)
        except pa.ArrowException as error:
            raise OSError(0, f"not Parquet, or damaged: {first_line(error)}") from error
        self._starts = [0, *accumulate(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))]
        self._column = ""
        self._next = 0
        self._batches: Iterator[Any] = iter(())
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def read(self, member: str) -> bytes:
        column, *places = member.rsplit("/", member.count("/"))
        while places and not all(place.isdigit() for place in places):  # the name of a column may hold a slash
            column, places = f"{column}/{places[0]}", places[1:]
        with self._lock:
            value = self._value(column, int(places[0]) - 1)
        for place in places[1:]:
            value = value[int(place)]
        found: object = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(found, bytes):
            raise KeyError(member)
        return found

    def _value(self, column: str, row: int) -> Any:  # noqa: ANN401
        if column != self._column:
            self._kept.clear()
        start = next((start for start in self._kept if start <= row < start + len(self._kept[start])), None)
        group = bisect_right(self._starts, row) - 1
        if not 0 <= group < len(self._starts) - 1:
            raise IndexError(row)
        if start is None and (column != self._column or not self._starts[group] <= self._next <= row):
            self._seek(column, group)
        while start is None:
            batch = next(self._batches, None)
            if batch is None:
                raise IndexError(row)
            self._kept[self._next] = batch.column(0)
            start = self._next if row < self._next + len(batch) else None
            self._next += len(batch)
            while len(self._kept) > _BATCHES_KEPT:
                self._kept.popitem(last=False)
        return self._kept[start][row - start].as_py()

    def _seek(self, column: str, group: int) -> None:
        self._column, self._next = column, self._starts[group]
        self._kept.clear()
        groups = range(group, len(self._starts) - 1)
        self._batches = batches(self._file, groups, _BATCH, [column])
