"""visrec: a shop's product images become visually similar items.

>>> import vision_recs
>>> report = vision_recs.index("sample_images/catalog.csv", "shop.visrec")  # doctest: +SKIP
>>> shop = vision_recs.open("shop.visrec")  # doctest: +SKIP
>>> [match.id for match in shop.similar("mug-01", k=3)]  # doctest: +SKIP
['mug-02', 'mug-04', 'bottle-03']

Names are loaded when they are first used, so that `import vision_recs` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names
from vision_recs._version import __version__ as __version__

if TYPE_CHECKING:
    from vision_recs.catalog import CatalogOptions, open_catalog
    from vision_recs.encoders import EncoderInfo, list_encoders, load_encoder
    from vision_recs.errors import VisionRecsError
    from vision_recs.filters import Filter
    from vision_recs.jobs import EmbedReport, IndexOptions, Progress, embed, export, index, verify
    from vision_recs.recommend import (
        History,
        Policy,
        Query,
        Recommender,
        Weighted,
        open,  # noqa: A004 - vision_recs.open is how a shop is opened
        read_history,
        read_policy,
    )
    from vision_recs.store import Store
    from vision_recs.types import Catalog, Encoder, EncoderSpec, Item, Match, PreprocessConfig, VectorIndex, Vectors

_HOMES = {
    "Catalog": "types",
    "CatalogOptions": "catalog",
    "EmbedReport": "jobs",
    "Encoder": "types",
    "EncoderInfo": "encoders",
    "EncoderSpec": "types",
    "Filter": "filters",
    "History": "recommend",
    "IndexOptions": "jobs",
    "Item": "types",
    "Match": "types",
    "PreprocessConfig": "types",
    "Policy": "recommend",
    "Progress": "jobs",
    "Query": "recommend",
    "Recommender": "recommend",
    "Store": "store",
    "VectorIndex": "types",
    "Vectors": "types",
    "VisionRecsError": "errors",
    "Weighted": "recommend",
    "embed": "jobs",
    "export": "jobs",
    "index": "jobs",
    "list_encoders": "encoders",
    "load_encoder": "encoders",
    "open": "recommend",
    "open_catalog": "catalog",
    "read_history": "recommend",
    "read_policy": "recommend",
    "verify": "jobs",
}

__all__ = [
    "Catalog",
    "CatalogOptions",
    "EmbedReport",
    "Encoder",
    "EncoderInfo",
    "EncoderSpec",
    "Filter",
    "History",
    "IndexOptions",
    "Item",
    "Match",
    "PreprocessConfig",
    "Policy",
    "Progress",
    "Query",
    "Recommender",
    "Store",
    "VectorIndex",
    "Vectors",
    "VisionRecsError",
    "Weighted",
    "embed",
    "export",
    "index",
    "list_encoders",
    "load_encoder",
    "open",
    "open_catalog",
    "read_history",
    "read_policy",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
