"""`write_neighbors`: the similar items of every item, in one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vision_recs.batch.neighbors.checkpoints import Checkpoints, checkpoint_folder
from vision_recs.batch.neighbors.formats import Style, Written, delta, table_of, write
from vision_recs.batch.neighbors.options import NeighborsOptions, NeighborsReport, Progress
from vision_recs.batch.neighbors.plan import Plan
from vision_recs.errors import SpaceMismatch, StoreNotFound
from vision_recs.recommend import open_stores
from vision_recs.store import Store
from vision_recs.store.atomic_files import atomic_move_file, atomic_remove, atomic_write, disk_errors, fsync_path
from vision_recs.store.layout import read_manifest
from vision_recs.store.partitions import Stores

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT = ".about.json"
"""The suffix of the file beside a text file that says how the text file was made."""


def write_neighbors(
    store: Stores, out: str | Path, options: NeighborsOptions | None = None, *, progress: Progress = lambda *_: None
) -> NeighborsReport:
    """Write the items that are similar to each item of *store* to the file *out*, and return what was written.

    *store* is a folder, or several stores, whose lists are those of one store of all items.

    The lists are those of `Recommender.similar` under the same policy. *out* ends in .parquet, .jsonl or .csv, and has
    the columns item_id, rank (from 1), neighbor_id and score, ordered by item_id and rank. The file appears when it is
    complete. A run that is stopped leaves its finished lists in OUT.checkpoints, and the next run continues there. How
    the file was made is in the metadata of a Parquet file, under the key "visrec", and in OUT.about.json beside another
    file.

    With `changed_since`, an item that is gone, or whose list is now empty, has one row in which all but the item is
    null.

    Raises OutputFormatError for another suffix, StoreError, FilterError, PolicyError, and SpaceMismatch where the older
    generation is of another space.
    """
    started = perf_counter()
    options, out = options or NeighborsOptions(), Path(out)
    options.check(out)
    with ExitStack() as stores:
        opened = open_stores(store)
        stores.enter_context(opened)
        opened.pin()
        plans = [Plan.of(opened, options)]
        if options.changed_since is not None:
            if not isinstance(opened, Store):
                raise StoreNotFound(
                    f"lists of several stores cannot be compared with those of generation {options.changed_since}: it "
                    "would be one of each store; write the lists of all items"
                )
            older = stores.enter_context(_older(opened, options.changed_since))
            plans.append(Plan.of(older, options))
        stores.enter_context(disk_errors(out.parent))
        folder = stores.enter_context(checkpoint_folder(out))
        finished = [Checkpoints(folder / str(plan.source.items.generation), plan.describe()) for plan in plans]
        resumed = finished[0].done
        _finish(plans, finished, progress)
        tables = finished[0].tables()
        if options.changed_since is not None:
            tables = delta(finished[1].tables(), tables)
        written = publish_file(tables, out, folder, options, plans[0].describe())
        shutil.rmtree(folder)
    return NeighborsReport(
        out=str(out),
        items=written.items,
        rows=written.rows,
        resumed=resumed,
        k=options.k,
        generation=plans[0].source.items.generation,
        changed_since=options.changed_since,
        encoder=plans[0].source.items.encoder.name,
        fingerprint=plans[0].source.items.fingerprint,
        method=plans[0].method,
        recall=plans[0].recall,
        seconds=round(perf_counter() - started, 3),
    )


def _older(store: Store, generation: int) -> Store:
    """Return the older *generation* of *store*, pinned."""
    known = store.layout.known_generations()
    if generation not in known:
        there = ", ".join(map(str, known))
        raise StoreNotFound(
            f"generation {generation} is not in {store.layout.root}, only {there}: `visrec gc` removes older ones; "
            "write the lists of all items"
        )
    manifest = read_manifest(store.layout, generation)
    if manifest.space != store.fingerprint:
        raise SpaceMismatch(
            f"generation {generation} is of the space {manifest.space}, this one of {store.fingerprint}, so every "
            "list has changed; write the lists of all items"
        )
    older = Store(store.layout, manifest)
    older.pin()
    return older


def _finish(plans: Sequence[Plan], finished: Sequence[Checkpoints], progress: Progress) -> None:
    """Make the lists that *finished* lack; *progress* counts the images of the items whose lists are made."""
    total = sum(plan.image_count(len(plan.items)) for plan in plans)
    before = 0
    for plan, checkpoints in zip(plans, finished, strict=True):
        done = checkpoints.done
        progress(before + plan.image_count(done), total)
        for lists in plan.lists(after=done):
            checkpoints.write(done, len(lists.items), table_of(plan.arrays, lists))
            done += len(lists.items)
            progress(before + plan.image_count(done), total)
        before += plan.image_count(done)


def publish_file(
    tables: Iterable[pa.Table], out: Path, folder: Path, options: NeighborsOptions, described: Mapping[str, Any]
) -> Written:
    """Write *tables* to *out*, durably and at once; beside a text file, write how it was made, as *described*.

    *folder* is for work in progress. An older description is removed first: none is better than a wrong one.
    """
    about = {**described, "changed_since": options.changed_since}
    style = Style(out.suffix, nested=options.nested, keep_empty=options.changed_since is not None)
    made = folder / out.name
    written = write(made, tables, about, style=style)
    description = out.with_name(out.name + ABOUT)
    atomic_remove(description, folder)
    fsync_path(out.parent)
    atomic_move_file(made, out)
    if out.suffix != ".parquet":
        text = json.dumps({**about, "items": written.items, "rows": written.rows}, indent=1, ensure_ascii=False)
        atomic_write(text.encode() + b"\n", description, folder)
    return written
