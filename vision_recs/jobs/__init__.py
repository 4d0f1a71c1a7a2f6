"""Jobs: a catalogue becomes a published generation."""

from vision_recs.jobs.indexing import index
from vision_recs.jobs.options import IndexOptions, IndexReport
from vision_recs.jobs.progress import Progress
from vision_recs.jobs.verification import verify

__all__ = ["IndexOptions", "IndexReport", "Progress", "index", "verify"]
