"""`MilvusEngine`: the collections at a URI, one or more of each space, and the documents.

visrec_<space>_<type>_<n>  the records of a space; another one is made where those that there are lack a column
visrec_documents           the documents, and the `State` of each collection, whose name begins with a point

A token is `COLLECTION@SERIAL`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from vision_recs.engines import base
from vision_recs.engines.base import Column, Kind, Schema, VectorType
from vision_recs.engines.milvus.client import Connection
from vision_recs.engines.milvus.dialect import MilvusDialect, kind_of
from vision_recs.engines.milvus.documents import COLLECTION as DOCUMENTS
from vision_recs.engines.milvus.documents import Documents
from vision_recs.engines.milvus.rows import BORN, DIED, typed
from vision_recs.engines.milvus.stage import MilvusStage, State
from vision_recs.engines.milvus.table import MilvusTable, Serial
from vision_recs.errors import EngineDamaged

_PREFIX = "visrec_"
_INTERNAL = "."


class MilvusEngine:
    """The collections at a URI: `milvus://HOST:PORT/DATABASE`, `milvus+https://...` or `milvus:FILE.db`."""

    def __init__(self, uri: str) -> None:
        """Connect; raises UnknownEngine, EngineUnavailable."""
        self._connection = Connection(uri)
        self.uri = self._connection.uri
        self.dialect = MilvusDialect()
        self._documents = Documents(self._connection)

    def read_document(self, name: str) -> bytes | None:
        """Return the document *name*, or None where there is none."""
        return self._documents.read(name)

    def write_document(self, name: str, data: bytes) -> None:
        """Keep *data* under *name*."""
        self._documents.write(name, data)

    def documents(self) -> list[str]:
        """Return the names of all documents."""
        return [name for name in self._documents.names() if not name.startswith(_INTERNAL)]

    def delete_documents(self, names: Sequence[str]) -> None:
        """Remove the documents with these *names*."""
        self._documents.delete(names)

    def stage(self, schema: Schema, published: str | None) -> MilvusStage:
        """Return the next serial of the newest collection that has the columns of *schema*, or of one to be made.

        That begins with the records of *published*, where they are of the same space.
        """
        wanted = replace(schema, columns=typed(schema.columns))
        prefix = f"{_PREFIX}{_in_a_name(schema.space)}_{schema.vector_type}_"
        names = [name for name in self._collections() if name.startswith(prefix)]
        for name in sorted(names, reverse=True):
            found = self._schema(name)
            if set(wanted.columns) <= set(found.columns) and found.dim == wanted.dim:
                self._connection.wait("load_collection", name)
                return MilvusStage(self._connection, self, found, name, exists=True, published=None)
        number = max((int(name.removeprefix(prefix)) for name in names), default=0) + 1
        start = self._serial(published) if published is not None and published.startswith(prefix) else None
        name = f"{prefix}{number:04d}"
        return MilvusStage(self._connection, self, wanted, name, exists=False, published=start)

    def open(self, token: str) -> MilvusTable:
        """Open the serial of a collection that was sealed as *token*."""
        serial = self._serial(token)
        self.dialect.columns = frozenset(column.name for column in serial.schema.columns)
        return MilvusTable(self._connection, serial)

    def tokens(self) -> list[str]:
        """Return the tokens of all that is sealed, and one of each collection of which nothing is."""
        return [f"{name}@{number}" for name in self._collections() for number in self.state(name).sealed or [0]]

    def drop(self, tokens: Sequence[str]) -> None:
        """Give up the serials that *tokens* name, and the records that no other has; or a whole collection."""
        for name in {token.partition("@")[0] for token in tokens}:
            state = self.state(name)
            dropped = {int(token.partition("@")[2]) for token in tokens if token.startswith(f"{name}@")}
            sealed = [number for number in state.sealed if number not in dropped]
            if sealed:
                self.keep_state(name, replace(state, sealed=sealed))
                self._connection.call("delete", name, filter=_in_none_of(sealed))
            else:
                self._connection.call("drop_collection", name)
                self._documents.delete([_INTERNAL + name])

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._connection.close()

    def state(self, collection: str) -> State:
        """Return what is kept of *collection*."""
        return State.from_bytes(self._documents.read(_INTERNAL + collection))

    def keep_state(self, collection: str, state: State) -> None:
        """Keep *state* of *collection*."""
        self._documents.write(_INTERNAL + collection, state.to_bytes())

    def _serial(self, token: str) -> Serial:
        name, _, number = token.partition("@")
        if name not in self._collections() or int(number) not in self.state(name).sealed:
            raise EngineDamaged(f"{self.uri} has no {token} any more; run `visrec publish {self.uri}` again")
        self._connection.wait("load_collection", name)
        return Serial(name, int(number), self._schema(name))

    def _collections(self) -> list[str]:
        names: list[str] = self._connection.call("list_collections")
        return sorted(name for name in names if name.startswith(_PREFIX) and name != DOCUMENTS)

    def _schema(self, collection: str) -> Schema:
        """Return what the records of *collection* look like."""
        fields = {field["name"]: field for field in self._connection.call("describe_collection", collection)["fields"]}
        columns = tuple(Column(name, _kind(name)) for name in sorted(fields) if kind_of(name) is not None)
        space, vector_type, _ = collection.removeprefix(_PREFIX).rsplit("_", 2)
        dim = int(fields[base.VECTOR]["params"]["dim"])
        return Schema(space, dim, _vector_type(vector_type), columns)


def _in_a_name(space: str) -> str:
    """Return *space* as the name of a collection may hold it: letters and digits."""
    is_plain = space.isascii() and space.isalnum()
    return space if is_plain else f"x{hashlib.blake2b(space.encode(), digest_size=8).hexdigest()}"


def _in_none_of(serials: Sequence[int]) -> str:
    """Return the condition of the records that are part of none of *serials*, ascending, and were not written since."""
    first, *_ = serials
    between = [f"({BORN} > {one} and {DIED} <= {next_})" for one, next_ in pairwise(serials)]
    return f"({' or '.join([f'({DIED} <= {first})', *between])})"


def _kind(column: str) -> Kind:
    kind = kind_of(column)
    kinds: dict[str | None, Kind] = {
        "text": "text",
        "number": "number",
        "integer": "integer",
        "boolean": "boolean",
        "set": "set",
    }
    return kinds.get(kind, "other")


def _vector_type(name: str) -> VectorType:
    return "float16" if name == "float16" else "float32"
