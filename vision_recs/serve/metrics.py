"""Metrics for Prometheus. With several workers, /metrics gives the metrics of all workers together."""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the directory through which workers share metrics; it is set before this import."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one worker."""

    def __init__(self) -> None:
        """Register all metrics, at 0."""
        self._registry = CollectorRegistry()
        self._durations = Histogram(
            "visrec_http_request_duration_seconds",
            "Duration of HTTP requests.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._requests = Counter(
            "visrec_http_requests_total", "HTTP requests.", ["route", "status"], registry=self._registry
        )
        self._queue_depth = Gauge(
            "visrec_queue_depth",
            "Requests that wait or are being processed.",
            ["queue"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._generation = self._gauge("visrec_generation", "Store generation that is served.")
        self._images = self._gauge("visrec_images", "Images in the store.")
        self._items = self._gauge("visrec_items", "Items in the store.")
        self._reloads = Counter(
            "visrec_reloads_total", "Attempts to load a new generation.", ["result"], registry=self._registry
        )
        for result in ("success", "failure"):
            self._reloads.labels(result)
        self._updates = Counter(
            "visrec_updates_total", "Attempts to publish changes of items.", ["result"], registry=self._registry
        )
        for result in ("success", "failure"):
            self._updates.labels(result)
        self._changes = Counter(
            "visrec_changes_total", "Changes of items that were acknowledged.", ["result"], registry=self._registry
        )
        for result in ("made", "stale", "unknown"):
            self._changes.labels(result)
        self._update_durations = Histogram(
            "visrec_update_duration_seconds",
            "Duration of updates, each of which makes the changes of one or more requests a generation.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        answers = Counter(
            "visrec_answers_total", "Answers that were to be kept for learning.", ["result"], registry=self._registry
        )
        self._events = Counter("visrec_events_total", "Events of shoppers.", ["result"], registry=self._registry)
        self._answers_by = {True: answers.labels("kept"), False: answers.labels("lost")}
        for result in ("kept", "lost"):
            self._events.labels(result)
        self._events.labels("refused")
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request and its duration."""
        children = self._children.get((route, status))
        if children is None:
            children = self._requests.labels(route, str(status)), self._durations.labels(route)
            self._children[route, status] = children
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def set_queue_depth(self, queue: str, pending: int) -> None:
        """Set the number of *pending* requests of *queue*."""
        self._queue_depth.labels(queue).set(pending)

    def set_generation(self, generation: int, *, images: int, items: int) -> None:
        """Set what is served."""
        self._generation.set(generation)
        self._images.set(images)
        self._items.set(items)

    def count_reload(self, *, success: bool) -> None:
        """Count an attempt to load a new generation."""
        self._reloads.labels("success" if success else "failure").inc()

    def count_update(self, *, success: bool, seconds: float | None = None) -> None:
        """Count an attempt to publish changes, and its duration if it succeeded."""
        self._updates.labels("success" if success else "failure").inc()
        if seconds is not None:
            self._update_durations.observe(seconds)

    def count_changes(self, **counts: int) -> None:
        """Count changes by what became of them: made, stale, unknown."""
        for result, count in counts.items():
            self._changes.labels(result).inc(count)

    def count_answers(self, count: int, *, is_kept: bool) -> None:
        """Count answers that were to be kept for learning."""
        self._answers_by[is_kept].inc(count)

    def count_events(self, count: int, result: str) -> None:
        """Count events by what became of them: kept, lost, refused."""
        self._events.labels(result).inc(count)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus: of all workers, if they share a directory."""
        if SHARED_DIRECTORY not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # prometheus_client has no types here
        return generate_latest(registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livemax")
