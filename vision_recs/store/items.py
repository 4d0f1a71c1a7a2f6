"""The items of one generation, read from its SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_recs.errors import StoreDamaged
from vision_recs.types import Attribute, Row

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import AttributeType, Filter

SCHEMA = """
CREATE TABLE items (id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (position INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE rows (
    id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, position INTEGER NOT NULL,
    signature TEXT, attributes TEXT NOT NULL, PRIMARY KEY (id, ordinal)
) WITHOUT ROWID;
CREATE INDEX rows_by_position ON rows (position, id, image);
CREATE TABLE skipped (
    id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL, digest BLOB, signature TEXT,
    reason TEXT NOT NULL, message TEXT NOT NULL, PRIMARY KEY (id, ordinal)
) WITHOUT ROWID;
CREATE INDEX skipped_by_digest ON skipped (digest);
"""
"""Attributes are JSON objects; digests are the 32 bytes of SHA-256; a position names a vector (see the manifest)."""


_MAPPED = 1 << 40  # bytes at most: all of the file, or as much of it as this SQLite maps


class StoredImage(NamedTuple):
    """An image of an item as the store knows it."""

    image: str
    position: int
    attributes: dict[str, Attribute]


class StoredRow(NamedTuple):
    """One image of one item: *ordinal* counts the images of the item, *position* names the vector."""

    id: str
    ordinal: int
    image: str
    position: int


class Skipped(NamedTuple):
    """An image that is not in the index, and why: *reason* is a code of `errors.REASONS`."""

    id: str
    image: str
    reason: str
    message: str


class _Reading:
    """Turns what SQLite and damaged values raise into StoreDamaged; a generator would take four times as long."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raise StoreDamaged for an error of the file."""
        if isinstance(error, sqlite3.Error | TypeError | ValueError):
            raise StoreDamaged(f"{self._path} cannot be read ({error}); run `visrec verify`") from error


class Items:
    """The items, rows and skipped images of one generation; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open *path* read-only; raises StoreDamaged where it is no such file."""
        self._path = path
        self._lock = threading.Lock()
        self._reading = _Reading(path)
        with self._reading:
            # immutable: a published file never changes, so SQLite need neither lock it nor look for a journal
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        self._all(f"PRAGMA mmap_size = {_MAPPED}")  # or every page is copied, and most are not kept
        self._all("SELECT 1 FROM items LIMIT 1")

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._reading, self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def attributes(self, item: str) -> dict[str, Attribute] | None:
        """Return the attributes of *item*, or None where there is no such item."""
        found = self._all("SELECT attributes FROM items WHERE id = ?", (item,))
        with self._reading:
            return _attributes(found[0][0]) if found else None

    def all_attributes(self) -> Iterator[tuple[str, dict[str, Attribute]]]:
        """Yield every item, by id ascending, with its attributes."""
        for item, text in self._all("SELECT id, attributes FROM items ORDER BY id"):
            with self._reading:
                yield item, _attributes(text)

    def images(self, item: str) -> list[StoredImage]:
        """Return the images of *item* in the order of the catalog, empty where there is no such item."""
        query = "SELECT image, position, attributes FROM rows WHERE id = ? ORDER BY ordinal"
        found = self._all(query, (item,))
        with self._reading:
            return [StoredImage(_text(image), int(position), _attributes(text)) for image, position, text in found]

    def shown(self, images: Iterable[tuple[str, str]]) -> list[dict[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where there is none."""
        query = (
            "SELECT asked.key, items.attributes, rows.attributes FROM json_each(?) AS asked"
            " CROSS JOIN items ON items.id = json_extract(asked.value, '$[0]')"
            " CROSS JOIN rows ON rows.id = items.id AND rows.image = json_extract(asked.value, '$[1]')"
        )
        wanted = list(images)
        found = {key: texts for key, *texts in self._all(query, (json.dumps(wanted),))}
        with self._reading:
            attributes = {key: {**_attributes(item), **_attributes(own)} for key, (item, own) in found.items()}
        return [attributes.get(key) for key in range(len(wanted))]

    def rows(self, positions: Sequence[int], limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* rows that show its vector, by id, then by image."""
        query = (
            "SELECT rows.position, rows.id, rows.image, vectors.digest FROM json_each(?) AS asked"
            " CROSS JOIN rows ON rows.position = asked.value JOIN vectors ON vectors.position = rows.position"
        )
        positions = list(dict.fromkeys(positions))
        most = 4 * len(positions)
        found = self._all(f"{query} LIMIT ?", (json.dumps(positions), most))
        if len(found) == most:  # one image that thousands of items show would keep out the others
            query += " ORDER BY rows.id, rows.image LIMIT ?"
            found = [row for position in positions for row in self._all(query, (f"[{position}]", limit))]
        with self._reading:
            rows: dict[int, list[Row]] = {position: [] for position in positions}
            for position, item, image, digest in found:
                rows[position].append(_row(item, image, digest))
        for several in rows.values():
            several.sort()
            del several[limit:]
        return rows

    def rows_where(self, positions: Sequence[int], limit: int, where: Filter) -> dict[int, list[Row]]:
        """Return, for each of *positions*, what `rows` does, but only rows of items that match *where*."""
        query = (
            "SELECT rows.id, rows.image, vectors.digest, items.attributes"
            " FROM rows JOIN vectors USING (position) JOIN items USING (id)"
            " WHERE position = ? ORDER BY rows.id, rows.image"
        )
        rows = {}
        with self._reading, self._lock:
            for position in positions:
                found = self._connection.execute(query, (position,))
                matching = (row[:3] for row in found if where.matches(_attributes(row[3])))
                rows[position] = [_row(*row) for row in islice(matching, limit)]
        return rows

    def positions_where(self, where: Filter, *, below: int) -> list[int]:
        """Return the positions of the vectors that a row of an item that matches *where* shows, ascending.

        Every item is read. Raises StoreDamaged where a position is not *below* that number.
        """
        query = "SELECT items.attributes, rows.position FROM items CROSS JOIN rows USING (id)"
        positions: set[int] = set()
        last, matches = None, False
        with self._reading, self._lock:
            for text, position in self._connection.execute(query):
                if text != last:  # the rows of an item come together
                    last, matches = text, where.matches(_attributes(text))
                if matches:
                    positions.add(position)
            if not all(0 <= position < below for position in positions):
                raise ValueError(f"a vector where there are {below}")
        return sorted(positions)

    def attribute_types(self) -> dict[str, AttributeType]:
        """Return what the items hold under each name, by name; every item is read."""
        from vision_recs.filters import AttributeType

        of_json = dict.fromkeys(("integer", "real"), AttributeType.NUMBER)
        of_json |= dict.fromkeys(("true", "false"), AttributeType.TRUTH)
        of_json["text"] = AttributeType.TEXT
        types: dict[str, AttributeType] = {}
        for name, kind in self._all("SELECT DISTINCT key, type FROM items, json_each(items.attributes)"):
            types[name] = types.get(name, AttributeType(0)) | of_json.get(kind, AttributeType(0))
        return types

    def rows_after(self, row: StoredRow | None, limit: int) -> list[StoredRow]:
        """Return at most *limit* rows by id, then by ordinal: the first ones, or those after *row*."""
        query = (
            "SELECT id, ordinal, image, position FROM rows WHERE (id, ordinal) > (?, ?) ORDER BY id, ordinal LIMIT ?"
        )
        last = (row.id, row.ordinal) if row else ("", -1)
        return [StoredRow(*found) for found in self._all(query, (*last, limit))]

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return where the vector of each of the images with *digests* is, which rows have named."""
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
            return [item for (item,) in self._all("SELECT id FROM items ORDER BY id LIMIT ?", (limit,))]
        upper = prefix + "\U0010ffff"
        query = "SELECT id FROM items WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        return [item for (item,) in self._all(query, (prefix, upper, limit))]

    def skipped(self, item: str | None = None) -> list[Skipped]:
        """Return the skipped images of *item*, or all of them, by id, then in the order of the catalog."""
        query = "SELECT id, image, reason, message FROM skipped WHERE ?1 IS NULL OR id = ?1 ORDER BY id, ordinal"
        return [Skipped(*row) for row in self._all(query, (item,))]

    def skipped_reasons(self) -> dict[str, int]:
        """Return how many images were skipped for each reason, the commonest first."""
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
    if text == "{}":  # as of most images
        return {}
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} where an object belongs")
    return value
