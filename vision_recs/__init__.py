"""visrec: a shop's product images become visually similar items.

>>> import vision_recs
>>> report = vision_recs.index("sample_images/catalog.csv", "shop.visrec")  # doctest: +SKIP
>>> shop = vision_recs.open("shop.visrec")  # doctest: +SKIP
>>> [match.id for match in shop.similar("mug-01", k=3)]  # doctest: +SKIP
['mug-04', 'bottle-03', 'bowl-02']

Names are loaded when they are first used, so that `import vision_recs` costs nothing.

A map, from the door inwards; each room imports only from rooms below it:

serve                                 answers over HTTP, with a page
batch jobs evaluate tune              neighbors of every item and duplicates; embed, index, export; measure; learn
recommend                             a query and a policy become similar items
knn_join feedback                     the nearest rows of every row of a large matrix; learning from what shoppers do
engines                               a generation goes into a vector database outside, and is answered from there
encoders indexes                      images become vectors; vectors become searchable
catalog images store                  tables and folders; bytes to pixels; generations, items, vectors
remote                                what is not on this machine: images from web servers and buckets
filters metrics                       the language of `where`; measures of relevance
errors types vectors                  the error tree, the nouns and protocols, arithmetic of vectors
file_formats small_files              files: JSON with a checksum and mapped arrays (.npy); texts that people write
cache_dir scratch                     what may be deleted; work in progress
ordered_map _native _lazy _version    threads in order, functions in C, lazy names, the version
_openmp _torch                        PyTorch and FAISS with threads that sleep while they wait
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names
from vision_recs._version import __version__ as __version__

if TYPE_CHECKING:
    from vision_recs.catalog import CatalogOptions, open_catalog
    from vision_recs.encoders import EncoderInfo, list_encoders, load_encoder
    from vision_recs.engines import PublishOptions, PublishReport, publish, rollback
    from vision_recs.errors import VisionRecsError
    from vision_recs.filters import Filter
    from vision_recs.jobs import (
        ClusterOptions,
        EmbedReport,
        IndexOptions,
        Progress,
        UpdateReport,
        embed,
        export,
        index,
        update,
        verify,
    )
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
    from vision_recs.remote import RemoteOptions
    from vision_recs.store import Store
    from vision_recs.types import (
        Catalog,
        Encoder,
        EncoderSpec,
        Explanation,
        ImageData,
        ImageSource,
        Item,
        ItemSource,
        Match,
        PreprocessConfig,
        SearchRequest,
        Unchanged,
        VectorIndex,
        Vectors,
    )

_HOMES = {
    "Catalog": "types",
    "CatalogOptions": "catalog",
    "ClusterOptions": "jobs",
    "EmbedReport": "jobs",
    "Encoder": "types",
    "EncoderInfo": "encoders",
    "EncoderSpec": "types",
    "Explanation": "types",
    "Filter": "filters",
    "History": "recommend",
    "ImageData": "types",
    "ImageSource": "types",
    "IndexOptions": "jobs",
    "Item": "types",
    "ItemSource": "types",
    "Match": "types",
    "PreprocessConfig": "types",
    "Policy": "recommend",
    "Progress": "jobs",
    "PublishOptions": "engines",
    "PublishReport": "engines",
    "Query": "recommend",
    "Recommender": "recommend",
    "RemoteOptions": "remote",
    "SearchRequest": "types",
    "Store": "store",
    "Unchanged": "types",
    "UpdateReport": "jobs",
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
    "publish": "engines",
    "read_history": "recommend",
    "read_policy": "recommend",
    "rollback": "engines",
    "update": "jobs",
    "verify": "jobs",
}

__all__ = [
    "Catalog",
    "CatalogOptions",
    "ClusterOptions",
    "EmbedReport",
    "Encoder",
    "EncoderInfo",
    "EncoderSpec",
    "Explanation",
    "Filter",
    "History",
    "ImageData",
    "ImageSource",
    "IndexOptions",
    "Item",
    "ItemSource",
    "Match",
    "Policy",
    "PreprocessConfig",
    "Progress",
    "PublishOptions",
    "PublishReport",
    "Query",
    "Recommender",
    "RemoteOptions",
    "SearchRequest",
    "Store",
    "Unchanged",
    "UpdateReport",
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
    "publish",
    "read_history",
    "read_policy",
    "rollback",
    "update",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
