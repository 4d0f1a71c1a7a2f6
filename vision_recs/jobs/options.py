"""The options of `index` and `embed`, and their report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.catalog import CatalogOptions
from vision_recs.encoders.loading import Precision
from vision_recs.indexes import require_index_type
from vision_recs.jobs.progress import ShouldStop, never_stop


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How `index` and `embed` work; only *weights* changes the vectors.

    *catalog* says how a path is read. *weights* is a checkpoint to use in place of the encoder's own. *device* and
    *precision* are those of `load_encoder`. *shard_size* is how many images are written at a time; a crash costs at
    most so many. A run ends after *limit* new images, or when *should_stop* returns True, which is called before each
    image, and by threads that wait for a host; both finish the current shard. With *retry_skipped* images that could
    not be used are tried again although their bytes are the same. *index_type*, *max_memory* in bytes and
    *target_recall* are those of `IndexConfig`; None leaves each as it was. *batch_size* is how many images the encoder
    gets at a time, by default as many as it is best given. *workers* is how many threads read files and decode. An
    image that cannot be read at the moment keeps its vector for *keep_stale* runs.
    """

    catalog: CatalogOptions = field(default_factory=CatalogOptions)
    weights: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    shard_size: int = 4096
    limit: int | None = None
    should_stop: ShouldStop = never_stop
    retry_skipped: bool = False
    index_type: str | None = None
    max_memory: int | None = None
    target_recall: float | None = None
    batch_size: int | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    keep_stale: int = 30

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
        if self.keep_stale < 0:
            raise ValueError(f"keep_stale is {self.keep_stale}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What `index` or `embed` did.

    *items* and *images* are how many the published generation has. *embedded* is how many images got a new vector,
    *reused* how many had one, *skipped* how many images, rows and values could not be used as they are, for the reasons
    in *skipped_reasons*, and *removed* how many items are gone since the last generation. *stale_images* says how many
    images could not be read, and why, but keep the vectors of an earlier run. A run that was stopped is not
    *complete*: what it embedded is kept, nothing is published, and *items* and the like are those of the generation
    before.

    *runtime* is what computed the vectors; *fallback* says why, where a slower runtime took the place of the one for
    this machine. *stages* are the seconds during which each stage was at work, several at the same time; *bottleneck*
    is the longest. *images_per_second* is the rate of embedding. *target_recall_met* is whether the index reaches the
    recall that it was built for. *image_attributes* belong to images and not to items. In *contradictory_columns* rows
    of one item contradict each other, so that the first value is used. *notes* are sentences on the catalog.
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
    fallback: str | None
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
    stale_images: Mapping[str, int]
    image_attributes: tuple[str, ...]
    contradictory_columns: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What `update` did.

    Of the *changes* that were read, *stale* ones had a version that is not higher than that of the item, and *unknown*
    ones name an item that the store does not have, without an image. *changed*, *added*, *removed* and *unchanged*
    count items. *embedded* is how many images got a new vector, *skipped_reasons* says how many images of these items
    could not be used, and why, and *stale_images* how many could not be read, but keep their vectors. *items*, *images*
    and *skipped* are how many the published generation has. An update that was stopped is not *complete*: what it
    embedded is kept, and nothing is published.
    """

    changes: int = 0
    changed: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    stale: int = 0
    unknown: int = 0
    items: int = 0
    images: int = 0
    embedded: int = 0
    skipped: int = 0
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)
    stale_images: Mapping[str, int] = field(default_factory=dict)
    generation: int = 0
    seconds: float = 0.0
    complete: bool = True
