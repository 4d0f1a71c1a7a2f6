"""Items files as layers: their schema, queries over several of them, and merging them into one.

A base has all items of a generation, a delta those that changed. A delta names the items that it replaces in its table
`changed`, also those that are gone: what it says of them, or that it says nothing, counts, and of every other item the
files before it tell.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

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
    reason TEXT NOT NULL, message TEXT NOT NULL, attributes TEXT NOT NULL, PRIMARY KEY (item_id, ordinal)
) WITHOUT ROWID;
CREATE INDEX skipped_by_digest ON skipped (digest);
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
out, such as rows without an id; a delta whose `changed` has the empty id replaces it as a whole. `versions` has the
newest version of each item for which `visrec update` was given one, also of items that are gone. `changed` and
`touched` are empty in a base.
"""

MOST_DELTAS = 4
"""How many deltas a generation has at most; SQLite opens ten files together."""

_BITS_A_KEY = 256
_MOST_BITS = 1 << 25
_COLUMNS = {
    "items": "item_id, attributes",
    "images": "item_id, ordinal, image, position, signature, attributes",
    "skipped": "item_id, ordinal, image, digest, signature, reason, message, attributes",
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
            owner = "''" if table == "left_out" else "t.item_id"
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
