"""What a run can be told, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vision_recs.catalog import CatalogOptions


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How `index` works; none of this changes a vector, but for *weights*.

    *catalog* says how a path is read. *weights* is a checkpoint to use in place of the encoder's own. *device* is auto,
    cpu, cuda, cuda:N or mps. *shard_size* is how many pictures are written at a time, and so how many a crash can cost.
    """

    catalog: CatalogOptions = field(default_factory=CatalogOptions)
    weights: Path | None = None
    device: str = "auto"
    shard_size: int = 4096
    batch_size: int = 32
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What `index` did.

    *pictures* are those in the index, *embedded* those of which a vector was computed, *reused* those that had one;
    *skipped* are the pictures that could not be used, *removed* the items that are gone since the last generation.
    *recall_at_10* is that of the index against exact search. *pictures_per_second* is the rate of embedding alone.
    *skipped_reasons* counts the skipped pictures by reason code; *picture_columns* are the columns that were found to
    belong to pictures and not to items.
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
    engine: str
    recall_at_10: float
    seconds: float
    pictures_per_second: float
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)
    picture_columns: tuple[str, ...] = ()
