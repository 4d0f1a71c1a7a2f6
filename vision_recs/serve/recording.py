"""The folder of events as a worker uses it: answers and events are kept as long as that is possible.

An answer never waits for the disk, and never fails because of it: where it cannot be kept, it has no id, so that nobody
sends events for it. Events are acknowledged when the disk holds them, or refused with the status 503. What went wrong
is in the log, and the folder is tried again after some seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic

from vision_recs.errors import EventsError, RequestError, StoreError
from vision_recs.feedback.event_log import EventFolder, EventLog
from vision_recs.feedback.records import Answer, Event, to_line
from vision_recs.serve.metrics import Metrics

log = logging.getLogger(__name__)

RETRY_S = 5


class Recorder:
    """Writes the answers and events of one worker to a folder of events; several threads may use it at once."""

    def __init__(self, root: Path, metrics: Metrics, *, worker: str) -> None:
        """Open the folder *root*, which is made if need be; where that fails, go on without it."""
        self.root = root
        self.secret: bytes | None = None
        """The secret of the folder, None as long as it could never be opened."""
        self._metrics = metrics
        self._worker = worker
        self._log: EventLog | None = None
        self._lock = Lock()
        self._retry_at = -RETRY_S * 1.0
        self._said = ""
        self._opened()

    @property
    def is_writing(self) -> bool:
        """Whether what happens can be kept, as far as is known."""
        return self._opened() is not None

    def keep_answers(self, answers: Sequence[Answer]) -> bool:
        """Write *answers*, which then survive the end of this process; return whether that worked."""
        return self.keep_lines([to_line(answer) for answer in answers])

    def keep_lines(self, lines: Sequence[bytes]) -> bool:
        """Write the *lines* of answers, as `keep_answers` does."""
        is_kept = self._append(b"".join(lines), durable=False)
        self._metrics.count_answers(len(lines), is_kept=is_kept)
        return is_kept

    def keep_events(self, batches: Sequence[Sequence[Event]]) -> list[int | Exception]:
        """Return how many events there are in each of *batches*, when the disk holds all of them, or RequestError 503.

        What arrives while the disk is flushed makes up the next batches: writers that come together share a flush.
        """
        events = [event for batch in batches for event in batch]
        is_kept = self._append(b"".join(map(to_line, events)), durable=True)
        self._metrics.count_events(len(events), "kept" if is_kept else "lost")
        if is_kept:
            return [len(batch) for batch in batches]
        return [
            RequestError("the events cannot be kept now; send them again", status=503, retry_after_s=RETRY_S)
            for _ in batches
        ]

    def close(self) -> None:
        """Close the log."""
        with self._lock, suppress(OSError):
            if self._log is not None:
                self._log.close()
            self._log = None
            self._retry_at = float("inf")

    def _append(self, lines: bytes, *, durable: bool) -> bool:
        writer = self._opened()
        if writer is None:
            return False
        try:
            writer.append_lines(lines, durable=durable)
        except StoreError as error:
            self._fail(writer, error)
            return False
        return True

    def _opened(self) -> EventLog | None:
        """Return the log, opened again where it failed some seconds ago, or None."""
        if self._log is not None or monotonic() < self._retry_at:
            return self._log
        with self._lock:
            if self._log is None and monotonic() >= self._retry_at:
                try:
                    if self.secret is not None:
                        EventFolder(self.root).require()  # a new folder would have another secret, and other arms
                    self._log = EventLog(self.root, worker=self._worker)
                    self.secret = self._log.secret
                except (StoreError, EventsError) as error:
                    self._say(error)
                else:
                    self._say(None)
            return self._log

    def _fail(self, failed: EventLog, error: Exception) -> None:
        with self._lock:
            if self._log is failed:
                self._log = None
                with suppress(OSError):
                    failed.close()
            self._say(error)

    def _say(self, error: Exception | None) -> None:
        """Log *error* once, or that it is over; with an error, wait before the next attempt."""
        if error is not None:
            self._retry_at = monotonic() + RETRY_S
        text = "" if error is None else str(error)
        if text == self._said:
            return
        if error is None:
            log.info("answers and events are kept again", extra={"event": "events_kept"})
        else:
            log.error("answers and events are not kept: %s", text, extra={"event": "events_not_kept"})
        self._said = text
