"""Everything that visrec raises on purpose, as one tree.

VisionRecsError
├── CatalogError            a catalog that cannot be used: file, line and column say where
├── ImageError              an image that cannot be used: `reason` is a code out of REASONS
├── ClusterError            a run on a cluster that cannot go on
├── WorkerRefused           a machine of a cluster that cannot embed for the run: its weights or its folders are others
├── DecoderUnavailable      the process that decodes images apart cannot be started
├── EncoderError
│   ├── UnknownEncoder      no encoder has that name
│   ├── WeightsNotFound     the weights are not on this machine, or are not those of the encoder
│   ├── DeviceUnavailable   the device that was named is not on this machine
│   ├── NoTextTower         the encoder takes images only
│   └── MissingExtra        an optional dependency is not installed
├── StoreError
│   ├── StoreNotFound       there is no store in that folder
│   ├── StoreLocked         another process is writing to it
│   ├── StoreDamaged        a file of the store is missing or was altered
│   ├── StoreUnavailable    the machine cannot read or write it now: no room, memory, open files, permission or locks
│   └── UnknownFormat       written by a newer visrec
├── EngineError
│   ├── UnknownEngine       no engine has a URI like that
│   ├── EngineUnavailable   the engine cannot be reached, or the library for it is not installed
│   ├── NothingPublished    there is no generation in the engine, or not the one that was named
│   ├── EngineDamaged       records are missing in the engine, or are not what was published
│   └── PublishRefused      the generation would replace a newer one, or another store's
├── UnknownIndexType        no index type has that name
├── IndexBuildError         FAISS cannot build the index that its factory string describes
├── TooManyVectors          more vectors than one run can compare
├── TooManyPairs            more pairs of similar items than one run can report
├── SpaceMismatch           vectors of two encoders were about to meet
├── ZeroVector              a vector without a direction: zeros, NaN or infinity
├── FilterError             a filter that cannot be used: `position` is the column, counted from 1
├── PolicyError             a rule that cannot be used: `path` and `key` say where it is written
├── HistoryError            a shopper's history that cannot be used: `path` and `line` say where
├── EventsError             events, or a folder of events, that cannot be used: `path` and `line` say where
├── UnknownItem             no item has that id; `nearest` holds the ids most like it
├── EvaluationError         items, labels or pairs that leave nothing to measure or to learn from
├── EmptyCatalog            no image of the catalog could be used
├── ImagesSkipped           a strict run met images that could not be used
├── OutputFormatError       a file name that does not say how to write the file
├── CacheError              a folder for derived files that is not safe to use
├── RequestError            a request that the server turns down: `status` is that of HTTP
└── AddressUnavailable      the server cannot listen on `host` and `port`: the port is taken or not permitted

A message says what happened, the value, and what to do. Attributes are typed fields.
"""

from __future__ import annotations

import errno
import os

REASONS = {
    "missing": "there is no such file",
    "changed": "it is another image than when it was indexed",
    "remote": "it is at an address that cannot be read",
    "outside": "it is outside of the folder from which images may be read",
    "unreadable": "the file may not be read",
    "empty": "the file has no bytes",
    "not-an-image": "no known image format",
    "unsupported": "an image format that this installation cannot decode",
    "truncated": "the image ends too early or its data are damaged",
    "too-large": "more bytes, pixels or memory than the limit",
    "too-slow": "decoding takes longer than the limit",
    "crashed": "decoding ends the process that does it",
    "zero-vector": "the encoder gives the image no direction",
    "timeout": "the server did not answer in time",
    "refused": "there is no connection to the host: it is unknown, away, or its certificate is not valid",
    "broken-off": "the connection ended before the image did",
    "private-address": "the host is in a private network, and only public ones are allowed",
    "robots": "the robots.txt of the server forbids it",
    "redirect": "the address leads on to others without an end",
    "wrong-type": "the answer of the server is no image by its media type",
    "http-401": "the server wants a password",
    "http-403": "the server does not give the image away",
    "http-404": "the server has no such image",
    "http-410": "the server has the image no more",
    "http-429": "the server was asked too often, and wants a pause",
    "http-4xx": "the server refuses for another reason",
    "http-5xx": "the server failed",
}
"""Every reason code for which an image is skipped, and what it means."""

GONE = frozenset({"missing", "outside", "http-404", "http-410"})
"""Reasons for which an image that had a vector loses it: it is not there, whenever it is read."""

ROW_REASONS = {
    "no-id": "the row has no id, or one that is neither text nor a whole number",
    "rounded-id": "a spreadsheet has rounded the id, as 4.00638E+12",
    "no-image": "the item names no image",
    "bad-address": "the image is not a path or address that can be read",
    "malformed": "the row cannot be read: it has other cells than the header, or is not JSON",
    "contradiction": "the rows of the item differ; the first value is used",
    "link": "a link to a folder, which is not followed",
    "unreadable-folder": "the folder cannot be listed; the items that were in it stay",
    "not-utf-8": "a file name that is not UTF-8",
}
"""Every reason code for which a catalog leaves out a row, a value or a file, and what it means."""


class VisionRecsError(Exception):
    """The root of the tree; its message is one sentence meant for a person."""


class CatalogError(VisionRecsError):
    """A catalog that cannot be used."""

    def __init__(self, message: str, *, path: str, line: int | None = None, column: str | None = None) -> None:
        """Prefix *message* with where it happened: `path:line, column 'name'`."""
        place = path if line is None else f"{path}:{line}"
        if column is not None:
            place += f", column {column!r}"
        super().__init__(f"{place}: {message}")
        self.path = path
        self.line = line
        self.column = column


class ImageError(VisionRecsError):
    """An image that cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the code *reason* (a key of REASONS, or "no-image") beside the sentence *message*."""
        assert reason in REASONS or reason == "no-image", reason
        super().__init__(message)
        self.reason = reason


class DecoderUnavailable(VisionRecsError):
    """The process that decodes images apart cannot be started."""


class ClusterError(VisionRecsError):
    """A run on a cluster that cannot go on."""


class WorkerRefused(VisionRecsError):
    """A machine of a cluster that cannot embed for the run."""


class EncoderError(VisionRecsError):
    """An encoder that cannot be used."""


class UnknownEncoder(EncoderError):
    """No encoder has that name."""


class WeightsNotFound(EncoderError):
    """The weights are not on this machine, or do not belong to the encoder."""


class DeviceUnavailable(EncoderError):
    """The device that was named is not on this machine."""


class NoTextTower(EncoderError):
    """The encoder takes images only."""


class MissingExtra(EncoderError):
    """An optional dependency is not installed."""


class StoreError(VisionRecsError):
    """A store that cannot be used."""


class StoreNotFound(StoreError):
    """There is no store in that folder."""


class StoreLocked(StoreError):
    """Another process is writing to the store."""


class StoreDamaged(StoreError):
    """A file of the store is missing or was altered."""


class StoreUnavailable(StoreError):
    """The machine cannot read or write the store now, which says nothing about the store."""


class UnknownFormat(StoreError):
    """The store was written by a newer visrec."""


class EngineError(VisionRecsError):
    """An engine, a vector database outside, that cannot be used."""


class UnknownEngine(EngineError):
    """No engine has a URI like that."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or the library for it is not installed."""


class NothingPublished(EngineError):
    """There is no generation in the engine, or not the one that was named."""


class EngineDamaged(EngineError):
    """Records are missing in the engine, or are not what was published."""


class PublishRefused(EngineError):
    """The generation would replace a newer one, or one of another store."""


class UnknownIndexType(VisionRecsError):
    """No index type has that name."""


class IndexBuildError(VisionRecsError):
    """FAISS cannot build the index that its factory string describes."""


class TooManyVectors(VisionRecsError):
    """More vectors than one run can compare."""


class TooManyPairs(VisionRecsError):
    """More pairs of similar items than one run can report."""


class SpaceMismatch(VisionRecsError):
    """Vectors of two encoders were about to meet."""


class ZeroVector(VisionRecsError):
    """A vector without a direction."""


class FilterError(VisionRecsError):
    """A filter that cannot be used."""

    def __init__(self, message: str, *, expression: str, position: int) -> None:
        """Prefix *message* with the column *position* of *expression*, counted from 1; 0 where nobody wrote it."""
        super().__init__(f"filter, column {position}: {message}" if position else f"filter: {message}")
        self.expression = expression
        self.position = position


class PolicyError(VisionRecsError):
    """A rule that cannot be used."""

    def __init__(self, message: str, *, path: str | None = None, key: str | None = None) -> None:
        """Prefix *message* with where the rule is written: `path, key`, as far as that is known."""
        place = ", ".join(part for part in (path, key) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
        self.path = path
        self.key = key


class HistoryError(VisionRecsError):
    """A shopper's history that cannot be used."""

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        """Prefix *message* with where it happened: `path:line`."""
        super().__init__(f"{path if line is None else f'{path}:{line}'}: {message}")
        self.path = path
        self.line = line


class EventsError(VisionRecsError):
    """Events, or a folder of events, that cannot be used."""

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        """Prefix *message* with where it happened: `path:line`."""
        super().__init__(f"{path if line is None else f'{path}:{line}'}: {message}")
        self.path = path
        self.line = line


class UnknownItem(VisionRecsError):
    """No item has that id."""

    def __init__(self, message: str, *, item: str, nearest: tuple[str, ...] = ()) -> None:
        """Keep the id that was named, and the ids most like it."""
        super().__init__(message)
        self.item = item
        self.nearest = nearest


class EvaluationError(VisionRecsError):
    """The items, labels or pairs leave nothing to measure or to learn from."""


class EmptyCatalog(VisionRecsError):
    """No image of the catalog could be used."""


class ImagesSkipped(VisionRecsError):
    """A strict run met images that could not be used."""


class OutputFormatError(VisionRecsError):
    """The name of a file does not say how to write it."""


class CacheError(VisionRecsError):
    """A folder for derived files is not safe to use."""


class RequestError(VisionRecsError):
    """A request that the server turns down."""

    def __init__(self, message: str, *, status: int = 400, retry_after_s: int | None = None) -> None:
        """Keep the *status* of HTTP, and after how many seconds it may be sent again, if that may help."""
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class AddressUnavailable(VisionRecsError):
    """The server cannot listen on an address."""

    def __init__(self, message: str, *, host: str, port: int) -> None:
        """Keep the address: *host* and *port*."""
        super().__init__(message)
        self.host = host
        self.port = port


_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "allow more open files",
    errno.ENOMEM: "free memory",
    errno.EACCES: "mend its permissions",
    errno.EPERM: "mend its permissions",
    errno.EROFS: "make its file system writable",
    errno.ENOLCK: "use a file system that has locks",
    errno.ENOSYS: "use a file system that can do this",
    errno.EOPNOTSUPP: "use a file system that can do this",
}
"""What helps where the machine, not the file, is at fault."""

_REMEDIES_OF_WRITING = {
    errno.ENOENT: "make its folder",
    errno.ENOTDIR: "name a place in a folder",
    errno.EISDIR: "name a file",
}

_REMEDIES_OF_SQLITE = {
    3: "mend its permissions",  # SQLITE_PERM
    5: "wait for the other process",  # SQLITE_BUSY
    7: "free memory",  # SQLITE_NOMEM
    8: "mend its permissions",  # SQLITE_READONLY
    10: "check the disk",  # SQLITE_IOERR
    13: "make room",  # SQLITE_FULL
    14: "check its permissions, and allow more open files (`ulimit -n`)",  # SQLITE_CANTOPEN
    15: "use a file system that has locks",  # SQLITE_PROTOCOL
}


def read_error(path: object, error: Exception, remedy: str = "run `visrec verify`") -> StoreError:
    """Return the error to raise where the file *path* of a store cannot be read because of *error*.

    That is StoreUnavailable where the machine is at fault, else StoreDamaged, which *remedy* repairs; where that is
    empty, the caller knows what does.
    """
    why = first_line(error)
    found = machine_remedy(error)
    if found is not None:
        return StoreUnavailable(f"{path} cannot be read ({why}); {found}, then run again")
    return StoreDamaged(f"{path} cannot be read ({why})" + (f"; {remedy}" if remedy else ""))


def write_error(path: object, error: Exception) -> StoreUnavailable:
    """Return the error to raise where the file or folder *path* cannot be written because of *error*."""
    remedy = machine_remedy(error) or _REMEDIES_OF_WRITING.get(getattr(error, "errno", None) or 0, "check the disk")
    return StoreUnavailable(f"{path} cannot be written ({first_line(error)}); {remedy}, then run again")


def is_shortage(error: OSError) -> bool:
    """Whether *error* says that the process has no more memory or open files, whatever the file."""
    return error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def machine_remedy(error: Exception) -> str | None:
    """Return what helps against *error*, of the operating system or of SQLite, or None where a file is at fault."""
    remedy: str | None = getattr(error, "remedy", None)  # of an object in a bucket
    if remedy is not None:
        return remedy
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return _REMEDIES_OF_SQLITE.get(code & 0xFF)
    if isinstance(error, MemoryError):
        return _REMEDIES[errno.ENOMEM]
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # FAISS and pyarrow tell it in words only
        number = next((number for number in _REMEDIES if os.strerror(number) in str(error)), None)
    return None if number is None else _REMEDIES.get(number)


def first_line(error: Exception) -> str:
    """Return what *error* says, on one line: without the number of the error and the path."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(".") or type(error).__name__
