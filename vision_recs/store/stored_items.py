"""The items of a generation as the next run needs them: all that is stored of them, and what became of their images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from vision_recs.store.added import added_to, without_added
from vision_recs.store.layers import WHOLE, ItemsDatabase, key_of_id


class Skipped(NamedTuple):
    """An image that could not be embedded, and why: *reason* is a code of `errors.REASONS`.

    It is stale where it could not be read in the last *stale* runs, and keeps the vector of an earlier one.
    """

    id: str
    image: str
    reason: str
    message: str
    stale: int = 0


class StoredImage(NamedTuple):
    """All that is stored of an image: the *position* of its vector, or the *reason* and *message* why it has none.

    With both it is stale: it could not be read for that reason in the last *stale* runs. *attributes* are JSON text.
    *signature* and *digest* are None where they were not known. *added* is what the store adds to *attributes*, see the
    module `added`, or None.
    """

    ordinal: int
    image: str
    attributes: str
    signature: str | None
    digest: bytes | None
    position: int | None
    reason: str | None
    message: str | None
    stale: int = 0
    added: str | None = None


class StoredItem(NamedTuple):
    """All that is stored of an item: its *attributes* as JSON text, and its images in the order of the catalog."""

    attributes: str
    images: list[StoredImage]


class StoredPage(NamedTuple):
    """Some items whose images all have vectors: *attributes* are those of the items, JSON text joined by commas.

    Of each image, in the order of the items and then of the catalog, there are the id of its item, its name, its own
    attributes and its signature.
    """

    attributes: str
    owners: list[str]
    images: list[str]
    own_attributes: list[str]
    signatures: list[str]


class FileImages(NamedTuple):
    """The *images* of some items, by id and ordinal, their own *attributes* as JSON text, and *digests* as text."""

    images: list[str]
    attributes: list[str]
    digests: list[str]


class StoredItems:
    """What is stored of the items of a generation; read through the same files as `Items`."""

    def __init__(self, files: ItemsDatabase) -> None:
        """Read *files*, which somebody else closes."""
        self._files = files

    def pages(self) -> Iterator[list[str]]:
        """Yield the ids of all items that `items` knows, ascending within each of two parts, some at a time."""
        for table in ("items", "skipped_items"):
            query = f"SELECT item_id FROM {{layer}}.{table} AS t WHERE item_id > ?1{{live}}"  # noqa: S608
            ordered = f"{self._files.query(query, 't.item_id')} ORDER BY item_id LIMIT ?2"
            yield from self._files.pages(ordered)

    def count(self) -> int:
        """Return how many items `items` knows."""
        count = 0
        for table in ("items", "skipped_items"):
            query = f"SELECT count(*) AS n FROM {{layer}}.{table} AS t WHERE TRUE{{live}}"  # noqa: S608
            count += sum(number for (number,) in self._files.all(self._files.query(query, "t.item_id")))
        return count

    def pages_of_changed(self, file: int = 0) -> Iterator[list[str]]:
        """Yield the ids of the items that the *file* with that number, counted from 0 for the oldest, replaces."""
        layer = self._files.layers[file]
        query = f"SELECT item_id FROM {layer}.changed WHERE item_id > ?1 ORDER BY item_id LIMIT ?2"  # noqa: S608
        yield from self._files.pages(query)

    def of_file(self, file: int, first: str, last: str) -> tuple[list[str], FileImages]:
        """Return what the *file* with that number has of its items from *first* to *last*, also of replaced ones.

        These are the attributes of each item, by id, as JSON text, and its images that have vectors.
        """
        layer = self._files.layers[file]
        ((texts,),) = self._files.all(_OF_FILE_ITEMS.format(layer=layer), (first, last))
        ((images, own, digests),) = self._files.all(_OF_FILE_IMAGES.format(layer=layer), (first, last))
        joined: str = (digests or "").lower()
        found = FileImages(
            json.loads(images),
            (own or "").split(_SEPARATOR),
            [joined[start : start + _DIGEST_DIGITS] for start in range(0, len(joined), _DIGEST_DIGITS)],
        )
        return (texts or "").split(_SEPARATOR), found

    def left_out(self) -> list[Skipped]:
        """Return what the catalog left out, in its order."""
        query = "SELECT item_id, image, reason, message, number FROM {layer}.left_out WHERE TRUE{live}"
        return [Skipped(*row) for *row, _ in self._files.all(f"{self._files.query(query, WHOLE)} ORDER BY number")]

    def digests_skipped_for(self, reasons: Sequence[str]) -> list[bytes]:
        """Return the digests of the images that were skipped for one of *reasons*."""
        query = (
            "SELECT DISTINCT s.digest FROM json_each(?1) AS wanted CROSS JOIN {layer}.skipped AS s"
            " ON s.reason = wanted.value WHERE s.digest IS NOT NULL{live}"
        )
        return [digest for (digest,) in self._files.all(self._files.query(query, "s.item_id"), (json.dumps(reasons),))]

    def items(self, items: Sequence[str]) -> dict[str, StoredItem]:
        """Return all that is stored of each of *items*, by id, also of those without a vector; others are left out."""
        found: dict[str, StoredItem] = {}
        for query in (_ITEMS.format("items"), _ITEMS.format("skipped_items")):
            for each, ids in self._files.each(query, "i.item_id", items, key_of_id):
                for item, attributes in self._files.all(each, (json.dumps(ids),)):
                    found[item] = StoredItem(without_added(attributes), [])
        for query in (_IMAGES, _SKIPPED):
            for each, ids in self._files.each(query, "i.item_id", items, key_of_id):
                for item, *image in self._files.all(each, (json.dumps(ids),)):
                    found[item].images.append(_stored_image(image))
        for stored in found.values():
            stored.images.sort()
        return found

    def page(self, items: Sequence[str]) -> StoredPage | None:
        """Return what `items` knows of *items* (one at least), in their order, many times as fast as that.

        None where one of them is in a delta, is not known, or has an image that is stale, or without a vector or a
        signature.
        """
        bitmaps = self._files.touched
        if len(bitmaps) < len(self._files.layers) - 1:
            return None
        keys = list(map(key_of_id, items)) if bitmaps else ()
        if any(bitmap.may_have(key) for bitmap in bitmaps for key in keys):
            return None
        # items that follow each other are read at half the price of looking each of them up
        found = self._joined(_RANGE, items, items[0], items[-1]) if items == sorted(items) else None
        return found or self._joined(_WANTED, items, json.dumps(items))

    def _joined(self, among: str, items: Sequence[str], *values: str) -> StoredPage | None:
        """Return the page of *items*, if they are what is stored *among* the *values*, in that order."""
        found = self._files.all(_ATTRIBUTES.format(among.format("items")), values)
        if not found or found[0][:2] != (len(items), _SEPARATOR.join(items)):
            return None
        for table in ("skipped", "stale"):
            if self._files.all(f"SELECT 1 FROM {among.format(table)} LIMIT 1", values):  # noqa: S608
                return None
        ((count, *columns),) = self._files.all(_COLUMNS.format(among.format("images")), values)
        parts = [without_added(column).split(_SEPARATOR) for column in columns if column is not None]
        is_whole = len(parts) == len(columns) and all(len(part) == count for part in parts)
        return StoredPage(without_added(found[0][2]), *parts) if is_whole else None

    def outcome(self, digest: bytes) -> StoredImage | None:
        """Return an image with *digest*, of any item, that has a vector or was skipped; None where there is none."""
        for query in (_OF_DIGEST, _SKIPPED_OF_DIGEST):
            found = self._files.all(f"{self._files.query(query, 'i.item_id')} LIMIT 1", (digest,))
            if found:
                return _stored_image(found[0])
        return None

    def versions(self, items: Sequence[str]) -> dict[str, int]:
        """Return the newest version that is known of each of *items*, by id; those without one are left out."""
        query = (
            "SELECT item_id, version FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.versions AS v ON v.item_id = wanted.value WHERE TRUE{live}"
        )
        found: dict[str, int] = {}
        for each, ids in self._files.each(query, "v.item_id", items, key_of_id):
            found |= dict(self._files.all(each, (json.dumps(ids),)))
        return found

    def all_versions(self) -> Iterator[tuple[str, int]]:
        """Yield the id of every item of which a version is known, and that version."""
        query = "SELECT item_id, version FROM {layer}.versions AS v WHERE TRUE{live}"
        yield from self._files.all(self._files.query(query, "v.item_id"))

    def images_between(self, first: int, stop: int) -> list[tuple[int, bytes, str, str, str]]:
        """Return position, digest, id, image and attributes of the vectors from *first* to before *stop*.

        They are those of one image of each. The attributes are as they are stored.
        """
        query = (
            "SELECT i.position AS position, v.digest AS digest, i.item_id AS item_id, i.image AS image,"
            " i.attributes AS attributes FROM {layer}.images AS i JOIN {layer}.vectors AS v USING (position)"
            " WHERE i.position >= ?1 AND i.position < ?2{live}"
        )
        union = self._files.query(query, "i.item_id")
        of_each = f"SELECT position, digest, min(item_id), image, attributes FROM ({union}) GROUP BY position"  # noqa: S608
        return self._files.all(f"{of_each} ORDER BY position", (first, stop))

    def positions_in_use(self, among: Sequence[int]) -> set[int]:
        """Return those of the positions *among* that an image of an item has."""
        query = (
            "SELECT DISTINCT i.position FROM json_each(?1) AS wanted"
            " CROSS JOIN {layer}.images AS i ON i.position = wanted.value WHERE TRUE{live}"
        )
        return {
            position for (position,) in self._files.all(self._files.query(query, "i.item_id"), (json.dumps(among),))
        }


def _stored_image(row: Sequence[Any]) -> StoredImage:
    image = StoredImage(*row)
    added = added_to(image.attributes)
    return image if added is None else image._replace(attributes=without_added(image.attributes), added=added)


_DIGEST_DIGITS = 64
# a row would be a tuple, and so many of them let Python look through all objects of the program; JSON has no "\0"
_OF_FILE_ITEMS = (
    "SELECT group_concat(attributes, char(0)) FROM"
    " (SELECT attributes FROM {layer}.items WHERE item_id BETWEEN ?1 AND ?2 ORDER BY item_id)"
)
_OF_FILE_IMAGES = (
    "SELECT json_group_array(image), group_concat(attributes, char(0)), group_concat(hex(digest), '') FROM"
    " (SELECT i.image, i.attributes, v.digest FROM {layer}.images AS i CROSS JOIN {layer}.vectors AS v"
    " ON v.position = i.position WHERE i.item_id BETWEEN ?1 AND ?2 ORDER BY i.item_id, i.ordinal)"
)
_ITEMS = (
    "SELECT i.item_id, i.attributes FROM json_each(?1) AS wanted"
    " CROSS JOIN {{layer}}.{} AS i ON i.item_id = wanted.value WHERE TRUE{{live}}"
)
_RANGE = "main.{} AS t WHERE t.item_id BETWEEN ?1 AND ?2"
_WANTED = "json_each(?1) AS wanted CROSS JOIN main.{} AS t ON t.item_id = wanted.value"
_SEPARATOR = "\0"
# each row would be turned into objects of Python; the loops make the order, and ids and counts are compared
_ATTRIBUTES = "SELECT count(*), group_concat(t.item_id, char(0)), group_concat(t.attributes, ',') FROM {}"
_COLUMNS = (
    "SELECT count(*), group_concat(t.item_id, char(0)), group_concat(t.image, char(0)),"
    " group_concat(t.attributes, char(0)), group_concat(t.signature, char(0)) FROM {}"
)
_IMAGES = (
    "SELECT i.item_id, i.ordinal, i.image, i.attributes, i.signature, v.digest, i.position, s.reason, s.message,"
    " coalesce(s.runs, 0) FROM json_each(?1) AS wanted CROSS JOIN {layer}.images AS i ON i.item_id = wanted.value"
    " LEFT JOIN {layer}.vectors AS v ON v.position = i.position"
    " LEFT JOIN {layer}.stale AS s ON s.item_id = i.item_id AND s.ordinal = i.ordinal WHERE TRUE{live}"
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
