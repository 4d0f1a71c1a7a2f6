"""Jobs: a catalog becomes a published generation; a generation is checked or exported.

indexing       `index` and `embed`: brings a store up to date with a catalog; `comparing` finds what differs
updating       `update`: changes some items
embedding      the images that are new to the store: read (`reading`), prepared, encoded and written at the same time
publish        builds the index of a generation and publishes both; `retune` does it with another projection,
               `publish_model` with another model
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
    from vision_recs.jobs.options import EmbedReport, IndexOptions, UpdateReport
    from vision_recs.jobs.progress import Progress
    from vision_recs.jobs.publish import publish_model, retune
    from vision_recs.jobs.reencode import store_of_encoder
    from vision_recs.jobs.updating import update, update_together
    from vision_recs.jobs.verification import verify

_HOMES = {
    "EmbedReport": "options",
    "IndexOptions": "options",
    "Progress": "progress",
    "UpdateReport": "options",
    "embed": "indexing",
    "export": "exporting",
    "index": "indexing",
    "publish_model": "publish",
    "retune": "publish",
    "store_of_encoder": "reencode",
    "update": "updating",
    "update_together": "updating",
    "verify": "verification",
}

__all__ = [
    "EmbedReport",
    "IndexOptions",
    "Progress",
    "UpdateReport",
    "embed",
    "export",
    "index",
    "publish_model",
    "retune",
    "store_of_encoder",
    "update",
    "update_together",
    "verify",
]

__getattr__ = lazy_names(__name__, _HOMES)
