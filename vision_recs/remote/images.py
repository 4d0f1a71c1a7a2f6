"""The source of images at addresses: for each scheme the source that knows it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, TypeAlias

from vision_recs.errors import ImageError
from vision_recs.remote.addresses import scheme_of
from vision_recs.remote.object_store import SCHEMES
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import BulkImageSource, ImageData, Unchanged

if TYPE_CHECKING:
    from vision_recs.remote.buckets import BucketImages

_POLL_S: Final = 0.2
_SHARED_AT_MOST: Final = 256  # the last images: items that show the same one mostly stand together


class Stopped(Exception):
    """Nobody wants the image any more."""


Wait: TypeAlias = Callable[[float], None]
"""Waits some seconds; raises Stopped."""


def _web(options: RemoteOptions, wait: Wait) -> BulkImageSource:
    from vision_recs.remote.web import WebImages

    return WebImages(options, wait=wait)


def _buckets(options: RemoteOptions, _: Wait) -> BucketImages:
    from vision_recs.remote.buckets import BucketImages

    return BucketImages(options)


Maker: TypeAlias = Callable[[RemoteOptions, Wait], BulkImageSource]

SOURCES: Final[Mapping[str, Maker]] = {"http": _web, "https": _web, **dict.fromkeys(SCHEMES, _buckets)}
"""What makes the source of each scheme; it is made, and its module imported, with the first image that needs it."""


class _SharedReads:
    """The last reads: who asks for the same while it is read, or soon after, gets the same image or error."""

    def __init__(self) -> None:
        self._reads: OrderedDict[tuple[str, str | None], Future[ImageData | Unchanged]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str | None], read: Callable[[], ImageData | Unchanged]) -> ImageData | Unchanged:
        own: Future[ImageData | Unchanged] = Future()
        with self._lock:
            found = self._reads.setdefault(key, own)
            while len(self._reads) > _SHARED_AT_MOST:
                self._reads.popitem(last=False)
        if found is own:
            try:
                own.set_result(read())
            except BaseException as error:  # noqa: BLE001 - raised again for each who waits
                own.set_exception(error)
        return found.result()


class RemoteImages:
    """Images at addresses; a `BulkImageSource` that several threads may use at once.

    *options* say how they are fetched. Where *should_stop* returns True, what waits for its turn raises Stopped.
    """

    def __init__(self, options: RemoteOptions | None = None) -> None:
        """Fetch images as *options* say."""
        self.options = options or RemoteOptions()
        self.should_stop: Callable[[], bool] = lambda: False
        self._sources: dict[Maker, BulkImageSource] = {}
        self._lock = threading.Lock()
        self._shared: _SharedReads | None = None

    def __reduce__(self) -> tuple[type[RemoteImages], tuple[RemoteOptions]]:
        """Return how the same source is made in another process, without connections."""
        return RemoteImages, (self.options,)

    def read(self, reference: str, *, known: str | None = None) -> ImageData | Unchanged:
        """Return the image at *reference*, or Unchanged if its signature is still *known*; raises ImageError."""
        source, shared = self._source(reference), self._shared
        if shared is None:
            return source.read(reference, known=known)
        return shared.get((reference, known), lambda: source.read(reference, known=known))

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Within the block, fetch an image once for several items that show it, and tell a failure to all of them."""
        self._shared = _SharedReads()
        try:
            yield
        finally:
            self._shared = None

    def signatures(self, references: Sequence[str]) -> list[str | None]:
        """Return the signature of each of *references*, None where it cannot be told without reading the image."""
        by_source: dict[BulkImageSource, list[int]] = {}
        for number, reference in enumerate(references):
            try:
                by_source.setdefault(self._source(reference), []).append(number)
            except ImageError:
                continue
        found: list[str | None] = [None] * len(references)
        for source, numbers in by_source.items():
            for number, signature in zip(numbers, source.signatures([references[i] for i in numbers]), strict=True):
                found[number] = signature
        return found

    def buckets(self) -> BucketImages:
        """Return what reads images in buckets."""
        from vision_recs.remote.buckets import BucketImages

        source = self._source("s3://")
        assert isinstance(source, BucketImages)
        return source

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what the fetching met, such as hosts that needed pauses."""
        with self._lock:
            return tuple(note for source in self._sources.values() for note in getattr(source, "notes", tuple)())

    def _wait(self, seconds: float) -> None:
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if self.should_stop():
                raise Stopped
            sleep(min(left, _POLL_S))

    def _source(self, reference: str) -> BulkImageSource:
        scheme = scheme_of(reference)
        make = SOURCES.get(scheme or "")
        if make is None:
            raise ImageError(
                "remote",
                f"images are not read from {scheme or 'there'}; copy the images into a folder, with their "
                "names, and give it with --images",
            )
        with self._lock:
            if make not in self._sources:
                self._sources[make] = make(self.options, self._wait)
            return self._sources[make]
