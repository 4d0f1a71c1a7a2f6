"""Images inside of other files: `shard.tar#000017.jpg`, `shard.parquet#image/17`, whose row is counted from 1."""

from __future__ import annotations

import os
import tarfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from vision_recs.errors import ImageError, first_line

_OPEN_AT_MOST = 8  # files
_BATCH, _BATCHES_KEPT = 32, 4  # rows of a Parquet file: those that threads ask for a little out of order


def container_of(reference: str) -> tuple[str, str] | None:
    """Return the file and the member that *reference* names, or None where it names a file of its own."""
    name, sign, member = reference.partition("#")
    return (name, member) if sign and member and name.lower().endswith((".tar", ".parquet")) else None


class Members:
    """Reads members of the files that were read last, which stay open; safe to use from several threads."""

    def __init__(self) -> None:
        """Start without an open file."""
        self._open: OrderedDict[tuple[Path, int], _Container] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, changed_ns: int, member: str) -> bytes:
        """Return the bytes of *member* in the file *path*, last changed at *changed_ns*; raises ImageError, OSError."""
        with self._lock:
            container = self._open.pop((path, changed_ns), None)
            if container is None:
                container = _Parquet(path) if path.suffix.lower() == ".parquet" else _Tar(path)
            self._open[path, changed_ns] = container
            while len(self._open) > _OPEN_AT_MOST:
                self._open.popitem(last=False)[1].close()
            try:
                return container.read(member)
            except (KeyError, IndexError, TypeError) as error:
                raise ImageError("missing", f"{str(path)!r} has no image {member!r}; write the catalog anew") from error


class _Container(Protocol):
    def read(self, member: str) -> bytes: ...

    def close(self) -> None: ...


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and size of each file in the tar *path*; raises OSError where it is damaged."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, member.offset_data, member.size
                tar.members = []  # type: ignore[attr-defined] # or every member would be kept
    except tarfile.TarError as error:
        raise OSError(0, f"not a tar archive, or damaged: {first_line(error)}") from error


class _Tar:
    def __init__(self, path: Path) -> None:
        self._places = {name: (offset, size) for name, offset, size in tar_members(path)}
        self._file = os.open(path, os.O_RDONLY)

    def read(self, member: str) -> bytes:
        offset, size = self._places[member]
        return os.pread(self._file, size, offset)

    def close(self) -> None:
        os.close(self._file)


class _Parquet:
    """Reads rows mostly in ascending order: a batch is decoded once, whatever the size of a row group."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file: Any = pq.ParquetFile(path, memory_map=True)
        except pa.ArrowException as error:
            raise OSError(0, f"not Parquet, or damaged: {first_line(error)}") from error
        metadata = self._file.metadata
        self._starts = [0, *accumulate(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))]
        self._column = ""
        self._next = 0
        self._batches: Iterator[Any] = iter(())
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def read(self, member: str) -> bytes:
        column, *places = member.rsplit("/", member.count("/"))
        while places and not all(place.isdigit() for place in places):  # the name of a column may hold a slash
            column, places = f"{column}/{places[0]}", places[1:]
        value = self._value(column, int(places[0]) - 1)
        for place in places[1:]:
            value = value[int(place)]
        found: object = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(found, bytes):
            raise KeyError(member)
        return found

    def close(self) -> None:
        self._file.close()

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
        self._batches = self._file.iter_batches(batch_size=_BATCH, row_groups=groups, columns=[column])
