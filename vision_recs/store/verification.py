"""Checking every byte of a store against the digests that were taken when it was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vision_recs.errors import StoreDamaged, StoreNotFound
from vision_recs.store.attributes.format import Columns
from vision_recs.store.files import sha256_file
from vision_recs.store.layout import Layout
from vision_recs.store.manifest import Manifest
from vision_recs.store.store import read_current, read_manifest


def generations(layout: Layout) -> list[int]:
    """Return the generations that have a manifest, ascending."""
    return sorted(int(path.stem) for path in layout.generations.glob("*.json") if path.stem.isdecimal())


def verify(path: str | Path) -> Iterator[str]:
    """Yield a sentence for each file of the store in *path* that is missing or altered, and nothing for a sound one.

    Every generation is read whole, a shard that several share once. Raises StoreNotFound where there is no store,
    UnknownFormat for one of a newer visrec.
    """
    layout = Layout(Path(path))
    current = None
    try:
        current, digest = read_current(layout)
        read_manifest(layout, current, digest)
    except StoreNotFound:
        if not generations(layout):
            raise
        yield f"{layout.current} is missing; run `visrec index` again"
    except StoreDamaged as error:
        yield str(error)
    checked: set[Path] = set()
    for generation in generations(layout):
        try:
            manifest = read_manifest(layout, generation)
        except StoreDamaged as error:
            if generation != current:  # that of the current one was said above
                yield str(error)
            continue
        yield from _altered(_digests(layout, manifest), checked)
        yield from _altered_columns(layout, manifest)


def _digests(layout: Layout, manifest: Manifest) -> Mapping[Path, str]:
    expected = {
        layout.items(manifest.generation): manifest.items_digest,
        layout.skipped(manifest.generation): manifest.skipped_digest,
    }
    if manifest.projection is not None:
        expected[layout.projection(manifest.projection.digest)] = manifest.projection.digest
    for shard in manifest.shards:
        expected.update({layout.shard(shard.name) / name: digest for name, digest in shard.digests.items()})
    return expected


def _altered_columns(layout: Layout, manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with the columns; that they are not there is no damage."""
    try:
        columns = Columns(layout.columns(manifest.generation), items_digest=manifest.items_digest)
    except FileNotFoundError:
        return
    except StoreDamaged as error:
        yield str(error)
    else:
        yield from columns.problems()


def _altered(expected: Mapping[Path, str], checked: set[Path]) -> Iterator[str]:
    for path, digest in expected.items():
        if path in checked:
            continue
        checked.add(path)
        try:
            found = sha256_file(path)
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})"
        else:
            if found != digest:
                yield f"{path} was altered: its SHA-256 is {found[:16]}..., not {digest[:16]}..."
