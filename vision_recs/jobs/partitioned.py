"""Jobs over a catalog that is split into several stores: each store is written by itself, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from vision_recs.catalog.changes import Change, changes_of, read_changes
from vision_recs.catalog.value_types import ValueTypes
from vision_recs.errors import EmptyCatalog, SpaceMismatch, StoreError, StoreLocked
from vision_recs.filters import AttributeType
from vision_recs.jobs.options import EmbedReport, IndexOptions, UpdateReport
from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.jobs.updating import How, update_store
from vision_recs.store import Layout, Manifest, Store
from vision_recs.store.layout import read_current, read_manifest
from vision_recs.store.partitions import Partition, Stores, store_folders, write_list
from vision_recs.types import Catalog, Encoder, EncoderSpec

if TYPE_CHECKING:  # see `index_partitions`
    from vision_recs.encoders import StoreEncoder

T = TypeVar("T")

_Types: TypeAlias = Callable[[], Mapping[str, AttributeType]]
"""Returns the types of the attributes; where nobody asks, no store is read."""

_LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.01


def index_partitions(
    catalog: Catalog,
    folder: Path,
    *,
    encoder: str | Encoder | None,
    options: IndexOptions,
    progress: ProgressCallback,
) -> EmbedReport:
    """Bring the partitions of *catalog* in *folder* up to date, as many as *options* have, or the one of these.

    The report is that of all together; the generation is the sum of theirs. Raises what `index` raises; partitions
    before the one that failed are as they were made. Raises SpaceMismatch for one partition alone that would get
    another encoder than all others have.
    """
    from vision_recs.jobs.indexing import index_store, named_encoder  # a change of attributes needs no encoder

    started = perf_counter()
    every = Partition.all_of(options.partitions or 1)
    write_list(folder, len(every))
    chosen = every if options.partition is None else [options.partition]
    reports: list[EmbedReport] = []
    own_encoder = named_encoder(encoder, options, _newest([folder / each.folder for each in every]))
    if options.partition is not None:
        _require_space(folder, options.partition, own_encoder)
    for partition in chosen:
        left = None if options.limit is None else options.limit - sum(report.embedded for report in reports)
        if left == 0:
            break
        own = replace(options, partition=partition, partitions=None, limit=left)
        try:
            report = index_store(
                catalog,
                folder / partition.folder,
                encoder=own_encoder,
                options=own,
                progress=_of_partition(progress, partition if len(chosen) > 1 else None),
            )
        except EmptyCatalog as error:
            raise EmptyCatalog(f"{partition}: {error}; few items need fewer partitions") from error
        reports.append(report)
        if not report.complete:
            break
    merged = _together(reports)
    complete = merged.complete and len(reports) == len(chosen)
    return replace(merged, complete=complete, seconds=round(perf_counter() - started, 3))


def _require_space(folder: Path, partition: Partition, encoder: StoreEncoder) -> None:
    """Raise SpaceMismatch where *folder* has other partitions than *partition*, and none of the space of *encoder*."""
    others = [each for each in Partition.all_of(partition.count) if each != partition]
    manifests = [found for each in others if (found := _newest([folder / each.folder])) is not None]
    if manifests and all(each.encoder != encoder.spec for each in manifests):
        raise SpaceMismatch(
            f"the other partitions in {folder} have vectors of {_named(manifests[0].encoder)}, and {partition} would "
            f"have those of {_named(encoder.spec)}; leave out the encoder, or leave out --partition, to embed all of "
            "them anew"
        )


def _named(spec: EncoderSpec) -> str:
    return f"{spec.name} [{spec.fingerprint}]"


def _newest(folders: Sequence[Path]) -> Manifest | None:
    """Return the published generation of the first of *folders* that has one: all partitions have its encoder."""
    for layout in map(Layout, folders):
        with suppress(StoreError):
            return read_manifest(layout, *read_current(layout))
    return None


def update_partitions(
    parts: Sequence[Callable[[_Types], Iterable[Change]]], stores: Stores, how: How, seen: Sequence[ValueTypes]
) -> list[UpdateReport]:
    """Make the changes of all *parts* in the partitions that they belong to: see `updating.update_together`.

    *parts* are functions that return the changes, given what returns the types of the attributes; they are called once
    for each partition. *seen* counts the values of each part, as in `update_store`. Each partition publishes by itself,
    those without a change do not. Raises StoreError for stores that are not the partitions of one catalog.
    """
    folders = store_folders(stores)
    with ExitStack() as stack:
        opened = [stack.enter_context(Store.open(folder)) for folder in folders]
        partitions = _partitions(opened)
    types = cache(partial(_attribute_types, folders))
    done: list[list[UpdateReport]] = []
    for folder, partition in zip(folders, partitions, strict=True):
        readers = [partial(_read_own, part, types, partition) for part in parts]
        until = monotonic() + (_LOCK_WAIT_S if done else 0.0)  # what others have published stays: it is not half done
        done.append(_when_free(partial(update_store, readers, folder, how, seen), until))
        if not done[-1][0].complete:
            break
    return [_updated(reports) for reports in zip(*done, strict=True)]


def changes_in(
    changes: str | Path | Iterable[Mapping[str, object]], options: IndexOptions, notes: dict[str, None]
) -> Callable[[_Types], Iterable[Change]]:
    """Return a function that reads *changes* as often as it is called, given what returns the types.

    *notes* gets what is worth a sentence.
    """
    if isinstance(changes, str | Path):
        return lambda types: read_changes(changes, options.catalog, types, notes)
    listed = list(changes_of(changes, options.catalog, notes))
    return lambda _: listed


def _read_own(
    read: Callable[[_Types], Iterable[Change]], types: _Types, partition: Partition, _: Store
) -> Iterator[Change]:
    """Yield the changes that are of *partition*; the others are read, too, so that an error in one costs nothing."""
    return (change for change in read(types) if partition.has(change.id))


def _attribute_types(folders: Sequence[Path]) -> Mapping[str, AttributeType]:
    """Return the types that the attributes have in the stores in *folders* together."""
    types: dict[str, AttributeType] = {}
    for folder in folders:
        with Store.open(folder) as store:
            for name, held in store.attribute_types().items():
                types[name] = types.get(name, AttributeType(0)) | held
    return types


def _partitions(stores: Sequence[Store]) -> list[Partition]:
    """Return the partition that each of *stores* has; raises StoreError unless these are all of one catalog."""
    found = [store.manifest.partition for store in stores]
    if None in found or {(number, len(stores)) for number in range(len(stores))} != set(found):
        raise StoreError(
            "changes are brought to their stores by the ids of the items, which takes all the partitions of a catalog "
            "that `visrec index --partitions` has split; change each of these stores by itself"
        )
    return [Partition(*each) for each in found if each is not None]


def _when_free(work: Callable[[], T], until: float) -> T:
    """Return what *work* returns, which is called again as long as the store is locked, up to the time *until*."""
    while True:
        try:
            return work()
        except StoreLocked:
            if monotonic() > until:
                raise
            sleep(_LOCK_POLL_S)


def _of_partition(progress: ProgressCallback, partition: Partition | None) -> ProgressCallback:
    """Return a function that says of which *partition* the progress is."""
    if partition is None:
        return progress
    return lambda each: progress(Progress(f"{each.stage}, {partition}", each.done, each.total))


def _together(reports: Sequence[EmbedReport]) -> EmbedReport:
    first = reports[0]
    stages = {stage: round(sum(each.stages[stage] for each in reports), 3) for stage in first.stages}
    embedded = sum(each.embedded for each in reports)
    spent = sum(each.embedded / each.images_per_second for each in reports if each.images_per_second)
    fields = ("items", "images", "reused", "skipped", "removed", "generation", "merged_in_index")
    return replace(
        first,
        **{name: sum(getattr(each, name) for each in reports) for name in fields},
        embedded=embedded,
        index_type=", ".join(dict.fromkeys(each.index_type for each in reports)),
        index_factory=", ".join(dict.fromkeys(each.index_factory for each in reports if each.index_factory)) or None,
        recall_at_10=min(each.recall_at_10 for each in reports),
        target_recall_met=all(each.target_recall_met for each in reports),
        images_per_second=round(embedded / spent, 1) if spent else 0.0,
        stages=stages,
        bottleneck=max(stages, key=lambda stage: stages[stage]),
        complete=all(each.complete for each in reports),
        skipped_reasons=_counted([each.skipped_reasons for each in reports]),
        stale_images=_counted([each.stale_images for each in reports]),
        notes=tuple(dict.fromkeys(note for each in reports for note in each.notes)),
    )


def _updated(reports: Sequence[UpdateReport]) -> UpdateReport:
    counts = ("changes", "changed", "added", "removed", "unchanged", "stale", "unknown")
    totals = ("items", "images", "skipped", "skipped_in_store", "embedded", "generation", "merged_in_index")
    return replace(
        reports[0],
        **{name: sum(getattr(each, name) for each in reports) for name in (*counts, *totals)},
        skipped_reasons=_counted([each.skipped_reasons for each in reports]),
        stale_images=_counted([each.stale_images for each in reports]),
        seconds=round(sum(each.seconds for each in reports), 3),
        complete=all(each.complete for each in reports),
    )


def _counted(reasons: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in reasons:
        total.update(each)
    return dict(total.most_common())
