"""`MilvusEngine`: the collections at a URI, one or more of each space, and the documents.

visrec_<space>_<type>_<n>  the records of a space; another one is made where those that there are lack a column
visrec_documents           the documents, and the `State` of each collection, whose name begins with a point

A token is `COLLECTION@SERIAL`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from time import time

from vision_recs.engines import base
from vision_recs.engines.base import Column, Kind, Schema, VectorType
from vision_recs.engines.milvus.client import Connection
from vision_recs.engines.milvus.dialect import MilvusDialect, kind_of
from vision_recs.engines.milvus.documents import COLLECTION as DOCUMENTS
from vision_recs.engines.milvus.documents import STATE, Documents
from vision_recs.engines.milvus.rows import typed
from vision_recs.engines.milvus.stage import MilvusStage
from vision_recs.engines.milvus.state import Hold, State, in_none_of
from vision_recs.engines.milvus.table import MilvusTable, Serial
from vision_recs.errors import EngineDamaged

_PREFIX = "visrec_"


class MilvusEngine:
    """The collections at a URI: `milvus://HOST:PORT/DATABASE`, `milvus+https://...` or `milvus:FILE.db`."""

    def __init__(self, uri: str) -> None:
        """Connect; raises UnknownEngine, EngineUnavailable."""
        self._connection = Connection(uri)
        self.uri = self._connection.uri
        self.dialect = MilvusDialect()
        self.documents = Documents(self._connection)

    def stage(self, schema: Schema, published: str | None) -> MilvusStage:
        """Return the next serial of the newest collection that has the columns of *schema*, or of one to be made.

        That begins with the records of *published*, where they are of the same space and still there. A collection
        whose state is lost is left alone: which of its records are which is not known.
        """
        wanted = replace(schema, columns=typed(schema.columns))
        prefix = f"{_PREFIX}{_in_a_name(schema.space)}_{schema.vector_type}_"
        names = [name for name in self._collections() if name.startswith(prefix)]
        known = [name for name in names if self.state(name).newest]
        for name in sorted(known, reverse=True):
            found = self._schema(name)
            if set(wanted.columns) <= set(found.columns) and found.dim == wanted.dim:
                return MilvusStage(self._connection, self, found, name, exists=True, published=None)
        dropped_by_somebody = [name for name in self.documents.stated() if name not in names]
        taken = [*names, *(name for name in dropped_by_somebody if name.startswith(prefix))]
        number = max((int(name.removeprefix(prefix)) for name in taken), default=0) + 1
        start = self._start(published) if published is not None and published.startswith(prefix) else None
        name = f"{prefix}{number:04d}"
        return MilvusStage(self._connection, self, wanted, name, exists=False, published=start)

    def open(self, token: str) -> MilvusTable:
        """Open the serial of a collection that was sealed as *token*."""
        started, serial = time(), self._serial(token)
        self.dialect.columns = frozenset(column.name for column in serial.schema.columns)
        hold = Hold(serial.serial, lambda: self.state(serial.collection), self._gone(token), started)
        return MilvusTable(self._connection, serial, hold)

    def tokens(self) -> list[str]:
        """Return the tokens of all that is sealed, and one of each collection of which nothing ever was."""
        states = {name: self.state(name) for name in self._collections()}
        return [
            f"{name}@{number}" for name, state in states.items() for number in (state.sealed if state.readable else [0])
        ]

    def drop(self, tokens: Sequence[str]) -> None:
        """Give up the serials that *tokens* name; their records go with a later call, when no reader answers from them.

        A collection of which nothing was ever sealed goes at once, and so does what is kept of one that is not there.
        """
        names = self._collections()
        for name in names:
            before = self.state(name)
            given_up = [int(token.partition("@")[2]) for token in tokens if token.startswith(f"{name}@")]
            state = before.without([serial for serial in given_up if serial in before.sealed])
            left = state.without_old()
            if left != before:
                self.keep_state(name, left)
            if not left.readable and (given_up or state.dropped):
                self._connection.call("drop_collection", name)
                self.documents.delete([STATE + name])
            elif left.readable != state.readable:
                self._connection.call("delete", name, filter=in_none_of(left.readable))
        self.documents.delete([STATE + name for name in self.documents.stated() if name not in names])

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._connection.close()

    def state(self, collection: str) -> State:
        """Return what is kept of *collection*."""
        name = STATE + collection
        return State.from_bytes(self.documents.read([name]).get(name))

    def keep_state(self, collection: str, state: State) -> None:
        """Keep *state* of *collection*."""
        self.documents.write(STATE + collection, state.to_bytes())

    def _serial(self, token: str) -> Serial:
        name, _, number = token.partition("@")
        if name not in self._collections() or int(number) not in self.state(name).sealed:
            raise self._gone(token)
        self._connection.wait("load_collection", name)
        return Serial(name, int(number), self._schema(name))

    def _start(self, published: str) -> Serial | None:
        """Return the serial *published*, or None where somebody has removed it: then all records are written."""
        try:
            return self._serial(published)
        except EngineDamaged:
            return None

    def _gone(self, token: str) -> EngineDamaged:
        return EngineDamaged(
            f"{self.uri} has no {token} any more; open it again, or run `visrec publish {self.uri}` again"
        )

    def _collections(self) -> list[str]:
        names: list[str] = [] if self._connection.is_empty else self._connection.call("list_collections")
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
