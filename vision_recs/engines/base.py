"""What an engine has to do for us, and the table of engines by the scheme of a URI.

Record     one image of one item: its key and hash, item, ordinal, image, digest, attributes, attribute columns, vector
Dialect    how the engine writes a condition
Stage      the records of the next generation, while they are being written
Table      the records of one generation, sealed: what readers count, read and search
Documents  small files by name, such as the one that says what is published
Engine     makes the stage and the table, and has the documents

All else is the same for every engine and stands in the other modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from vision_recs.errors import UnknownEngine
from vision_recs.types import Vectors

if TYPE_CHECKING:
    import pyarrow as pa

Kind: TypeAlias = Literal["text", "number", "integer", "boolean", "set", "other"]
"""What an attribute column holds: see `columns`."""

VectorType: TypeAlias = Literal["float16", "float32"]

ENGINES = {
    "lance": "vision_recs.engines.lance.engine:LanceEngine",
    "lance+s3": "vision_recs.engines.lance.engine:LanceEngine",
    "milvus": "vision_recs.engines.milvus.engine:MilvusEngine",
    "milvus+https": "vision_recs.engines.milvus.engine:MilvusEngine",
}
"""The engines by the scheme of their URIs, and the class of each as "module:Class"; called with a URI it connects."""

KEY, HASH, ITEM, ORDINAL, IMAGE, DIGEST = "key", "hash", "item", "ordinal", "image", "digest"
ATTRIBUTES, IMAGE_ATTRIBUTES, VECTOR = "attributes", "image_attributes", "vector"
"""The columns that every record has. `vision_recs.engines.records` says what they hold."""

EXACT_UP_TO = 5_000
"""So many matching records are all compared: 14 to 73 ms of 100,000 records, and nothing is lost."""

Report: TypeAlias = Callable[[str, int, int | None], None]
"""(stage, done, total) -> None: is told how far a long job is; *total* is None where that is not known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column for the values of one *kind* of an attribute; its values are null where an item has none."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Schema:
    """What the records of one *space* look like: vectors (*dim*,) of *vector_type*, and the columns of attributes."""

    space: str
    dim: int
    vector_type: VectorType
    columns: tuple[Column, ...]

    def arrow(self) -> pa.Schema:
        """Return the columns of a record as types of Arrow."""
        import pyarrow as pa

        kinds = {
            "text": pa.string(),
            "number": pa.float64(),
            "integer": pa.int64(),
            "boolean": pa.bool_(),
            "set": pa.list_(pa.string()),
            "other": pa.bool_(),
        }
        texts = (KEY, HASH, ITEM, IMAGE, DIGEST, ATTRIBUTES, IMAGE_ATTRIBUTES)
        number = pa.float16() if self.vector_type == "float16" else pa.float32()
        return pa.schema(
            [
                *((name, pa.string()) for name in texts),
                (ORDINAL, pa.int32()),
                *((column.name, kinds[column.kind]) for column in self.columns),
                (VECTOR, pa.list_(number, self.dim)),
            ]
        )


@dataclass(frozen=True, slots=True)
class ColumnTest:
    """A test of one column: it is false where the column is null, unless *operator* is "is null".

    *operator* is "==", "<", "<=", ">" or ">="; "in" with a tuple of values, which are all text or all numbers; "has":
    the column, a set, has the element *value*; "startswith", "endswith" or "contains" of text; or "is null".
    """

    column: str
    operator: str
    value: str | float | tuple[str | float, ...] | None = None


class Dialect(Protocol):
    """How an engine writes a condition. Every expression is true or false, never null, also where a column is null."""

    def test(self, test: ColumnTest) -> str | None:
        """Return the expression of *test*, or None where the engine cannot say it exactly: then we test it."""
        ...

    def all_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where all of *parts*, two or more, are true."""
        ...

    def any_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where one of *parts*, two or more, is true."""
        ...

    def negated(self, part: str) -> str:
        """Return the expression that is true where *part* is false."""
        ...


class Table(Protocol):
    """The records of one generation. It does not change, and several threads may use it at once."""

    @property
    def efforts(self) -> Sequence[int]:
        """The efforts that `nearest` takes, ascending; a publication takes the least that finds enough."""
        ...

    @property
    def tolerance(self) -> float:
        """How far the engine's own score of an exact search may be from the cosine of the vectors, at most."""
        ...

    def count(self, condition: str | None) -> int:
        """Return how many records meet *condition*, or how many there are."""
        ...

    def read(
        self,
        columns: Sequence[str],
        condition: str | None = None,
        *,
        order_by: str | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return *columns* of the records that meet *condition*: the first *limit* by the text column *order_by*."""
        ...

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield *columns* of all records, some thousands at a time, in any order."""
        ...

    def nearest(
        self, query: Vectors, k: int, columns: Sequence[str], condition: str | None, *, effort: int | None
    ) -> pa.Table:
        """Return *columns* of up to *k* records that meet *condition* and are nearest to *query* (dim,), best first.

        Without *effort* the search compares every such record. With an effort it may miss some, but it returns fewer
        than *k* records only where no more meet *condition*.
        """
        ...

    def size(self) -> int | None:
        """Return how many bytes the records and their indexes take, or None where the engine does not tell."""
        ...

    def close(self) -> None:
        """Give up what the table holds; a second call does nothing."""
        ...


class Stage(Protocol):
    """The records of the next generation of one space, while they are being written; readers do not see them.

    A run that is stopped leaves what it has written: `known` of the next run finds it.
    """

    def known(self) -> Iterator[pa.Table]:
        """Yield the columns KEY and HASH of the records that are there, some thousands at a time."""
        ...

    def insert(self, records: pa.Table) -> None:
        """Write *records*, with the columns of the schema, whose keys are not there yet; in one step."""
        ...

    def replace(self, records: pa.Table) -> None:
        """Write *records* in the place of those with the same keys; in one step."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the records with these *keys*."""
        ...

    def seal(self, name: str, report: Report) -> str:
        """Make the records searchable, and return the token by which `Engine.open` opens them as they are now.

        It is called after the last change. The token begins or ends with *name*, where the engine has names, and is not
        that of other records. A later publication drops a token that was never published.
        """
        ...


class Documents(Protocol):
    """Small files of an engine, by name."""

    def read(self, names: Sequence[str] = (), prefixes: Sequence[str] = ()) -> dict[str, bytes]:
        """Return the documents with these *names*, and those whose names begin with one of *prefixes*, by name.

        They are as they are at one moment; what is not there is left out.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Keep *data*, up to some megabytes, under *name*. A reader finds the old or the new document, whole."""
        ...

    def swap(self, name: str, data: bytes, expected: bytes | None) -> bool:
        """Keep *data* under *name* if *expected* is what is kept there, None for nothing; return whether it was.

        Of two who swap the same document at the same time, one at most does it.
        """
        ...

    def names(self) -> list[str]:
        """Return the names of all documents."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Remove the documents with these *names*."""
        ...


class Engine(Protocol):
    """A connection to an engine. A class that is called with a URI, and raises EngineError, returns one."""

    @property
    def uri(self) -> str:
        """The URI without secrets, for messages."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How the engine writes a condition."""
        ...

    @property
    def documents(self) -> Documents:
        """The documents."""
        ...

    def stage(self, schema: Schema, published: str | None) -> Stage:
        """Return the records of the next generation of the space of *schema*; nothing is written yet.

        *published* is the token of the generation that readers open now. The stage begins with what a stopped run has
        left, or else with the records of that generation, where it is of the same space; so only changes are written.
        """
        ...

    def open(self, token: str) -> Table:
        """Open what `Stage.seal` has sealed; raises EngineDamaged where it is gone."""
        ...

    def tokens(self) -> list[str]:
        """Return the tokens of all that is sealed."""
        ...

    def drop(self, tokens: Sequence[str]) -> None:
        """Give up what these *tokens* name, and what nothing else needs of it."""
        ...

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        ...


def register_engine(scheme: str, location: str) -> None:
    """Let URIs that begin with *scheme* and a colon be those of the class at *location*, which is "module:Class".

    Raises ValueError for a *scheme* that visrec uses itself.
    """
    if ENGINES.get(scheme, location) != location or ":" in scheme:
        raise ValueError(f"the scheme {scheme!r} cannot be registered: it is taken or holds a colon")
    ENGINES[scheme] = location


def connect(uri: str) -> Engine:
    """Connect to the engine at *uri*; raises UnknownEngine, and EngineUnavailable where it cannot be reached."""
    scheme = uri.partition(":")[0]
    if scheme not in ENGINES or ":" not in uri:
        raise UnknownEngine(
            f"{uri!r} is not the URI of an engine; use one of {', '.join(f'{name}:...' for name in ENGINES)}"
        )
    module, _, name = ENGINES[scheme].partition(":")
    engine: Engine = getattr(import_module(module), name)(uri)
    return engine
