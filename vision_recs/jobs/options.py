"""What a run can be told, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.catalog import CatalogOptions
from vision_recs.encoders.precision import Precision
from vision_recs.jobs.progress import Stopped, go_on


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How `index` and `embed` work; none of this changes a vector, but for *weights*.

    *catalog* says how a path is read. *weights* is a checkpoint to use in place of the encoder's own. *device* and
    *precision* are those of `load_encoder`. *shard_size* is how many pictures are written at a time, and so how many a
    crash can cost. *limit* ends the run after so many new pictures, and *stopped*, which is asked before each, when it
    says true; either finishes the shard in hand. *retry_skipped* tries those again that could not be used before,
    although their bytes are the same. *engine*, *memory* in bytes and *recall* are those of `engines.Wish`; None leaves
    each as it was, at first to visrec. *batch_size* is how many pictures the
    encoder is given at a time, by default as many as it likes best; *workers* is how many threads read and decode.
    """

    catalog: CatalogOptions = field(default_factory=CatalogOptions)
    weights: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    shard_size: int = 4096
    limit: int | None = None
    stopped: Stopped = go_on
    retry_skipped: bool = False
    engine: str | None = None
    memory: int | None = None
    recall: float | None = None
    batch_size: int | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        """Refuse sizes below 1, and a recall that is no share, with a ValueError."""
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ValueError(f"recall is {self.recall}; it must be above 0 and at most 1")
        for name in ("shard_size", "batch_size", "workers", "limit", "memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What `index` or `embed` did.

    *items* and *pictures* are those of the published generation, *embedded* the pictures of which a vector was
    computed, *reused* those that had one; *skipped* are the pictures that could not be used, for the reasons counted in
    *skipped_reasons*, *removed* the items that are gone since the last generation. A run that was stopped is not
    *complete*: what it embedded is kept, nothing is published, and *items* and the like are those published before.
    *stages* are the seconds during which each was at work, several of them at a time; *bottleneck* is the longest.
    *recall_reached* says whether the index finds what was wanted of it.
    *pictures_per_second* is the rate of embedding. *picture_columns* belong to pictures and not to items.
    """

    items: int
    pictures: int
    embedded: int
    reused: int
    skipped: int
    removed: int
    generation: int
    encoder: str
    fingerprint: str
    runtime: str
    engine: str
    recipe: str | None
    recall_at_10: float
    recall_reached: bool
    seconds: float
    pictures_per_second: float
    stages: Mapping[str, float]
    bottleneck: str
    complete: bool
    skipped_reasons: Mapping[str, int]
    picture_columns: tuple[str, ...]
