"""A store that is served, or several as one: opening the published generation, and verifying what is new in it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from vision_recs import indexes
from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import StoreDamaged
from vision_recs.recommend.partitions import PartitionedIndex, require_partitions
from vision_recs.remote.images import RemoteImages
from vision_recs.serve.cached_items import CachedItems
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.references import References
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.search_files import Together, open_item_search
from vision_recs.serve.served import Facts, Generation, ServedItems
from vision_recs.serve.served_partitions import ServedPartitions
from vision_recs.store import Layout, Store
from vision_recs.store.atomic_files import sha256_file
from vision_recs.store.attributes.table import ItemTable
from vision_recs.store.layout import read_current
from vision_recs.store.partitions import store_folders
from vision_recs.store.shards import shard_problems
from vision_recs.types import ImageSource, VectorIndex

log = logging.getLogger(__name__)

_MOST_INHERITED = 10_000  # items that changed: finding out what they touch takes longer than reading anew
_FEW_ITEMS = 20_000  # whose item search is built as quickly as a process starts
_DIGITS = 16


class StoreSource:
    """The stores of a server: one, or several whose items are served together."""

    poll_interval_s = 0.0

    def __init__(self, options: ServeOptions) -> None:
        """Serve the stores of *options*; raises StoreError where a list of stores cannot be read."""
        self._options = options
        self._layouts = [Layout(folder) for folder in store_folders(options.store)]

    def current(self, opened: Generation | None = None) -> object:  # noqa: ARG002 - as `Source` has it
        """Return the published generation of each store, and the SHA-256 of its manifest; raises StoreError."""
        return tuple(read_current(layout) for layout in self._layouts)

    def open(self, before: Generation | None = None) -> tuple[object, OpenStores]:
        """Open the published generation of each store; see `Source`. Raises StoreError and SpaceMismatch."""
        known: Sequence[OpenStore | None] = [None] * len(self._layouts)
        if isinstance(before, OpenStores):
            known = before.parts
        parts: list[OpenStore] = []
        try:
            for layout, old in zip(self._layouts, known, strict=True):
                parts.append(_newest(layout, self._options, old))
            if len(parts) > 1:
                require_partitions([part.store for part in parts])
            opened = OpenStores(parts)
        except BaseException:
            for part in parts:
                part.release()
            raise
        return tuple(part.current for part in parts), opened


class OpenStore:
    """One generation of one store, open; it closes with the last generation of the stores together that has it.

    *current* is what the file CURRENT says of it. *items* is a cache of its items, and *images* reads their images.
    """

    def __init__(self, store: Store, current: tuple[int, str], options: ServeOptions, before: OpenStore | None) -> None:
        """Own *store*; the files of the index of *before* are not opened again where they are the same."""
        self.store = store
        self.current = current
        self.items = CachedItems(store)
        self.images = _images_of(store, options)
        shared = before.index if before is not None and _shares_index(store, before.store) else None
        self.index: VectorIndex = indexes.open_published(store, self.items, previous=shared)
        references = References(store.close)
        self.acquire, self.release = references.acquire, references.release

    def inherit(self, before: OpenStore) -> None:
        """Keep of *before* what was read and holds of this generation too."""
        changed = self.store.changed_since(before.store)
        if changed is not None and len(changed) <= _MOST_INHERITED:
            self.items.inherit(before.items, changed)


class OpenStores:
    """The generations of one store or several, open: a `Generation`."""

    def __init__(self, parts: Sequence[OpenStore]) -> None:
        """Own a reference to each of *parts*; raises SpaceMismatch where their vectors cannot be compared."""
        self.parts = tuple(parts)
        self.items: ServedItems = parts[0].items
        self.index: VectorIndex = parts[0].index
        if len(parts) > 1:
            together = ServedPartitions([part.items for part in parts])
            self.items, self.index = together, PartitionedIndex(together, [part.index for part in parts])
        self.table = table_of([part.store for part in parts])
        self.images: ImageSource = parts[0].images
        self.facts = facts_of([part.store for part in parts])
        self.digest = _together([part.current[1] for part in parts])[:_DIGITS]

    def part_with(self, digest: str) -> tuple[ServedItems, ImageSource]:
        """Return the items of the store that has the image with *digest*, if any has it, and what reads it."""
        found = (part for part in self.parts[:-1] if part.items.image_with(digest) is not None)
        part = next(found, self.parts[-1])
        return part.items, part.images

    def answers_as(self, before: Generation) -> bool:
        """Return whether the vectors, and all that searches them, are shared with *before*."""
        return isinstance(before, OpenStores) and all(
            _shares_index(mine.store, other.store) and mine.store.manifest.shards == other.store.manifest.shards
            for mine, other in zip(self.parts, before.parts, strict=True)
        )

    def open_item_search(self, builder: SearchBuilder | None) -> ItemSearch:
        """Return the item search: that of the bases of the items files, and over it what deltas change."""
        stores = [part.store for part in self.parts]
        bases = [store.manifest.items_files[0] for store in stores]
        manifests = [replace(store.manifest, items_files=(base,)) for store, base in zip(stores, bases, strict=True)]
        build = None
        if builder is not None and sum(store.manifest.items for store in stores) > _FEW_ITEMS:
            files = [store.layout.items(base.generation) for store, base in zip(stores, bases, strict=True)]
            build = partial(builder.build, files)
        before = [Store(store.layout, manifest) for store, manifest in zip(stores, manifests, strict=True)]
        try:
            listed = Together([store.items for store in before])
            search = open_item_search(listed, name=_together([base.digest for base in bases])[:32], build=build)
            changed = _changed(stores, before)
            return search.changed(changed, listed.attributes_of, _all_of(stores).attributes_of) if changed else search
        finally:
            for store in before:
                store.close()

    def changed_item_search(self, search: ItemSearch, before: Generation) -> ItemSearch | None:
        """Return what *search*, that of *before*, becomes; None where a store has another base."""
        if not isinstance(before, OpenStores):
            return None
        mine, others = [part.store for part in self.parts], [part.store for part in before.parts]
        changed = _changed(mine, others)
        if changed is None:
            return None
        return search.changed(changed, _all_of(others).attributes_of, _all_of(mine).attributes_of)

    def close(self) -> None:
        """Release the parts."""
        for part in self.parts:
            part.release()


def table_of(stores: Sequence[Store]) -> ItemTable | None:
    """Return the items of *stores* as the rows of one table; None where the attribute columns of one were deleted."""
    columns = [store.attribute_columns() for store in stores]
    return ItemTable(*columns) if all(columns) else None


def facts_of(stores: Sequence[Store]) -> Facts:
    """Return what there is to say of the generations of *stores* together.

    The number of the generation is their sum, and the recall is the lowest.
    """
    manifests = [store.manifest for store in stores]
    return Facts(
        sum(each.generation for each in manifests),
        max(each.created for each in manifests),
        sum(each.items for each in manifests),
        sum(each.shown_images for each in manifests),
        stores[0].dim,
        manifests[0].encoder.name,
        stores[0].fingerprint,
        ", ".join(dict.fromkeys(each.index_type for each in manifests)),
        min(each.recall_at_10 for each in manifests),
    )


def require_open(options: ServeOptions) -> None:
    """Raise StoreError or SpaceMismatch where the stores of *options* cannot be opened, or not be served together."""
    opened: list[Store] = []
    try:
        for folder in store_folders(options.store):
            opened.append(Store.open(folder))
            opened[-1].pin()
        if len(opened) > 1:
            require_partitions(opened)
    finally:
        for store in opened:
            store.close()


def _newest(layout: Layout, options: ServeOptions, before: OpenStore | None) -> OpenStore:
    """Return the published generation of one store, verified as far as *before* does not share it."""
    if before is not None and read_current(layout) == before.current:
        before.acquire()
        return before
    part = _open(layout, options, before)
    if before is not None:
        try:
            _require_sound(part.store, before.store)
            part.inherit(before)
        except BaseException:
            part.release()
            raise
    return part


def _open(layout: Layout, options: ServeOptions, before: OpenStore | None) -> OpenStore:
    store = Store.open(layout.root, images=options.images)
    try:
        store.pin()
        current = read_current(layout)
        if current[0] == store.generation:
            _warn_without_index(store)
            return OpenStore(store, current, options, before)
    except BaseException:
        store.close()
        raise
    store.close()
    return _open(layout, options, before)  # another generation was published in this very moment


def _warn_without_index(store: Store) -> None:
    directory = store.layout.index_of(store.manifest)
    if directory is not None and not directory.is_dir():
        log.warning(
            "the index of generation %d is missing, so every vector is compared, which is slow; run `visrec index`",
            store.generation,
            extra={"event": "no_index", "generation": store.generation},
        )


def _images_of(store: Store, options: ServeOptions) -> ImageSource:
    """Return what reads the images of *store* for clients, who may name any file of this machine, and any address."""
    source = store.image_source
    if not isinstance(source, ImageFiles):
        return source
    if options.images is None:
        limit = options.limits.max_image_bytes
        hurried = store.remote_options.hurried()
        remote = replace(hurried, allow_private=options.allow_private_addresses, max_bytes=limit)
        source = ImageFiles(store.image_root, remote=RemoteImages(remote))
    return source.below(str(options.images_below or store.image_root))


def _together(digests: Sequence[str]) -> str:
    """Return a digest that names what *digests* name together."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def _all_of(stores: Sequence[Store]) -> Together:
    return Together([store.items for store in stores])


def _changed(stores: Sequence[Store], before: Sequence[Store]) -> list[str] | None:
    """Return the items of which *stores* and *before* may differ; None where one has not the same base."""
    changed: list[str] = []
    for mine, other in zip(stores, before, strict=True):
        some = mine.changed_since(other)
        if some is None:
            return None
        changed += some
    return changed


def _require_sound(new: Store, old: Store) -> None:
    """Raise StoreDamaged if a file of *new* that *old* does not share is missing or altered; reads every byte."""
    problem = next(_problems(new, old), None)
    if problem is not None:
        raise StoreDamaged(f"{problem}; run `visrec verify`")


def _problems(new: Store, old: Store) -> Iterator[str]:
    manifest, layout = new.manifest, new.layout
    known = {shard.name for shard in old.manifest.shards}
    expected: dict[Path, str] = {
        layout.items(entry.generation): entry.digest
        for entry in manifest.items_files
        if entry not in old.manifest.items_files
    }
    for shard in manifest.shards:
        if shard.name not in known:
            yield from shard_problems(layout.shard(shard.name))
    for path, digest in expected.items():
        try:
            if sha256_file(path) != digest:
                yield f"{path} was altered"
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror})"
    directory = layout.index_of(manifest)
    if directory is not None and directory.is_dir() and not _shares_index(new, old):
        yield from indexes.verify(directory, verified=old.layout.index_of(old.manifest))


def _shares_index(new: Store, old: Store) -> bool:
    """Return whether *new* uses the index of *old*, which was verified; what was measured of it tells it from others.

    A generation that another store has in its place may have an index in the same folder.
    """
    mine, others = new.manifest, old.manifest
    return (mine.index_type, mine.index_generation, mine.index_stats, mine.space) == (
        others.index_type,
        others.index_generation,
        others.index_stats,
        others.space,
    )
