"""The blocks of a catalog, for workers that somebody else starts: Spark, an array of jobs, a queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vision_recs.catalog import open_catalog
from vision_recs.jobs.cluster.done import Done
from vision_recs.jobs.cluster.driver import Planning, work_of
from vision_recs.jobs.cluster.worker import Block, Work
from vision_recs.jobs.comparing import stage_catalog
from vision_recs.jobs.indexing import admit_words, choose_encoder, names_colors
from vision_recs.jobs.options import IndexOptions
from vision_recs.jobs.progress import ProgressCallback, silent
from vision_recs.store import open_writer
from vision_recs.types import Catalog, Encoder


@dataclass(frozen=True, slots=True)
class Plan:
    """What workers are told, and the *blocks* that they have to embed: each is made when it is asked for."""

    work: Work
    blocks: Iterator[Block]


@contextmanager
def plan_blocks(
    catalog: str | Path | Catalog,
    store: str | Path = ".visrec",
    *,
    encoder: str | Encoder | None = None,
    options: IndexOptions | None = None,
    progress: ProgressCallback = silent,
) -> Iterator[Plan]:
    """Yield the blocks of *catalog* that have to be embedded for the store in the folder *store*, as `embed` would.

    The store is locked within the block. Afterwards workers embed, by `Work.embed`; then `embed`, or `index`, reads
    their ledgers, embeds what they have left, and publishes. Raises what `embed` does.
    """
    options = options or IndexOptions()
    if isinstance(catalog, str | Path):
        catalog = open_catalog(catalog, options.catalog)
    with open_writer(store, reads_catalog=True) as writer:
        chosen = choose_encoder(encoder, options, writer)
        admit_words(catalog, chosen.spec)
        named = names_colors(options, writer.base)
        with (
            closing(writer.stage(chosen.spec, retry_skipped=options.retry_skipped, names_colors=named)) as staging,
            Done(writer, staging, chosen.spec) as done,
        ):
            stage_catalog(catalog, staging, progress, workers=options.workers)
            planning = Planning(catalog.images, writer, staging, chosen.spec, options)
            yield Plan(work_of(catalog, writer, chosen), planning.blocks(done))
