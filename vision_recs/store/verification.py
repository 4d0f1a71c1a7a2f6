"""Checking every byte of a store against the digests that were computed when it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_recs.errors import StoreDamaged
from vision_recs.store.atomic_files import digest_problem
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.layout import Layout, Manifest, read_current, read_manifest, space_of
from vision_recs.store.shards import shard_problems

MENDED = "`visrec index CATALOG` mends it"
RECLAIMED = "only older generations use it, which `visrec gc` removes"
_SPARE = "no generation uses it, and `visrec gc` removes it"
_UNDO = "run `visrec tune --undo`, or restore it from a backup"
_UNLEARN = "run `visrec learn --undo`, or restore it from a backup"


def verify(path: str | Path) -> Iterator[str]:
    """Yield a sentence for each file of the store in *path* that is missing or altered; none for a sound store.

    The sentence says what helps. Every generation is read whole, and so is every shard, once. Raises StoreNotFound
    where there is no store, UnknownFormat for a store of a newer visrec.
    """
    layout = Layout(Path(path))
    current, published = None, None
    try:
        current, digest = read_current(layout)
        published = read_manifest(layout, current, digest)
    except StoreDamaged as error:
        yield str(error)
    older = []
    for generation in layout.known_generations():
        if generation != current:  # what is wrong with that was said above
            try:
                older.append(read_manifest(layout, generation))
            except StoreDamaged as error:
                yield str(error)
    yield from _all_problems(layout, published, older)


def _all_problems(layout: Layout, published: Manifest | None, older: Iterable[Manifest]) -> Iterator[str]:
    """Yield what is wrong with the files of the generations, each file once, and with shards that none of them uses."""
    said: set[str] = set()
    shards: set[str] = set()
    for manifest in [*([published] if published else []), *older]:
        names = {shard.name for shard in manifest.shards} - shards
        shards |= names
        remedy = MENDED if manifest is published else RECLAIMED
        for problem in [*_own_problems(layout, manifest), *_shard_problems(layout, names)]:
            if problem not in said:
                said.add(problem)
                yield with_remedy(problem, remedy)
    if layout.shards.is_dir():  # shards that no generation uses, which the next run may use again
        spare = {path.name for path in layout.shards.iterdir() if path.is_dir()} - shards
        yield from (with_remedy(problem, _SPARE) for problem in _shard_problems(layout, spare))


def with_remedy(problem: str, remedy: str) -> str:
    """Return *problem* with what helps against it, unless it says that itself."""
    return problem if "; " in problem else f"{problem}; {remedy}"


def generation_problems(layout: Layout, manifest: Manifest) -> Iterator[str]:
    """Yield a sentence for each file that the generation of *manifest* needs and that is missing or altered."""
    yield from _own_problems(layout, manifest)
    yield from _shard_problems(layout, {shard.name for shard in manifest.shards})


def _own_problems(layout: Layout, manifest: Manifest) -> Iterator[str]:
    if manifest.space != space_of(manifest.encoder, manifest.projection):
        path = layout.manifest(manifest.generation)
        yield f"{path} names another space than its encoder and projection define; index into another folder"
    expected = {layout.items(entry.generation): entry.digest for entry in manifest.items_files}
    expected |= {layout.skipped(entry.generation): entry.skipped_digest for entry in manifest.items_files}
    for path, digest in expected.items():
        problem = digest_problem(path, digest)
        if problem is not None:
            yield problem
    if manifest.projection is not None:
        digest = manifest.projection.digest
        problem = digest_problem(layout.projection(digest), digest)
        if problem is not None:
            yield f"{problem}; {_UNDO}"
    if manifest.model is not None:
        problem = digest_problem(layout.model(manifest.model), manifest.model)
        if problem is not None:
            yield f"{problem}; {_UNLEARN}"
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
