"""The folder of events, and the log that a process writes in it: append only, and durable before it is acknowledged.

SECRET                       32 random bytes in hexadecimal, for ids and pseudonyms; nobody else may read it
open/<worker>-<start>.log    a line for each answer and event, by one writer, who locks it; see `records`
days/<date>/                 what compaction makes of the lines: answers and events, as Parquet
counts/<date>-<run>.parquet  sums of impressions and clicks, without any shopper: what is learned from
CURRENT                      which of these files are in use, with their SHA-256, and how far each log was read
CANDIDATES  SERVED           which candidate stores were promoted or dropped, and which were served; see `candidates`
tmp/  LOCK                   work in progress, and the lock of whoever compacts or forgets
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from secrets import token_bytes
from threading import Lock
from typing import NamedTuple, Self

from vision_recs.errors import EventsError, StoreUnavailable, read_error, write_error
from vision_recs.feedback.records import Record, of_line, to_line
from vision_recs.scratch import other_files, remove_left, scratch_folder
from vision_recs.store.atomic_files import fsync_path, make_durable_folder

_LARGEST = 64 << 20  # bytes of a log
_LONGEST_S = 3_600.0
_SECRET_BYTES = 32


class EventFolder(NamedTuple):
    """The paths of the folder of events in *root*."""

    root: Path

    @property
    def secret(self) -> Path:
        """The file with the secret."""
        return self.root / "SECRET"

    @property
    def open(self) -> Path:
        """The folder of logs."""
        return self.root / "open"

    @property
    def days(self) -> Path:
        """The folder of compacted days."""
        return self.root / "days"

    @property
    def counts(self) -> Path:
        """The folder of counts."""
        return self.root / "counts"

    @property
    def current(self) -> Path:
        """The file that names the files in use."""
        return self.root / "CURRENT"

    @property
    def tmp(self) -> Path:
        """The folder of work in progress."""
        return self.root / "tmp"

    @property
    def lock(self) -> Path:
        """The file that whoever compacts or forgets locks."""
        return self.root / "LOCK"

    def logs(self) -> list[Path]:
        """Return the logs, by name."""
        return sorted(self.open.glob("*.log"))

    def require(self) -> None:
        """Raise EventsError where the folder is not one of events."""
        if not self.secret.is_file():
            raise EventsError(
                "is not a folder of events; name the one that `visrec serve --events` writes", path=str(self.root)
            )

    def make(self) -> None:
        """Create what does not exist of the folder; raises EventsError where it holds something else."""
        try:
            others = other_files(self.root)  # looked at before the secret, which another process may make now
            if others and not self.secret.exists():
                raise EventsError("holds other files; name a new folder for events", path=str(self.root))
            make_durable_folder(self.root)
            if not self.secret.exists():
                self._make_secret()  # first: a folder without it may be anybody's
            for folder in (self.open, self.days, self.counts, self.tmp):
                make_durable_folder(folder)
            remove_left(self.root)
        except OSError as error:
            raise write_error(self.root, error) from error

    def read_secret(self) -> bytes:
        """Return the secret; raises EventsError where it was altered."""
        self.require()
        try:
            text = self.secret.read_text("ascii")
            secret, code = bytes.fromhex(text[:64]), text[65:73]
        except (OSError, ValueError) as error:
            raise read_error(self.secret, error, "restore it from a backup") from error
        if text != _secret_text(secret) or len(secret) != _SECRET_BYTES:
            raise EventsError(f"was altered (its code is {code!r}); restore it from a backup", path=str(self.secret))
        return secret

    def _make_secret(self) -> None:
        with scratch_folder(self.root) as folder:
            made = folder / self.secret.name
            descriptor = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(_secret_text(token_bytes(_SECRET_BYTES)))
            fsync_path(made)
            with suppress(FileExistsError):  # another process was quicker, and its secret counts
                os.link(made, self.secret)
        fsync_path(self.root)


def _secret_text(secret: bytes) -> str:
    return f"{secret.hex()} {zlib.crc32(secret):08x}\n"


class EventLog:
    """Appends answers and events to a log of its own; several threads may use it at once.

    What `append` was given is on the disk when it returns. Writers that come together share one flush of the disk.
    """

    def __init__(self, root: str | Path, *, worker: str = "0") -> None:
        """Write to the folder *root*, which is made if need be, as *worker*, a name for the log files.

        Raises EventsError and StoreUnavailable.
        """
        self.folder = EventFolder(Path(root))
        self.folder.make()
        self.secret = self.folder.read_secret()
        self._worker = worker
        self._mutex = Lock()  # for the file and the numbers below
        self._flushing = Lock()
        self._written = self._flushed = self._lost = 0  # appends so far; those up to a number are durable, or lost
        self._descriptor: int | None = None
        self._path = self.folder.open
        self._size = 0
        self._started = 0.0
        self._is_torn = False

    def __enter__(self) -> Self:
        """Return the log, which is closed at the end of the `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def append(self, records: Iterable[Record], *, durable: bool = True) -> None:
        """Append *records*, and return when the disk holds them.

        Without *durable* it returns when the system has them: they survive the end of the process, but maybe not a
        power cut. Raises StoreUnavailable: then a part of them may be in the log, and they may be appended again.
        """
        self.append_lines(b"".join(map(to_line, records)), durable=durable)

    def append_lines(self, data: bytes, *, durable: bool) -> None:
        """Append lines that `records` made, as `append` does."""
        if not data:
            return
        try:
            if self._is_due:
                self._rotate()
            with self._mutex:
                self._write(data)
                self._written += 1
                ticket = self._written
            if durable:
                self._flush(ticket)
        except OSError as error:
            raise write_error(self.folder.root, error) from error

    def close(self) -> None:
        """Flush and close the log; the next `append` begins another one."""
        with self._flushing, self._mutex:
            self._end()

    @property
    def _is_due(self) -> bool:
        return self._descriptor is not None and (
            self._size >= _LARGEST or time.monotonic() - self._started >= _LONGEST_S
        )

    def _rotate(self) -> None:
        with self._flushing, self._mutex:
            if self._is_due:
                self._end()

    def _end(self) -> None:
        """Close the file, with both locks held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.fdatasync(descriptor)
            self._flushed = self._written
        except OSError:
            self._lost = self._written
            raise
        finally:
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        """Write *data* as whole lines; after a part of them, the next ones begin on a new line."""
        descriptor = self._opened()
        data = b"\n" + data if self._is_torn else data
        self._is_torn = True
        while data:
            count = os.write(descriptor, data)
            self._size += count
            data = data[count:]
        self._is_torn = False

    def _opened(self) -> int:
        if self._descriptor is not None and not _is_at(self._path, self._descriptor):
            os.close(self._descriptor)  # somebody removed or moved it: nobody here would ever read what is written
            self._descriptor, self._lost = None, self._written
        while self._descriptor is None:
            self._require_own()
            path = self.folder.open / f"{self._worker}-{time.time_ns() // 1_000}.log"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
            flock(descriptor, LOCK_EX)
            if not _is_at(path, descriptor):  # compaction took the empty file before it was locked
                os.close(descriptor)
                continue
            fsync_path(self.folder.open)
            self._path = path
            self._descriptor, self._size, self._started, self._is_torn = descriptor, 0, time.monotonic(), False
        return self._descriptor

    def _require_own(self) -> None:
        """Raise StoreUnavailable where another folder has taken the place of the one that was opened."""
        try:
            is_own = self.folder.read_secret() == self.secret
        except EventsError:
            is_own = False
        if not is_own:
            raise StoreUnavailable(f"{self.folder.root} is not the folder of events that it was; restore that one")

    def _flush(self, ticket: int) -> None:
        """Return when the append with the number *ticket* is on the disk: whoever comes first flushes for all."""
        with self._flushing:
            if ticket <= self._flushed:
                return
            with self._mutex:
                upto, descriptor = self._written, self._descriptor
            if ticket <= self._lost or descriptor is None:
                raise StoreUnavailable(f"{self.folder.root}: the disk lost what was written; send it again")
            try:
                os.fdatasync(descriptor)
            except OSError:  # what a second call would return says nothing of these lines
                self._lost = upto
                raise
            self._flushed = upto


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether *path* names the file that is open as *descriptor*."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116 - each answer asks this
    except (FileNotFoundError, NotADirectoryError):
        return False


class LogLine(NamedTuple):
    """A line of a log: its *number* from 1, where it starts, its bytes, and its record, None where it is damaged."""

    number: int
    start: int
    data: bytes
    record: Record | None

    @property
    def end(self) -> int:
        """The byte after the line."""
        return self.start + len(self.data)

    @property
    def is_whole(self) -> bool:
        """Whether the line has an end of line."""
        return self.data.endswith(b"\n")


def read_log(path: Path, start: int = 0) -> Iterator[LogLine]:
    """Yield the lines of the log *path* from the byte *start* on, without those that were forgotten."""
    position = start
    with path.open("rb") as file:
        file.seek(start)
        for number, line in enumerate(file, 1):
            begin, position = position, position + len(line)
            if line.strip(b" \n"):
                yield LogLine(number, begin, line, of_line(line[:-1]) if line.endswith(b"\n") else None)


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Yield whether no writer has the log *path* open; then none can open it until the end of the `with` statement."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
