"""The items of one generation, read from its SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.types import Attribute, ItemImage, Row

if TYPE_CHECKING:  # a query without a filter does not load the language of filters
    from vision_recs.filters import AttributeType, Filter

SCHEMA = """
CREATE TABLE items (item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (position INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE images (
    item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, position INTEGER NOT NULL,
    signature TEXT, attributes TEXT NOT NULL, PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE INDEX images_by_position ON images (position, item_id, image);
CREATE TABLE skipped (
    item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, digest BLOB, signature TEXT,
    reason TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE INDEX skipped_by_digest ON skipped (digest);
"""
"""Attributes are JSON objects; digests are the 32 bytes of a SHA-256; a position names a vector (see the manifest)."""


_MMAP_BYTES = 1 << 40  # at most: the whole file, or as much of it as this SQLite maps


class StoredRow(NamedTuple):
    """An image of an item: *ordinal* counts the images of the item from 0, *position* is that of its vector."""

    id: str
    ordinal: int
    image: str
    position: int


class Skipped(NamedTuple):
    """An image that could not be embedded, and why: *reason* is a code of `errors.REASONS`."""

    id: str
    image: str
    reason: str
    message: str


class _Reading:
    """Turns the errors of SQLite and of damaged values into StoreDamaged; a generator would take four times as long."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raise StoreDamaged for an error of the file."""
        if isinstance(error, sqlite3.Error | TypeError | ValueError) and not isinstance(error, UnicodeEncodeError):
            raise read_error(self._path, error) from error


class Items:
    """The items, images and skipped images of one generation; safe to use from several threads.

    The file is closed by `close`, or when nobody has the object any more.
    """

    def __init__(self, path: Path) -> None:
        """Open *path* read-only; raises StoreDamaged where it is missing or another kind of file."""
        self._path = path
        self._lock = threading.Lock()
        self._reading = _Reading(path)
        with self._reading:
            # immutable: a published file never changes, so SQLite need neither lock it nor look for a journal
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        # a file that is only read can be closed without a word: from Python 3.13 on, SQLite's own connection warns
        weakref.finalize(self, self._connection.close).atexit = False
        try:
            self._all(f"PRAGMA mmap_size = {_MMAP_BYTES}")  # or every page is copied, and most are not kept
            self._all("SELECT 1 FROM items LIMIT 1")
        except StoreDamaged:
            self._connection.close()
            raise

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading, self._lock:
                return self._connection.execute(query, values).fetchall()
        except UnicodeEncodeError:
            return []  # bytes of an argument that are not text, and no item has them

    def close(self) -> None:
        """Close the file, once no other thread reads it."""
        with self._lock:
            self._connection.close()

    def attributes(self, item: str) -> dict[str, Attribute] | None:
        """Return the attributes of *item*, or None where the id is unknown."""
        found = self._all("SELECT attributes FROM items WHERE item_id = ?", (item,))
        with self._reading:
            return _attributes(found[0][0]) if found else None

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        query = (
            "SELECT items.item_id, items.attributes FROM json_each(?) AS wanted"
            " CROSS JOIN items ON items.item_id = wanted.value"
        )
        found = self._all(query, (json.dumps(items),))
        with self._reading:
            return {_text(item): _attributes(text) for item, text in found}

    def all_attributes(self) -> Iterator[tuple[str, dict[str, Attribute]]]:
        """Yield every item, by id ascending, with its attributes."""
        for item, text in self._all("SELECT item_id, attributes FROM items ORDER BY item_id"):
            with self._reading:
                yield item, _attributes(text)

    def images(self, item: str) -> list[ItemImage]:
        """Return the images of *item* in the order of the catalog; the list is empty where the id is unknown."""
        query = (
            "SELECT images.image, vectors.digest, images.attributes FROM images"
            " LEFT JOIN vectors ON vectors.position = images.position WHERE images.item_id = ? ORDER BY images.ordinal"
        )
        found = self._all(query, (item,))
        with self._reading:
            return [ItemImage(_text(image), _blob(digest).hex(), _attributes(text)) for image, digest, text in found]

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[dict[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        query = (
            "SELECT wanted.key, items.attributes, images.attributes FROM json_each(?) AS wanted"
            " CROSS JOIN items ON items.item_id = json_extract(wanted.value, '$[0]')"
            " CROSS JOIN images ON images.item_id = items.item_id AND images.image = json_extract(wanted.value, '$[1]')"
        )
        found = {key: texts for key, *texts in self._all(query, (json.dumps(images),))}
        with self._reading:
            attributes = {key: {**_attributes(item), **_attributes(own)} for key, (item, own) in found.items()}
        return [attributes.get(key) for key in range(len(images))]

    def rows(self, positions: Iterable[int], limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have the vector there, by id, then by image."""
        query = (
            "SELECT images.position, images.item_id, images.image, vectors.digest FROM json_each(?) AS wanted"
            " CROSS JOIN images ON images.position = wanted.value JOIN vectors ON vectors.position = images.position"
        )
        wanted = list(map(index, dict.fromkeys(positions)))  # JSON does not take the integers of NumPy
        most = 4 * len(wanted)
        found = self._all(f"{query} LIMIT ?", (json.dumps(wanted), most))
        if len(found) == most:  # one image that thousands of items share would keep out the others
            query += " ORDER BY images.item_id, images.image LIMIT ?"
            found = [row for position in wanted for row in self._all(query, (f"[{position}]", limit))]
        with self._reading:
            rows: dict[int, list[Row]] = {position: [] for position in wanted}
            for position, item, image, digest in found:
                rows[position].append(_row(item, image, digest))
        for several in rows.values():
            several.sort()
            del several[limit:]
        return rows

    def rows_where(self, positions: Iterable[int], limit: int, where: Filter) -> dict[int, list[Row]]:
        """Return the images that `rows` returns, but only those of items that match *where*."""
        query = (
            "SELECT images.item_id, images.image, vectors.digest, items.attributes"
            " FROM images JOIN vectors USING (position) JOIN items USING (item_id)"
            " WHERE position = ? ORDER BY images.item_id, images.image"
        )
        rows = {}
        with self._reading, self._lock:
            for position in map(index, positions):
                found = self._connection.execute(query, (position,))
                matching = (row[:3] for row in found if where.matches(_attributes(row[3])))
                rows[position] = [_row(*row) for row in islice(matching, limit)]
        return rows

    def positions_where(self, where: Filter, *, below: int) -> list[int]:
        """Return the positions of the vectors that images of the items that match *where* have, ascending.

        Every item is read. Raises StoreDamaged where a position is not *below* that number.
        """
        query = "SELECT items.attributes, images.position FROM items CROSS JOIN images USING (item_id)"
        positions: set[int] = set()
        last, matches = None, False
        with self._reading, self._lock:
            for text, position in self._connection.execute(query):
                if text != last:  # the images of an item come together
                    last, matches = text, where.matches(_attributes(text))
                if matches:
                    positions.add(position)
            if not all(0 <= position < below for position in positions):
                raise ValueError(f"a position that is not below {below}")
        return sorted(positions)

    def attribute_types(self) -> dict[str, AttributeType]:
        """Return the types of the values that the items have under each attribute, by name; every item is read."""
        from vision_recs.filters import AttributeType

        of_json = dict.fromkeys(("integer", "real"), AttributeType.NUMBER)
        of_json |= dict.fromkeys(("true", "false"), AttributeType.BOOLEAN)
        of_json["text"] = AttributeType.TEXT
        types: dict[str, AttributeType] = {}
        for name, kind in self._all("SELECT DISTINCT key, type FROM items, json_each(items.attributes)"):
            types[name] = types.get(name, AttributeType(0)) | of_json.get(kind, AttributeType(0))
        return types

    def rows_after(self, row: StoredRow | None, limit: int) -> list[StoredRow]:
        """Return at most *limit* images by id, then by ordinal: the first ones, or those after *row*."""
        query = (
            "SELECT item_id, ordinal, image, position FROM images WHERE (item_id, ordinal) > (?, ?)"
            " ORDER BY item_id, ordinal LIMIT ?"
        )
        last = (row.id, row.ordinal) if row else ("", -1)
        return [StoredRow(*found) for found in self._all(query, (*last, limit))]

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the position of the vector of each image digest in *digests*; raises StoreDamaged."""
        query = "SELECT position FROM vectors WHERE digest = ?"
        with self._reading, self._lock:
            execute = self._connection.execute
            found = {digest: execute(query, (bytes.fromhex(digest),)).fetchone() for digest in digests}
        gone = next((digest for digest, row in found.items() if row is None), None)
        if gone is not None:
            raise StoreDamaged(f"{self._path} has no vector of the image {gone}, which it names; run `visrec verify`")
        with self._reading:
            return {digest: int(position) for digest, (position,) in found.items()}

    def ids(self, prefix: str = "", limit: int = -1) -> list[str]:
        """Return the ids that begin with *prefix*, ascending, at most *limit* of them."""
        if not prefix:
            return [item for (item,) in self._all("SELECT item_id FROM items ORDER BY item_id LIMIT ?", (limit,))]
        upper = prefix + "\U0010ffff"
        query = "SELECT item_id FROM items WHERE item_id >= ? AND item_id < ? ORDER BY item_id LIMIT ?"
        return [item for (item,) in self._all(query, (prefix, upper, limit))]

    def ids_after(self, item: str, limit: int) -> list[str]:
        """Return the first *limit* ids greater than *item*, ascending, or all of them for -1."""
        query = "SELECT item_id FROM items WHERE item_id > ? ORDER BY item_id LIMIT ?"
        return [each for (each,) in self._all(query, (item, limit))]

    def skipped(self, item: str | None = None) -> list[Skipped]:
        """Return the skipped images of *item*, or of all items, by id, then in the order of the catalog."""
        query = (
            "SELECT item_id, image, reason, message FROM skipped WHERE ?1 IS NULL OR item_id = ?1"
            " ORDER BY item_id, ordinal"
        )
        return [Skipped(*row) for row in self._all(query, (item,))]

    def skipped_reasons(self) -> dict[str, int]:
        """Return how many images were skipped for each reason, the most frequent reason first."""
        return dict(self._all("SELECT reason, count(*) FROM skipped GROUP BY reason ORDER BY count(*) DESC, reason"))


def _text(value: object) -> str:
    # SQLite keeps the type with each value, so a damaged file may give any
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text belongs")
    return value


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{value!r} where a digest belongs")
    return value


def _row(item: object, image: object, digest: object) -> Row:
    return Row(_text(item), _text(image), _blob(digest).hex())


def _attributes(text: str) -> dict[str, Attribute]:
    if text == "{}":  # as most images have it
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} where an object belongs")
    return value
