"""Images in buckets."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

from vision_recs.errors import ImageError
from vision_recs.remote.listings import Listing
from vision_recs.remote.object_store import Bucket, ObjectError, split_address
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import ImageData, Unchanged


class BucketImages:
    """Images at s3://, gs:// and az:// addresses; a `BulkImageSource` that several threads may use at once.

    The signature is the ETag, or the version, of the object.
    """

    def __init__(self, options: RemoteOptions) -> None:
        """Read images with the patience, and up to the size, that *options* say."""
        self._options = options
        self._buckets: dict[str, tuple[Bucket, Listing]] = {}
        self._lock = threading.Lock()

    def bucket(self, address: str) -> tuple[Bucket, str]:
        """Return the bucket and the key of *address*; raises ObjectError."""
        (bucket, _), key = self._place(address)
        return bucket, key

    def listing(self, address: str) -> Listing:
        """Return what the bucket of *address* holds, as far as it was asked for; raises ObjectError."""
        return self._place(address)[0][1]

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image at *reference*, or Unchanged if its signature is still *known*; raises ImageError.

        Where there is none, the one that is meant is looked for: with slashes for backslashes, without `?v=17` behind
        the name, and in the other normal forms of Unicode.
        """
        try:
            (bucket, listing), key = self._place(reference)
            status = listing.known(key) if known else None
            if status is not None and status.signature == known:
                return Unchanged()
            found = self._get(bucket, key, known)
        except ObjectError as error:
            raise ImageError(error.reason, f"{error}; {error.remedy}") from error
        if found is None:
            return Unchanged()
        if not found[0]:
            raise ImageError("empty", f"{reference} has no bytes; copy the image again")
        return ImageData(*found)

    def _get(self, bucket: Bucket, key: str, known: str | None) -> tuple[bytes, str] | None:
        limit = self._options.max_bytes
        try:
            return bucket.get(key, known=known, limit=limit)
        except ObjectError as error:
            if error.reason != "http-404":
                raise
            for other in _other_keys(key):
                try:
                    return bucket.get(other, known=known, limit=limit)
                except ObjectError as failure:
                    if failure.reason != "http-404":  # that one may be there
                        raise
            raise

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signature of each of *references* as `read` does, None for one that cannot be had."""
        wanted: dict[str, dict[str, list[int]]] = {}
        for number, reference in enumerate(references):
            with suppress(ObjectError):
                bucket, key = split_address(reference)
                wanted.setdefault(bucket, {}).setdefault(key, []).append(number)
        found: list[str | None] = [None] * len(references)
        for bucket, keys in wanted.items():
            with suppress(ObjectError):
                for key, signature in self.listing(bucket).signatures(list(keys)).items():
                    for number in keys[key]:
                        found[number] = signature
        return found

    def _place(self, address: str) -> tuple[tuple[Bucket, Listing], str]:
        name, key = split_address(address)
        with self._lock:
            if name not in self._buckets:
                bucket = Bucket(name, self._options)
                self._buckets[name] = bucket, Listing(bucket)
            return self._buckets[name], key


def _other_keys(key: str) -> list[str]:
    """Return the keys that may be meant by *key*, where there is no such object."""
    name = key.replace("\\", "/").partition("?")[0]
    others = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
    return [other for other in others if other != key]
