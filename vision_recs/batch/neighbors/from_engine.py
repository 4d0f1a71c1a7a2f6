"""The neighbors file of a generation in an engine: each item is a query, several of which are asked at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vision_recs._version import __version__
from vision_recs.batch.neighbors.checkpoints import Checkpoints, checkpoint_folder
from vision_recs.batch.neighbors.formats import table_of_lists
from vision_recs.batch.neighbors.options import NeighborsOptions, NeighborsReport, Progress
from vision_recs.batch.neighbors.writing import publish_file
from vision_recs.engines import OpenedEngine, open_engine
from vision_recs.errors import NothingPublished
from vision_recs.recommend import Query, Recommender
from vision_recs.store.atomic_files import disk_errors
from vision_recs.types import Match

if TYPE_CHECKING:
    import pyarrow as pa

METHOD = "engine"
"""What a report says of the method."""

_ITEMS = 512  # of a checkpoint
_QUERIES = 8  # at a time: most of a query is waiting for the engine


def write_neighbors_of_engine(
    uri: str, out: str | Path, options: NeighborsOptions | None = None, *, progress: Progress = lambda *_: None
) -> NeighborsReport:
    """Write the items that are similar to each item in the engine at *uri*, as `write_neighbors` does.

    Raises what `write_neighbors` raises, and EngineError; NothingPublished for `changed_since`: lists of two
    generations are compared in a store only.
    """
    started = perf_counter()
    options, out = options or NeighborsOptions(), Path(out)
    options.check(out)
    with ExitStack() as stack:
        opened = stack.enter_context(open_engine(uri))
        if options.changed_since is not None:
            raise NothingPublished(
                f"lists of {uri} cannot be compared with those of generation {options.changed_since}: that takes a "
                "store; write the lists of all items"
            )
        lists = _Lists(opened, options)
        stack.enter_context(disk_errors(out.parent))
        folder = stack.enter_context(checkpoint_folder(out))
        finished = Checkpoints(folder / str(opened.published.generation), lists.describe())
        resumed = finished.done
        for first, some, table in lists.tables(after=resumed, progress=progress):
            finished.write(first, some, table)
        written = publish_file(finished.tables(), out, folder, options, lists.describe())
        shutil.rmtree(folder)
    published = opened.published
    return NeighborsReport(
        out=str(out),
        items=written.items,
        rows=written.rows,
        resumed=resumed,
        k=options.k,
        generation=published.generation,
        changed_since=None,
        encoder=published.encoder.name,
        fingerprint=published.space,
        method=METHOD,
        recall=published.recall,
        seconds=round(perf_counter() - started, 3),
    )


class _Lists:
    """The lists of the items of an open engine."""

    def __init__(self, opened: OpenedEngine, options: NeighborsOptions) -> None:
        self._opened = opened
        self._options = options
        self._recommender = Recommender(opened.items, opened.index)
        if options.where is not None:
            options.where.check(opened.items.attribute_types())

    def describe(self) -> dict[str, Any]:
        """Return all that decides the lists, and how they are made, as values of JSON."""
        published = self._opened.published
        return {
            "visrec": __version__,
            "generation": published.generation,
            "created": published.created,
            "encoder": published.encoder.name,
            "space": published.space,
            **self._options.describe(),
            "method": METHOD,
            "recall": published.recall,
        }

    def tables(self, *, after: int, progress: Progress) -> Iterator[tuple[int, int, pa.Table]]:
        """Yield, for some items at a time after the first *after*, the number before them, their number and lists."""
        items, where = self._opened.items, self._options.query_filter
        ids = items.ids() if where is None else list(items.ids_where(where))
        done, total = 0, items.image_count
        with ThreadPoolExecutor(_QUERIES, thread_name_prefix="visrec-neighbors") as pool:
            for first in range(after, len(ids), _ITEMS):
                some = ids[first : first + _ITEMS]
                answers = list(pool.map(self._similar, some))
                yield first, len(some), table_of_lists(_pairs(some, answers))
                done += sum(len(items.images(item)) for item in some)
                progress(done, total)

    def _similar(self, item: str) -> list[Match]:
        query = Query(items=(item,), k=self._options.k, where=self._options.where)
        return self._recommender.query(query, self._options.policy)


def _pairs(ids: Sequence[str], answers: Sequence[Sequence[Match]]) -> list[tuple[str, list[tuple[str, float]]]]:
    return [(item, [(match.id, match.score) for match in matches]) for item, matches in zip(ids, answers, strict=True)]
