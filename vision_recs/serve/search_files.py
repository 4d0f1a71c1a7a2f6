"""Item searches in files of the cache: found there, or built from the items and put there.

They are named by the digest of the base of the items files, so that all workers share one file and a restart finds it:

~/.cache/visrec/item_search/<digest of the base>-<format>.sqlite
    words                                see `item_search`
    facets, free_text, texts, numbers    see `facets`

The cache may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from vision_recs.cache_dir import cache_dir
from vision_recs.serve.facets import SCHEMA, FacetCounter
from vision_recs.serve.item_search import WORDS, ItemSearch, Words, text_of
from vision_recs.store.atomic_files import FileLock
from vision_recs.types import Attribute

log = logging.getLogger(__name__)

Build: TypeAlias = Callable[[Path], None]
"""Fills an empty file, as `build_file` does."""

_FORMAT = 5
_KEPT_FILES = 8  # of all stores and generations


class Listed(Protocol):
    """Items that can be read one after the other."""

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        ...

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*."""
        ...


def open_item_search(items: Listed, *, name: str, build: Build | None = None) -> ItemSearch:
    """Return the item search of *items*; builds it if it is not in the cache under *name*, which names its contents.

    *build* makes the file of the cache in another way than `build_file`. If the cache cannot be written, the item
    search is built in memory, and a warning is logged. Raises StoreDamaged, and what *build* raises.
    """
    folder = cache_dir() / "item_search"
    path = folder / f"{name}-{_FORMAT}.sqlite"
    try:
        return _open_cached(path, build or (lambda made: build_file(items, made)))
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
    return ItemSearch(Words(connection))


def _open_cached(path: Path, build: Build) -> ItemSearch:
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
            build(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _remove_oldest(path)
        return ItemSearch(_connect(path))


def _connect(path: Path) -> Words:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return Words(sqlite3.connect(uri, uri=True, check_same_thread=False))


def build_file(items: Listed, path: Path) -> None:
    """Fill the empty file *path* with the item search of *items*; raises StoreDamaged and sqlite3.Error."""
    with closing(sqlite3.connect(path)) as connection:
        _build(items, connection)


def _build(items: Listed, connection: sqlite3.Connection) -> None:
    """Fill an empty database."""
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + WORDS + SCHEMA)
    counter = FacetCounter()
    connection.executemany("INSERT INTO words VALUES (?, ?)", _texts(items, counter))
    counter.save(connection)
    connection.commit()


def _texts(items: Listed, counter: FacetCounter) -> Iterator[tuple[str, str | None]]:
    """Yield each item with its text, and count its attributes."""
    for page in items.pages_of_ids():
        for item, attributes in items.attributes_of(page).items():
            counter.add(attributes)
            yield item, text_of(attributes)


def _remove_oldest(path: Path) -> None:
    files = sorted(path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in files[_KEPT_FILES:]:
        old.unlink(missing_ok=True)  # a worker that has it open goes on reading
        Path(f"{old}.lock").unlink(missing_ok=True)
