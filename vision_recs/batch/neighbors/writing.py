"""`write_neighbors`: the similar items of every item, in one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from vision_recs.batch.neighbors.checkpoints import Parts, parts_folder
from vision_recs.batch.neighbors.delta import changed
from vision_recs.batch.neighbors.formats import Style, Written, table_of, write
from vision_recs.batch.neighbors.options import NeighborsOptions, NeighborsReport, Progress
from vision_recs.batch.neighbors.plan import Lists
from vision_recs.errors import SpaceMismatch, StoreNotFound
from vision_recs.store import Store
from vision_recs.store.files import publish_bytes, publish_file, written_to
from vision_recs.store.store import read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

ABOUT = ".about.json"
"""What is added to the name of a text file for the file beside it that says how it was made."""


def write_neighbors(
    store: str | Path, out: str | Path, options: NeighborsOptions | None = None, *, progress: Progress = lambda *_: None
) -> NeighborsReport:
    """Write the items that are similar to each item of *store* to the file *out*, and return what was written.

    The lists are those of `Recommender.similar` under the same policy. *out* ends in .parquet, .jsonl or .csv, and has
    the columns item, rank (from 1), similar and score, ordered by item and rank. It appears when it is complete; what a
    run that was stopped has finished lies beside it, in OUT.parts, and the next run goes on from there. How it was made
    is in the metadata of a Parquet file, under the key "visrec", and beside other files in OUT.about.json.

    With `changed_since`, an item that is gone, or whose list is now empty, has one row in which all but the item is null.

    Raises VisionRecsError for another suffix, StoreError, FilterError, PolicyError, and SpaceMismatch where the older
    generation is of another space.
    """
    started = perf_counter()
    options, out = options or NeighborsOptions(), Path(out)
    options.check(out)
    opened = Store.open(store)
    opened.pin()
    generations = [Lists.of(opened, options)]
    if options.changed_since is not None:
        generations.append(Lists.of(_older(opened, options.changed_since), options))
    with written_to(out.parent), parts_folder(out) as folder:
        parts = [Parts(folder / str(lists.store.generation), lists.plan()) for lists in generations]
        resumed = parts[0].done
        _finish(generations, parts, progress)
        tables = parts[0].tables() if options.changed_since is None else changed(parts[1].tables(), parts[0].tables())
        written = _publish(tables, out, folder, generations[0])
        shutil.rmtree(folder)
    lists = generations[0]
    return NeighborsReport(
        out=str(out),
        items=written.items,
        rows=written.rows,
        resumed=resumed,
        k=options.k,
        generation=opened.generation,
        changed_since=options.changed_since,
        encoder=opened.manifest.encoder.name,
        fingerprint=opened.fingerprint,
        method=lists.method,
        recall=lists.recall,
        seconds=round(perf_counter() - started, 3),
    )


def _older(store: Store, generation: int) -> Store:
    """Return *generation* of the store that *store* is a later one of."""
    known = [int(path.stem) for path in sorted(store.layout.generations.glob("*.json"))]
    if generation not in known:
        there = ", ".join(map(str, known))
        raise StoreNotFound(
            f"generation {generation} is not in {store.layout.root}, only {there}: `visrec gc` removes older ones; "
            "write the whole table"
        )
    older = Store(store.layout, read_manifest(store.layout, generation))
    if older.fingerprint != store.fingerprint:
        raise SpaceMismatch(
            f"generation {generation} is of the space {older.fingerprint}, this one of {store.fingerprint}, so that "
            "every list is another one; write the whole table"
        )
    older.pin()
    return older


def _finish(generations: Sequence[Lists], parts: Sequence[Parts], progress: Progress) -> None:
    """Make the lists that *parts* lack; progress counts the images of the items whose lists are made."""
    total = sum(lists.images(len(lists.items)) for lists in generations)
    before = 0
    for lists, made in zip(generations, parts, strict=True):
        done = made.done
        progress(before + lists.images(done), total)
        for some in lists.after(done):
            made.write(done, len(some.items), table_of(lists.inventory, some))
            done += len(some.items)
            progress(before + lists.images(done), total)
        before += lists.images(done)


def _publish(tables: Iterable[pa.Table], out: Path, folder: Path, lists: Lists) -> Written:
    """Write *tables* to *out*, durably and at once, and beside it how they were made where it cannot say so itself."""
    options = lists.options
    about = {**lists.plan(), "changed_since": options.changed_since}
    style = Style(out.suffix, nested=options.nested, keep_empty=options.changed_since is not None)
    made = folder / out.name
    written = write(made, tables, about, style=style)
    if out.suffix != ".parquet":
        text = json.dumps({**about, "items": written.items, "rows": written.rows}, indent=1, ensure_ascii=False)
        publish_bytes(text.encode() + b"\n", out.with_name(out.name + ABOUT), folder)
    publish_file(made, out)
    return written
