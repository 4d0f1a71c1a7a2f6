"""IndexStats for Prometheus, of all workers together."""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder by which workers share their figures; it is set before this is imported."""

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one worker."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "visrec_request_seconds",
            "How long requests took, by route and status.",
            ["route", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "visrec_waiting",
            "Requests that wait or are worked on, by lane.",
            ["lane"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._generation = self._gauge("visrec_generation", "The generation that is served.")
        self._rows = self._gauge("visrec_rows", "Images in the index.")
        self._items = self._gauge("visrec_items", "Items in the index.")
        self._reloads = Counter(
            "visrec_reloads", "New generations, taken or refused.", ["result"], registry=self._registry
        )
        for result in ("taken", "refused"):
            self._reloads.labels(result)
        self._known: dict[tuple[str, int], Histogram] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = self._known.get((route, status))
        if known is None:
            known = self._known[route, status] = self._seconds.labels(route, str(status))
        known.observe(seconds)

    def waiting(self, lane: str, requests: int) -> None:
        """Say how many *requests* wait in *lane*."""
        self._waiting.labels(lane).set(requests)

    def generation(self, number: int, *, rows: int, items: int) -> None:
        """Say what is served."""
        self._generation.set(number)
        self._rows.set(rows)
        self._items.set(items)

    def reload(self, *, taken: bool) -> None:
        """Count a new generation."""
        self._reloads.labels("taken" if taken else "refused").inc()

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus; of all workers, where they share a folder."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call] # its only way
        return generate_latest(together)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livemax")
