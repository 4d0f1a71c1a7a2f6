"""Item search: full-text search over ids and attributes, and the facets that a person can filter by.

Both are derived from the items, and cached under the digest of the base of the items files, so that all workers share
one file and a restart finds it:

~/.cache/visrec/item_search/<digest of the base>-<format>.sqlite
    words                                an FTS5 table: id, and the attributes that are text
    facets, free_text, texts, numbers    see `facets`

The cache may be deleted at any time. What deltas change is laid over it, in memory.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from vision_recs.cache_dir import cache_dir
from vision_recs.errors import StoreUnavailable
from vision_recs.serve.facets import SCHEMA, FacetCounter, in_order
from vision_recs.serve.schemas import Facet
from vision_recs.store.atomic_files import FileLock
from vision_recs.types import Attribute

log = logging.getLogger(__name__)

AttributesOf: TypeAlias = Callable[[Sequence[str]], Mapping[str, Mapping[str, Attribute]]]
"""Ids -> the attributes of each of these items that there is."""

_FORMAT = 3
_PAGE = 5_000  # items that are read together
_KEPT_FILES = 8  # of all stores and generations
_WORDS = """
CREATE VIRTUAL TABLE words USING fts5 (id, text, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3');
"""
_RANK = "bm25(words, 10.0, 1.0)"
_LEAST_WEIGHT = 1e-6
_WORD = re.compile(r"\w+")


class Listed(Protocol):
    """Items that can be read one after the other."""

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        ...

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*."""
        ...


class _Words:
    """A database with the table `words`; safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._lock = threading.Lock()
        self._connection = connection
        weakref.finalize(self, connection.close).atexit = False

    def ranked(self, query: str, best: str, limit: int) -> list[tuple[str, float]]:
        """Return at most *limit* ids that match *query*, with a rank that is less for a better one; first *best*."""
        ordered = f"SELECT id, {_RANK} FROM words WHERE words MATCH ? ORDER BY id != ?, 2, id LIMIT ?"  # noqa: S608
        return self.all(ordered, (query, best, limit))

    def weight(self, query: str) -> float:
        """Return how much a word counts in a rank: more if fewer items have it."""
        total = sum(number for (number,) in self.all("SELECT rowid FROM words ORDER BY rowid DESC LIMIT 1"))
        ((found,),) = self.all("SELECT count(*) FROM words WHERE words MATCH ?", (query,))
        return max(_LEAST_WEIGHT, math.log((total - found + 0.5) / (found + 0.5)))  # as SQLite has it

    def all(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of *query*."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()


class ItemSearch:
    """Finds items by words; safe to use from several threads. *facets* are those of all items."""

    def __init__(self, base: _Words) -> None:
        """Search in *base*; raises sqlite3.Error and MsgspecError where the database is not one that `_build` filled.

        See `changed` for what is laid over it.
        """
        self._base = base
        self._texts: dict[str, str | None] = {}  # of the items whose words differ from the base; None: it is gone
        self._over: _Words | None = None
        self._counter = FacetCounter()
        self.facets = in_order(
            msgspec.json.decode(text, type=Facet) for (text,) in base.all("SELECT facet FROM facets")
        )

    def changed(self, items: Sequence[str], before: AttributesOf, after: AttributesOf) -> ItemSearch:
        """Return the search of a generation in which *items* changed: they had the attributes *before*."""
        new = ItemSearch(self._base)
        new._texts, new._over, new._counter = dict(self._texts), self._over, self._counter.copy()
        step = FacetCounter()
        for start in range(0, len(items), _PAGE):
            page = items[start : start + _PAGE]
            old, now = before(page), after(page)
            for item in page:
                was, becomes = old.get(item), now.get(item)
                for counter in (new._counter, step):
                    counter.add(was or {}, -1)
                    counter.add(becomes or {})
                if _text(was) != _text(becomes):
                    new._texts[item] = _text(becomes)
        if new._texts != self._texts:
            new._over = _over(new._texts)
        new.facets = new._counter.changed(self._base.all, self.facets, step)
        return new

    def search(self, text: str, limit: int) -> list[str]:
        """Return at most *limit* ids of items that have every word of *text*, or words that begin with it, best first.

        A match in the id counts ten times, and the item whose id is *text* comes first. Case and accents do not matter.
        Raises StoreUnavailable where the cached file cannot be read.
        """
        try:
            return self._search(text, limit)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the cached item search cannot be read ({error}); try again") from error

    def _search(self, text: str, limit: int) -> list[str]:
        terms = [f'"{term}"*' for term in _WORD.findall(text)]
        if not terms:
            return []
        best = text.strip()
        found = self._base.ranked(" ".join(terms), best, limit + len(self._texts))
        found = [(item, rank) for item, rank in found if item not in self._texts]
        if self._over is not None:
            found += self._ranked_over(self._over, terms, best)
            found.sort(key=lambda pair: (pair[0] != best, pair[1], pair[0]))
        return [item for item, _ in found[:limit]]

    def _ranked_over(self, over: _Words, terms: Sequence[str], best: str) -> list[tuple[str, float]]:
        """Return the ids in *over* that match all *terms*, ranked as if they were in the base: by the words there."""
        found = [item for item, _ in over.ranked(" ".join(terms), best, len(self._texts))]
        ranks = dict.fromkeys(found, 0.0)
        for term in terms if found else ():
            factor = self._base.weight(term) / over.weight(term)
            for item, rank in over.ranked(term, best, len(self._texts)):
                if item in ranks:
                    ranks[item] += factor * rank
        return list(ranks.items())


def open_item_search(items: Listed, *, name: str) -> ItemSearch:
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
    return ItemSearch(_Words(connection))


def _open_cached(items: Listed, path: Path) -> ItemSearch:
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


def _connect(path: Path) -> _Words:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return _Words(sqlite3.connect(uri, uri=True, check_same_thread=False))


def _build(items: Listed, connection: sqlite3.Connection) -> None:
    """Fill an empty database."""
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _WORDS + SCHEMA)
    counter = FacetCounter()
    connection.executemany("INSERT INTO words VALUES (?, ?)", _texts(items, counter))
    counter.save(connection)
    connection.commit()


def _texts(items: Listed, counter: FacetCounter) -> Iterator[tuple[str, str | None]]:
    """Yield each item with its text, and count its attributes."""
    for page in items.pages_of_ids():
        for item, attributes in items.attributes_of(page).items():
            counter.add(attributes)
            yield item, _text(attributes)


def _text(attributes: Mapping[str, Attribute] | None) -> str | None:
    if attributes is None:
        return None
    return " \n".join(value for value in attributes.values() if isinstance(value, str))


def _over(texts: Mapping[str, str | None]) -> _Words:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(_WORDS)
    rows = ((item, text) for item, text in texts.items() if text is not None)
    connection.executemany("INSERT INTO words VALUES (?, ?)", rows)
    return _Words(connection)


def _remove_oldest(path: Path) -> None:
    files = sorted(path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in files[_KEPT_FILES:]:
        old.unlink(missing_ok=True)  # a worker that has it open goes on reading
        Path(f"{old}.lock").unlink(missing_ok=True)
