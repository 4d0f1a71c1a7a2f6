"""Changes of items over HTTP: one thread makes those of all requests that wait one generation (group commit).

A request is answered when the generation that holds its changes is on the disk, so that nothing that was acknowledged
is lost, however the server ends. Several workers, and `visrec update` beside them, take turns by the lock of the store.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Final

import msgspec

from vision_recs.catalog import CatalogOptions
from vision_recs.catalog.changes import Change, changes_of
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import (
    CatalogError,
    EmptyCatalog,
    EncoderError,
    RequestError,
    SpaceMismatch,
    StoreError,
    StoreLocked,
)
from vision_recs.serve.metrics import Metrics
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.schemas import MAX_CHANGES, ChangeBody, SkippedImage, UpdateBody, Updated
from vision_recs.serve.served import Served
from vision_recs.store import Store
from vision_recs.store.partitions import store_folders

if TYPE_CHECKING:  # a server that is only asked does not load what embeds
    from vision_recs.jobs import UpdateReport

LINES: Final = "application/x-ndjson"
"""The media type of JSON Lines."""

_LOCK_WAIT_S: Final = 5.0
_LOCK_POLL_S: Final = 0.01
_BODIES_WAITING: Final = 8  # of the largest size
_MALFORMED: Final = (msgspec.DecodeError, RecursionError, UnicodeError)
_OF_MACHINE: Final = (StoreError, EncoderError, SpaceMismatch)
_OPTIONS: Final = CatalogOptions(id_column="id")
_body, _line = msgspec.json.Decoder(UpdateBody), msgspec.json.Decoder(ChangeBody)


@dataclass(slots=True, eq=False)
class _Request:
    """The *changes* of a request, *notes* on them, and its *answer*, which runs from when the thread takes them."""

    changes: list[Change]
    notes: list[str]
    answer: Future[Updated] = field(default_factory=Future)

    @property
    def has_images(self) -> bool:
        return any(change.images for change in self.changes)


class Updates:
    """Makes changes of the store, in the order in which they come; *pending* is how many requests wait or are made."""

    def __init__(self, options: ServeOptions, snapshot: Callable[[], Served], metrics: Metrics) -> None:
        """Change the store of *options*; *snapshot* returns the one that is served, whose encoder embeds new images."""
        self.pending = 0
        self._options = options
        self._snapshot = snapshot
        self._metrics = metrics
        self._pending_bytes = 0
        self._waiting: deque[_Request] = deque()
        self._lock = threading.Lock()
        self._is_running = self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visrec-updates")
        if options.token is not None:  # the first change does not wait until all this is loaded
            self._thread.submit(import_module, "vision_recs.jobs")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="visrec-changes")

    async def make(self, body: bytes, kind: str) -> Updated:
        """Make the changes in *body*, of the media type *kind*, and return what became of them once they are durable.

        Raises RequestError: 400 for changes that are not valid, 422 where no item would be left, and 503 where too many
        wait, the store is locked, or the time is up; what was not begun by then is not done.
        """
        with self._place(len(body)):
            read = asyncio.get_running_loop().run_in_executor(self._reading, read_body, body, kind)
            request = _Request(*await read)
            self._enqueue(request)
            timeout_s = self._options.limits.answer_timeout_s
            try:
                async with asyncio.timeout(timeout_s):
                    return await asyncio.wrap_future(request.answer)
            except TimeoutError:
                what = "none was made" if request.answer.cancel() else "they may be made yet"
                raise _busy(f"the changes were not made within {timeout_s:g} s, {what}; send them again") from None

    async def close(self) -> None:
        """Finish the changes that are being made, and turn down those that wait."""
        with self._lock:
            self._is_closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
        for request in waiting:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(_busy("the server is stopping; send the changes again"))
        await asyncio.to_thread(self._thread.shutdown)
        self._reading.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _place(self, size: int) -> Iterator[None]:
        """Count a request with a body of *size* bytes; raises RequestError 503 where too much waits already."""
        limits = self._options.limits
        if self.pending >= limits.max_pending or self._pending_bytes + size > _BODIES_WAITING * limits.max_update_bytes:
            raise _busy(f"{self.pending} requests with changes are waiting already; try again in a second", after_s=1)
        self.pending += 1
        self._pending_bytes += size
        try:
            yield
        finally:
            self.pending -= 1
            self._pending_bytes -= size

    def _enqueue(self, request: _Request) -> None:
        with self._lock:
            if self._is_closed:
                raise _busy("the server is stopping; send the changes again")
            self._waiting.append(request)
            if not self._is_running:
                self._is_running = True
                self._thread.submit(self._run)

    def _run(self) -> None:
        """Make what waits, until nothing does; runs on the thread."""
        try:
            while batch := self._take():
                self._answer(batch)
        except BaseException:
            with self._lock:
                self._is_running = False  # the next request starts it again
            raise

    def _take(self) -> list[_Request]:
        """Return the requests that have waited longest and go together: changes of prices do not wait for images."""
        batch: list[_Request] = []
        with self._lock:
            while self._waiting and (not batch or self._waiting[0].has_images == batch[0].has_images):
                request = self._waiting.popleft()
                if request.answer.set_running_or_notify_cancel():  # else its time was up
                    batch.append(request)
            self._is_running = bool(batch)
        return batch

    def _answer(self, batch: Sequence[_Request]) -> None:
        started = perf_counter()
        try:
            answers = self._update(batch)
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            if len(batch) > 1 and not isinstance(error, _OF_MACHINE):  # one of them is the cause, the others are not
                for request in batch:
                    self._answer([request])
                return
            for request in batch:
                request.answer.set_exception(_for_client(error))
            self._metrics.count_update(success=False)
            return
        for request, answer in zip(batch, answers, strict=True):
            request.answer.set_result(answer)
        self._metrics.count_update(success=True, seconds=perf_counter() - started)
        for answer in answers:
            self._metrics.count_changes(made=answer.made, stale=answer.stale, unknown=answer.unknown)

    def _update(self, batch: Sequence[_Request]) -> list[Updated]:
        """Make all changes of *batch* one generation, and return the answer of each request."""
        until = monotonic() + _LOCK_WAIT_S
        while True:
            try:
                reports = self._publish(batch)
                break
            except StoreLocked:
                if monotonic() > until or self._is_closed:
                    raise
                sleep(_LOCK_POLL_S)
        skipped = self._skipped(batch) if batch[0].has_images else [[] for _ in batch]
        return [
            Updated(
                report.generation,
                report.changes,
                report.changes - report.stale - report.unknown,
                report.stale,
                report.unknown,
                images,
                [*request.notes, *report.notes],
            )
            for request, report, images in zip(batch, reports, skipped, strict=True)
        ]

    def _publish(self, batch: Sequence[_Request]) -> list[UpdateReport]:
        from vision_recs.jobs import IndexOptions, update_together

        parts = [request.changes for request in batch]
        if not batch[0].has_images:
            return update_together(parts, self._options.store)
        snapshot = self._snapshot()
        snapshot.acquire()
        try:
            options = IndexOptions(workers=1)
            encoder = snapshot.recommender.image_encoder()
            images = self._options.images or snapshot.opened.images
            if isinstance(images, ImageFiles):  # a client may name any address
                images = images.in_own_bucket()
            return update_together(parts, self._options.store, encoder=encoder, images=images, options=options)
        finally:
            snapshot.release()

    def _skipped(self, batch: Sequence[_Request]) -> list[list[SkippedImage]]:
        """Return, for each request of *batch*, the images in it that the store could not use."""
        found = []
        with ExitStack() as stack:
            stores = [stack.enter_context(Store.open(folder)) for folder in store_folders(self._options.store)]
            for request in batch:
                named = {(change.id, image) for change in request.changes for image in change.images or ()}
                items = sorted({item for item, _ in named})
                skipped = [each for item in items for store in stores for each in store.items.skipped(item)]
                shown = [each for each in skipped if each[:2] in named]
                found.append([SkippedImage(each.id, each.image, each.reason) for each in shown])
        return found


def read_body(body: bytes, kind: str) -> tuple[list[Change], list[str]]:
    """Return the changes in *body*, and what is worth a sentence; raises RequestError 400.

    The body is JSON, or JSON Lines if that is its media type *kind*.
    """
    try:
        records = _lines(body) if kind == LINES else _body.decode(body).changes
        unnamed = next((number for number, record in enumerate(records, 1) if "id" not in record), None)
        if unnamed is not None:
            raise RequestError(f"the change {unnamed} has no id; name the item that it changes")
        notes: dict[str, None] = {}
        return list(changes_of(records, _OPTIONS, notes)), list(notes)
    except CatalogError as error:
        raise RequestError(str(error)) from None
    except _MALFORMED as error:
        raise _malformed("the body", error) from None


def _lines(body: bytes) -> list[ChangeBody]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not 0 < len(lines) <= MAX_CHANGES:
        raise RequestError(f"the body has {len(lines)} changes; send 1 to {MAX_CHANGES:,} at a time")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_line.decode(line))
        except _MALFORMED as error:
            raise _malformed(f"the change {number}", error) from None
    return records


def _malformed(what: str, error: Exception) -> RequestError:
    return RequestError(f"{what} is not valid ({str(error) or type(error).__name__}); see /openapi.json")


def _busy(message: str, *, after_s: int = 5) -> RequestError:
    return RequestError(message, status=503, retry_after_s=after_s)


def _for_client(error: Exception) -> Exception:
    """Return *error* as the client sees it: without paths of this machine."""
    if isinstance(error, StoreLocked):
        return _busy("another process is writing to the store, so that nothing was changed; send the changes again")
    if isinstance(error, EmptyCatalog):
        return RequestError(str(error), status=422)
    return error
