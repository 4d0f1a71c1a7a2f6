"""Items files as layers: their schema, reading several of them together, and merging them into one.

A base has all items of a generation, a delta those that changed. A delta names the items that it replaces in its table
`changed`, also those that are gone: what it says of them, or that it says nothing, counts, and of every other item the
files before it tell.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vision_recs.errors import StoreDamaged, read_error

TABLES = """
CREATE TABLE items (item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (position INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE TABLE images (
    item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, position INTEGER NOT NULL,
    signature TEXT, attributes TEXT NOT NULL, PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE TABLE skipped (
    item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, digest BLOB, signature TEXT,
    reason TEXT NOT NULL, message TEXT NOT NULL, attributes TEXT NOT NULL, PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE TABLE stale (
    item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, runs INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE TABLE skipped_items (item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE left_out (
    number INTEGER PRIMARY KEY, item_id TEXT NOT NULL, image TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL
);
CREATE TABLE versions (item_id TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE changed (item_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE touched (bitmap BLOB NOT NULL);
"""
"""Attributes are JSON objects; digests are the 32 bytes of a SHA-256; a position names a vector (see the manifest).

An item of which no image has a vector is in `skipped_items`, not in `items`. `left_out` is what the catalog itself left
out, such as rows without an id; a delta whose `changed` has the empty id replaces it as a whole. `stale` has the images
that could not be read, for so many runs, but keep the vector that they have in `images`. `versions` has the
newest version of each item for which `visrec update` was given one, also of items that are gone. `changed` and
`touched` are empty in a base.
"""

INDEXES = """
CREATE UNIQUE INDEX vectors_by_digest ON vectors (digest);
CREATE INDEX images_by_position ON images (position, item_id, image);
CREATE INDEX skipped_by_digest ON skipped (digest);
"""
"""Of the tables; a large one is filled in three fifths of the time before it has any."""

SCHEMA = TABLES + INDEXES

MOST_DELTAS = 4
"""How many deltas a generation has at most; SQLite opens ten files together."""

WHOLE = "''"
"""The id, in SQL, for which a delta replaces what belongs to no item."""

_BITS_A_KEY = 256
_MOST_BITS = 1 << 25
_PAGE = 2_000
_MMAP_BYTES = 1 << 40  # at most: the whole file, or as much of it as this SQLite maps

_T = TypeVar("_T")

_COLUMNS = {
    "items": "item_id, attributes",
    "images": "item_id, ordinal, image, position, signature, attributes",
    "skipped": "item_id, ordinal, image, digest, signature, reason, message, attributes",
    "stale": "item_id, ordinal, runs, reason, message",
    "skipped_items": "item_id, attributes",
    "left_out": "number, item_id, image, reason, message",
    "versions": "item_id, version",
}
_ITEM_VECTORS = (
    "SELECT t.position, v.digest FROM {layer}.images AS t JOIN {layer}.vectors AS v ON v.position = t.position"
    " WHERE TRUE{live}"
)


class Bitmap(NamedTuple):
    """Which keys a delta may touch: the lowest bits of a key are the number of its bit."""

    bits: bytes

    def may_have(self, key: int) -> bool:
        """Whether *key* was marked, or another one with the same lowest bits."""
        key &= 8 * len(self.bits) - 1
        return bool(self.bits[key >> 3] >> (key & 7) & 1)


def touched_bitmap(ids: Iterable[str], positions: Iterable[int], digests: Iterable[bytes]) -> bytes:
    """Return what the table `touched` of a delta holds: a bit for each of *ids*, *positions* and *digests*.

    The number of bits is a power of two; a key marks the bit whose number are its lowest bits. The key of an id is the
    CRC-32 of its UTF-8 bytes, the key of a digest are its first four bytes (big-endian), and the key of a position is
    the position times 2654435761.
    """
    keys = [*map(key_of_id, ids), *map(key_of_position, positions), *map(key_of_digest, digests)]
    length = min(_MOST_BITS, 1 << (_BITS_A_KEY * len(keys) | 8).bit_length())
    bits = bytearray(length // 8)
    for key in keys:
        key &= length - 1  # noqa: PLW2901 - the same key, in the range of this bitmap
        bits[key >> 3] |= 1 << (key & 7)
    return bytes(bits)


def key_of_id(item: str) -> int:
    """Return the key of the id *item* in a bitmap."""
    return zlib.crc32(item.encode(errors="surrogatepass"))


def key_of_position(position: int) -> int:
    """Return the key of *position* in a bitmap."""
    return position * 2654435761


def key_of_digest(digest: bytes) -> int:
    """Return the key of *digest* in a bitmap."""
    return int.from_bytes(digest[:4], "big")


def layered(query: str, layers: Sequence[str], owner: str) -> str:
    """Return *query* over all of *layers*, the names of attached files, oldest first, as the parts of a UNION ALL.

    In *query*, `{layer}` stands for the name, and `{live}`, which ends its WHERE clause, for the condition that no
    later layer replaces the item in the column *owner*.
    """
    parts = []
    for number, layer in enumerate(layers):
        live = "".join(
            f" AND NOT EXISTS (SELECT 1 FROM {later}.changed AS later WHERE later.item_id = {owner})"  # noqa: S608
            for later in layers[number + 1 :]
        )
        parts.append(query.format(layer=layer, live=live))
    return " UNION ALL ".join(parts)


def read_only(path: Path) -> str:
    """Return the URI with which SQLite opens the published file *path*."""
    return f"{path.absolute().as_uri()}?mode=ro&immutable=1"


class _Reading:
    """Turns the errors of SQLite and of damaged values into StoreDamaged; a generator would take four times as long."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raise StoreDamaged for an error of the file."""
        if isinstance(error, sqlite3.Error | LookupError | TypeError | ValueError) and not isinstance(
            error, UnicodeEncodeError
        ):
            raise read_error(self._path, _missing(self._path) or error) from error


def _missing(path: Path) -> FileNotFoundError | None:
    """Return the error of the system where there is no file *path*: SQLite says only that it cannot open it."""
    try:
        path.stat()
    except FileNotFoundError as error:
        return error
    except OSError:
        return None
    return None


class ItemsDatabase:
    """The items files of one generation, open together for reading; safe to use from several threads.

    *connection* has to be used while *lock* is held, and within *reading*, which turns errors of SQLite and of damaged
    values into StoreDamaged. *layers* are the names of the files, oldest first.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, layers: Sequence[str] = ("main",)) -> None:
        """Read the *layers* that are attached to *connection*, which somebody else closes; the first is *path*."""
        self.path = path
        self.connection = connection
        self.layers = list(layers)
        self.lock = threading.Lock()
        self.reading = _Reading(path)
        self.touched: list[Bitmap] = []
        self._queries: dict[tuple[str, tuple[str, ...]], str] = {}

    @classmethod
    def open(cls, base: Path, *deltas: Path) -> ItemsDatabase:
        """Open the file *base* and the *deltas*, oldest first, read-only.

        The files are closed by `close`, or when nobody has the object any more. Raises StoreDamaged where one is
        missing or another kind of file.
        """
        with _Reading(base):
            # immutable: a published file never changes, so SQLite need neither lock it nor look for a journal
            connection = sqlite3.connect(read_only(base), uri=True, check_same_thread=False)
        opened = cls(base, connection, ["main", *(f"delta{number}" for number in range(1, len(deltas) + 1))])
        # a file that is only read can be closed without a word: from Python 3.13 on, SQLite's own connection warns
        weakref.finalize(opened, connection.close).atexit = False
        try:
            opened._attach(base, deltas)
        except StoreDamaged:
            connection.close()
            raise
        return opened

    def _attach(self, base: Path, deltas: Sequence[Path]) -> None:
        for layer, path in zip(self.layers, (base, *deltas), strict=True):
            with _Reading(path):
                if layer != "main":
                    self.connection.execute(f"ATTACH ? AS {layer}", (read_only(path),))
                # or every page is copied, and most are not kept
                self.connection.execute(f"PRAGMA {layer}.mmap_size = {_MMAP_BYTES}")
                self.connection.execute(f"SELECT 1 FROM {layer}.items LIMIT 1").fetchall()  # noqa: S608
        bitmaps = [self.all(f"SELECT bitmap FROM {layer}.touched") for layer in self.layers[1:]]  # noqa: S608
        # without the bitmap of one of them, all files have to be asked for everything
        self.touched = [Bitmap(blob(found[0][0])) for found in bitmaps if found] if all(bitmaps) else []

    def query(self, query: str, owner: str, layers: Sequence[str] | None = None) -> str:
        """Return *query* as `layered` makes it, over all files or over *layers*."""
        layers = self.layers if layers is None else layers
        key = (query, tuple(layers))
        known = self._queries.get(key)
        if known is None:
            known = self._queries[key] = layered(query, layers, owner)
        return known

    def all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of *query*; raises StoreDamaged."""
        try:
            with self.reading, self.lock:
                return self.connection.execute(query, values).fetchall()
        except UnicodeEncodeError:
            return []  # bytes of an argument that are not text, and no item has them

    def pages(self, query: str) -> Iterator[list[str]]:
        """Yield the ids that *query* finds, a list of some at a time; it takes the id to begin after, and a limit."""
        last = ""
        while found := [item for (item,) in self.all(query, (last, _PAGE))]:
            yield found
            last = found[-1]

    def each(
        self,
        query: str,
        owner: str,
        keys: Sequence[_T],
        key_of: Callable[[_T], int],
        layers: Sequence[str] | None = None,
    ) -> Iterator[tuple[str, list[_T]]]:
        """Yield *query* over the base, and over all files, each with those of *keys* for which it has to be asked."""
        if not self.touched:
            yield self.query(query, owner), list(keys)
            return
        plain: list[_T] = []
        others: list[_T] = []
        for each in keys:
            key = key_of(each)
            (others if any(bitmap.may_have(key) for bitmap in self.touched) else plain).append(each)
        if plain:
            yield self.query(query, owner, self.layers[:1]), plain
        if others:
            yield self.query(query, owner, layers), others

    def close(self) -> None:
        """Close the files, once no other thread reads them."""
        with self.lock:
            self.connection.close()


def blob(value: object) -> bytes:
    """Return *value*, which has to be bytes: SQLite keeps the type with each value, so a damaged file may give any."""
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} where a digest belongs")
    return value


def merge(files: Sequence[Path], target: Path, *, is_base: bool, moved: Mapping[int, int]) -> None:
    """Write the items of *files*, oldest first, into the one file *target*: a base, or a delta without its bitmap.

    *moved* maps the positions of vectors to other ones. The file is not flushed to the disk.
    """
    layers = [f"layer{number}" for number in range(len(files))]
    with closing(sqlite3.connect(target, isolation_level=None, uri=True)) as connection:
        execute = connection.execute
        execute("PRAGMA journal_mode = OFF")  # nothing here has to survive a crash
        execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        for layer, path in zip(layers, files, strict=True):
            execute(f"ATTACH ? AS {layer}", (read_only(path),))
        execute("BEGIN")
        execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER NOT NULL)")
        connection.executemany("INSERT INTO moved VALUES (?, ?)", moved.items())
        for table, columns in _COLUMNS.items():
            owner = WHOLE if table == "left_out" else "t.item_id"
            union = layered(f"SELECT {columns} FROM {{layer}}.{table} AS t WHERE TRUE{{live}}", layers, owner)  # noqa: S608
            if table == "images":
                columns = columns.replace("position", _new("position"))  # noqa: PLW2901
            key = "item_id, ordinal" if "ordinal" in columns else columns.partition(",")[0]
            execute(f"INSERT INTO main.{table} SELECT {columns} FROM ({union}) ORDER BY {key}")  # noqa: S608
        vectors = layered(_ITEM_VECTORS, layers, "t.item_id")
        execute(f"INSERT OR IGNORE INTO main.vectors SELECT {_new('position')}, digest FROM ({vectors})")  # noqa: S608
        for layer in () if is_base else layers:
            execute(f"INSERT OR IGNORE INTO main.changed SELECT item_id FROM {layer}.changed")  # noqa: S608
        execute("COMMIT")


def add_bitmap(delta: Path, positions_before: Iterable[int]) -> int:
    """Fill the table `touched` of *delta*, and return how many items it replaces.

    *positions_before* are those of the vectors that these items have in the files below.
    """
    with closing(sqlite3.connect(delta, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        changed = [item for (item,) in connection.execute("SELECT item_id FROM changed")]
        vectors = connection.execute("SELECT position, digest FROM vectors").fetchall()
        positions = {*positions_before, *(position for position, _ in vectors)}
        bitmap = touched_bitmap(changed, positions, (digest for _, digest in vectors))
        connection.execute("DELETE FROM touched")
        connection.execute("INSERT INTO touched VALUES (?)", (bitmap,))
    return len(changed)


def _new(position: str) -> str:
    return f"coalesce((SELECT new FROM temp.moved WHERE old = {position}), {position})"  # noqa: S608
