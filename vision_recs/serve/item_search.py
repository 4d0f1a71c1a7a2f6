"""Item search: full-text search over ids and attributes, and the nearest words to those that nobody has.

What is derived from the base of the items files lies in a database, see `search_files`. What deltas change is laid over
it, in memory.
"""

from __future__ import annotations

import difflib
import math
import re
import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from vision_recs.errors import StoreUnavailable
from vision_recs.types import Attribute

WORDS = """
CREATE VIRTUAL TABLE words USING fts5 (id, text, tokenize = "unicode61 remove_diacritics 2", prefix = '1 2 3');
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, row);
"""
"""The tables of words: the id of each item, and its attributes that are text; and each word of these, once."""

AttributesOf: TypeAlias = Callable[[Sequence[str]], Mapping[str, Mapping[str, Attribute]]]
"""Ids -> the attributes of each of these items that there is."""

_PAGE = 5_000  # items that are read together
_GROWTH = 4
_RANK = "bm25(words, 10.0, 1.0)"
_LEAST_WEIGHT = 1e-6
_WORD = re.compile(r"\w+")
_MAX_COMPARED = 4_000  # words, the most frequent ones, among which the nearest one to a misspelt word is looked for
_MAX_CORRECTED = 8  # words of a search
_LIKENESS = 0.6


class Words:
    """A database with the table `words`; safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read from *connection*, which is closed when nobody has the object any more."""
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

    def like(self, word: str) -> list[str]:
        """Return the words that may be meant by *word*: those that begin as it does and have about its length."""
        query = (
            "SELECT term FROM vocabulary WHERE term >= ?1 AND term < ?2 AND length(term) BETWEEN ?3 AND ?4"
            " ORDER BY doc DESC LIMIT ?5"
        )
        first = word[:1]
        ends = (first, chr(ord(first) + 1), len(word) - 2, len(word) + 2, _MAX_COMPARED)
        return [term for (term,) in self.all(query, ends)]


class _Overlay(NamedTuple):
    """The *texts* of items whose words differ from those below, None where it is gone, and the *words* in them."""

    texts: Mapping[str, str | None]
    words: Words


class ItemSearch:
    """Finds items by words; safe to use from several threads."""

    def __init__(self, base: Words) -> None:
        """Search in *base*; raises sqlite3.Error where `search_files` did not fill the database.

        See `changed` for what is laid over it.
        """
        self._base = base
        self._overlays: tuple[_Overlay, ...] = ()  # oldest first
        base.all("SELECT id FROM words LIMIT 1")

    def changed(self, items: Sequence[str], before: AttributesOf, after: AttributesOf) -> ItemSearch:
        """Return the search of a generation in which *items* changed: they had the attributes *before*."""
        new = ItemSearch(self._base)
        texts: dict[str, str | None] = {}
        for start in range(0, len(items), _PAGE):
            page = items[start : start + _PAGE]
            old, now = before(page), after(page)
            for item in page:
                was, becomes = text_of(old.get(item)), text_of(now.get(item))
                if was != becomes:
                    texts[item] = becomes
        new._overlays = _laid_over(self._overlays, texts) if texts else self._overlays
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

    def corrected(self, text: str) -> str | None:
        """Return *text* with each word that no item has replaced by the nearest one, if that finds an item.

        Raises StoreUnavailable as `search` does.
        """
        words = _WORD.findall(text)
        if not 0 < len(words) <= _MAX_CORRECTED:
            return None
        better = " ".join(word if self.search(word, 1) else self._nearest(word.lower()) for word in words)
        return better if better != " ".join(words) and self.search(better, 1) else None

    def _nearest(self, word: str) -> str:
        known = {term for words in (self._base, *(each.words for each in self._overlays)) for term in words.like(word)}
        return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=_LIKENESS)), word)

    def _search(self, text: str, limit: int) -> list[str]:
        terms = [f'"{term}"*' for term in _WORD.findall(text)]
        if not terms:
            return []
        best = text.strip()
        replaced = sum(len(overlay.texts) for overlay in self._overlays)
        found = self._base.ranked(" ".join(terms), best, limit + replaced)
        for overlay in self._overlays:
            found = [(item, rank) for item, rank in found if item not in overlay.texts]
            found += self._ranked_over(overlay, terms, best)
        if self._overlays:
            found.sort(key=lambda pair: (pair[0] != best, pair[1], pair[0]))
        return [item for item, _ in found[:limit]]

    def _ranked_over(self, overlay: _Overlay, terms: Sequence[str], best: str) -> list[tuple[str, float]]:
        """Return the ids in *overlay* that match all *terms*, ranked as in the base: by how rare a word is there."""
        over, most = overlay.words, len(overlay.texts)
        found = [item for item, _ in over.ranked(" ".join(terms), best, most)]
        ranks = dict.fromkeys(found, 0.0)
        for term in terms if found else ():
            factor = self._base.weight(term) / over.weight(term)
            for item, rank in over.ranked(term, best, most):
                if item in ranks:
                    ranks[item] += factor * rank
        return list(ranks.items())


def text_of(attributes: Mapping[str, Attribute] | None) -> str | None:
    """Return the words of an item with *attributes*; None where there is no such item."""
    if attributes is None:
        return None
    return " \n".join(value for value in attributes.values() if isinstance(value, str))


def _laid_over(overlays: tuple[_Overlay, ...], texts: Mapping[str, str | None]) -> tuple[_Overlay, ...]:
    """Return *overlays* with *texts* over them; those that are not much larger become one with it.

    So the words of an item are written again a few times only, however many changes come one by one.
    """
    while overlays and len(overlays[-1].texts) < _GROWTH * len(texts):
        texts = {**overlays[-1].texts, **texts}
        overlays = overlays[:-1]
    return (*overlays, _Overlay(texts, _words_of(texts)))


def _words_of(texts: Mapping[str, str | None]) -> Words:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(WORDS)
    rows = ((item, text) for item, text in texts.items() if text is not None)
    connection.executemany("INSERT INTO words VALUES (?, ?)", rows)
    return Words(connection)
