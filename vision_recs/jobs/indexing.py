"""`index`: a catalogue becomes a published generation; run again, only the difference is done."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import vision_recs
from vision_recs.catalog import open_catalog
from vision_recs.encoders.space import Space, choose_space
from vision_recs.engines import build_index, open_index
from vision_recs.engines.recall import measure_recall
from vision_recs.errors import NothingIndexed
from vision_recs.jobs.embedding import Embedding
from vision_recs.jobs.options import IndexOptions, IndexReport
from vision_recs.jobs.progress import Progress, Report, silent
from vision_recs.store import (
    CatalogEntry,
    Counts,
    Draft,
    Manifest,
    Staging,
    Store,
    Writer,
    open_writer,
    probe_text,
    probe_vector,
)
from vision_recs.types import Catalog, Encoder

ENGINE = "flat"


def index(
    catalog: str | Path | Catalog,
    store: str | Path = ".visrec",
    *,
    encoder: str | Encoder | None = None,
    options: IndexOptions | None = None,
    progress: Report = silent,
) -> IndexReport:
    """Bring the store in the folder *store* up to date with *catalog*, and return what was done.

    Only pictures whose bytes are new to the store are embedded, and readers see the new generation when it is complete.
    *encoder* is a name, or an object of your own; without it the store's encoder goes on, and a new store gets the
    default one. Another encoder than the store's embeds everything anew. A run that was killed goes on where it was.

    Raises CatalogError, EncoderError, StoreError, SpaceMismatch, NothingIndexed.
    """
    started = perf_counter()
    options = options or IndexOptions()
    if isinstance(catalog, str | Path):
        catalog = open_catalog(catalog, options.catalog)
    with open_writer(store) as writer:
        staging = writer.stage()
        try:
            total = _stage(catalog, staging, progress)
            space = _enter_space(encoder, options, writer, staging)
            embedding = Embedding(catalog, writer, staging, space, options)
            embedding.run(total, progress)
            counts = staging.finish()
            _refuse_nothing(counts, staging)
            draft = writer.draft(staging, counts)
        finally:
            staging.close()
        if draft is None and writer.base is not None:
            published = _unchanged(writer, writer.base)
        else:
            assert draft is not None
            published = _publish(writer, draft, _describe(draft, catalog, space), progress)
    return _report(published, counts, embedding, perf_counter() - started, getattr(catalog, "picture_columns", ()))


def _stage(catalog: Catalog, staging: Staging, progress: Report) -> int:
    """Take the whole catalogue, so that one that cannot be used costs nothing, and return how many pictures it has."""
    total = 0
    for item in catalog:
        total += staging.add(item)
        progress(Progress("reading the catalogue", total, None))
    return total


def _enter_space(encoder: str | Encoder | None, options: IndexOptions, writer: Writer, staging: Staging) -> Space:
    base = writer.base.manifest if writer.base else None
    space = choose_space(encoder, weights=options.weights, device=options.device, base=base)
    if base and base.encoder == space.spec:
        space.expect(probe_vector(base.probe))
    writer.enter(staging, space.spec.fingerprint)
    return space


def _refuse_nothing(counts: Counts, staging: Staging) -> None:
    if counts.pictures == 0:
        first = json.loads(next(staging.skipped_lines()))
        raise NothingIndexed(
            f"none of the {counts.skipped} pictures could be used, the first of them, {first['picture']}, because "
            f"{first['message']}; the index is as it was"
        )


def _describe(draft: Draft, catalog: Catalog, space: Space) -> Manifest:
    """Return the manifest of *draft*, as yet without the figures of its engine."""
    return Manifest(
        generation=draft.generation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        visrec=vision_recs.__version__,
        encoder=space.spec,
        weights_file=str(space.weights.absolute()) if space.weights else None,
        catalog=CatalogEntry(catalog.location, catalog.root),
        items=draft.counts.items,
        pictures=draft.counts.pictures,
        skipped=draft.counts.skipped,
        shards=draft.shards,
        items_digest=draft.items_digest,
        skipped_digest=draft.skipped_digest,
        probe=probe_text(space.probe()),
        engine=ENGINE,
        recall_at_10=0.0,
    )


def _publish(writer: Writer, draft: Draft, manifest: Manifest, progress: Report) -> Store:
    """Build the engine of *draft*, measure it, and let readers see the generation."""
    source = Store(writer.layout, manifest)
    progress(Progress("building the index", 0, draft.counts.pictures))
    folder = _build_engine(writer, source)
    measured = replace(manifest, recall_at_10=measure_recall(open_index(ENGINE, source, folder), source, k=10))
    progress(Progress("building the index", draft.counts.pictures, draft.counts.pictures))
    return writer.publish(measured, folder)


def _unchanged(writer: Writer, base: Store) -> Store:
    """Return *base*, with its engine built again if somebody deleted it."""
    target = writer.layout.engine(base.manifest.engine, base.generation)
    if not target.is_dir():
        writer.place_engine(_build_engine(writer, base), target)
    return base


def _build_engine(writer: Writer, source: Store) -> Path:
    folder = writer.layout.tmp / "engine"
    folder.mkdir()
    build_index(ENGINE, source, folder)
    return folder


def _report(
    published: Store, counts: Counts, embedding: Embedding, seconds: float, picture_columns: tuple[str, ...]
) -> IndexReport:
    manifest = published.manifest
    return IndexReport(
        items=counts.items,
        pictures=counts.pictures,
        embedded=embedding.embedded,
        reused=counts.pictures - embedding.embedded,
        skipped=counts.skipped,
        removed=counts.removed,
        generation=manifest.generation,
        encoder=manifest.encoder.name,
        fingerprint=manifest.encoder.fingerprint,
        engine=manifest.engine,
        recall_at_10=manifest.recall_at_10,
        seconds=round(seconds, 3),
        pictures_per_second=round(embedding.embedded / embedding.seconds, 1) if embedding.embedded else 0.0,
        skipped_reasons=published.items.skipped_reasons(),
        picture_columns=picture_columns,
    )
