"""Item search: full-text search over ids and attributes, and the facets that a person can filter by.

Both are derived from the items of one generation, and cached under the digest of the items file, so that all workers
share one file and a restart finds it:

~/.cache/visrec/item_search/<digest of the items>-<format>.sqlite
    words    an FTS5 table: id, and the attributes that are text
    facets   a JSON object for each facet

The cache may be deleted at any time.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from vision_recs.cache_dir import cache_dir
from vision_recs.serve.schemas import Facet
from vision_recs.store.atomic_files import FileLock
from vision_recs.types import Attribute, ItemSource

log = logging.getLogger(__name__)

_FORMAT = 2
_PAGE = 5_000  # items that are read together
_KEPT_FILES = 8  # of all stores and generations
_MAX_VALUES = 40  # of a facet: a title has as many values as there are items, and nobody filters by it
_MAX_COUNTED = 2_000  # distinct values, before an attribute counts as free text
_STEPS = 40  # of a histogram
_SCHEMA = """
CREATE VIRTUAL TABLE words USING fts5 (id, text, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3');
CREATE TABLE facets (facet TEXT NOT NULL);
"""
_WORD = re.compile(r"\w+")


class ItemSearch:
    """Finds items by words; safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Own the *connection* to a database that `_build` has filled; raises sqlite3.Error and MsgspecError."""
        self._lock = threading.Lock()
        self._connection = connection
        self.facets = [msgspec.json.decode(text, type=Facet) for (text,) in self._all("SELECT facet FROM facets")]

    def search(self, text: str, limit: int) -> list[str]:
        """Return at most *limit* ids of items that have every word of *text*, or words that begin with it, best first.

        A match in the id counts ten times, and the item whose id is *text* comes first. Case and accents do not matter.
        """
        terms = _WORD.findall(text)
        if not terms:
            return []
        query = " ".join(f'"{term}"*' for term in terms)
        found = self._all(
            "SELECT id FROM words WHERE words MATCH ? ORDER BY id != ?, bm25(words, 10.0, 1.0), id LIMIT ?",
            (query, text.strip(), limit),
        )
        return [item for (item,) in found]

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _all(self, query: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(query, tuple(values)).fetchall()


def open_item_search(items: ItemSource, *, name: str) -> ItemSearch:
    """Return the item search of *items*; builds it if it is not in the cache under *name*, which names its contents.

    If the cache cannot be written, the item search is built in memory, and a warning is logged. Raises StoreDamaged.
    """
    folder = cache_dir() / "item_search"
    path = folder / f"{name}-{_FORMAT}.sqlite"
    try:
        return _open_cached(items, path)
    except (OSError, sqlite3.Error, msgspec.MsgspecError) as error:
        log.warning(
            "the cache %s cannot be used (%s), so the item search is kept in memory, and built anew at each start; "
            "name a folder that can be written in VISREC_CACHE",
            folder,
            error,
            extra={"event": "no_cache"},
        )
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    _build(items, connection)
    return ItemSearch(connection)


def _open_cached(items: ItemSource, path: Path) -> ItemSearch:
    """Return the item search in the file *path*, which is built if it is missing or damaged."""
    with suppress(OSError, sqlite3.Error, msgspec.MsgspecError):
        os.utime(path)
        return ItemSearch(_connect(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock"), waits=True):
        with suppress(OSError, sqlite3.Error, msgspec.MsgspecError):  # another worker has built it meanwhile
            return ItemSearch(_connect(path))
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        temporary = Path(name)
        try:
            os.close(handle)
            with closing(sqlite3.connect(temporary)) as connection:
                _build(items, connection)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_oldest(path)
        return ItemSearch(_connect(path))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _build(items: ItemSource, connection: sqlite3.Connection) -> None:
    """Fill an empty database."""
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
    counter = FacetCounter()
    connection.executemany("INSERT INTO words VALUES (?, ?)", _texts(items, counter))
    facets = ((msgspec.json.encode(facet).decode(),) for facet in counter.facets())
    connection.executemany("INSERT INTO facets VALUES (?)", facets)
    connection.commit()


def _texts(items: ItemSource, counter: FacetCounter) -> Iterator[tuple[str, str]]:
    """Yield each item with its text, and count its attributes."""
    page = items.ids(limit=_PAGE)
    while page:
        for item, attributes in items.attributes_of(page).items():
            counter.add(attributes)
            yield item, " \n".join(value for value in attributes.values() if isinstance(value, str))
        page = items.ids(after=page[-1], limit=_PAGE)


def _remove_oldest(path: Path) -> None:
    files = sorted(path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in files[_KEPT_FILES:]:
        old.unlink(missing_ok=True)  # a worker that has it open goes on reading
        Path(f"{old}.lock").unlink(missing_ok=True)


class FacetCounter:
    """Counts the values of attributes, item by item."""

    def __init__(self) -> None:
        """Start without items."""
        self._counts: dict[str, Counter[str | bool]] = {}
        self._numbers: dict[str, Counter[float]] = {}
        self._free_text: set[str] = set()

    def add(self, attributes: Mapping[str, Attribute]) -> None:
        """Count the *attributes* of an item."""
        for name, value in attributes.items():
            if isinstance(value, str | bool):
                if name not in self._free_text:
                    self._count(name, value)
            elif isinstance(value, int | float) and math.isfinite(value):
                self._numbers.setdefault(name, Counter())[float(value)] += 1

    def facets(self) -> Iterator[Facet]:
        """Yield the facets: first text and booleans, then numbers, each the attributes of most items first."""
        values = [facet for name in self._counts if (facet := self._value_facet(name)) is not None]
        ranges = [facet for name in self._numbers if (facet := self._number_facet(name)) is not None]
        for facets in (values, ranges):
            yield from sorted(facets, key=lambda facet: (-facet.items, len(facet.counts), facet.name))

    def _count(self, name: str, value: str | bool) -> None:  # noqa: FBT001 - a value, not a switch
        counts = self._counts.setdefault(name, Counter())
        counts[value] += 1
        if len(counts) > _MAX_COUNTED:
            self._free_text.add(name)
            del self._counts[name]

    def _value_facet(self, name: str) -> Facet | None:
        """Return the facet of an attribute with few values that many items share, or None."""
        counts = self._counts[name]
        types = {type(value) for value in counts}
        items = sum(counts.values())
        is_useful = 1 < len(counts) <= _MAX_VALUES and len(types) == 1 and 2 * len(counts) <= max(items, 4)
        if not is_useful:
            return None
        frequent = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        return Facet(name, "boolean" if types == {bool} else "text", items, counts=frequent)

    def _number_facet(self, name: str) -> Facet | None:
        counts = self._numbers[name]
        low, high = min(counts), max(counts)
        if not 0 < high - low < math.inf or name in self._counts or name in self._free_text:
            return None
        histogram = [0] * _STEPS
        for value, count in counts.items():
            histogram[min(_STEPS - 1, int((value - low) / (high - low) * _STEPS))] += count
        return Facet(name, "number", sum(counts.values()), min=low, max=high, histogram=histogram)
