"""Words and facets of the items: what a person needs to find an item to start from.

They are derived from one items file, and kept in the cache under its digest, so that all workers share one file and a
restart finds it there:

~/.cache/visrec/lookups/<digest of the items>-<format>.sqlite
    words    an FTS5 table: id, and the values of the attributes that are text
    facets   a JSON object for each attribute that a person could filter by

Everything here may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from vision_recs.encoders.model_cache import cache_folder
from vision_recs.errors import VisionRecsError
from vision_recs.serve.facets import Facet, FacetCounter
from vision_recs.store import Store
from vision_recs.types import Attribute

_FORMAT = 1
_KEPT = 8  # files of other stores and generations
_SCHEMA = """
CREATE VIRTUAL TABLE words USING fts5 (id, text, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3');
CREATE TABLE facets (facet TEXT NOT NULL);
"""
_WORD = re.compile(r"\w+")


class Lookup:
    """Finds items by words; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open *path*, which `open_lookup` made."""
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self.facets = [Facet(**json.loads(text)) for (text,) in self._all("SELECT facet FROM facets")]

    def search(self, words: str, limit: int) -> list[str]:
        """Return at most *limit* ids of items that have all of *words*, or words that begin so, the best first.

        A match in the id counts ten times; an item whose id is *words* comes first. Case and accents do not matter.
        """
        terms = _WORD.findall(words)
        if not terms:
            return []
        query = " ".join(f'"{term}"*' for term in terms)
        found = self._all(
            "SELECT id FROM words WHERE words MATCH ? ORDER BY id != ?, bm25(words, 10.0, 1.0), id LIMIT ?",
            (query, words.strip(), limit),
        )
        return [item for (item,) in found]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _all(self, query: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, tuple(values)).fetchall()


def open_lookup(store: Store) -> Lookup:
    """Return the lookup of *store*, made now where it is not in the cache.

    Raises StoreDamaged, and VisionRecsError where the cache cannot be written.
    """
    folder = cache_folder() / "lookups"
    path = folder / f"{store.manifest.items_digest[:32]}-{_FORMAT}.sqlite"
    try:
        with suppress(sqlite3.Error, OSError, TypeError, ValueError):  # made by another visrec, or damaged
            if path.exists():
                os.utime(path)
                return Lookup(path)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _make(store, path)
        return Lookup(path)
    except (OSError, sqlite3.Error, TypeError, ValueError) as error:
        raise VisionRecsError(
            f"{path} cannot be made or read ({error}); delete it, or name another folder in VISREC_CACHE"
        ) from error


def _make(store: Store, path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    made = Path(name)
    try:
        connection = sqlite3.connect(made)
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        facets = FacetCounter()
        connection.executemany("INSERT INTO words VALUES (?, ?)", _texts(store, facets))
        connection.executemany("INSERT INTO facets VALUES (?)", ((facet.to_json(),) for facet in facets.facets()))
        connection.commit()
        connection.close()
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    _forget_old(path)


def _texts(store: Store, facets: FacetCounter) -> Iterator[tuple[str, str]]:
    for item, attributes in store.items.all_attributes():
        facets.add(attributes)
        yield item, _text(attributes)


def _text(attributes: Mapping[str, Attribute]) -> str:
    return " \n".join(value for value in attributes.values() if isinstance(value, str))


def _forget_old(path: Path) -> None:
    others = sorted(path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in others[_KEPT:]:
        old.unlink(missing_ok=True)  # who has it open goes on reading
        Path(f"{old}.lock").unlink(missing_ok=True)
