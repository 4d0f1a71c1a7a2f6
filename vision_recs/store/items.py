"""The items of one generation, read from SQLite: a base file, and deltas that replace some of its items.

Most queries have one part for each file, which leaves out the items that a later file replaces. A bitmap in each delta
tells most ids, positions and digests that it does not touch from those that it may: for them the base alone is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_recs.errors import StoreDamaged
from vision_recs.store.layers import WHOLE, ItemsDatabase, blob, key_of_digest, key_of_id, key_of_position
from vision_recs.store.recent_items import FEW, KnownItem, RecentItems, parsed, text_of
from vision_recs.store.stored_items import Skipped, StoredItems
from vision_recs.types import Attribute, ItemImage, Row

if TYPE_CHECKING:  # a query without a filter does not load the language of filters
    from vision_recs.filters import AttributeType, Filter

_IDS_AFTER = "SELECT item_id FROM {layer}.items WHERE item_id > ?1{live}"
_BY_ID = " ORDER BY item_id LIMIT ?2"
_LEFT_OUT = (
    "SELECT item_id, image, reason, message, 0 AS stale, number - (1 << 60) AS place FROM {layer}.left_out"
    " WHERE (?1 IS NULL OR item_id = ?1){live}"
)
_SKIPPED = (
    "SELECT item_id, image, reason, message, 0 AS stale, ordinal AS place FROM {layer}.skipped AS t"
    " WHERE (?1 IS NULL OR item_id = ?1){live}"
)
_STALE = (
    "SELECT t.item_id, i.image, t.reason, t.message, t.runs, t.ordinal FROM {layer}.stale AS t"
    " JOIN {layer}.images AS i USING (item_id, ordinal) WHERE (?1 IS NULL OR t.item_id = ?1){live}"
)


class StoredRow(NamedTuple):
    """An image of an item: *ordinal* counts the images of the item from 0, *position* is that of its vector."""

    id: str
    ordinal: int
    image: str
    position: int


class Items:
    """The items, images and skipped images of one generation; safe to use from several threads.

    A query asks for the same items several times, for the group, the attributes and the images: one statement reads all
    of it, and what was read last is kept. The files are closed by `close`, or when nobody has the object any more.
    """

    def __init__(self, base: Path, *deltas: Path) -> None:
        """Open the file *base* and the *deltas*, oldest first, read-only.

        Raises StoreDamaged where one is missing or another kind of file.
        """
        self._files = ItemsDatabase.open(base, *deltas)
        self._recent = RecentItems(self._files)

    @property
    def stored(self) -> StoredItems:
        """The same items as the next run needs them."""
        return StoredItems(self._files)

    def close(self) -> None:
        """Close the files, once no other thread reads them."""
        self._files.close()
        self._recent.forget()

    def known(self, items: Iterable[str]) -> dict[str, KnownItem]:
        """Return what is stored of each of *items*, which are few; an unknown id is left out. It may be shared."""
        return self._recent.read(items)

    def forget(self) -> None:
        """Forget what was read last, which only takes memory."""
        self._recent.forget()

    def attributes(self, item: str) -> dict[str, Attribute] | None:
        """Return the attributes of *item*, or None where the id is unknown."""
        query = "SELECT attributes FROM {layer}.items WHERE item_id = ?1{live}"
        found = self._files.all(self._files.query(query, "items.item_id"), (item,))
        with self._files.reading:
            return parsed(found[0][0]) if found else None

    def attributes_of(self, items: Sequence[str]) -> dict[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*, by id; an unknown id is left out."""
        if len(items) <= FEW:
            return {item: dict(known.attributes) for item, known in self.known(items).items()}  # the caller's own
        query = (
            "SELECT items.item_id, items.attributes FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.items AS items ON items.item_id = wanted.value WHERE TRUE{live}"
        )
        found = [
            row
            for each, ids in self._files.each(query, "items.item_id", items, key_of_id)
            for row in self._files.all(each, (json.dumps(ids),))
        ]
        with self._files.reading:
            return {text_of(item): parsed(text) for item, text in found}

    def all_attributes(self) -> Iterator[tuple[str, dict[str, Attribute]]]:
        """Yield every item, by id ascending, with its attributes."""
        query = self._files.query("SELECT item_id, attributes FROM {layer}.items WHERE TRUE{live}", "items.item_id")
        for item, text in self._files.all(f"{query} ORDER BY item_id"):
            with self._files.reading:
                yield item, parsed(text)

    def images(self, item: str) -> list[ItemImage]:
        """Return the images of *item* in the order of the catalog; the list is empty where the id is unknown."""
        known = self.known([item]).get(item)
        return [] if known is None else known.item_images()

    def match_attributes(self, images: Sequence[tuple[str, str]]) -> list[dict[str, Attribute] | None]:
        """Return, for each id and image, the attributes of the item and of that image; None where either is unknown."""
        found: list[dict[str, Attribute] | None] = []
        for start in range(0, len(images), FEW):
            some = images[start : start + FEW]
            known = self.known([item for item, _ in some])
            found += [known[item].attributes_with(image) if item in known else None for item, image in some]
        return found

    def rows(self, positions: Iterable[int], limit: int) -> dict[int, list[Row]]:
        """Return, for each of *positions*, at most *limit* images that have the vector there, by id, then by image."""
        query = (
            "SELECT images.position, images.item_id, images.image, vectors.digest FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.images AS images ON images.position = wanted.value"
            " JOIN {layer}.vectors AS vectors ON vectors.position = images.position WHERE TRUE{live}"
        )
        wanted = list(map(index, dict.fromkeys(positions)))  # JSON does not take the integers of NumPy
        rows: dict[int, list[Row]] = {position: [] for position in wanted}
        for each, some in self._files.each(query, "images.item_id", wanted, key_of_position):
            found = self._limited(each, some, limit)
            with self._files.reading:
                for position, item, image, digest in found:
                    rows[position].append(_row(item, image, digest))
        if len(wanted) <= FEW:
            self._recent.keep_places({row[0].digest: position for position, row in rows.items() if row})
        for several in rows.values():
            several.sort()
            del several[limit:]
        return rows

    def _limited(self, query: str, positions: Sequence[int], limit: int) -> list[tuple[Any, ...]]:
        most = 4 * len(positions)
        found = self._files.all(f"{query} LIMIT ?2", (json.dumps(positions), most))
        if len(found) == most:  # one image that thousands of items share would keep out the others
            ordered = f"{query} ORDER BY 2, 3 LIMIT ?2"
            found = [row for position in positions for row in self._files.all(ordered, (f"[{position}]", limit))]
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
        for each, some in self._files.each(query, "images.item_id", wanted, key_of_position):
            with self._files.reading, self._files.lock:
                for position in some:
                    found = self._files.connection.execute(f"{each} ORDER BY 1, 2", (position,))
                    matching = (row[:3] for row in found if where.matches(parsed(row[3]), row[0]))
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
        with self._files.reading, self._files.lock:
            for item, text, position in self._files.connection.execute(self._files.query(query, "items.item_id")):
                if item != last:  # the images of an item come together
                    last, matches = item, where.matches(parsed(text), item)
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
        for name, kind in self._files.all(self._files.query(query, "items.item_id")):
            types[name] = types.get(name, AttributeType(0)) | of_json.get(kind, AttributeType(0))
        return types

    def rows_after(self, row: StoredRow | None, limit: int) -> list[StoredRow]:
        """Return at most *limit* images by id, then by ordinal: the first ones, or those after *row*."""
        query = (
            "SELECT item_id, ordinal, image, position FROM {layer}.images AS images"
            " WHERE (item_id, ordinal) > (?1, ?2){live}"
        )
        last = (row.id, row.ordinal) if row else ("", -1)
        found = self._files.all(
            f"{self._files.query(query, 'images.item_id')} ORDER BY item_id, ordinal LIMIT ?3", (*last, limit)
        )
        return [StoredRow(*each) for each in found]

    def positions(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the position of the vector of each image digest in *digests*; raises StoreDamaged."""
        digests = list(digests)
        kept = self._recent.places(digests)
        if len(kept) == len(digests):
            return kept
        query = "SELECT position FROM {layer}.vectors WHERE digest = ?1"
        found: dict[str, Any] = {}
        with self._files.reading:
            wanted = {bytes.fromhex(digest): digest for digest in digests if digest not in kept}
        # what a later file says of a digest counts: the vector that the base has of it may belong to nobody any more
        for each, some in self._files.each(query, "", list(wanted), key_of_digest, self._files.layers[::-1]):
            with self._files.reading, self._files.lock:
                execute = self._files.connection.execute
                found |= {wanted[digest]: execute(each, (digest,)).fetchone() for digest in some}
        gone = next((digest for digest, row in found.items() if row is None), None)
        if gone is not None:
            raise StoreDamaged(
                f"{self._files.path} has no vector of the image {gone}, which it names; run `visrec verify`"
            )
        with self._files.reading:
            return kept | {digest: int(position) for digest, (position,) in found.items()}

    def ids(self, prefix: str = "", limit: int = -1) -> list[str]:
        """Return the ids that begin with *prefix*, ascending, at most *limit* of them."""
        query = "SELECT item_id FROM {layer}.items WHERE item_id >= ?1 AND item_id < ?2{live}"
        ordered = f"{self._files.query(query, 'items.item_id')} ORDER BY item_id LIMIT ?3"
        return [item for (item,) in self._files.all(ordered, (prefix, prefix + "\U0010ffff" * 8, limit))]

    def ids_after(self, item: str, limit: int) -> list[str]:
        """Return the first *limit* ids greater than *item*, ascending, or all of them for -1."""
        ordered = self._files.query(_IDS_AFTER, "items.item_id") + _BY_ID
        return [each for (each,) in self._files.all(ordered, (item, limit))]

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        yield from self._files.pages(self._files.query(_IDS_AFTER, "items.item_id") + _BY_ID)

    def skipped(self, item: str | None = None) -> list[Skipped]:
        """Return what was skipped of *item*, or of all items, by id, then in the order of the catalog.

        Stale images are among them. What the catalog left out comes before the images. It has an empty id or image
        where it has none.
        """
        owners = {_LEFT_OUT: WHOLE, _SKIPPED: "t.item_id", _STALE: "t.item_id"}
        union = " UNION ALL ".join(self._files.query(query, owner) for query, owner in owners.items())
        return [Skipped(*row) for *row, _ in self._files.all(f"{union} ORDER BY item_id, place", (item,))]

    def skipped_lines(self) -> Iterator[str]:
        """Yield a JSON object for each skipped image, as `skipped` returns them: item_id, image, reason, message.

        Those of a stale image have `stale_runs`, too.
        """
        for each in self.skipped():
            value: dict[str, object] = {
                "item_id": each.id,
                "image": each.image,
                "reason": each.reason,
                "message": each.message,
            }
            value |= {"stale_runs": each.stale} if each.stale else {}
            yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def skipped_reasons(self) -> dict[str, int]:
        """Return how much was skipped for each reason, the most frequent reason first."""
        images = self._files.query("SELECT reason FROM {layer}.skipped WHERE TRUE{live}", "skipped.item_id")
        left_out = self._files.query("SELECT reason FROM {layer}.left_out WHERE TRUE{live}", WHOLE)
        return self._counts(f"{images} UNION ALL {left_out}")

    def stale_reasons(self) -> dict[str, int]:
        """Return how many images are stale for each reason, the most frequent reason first."""
        return self._counts(self._files.query("SELECT reason FROM {layer}.stale WHERE TRUE{live}", "stale.item_id"))

    def _counts(self, reasons: str) -> dict[str, int]:
        """Return how often the query *reasons* finds each reason."""
        query = f"SELECT reason, count(*) FROM ({reasons}) GROUP BY reason ORDER BY count(*) DESC, reason"  # noqa: S608
        return dict(self._files.all(query))


def _row(item: object, image: object, digest: object) -> Row:
    return Row(text_of(item), text_of(image), blob(digest).hex())
