"""CURRENT of a folder of events: the files in use, and how far each log was read; it alone is ever replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import pyarrow as pa

from vision_recs.errors import (
    EventsError,
    StoreDamaged,
    StoreError,
    StoreLocked,
    UnknownFormat,
    read_error,
    write_error,
)
from vision_recs.feedback import day_files
from vision_recs.feedback.day_files import read_table, write_table
from vision_recs.feedback.event_log import EventFolder
from vision_recs.file_formats import dump_checksummed, is_newer, load_checksummed
from vision_recs.store.atomic_files import (
    FileLock,
    atomic_move_file,
    atomic_write,
    fsync_path,
    make_durable_folder,
    sha256_file,
)

P = ParamSpec("P")
T = TypeVar("T")

FORMAT = 1
"""The version of the format of the folder that this visrec writes, and the newest that it reads."""

ANSWERS, EVENTS, COUNTS = "answers", "events", "counts"
SCHEMAS = {ANSWERS: day_files.ANSWERS, EVENTS: day_files.EVENTS, COUNTS: day_files.COUNTS}
"""The files of a day, and their columns."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file in use: its path below the folder, its SHA-256, and its rows."""

    path: str
    digest: str
    rows: int


@dataclass(frozen=True, slots=True)
class Current:
    """What is in use after the compaction *run*.

    *days* has the files of each day, by date, then by what they hold. *waiting* holds events whose answer is not known
    yet. *logs* says up to which byte each log was read, and *damaged* how many lines could not be.
    """

    run: int = 0
    days: Mapping[str, Mapping[str, FileEntry]] = field(default_factory=dict)
    waiting: FileEntry | None = None
    logs: Mapping[str, int] = field(default_factory=dict)
    damaged: int = 0

    def files(self) -> Iterator[FileEntry]:
        """Yield every file in use."""
        for parts in self.days.values():
            yield from parts.values()
        if self.waiting is not None:
            yield self.waiting

    def to_bytes(self) -> bytes:
        """Return the checksummed JSON text."""
        return dump_checksummed({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Current:
        """Return what `to_bytes` wrote; raises StoreDamaged, UnknownFormat for a newer one."""
        value = load_checksummed(data)
        if is_newer(value.pop("format", None), FORMAT):
            raise UnknownFormat("the events were written by a newer visrec; upgrade visrec")
        try:
            value["days"] = {
                date: {part: FileEntry(**entry) for part, entry in parts.items()}
                for date, parts in value["days"].items()
            }
            value["waiting"] = None if value["waiting"] is None else FileEntry(**value["waiting"])
            return cls(**value)
        except (AttributeError, LookupError, TypeError) as error:
            raise StoreDamaged("it does not describe a folder of events") from error


def read_current(folder: EventFolder) -> Current:
    """Return what is in use in *folder*; before the first compaction, that is nothing.

    Raises EventsError where it is not a folder of events, StoreDamaged, and UnknownFormat.
    """
    folder.require()
    try:
        return Current.from_bytes(folder.current.read_bytes())
    except FileNotFoundError:
        if any(folder.days.glob("*/*.parquet")):
            raise EventsError(
                "is missing, but there are compacted days; restore it", path=str(folder.current)
            ) from None
        return Current()
    except OSError as error:
        raise read_error(folder.current, error) from error
    except StoreDamaged as error:
        raise StoreDamaged(f"{folder.current} was altered; restore it from a backup") from error


@dataclass(frozen=True, slots=True)
class Days:
    """The compacted days of a folder of events: their files, by date, then by what they hold."""

    folder: EventFolder
    files: Mapping[str, Mapping[str, FileEntry]]

    @classmethod
    def of(cls, root: str | Path) -> Days:
        """Return the days in use of the folder *root*; raises as `read_current` does."""
        folder = EventFolder(Path(root))
        return cls(folder, read_current(folder).days)

    def table(self, date: str, part: str) -> pa.Table:
        """Return the table *part* of the day *date*, empty where there is none; raises StoreDamaged."""
        entry = self.files.get(date, {}).get(part)
        return SCHEMAS[part].empty_table() if entry is None else read_table(self.folder.root / entry.path)


def again_if_compacted(root: str | Path, read: Callable[[], T]) -> T:
    """Return what *read* returns, which reads days of the folder *root*.

    Where it fails, and CURRENT was replaced meanwhile, files that it had to read may be gone: then it is called again.
    """
    current = EventFolder(Path(root)).current
    before = _version(current)
    try:
        return read()
    except (StoreError, FileNotFoundError):
        if _version(current) == before:
            raise
    return read()


def reads_days(function: Callable[P, T]) -> Callable[P, T]:
    """Let *function*, whose first argument *root* is a folder of events, read again if a compaction comes between."""

    @wraps(function)
    def reading(*args: P.args, **options: P.kwargs) -> T:
        root = cast("str | Path", args[0] if args else options["root"])
        return again_if_compacted(root, lambda: function(*args, **options))

    return reading


def _version(path: Path) -> tuple[int, int] | None:
    """Return what differs between a file *path* and another one that takes its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextmanager
def locked(folder: EventFolder) -> Iterator[None]:
    """Hold the lock of *folder*; raises StoreLocked where another process compacts or forgets."""
    folder.require()
    try:
        lock = FileLock(folder.lock)
    except BlockingIOError:
        raise StoreLocked(f"another process compacts {folder.root}; wait until it is done") from None
    except OSError as error:
        raise write_error(folder.root, error) from error
    with lock:
        yield


class Draft:
    """The next state of a folder of events, of which nobody sees anything before `publish`."""

    def __init__(self, folder: EventFolder) -> None:
        """Begin with what is in use; call it with the lock held. Raises as `read_current` does."""
        self.folder = folder
        self.before = read_current(folder)
        if not folder.current.exists():  # whoever reads meanwhile sees that nothing is compacted yet
            atomic_write(self.before.to_bytes(), folder.current, folder.tmp)
        self.run = self.before.run + 1
        self.days = {date: dict(parts) for date, parts in self.before.days.items()}
        self._remove_unused(self.before)

    def table(self, date: str, part: str) -> pa.Table:
        """Return the table *part* of the day *date*, empty where there is none; raises StoreDamaged."""
        return Days(self.folder, self.days).table(date, part)

    def put(self, date: str, part: str, table: pa.Table) -> None:
        """Write *table* as *part* of the day *date*, unless it is there already."""
        entry = self.days.get(date, {}).get(part)
        if entry is not None and entry.rows == len(table) and read_table(self.folder.root / entry.path).equals(table):
            return
        name = f"counts/{date}" if part == COUNTS else f"days/{date}/{part}"
        self.days.setdefault(date, {})[part] = self.write(name, table)

    def write(self, name: str, table: pa.Table) -> FileEntry:
        """Write *table* durably to a new file, whose name begins with *name*."""
        path = f"{name}-{self.run:06d}.parquet"
        made, target = self.folder.tmp / Path(path).name, self.folder.root / path
        make_durable_folder(target.parent)
        write_table(table, made)
        digest = sha256_file(made)
        atomic_move_file(made, target)
        return FileEntry(path, digest, table.num_rows)

    def publish(self, waiting: FileEntry | None, logs: Mapping[str, int], *, damaged: int) -> Current:
        """Let readers see the days, and remove the files that are not used any more."""
        after = replace(self.before, run=self.run, days=self.days, waiting=waiting, logs=logs, damaged=damaged)
        atomic_write(after.to_bytes(), self.folder.current, self.folder.tmp)
        self._remove_unused(after)
        return after

    def _remove_unused(self, current: Current) -> None:
        """Remove what no file of *current* is: of a compaction that was killed, or of the one before."""
        used = {self.folder.root / entry.path for entry in current.files()}
        for path in [*self.folder.tmp.iterdir(), *self.folder.days.rglob("*.parquet"), *self.folder.counts.iterdir()]:
            if path not in used:
                path.unlink()
        for path in self.folder.days.iterdir():
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for changed in (self.folder.days, self.folder.counts):
            fsync_path(changed)
