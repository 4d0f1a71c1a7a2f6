"""The items of one generation, read from SQLite: a base file, and deltas that replace some of its items.

Most queries have one part for each file, which leaves out the items that a later file replaces. A bitmap in each delta
tells most ids, positions and digests that it does not touch from those that it may: for them the base alone is asked.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.store.layers import Bitmap, key_of_digest, key_of_id, key_of_position, layered, read_only
from vision_recs.types import Attribute, ItemImage, Row

if TYPE_CHECKING:  # a query without a filter does not load the language of filters
    from vision_recs.filters import AttributeType, Filter

_PAGE = 2_000
_MMAP_BYTES = 1 << 40  # at most: the whole file, or as much of it as this SQLite maps

_T = TypeVar("_T")


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


class StoredImage(NamedTuple):
    """All that is stored of an image: the *position* of its vector, or the *reason* and *message* why it has none.

    *attributes* are JSON text. *signature* and *digest* are None where they were not known.
    """

    ordinal: int
    image: str
    attributes: str
    signature: str | None
    digest: bytes | None
    position: int | None
    reason: str | None
    message: str | None


class StoredItem(NamedTuple):
    """All that is stored of an item: its *attributes* as JSON text, and its images in the order of the catalog."""

    attributes: str
    images: list[StoredImage]


class _Reading:
    """Turns the errors of SQLite and of damaged values into StoreDamaged; a generator would take four times as long."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raise StoreDamaged for an error of the file."""
        if isinstance(error, sqlite3.Error | TypeError | ValueError) and not isinstance(error, UnicodeEncodeError):
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


class Items:
    """The items, images and skipped images of one generation; safe to use from several threads.

    The files are closed by `close`, or when nobody has the object any more.
    """

    def __init__(self, base: Path, *deltas: Path) -> None:
        """Open the file *base* and the *deltas*, oldest first, read-only.

        Raises StoreDamaged where one is missing or another kind of file.
        """
        self._path = base
        self._lock = threading.Lock()
        self._reading = _Reading(base)
        self._layers = ["main", *(f"delta{number}" for number in range(1, len(deltas) + 1))]
        self._queries: dict[tuple[str, tuple[str, ...]], str] = {}
        with self._reading:
            # immutable: a published file never changes, so SQLite need neither lock it nor look for a journal
            self._connection = sqlite3.connect(read_only(base), uri=True, check_same_thread=False)
        # a file that is only read can be closed without a word: from Python 3.13 on, SQLite's own connection warns
        weakref.finalize(self, self._connection.close).atexit = False
        try:
            self._open(base, deltas)
        except StoreDamaged:
            self._connection.close()
            raise

    def _open(self, base: Path, deltas: Sequence[Path]) -> None:
        for layer, path in zip(self._layers, (base, *deltas), strict=True):
            with _Reading(path):
                if layer != "main":
                    self._connection.execute(f"ATTACH ? AS {layer}", (read_only(path),))
                # or every page is copied, and most are not kept
                self._connection.execute(f"PRAGMA {layer}.mmap_size = {_MMAP_BYTES}")
                self._connection.execute(f"SELECT 1 FROM {layer}.items LIMIT 1").fetchall()  # noqa: S608
        bitmaps = [self._all(f"SELECT bitmap FROM {layer}.touched") for layer in self._layers[1:]]  # noqa: S608
        # without the bitmap of one of them, all files have to be asked for everything
        self._touched = [Bitmap(_blob(found[0][0])) for found in bitmaps if found] if all(bitmaps) else []

    def _query(self, query: str, owner: str, layers: Sequence[str] | None = None) -> str:
        """Return *query* as `layered` makes it, over all files or over *layers*."""
        layers = self._layers if layers is None else layers
        key = (query, tuple(layers))
        known = self._queries.get(key)
        if known is None:
            known = self._queries[key] = layered(query, layers, owner)
        return known

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._reading, self._lock:
                return self._connection.execute(query, values).fetchall()
        except UnicodeEncodeError:
            return []  # bytes of an argument that are not text, and no item has them

    def _each(
        self,
        query: str,
        owner: str,
        keys: Sequence[_T],
        key_of: Callable[[_T], int],
        layers: Sequence[str] | None = None,
    ) -> Iterator[tuple[str, list[_T]]]:
        """Yield *query* over the base, and over all files, each with those of *keys* for which it has to be asked."""
        if not self._touched:
            yield self._query(query, owner), list(keys)
            return
        plain: list[_T] = []
        others: list[_T] = []
        for each in keys:
            key = key_of(each)
            (others if any(bitmap.may_have(key) for bitmap in self._touched) else plain).append(each)
        if plain:
            yield self._query(query, owner, self._layers[:1]), plain
        if others:
            yield self._query(query, owner, layers), others

    def close(self) -> None:
        """Close the files, once no other thread reads them."""
        with self._lock:
            self._connection.close()

    def attributes(self, item: str) -> dict[str, Attribute] | None:
        """Return the attributes of *item*, or None where the id is unknown."""
        query = "SELECT attributes FROM {layer}.items WHERE item_id = ?1{live}"
        found = self._all(self._query(query, "items.item_id"), (item,))
        with self._reading:
            return _attributes(found[0][0]) if found else None

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        query = (
            "SELECT items.item_id, items.attributes FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.items AS items ON items.item_id = wanted.value WHERE TRUE{live}"
        )
        found = [
            row
            for each, ids in self._each(query, "items.item_id", items, key_of_id)
            for row in self._all(each, (json.dumps(ids),))
        ]
        with self._reading:
            return {_text(item): _attributes(text) for item, text in found}

    def all_attributes(self) -> Iterator[tuple[str, dict[str, Attribute]]]:
        """Yield every item, by id ascending, with its attributes."""
        query = self._query("SELECT item_id, attributes FROM {layer}.items WHERE TRUE{live}", "items.item_id")
        for item, text in self._all(f"{query} ORDER BY item_id"):
            with self._reading:
                yield item, _attributes(text)

    def images(self, item: str) -> list[ItemImage]:
        """Return the images of *item* in the order of the catalog; the list is empty where the id is unknown."""
        query = (
            "SELECT images.ordinal, images.image, vectors.digest, images.attributes FROM {layer}.images AS images"
            " LEFT JOIN {layer}.vectors AS vectors ON vectors.position = images.position"
            " WHERE images.item_id = ?1{live}"
        )
        found = self._all(f"{self._query(query, 'images.item_id')} ORDER BY 1", (item,))
        with self._reading:
            return [ItemImage(_text(image), _blob(digest).hex(), _attributes(text)) for _, image, digest, text in found]

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[dict[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        query = (
            "SELECT json_extract(wanted.value, '$[2]'), items.attributes, images.attributes"
            " FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.items AS items ON items.item_id = json_extract(wanted.value, '$[0]')"
            " CROSS JOIN {layer}.images AS images"
            " ON images.item_id = items.item_id AND images.image = json_extract(wanted.value, '$[1]') WHERE TRUE{live}"
        )
        wanted = [(*pair, key) for key, pair in enumerate(images)]
        found = {
            key: texts
            for each, some in self._each(query, "items.item_id", wanted, lambda pair: key_of_id(pair[0]))
            for key, *texts in self._all(each, (json.dumps(some),))
        }
        with self._reading:
            attributes = {key: {**_attributes(item), **_attributes(own)} for key, (item, own) in found.items()}
        return [attributes.get(key) for key in range(len(images))]

    def rows(self, positions: Iterable[int], limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have the vector there, by id, then by image."""
        query = (
            "SELECT images.position, images.item_id, images.image, vectors.digest FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.images AS images ON images.position = wanted.value"
            " JOIN {layer}.vectors AS vectors ON vectors.position = images.position WHERE TRUE{live}"
        )
        wanted = list(map(index, dict.fromkeys(positions)))  # JSON does not take the integers of NumPy
        rows: dict[int, list[Row]] = {position: [] for position in wanted}
        for each, some in self._each(query, "images.item_id", wanted, key_of_position):
            found = self._limited(each, some, limit)
            with self._reading:
                for position, item, image, digest in found:
                    rows[position].append(_row(item, image, digest))
        for several in rows.values():
            several.sort()
            del several[limit:]
        return rows

    def _limited(self, query: str, positions: Sequence[int], limit: int) -> list[tuple[Any, ...]]:
        most = 4 * len(positions)
        found = self._all(f"{query} LIMIT ?2", (json.dumps(positions), most))
        if len(found) == most:  # one image that thousands of items share would keep out the others
            ordered = f"{query} ORDER BY 2, 3 LIMIT ?2"
            found = [row for position in positions for row in self._all(ordered, (f"[{position}]", limit))]
        return found

    def rows_where(self, positions: Iterable[int], limit: int, where: Filter) -> dict[int, list[Row]]:
        """Return the images that `rows` returns, but only those of items that match *where*."""
        query = (
            "SELECT images.item_id, images.image, vectors.digest, items.attributes FROM {layer}.images AS images"
            " JOIN {layer}.vectors AS vectors USING (position) JOIN {layer}.items AS items USING (item_id)"
            " WHERE images.position = ?1{live}"
        )
        rows = {}
        wanted = list(map(index, positions))
        for each, some in self._each(query, "images.item_id", wanted, key_of_position):
            with self._reading, self._lock:
                for position in some:
                    found = self._connection.execute(f"{each} ORDER BY 1, 2", (position,))
                    matching = (row[:3] for row in found if where.matches(_attributes(row[3]), row[0]))
                    rows[position] = [_row(*row) for row in islice(matching, limit)]
        return rows

    def positions_where(self, where: Filter, *, below: int) -> list[int]:
        """Return the positions of the vectors that images of the items that match *where* have, ascending.

        Every item is read. Raises StoreDamaged where a position is not *below* that number.
        """
        query = (
            "SELECT items.item_id, items.attributes, images.position FROM {layer}.items AS items"
            " CROSS JOIN {layer}.images AS images USING (item_id) WHERE TRUE{live}"
        )
        positions: set[int] = set()
        last, matches = None, False
        with self._reading, self._lock:
            for item, text, position in self._connection.execute(self._query(query, "items.item_id")):
                if item != last:  # the images of an item come together
                    last, matches = item, where.matches(_attributes(text), item)
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
        query = "SELECT DISTINCT key, type FROM {layer}.items AS items, json_each(items.attributes) WHERE TRUE{live}"
        for name, kind in self._all(self._query(query, "items.item_id")):
            types[name] = types.get(name, AttributeType(0)) | of_json.get(kind, AttributeType(0))
        return types

    def rows_after(self, row: StoredRow | None, limit: int) -> list[StoredRow]:
        """Return at most *limit* images by id, then by ordinal: the first ones, or those after *row*."""
        query = (
            "SELECT item_id, ordinal, image, position FROM {layer}.images AS images"
            " WHERE (item_id, ordinal) > (?1, ?2){live}"
        )
        last = (row.id, row.ordinal) if row else ("", -1)
        found = self._all(f"{self._query(query, 'images.item_id')} ORDER BY item_id, ordinal LIMIT ?3", (*last, limit))
        return [StoredRow(*each) for each in found]

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the position of the vector of each image digest in *digests*; raises StoreDamaged."""
        query = "SELECT position FROM {layer}.vectors WHERE digest = ?1"
        found: dict[str, Any] = {}
        with self._reading:
            wanted = {bytes.fromhex(digest): digest for digest in digests}
        # what a later file says of a digest counts: the vector that the base has of it may belong to nobody any more
        for each, some in self._each(query, "", list(wanted), key_of_digest, self._layers[::-1]):
            with self._reading, self._lock:
                execute = self._connection.execute
                found |= {wanted[digest]: execute(each, (digest,)).fetchone() for digest in some}
        gone = next((digest for digest, row in found.items() if row is None), None)
        if gone is not None:
            raise StoreDamaged(f"{self._path} has no vector of the image {gone}, which it names; run `visrec verify`")
        with self._reading:
            return {digest: int(position) for digest, (position,) in found.items()}

    def ids(self, prefix: str = "", limit: int = -1) -> list[str]:
        """Return the ids that begin with *prefix*, ascending, at most *limit* of them."""
        query = "SELECT item_id FROM {layer}.items WHERE item_id >= ?1 AND item_id < ?2{live}"
        ordered = f"{self._query(query, 'items.item_id')} ORDER BY item_id LIMIT ?3"
        return [item for (item,) in self._all(ordered, (prefix, prefix + "\U0010ffff" * 8, limit))]

    def ids_after(self, item: str, limit: int) -> list[str]:
        """Return the first *limit* ids greater than *item*, ascending, or all of them for -1."""
        query = "SELECT item_id FROM {layer}.items WHERE item_id > ?1{live}"
        ordered = f"{self._query(query, 'items.item_id')} ORDER BY item_id LIMIT ?2"
        return [each for (each,) in self._all(ordered, (item, limit))]

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        last = ""
        while found := self.ids_after(last, _PAGE):
            yield found
            last = found[-1]

    def pages_of_stored(self) -> Iterator[list[str]]:
        """Yield the ids of all items that `stored` knows, ascending within each of two parts, some at a time."""
        for table in ("items", "skipped_items"):
            query = f"SELECT item_id FROM {{layer}}.{table} AS t WHERE item_id > ?1{{live}}"  # noqa: S608
            ordered = f"{self._query(query, 't.item_id')} ORDER BY item_id LIMIT ?2"
            last = ""
            while found := [item for (item,) in self._all(ordered, (last, _PAGE))]:
                yield found
                last = found[-1]

    def stored_count(self) -> int:
        """Return how many items `stored` knows."""
        count = 0
        for table in ("items", "skipped_items"):
            query = f"SELECT count(*) AS n FROM {{layer}}.{table} AS t WHERE TRUE{{live}}"  # noqa: S608
            count += sum(number for (number,) in self._all(self._query(query, "t.item_id")))
        return count

    def pages_of_changed(self, file: int = 0) -> Iterator[list[str]]:
        """Yield the ids of the items that the *file* with that number, counted from 0 for the oldest, replaces."""
        last = ""
        layer = self._layers[file]
        query = f"SELECT item_id FROM {layer}.changed WHERE item_id > ? ORDER BY item_id LIMIT ?"  # noqa: S608
        while found := [item for (item,) in self._all(query, (last, _PAGE))]:
            yield found
            last = found[-1]

    def skipped(self, item: str | None = None) -> list[Skipped]:
        """Return what was skipped of *item*, or of all items, by id, then in the order of the catalog.

        What the catalog left out comes before the images. It has an empty id or image where it has none.
        """
        left_out = (
            "SELECT item_id, image, reason, message, number - (1 << 60) AS place FROM {layer}.left_out"
            " WHERE (?1 IS NULL OR item_id = ?1){live}"
        )
        images = (
            "SELECT item_id, image, reason, message, ordinal AS place FROM {layer}.skipped"
            " WHERE (?1 IS NULL OR item_id = ?1){live}"
        )
        both = f"{self._query(left_out, _WHOLE)} UNION ALL {self._query(images, 'skipped.item_id')}"
        return [Skipped(*row) for *row, _ in self._all(f"{both} ORDER BY item_id, place", (item,))]

    def left_out(self) -> list[Skipped]:
        """Return what the catalog left out, in its order."""
        query = "SELECT item_id, image, reason, message, number FROM {layer}.left_out WHERE TRUE{live}"
        return [Skipped(*row) for *row, _ in self._all(f"{self._query(query, _WHOLE)} ORDER BY number")]

    def digests_skipped_for(self, reasons: Sequence[str]) -> list[bytes]:
        """Return the digests of the images that were skipped for one of *reasons*."""
        query = (
            "SELECT DISTINCT s.digest FROM json_each(?1) AS wanted CROSS JOIN {layer}.skipped AS s"
            " ON s.reason = wanted.value WHERE s.digest IS NOT NULL{live}"
        )
        return [digest for (digest,) in self._all(self._query(query, "s.item_id"), (json.dumps(reasons),))]

    def skipped_lines(self) -> Iterator[str]:
        """Yield a JSON object for each skipped image, as `skipped` returns them: item_id, image, reason, message."""
        for item, image, reason, message in self.skipped():
            value = {"item_id": item, "image": image, "reason": reason, "message": message}
            yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def skipped_reasons(self) -> dict[str, int]:
        """Return how much was skipped for each reason, the most frequent reason first."""
        images = self._query("SELECT reason FROM {layer}.skipped WHERE TRUE{live}", "skipped.item_id")
        left_out = self._query("SELECT reason FROM {layer}.left_out WHERE TRUE{live}", _WHOLE)
        both = f"{images} UNION ALL {left_out}"
        return dict(
            self._all(f"SELECT reason, count(*) FROM ({both}) GROUP BY reason ORDER BY count(*) DESC, reason")  # noqa: S608
        )

    def stored(self, items: Sequence[str]) -> dict[str, StoredItem]:
        """Return all that is stored of each of *items*, by id, also of those without a vector; others are left out."""
        found: dict[str, StoredItem] = {}
        for query, owner in (
            (_ITEMS.format("items"), "i.item_id"),
            (_ITEMS.format("skipped_items"), "i.item_id"),
        ):
            for each, ids in self._each(query, owner, items, key_of_id):
                for item, attributes in self._all(each, (json.dumps(ids),)):
                    found[item] = StoredItem(attributes, [])
        for query, owner in ((_IMAGES, "i.item_id"), (_SKIPPED, "i.item_id")):
            for each, ids in self._each(query, owner, items, key_of_id):
                for item, *image in self._all(each, (json.dumps(ids),)):
                    found[item].images.append(StoredImage(*image))
        for stored in found.values():
            stored.images.sort()
        return found

    def stored_rows(self, items: Sequence[str]) -> tuple[list[str], list[tuple[int, str, str, str | None]]] | None:
        """Return what `stored` knows of *items*, if none of them is in a delta and all of their images have vectors.

        It is the attributes of each, and for each image the number of the item in *items*, the image, its attributes
        and its signature, item by item. None where one of *items* is of another kind, or is not known.
        """
        if any(bitmap.may_have(key_of_id(item)) for bitmap in self._touched for item in items):
            return None
        wanted = (json.dumps(items),)
        base = self._layers[:1]
        if self._all(f"{self._query(_SKIPPED, 'i.item_id', base)} LIMIT 1", wanted):
            return None
        found = self._all(self._query(_ROWS_OF_ITEMS, "i.item_id", base), wanted)
        if [number for number, _ in found] != list(range(len(items))):
            return None
        # the loops make this order; to sort would take longer than all else
        images = self._all(self._query(_ROWS_OF_IMAGES, "i.item_id", base), wanted)
        return [attributes for _, attributes in found], images

    def outcome(self, digest: bytes) -> StoredImage | None:
        """Return an image with *digest*, of any item, that has a vector or was skipped; None where there is none."""
        for query, owner in ((_OF_DIGEST, "i.item_id"), (_SKIPPED_OF_DIGEST, "i.item_id")):
            found = self._all(f"{self._query(query, owner)} LIMIT 1", (digest,))
            if found:
                return StoredImage(*found[0])
        return None

    def versions(self, items: Sequence[str]) -> dict[str, int]:
        """Return the newest version that is known of each of *items*, by id; those without one are left out."""
        query = (
            "SELECT item_id, version FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.versions AS v ON v.item_id = wanted.value WHERE TRUE{live}"
        )
        found: dict[str, int] = {}
        for each, ids in self._each(query, "v.item_id", items, key_of_id):
            found |= dict(self._all(each, (json.dumps(ids),)))
        return found

    def all_versions(self) -> Iterator[tuple[str, int]]:
        """Yield the id of every item of which a version is known, and that version."""
        query = "SELECT item_id, version FROM {layer}.versions AS v WHERE TRUE{live}"
        yield from self._all(self._query(query, "v.item_id"))

    def images_between(self, first: int, stop: int) -> list[tuple[int, bytes, str, str]]:
        """Return position, digest, id and image of the vectors from *first* to before *stop*: one image of each."""
        query = (
            "SELECT i.position AS position, v.digest AS digest, i.item_id AS item_id, i.image AS image"
            " FROM {layer}.images AS i JOIN {layer}.vectors AS v USING (position)"
            " WHERE i.position >= ?1 AND i.position < ?2{live}"
        )
        union = self._query(query, "i.item_id")
        of_each = f"SELECT position, digest, min(item_id), image FROM ({union}) GROUP BY position ORDER BY position"  # noqa: S608
        return self._all(of_each, (first, stop))

    def positions_in_use(self, among: Sequence[int]) -> set[int]:
        """Return those of the positions *among* that an image of an item has."""
        query = (
            "SELECT DISTINCT i.position FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.images AS i ON i.position = wanted.value WHERE TRUE{live}"
        )
        return {position for (position,) in self._all(self._query(query, "i.item_id"), (json.dumps(among),))}


_WHOLE = "''"  # the id for which a delta replaces what belongs to no item
_ITEMS = (
    "SELECT i.item_id, i.attributes FROM json_each(?1) AS wanted"
    " CROSS JOIN {{layer}}.{} AS i ON i.item_id = wanted.value WHERE TRUE{{live}}"
)
_ROWS_OF_ITEMS = (
    "SELECT wanted.key, i.attributes FROM json_each(?1) AS wanted"
    " CROSS JOIN {layer}.items AS i ON i.item_id = wanted.value WHERE TRUE{live}"
)
_ROWS_OF_IMAGES = (
    "SELECT wanted.key, i.image, i.attributes, i.signature FROM json_each(?1) AS wanted"
    " CROSS JOIN {layer}.images AS i ON i.item_id = wanted.value WHERE TRUE{live}"
)
_IMAGES = (
    "SELECT i.item_id, i.ordinal, i.image, i.attributes, i.signature, v.digest, i.position, NULL, NULL"
    " FROM json_each(?1) AS wanted CROSS JOIN {layer}.images AS i ON i.item_id = wanted.value"
    " LEFT JOIN {layer}.vectors AS v ON v.position = i.position WHERE TRUE{live}"
)
_SKIPPED = (
    "SELECT i.item_id, i.ordinal, i.image, i.attributes, i.signature, i.digest, NULL, i.reason, i.message"
    " FROM json_each(?1) AS wanted CROSS JOIN {layer}.skipped AS i ON i.item_id = wanted.value WHERE TRUE{live}"
)
_OF_DIGEST = (
    "SELECT i.ordinal, i.image, i.attributes, i.signature, v.digest, i.position, NULL, NULL"
    " FROM {layer}.vectors AS v JOIN {layer}.images AS i ON i.position = v.position WHERE v.digest = ?1{live}"
)
_SKIPPED_OF_DIGEST = (
    "SELECT i.ordinal, i.image, i.attributes, i.signature, i.digest, NULL, i.reason, i.message"
    " FROM {layer}.skipped AS i WHERE i.digest = ?1{live}"
)


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
