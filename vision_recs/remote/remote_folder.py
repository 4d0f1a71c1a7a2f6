"""A folder in a bucket that is written to: files are put, fetched and removed, and small ones swapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vision_recs.remote.object_store import Bucket, ObjectError, split_address
from vision_recs.remote.options import RemoteOptions

if TYPE_CHECKING:
    from obstore import PutMode

_CHUNK = 8 << 20
_LARGE_S = 3_600.0  # a file of an index may have gigabytes
_PAGE = 1_000


class Superseded(ObjectError):
    """An object is not what it was when it was read: somebody else has written it."""

    def __init__(self, where: str) -> None:
        """Name the object by its address *where*."""
        super().__init__("broken-off", f"{where} was written by somebody else in the meantime", "run again")


class Revision(NamedTuple):
    """What tells one content of an object from another."""

    e_tag: str | None
    version: str | None


class RemoteFile(NamedTuple):
    """A file of a remote folder: its path from there, its size, and when it was written by the clock of the bucket."""

    path: str
    size: int
    written: datetime


class RemoteFolder:
    """The files below an address in a bucket, by their paths from there; safe to use from several threads.

    Every method raises ObjectError.
    """

    def __init__(self, address: str, *, hurried: bool = False) -> None:
        """Use the folder at *address*, as `s3://bucket/shop`; nothing is read yet.

        For somebody who is *hurried*, a bucket that does not answer at once is away.
        """
        options = RemoteOptions(total_s=_LARGE_S)
        bucket, key = split_address(address)
        self._prefix = f"{key.strip('/')}/" if key.strip("/") else ""
        self.address = f"{bucket}/{self._prefix}".rstrip("/")
        self._bucket = Bucket(bucket, options.hurried() if hurried else options)

    def read(self, path: str) -> tuple[bytes, Revision] | None:
        """Return the bytes of the small file *path* and its revision, None where there is none."""
        try:
            with self._bucket.asking(self._prefix + path) as store:
                found = store.get(self._prefix + path)
                return bytes(found.bytes()), Revision(found.meta["e_tag"], found.meta["version"])
        except ObjectError as error:
            if error.reason == "http-404":
                return None
            raise

    def put(self, path: str, content: bytes | Path) -> None:
        """Write *content*, or the file of that name on this machine, to the file *path*."""
        with self._bucket.asking(self._prefix + path) as store:
            store.put(self._prefix + path, content)

    def create(self, path: str, content: bytes) -> bool:
        """Write *content* to the file *path* unless there is one; return whether it was written."""
        try:
            self._put_if(path, content, "create")
        except Superseded:
            return False
        return True

    def swap(self, path: str, content: bytes, before: Revision | None) -> Revision:
        """Write *content* to the file *path* and return its revision; raises Superseded unless it was at *before*.

        None stands for a file that is not there.
        """
        mode: PutMode = "create"
        if before is not None:
            mode = {}
            if before.e_tag is not None:
                mode["e_tag"] = before.e_tag
            if before.version is not None:
                mode["version"] = before.version
        return self._put_if(path, content, mode)

    def _put_if(self, path: str, content: bytes, mode: PutMode) -> Revision:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        key = self._prefix + path
        with self._bucket.asking(key) as store:
            try:
                result = store.put(key, content, mode=mode)
                return Revision(result["e_tag"], result["version"])
            except (AlreadyExistsError, PreconditionError):
                pass
        now = self.read(path)
        if now is not None and now[0] == content:  # a request that was repeated: the first one had arrived
            return now[1]
        raise Superseded(f"{self.address}/{path}")

    def fetch(self, path: str, target: Path) -> str:
        """Write the file *path* to *target* on this machine; return the SHA-256 of its bytes."""
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self._chunks(path):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of the file *path*, all of which is read; None where there is none."""
        digest = hashlib.sha256()
        try:
            for chunk in self._chunks(path):
                digest.update(chunk)
        except ObjectError as error:
            if error.reason == "http-404":
                return None
            raise
        return digest.hexdigest()

    def _chunks(self, path: str) -> Iterator[bytes]:
        key = self._prefix + path
        with self._bucket.asking(key) as store:
            chunks = iter(store.get(key).stream(min_chunk_size=_CHUNK))
        while True:
            with self._bucket.asking(key):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield bytes(chunk)

    def files(self, below: str = "") -> Iterator[RemoteFile]:
        """Yield the files below the folder *below*, also those in folders in it."""
        prefix = f"{self._prefix}{below}".rstrip("/")
        with self._bucket.asking(prefix) as store:
            pages = iter(store.list(prefix or None, chunk_size=_PAGE))
        while True:
            with self._bucket.asking(prefix):
                page = next(pages, None)
            if page is None:
                return
            for meta in page:
                yield RemoteFile(meta["path"].removeprefix(self._prefix), meta["size"], meta["last_modified"])

    def remove(self, paths: Sequence[str]) -> None:
        """Remove the files *paths*; one that is not there does not matter."""
        for start in range(0, len(paths), _PAGE):
            some = [self._prefix + path for path in paths[start : start + _PAGE]]
            with self._bucket.asking(self._prefix) as store:
                store.delete(some)
