"""What a worker knows of shoppers: their histories, and what all of them like; read in the background, from the log.

Nothing of it is sent to anybody: an answer shows items that are like those, never those themselves.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import NamedTuple

from vision_recs.errors import EventsError, StoreError, UnknownItem
from vision_recs.feedback.histories import Histories
from vision_recs.feedback.liking import Liked, read_liked
from vision_recs.recommend import History, Interest
from vision_recs.recommend.personal import deeds_of
from vision_recs.recommend.segments import Segments, find_segments
from vision_recs.serve.served import Served

log = logging.getLogger(__name__)

_EVERY_S = 0.5
_LIKED_EVERY_S = 600.0
_KEPT = 10_000  # shoppers whose interests are remembered


class Known(NamedTuple):
    """What is known of a shopper: the *history*, and its *interests*."""

    history: History
    interests: tuple[Interest, ...]


class Shoppers:
    """Knows the shoppers of a folder of events; several threads may ask at once."""

    def __init__(self, root: Path) -> None:
        """Begin without knowing anybody."""
        self._root = root
        self._histories = Histories(root)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visrec-shoppers")
        self._is_reading = False
        self._read_at = self._liked_at = -_LIKED_EVERY_S
        self._liked: tuple[Liked, ...] = ()
        self._lock = Lock()
        self._interests: OrderedDict[tuple[str, str, int, float], tuple[Interest, ...]] = OrderedDict()
        self._segments: tuple[tuple[str, float], Segments] | None = None
        self._said = ""

    def refresh(self) -> None:
        """Begin to read what is new, if that is due."""
        if not self._is_reading and monotonic() >= self._read_at + _EVERY_S:
            self._is_reading = True
            self._thread.submit(self._read)

    def close(self) -> None:
        """Stop reading."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def known(self, snapshot: Served, shopper: str) -> Known | None:
        """Return what is known of the pseudonym *shopper* that concerns items of *snapshot*, or None."""
        history, _ = deeds_of(self._histories.of(shopper))
        if history is None:
            return None
        key = (shopper, snapshot.version, len(history.events), history.events[-1].time)
        with self._lock:
            found = self._interests.get(key)
        if found is None:
            try:
                found = tuple(snapshot.recommender.interests(history))
            except UnknownItem:
                found = ()
            with self._lock:
                self._interests[key] = found
                if len(self._interests) > _KEPT:
                    self._interests.popitem(last=False)
        return Known(history, found)

    def never(self, shopper: str) -> frozenset[str]:
        """Return what must not be shown to the pseudonym *shopper*, also where nothing else is known."""
        return deeds_of(self._histories.of(shopper)).never

    def segments(self, snapshot: Served) -> Segments:
        """Return the segments of the shop that concern items of *snapshot*."""
        key = (snapshot.version, self._liked_at)
        known = self._segments
        if known is None or known[0] != key:
            known = self._segments = key, find_segments(snapshot.items, self._liked)
        return known[1]

    def _read(self) -> None:
        try:
            self._histories.refresh()
            if monotonic() >= self._liked_at + _LIKED_EVERY_S:
                self._liked = tuple(read_liked(self._root))
                self._liked_at = monotonic()
            self._said = ""
        except (EventsError, StoreError, OSError) as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("what shoppers did cannot be read: %s", error, extra={"event": "no_histories"})
        except Exception:  # answers go on without
            log.exception("what shoppers did cannot be read", extra={"event": "no_histories"})
        finally:
            self._read_at = monotonic()
            self._is_reading = False
