"""Checking every byte of a store against the digests that were computed when it was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vision_recs.errors import StoreDamaged
from vision_recs.store.atomic_files import digest_problem
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.layout import Layout, Manifest, read_current, read_manifest, space_of
from vision_recs.store.shards import shard_problems


def verify(path: str | Path) -> Iterator[str]:
    """Yield a sentence for each file of the store in *path* that is missing or altered; none for a sound store.

    Every generation is read whole, and so is every shard, once. Raises StoreNotFound where there is no store,
    UnknownFormat for a store of a newer visrec.
    """
    layout = Layout(Path(path))
    current = None
    try:
        current, digest = read_current(layout)
        read_manifest(layout, current, digest)
    except StoreDamaged as error:
        yield str(error)
    checked: set[str] = set()
    for generation in layout.known_generations():
        try:
            manifest = read_manifest(layout, generation)
        except StoreDamaged as error:
            if generation != current:  # that of the current one was said above
                yield str(error)
            continue
        yield from _own_problems(layout, manifest)
        names = {shard.name for shard in manifest.shards} - checked
        yield from _shard_problems(layout, names)
        checked |= names
    if layout.shards.is_dir():  # shards that no generation uses, which the next run may use again
        yield from _shard_problems(layout, {path.name for path in layout.shards.iterdir() if path.is_dir()} - checked)


def generation_problems(layout: Layout, manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each file that the generation of *manifest* needs and that is missing or altered."""
    yield from _own_problems(layout, manifest)
    yield from _shard_problems(layout, {shard.name for shard in manifest.shards})


def _own_problems(layout: Layout, manifest: Manifest) -> Iterator[str]:
    if manifest.space != space_of(manifest.encoder, manifest.projection):
        yield f"{layout.manifest(manifest.generation)} names another space than its encoder and projection define"
    expected = {layout.items(entry.generation): entry.digest for entry in manifest.items_files}
    expected |= {layout.skipped(entry.generation): entry.skipped_digest for entry in manifest.items_files}
    if manifest.projection is not None:
        expected[layout.projection(manifest.projection.digest)] = manifest.projection.digest
    for path, digest in expected.items():
        problem = digest_problem(path, digest)
        if problem is not None:
            yield problem
    yield from _attribute_problems(layout, manifest)


def _attribute_problems(layout: Layout, manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong with the attribute columns; a file that was deleted is not a problem."""
    for entry in manifest.items_files:
        try:
            columns = AttributeColumns(layout.attributes(entry.generation), items_digest=entry.digest)
        except FileNotFoundError:
            continue
        except StoreDamaged as error:
            yield str(error)
        else:
            yield from columns.problems()


def _shard_problems(layout: Layout, names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        yield from shard_problems(layout.shard(name))
