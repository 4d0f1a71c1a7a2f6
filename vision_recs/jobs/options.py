"""The options of `index` and `embed`, and their report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.catalog import CatalogOptions
from vision_recs.indexes import require_index_type
from vision_recs.jobs.progress import ShouldStop, never_stop
from vision_recs.store.partitions import Partition

if TYPE_CHECKING:  # a change of attributes needs no encoder
    from vision_recs.encoders.loading import Precision
    from vision_recs.encoders.registry import Focus


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The cluster whose workers embed.

    *address* is "ray", which is the cluster that RAY_ADDRESS names or that runs on this machine, else one of this
    machine alone; or "ray://HOST:PORT". A task gets *cpus_per_task* cores and, where that is above 0, *gpus_per_task*
    GPUs, a share of one too; machines without a GPU, or without a free one, get tasks as well. A block that takes
    *straggler_s* seconds, and three times as long as is usual, is given to a second worker when there is nothing else
    to do.
    """

    address: str = "ray"
    cpus_per_task: int = 1
    gpus_per_task: float = 0.0
    straggler_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse numbers that are too small, and addresses of no cluster (ValueError)."""
        if self.address != "ray" and not (self.address.startswith("ray://") and self.address.removeprefix("ray://")):
            raise ValueError(f"{self.address!r} is no cluster; write ray or ray://HOST:PORT")
        if self.cpus_per_task < 1:
            raise ValueError(f"cpus_per_task is {self.cpus_per_task}; it must be 1 or more")
        if self.gpus_per_task < 0 or self.straggler_s < 0:
            raise ValueError(f"{self} has a negative number")


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How `index` and `embed` work; only *weights* and *focus* change the vectors.

    *catalog* says how a path is read. *weights* is a checkpoint to use in place of the encoder's own. *device* and
    *precision* are those of `load_encoder`. *shard_size* is how many images are written at a time; a crash costs at
    most so many. A run ends after *limit* new images, or when *should_stop* returns True, which is called before each
    image, and by threads that wait for a host; both finish the current shard. With *retry_skipped* images that could
    not be used are tried again although their bytes are the same. *index_type*, *max_memory* in bytes and
    *target_recall* are those of `IndexConfig`; None leaves each as it was. *batch_size* is how many images the encoder
    gets at a time, by default as many as it is best given. *workers* is how many threads read files and decode. An
    image that cannot be read at the moment keeps its vector for *keep_stale* runs. With *cluster*, its
    workers embed.

    *focus* says where an encoder looks that has a name (see `encoders.with_focus`); None leaves that as the name says.
    For "grounding", *detector* is the folder of a detector or its repository on huggingface.co, and *focus_attributes*
    are those whose words it is asked for, by default the category, else the title. A store keeps its detector until
    another *focus* is named. With *names_colors*, items get the attribute `image_colors`, the colors that their images
    show; None leaves that as it was, at first False. Where it becomes True, every image is embedded again.

    With *partitions*, the catalog is split into so many stores, in the folder that is named as the store: each item is
    in one of them, by its id. With *partition*, only this one of them is brought up to date, such as in one of many
    processes. Later runs know it.
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
    cluster: ClusterOptions | None = None
    focus: Focus | None = None
    detector: str | None = None
    focus_attributes: tuple[str, ...] = ()
    names_colors: bool | None = None
    partitions: int | None = None
    partition: Partition | None = None

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
        if self.partitions is not None:
            Partition.all_of(self.partitions)
            if self.partition is not None and self.partition.count != self.partitions:
                raise ValueError(f"{self.partition} is none of {self.partitions} partitions")
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
    recall that it was built for. *merged_in_index* is how many vectors lay beside the others in the index, and lie
    among them now, which takes longer. *image_attributes* belong to images and not to items. In *contradictory_columns*
    rows of one item contradict each other, so that the first value is used. *notes* are sentences on the catalog.
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
    merged_in_index: int
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
    count items. *embedded* is how many images got a new vector, *skipped* how many images of these items could not be
    used, for the reasons in *skipped_reasons*, and *stale_images* how many could not be read, but keep their vectors.
    *items*, *images* and *skipped_in_store* are how many the published generation has, and *merged_in_index* is how
    many vectors lay beside the others in the index, and lie among them now, which takes longer. An update that was
    stopped is not *complete*: what it embedded is kept, and nothing is published. *notes* are sentences on the changes,
    such as on text where the store has numbers.
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
    skipped_in_store: int = 0
    merged_in_index: int = 0
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)
    stale_images: Mapping[str, int] = field(default_factory=dict)
    generation: int = 0
    seconds: float = 0.0
    complete: bool = True
    notes: tuple[str, ...] = ()
