"""The items that change with the next generation while they are collected, in bounded memory whatever their number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from mmap import mmap
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from vision_recs.store.added import ColorsOfItem, names_colors, with_added, without_colors
from vision_recs.store.difference import Difference, difference_from, difference_from_nothing
from vision_recs.store.layers import INDEXES, TABLES, ItemsDatabase
from vision_recs.store.shards import Embedded
from vision_recs.store.stored_items import StoredImage, StoredItem, StoredItems
from vision_recs.types import Attribute, Item

_STAGING = """
CREATE TABLE staging.staged_items (
    item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL, version INTEGER
) WITHOUT ROWID;
CREATE TABLE staging.staged_images (
    number INTEGER PRIMARY KEY, item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL,
    attributes TEXT NOT NULL, known_signature TEXT, known_digest BLOB, known_stale INTEGER NOT NULL DEFAULT 0,
    is_kept INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE staging.removed (item_id TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID;
CREATE TABLE staging.digests (
    number INTEGER PRIMARY KEY, digest BLOB, signature TEXT, reason TEXT, message TEXT, stale INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE staging.outcomes (
    digest BLOB PRIMARY KEY, position INTEGER, reason TEXT, message TEXT, added TEXT
) WITHOUT ROWID;
CREATE TABLE staging.reusable (
    digest BLOB, shard TEXT NOT NULL, row INTEGER NOT NULL, added TEXT, PRIMARY KEY (digest, shard)
) WITHOUT ROWID;
"""
_FINISH = """
INSERT INTO main.images
    SELECT item_id, ordinal, image, position, signature, iif(added IS NULL, attributes, with_added(attributes, added))
    FROM staging.staged_images JOIN staging.digests USING (number) JOIN staging.outcomes USING (digest)
    WHERE position IS NOT NULL ORDER BY item_id, ordinal;
INSERT INTO main.stale
    SELECT item_id, ordinal, stale, digests.reason, digests.message
    FROM staging.staged_images JOIN staging.digests USING (number)
    WHERE stale > 0 ORDER BY item_id, ordinal;
INSERT INTO main.vectors
    SELECT position, digest FROM staging.outcomes
    WHERE position IN (SELECT position FROM main.images) ORDER BY position;
INSERT INTO main.skipped
    SELECT item_id, ordinal, image, digest, signature,
        coalesce(digests.reason, outcomes.reason), coalesce(digests.message, outcomes.message), attributes
    FROM staging.staged_images JOIN staging.digests USING (number) LEFT JOIN staging.outcomes USING (digest)
    WHERE NOT EXISTS (
        SELECT 1 FROM main.images AS i WHERE i.item_id = staged_images.item_id AND i.ordinal = staged_images.ordinal
    ) ORDER BY item_id, ordinal;
INSERT INTO main.items
    SELECT item_id, {of_item} FROM staging.staged_items
    WHERE EXISTS (SELECT 1 FROM main.images WHERE images.item_id = staged_items.item_id) ORDER BY item_id;
INSERT INTO main.skipped_items
    SELECT item_id, attributes FROM staging.staged_items
    WHERE NOT EXISTS (SELECT 1 FROM main.images WHERE images.item_id = staged_items.item_id) ORDER BY item_id;
INSERT OR REPLACE INTO main.versions
    SELECT item_id, version FROM staging.staged_items WHERE version IS NOT NULL ORDER BY item_id;
INSERT OR REPLACE INTO main.versions
    SELECT item_id, version FROM staging.removed WHERE version IS NOT NULL ORDER BY item_id;
"""
_COLORED_ITEM = (
    "with_added(attributes, (SELECT colors_of_item(images.attributes) FROM main.images"
    " WHERE images.item_id = staged_items.item_id))"
)
"""The attributes of an item where the colors of images are named."""
_REASONS = """
SELECT s.reason, count(*) FROM main.skipped AS s
    JOIN staging.staged_images AS i ON i.item_id = s.item_id AND i.ordinal = s.ordinal
    WHERE NOT i.is_kept GROUP BY s.reason ORDER BY count(*) DESC, s.reason
"""
_STALE_REASONS = """
SELECT s.reason, count(*) FROM main.stale AS s
    JOIN staging.staged_images AS i ON i.item_id = s.item_id AND i.ordinal = s.ordinal
    WHERE NOT i.is_kept GROUP BY s.reason ORDER BY count(*) DESC, s.reason
"""
_NAMED = (
    "INSERT INTO main.changed SELECT item_id FROM staging.staged_items ORDER BY item_id",
    "INSERT OR IGNORE INTO main.changed SELECT item_id FROM staging.removed ORDER BY item_id",
)
_LASTING = frozenset({"not-an-image", "truncated", "zero-vector", "crashed", "too-slow"})
"""Failures that only other bytes or another encoder mend; others may pass, as when an installation learns a format."""

_AT_ONCE = 2_000

_CACHE_KIB = 256 << 10  # of each of the two files, at most: digests come in no order, and what does not fit is slow
_SEEN_BITS = 29
"""64 MiB at most, of which only what is touched takes memory: of a hundred million digests a sixth look as if known."""


@dataclass(frozen=True, slots=True)
class Staged:
    """An image to read; *signature* and *digest* are from the last generation, where its outcome is known.

    *stale* is in how many runs, up to the last one, it could not be read. One that *is_kept* is not read again: only
    its item has changed. *attributes* are those of its item as JSON text, where they were asked for.
    """

    number: int
    id: str
    image: str
    signature: str | None
    digest: bytes | None
    stale: int = 0
    is_kept: bool = False
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items and images a generation has; *removed* items were in the last generation only.

    Of the *images*, *imageless* ones have an empty name: an item has them that has words alone.
    """

    items: int
    images: int
    imageless: int
    skipped: int
    removed: int


class Outcome(NamedTuple):
    """The *position* of the vector of the images with *digest*, or why they have none: *reason* and *message*.

    *added* is what the store adds to the attributes of these images, or None.
    """

    digest: bytes
    position: int | None
    reason: str | None
    message: str | None
    added: str | None


class Staging:
    """Collects items and the outcome of each of their images, then writes the items file of a generation.

    The outcome of an image is the position of its vector, or the reason why it has none. Images with the same bytes,
    that is with the same digest, have the same outcome. With a *base* only items that differ from it are kept, and the
    file is a delta.
    """

    def __init__(  # noqa: PLR0913 - what the last generation has, and what of it stands
        self,
        path: Path,
        base: StoredItems | None,
        *,
        is_whole: bool = True,
        is_trusted: Callable[[int], bool] | None = None,
        retry_skipped: bool = False,
        names_colors: bool = False,
    ) -> None:
        """Write to *path*; *base* are the items of the last generation, where it is of the same space.

        Unless *is_whole*, only some items are collected, and what is known of the others stays. *is_trusted* says
        whether the vector at a position of *base* may be used; without it, all may. With *retry_skipped* every image is
        tried again that the last generation skipped. With *names_colors* items get the colors of their images.
        """
        self.path = path
        self.base = base
        self._is_whole = is_whole
        self._is_trusted = is_trusted
        self._retries = retry_skipped
        self.names_colors = names_colors
        self._connection = sqlite3.connect(path, isolation_level=None)
        execute = self._connection.execute
        # nothing here has to survive a crash: the finished file is flushed before it is published
        execute("PRAGMA journal_mode = OFF")
        execute("PRAGMA synchronous = OFF")
        execute("ATTACH '' AS staging")
        for database in ("main", "staging"):
            execute(f"PRAGMA {database}.cache_size = -{_CACHE_KIB}")
        self._connection.executescript(TABLES + _STAGING)
        execute("BEGIN")
        self._digests: list[tuple[int, bytes, str | None]] = []  # which are written many at a time
        self._seen = _Seen()
        self._offers = False

    def close(self) -> None:
        """Give up the file, finished or not."""
        self._connection.close()

    @property
    def trusts_all(self) -> bool:
        """Whether every vector of the base may be used."""
        return self._is_trusted is None

    def is_settled(self, image: StoredImage) -> bool:
        """Whether the outcome of *image*, which the base has, stands as long as the bytes of the image do."""
        if image.position is not None:
            return self._is_trusted is None or self._is_trusted(image.position)
        return image.reason in _LASTING and image.digest is not None and not self._retries

    def add(self, item: Item, before: StoredItem | None = None, *, version: int | None = None) -> int:
        """Add *item*, which was *before* in the base, and return how many images it has.

        An image that is listed twice counts once. Raises ValueError for an id that was added before.
        """
        self._add_items([(item.id, attributes_text(item.attributes), version)])
        known = {each.image: each for each in before.images if self.is_settled(each)} if before else {}
        rows = []
        for ordinal, (image, attributes) in enumerate(images_of(item)):
            settled = known.get(image)
            known_part = (settled.signature, settled.digest, settled.stale) if settled else (None, None, 0)
            rows.append((item.id, ordinal, image, attributes, *known_part))
        self._connection.executemany(
            "INSERT INTO staging.staged_images"
            " (item_id, ordinal, image, attributes, known_signature, known_digest, known_stale)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        return len(rows)

    def add_new(self, items: Sequence[Item]) -> None:
        """Add *items*, of which the base has none, as `add` does."""
        self._add_items([(item.id, attributes_text(item.attributes), None) for item in items])
        rows = (
            (item.id, ordinal, image, attributes)
            for item in items
            for ordinal, (image, attributes) in enumerate(images_of(item))
        )
        self._connection.executemany(
            "INSERT INTO staging.staged_images (item_id, ordinal, image, attributes) VALUES (?, ?, ?, ?)", rows
        )

    def add_stored(
        self, item: str, stored: StoredItem, *, version: int | None = None, has_other_words: bool = False
    ) -> None:
        """Add *item* with the attributes and images of *stored*, whose outcomes stand: no image is read.

        Where the vectors hold words of the item that are others now, `images` yields the images that have one. Images
        at positions that are not trusted are read again. Raises ValueError for an id that was added before.
        """
        self._add_items([(item, stored.attributes, version)])
        execute = self._connection.execute
        for image in stored.images:
            is_open = has_other_words and image.digest is not None
            known = (image.signature, image.digest, image.stale) if is_open else (None, None, 0)
            values = (item, image.ordinal, image.image, image.attributes, *known)
            number = execute(
                "INSERT INTO staging.staged_images (item_id, ordinal, image, attributes, known_signature, known_digest,"
                " known_stale, is_kept) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
                values,
            ).lastrowid
            if is_open or (image.position is not None and not self.is_settled(image)):
                continue
            of_digest = image.digest is not None and not image.stale
            why = (None, None) if of_digest else (image.reason, image.message)
            execute(
                "INSERT INTO staging.digests VALUES (?, ?, ?, ?, ?, ?)",
                (number, image.digest, image.signature, *why, image.stale),
            )
            if image.digest is not None:
                outcome = (
                    image.digest,
                    image.position,
                    *((image.reason, image.message) if of_digest else (None, None)),
                    image.added,
                )
                self._seen.add(image.digest)
                execute("INSERT OR IGNORE INTO staging.outcomes VALUES (?, ?, ?, ?, ?)", outcome)

    def remove(self, items: Sequence[str], versions: Mapping[str, int] | None = None) -> None:
        """Note that the generation has none of *items*; *versions* are those that are kept of them."""
        rows = [(item, (versions or {}).get(item)) for item in items]
        self._connection.executemany("INSERT OR REPLACE INTO staging.removed VALUES (?, ?)", rows)

    def leave_out(self, item: str, image: str, reason: str, message: str) -> None:
        """Record what is not among the items: a row or value of the catalog.

        *item* and *image* are empty where they are not known.
        """
        values = (item, image, reason, message)
        self._connection.execute(
            "INSERT INTO main.left_out (item_id, image, reason, message) VALUES (?, ?, ?, ?)", values
        )

    def image_count(self) -> int:
        """Return how many images `images` yields."""
        self._write_digests()
        return self._count(
            "SELECT count(*) FROM staging.staged_images LEFT JOIN staging.digests AS d USING (number)"
            " WHERE d.number IS NULL"
        )

    def has_addresses(self) -> bool:
        """Whether one of the images is at an address."""
        return self._count("SELECT EXISTS (SELECT 1 FROM staging.staged_images WHERE instr(image, '://'))") > 0

    def images(self, *, attributes: bool = False) -> Iterator[Staged]:
        """Yield every image that has to be read, in the order in which the items were added; with *attributes*."""
        own = "(SELECT i.attributes FROM staging.staged_items AS i WHERE i.item_id = s.item_id)" if attributes else "''"
        query = (
            f"SELECT number, item_id, image, known_signature, known_digest, known_stale, is_kept, {own}"  # noqa: S608
            " FROM staging.staged_images AS s LEFT JOIN staging.digests AS d USING (number)"
            " WHERE d.number IS NULL AND number > ? ORDER BY number LIMIT ?"
        )
        self._write_digests()
        last = 0
        while found := self._connection.execute(query, (last, _AT_ONCE)).fetchall():
            yield from (Staged(*row) for row in found)
            last = found[-1][0]

    def set_digest(self, image: Staged, digest: bytes, signature: str | None) -> None:
        """Record the SHA-256 *digest* of the bytes of *image*, and the signature of its file."""
        self._digests.append((image.number, digest, signature))
        if len(self._digests) == _AT_ONCE:
            self._write_digests()

    def keep(self, image: Staged, reason: str, message: str, *, runs: int) -> bool:
        """Record that *image* could not be read now, unless it has no vector or is stale for over *runs* runs then.

        Return whether it keeps its vector. Only runs over a whole catalog count.
        """
        stale = max(1, image.stale + self._is_whole)
        if image.digest is None or stale > runs:
            return False
        if not self._one("SELECT 1 FROM staging.outcomes WHERE digest = ? AND position IS NOT NULL", image.digest):
            return False
        values = (image.number, image.digest, image.signature, reason, message, stale)
        self._connection.execute("INSERT INTO staging.digests VALUES (?, ?, ?, ?, ?, ?)", values)
        return True

    def skip(self, image: Staged, reason: str, message: str) -> None:
        """Record that the bytes of *image* cannot be read, and why."""
        values = (image.number, reason, message)
        self._connection.execute("INSERT INTO staging.digests (number, reason, message) VALUES (?, ?, ?)", values)

    def has_outcome(self, digest: bytes) -> bool:
        """Whether the outcome of the images with *digest* is known, from this run or from the last generation."""
        if digest in self._seen and self._one("SELECT 1 FROM staging.outcomes WHERE digest = ?", digest):
            return True
        known = self.base.outcome(digest) if self.base else None
        if known is None or not self.is_settled(known):
            return False
        self.set_outcomes([Outcome(digest, known.position, known.reason, known.message, known.added)])
        return True

    def set_outcome(
        self,
        digest: bytes,
        *,
        position: int | None = None,
        reason: str | None = None,
        message: str | None = None,
        added: str | None = None,
    ) -> None:
        """Record the *position* of the vector of *digest* and what is *added* to its images, or why it has none."""
        self.set_outcomes([Outcome(digest, position, reason, message, added)])

    def set_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record many outcomes, as `set_outcome` does."""
        for digest, *_ in outcomes:
            self._seen.add(digest)
        by_digest = sorted(outcomes, key=itemgetter(0))  # in the order of the table, which takes less time
        self._connection.executemany("INSERT INTO staging.outcomes VALUES (?, ?, ?, ?, ?)", by_digest)

    def add_reusable(self, shard: str, images: Sequence[Embedded]) -> None:
        """Offer the vectors of *shard*, which the last generation does not use, to `reusable`.

        Where colors are named, the images must have them, and elsewhere they lose them.
        """
        rows = [
            (image.digest, shard, image.row, image.added if self.names_colors else without_colors(image.added))
            for image in images
            if image.row is not None and (not self.names_colors or names_colors(image.added) or not image.image)
        ]
        self._offers = True
        self._connection.executemany("INSERT OR IGNORE INTO staging.reusable VALUES (?, ?, ?, ?)", rows)

    def drop_reusable(self, shard: str) -> None:
        """Withdraw what `add_reusable` offered of *shard*."""
        self._connection.execute("DELETE FROM staging.reusable WHERE shard = ?", (shard,))

    def reusable(self, digest: bytes) -> tuple[str, int, str | None] | None:
        """Return an offered shard with a vector of *digest*, its row, and what is added; None where none has it."""
        if not self._offers:
            return None
        found = self._one("SELECT shard, row, added FROM staging.reusable WHERE digest = ? LIMIT 1", digest)
        return (found[0], found[1], found[2]) if found else None

    def finish(self) -> Difference:
        """Fill the items file, and return what it changes."""
        self._write_digests()
        self._connection.execute("COMMIT")
        of_item = _COLORED_ITEM if self.names_colors else "attributes"
        self._connection.create_function("with_added", 2, with_added, deterministic=True)
        self._connection.create_aggregate("colors_of_item", 1, ColorsOfItem)  # type: ignore[arg-type] # numbers only, it says
        self._connection.executescript(f"BEGIN; {_FINISH.format(of_item=of_item)}{INDEXES} COMMIT;")
        self._connection.execute("BEGIN")
        reasons, stale = (dict(self._connection.execute(query)) for query in (_REASONS, _STALE_REASONS))
        made = ItemsDatabase(self.path, self._connection)
        if self.base is None:
            difference = difference_from_nothing(made)
        else:
            removed = {item for (item,) in self._connection.execute("SELECT item_id FROM staging.removed")}
            for query in _NAMED:
                self._connection.execute(query)
            difference = difference_from(self.base, made, removed=None if self._is_whole else removed)
        self._connection.execute("COMMIT")
        return replace(difference, skipped_reasons=reasons, stale_reasons=stale)

    def keep_all_versions(self, before: StoredItems) -> None:
        """Keep the versions that *before* has of items, in a generation that is not based on it."""
        self._connection.executemany("INSERT OR IGNORE INTO main.versions VALUES (?, ?)", before.all_versions())

    def _add_items(self, rows: Sequence[tuple[str, str, int | None]]) -> None:
        before = self._connection.total_changes
        try:
            self._connection.executemany("INSERT INTO staging.staged_items VALUES (?, ?, ?)", rows)
        except sqlite3.IntegrityError as error:
            item, *_ = rows[self._connection.total_changes - before]
            raise ValueError(f"the catalog yields the item {item!r} twice; merge its images into one Item") from error

    def _write_digests(self) -> None:
        rows, self._digests = self._digests, []
        self._connection.executemany("INSERT INTO staging.digests (number, digest, signature) VALUES (?, ?, ?)", rows)

    def _one(self, query: str, digest: bytes) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, (digest,)).fetchone()
        return found

    def _count(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


class _Seen:
    """Which digests may have been added: those that were, and few others; each bit stands for many digests."""

    def __init__(self) -> None:
        self._bits: mmap | None = None

    def add(self, digest: bytes) -> None:
        """Add *digest*."""
        if self._bits is None:
            self._bits = mmap(-1, 1 << (_SEEN_BITS - 3))  # of a bytearray, all would be touched
        bit = int.from_bytes(digest[:8], "little")
        self._bits[(bit >> 3) & (1 << (_SEEN_BITS - 3)) - 1] |= 1 << (bit & 7)

    def __contains__(self, digest: bytes) -> bool:
        """Whether *digest* may have been added."""
        bit = int.from_bytes(digest[:8], "little")
        is_marked = self._bits is not None and self._bits[(bit >> 3) & (1 << (_SEEN_BITS - 3)) - 1] >> (bit & 7) & 1
        return bool(is_marked)


def images_of(item: Item) -> list[tuple[str, str]]:
    """Return each image of *item* once, in order, with its own attributes as JSON text.

    An item without an image has one with an empty name: where vectors have words, it has a vector, too.
    """
    if not item.images:
        return [("", "{}")]
    if not item.image_attributes:
        return [(image, "{}") for image in dict.fromkeys(item.images)]
    images: dict[str, Mapping[str, Attribute]] = {}
    for image, attributes in zip(item.images, item.image_attributes, strict=True):
        images.setdefault(image, attributes)
    return [(image, attributes_text(attributes)) for image, attributes in images.items()]


def is_list_of(values: Sequence[Mapping[str, Attribute]], text: str) -> bool:
    """Return whether *text* is what `attributes_text` makes of each of *values*, separated by commas.

    Of values with NaN or infinity it may return False where that is so.
    """
    import msgspec  # an update of a few items does without

    try:
        # the same text in a fifth of the time, but for numbers such as 1e+22
        if msgspec.json.encode(values) == f"[{text}]".encode():
            return True
    except (TypeError, ValueError, OverflowError):
        pass  # numbers of NumPy, long ones, halves of characters
    try:
        return _to_json(values) == f"[{text}]"
    except ValueError:
        return False


def attributes_text(value: Mapping[str, Attribute]) -> str:
    """Return *value* as JSON without spaces; NaN and infinity, which JSON does not have, become null."""
    try:
        return _to_json(value)
    except ValueError:  # items made of a data frame have them where a cell is empty
        known = {name: None if isinstance(each, float) and not isfinite(each) else each for name, each in value.items()}
        return _to_json(known)


_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
