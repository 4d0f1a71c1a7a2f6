"""Item searches in files of the cache: found there, or built from the items and put there.

They are named by the digest of the base of the items files, so that all workers share one file and a restart finds it;
where several stores are served as one, by a digest of the digests of all:

~/.cache/visrec/item_search/<digest of the base>-<format>.sqlite    words: see `item_search`
~/.cache/visrec/item_search/<digest>.columns                        the items of an engine, or of a store that has lost
                                                                    its attribute columns, as the rows of a table

The cache may be deleted at any time.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, TypeAlias

from vision_recs.cache_dir import cache_dir
from vision_recs.scratch import scratch_folder
from vision_recs.serve.item_search import WORDS, ItemSearch, Words, text_of
from vision_recs.store.atomic_files import FileLock
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.attributes.table import ItemTable
from vision_recs.store.attributes.write import write_attribute_columns
from vision_recs.store.layers import SCHEMA as ITEMS_SCHEMA
from vision_recs.types import Attribute, ItemSource

log = logging.getLogger(__name__)

Build: TypeAlias = Callable[[Path], None]
"""Fills an empty file, as `build_file` does."""

_FORMAT = 6
_PAGE = 2_000
_KEPT_FILES = 8  # of all stores and generations


class Listed(Protocol):
    """Items that can be read one after the other."""

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        ...

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items*."""
        ...


class Together:
    """The items of several sources, none of which is in two of them, listed as one."""

    def __init__(self, sources: Sequence[Listed]) -> None:
        """List the items of *sources*, one at least."""
        self._sources = sources

    def pages_of_ids(self) -> Iterator[list[str]]:
        """Yield all ids, ascending, a list of some at a time."""
        if len(self._sources) == 1:
            yield from self._sources[0].pages_of_ids()
            return
        ids = heapq.merge(*(chain.from_iterable(source.pages_of_ids()) for source in self._sources))
        while page := list(islice(ids, _PAGE)):
            yield page

    def attributes_of(self, items: Sequence[str]) -> Mapping[str, Mapping[str, Attribute]]:
        """Return the attributes of each of *items* that there is, in their order."""
        found: dict[str, Mapping[str, Attribute]] = {}
        for source in self._sources:
            found.update(source.attributes_of(items))
        return found if len(self._sources) == 1 else {item: found[item] for item in items if item in found}


def open_item_search(items: Listed, *, name: str, build: Build | None = None) -> ItemSearch:
    """Return the item search of *items*; builds it if it is not in the cache under *name*, which names its contents.

    *build* makes the file of the cache in another way than `build_file`. If the cache cannot be written, the item
    search is built in memory, and a warning is logged. Raises StoreDamaged, and what *build* raises.
    """
    folder = cache_dir() / "item_search"
    path = folder / f"{name}-{_FORMAT}.sqlite"
    try:
        return _open_cached(path, build or (lambda made: build_file(items, made)))
    except (OSError, sqlite3.Error) as error:
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
    with suppress(OSError, sqlite3.Error):
        os.utime(path)
        return ItemSearch(_connect(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock"), waits=True):
        with suppress(OSError, sqlite3.Error):  # another worker has built it meanwhile
            return ItemSearch(_connect(path))
        with scratch_folder(path.parent) as folder:
            build(folder / path.name)
            (folder / path.name).replace(path)
        _remove_oldest(path)
        return ItemSearch(_connect(path))


def _connect(path: Path) -> Words:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return Words(sqlite3.connect(uri, uri=True, check_same_thread=False))


def build_file(items: Listed, path: Path) -> None:
    """Fill the new file *path* with the item search of *items*; raises StoreDamaged and sqlite3.Error."""
    with closing(sqlite3.connect(path)) as connection:
        _build(items, connection)


def _build(items: Listed, connection: sqlite3.Connection) -> None:
    """Fill an empty database."""
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + WORDS)
    connection.executemany("INSERT INTO words VALUES (?, ?)", _texts(items))
    connection.commit()


def _texts(items: Listed) -> Iterator[tuple[str, str | None]]:
    """Yield each item with its text."""
    for page in items.pages_of_ids():
        for item, attributes in items.attributes_of(page).items():
            yield item, text_of(attributes)


def open_item_table(items: ItemSource, *, name: str) -> ItemTable:
    """Return *items* as the rows of a table; its file is written if it is not in the cache under *name*.

    Raises what reading the items raises.
    """
    path = cache_dir() / "item_search" / f"{name}.columns"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), waits=True):
            if not path.exists():
                with scratch_folder(path.parent) as folder:
                    _write_columns(items, folder, name).replace(path)
            os.utime(path)
            _remove_oldest(path)
            return ItemTable([AttributeColumns(path, items_digest=name)])
    except OSError as error:
        log.warning("the items cannot be cached in %s (%s)", path.parent, error, extra={"event": "no_cache"})
    with tempfile.TemporaryDirectory() as folder:  # what is mapped stays
        return ItemTable([AttributeColumns(_write_columns(items, Path(folder), name), items_digest=name)])


def _write_columns(items: ItemSource, folder: Path, name: str) -> Path:
    """Write the attribute columns of *items*, by way of an items file, and return their file."""
    made, target = folder / "items.sqlite", folder / "columns"
    with closing(sqlite3.connect(made)) as connection:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + ITEMS_SCHEMA)
        number = 0
        last = ""
        while page := items.ids(after=last, limit=_PAGE):
            last = page[-1]
            rows = [(item, json.dumps(dict(values))) for item, values in items.attributes_of(page).items()]
            connection.executemany("INSERT INTO items VALUES (?, ?)", rows)
            shown = ((item, number + place) for place, (item, _) in enumerate(rows))
            connection.executemany("INSERT INTO images VALUES (?, 0, '', ?, NULL, '{}')", shown)
            number += len(rows)
        connection.commit()
    write_attribute_columns(made, target, items_digest=name)
    return target


def _remove_oldest(path: Path) -> None:
    files = sorted(path.parent.glob(f"*{path.suffix}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in files[_KEPT_FILES:]:
        old.unlink(missing_ok=True)  # a worker that has it open goes on reading
        Path(f"{old}.lock").unlink(missing_ok=True)
