"""Documents in Milvus: parts of a text field each, since a field holds 64 KB."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from threading import Lock
from time import time
from typing import Any
from uuid import uuid4

from vision_recs.engines.milvus.client import Connection
from vision_recs.engines.milvus.dialect import literal

COLLECTION = "visrec_documents"
STATE = "."
"""With what the name of a document begins that keeps the `State` of a collection; its name follows."""

_PART, _NAME, _SERIAL, _NUMBER, _COUNT, _DATA, _VECTOR = "part", "name", "serial", "number", "count", "data", "vector"
_FIELDS = (_NAME, _SERIAL, _NUMBER, _COUNT, _DATA)
_AT_ONCE = 48_000  # bytes, which are 64,000 in base64
_MOST_PARTS = 1_000  # of one answer: 64 MB
_CLAIM = -1
"""The number, instead of that of a part, of a row which says that somebody is about to swap the document."""

_CLAIMED_FOR_S = 660.0
"""How long such a row counts whose writer was stopped: the clocks of machines agree to ten minutes."""

_making = Lock()


class Documents:
    """Documents by name. Each write has a higher serial number, and the highest that is whole is what is read.

    So a reader finds the old or the new one, at whatever moment, and whatever ended the run that wrote.
    """

    def __init__(self, connection: Connection) -> None:
        """Keep documents in a collection, which is made when the first is written."""
        self._connection = connection
        self._is_there = False

    def read(self, names: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, bytes]:
        """Return the documents with these *names*, and those whose names begin with one of *prefixes*."""
        if not self._exists():
            return {}
        tests = [f"{_NAME} in [{', '.join(map(literal, names))}]"] if names else []
        tests += [f"{_NAME} like {literal(f'{prefix}%')}" for prefix in prefixes]
        return _whole(self._rows(f"{_NUMBER} >= 0 and ({' or '.join(tests)})", _FIELDS))

    def write(self, name: str, data: bytes) -> None:
        """Keep *data* under *name*."""
        self._make()
        self._put(name, data, self._rows(f"{_NUMBER} >= 0 and {_NAME} == {literal(name)}", [_SERIAL]))

    def swap(self, name: str, data: bytes, expected: bytes | None) -> bool:
        """Keep *data* under *name* if *expected* is what is kept there; return whether it was.

        Milvus compares nothing when it writes. So whoever is about to write says so, and reads what others have written
        and said by then: of two at the same time, one at least sees the other, and does not write.
        """
        self._make()
        claim = uuid4().hex
        self._insert([_row(claim, name, serial=int(time()), number=_CLAIM, count=0, piece=b"")])
        try:
            rows = self._rows(f"{_NAME} == {literal(name)}", _FIELDS)
            claims = [row for row in rows if row[_NUMBER] == _CLAIM and row[_PART] != claim]
            parts = [row for row in rows if row[_NUMBER] != _CLAIM]
            is_alone = all(time() - row[_SERIAL] > _CLAIMED_FOR_S for row in claims)
            if not is_alone or _whole(parts).get(name) != expected:
                return False
            self._put(name, data, parts)
            self._delete([row[_PART] for row in claims])  # of runs that were stopped
            return True
        finally:
            self._delete([claim])

    def _delete(self, parts: Sequence[str]) -> None:
        """Remove rows by their primary key: Milvus waits for no server then, as it does for another condition."""
        if parts:
            self._connection.call("delete", COLLECTION, ids=list(parts))

    def _put(self, name: str, data: bytes, before: Sequence[dict[str, Any]]) -> None:
        """Keep *data* under *name* in the place of *before*, its parts."""
        serial = max((row[_SERIAL] for row in before), default=0) + 1
        pieces = [data[start : start + _AT_ONCE] for start in range(0, len(data), _AT_ONCE)] or [b""]
        run = uuid4().hex  # two that write at once have parts of their own
        self._insert(
            [
                _row(f"{run}-{number}", name, serial=serial, number=number, count=len(pieces), piece=piece)
                for number, piece in enumerate(pieces)
            ]
        )
        self._delete([row[_PART] for row in before])

    def names(self) -> list[str]:
        """Return the names of all documents, but for the states of collections."""
        return [name for name in self._names() if not name.startswith(STATE)]

    def stated(self) -> list[str]:
        """Return the names of the collections of which a state is kept, also of those that are not there."""
        return [name.removeprefix(STATE) for name in self._names() if name.startswith(STATE)]

    def _names(self) -> list[str]:
        if not self._exists():
            return []
        return sorted({row[_NAME] for row in self._rows(f"{_NUMBER} == 0", [_NAME])})

    def delete(self, names: Sequence[str]) -> None:
        """Remove the documents with these *names*."""
        if names and self._exists():
            condition = f"{_NAME} in [{', '.join(map(literal, names))}]"
            self._connection.call("delete", COLLECTION, filter=f"({condition})")

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        self._connection.call("insert", COLLECTION, rows)

    def _rows(self, condition: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        found = self._connection.call(
            "query",
            COLLECTION,
            filter=condition,
            output_fields=[_PART, *fields],
            limit=_MOST_PARTS,
            consistency_level="Strong",
        )
        return list(found)

    def _exists(self) -> bool:
        if not self._is_there and not self._connection.is_empty:
            self._is_there = self._connection.call("has_collection", COLLECTION)
        return self._is_there

    def _make(self) -> None:
        with _making:
            if not self._exists():
                self._create()

    def _create(self) -> None:
        from pymilvus import DataType

        client = self._connection.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_PART, DataType.VARCHAR, max_length=64, is_primary=True)
        schema.add_field(_NAME, DataType.VARCHAR, max_length=512)
        for name in (_SERIAL, _NUMBER, _COUNT):
            schema.add_field(name, DataType.INT64)
        schema.add_field(_DATA, DataType.VARCHAR, max_length=65_535)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=2)  # no collection is without one
        index = client.prepare_index_params()
        index.add_index(_VECTOR, index_type="FLAT", metric_type="L2")
        self._connection.wait(
            "create_collection", COLLECTION, schema=schema, index_params=index, consistency_level="Strong", num_shards=1
        )


def _row(part: str, name: str, *, serial: int, number: int, count: int, piece: bytes) -> dict[str, Any]:  # noqa: PLR0913
    return {
        _PART: part,
        _NAME: name,
        _SERIAL: serial,
        _NUMBER: number,
        _COUNT: count,
        _DATA: b64encode(piece).decode(),
        _VECTOR: [1.0, 0.0],
    }


def _whole(rows: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """Return the newest whole document of each name."""
    versions: dict[tuple[int, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        run = row[_PART].partition("-")[0]
        versions.setdefault((row[_SERIAL], run), {})[row[_NUMBER]] = row
    found: dict[str, bytes] = {}
    for _, parts in sorted(versions.items()):
        first = next(iter(parts.values()))
        if len(parts) == first[_COUNT]:
            found[first[_NAME]] = b"".join(b64decode(parts[number][_DATA]) for number in range(first[_COUNT]))
    return found
