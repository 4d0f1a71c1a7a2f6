"""`index` and `embed`: a catalog becomes a published generation; run again, only the difference is done."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from vision_recs._version import __version__
from vision_recs.catalog import open_catalog
from vision_recs.catalog.findings import short
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.encoders import LoadOptions, StoreEncoder, choose_store_encoder
from vision_recs.encoders.words import words_of
from vision_recs.errors import EmptyCatalog, StoreError
from vision_recs.filters import AttributeType
from vision_recs.filters.filter import unknown_attribute
from vision_recs.jobs.catalog_part import CatalogPart, partition_count, partition_of
from vision_recs.jobs.cluster.places import forget_ledgers
from vision_recs.jobs.comparing import stage_catalog
from vision_recs.jobs.embedding import Embedding
from vision_recs.jobs.options import EmbedReport, IndexOptions
from vision_recs.jobs.progress import ProgressCallback, silent
from vision_recs.jobs.publish import NO_INDEX, chosen_index_config, needs_index, publish, repair_index
from vision_recs.remote.addresses import is_address
from vision_recs.store import (
    CatalogEntry,
    Draft,
    Manifest,
    Staging,
    Store,
    Writer,
    canary_text,
    canary_vector,
    open_writer,
    space_of,
)
from vision_recs.store.added import OF_ITEM, without_added
from vision_recs.store.bucket.mark import address_of, folder_of
from vision_recs.store.partitions import store_folders
from vision_recs.types import Catalog, Encoder, EncoderSpec, ImageSource

if TYPE_CHECKING:
    from vision_recs.jobs.cluster.driver import ClusterEmbedding


def index(
    catalog: str | Path | Catalog,
    store: str | Path = ".visrec",
    *,
    encoder: str | Encoder | None = None,
    options: IndexOptions | None = None,
    progress: ProgressCallback = silent,
) -> EmbedReport:
    """Bring the store in the folder *store* up to date with *catalog*, build its index, and return what was done.

    It may also be at an address in a bucket. Only images whose bytes are new to the store are embedded, and readers see
    the new generation when it is complete. *encoder* is a name, or an object of your own; without it the encoder of the
    store is used, or the default one for a new store. Another encoder embeds everything anew. A run that was killed
    continues where it was.

    Raises CatalogError, EncoderError, StoreError, SpaceMismatch, EmptyCatalog.
    """
    options = options or IndexOptions()
    if options.cluster is not None:  # an error here is better than after minutes of reading
        from vision_recs.jobs.cluster.on_ray import require_cluster

        require_cluster(options.cluster)
    if isinstance(catalog, str | Path):
        catalog = open_catalog(catalog, options.catalog)
    folder = folder_of(store, pulled=False)
    count = partition_count(folder, options)
    if count is not None:
        address = address_of(folder)
        if address is not None:
            raise StoreError(
                f"{address} is in a bucket, where a catalog is one store; leave out the partitions, or name a folder"
            )
        from vision_recs.jobs.partitioned import index_partitions

        options = replace(options, partitions=count)
        report = index_partitions(catalog, folder, encoder=encoder, options=options, progress=progress)
    else:
        report = index_store(catalog, folder, encoder=encoder, options=options, progress=progress)
    if options.partition is not None or not report.complete:  # then there may be more items
        return report
    return replace(report, notes=(*report.notes, *_notes_of_words(report.encoder, folder)))


def index_store(
    catalog: Catalog,
    store: Path,
    *,
    encoder: str | Encoder | StoreEncoder | None,
    options: IndexOptions,
    progress: ProgressCallback,
) -> EmbedReport:
    """Do what `index` does for one store; one that has a partition of a catalog gets the items of this partition.

    That is the partition of *options*, or else the one that the store was made of. An *encoder* that was chosen before
    is used as it is.
    """
    started = perf_counter()
    with open_writer(store, reads_catalog=True) as writer:
        partition = partition_of(writer, options.partition)
        if partition is not None:
            catalog = CatalogPart(catalog, partition)
        chosen = choose_encoder(encoder, options, writer)
        admit_words(catalog, chosen.spec)
        named = names_colors(options, writer.base)
        staging = writer.stage(chosen.spec, retry_skipped=options.retry_skipped, names_colors=named)
        try:
            stage_catalog(catalog, staging, progress, workers=options.workers)
            embedding = _embedding(catalog, writer, staging, chosen, options)
            embedding.run(progress)
            config = None if options.index_type == NO_INDEX else chosen_index_config(options, writer.base)
            force = _has_moved(writer, catalog, chosen) or bool(config and needs_index(writer.base, config))
            draft = finish(writer, staging, chosen.spec, force=force) if embedding.complete else None
        finally:
            staging.close()
        published = writer.base.manifest if writer.base else None
        if draft is not None:
            mark = None if partition is None else (partition.number, partition.count)
            manifest = replace(_describe(draft, catalog, chosen, writer), partition=mark, names_colors=named)
            published = publish(writer, manifest, config, progress)
        elif embedding.complete and writer.base is not None:
            published = repair_index(writer, writer.base)
        if embedding.complete:
            if isinstance(embedding, Embedding):
                embedding.settle()
            forget_ledgers(writer)  # what they say is published
        report = _report(writer, published, draft, chosen, embedding)
    return replace(
        report,
        seconds=round(perf_counter() - started, 3),
        image_attributes=getattr(catalog, "image_attributes", ()),
        contradictory_columns=getattr(catalog, "contradictory_columns", ()),
        notes=(*getattr(catalog, "notes", ()), *_notes_of(catalog.images)),
    )


def embed(
    catalog: str | Path | Catalog,
    store: str | Path = ".visrec",
    *,
    encoder: str | Encoder | None = None,
    options: IndexOptions | None = None,
    progress: ProgressCallback = silent,
) -> EmbedReport:
    """Do what `index` does without building an index: until there is one, every query compares all vectors."""
    options = replace(options or IndexOptions(), index_type=NO_INDEX)
    return index(catalog, store, encoder=encoder, options=options, progress=progress)


def admit_words(catalog: Catalog, spec: EncoderSpec) -> None:
    """Have a *catalog* of visrec yield items without an image, too, where the encoder of *spec* reads words."""
    if words_of(spec.name) is None:
        return
    keep = getattr(catalog, "keep_imageless", None)
    if keep is not None:
        keep()


def _embedding(
    catalog: Catalog, writer: Writer, staging: Staging, encoder: StoreEncoder, options: IndexOptions
) -> Embedding | ClusterEmbedding:
    if options.cluster is None:
        return Embedding(catalog.images, writer, staging, encoder, options)
    from vision_recs.jobs.cluster.driver import ClusterEmbedding

    return ClusterEmbedding(catalog, writer, staging, encoder, options)


def names_colors(options: IndexOptions, base: Store | None) -> bool:
    """Return whether colors are named: as *options* say, else as in *base*, the last generation."""
    if options.names_colors is None:
        return base is not None and base.manifest.names_colors
    return options.names_colors


def choose_encoder(encoder: str | Encoder | StoreEncoder | None, options: IndexOptions, writer: Writer) -> StoreEncoder:
    """Return the encoder that the caller names, else that of the store; it has to give the canary of the store."""
    base = writer.base.manifest if writer.base else None
    chosen = encoder if isinstance(encoder, StoreEncoder) else named_encoder(encoder, options, base)
    if base and base.encoder == chosen.spec:
        chosen.expect_canary(canary_vector(base.canary))
    return chosen


def named_encoder(encoder: str | Encoder | None, options: IndexOptions, base: Manifest | None) -> StoreEncoder:
    """Return the encoder that the caller names, else that of the generation *base*, else the default one."""
    load = LoadOptions(
        options.weights,
        options.device,
        options.precision,
        focus=options.focus,
        detector=options.detector,
        attributes=options.focus_attributes,
    )
    return choose_store_encoder(encoder, load, base)


def finish(writer: Writer, staging: Staging, spec: EncoderSpec, *, force: bool) -> Draft | None:
    """Return the finished generation, or None where it equals the last one, unless *force*; raises EmptyCatalog."""
    settled = writer.settle(staging)
    if settled.counts.images == 0 == settled.counts.skipped:
        raise EmptyCatalog("the catalog names no image; the store is as it was")
    if settled.counts.images == 0:
        first = settled.first_skipped
        what, name = ("images", f", {first.image},") if first and first.image else ("rows", "")
        raise EmptyCatalog(
            f"none of the {settled.counts.skipped} {what} could be used"
            + (f", the first of them{name} because {first.message}" if first else "")
            + "; the store is as it was"
        )
    return writer.draft(settled, spec, force=force)


def _has_moved(writer: Writer, catalog: Catalog, encoder: StoreEncoder) -> bool:
    """Return whether the catalog or the checkpoint is at another place than the last generation says."""
    if writer.base is None:
        return False
    manifest = writer.base.manifest
    return (manifest.catalog, manifest.weights_file) != (_catalog_entry(writer, catalog), _weights_file(encoder))


def _notes_of(images: ImageSource) -> tuple[str, ...]:
    return images.remote.notes() if isinstance(images, ImageFiles) and images.remote is not None else ()


def _notes_of_words(encoder: str, folder: Path) -> Iterator[str]:
    """Yield a sentence for each attribute that *encoder* reads and no item of the stores in *folder* has."""
    words = words_of(encoder)
    if words is None:
        return
    known: dict[str, AttributeType] = {}
    named = False
    for each in store_folders(folder):
        with Store.open(each) as store:
            for name, held in store.attribute_types().items():
                known[name] = known.get(name, AttributeType(0)) | held
            named = named or (OF_ITEM in words.fields and _are_named(store))
    for name in words.fields:
        why = ""
        if name not in known:
            why = unknown_attribute(name, known)
        elif not known[name]:
            why = f"the attribute {short(name)} is null in every item"
        elif name == OF_ITEM and named:
            why = f"{OF_ITEM} are seen in the images after the words are read; a part `color` compares the colors"
        if why:
            yield f"{encoder} reads words that are not there: {why}"


def _are_named(store: Store) -> bool:
    """Whether the colors of the items of *store* are those that were seen in images, and none of the catalog."""
    if not store.manifest.names_colors:
        return False
    pages = (store.items.stored.items(ids) for ids in store.items.pages_of_ids())
    return not any(f'"{OF_ITEM}":' in without_added(each.attributes) for page in pages for each in page.values())


def _catalog_entry(writer: Writer, catalog: Catalog) -> CatalogEntry:
    is_folder = bool(catalog.root) and not is_address(catalog.root)
    relative = os.path.relpath(catalog.root, writer.layout.root.absolute()) if is_folder else ""
    remote = catalog.images.remote if isinstance(catalog.images, ImageFiles) else None
    return CatalogEntry(catalog.location, catalog.root, relative, remote.options.stored() if remote else {})


def _weights_file(encoder: StoreEncoder) -> str | None:
    return str(encoder.weights.absolute()) if encoder.weights else None


def _canary(encoder: StoreEncoder, base: Store | None) -> str:
    if base is not None and base.manifest.encoder == encoder.spec:
        return base.manifest.canary  # if each run replaced it, small differences could add up
    return canary_text(encoder.canary())


def _describe(draft: Draft, catalog: Catalog, encoder: StoreEncoder, writer: Writer) -> Manifest:
    """Return the manifest of *draft*, which has no index yet."""
    base = writer.base if writer.base is not None and writer.base.manifest.encoder == encoder.spec else None
    projection = None if base is None else base.manifest.projection
    return Manifest(
        generation=draft.generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        visrec=__version__,
        space=space_of(encoder.spec, projection),
        encoder=encoder.spec,
        weights_file=_weights_file(encoder),
        detector=encoder.detector,
        catalog=_catalog_entry(writer, catalog),
        items=draft.counts.items,
        images=draft.counts.images,
        imageless=draft.counts.imageless,
        skipped=draft.counts.skipped,
        shards=draft.shards,
        next_position=draft.next_position,
        items_files=draft.items_files,
        canary=_canary(encoder, base),
        index_type=NO_INDEX,
        projection=projection,
        model=None if base is None else base.manifest.model,
        store=("" if writer.base is None else writer.base.manifest.store) or secrets.token_hex(8),
    )


def _report(
    writer: Writer,
    manifest: Manifest | None,
    draft: Draft | None,
    encoder: StoreEncoder,
    embedding: Embedding | ClusterEmbedding,
) -> EmbedReport:
    skipped, stale = writer.reasons(manifest) if manifest else ({}, {})
    stages = {stage: round(watch.seconds, 3) for stage, watch in embedding.stages.items()}
    return EmbedReport(
        items=manifest.items if manifest else 0,
        images=manifest.shown_images if manifest else 0,
        embedded=embedding.embedded,
        reused=manifest.images - embedding.embedded if manifest and embedding.complete else 0,
        skipped=manifest.skipped if manifest else 0,
        removed=draft.counts.removed if draft else 0,
        generation=manifest.generation if manifest else 0,
        encoder=encoder.spec.name,
        fingerprint=manifest.space if manifest and manifest.encoder == encoder.spec else encoder.spec.fingerprint,
        runtime=encoder.runtime,
        fallback=encoder.fallback,
        index_type=manifest.index_type if manifest else NO_INDEX,
        index_factory=(manifest.index_stats or {}).get("index_factory") if manifest else None,
        recall_at_10=manifest.recall_at_10 if manifest else 0.0,
        target_recall_met=(manifest.index_stats or {}).get("target_recall_met", True) if manifest else True,
        merged_in_index=manifest.merged_since(writer.base.manifest if writer.base else None) if manifest else 0,
        seconds=0.0,
        images_per_second=round(embedding.embedded / embedding.seconds, 1) if embedding.embedded else 0.0,
        stages=stages,
        bottleneck=max(stages, key=lambda stage: stages[stage]),
        complete=embedding.complete,
        skipped_reasons=skipped,
        stale_images=stale,
        image_attributes=(),
        contradictory_columns=(),
        notes=(),
    )
