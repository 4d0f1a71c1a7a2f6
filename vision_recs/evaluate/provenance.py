"""What measurements depend on, kept beside them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from vision_recs._version import __version__
from vision_recs.metrics.confidence import CONFIDENCE, RESAMPLES
from vision_recs.recommend.stores import OpenedStores
from vision_recs.store import Store


@dataclass(frozen=True, slots=True)
class Provenance:
    """The store, the space and the versions that measurements depend on; *created* is in UTC, as ISO 8601."""

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
    def of(cls, opened: Store | OpenedStores) -> Provenance:
        """Return the provenance of measurements that are made now on what is *opened*."""
        stores = [opened] if isinstance(opened, Store) else opened.stores
        manifest = stores[0].manifest
        return cls(
            store=", ".join(str(store.layout.root.absolute()) for store in stores),
            generation=sum(store.generation for store in stores),
            encoder=manifest.encoder.name,
            fingerprint=stores[0].fingerprint,
            projection=manifest.projection.digest if manifest.projection else None,
            index_type=", ".join(dict.fromkeys(store.manifest.index_type for store in stores)),
            catalog=manifest.catalog.location,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            visrec=__version__,
            python=platform.python_version(),
            numpy=np.__version__,
            processor=f"{platform.machine()} {platform.system()}",
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
        )
