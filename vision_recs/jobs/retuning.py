"""`retune`: a generation of the same items whose vectors are read through another projection, or through none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vision_recs._version import __version__
from vision_recs.errors import SpaceMismatch, StoreError, StoreNotFound
from vision_recs.jobs.progress import Report, silent
from vision_recs.jobs.publish import NO_INDEX, config_of, publish
from vision_recs.store import Manifest, Projection, Store, Writer, open_writer, space_of


def retune(
    store: str | Path, projection: Projection | None, *, encoder: str | None = None, progress: Report = silent
) -> Manifest:
    """Publish a generation of the store in the folder *store* with *projection*, or None for the encoder's vectors.

    Nothing is embedded; the index is built anew. *encoder* is the fingerprint of the encoder from whose vectors the
    projection was learnt. Raises StoreError, also where there is no projection to take away, and SpaceMismatch where
    the store has vectors of another encoder by now.
    """
    with open_writer(store) as writer:
        base = _base(writer)
        current = base.manifest.encoder.fingerprint
        if encoder not in (None, current):
            raise SpaceMismatch(
                f"the projection was learnt from vectors of [{encoder}], the index has those of "
                f"{base.manifest.encoder.name} [{current}] by now; run `visrec tune` again"
            )
        if projection is None is base.manifest.projection:
            raise StoreError(f"{writer.layout.root} has no projection; there is nothing to undo")
        entry = None if projection is None else writer.add_projection(projection)
        manifest = replace(
            base.manifest,
            generation=writer.copy_items(base),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            visrec=__version__,
            projection=entry,
            space=space_of(base.manifest.encoder, entry),
        )
        config = None if base.manifest.index_type == NO_INDEX else config_of(base)
        return publish(writer, manifest, config, progress)


def _base(writer: Writer) -> Store:
    if writer.base is None:
        raise StoreNotFound(f"there is no index in {writer.layout.root}; make one with `visrec index CATALOG`")
    return writer.base
