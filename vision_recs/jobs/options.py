"""What a run can be told, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.catalog import CatalogOptions
from vision_recs.encoders.loading import Precision
from vision_recs.indexes import require_index_type
from vision_recs.jobs.progress import Stopped, go_on


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How `index` and `embed` work; none of this changes a vector, but for *weights*.

    *catalog* says how a path is read. *weights* is a checkpoint to use in place of the encoder's own. *device* and
    *precision* are those of `load_encoder`. *shard_size* is how many images are written at a time, and so how many a
    crash can cost. *limit* ends the run after so many new images, and *stopped*, which is asked before each, when it
    says true; either finishes the shard in hand. *retry_skipped* tries those again that could not be used before,
    although their bytes are the same. *index_type*, *max_memory* in bytes and *target_recall* are those of `IndexConfig`; None leaves
    each as it was, at first to visrec. *batch_size* is how many images the
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
    index_type: str | None = None
    max_memory: int | None = None
    target_recall: float | None = None
    batch_size: int | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        """Refuse sizes below 1 and a target recall that is not a share (ValueError); raises UnknownIndexType."""
        if self.index_type not in (None, "auto", "exact"):
            require_index_type(self.index_type)
        if self.target_recall is not None and not 0 < self.target_recall <= 1:
            raise ValueError(f"target_recall is {self.target_recall}; it must be above 0 and at most 1")
        for name in ("shard_size", "batch_size", "workers", "limit", "max_memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What `index` or `embed` did.

    *items* and *images* are those of the published generation, *embedded* the images of which a vector was
    computed, *reused* those that had one; *skipped* are the images that could not be used, for the reasons counted in
    *skipped_reasons*, *removed* the items that are gone since the last generation. A run that was stopped is not
    *complete*: what it embedded is kept, nothing is published, and *items* and the like are those published before.
    *stages* are the seconds during which each was at work, several of them at a time; *bottleneck* is the longest.
    *target_recall_met* says whether the index finds what was wanted of it.
    *images_per_second* is the rate of embedding. *image_attributes* belong to images and not to items.
    """

    items: int
    images: int
    embedded: int
    reused: int
    skipped: int
    removed: int
    generation: int
    encoder: str
    fingerprint: str
    runtime: str
    index_type: str
    index_factory: str | None
    recall_at_10: float
    target_recall_met: bool
    seconds: float
    images_per_second: float
    stages: Mapping[str, float]
    bottleneck: str
    complete: bool
    skipped_reasons: Mapping[str, int]
    image_attributes: tuple[str, ...]
