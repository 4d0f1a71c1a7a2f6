"""Jobs: a catalog becomes a published generation; a generation is checked or handed on."""

from vision_recs.jobs.exporting import export
from vision_recs.jobs.indexing import embed, index
from vision_recs.jobs.options import EmbedReport, IndexOptions
from vision_recs.jobs.progress import Progress
from vision_recs.jobs.reencode import store_of_encoder
from vision_recs.jobs.retuning import retune
from vision_recs.jobs.verification import verify

__all__ = [
    "EmbedReport",
    "IndexOptions",
    "Progress",
    "embed",
    "export",
    "index",
    "retune",
    "store_of_encoder",
    "verify",
]
