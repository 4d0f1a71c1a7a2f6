"""A file or a folder in a bucket, as catalogs see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import BinaryIO

from vision_recs.catalog.parted_file import opened
from vision_recs.remote.buckets import BucketImages
from vision_recs.remote.object_store import ObjectParts, ObjectStatus, split_address


@dataclass(frozen=True, slots=True, order=True)
class BucketPath:
    """A file or a folder in a bucket, with what catalogs need of `pathlib.Path`; raises ObjectError."""

    bucket: str
    key: PurePosixPath
    images: BucketImages = field(compare=False, repr=False)
    folder: bool | None = field(default=None, compare=False)

    @classmethod
    def of(cls, address: str, images: BucketImages) -> BucketPath:
        """Return what is at *address*, which *images* reads."""
        bucket, key = split_address(address)
        return cls(bucket, PurePosixPath(key), images)

    def __str__(self) -> str:
        """Return the address."""
        return f"{self.bucket}/{self._prefix}" if self._prefix else self.bucket

    def __truediv__(self, name: str) -> BucketPath:
        """Return what has that *name* in this folder."""
        return replace(self, key=self.key / name, folder=None)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.key.name

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return self.key.stem

    @property
    def suffix(self) -> str:
        """The extension, with its dot."""
        return self.key.suffix

    @property
    def parent(self) -> BucketPath:
        """The folder in which this lies."""
        return replace(self, key=self.key.parent, folder=True)

    @property
    def _prefix(self) -> str:
        return "" if self.key == PurePosixPath() else str(self.key)

    def relative_to(self, other: BucketPath) -> PurePosixPath:
        """Return the path from *other*, a folder above."""
        return self.key.relative_to(other.key)

    def is_file(self) -> bool:
        """Return whether there is an object of that name."""
        return bool(self._prefix) and self._prefix in self.images.listing(self.bucket).signatures([self._prefix])

    def is_dir(self) -> bool:
        """Return whether anything lies below."""
        return self.folder if self.folder is not None else bool(self.some())

    def some(self) -> list[BucketPath]:
        """Return files below, also in folders, as many as one request lists."""
        page = self.images.listing(self.bucket).some_below(self._prefix)
        return [replace(self, key=PurePosixPath(status.key), folder=False) for status in page]

    def every(self) -> Iterator[ObjectStatus]:
        """Yield every object below, also in folders, by its key, which is relative to this."""
        above = len(self._prefix) + 1 if self._prefix else 0
        for status in self.images.listing(self.bucket).below(self._prefix):
            yield status._replace(key=status.key[above:])

    def status(self) -> ObjectStatus:
        """Return size and signature, as they were within the hour."""
        return self.images.listing(self.bucket).status(self._prefix)

    def parts(self, version: str) -> ObjectParts:
        """Return the bytes of the file, of that *version*, which is its signature."""
        return ObjectParts(self.images.bucket(self.bucket)[0], self.status()._replace(signature=version))

    def open(self) -> BinaryIO:
        """Open the file as it is now, to be read here and there."""
        bucket, _ = self.images.bucket(self.bucket)
        return opened(ObjectParts(bucket, bucket.status(self._prefix)))
