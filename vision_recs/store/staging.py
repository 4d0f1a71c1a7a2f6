"""The items of the next generation while they are collected, in bounded memory whatever the size of the catalog."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from vision_recs.store.items import SCHEMA
from vision_recs.store.shards import Embedded
from vision_recs.types import Attribute, Item

_STAGING = """
CREATE TABLE staging.catalog_items (item_id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE staging.catalog_images (
    number INTEGER PRIMARY KEY, item_id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE TABLE staging.digests (number INTEGER PRIMARY KEY, digest BLOB, signature TEXT, reason TEXT, message TEXT);
CREATE TABLE staging.outcomes (digest BLOB PRIMARY KEY, position INTEGER, reason TEXT, message TEXT) WITHOUT ROWID;
CREATE TABLE staging.reusable (
    digest BLOB, shard TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (digest, shard)
) WITHOUT ROWID;
CREATE TEMP VIEW base_vectors AS SELECT * FROM base.vectors;
-- only other bytes or another encoder mend these; other failures may pass, as when an installation learns a format
CREATE TEMP VIEW lasting_failures AS
    SELECT * FROM base.skipped WHERE reason IN ('not-an-image', 'truncated', 'zero-vector', 'crashed', 'too-slow');
"""
_FINISH = """
INSERT INTO main.vectors SELECT position, digest FROM staging.outcomes WHERE position IS NOT NULL ORDER BY position;
INSERT INTO main.images
    SELECT item_id, ordinal, image, position, signature, attributes
    FROM staging.catalog_images JOIN staging.digests USING (number) JOIN staging.outcomes USING (digest)
    WHERE position IS NOT NULL ORDER BY item_id, ordinal;
INSERT INTO main.skipped
    SELECT item_id, ordinal, image, digest, signature,
        coalesce(digests.reason, outcomes.reason), coalesce(digests.message, outcomes.message)
    FROM staging.catalog_images JOIN staging.digests USING (number) LEFT JOIN staging.outcomes USING (digest)
    WHERE position IS NULL ORDER BY item_id, ordinal;
INSERT INTO main.items
    SELECT item_id, attributes FROM staging.catalog_items
    WHERE EXISTS (SELECT 1 FROM main.images WHERE images.item_id = catalog_items.item_id) ORDER BY item_id;
"""
_DIFFERENCES = (
    "SELECT item_id, attributes FROM {}.items",
    "SELECT item_id, ordinal, image, position, attributes FROM {}.images",
    "SELECT item_id, ordinal, image, reason, message FROM {}.skipped",
)


@dataclass(frozen=True, slots=True)
class Staged:
    """An image of the catalog; *signature* and *digest* are from the last generation, where its outcome is known."""

    number: int
    id: str
    image: str
    signature: str | None
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items and images a generation has; *removed* items were in the last generation only."""

    items: int
    images: int
    skipped: int
    removed: int


class Staging:
    """Collects the items of a catalog and the outcome of each image, then writes the items file of a generation.

    The outcome of an image is the position of its vector, or the reason why it has none. Images with the same bytes,
    that is with the same digest, have the same outcome.
    """

    def __init__(self, path: Path, base: Path | None) -> None:
        """Write to *path*; *base* is the items file of the last generation, if there is one."""
        self._reuses_base = False
        self._connection = sqlite3.connect(path, isolation_level=None, uri=True)
        execute = self._connection.execute
        # nothing here has to survive a crash: the finished file is flushed before it is published
        execute("PRAGMA journal_mode = OFF")
        execute("PRAGMA synchronous = OFF")
        execute("ATTACH '' AS staging")
        execute("ATTACH ? AS base", (f"{base.absolute().as_uri()}?mode=ro&immutable=1" if base else ":memory:",))
        for statement in SCHEMA.split(";") if base is None else ():
            execute(statement.replace("CREATE TABLE ", "CREATE TABLE base.").replace("INDEX ", "INDEX base."))
        self._connection.executescript(SCHEMA + _STAGING)
        execute("BEGIN")

    def retry_skipped(self) -> None:
        """Have every image tried again that the last generation skipped."""
        self._connection.execute("DROP VIEW lasting_failures")
        self._connection.execute("CREATE TEMP VIEW lasting_failures AS SELECT * FROM base.skipped WHERE false")

    def reuse_base(self, distrusted: Sequence[tuple[int, int]] = ()) -> None:
        """Use the outcomes of the last generation, which must be of the same space.

        The vectors at the *distrusted* positions, which are half-open ranges, are not used.
        """
        self._reuses_base = True
        if distrusted:
            inside = " OR ".join(f"position >= {first:d} AND position < {stop:d}" for first, stop in distrusted)
            self._connection.execute("DROP VIEW base_vectors")
            self._connection.execute(
                f"CREATE TEMP VIEW base_vectors AS SELECT * FROM base.vectors WHERE NOT ({inside})"  # noqa: S608
            )

    def close(self) -> None:
        """Give up the file, finished or not."""
        self._connection.close()

    def add(self, item: Item) -> int:
        """Add *item* and return how many images it has; an image that is listed twice counts once.

        Raises ValueError for an id that was added before.
        """
        execute = self._connection.execute
        try:
            execute("INSERT INTO staging.catalog_items VALUES (?, ?)", (item.id, _json(item.attributes)))
        except sqlite3.IntegrityError as error:
            raise ValueError(
                f"the catalog yields the item {item.id!r} twice; merge its images into one Item"
            ) from error
        own = item.image_attributes or ({},) * len(item.images)
        images: dict[str, Mapping[str, Attribute]] = {}
        for image, attributes in zip(item.images, own, strict=True):
            images.setdefault(image, attributes)
        rows = [
            (item.id, ordinal, image, _json(attributes)) for ordinal, (image, attributes) in enumerate(images.items())
        ]
        self._connection.executemany(
            "INSERT INTO staging.catalog_images (item_id, ordinal, image, attributes) VALUES (?, ?, ?, ?)", rows
        )
        return len(rows)

    def images(self) -> Iterator[Staged]:
        """Yield every image in the order of the catalog."""
        query = (
            "SELECT number, c.item_id, c.image, coalesce(i.signature, f.signature), coalesce(v.digest, f.digest)"
            " FROM staging.catalog_images c"
            " LEFT JOIN base.images i ON ?1 AND i.item_id = c.item_id AND i.image = c.image"
            " LEFT JOIN base_vectors v ON v.position = i.position"
            " LEFT JOIN lasting_failures f ON ?1 AND f.item_id = c.item_id AND f.image = c.image"
            " ORDER BY number"
        )
        return (Staged(*row) for row in self._connection.execute(query, (self._reuses_base,)))

    def crashed(self) -> list[bytes]:
        """Return the digests of the images that crashed their decoder in the last generation, or were too slow."""
        query = "SELECT DISTINCT digest FROM base.skipped WHERE reason IN ('crashed', 'too-slow')"
        return [digest for (digest,) in self._connection.execute(query)]

    def set_digest(self, image: Staged, digest: bytes, signature: str | None) -> None:
        """Record the SHA-256 *digest* of the bytes of *image*, and the signature of its file."""
        values = (image.number, digest, signature)
        self._connection.execute("INSERT INTO staging.digests (number, digest, signature) VALUES (?, ?, ?)", values)

    def skip(self, image: Staged, reason: str, message: str) -> None:
        """Record that the bytes of *image* cannot be read, and why."""
        values = (image.number, reason, message)
        self._connection.execute("INSERT INTO staging.digests (number, reason, message) VALUES (?, ?, ?)", values)

    def has_outcome(self, digest: bytes) -> bool:
        """Whether the outcome of the images with *digest* is known, from this run or from the last generation."""
        if self._one("SELECT 1 FROM staging.outcomes WHERE digest = ?", digest):
            return True
        if not self._reuses_base:
            return False
        position = self._one("SELECT position FROM base_vectors WHERE digest = ?", digest)
        if position:
            self.set_outcome(digest, position=position[0])
            return True
        failure = self._one("SELECT reason, message FROM lasting_failures WHERE digest = ? LIMIT 1", digest)
        if failure:
            self.set_outcome(digest, reason=failure[0], message=failure[1])
        return failure is not None

    def set_outcome(
        self, digest: bytes, *, position: int | None = None, reason: str | None = None, message: str | None = None
    ) -> None:
        """Record the *position* of the vector of the images with *digest*, or why they have none."""
        values = (digest, position, reason, message)
        self._connection.execute("INSERT INTO staging.outcomes VALUES (?, ?, ?, ?)", values)

    def add_reusable(self, shard: str, images: Sequence[Embedded]) -> None:
        """Offer the vectors of *shard*, which the last generation does not use, to `reusable`."""
        rows = [(image.digest, shard, image.row) for image in images if image.row is not None]
        self._connection.executemany("INSERT OR IGNORE INTO staging.reusable VALUES (?, ?, ?)", rows)

    def drop_reusable(self, shard: str) -> None:
        """Withdraw what `add_reusable` offered of *shard*."""
        self._connection.execute("DELETE FROM staging.reusable WHERE shard = ?", (shard,))

    def reusable(self, digest: bytes) -> tuple[str, int] | None:
        """Return an offered shard that has a vector of *digest*, and the row of that vector; None where none has it."""
        found = self._one("SELECT shard, row FROM staging.reusable WHERE digest = ? LIMIT 1", digest)
        return (found[0], found[1]) if found else None

    def positions_in_use(self) -> list[int]:
        """Return the positions of all outcomes, ascending."""
        query = "SELECT position FROM staging.outcomes WHERE position IS NOT NULL ORDER BY 1"
        return [position for (position,) in self._connection.execute(query)]

    def vectors_between(self, first: int, stop: int) -> list[tuple[int, bytes, str, str]]:
        """Return position, digest, id and image of the outcomes from *first* to before *stop*, one image for each."""
        query = (
            "SELECT position, digest, min(item_id), image FROM staging.outcomes"
            " JOIN staging.digests USING (digest) JOIN staging.catalog_images USING (number)"
            " WHERE position >= ? AND position < ? GROUP BY position ORDER BY position"
        )
        return self._connection.execute(query, (first, stop)).fetchall()

    def move(self, digest: bytes, position: int) -> None:
        """Record that the vector of *digest* is at *position* now."""
        self._connection.execute("UPDATE staging.outcomes SET position = ? WHERE digest = ?", (position, digest))

    def finish(self) -> Counts:
        """Fill the items file, and return how much it holds."""
        self._connection.execute("COMMIT")
        self._connection.executescript(f"BEGIN; {_FINISH} COMMIT;")
        removed = "SELECT count(*) FROM base.items WHERE item_id NOT IN (SELECT item_id FROM main.items)"
        return Counts(
            *(
                self._count(query)
                for query in (
                    "SELECT count(*) FROM main.items",
                    "SELECT count(*) FROM main.images",
                    "SELECT count(*) FROM main.skipped",
                    removed,
                )
            )
        )

    def differs_from_base(self) -> bool:
        """Whether the finished items differ from those of the last generation."""
        return any(
            self._connection.execute(f"{query.format(one)} EXCEPT {query.format(other)} LIMIT 1").fetchone()
            for query in _DIFFERENCES
            for one, other in (("main", "base"), ("base", "main"))
        )

    def positions(self) -> list[int]:
        """Return the positions of the vectors of the finished items, ascending."""
        return [position for (position,) in self._connection.execute("SELECT position FROM main.vectors ORDER BY 1")]

    def skipped_lines(self) -> Iterator[str]:
        """Yield a JSON object for each skipped image: item_id, image, reason, message."""
        names = ("item_id", "image", "reason", "message")
        query = f"SELECT {', '.join(names)} FROM main.skipped ORDER BY item_id, ordinal"  # noqa: S608
        for row in self._connection.execute(query):
            yield _json(dict(zip(names, row, strict=True)))

    def _one(self, query: str, digest: bytes) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, (digest,)).fetchone()
        return found

    def _count(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _json(value: Mapping[str, Attribute]) -> str:
    # JSON has neither NaN nor infinity; items made of a data frame have them where a cell is empty
    known = {name: None if isinstance(each, float) and not isfinite(each) else each for name, each in value.items()}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
