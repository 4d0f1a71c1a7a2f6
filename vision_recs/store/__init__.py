"""The store: immutable shards and generations, one writer, readers that never lock."""

from vision_recs.store.gc import Reclaimed, collect
from vision_recs.store.layout import Layout, size
from vision_recs.store.manifest import CatalogEntry, Manifest, probe_text, probe_vector
from vision_recs.store.shards import Embedded
from vision_recs.store.staging import Counts, Staged, Staging
from vision_recs.store.store import Store
from vision_recs.store.verify import verify
from vision_recs.store.writer import Draft, Writer, open_writer

__all__ = [
    "CatalogEntry",
    "Counts",
    "Draft",
    "Embedded",
    "Layout",
    "Manifest",
    "Reclaimed",
    "Staged",
    "Staging",
    "Store",
    "Writer",
    "collect",
    "open_writer",
    "probe_text",
    "probe_vector",
    "size",
    "verify",
]
