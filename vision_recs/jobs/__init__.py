"""Jobs: a catalog becomes a published generation; a generation is checked or exported.

indexing       `index` and `embed`: brings a store up to date with a catalog; `comparing` finds what differs
updating       `update`: changes some items
partitioned    both over a catalog that is split into several stores; `catalog_part` is what one of them gets
embedding      the images that are new to the store, which are written as shards; `outcomes` of what cannot be read
pipeline       images are read (`reading`), prepared (`preparing`) and encoded at the same time
cluster/       the same by the workers of a cluster
publish        builds the index of a generation and publishes both; `retune` does it with another projection,
               `publish_model` with another model
promoting      `promote`: a candidate takes the place of a store
suspects       which images were being decoded when a run ended without a word; the next run decodes them apart
reencode       the items of a store, embedded by another encoder
exporting      `export`: vectors as Parquet files
verification   `verify`: compares every file with its digest
options        the options of a run, and its report
progress       how far a job is, and whether it should stop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.jobs.exporting import export
    from vision_recs.jobs.indexing import embed, index
    from vision_recs.jobs.options import ClusterOptions, EmbedReport, IndexOptions, UpdateReport
    from vision_recs.jobs.progress import Progress
    from vision_recs.jobs.promoting import promote
    from vision_recs.jobs.publish import publish_model, retune
    from vision_recs.jobs.reencode import store_of_encoder
    from vision_recs.jobs.updating import update, update_together
    from vision_recs.jobs.verification import verify

_HOMES = {
    "ClusterOptions": "options",
    "EmbedReport": "options",
    "IndexOptions": "options",
    "Progress": "progress",
    "UpdateReport": "options",
    "embed": "indexing",
    "export": "exporting",
    "index": "indexing",
    "promote": "promoting",
    "publish_model": "publish",
    "retune": "publish",
    "store_of_encoder": "reencode",
    "update": "updating",
    "update_together": "updating",
    "verify": "verification",
}

__all__ = [
    "ClusterOptions",
    "EmbedReport",
    "IndexOptions",
    "Progress",
    "UpdateReport",
    "embed",
    "export",
    "index",
    "promote",
    "publish_model",
    "retune",
    "store_of_encoder",
    "update",
    "update_together",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
