"""What measurements depend on, kept beside them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np

from vision_recs._version import __version__
from vision_recs.engines import OpenedEngine
from vision_recs.metrics.confidence import CONFIDENCE, RESAMPLES
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store

Measured: TypeAlias = Store | OpenedStores | OpenedEngine
"""What is measured."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The store, the space and the versions that measurements depend on; *created* is in UTC, as ISO 8601.

    *store* may be the URI of an engine; then *index_type* is "engine".
    """

    store: str
    generation: int
    encoder: str
    fingerprint: str
    projection: str | None
    index_type: str
    catalog: str
    created: str
    visrec: str
    python: str
    numpy: str
    processor: str
    confidence: float
    resamples: int

    @classmethod
    def of(cls, opened: Measured) -> Provenance:
        """Return the provenance of measurements that are made now on what is *opened*."""
        return cls(
            **(_of_engine(opened) if isinstance(opened, OpenedEngine) else _of_stores(opened)),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            visrec=__version__,
            python=platform.python_version(),
            numpy=np.__version__,
            processor=f"{platform.machine()} {platform.system()}",
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
        )


def _of_stores(opened: Store | OpenedStores) -> dict[str, Any]:
    stores = [opened] if isinstance(opened, Store) else opened.stores
    manifest = stores[0].manifest
    return {
        "store": ", ".join(str(store.layout.root.absolute()) for store in stores),
        "generation": sum(store.generation for store in stores),
        "encoder": manifest.encoder.name,
        "fingerprint": stores[0].fingerprint,
        "projection": manifest.projection.digest if manifest.projection else None,
        "index_type": ", ".join(dict.fromkeys(store.manifest.index_type for store in stores)),
        "catalog": manifest.catalog.location,
    }


def _of_engine(opened: OpenedEngine) -> dict[str, Any]:
    published = opened.published
    return {
        "store": opened.engine.uri,
        "generation": published.generation,
        "encoder": published.encoder.name,
        "fingerprint": published.space,
        "projection": published.projection,
        "index_type": "engine",
        "catalog": published.catalog,
    }
