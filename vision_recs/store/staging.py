"""The items of the next generation while they are made, bounded in memory whatever the size of the catalog."""

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
CREATE TABLE staging.items (id TEXT PRIMARY KEY, attributes TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE staging.images (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, ordinal INTEGER NOT NULL, image TEXT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE TABLE staging.resolved (number INTEGER PRIMARY KEY, digest BLOB, signature TEXT, reason TEXT, message TEXT);
CREATE TABLE staging.outcomes (digest BLOB PRIMARY KEY, position INTEGER, reason TEXT, message TEXT) WITHOUT ROWID;
CREATE TABLE staging.spare (digest BLOB PRIMARY KEY, shard TEXT NOT NULL, vector INTEGER NOT NULL) WITHOUT ROWID;
-- only other bytes or another encoder mend these; other failures may pass, as when an installation learns a format
CREATE TEMP VIEW lasting AS
    SELECT * FROM base.skipped WHERE reason IN ('not-an-image', 'truncated', 'zero-vector');
"""
_FINISH = """
INSERT INTO main.vectors SELECT position, digest FROM staging.outcomes WHERE position IS NOT NULL ORDER BY position;
INSERT INTO main.rows
    SELECT id, ordinal, image, position, signature, attributes
    FROM staging.images JOIN staging.resolved USING (number) JOIN staging.outcomes USING (digest)
    WHERE position IS NOT NULL ORDER BY id, ordinal;
INSERT INTO main.skipped
    SELECT id, ordinal, image, digest, signature,
        coalesce(resolved.reason, outcomes.reason), coalesce(resolved.message, outcomes.message)
    FROM staging.images JOIN staging.resolved USING (number) LEFT JOIN staging.outcomes USING (digest)
    WHERE position IS NULL ORDER BY id, ordinal;
INSERT INTO main.items
    SELECT id, attributes FROM staging.items
    WHERE EXISTS (SELECT 1 FROM main.rows WHERE rows.id = items.id) ORDER BY id;
"""
_DIFFERENCES = (
    "SELECT id, attributes FROM {}.items",
    "SELECT id, ordinal, image, position, attributes FROM {}.rows",
    "SELECT id, ordinal, image, reason, message FROM {}.skipped",
)


@dataclass(frozen=True, slots=True)
class Staged:
    """An image of the catalog, and its signature and digest where the last generation settled what it becomes."""

    number: int
    id: str
    image: str
    signature: str | None
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a generation holds; *removed* are items of the last generation that are gone."""

    items: int
    images: int
    skipped: int
    removed: int


class Staging:
    """Collects the items of a catalog and what became of each image, then writes the items of a generation."""

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

    def forget_failures(self) -> None:
        """Have every image tried again that the last generation could not use."""
        self._connection.execute("DROP VIEW lasting")
        self._connection.execute("CREATE TEMP VIEW lasting AS SELECT * FROM base.skipped WHERE false")

    def reuse_base(self) -> None:
        """Have the vectors of the last generation serve again: they are of the same space."""
        self._reuses_base = True

    def close(self) -> None:
        """Give up the file, finished or not."""
        self._connection.close()

    def add(self, item: Item) -> int:
        """Take *item* and return how many images it has; one listed twice counts once.

        Raises ValueError for an id that was taken before.
        """
        execute = self._connection.execute
        try:
            execute("INSERT INTO staging.items VALUES (?, ?)", (item.id, _json(item.attributes)))
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
            "INSERT INTO staging.images (id, ordinal, image, attributes) VALUES (?, ?, ?, ?)", rows
        )
        return len(rows)

    def images(self) -> Iterator[Staged]:
        """Yield every image in the order of the catalog."""
        query = (
            "SELECT number, p.id, p.image, coalesce(r.signature, s.signature), coalesce(v.digest, s.digest)"
            " FROM staging.images p"
            " LEFT JOIN base.rows r ON ?1 AND r.id = p.id AND r.image = p.image"
            " LEFT JOIN base.vectors v ON v.position = r.position"
            " LEFT JOIN lasting s ON ?1 AND s.id = p.id AND s.image = p.image"
            " ORDER BY number"
        )
        return (Staged(*row) for row in self._connection.execute(query, (self._reuses_base,)))

    def offer_spare(self, shard: str, images: Sequence[Embedded]) -> None:
        """Let the vectors of a shard that the last generation does not use serve again."""
        rows = [(image.digest, shard, image.vector) for image in images if image.vector is not None]
        self._connection.executemany("INSERT OR IGNORE INTO staging.spare VALUES (?, ?, ?)", rows)

    def resolve(self, image: Staged, digest: bytes, signature: str | None) -> None:
        """Say what bytes *image* has."""
        values = (image.number, digest, signature)
        self._connection.execute("INSERT INTO staging.resolved (number, digest, signature) VALUES (?, ?, ?)", values)

    def skip(self, image: Staged, reason: str, message: str) -> None:
        """Say that *image* has no bytes, and why."""
        values = (image.number, reason, message)
        self._connection.execute("INSERT INTO staging.resolved (number, reason, message) VALUES (?, ?, ?)", values)

    def knows(self, digest: bytes) -> bool:
        """Whether it is settled what becomes of the image with *digest*, here or by the last generation."""
        if self._one("SELECT 1 FROM staging.outcomes WHERE digest = ?", digest):
            return True
        if not self._reuses_base:
            return False
        position = self._one("SELECT position FROM base.vectors WHERE digest = ?", digest)
        if position:
            self.settle(digest, position=position[0])
            return True
        failure = self._one("SELECT reason, message FROM lasting WHERE digest = ? LIMIT 1", digest)
        if failure:
            self.settle(digest, reason=failure[0], message=failure[1])
        return failure is not None

    def spare(self, digest: bytes) -> tuple[str, int] | None:
        """Return a shard outside the last generation that holds a vector of *digest*, and the row of that vector."""
        found = self._one("SELECT shard, vector FROM staging.spare WHERE digest = ?", digest)
        return (found[0], found[1]) if found else None

    def settle(
        self, digest: bytes, *, position: int | None = None, reason: str | None = None, message: str | None = None
    ) -> None:
        """Say where the vector of *digest* is, or why it has none."""
        values = (digest, position, reason, message)
        self._connection.execute("INSERT INTO staging.outcomes VALUES (?, ?, ?, ?)", values)

    def settled(self) -> list[int]:
        """Return the positions of all vectors that were settled, ascending."""
        query = "SELECT position FROM staging.outcomes WHERE position IS NOT NULL ORDER BY 1"
        return [position for (position,) in self._connection.execute(query)]

    def settled_between(self, first: int, last: int) -> list[tuple[int, bytes, str, str]]:
        """Return position, digest, and the id and image of one row of each vector from *first* to before *last*."""
        query = (
            "SELECT position, digest, min(id), image FROM staging.outcomes"
            " JOIN staging.resolved USING (digest) JOIN staging.images USING (number)"
            " WHERE position >= ? AND position < ? GROUP BY position ORDER BY position"
        )
        return self._connection.execute(query, (first, last)).fetchall()

    def move(self, digest: bytes, position: int) -> None:
        """Say that the settled vector of *digest* is at *position* now."""
        self._connection.execute("UPDATE staging.outcomes SET position = ? WHERE digest = ?", (position, digest))

    def finish(self) -> Counts:
        """Fill the items file from what was said, and return what it holds."""
        self._connection.execute("COMMIT")
        self._connection.executescript(f"BEGIN; {_FINISH} COMMIT;")
        gone = "SELECT count(*) FROM base.items WHERE id NOT IN (SELECT id FROM main.items)"
        return Counts(
            *(
                self._count(query)
                for query in (
                    "SELECT count(*) FROM main.items",
                    "SELECT count(*) FROM main.rows",
                    "SELECT count(*) FROM main.skipped",
                    gone,
                )
            )
        )

    def differs_from_base(self) -> bool:
        """Whether the finished items hold anything that the last generation does not, or the other way round."""
        return any(
            self._connection.execute(f"{query.format(one)} EXCEPT {query.format(other)} LIMIT 1").fetchone()
            for query in _DIFFERENCES
            for one, other in (("main", "base"), ("base", "main"))
        )

    def positions(self) -> list[int]:
        """Return the positions in use, ascending."""
        return [position for (position,) in self._connection.execute("SELECT position FROM main.vectors ORDER BY 1")]

    def skipped_lines(self) -> Iterator[str]:
        """Yield a JSON object for each skipped image: id, image, reason, message."""
        query = "SELECT id, image, reason, message FROM main.skipped ORDER BY id, ordinal"
        for row in self._connection.execute(query):
            yield _json(dict(zip(("id", "image", "reason", "message"), row, strict=True)))

    def _one(self, query: str, digest: bytes) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(query, (digest,)).fetchone()
        return found

    def _count(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])


def _json(value: Mapping[str, Attribute]) -> str:
    # JSON has neither NaN nor infinity; items made of a data frame have them where a cell is empty
    known = {name: None if isinstance(each, float) and not isfinite(each) else each for name, each in value.items()}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
