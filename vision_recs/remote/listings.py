"""The signatures of many objects of a bucket, by as few requests as can be."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from vision_recs.remote.object_store import PAGE, Bucket, ObjectError, ObjectStatus

_HEADS_FOR_A_PAGE: Final = 10
"""A request that lists 1,000 objects costs as much as so many that ask for one, in time and at S3 (12.5) in money."""

_HEADS_AT_ONCE: Final = 16
_AT_ONCE: Final = 500  # variables of a statement of SQLite
_FRESH_S: Final = 3_600.0


class Listing:
    """What a bucket holds, as far as somebody asked; safe to use from several threads.

    Where more than one object is asked for, their folder is listed, page by page, for as long as that pays. A page
    counts as ten requests for single objects: the listing goes on while each page finds one of those that are asked
    for, and otherwise until it has as many pages as a tenth of their number; what is not found by then is asked for one
    by one. Nothing is asked for twice within an hour. The memory does not grow with the bucket: what was listed is in a
    temporary database.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Ask nothing yet."""
        self._bucket = bucket
        self._lock = threading.Lock()
        self._begin()

    def signatures(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the signatures of *keys*, without those that the bucket lacks; raises ObjectError."""
        with self._lock, self._told():
            if not self._is_fresh():
                self._begin()
            found = self._known(keys)
            absent = self._walk([key for key in dict.fromkeys(keys) if key not in found], found)
        if not absent:
            return found
        with ThreadPoolExecutor(_HEADS_AT_ONCE) as pool:
            heads = [status for status in pool.map(self._head, absent) if status is not None]
        with self._lock, self._told():
            self._add(heads)
        return found | {status.key: status.signature for status in heads}

    def known(self, key: str) -> ObjectStatus | None:
        """Return what is known of *key*, if it was asked for or listed within the hour."""
        with self._lock, self._told():
            row = self._database.execute("SELECT * FROM objects WHERE key = ?", (key,)).fetchone()
            return ObjectStatus(*row) if row and self._is_fresh() else None

    def status(self, key: str) -> ObjectStatus:
        """Return the status of *key*, as it was within the hour; raises ObjectError."""
        status = self.known(key)
        if status is None:
            status = self._bucket.status(key)
            with self._lock, self._told():
                self._add([status])
        return status

    def some_below(self, folder: str) -> list[ObjectStatus]:
        """Return the objects below *folder* that the first request lists; raises ObjectError."""
        with self._lock, self._told():
            walk = self._walks.setdefault(folder, _Walk(self._bucket, folder))
            if walk.first is None:
                self._add(self._page_of(walk))
            return walk.first or []

    def below(self, folder: str) -> Iterator[ObjectStatus]:
        """Yield every object below *folder*, by key. Raises ObjectError.

        They are listed completely before the first is yielded.
        """
        with self._lock, self._told():
            walk = self._walks.setdefault(folder, _Walk(self._bucket, folder))
            while not walk.done:
                self._add(self._page_of(walk))
        last = ""
        first, beyond = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")  # 0 comes after /
        while True:
            with self._lock, self._told():
                rows = self._database.execute(
                    "SELECT key, size, signature FROM objects WHERE key > ? AND key < ? ORDER BY key LIMIT 1000",
                    (max(last, first), beyond),
                ).fetchall()
            if not rows:
                return
            yield from map(ObjectStatus._make, rows)
            last = rows[-1][0]

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._begun < _FRESH_S

    def _begin(self) -> None:
        self._begun = time.monotonic()
        self._walks: dict[str, _Walk] = {}
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE objects (key TEXT PRIMARY KEY, size INTEGER, signature TEXT) WITHOUT ROWID"
        )

    def _walk(self, wanted: Sequence[str], found: dict[str, str]) -> list[str]:
        """Add to *found* what is listed of *wanted*; return those that have to be asked for one by one."""
        singly: list[str] = []
        for walk, keys in self._walks_of(wanted).items():
            rest = set(keys)
            if walk is not None:
                walk.asked += len(keys)
                while rest and walk.pays():
                    page = self._page_of(walk)
                    self._add(page)
                    hits = {status.key: status.signature for status in page if status.key in rest}
                    walk.found += len(hits)
                    found |= hits
                    rest -= hits.keys()
            if walk is None or not walk.done:
                singly += sorted(rest)
        return singly

    def _walks_of(self, keys: Sequence[str]) -> dict[_Walk | None, list[str]]:
        """Return the folders to list for *keys*, each with its own: those that are listed already, else new ones."""
        new = [key for key in keys if self._walk_over(key) is None]
        for folder in sorted(_folders(new), key=len) if len(new) > 1 else ():
            if self._walk_over(f"{folder}/") is None:
                self._walks[folder] = _Walk(self._bucket, folder)
                self._walks[folder].asked = _HEADS_FOR_A_PAGE  # the first page
        by_walk: dict[_Walk | None, list[str]] = {}
        for key in keys:
            by_walk.setdefault(self._walk_over(key), []).append(key)
        return by_walk

    def _walk_over(self, key: str) -> _Walk | None:
        """Return the listing in which *key* is to be found, that of the innermost folder, unless it does not pay."""
        folder, slash, _ = key.rpartition("/")
        while True:
            walk = self._walks.get(folder)
            if walk is not None and (walk.done or walk.pays()):
                return walk
            if not slash:
                return None
            folder, slash, _ = folder.rpartition("/")

    def _page_of(self, walk: _Walk) -> list[ObjectStatus]:
        try:
            return walk.next_page()
        except ObjectError:
            del self._walks[walk.folder]  # what it had not come to is not missing
            raise

    def _known(self, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            places = ",".join("?" * len(some))
            query = f"SELECT key, signature FROM objects WHERE key IN ({places})"  # noqa: S608 - question marks
            found |= dict(self._database.execute(query, some))
        return found

    def _add(self, page: Iterable[ObjectStatus]) -> None:
        self._database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", page)

    def _head(self, key: str) -> ObjectStatus | None:
        try:
            return self._bucket.status(key)._replace(key=key)
        except ObjectError as error:
            if error.reason == "http-404":
                return None
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ObjectError(
                "refused", f"the temporary list of {self._bucket.address} failed ({error})", "set SQLITE_TMPDIR"
            ) from error


class _Walk:
    """A folder while it is listed."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self.folder = folder
        self._pages = bucket.pages(folder)
        self._listed = 0
        self.asked = self.found = 0
        self.done = False
        self.first: list[ObjectStatus] | None = None

    def pays(self) -> bool:
        return not self.done and self._listed < self.asked // _HEADS_FOR_A_PAGE + self.found

    def next_page(self) -> list[ObjectStatus]:
        """Return the next objects; none after the last one."""
        page = next(self._pages, [])
        self._listed += 1
        self.done = len(page) < PAGE
        self.first = self.first if self.first is not None else page
        return page


def _folders(keys: Iterable[str]) -> set[str]:
    """Return folders that hold all *keys*, at least ten of them each as far as there are such folders."""
    parents = [key.rpartition("/")[0] for key in keys]
    while len(set(parents)) * _HEADS_FOR_A_PAGE > len(parents) and any(parents):
        parents = [parent.rpartition("/")[0] for parent in parents]
    return set(parents)
